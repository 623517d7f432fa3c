"""One POST to a real server: what counts as an answer, what doesn't, and whom it refuses to dial."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from podium.exceptions import WebhookError
from podium.webhooks import posting
from podium.webhooks.dialing import is_public
from podium.webhooks.posting import Answer
from tests.webhooks.receiver import Receiver


def post(url: str, body: bytes = b"{}", seconds: float = 5.0, allow_private: bool = True) -> Answer:
    return asyncio.run(posting.post(url, {"X-One": "1"}, body, seconds=seconds, allow_private=allow_private))


def refused(*given: Any, **named: Any) -> str:
    with pytest.raises(WebhookError) as caught:
        post(*given, **named)
    return str(caught.value)


def test_the_body_arrives_and_the_answer_comes_back() -> None:
    with Receiver() as receiver:
        body = b"x" * 3_000_000
        assert post(f"{receiver.url}?a=b c&ü=1", body) == Answer(200)
        (told,) = receiver.told
        assert told.body == body
        assert told.path == "/hook?a=b%20c&%C3%BC=1"
        assert told.headers["Host"] == f"127.0.0.1:{receiver.port}"
        assert told.headers["X-One"] == "1"
        post(receiver.url.replace("//", "//me:p%40ss@"))
        assert receiver.told[1].headers["Authorization"] == "Basic bWU6cEBzcw=="


def test_redirects_are_answers_and_followed_by_nobody() -> None:
    with Receiver() as other, Receiver() as receiver:
        receiver.statuses, receiver.headers = [307, 503], {"Location": other.url}
        assert post(receiver.url).status == 307
        assert not other.told
        receiver.headers = {"Retry-After": "17"}
        assert post(receiver.url) == Answer(503, 17.0)


def test_an_answer_that_doesnt_come_is_waited_for_only_so_long() -> None:
    with Receiver() as receiver:
        receiver.gate.clear()
        began = time.monotonic()
        assert "no answer within 0.3 s" in refused(receiver.url, seconds=0.3)
        assert time.monotonic() - began < 3


def test_a_head_that_comes_drop_by_drop_is_waited_for_only_so_long() -> None:
    def drip(stream: Any) -> None:
        for letter in b"HTTP/1.1 200 OK\r\nX: " + b"y" * 1_000:
            stream.write(bytes([letter]))
            time.sleep(0.02)

    with Receiver() as receiver:
        receiver.slowly = drip
        assert "no answer within 0.4 s" in refused(receiver.url, seconds=0.4)


def test_a_body_that_never_ends_holds_nobody_up() -> None:
    def endless(stream: Any) -> None:
        stream.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            stream.write(b"5\r\nhello\r\n")
            time.sleep(0.01)

    with Receiver() as receiver:
        receiver.slowly = endless
        began = time.monotonic()
        assert post(receiver.url) == Answer(200)
        assert time.monotonic() - began < 3


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "isn't HTTP"),
        (b"", "closed without|isn't HTTP"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000 + b"\r\n\r\n", "isn't HTTP"),
    ],
)
def test_what_isnt_an_answer_is_said(said: bytes, why: str) -> None:
    import re

    with Receiver() as receiver:
        receiver.slowly = lambda stream: stream.write(said)
        assert re.search(why, refused(receiver.url))


def test_where_nobody_listens() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        assert "can't be reached" in refused(f"http://127.0.0.1:{bound.getsockname()[1]}/")
    assert "can't be resolved" in refused("http://nobody.invalid/")
    assert "URL" in refused("http://127.0.0.1:99999/")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "2130706433", "0.0.0.0"])
def test_addresses_of_this_machine_are_not_dialled(host: str) -> None:
    with Receiver() as receiver:
        said = refused(f"http://{host}:{receiver.port}/", allow_private=False)
        assert "webhook_allow_private" in said or "can't be resolved" in said
        assert not receiver.told


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.216.34", True), ("2606:2800:220:1:248:1893:25c8:1946", True),
        ("10.1.2.3", False), ("172.16.0.1", False), ("192.168.1.1", False), ("169.254.169.254", False),
        ("100.64.0.1", False), ("127.8.8.8", False), ("0.0.0.0", False),
        ("224.0.0.1", False), ("255.255.255.255", False),
        ("::1", False), ("::", False), ("fe80::1%eth0", False), ("fc00::1", False), ("fec0::1", False),
        ("ff02::1", False), ("::ffff:10.0.0.1", False), ("::ffff:93.184.216.34", True),
        ("64:ff9b::a00:1", False), ("64:ff9b::5db8:d822", True), ("2002:7f00:1::", False), ("not an address", False),
    ],
)  # fmt: skip
def test_which_addresses_anybody_could_reach(address: str, public: bool) -> None:
    assert is_public(address) is public


def test_a_name_is_resolved_once_and_what_was_checked_is_dialled(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that says a public address first and a private one later gains nothing."""
    asked, dialled = [], []

    async def work() -> None:
        loop = asyncio.get_running_loop()

        async def getaddrinfo(host: str, port: int, **named: Any) -> list[Any]:
            asked.append(host)
            address = "93.184.216.34" if len(asked) == 1 else "127.0.0.1"
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

        async def open_connection(host: str, port: int, **named: Any) -> Any:
            dialled.append(host)
            raise ConnectionRefusedError("nobody is there")

        monkeypatch.setattr(loop, "getaddrinfo", getaddrinfo)
        monkeypatch.setattr(asyncio, "open_connection", open_connection)
        with pytest.raises(WebhookError):
            await posting.post("http://rebinding.example/", {}, b"", seconds=5, allow_private=False)

    asyncio.run(work())
    assert asked == ["rebinding.example"]
    assert dialled == ["93.184.216.34"]


def certificate(folder: Path, name: str) -> tuple[Path, ssl.SSLContext]:
    """Return the file of a certificate for this name, which nobody else has signed, and a server's context with it."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = folder / f"{name}.pem"
    file.write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return file, context


def test_who_a_server_says_it_is_must_be_true(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, context = certificate(tmp_path, "localhost")
    other, _ = certificate(tmp_path, "other.example")
    with Receiver(context) as receiver:
        url = f"https://localhost:{receiver.port}/hook"
        posting._tls.cache_clear()
        assert "can't be trusted" in refused(url)
        for trusted, host, taken in (
            (other, "localhost", False),
            (file, "localhost", True),
            (file, "127.0.0.1", False),
        ):
            monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
            posting._tls.cache_clear()
            address = url.replace("localhost", host)
            if taken:
                assert post(address) == Answer(200)
            else:
                assert "can't be trusted" in refused(address)
        assert len(receiver.told) == 1
    posting._tls.cache_clear()
