"""What only NATS has: ways to say who we are, TLS, refusals, a server that stands still, one without JetStream."""

from __future__ import annotations

import asyncio
import datetime as dt
import ipaddress
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from msgspec.structs import replace

from podium.bus.nats import NatsSettings, NatsTransport
from podium.bus.nkeys import KeyPair, Role
from podium.bus.transport import Happening, Stream
from podium.exceptions import MessageBusError, NotSupported, SettingsError, TransportUnavailableError
from podium.testing.bus_tools import Told, eventually, new_stream, take
from podium.testing.natsserver import NatsServer, nats_server


def _settings(server: NatsServer, **more: Any) -> NatsSettings:
    fast = {"connection_timeout_ms": 3_000, "reconnect_wait_ms": 100, "answer_timeout_ms": 3_000}
    return NatsSettings(**{"server_url": server.url, **fast, **more})


async def _speaks(settings: NatsSettings) -> bool:
    transport = NatsTransport(settings)
    await transport.start()
    heard = await transport.subscribe("a")
    await transport.publish("a", b"it")
    spoke = (await take(heard, 1))[0].data == b"it"
    await transport.stop(0.0)
    return spoke


async def _is_refused(settings: NatsSettings) -> None:
    """Assert that it is refused at once: a wrong password doesn't get right by waiting."""
    patient = replace(settings, connection_timeout_ms=60_000)
    async with asyncio.timeout(10):
        with pytest.raises(TransportUnavailableError, match=r"127\.0\.0\.1.*Authorization Violation"):
            await NatsTransport(patient).start()


def test_user_and_password_and_token(tmp_path: Path) -> None:
    async def by_password(server: NatsServer) -> None:
        assert await _speaks(_settings(server, user="u", password="p"))
        assert await _speaks(_settings(server, server_url=server.url.replace("//", "//u:p@")))
        await _is_refused(_settings(server, user="u", password="wrong"))
        await _is_refused(_settings(server))

    async def by_token(server: NatsServer) -> None:
        assert await _speaks(_settings(server, token="t"))
        await _is_refused(_settings(server, token="wrong"))

    with nats_server(tmp_path / "1", "authorization { user: u, password: p }") as server:
        asyncio.run(by_password(server))
    with nats_server(tmp_path / "2", "authorization { token: t }") as server:
        asyncio.run(by_token(server))


def test_an_nkey_signs_what_the_server_asks(tmp_path: Path) -> None:
    right, wrong = KeyPair.create(Role.USER), KeyPair.create(Role.USER)
    (tmp_path / "right").write_text(right.seed)
    (tmp_path / "wrong").write_text(wrong.seed)

    async def main(server: NatsServer) -> None:
        assert await _speaks(_settings(server, nkey_seed_file=str(tmp_path / "right")))
        await _is_refused(_settings(server, nkey_seed_file=str(tmp_path / "wrong")))
        with pytest.raises(SettingsError, match="none"):
            await NatsTransport(_settings(server, nkey_seed_file=str(tmp_path / "none"))).start()

    with nats_server(tmp_path / "nats", f"authorization {{ users: [ {{ nkey: {right.public} }} ] }}") as server:
        asyncio.run(main(server))


def test_tls_is_spoken_and_a_stranger_is_not_believed(tmp_path: Path) -> None:
    _write_certificate(tmp_path, "mine")
    _write_certificate(tmp_path, "other")
    config = f'tls {{ cert_file: "{tmp_path}/mine.crt", key_file: "{tmp_path}/mine.key" }}'

    async def main(server: NatsServer) -> None:
        assert await _speaks(_settings(server, tls_ca=str(tmp_path / "mine.crt")))
        with pytest.raises(TransportUnavailableError, match="certificate"):
            await NatsTransport(_settings(server, tls_ca=str(tmp_path / "other.crt"))).start()
        with pytest.raises(SettingsError, match="TLS"):
            await NatsTransport(_settings(server, tls_ca=str(tmp_path / "none.crt"))).start()

    with nats_server(tmp_path / "nats", config) as server:
        asyncio.run(main(server))


def test_what_the_server_does_not_permit_is_said_and_the_rest_goes_on(tmp_path: Path) -> None:
    users = (
        "authorization { users: [ { user: u, password: p, permissions: { "
        'publish: ["ok.>", "_INBOX.>"], subscribe: ["ok.>", "_INBOX.>"] } } ] }'
    )

    async def main(server: NatsServer) -> None:
        told = Told()
        transport = NatsTransport(_settings(server, user="u", password="p"), told)
        await transport.start()
        with pytest.raises(MessageBusError, match="Secret"):
            await transport.subscribe("Secret.x")
        async with asyncio.timeout(2):
            with pytest.raises(MessageBusError, match="secret"):
                await transport.append("Secret.y", b"")
        await transport.publish("Secret.z", b"")
        await eventually(lambda: any("secret.z" in details for details in told.details))
        heard = await transport.subscribe("ok.a")
        await transport.publish("ok.a", b"it")
        assert (await take(heard, 1))[0].data == b"it"
        assert Happening.DISCONNECTED not in told.happenings
        await transport.stop(0.0)

    with nats_server(tmp_path, users) as server:
        asyncio.run(main(server))


def test_without_jetstream_streams_are_not_supported_and_subjects_are(tmp_path: Path) -> None:
    async def main(server: NatsServer) -> None:
        transport = NatsTransport(_settings(server))
        await transport.start()
        assert not transport.capabilities.durable
        assert not transport.capabilities.replay
        stream = new_stream()
        for attempt in (
            transport.declare(stream),
            transport.consume(stream, "c"),
            transport.read(stream),
            transport.remove(stream, 1),
        ):
            with pytest.raises(NotSupported, match="JetStream"):
                await attempt
        assert "nothing survives" in (await transport.promises()).process_kill
        await transport.stop(0.0)
        assert await _speaks(_settings(server))

    with nats_server(tmp_path, jetstream=False) as server:
        asyncio.run(main(server))


def test_a_server_that_stands_still_is_left_and_found_again(tmp_path: Path) -> None:
    async def main(server: NatsServer) -> None:
        told = Told()
        transport = NatsTransport(_settings(server, ping_interval_ms=300, answer_timeout_ms=500), told)
        await transport.start()
        stream = Stream("S", ("s.>",))
        reading = await transport.consume(stream, "c", redeliver_seconds=1.0)
        await transport.append("s.a", b"1")
        server.hold()
        with pytest.raises(TransportUnavailableError):
            await transport.append("s.a", b"2")
        await told.of(Happening.DISCONNECTED)
        server.release()
        await told.of(Happening.RECONNECTED)
        await transport.append("s.a", b"3", message_id="3")
        assert {delivery.data for delivery in await take(reading, 2)} <= {b"1", b"2", b"3"}
        await transport.stop(0.0)

    with nats_server(tmp_path) as server:
        asyncio.run(main(server))


def test_a_connection_that_the_server_ends_with_an_error_comes_back(tmp_path: Path) -> None:
    async def main(server: NatsServer) -> None:
        told = Told()
        transport = NatsTransport(_settings(server), told)
        await transport.start()
        heard = await transport.subscribe("a")
        assert transport._link is not None
        transport._link.write_soon(b"NONSENSE\r\n")
        await told.of(Happening.ERROR)
        await told.of(Happening.RECONNECTED)
        await transport.publish("a", b"it")
        assert (await take(heard, 1))[0].data == b"it"
        await transport.stop(0.0)

    with nats_server(tmp_path) as server:
        asyncio.run(main(server))


def test_an_answer_that_nobody_awaits_any_more_does_no_harm(tmp_path: Path) -> None:
    async def main(server: NatsServer) -> None:
        transport = NatsTransport(_settings(server))
        await transport.start()
        link = transport._link
        assert link is not None
        waiting = asyncio.create_task(link.flush(5))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait({waiting})
        assert await link.answered(5.0)
        assert await link.answered(5.0)
        await transport.stop(0.0)

    with nats_server(tmp_path) as server:
        asyncio.run(main(server))


def test_a_message_that_a_reader_chokes_on_does_not_end_the_connection(tmp_path: Path) -> None:
    async def main(server: NatsServer) -> None:
        transport = NatsTransport(_settings(server))
        await transport.start()
        heard = await transport.subscribe(("good", "bad.>"))
        assert transport._link is not None
        transport._link.write_soon(b"PUB bad.\xff\xfe 2\r\nxx\r\n")  # a subject that is no UTF-8
        await transport.publish("good", b"it")
        assert (await take(heard, 1))[0].data == b"it"
        await transport.stop(0.0)

    with nats_server(tmp_path) as server:
        asyncio.run(main(server))


def test_a_given_number_of_reconnections_is_kept_to(tmp_path: Path) -> None:
    async def main(server: NatsServer) -> None:
        told = Told()
        transport = NatsTransport(_settings(server, max_reconnects=2), told)
        await transport.start()
        heard = await transport.subscribe("a")
        await asyncio.to_thread(server.stop)
        await told.of(Happening.CLOSED)
        with pytest.raises(MessageBusError):
            await heard.next()
        with pytest.raises(TransportUnavailableError, match="given up"):
            await transport.publish("a", b"")
        await transport.stop(0.0)

    with nats_server(tmp_path) as server:
        asyncio.run(main(server))


def test_a_consumer_deleted_by_somebody_is_made_again(tmp_path: Path) -> None:
    async def main(server: NatsServer) -> None:
        told = Told()
        transport = NatsTransport(_settings(server), told)
        await transport.start()
        reading = await transport.consume(Stream("S", ("s.>",), work=True), "c")
        await transport.request("$JS.API.CONSUMER.DELETE.S.c", b"")
        await told.of(Happening.AMNESIA)
        await transport.append("s.a", b"it")
        assert (await take(reading, 1))[0].data == b"it"
        await transport.stop(0.0)

    with nats_server(tmp_path) as server:
        asyncio.run(main(server))


def test_what_an_operator_has_set_on_a_stream_stays(tmp_path: Path) -> None:
    async def main(server: NatsServer) -> None:
        transport = NatsTransport(_settings(server))
        await transport.start()
        stream = Stream("S", ("s.>",))
        await transport.declare(stream)
        config = (
            b'{"name":"S","subjects":["s.>"],"retention":"limits","storage":"file","discard":"old","max_msgs":7,'
            b'"max_age":604800000000000,"max_bytes":1073741824,"duplicate_window":120000000000}'
        )
        await transport.request("$JS.API.STREAM.UPDATE.S", config)
        await transport.declare(Stream("S", ("s.>", "t.>")))
        for index in range(9):
            await transport.append("t.a", b"%d" % index)
        assert len(await transport.read(stream)) == 7
        await transport.stop(0.0)

    with nats_server(tmp_path) as server:
        asyncio.run(main(server))


@pytest.mark.parametrize(
    "url", ["http://host:1", "nats://", "nats://host:99999", "nats://u:p@host:x", "nats://a,b://c"]
)
def test_a_wrong_address_is_said_without_its_password(url: str) -> None:
    with pytest.raises(SettingsError) as raised:
        _ = NatsSettings(server_url=url).servers
    assert "u:p" not in str(raised.value)


def test_settings_show_no_secret() -> None:
    settings = NatsSettings(server_url="nats://u:p@one:1,two", password="secret", token="secret")
    assert repr(settings) == str(settings) == "NatsSettings(one:1,two:4222)"


def _write_certificate(folder: Path, name: str) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / f"{name}.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / f"{name}.key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
