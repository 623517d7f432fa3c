"""The few lines of the protocol that Podium reads itself, also where they are odd."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.bus.nats.streams import sequence_of
from podium.bus.nats.wire import Place, header_number, headers_of, place_of, publishing, status_of
from podium.exceptions import BackpressureError, PayloadTooLargeError, TransportUnavailableError


@pytest.mark.parametrize(
    ("reply", "place"),
    [
        ("$JS.ACK.S.c.3.7.9.1700000000000000000.0", Place(3, 7, 1_700_000_000_000_000)),
        ("$JS.ACK._.hash.S.c.3.7.9.1700000000000000000.0", Place(3, 7, 1_700_000_000_000_000)),
        ("$JS.ACK.domain.hash.S.c.3.7.9.1700000000000000000.0.random", Place(3, 7, 1_700_000_000_000_000)),
        ("$JS.ACK.S.c.x.7.9.1.0", None),
        ("$JS.ACK", None),
        ("_INBOX.a", None),
        ("", None),
    ],
)
def test_a_place_is_read_from_both_forms_of_its_subject(reply: str, place: Place | None) -> None:
    assert place_of(reply) == place


def test_a_status_is_told_from_a_message() -> None:
    over = b"NATS/1.0 409 Consumer Deleted\r\nNats-Pending-Messages: 12\r\nNats-Pending-Bytes: 0\r\n\r\n"
    assert status_of(over) == (409, "Consumer Deleted")
    assert header_number(over, b"Nats-Pending-Messages") == 12
    assert status_of(b"NATS/1.0 503\r\n\r\n") == (503, "")
    assert status_of(b"NATS/1.0\r\nA: 503\r\n\r\n") == (0, "")
    assert header_number(b"NATS/1.0 408\r\n\r\n", b"Nats-Pending-Messages") == 0


def test_headers_of_the_carrier_and_what_is_none_are_left_out() -> None:
    raw = b"NATS/1.0\r\nKey: a: b\r\nNats-Msg-Id: 1\r\nno colon\r\n: no name\r\nOdd:\xff\r\n\r\n"
    assert headers_of(raw) == {"Key": "a: b", "Odd": "\ufffd"}


@given(st.binary())
def test_no_bytes_of_headers_break_anything(raw: bytes) -> None:
    headers_of(raw)
    status_of(raw)
    header_number(raw, b"X")


@given(st.text("ab-_", min_size=1), st.text("abc: ", max_size=5).map(str.strip), st.binary())
def test_headers_come_back_as_they_were_written(key: str, value: str, data: bytes) -> None:
    command = publishing("s", "", data, {key: value})
    sizes, rest = command.split(b"\r\n", 1)
    length = int(sizes.split()[-2])
    assert headers_of(rest[:length]) == {key: value}
    assert rest[length:] == data + b"\r\n"


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (10_077, BackpressureError),
        (10_047, BackpressureError),
        (10_054, PayloadTooLargeError),
        (1, TransportUnavailableError),
    ],
)
def test_a_refused_append_says_why(code: int, error: type[Exception]) -> None:
    assert sequence_of(b'{"stream":"S","seq":7,"duplicate":true}', "s") == 7
    with pytest.raises(error, match="because"):
        sequence_of(b'{"error":{"code":503,"err_code":%d,"description":"because"}}' % code, "s")
