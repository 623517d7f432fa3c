"""The lines that are written and read for NATS, also where they are remembered."""

from podium.bus.nats.wire import headers_of, publishing


def test_headers_come_back_as_they_were_said_and_one_readers_copy_is_nobody_elses():
    for headers in ({"Content-Type": "application/json"}, {"A": "1", "B": "ü"}, {"Long": "x" * 1_000}):
        command = publishing("a.b", "", b"data", headers)
        raw = command.partition(b"\r\n")[2].removesuffix(b"data\r\n")
        first = headers_of(raw)
        assert first == headers
        first["Another"] = "value"
        assert headers_of(raw) == headers
        assert publishing("a.b", "", b"data", headers) == command


def test_without_headers_there_are_none():
    assert publishing("a.b", "r", b"data", None) == b"PUB a.b r 4\r\ndata\r\n"
    assert headers_of(b"") == {}
