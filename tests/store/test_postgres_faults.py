"""The store on PostgreSQL while its server is killed, restarted, held, read-only, or ends its connections at random."""

from __future__ import annotations

import asyncio
import datetime as dt
import random
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from podium.exceptions import DuplicateInputError, FenceLostError, SequenceConflictError, StoreUnavailableError
from podium.ids import shard_of
from podium.store.postgres import PostgresStore
from podium.store.postgres.logs import PostgresLogs
from podium.store.postgres.migrations import upgrade
from podium.store.protocol import Append
from podium.testing.bus_tools import eventually
from podium.testing.postgresserver import PostgresServer, postgres_server
from podium.testing.scribe import ALL_SHARDS, Scribe, check_gapless
from podium.testing.store_tools import A, B

pytestmark = pytest.mark.xdist_group("postgres-faults")


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with postgres_server() as server:
        asyncio.run(upgrade(server.create_database("podium_tables")))
        yield server


@pytest.fixture
def url(server: PostgresServer, request: pytest.FixtureRequest) -> Iterator[str]:
    name = f"db_{abs(hash(request.node.name))}"
    yield server.create_database(name, template="podium_tables")
    server.start()
    server.drop_database(name)


async def again(scribe: Scribe, execution: str, input_id: str) -> None:
    """Append an input until it is known to be there, as an owner does: an unknown outcome is looked up."""
    async with asyncio.timeout(60):
        while True:
            batch = scribe.batch({execution: [(input_id, 1)]})
            try:
                await scribe.write(batch)
                return
            except StoreUnavailableError:
                if await settled(scribe, batch):
                    return


async def settled(scribe: Scribe, batch: Append) -> bool:
    """Whether a batch of unknown outcome is there; the scribe knows afterwards where everything is."""
    (row,) = batch.rows
    while True:
        try:
            there = await scribe.store.recorded([(row.execution, row.input_id)])
            for shard in await scribe.store.shards():
                scribe.positions[shard.shard] = shard.position
            found = await scribe.store.execution(row.execution)
            if found is not None:
                scribe.executions[row.execution] = found
            return bool(there)
        except StoreUnavailableError:
            await asyncio.sleep(0.01)


def test_nothing_is_lost_or_twice_while_connections_end_at_random(server: PostgresServer, url: str) -> None:
    async def check() -> None:
        store = await PostgresStore.open(url)
        scribe = Scribe(store)
        await scribe.take()
        woken: list[str] = []
        store.listen(woken.append)
        chance = random.Random(5)
        done = asyncio.Event()

        async def strike() -> int:
            ended = 0
            while not done.is_set():
                await asyncio.sleep(chance.random() * 0.1)
                ended += await asyncio.to_thread(server.terminate_backends, url.rpartition("/")[2])
            return ended

        async def append(count: int) -> None:
            for n in range(count):
                await again(scribe, chance.choice([A, B]), f"{n}")

        async def look(count: int) -> None:
            for n in range(count):
                with suppress(StoreUnavailableError):  # several connections in a row
                    await store.inbox(ALL_SHARDS, 0, 10)
                    await store.save_cursor("reader", 1, n)

        striking = asyncio.create_task(strike())
        await asyncio.gather(append(80), look(80))
        done.set()
        assert await striking > 3
        await store.save_cursor("reader", 1, 79)
        await check_gapless(store)
        inputs = [row.input_id for name in (A, B) for row in await store.history(name)]
        assert sorted(map(int, inputs)) == list(range(80))
        assert await store.cursor("reader", 1) == 79
        await store.close()

    asyncio.run(check())


@pytest.mark.parametrize("seed", range(4))
def test_a_server_that_is_killed_during_an_append_has_all_of_it_or_nothing(
    server: PostgresServer, url: str, seed: int
) -> None:
    async def check() -> None:
        store = await PostgresStore.open(url)
        scribe = Scribe(store)
        await scribe.take()
        await scribe.append({A: [("start", 1)], B: [("start", 1)]})
        acknowledged = 1
        chance = random.Random(seed)

        async def kill() -> None:
            await asyncio.sleep(chance.random() * 0.1)
            await asyncio.to_thread(server.kill)

        killing = asyncio.create_task(kill())
        with suppress(StoreUnavailableError):
            while True:
                await scribe.append({name: [(f"{acknowledged}:{n}", 2) for n in range(50)] for name in (A, B)})
                acknowledged += 1
        await killing
        with pytest.raises(StoreUnavailableError):
            await store.execution(A)
        await asyncio.to_thread(server.start)
        found = await store.execution(A)
        assert found is not None
        known = scribe.executions[A].sequence
        assert found.sequence in (known, known + 100)
        await check_gapless(store)
        assert {row.position for row in await store.shards() if row.shard == shard_of(A)}
        await store.close()

    asyncio.run(check())


def test_a_restart_costs_errors_and_then_everything_works_again(server: PostgresServer, url: str) -> None:
    async def check() -> None:
        store = await PostgresStore.open(url)
        scribe = Scribe(store)
        await scribe.take()
        woken: list[str] = []
        store.listen(woken.append)
        await eventually(lambda: len(woken) == 2)
        await asyncio.to_thread(server.restart)
        assert await store.execution(A) is None  # a look-up is asked again on a new connection
        await again(scribe, A, "start")
        await eventually(lambda: len(woken) >= 4)
        await store.post(scribe.post(A, "i"))
        await eventually(lambda: len(woken) >= 5)
        await store.close()

    asyncio.run(check())


def test_a_server_that_becomes_read_only_acknowledges_nothing_and_is_left_within_seconds(
    server: PostgresServer, url: str
) -> None:
    database = url.rpartition("/")[2]

    def sessions() -> set[str]:
        asked = f"SELECT pid FROM pg_stat_activity WHERE datname = '{database}' AND application_name = 'podium'"
        return set(server.execute(asked).split())

    async def check() -> None:
        store = await PostgresStore.open(url)
        scribe = Scribe(store)
        await scribe.take()
        await asyncio.gather(*(store.execution(f"{n}") for n in range(50)), scribe.append({A: [("start", 1)]}))
        before = await asyncio.to_thread(sessions)
        assert len(before) >= 2
        await asyncio.to_thread(server.set_read_only, True)
        with pytest.raises(StoreUnavailableError, match="read-only"):
            await store.append(scribe.batch({A: [("lost", 1)]}))
        with pytest.raises(StoreUnavailableError, match="read-only"):
            await store.post(scribe.post(A, "lost"))
        with pytest.raises(StoreUnavailableError, match="read-only"):
            await store.renew("me", 1)
        async with asyncio.timeout(5):
            while before & await asyncio.to_thread(sessions):  # noqa: ASYNC110 - the server has no event for it
                await asyncio.sleep(0.05)
        await asyncio.to_thread(server.set_read_only, False)
        assert [row.input_id for row in await store.history(A)] == ["start"]
        assert await store.inbox(ALL_SHARDS, 0, 9) == []
        await scribe.learn()
        await scribe.append({A: [("next", 1)]})
        await store.close()

    asyncio.run(check())


def test_a_server_that_stands_still_is_given_up_after_the_time_out(server: PostgresServer, url: str) -> None:
    async def check() -> None:
        store = await PostgresStore.open(url, connect_timeout_seconds=0.5, statement_timeout_seconds=0.2)
        scribe = Scribe(store)
        await scribe.take()
        await scribe.append({A: [("start", 1)]})
        await asyncio.to_thread(server.hold)
        try:
            async with asyncio.timeout(15):
                with pytest.raises(StoreUnavailableError, match="may be done or not"):
                    await store.append(scribe.batch({A: [("unknown", 1)]}))
                with pytest.raises(StoreUnavailableError):
                    await store.execution(A)
        finally:
            await asyncio.to_thread(server.release)
        with suppress(DuplicateInputError, SequenceConflictError, FenceLostError):  # it was done
            await scribe.append({A: [("unknown", 1)]})
        assert [row.input_id for row in await store.history(A)] == ["start", "unknown"]
        await check_gapless(store)
        await store.close()

    asyncio.run(check())


def test_logs_of_attempts_never_stop_anybody_and_go_on_when_the_server_is_back(
    server: PostgresServer, url: str
) -> None:
    from podium.fleet.messages import LogLine

    logs = PostgresLogs(url, lines_buffered=100)
    logs.write(LogLine("execution", "task", "attempt", 1, "info", "before"))
    logs.flush()
    server.kill()
    for number in range(250):
        logs.write(LogLine("execution", "task", "attempt", number, "info", "meanwhile"))
    logs.flush()
    assert logs.dropped == 250
    assert logs.read("execution") == []
    server.start()
    logs.write(LogLine("execution", "task", "attempt", 2, "info", "after"))
    logs.flush()
    assert [line.text for line in logs.read("execution")] == ["after"]  # the table is empty after a crash
    logs.close()
    logs.close()


def self_signed(name: str) -> tuple[bytes, bytes]:
    """Return a certificate for a name, which vouches for itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    encoding = serialization.Encoding.PEM
    plain = key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return certificate.public_bytes(encoding), plain


def test_sslmode_is_what_it_is_to_libpq() -> None:
    with postgres_server() as server:
        certificate = server.use_tls(*self_signed("localhost"))
        url = server.create_database("tls")
        asyncio.run(upgrade(f"{url}?sslmode=require"))
        by_name = url.replace("127.0.0.1", "localhost")

        async def encrypted(url: str) -> bool:
            store = await PostgresStore.open(url)
            row = await store._sessions.row("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
            await store.close()
            assert row is not None
            return bool(row[0])

        assert asyncio.run(encrypted(url))  # prefer, as libpq does
        assert asyncio.run(encrypted(f"{url}?sslmode=require"))
        assert not asyncio.run(encrypted(f"{url}?sslmode=disable"))
        assert asyncio.run(encrypted(f"{by_name}?sslmode=verify-full&sslrootcert={certificate}"))
        with pytest.raises(StoreUnavailableError):  # the certificate is another name's
            asyncio.run(encrypted(f"{url}?sslmode=verify-full&sslrootcert={certificate}"))
        with pytest.raises(StoreUnavailableError):  # nobody vouches for it
            asyncio.run(encrypted(f"{by_name}?sslmode=verify-full"))


def test_a_wrong_password_is_said_so_and_not_shown() -> None:
    with postgres_server() as server:
        server.execute("CREATE ROLE guarded LOGIN PASSWORD 'right'")
        server.allow("host all guarded 127.0.0.1/32 scram-sha-256")
        url = server.create_database("one")
        asyncio.run(upgrade(url))
        server.execute("GRANT ALL ON ALL TABLES IN SCHEMA public TO guarded", "one")

        async def opened(password: str) -> Any:
            store = await PostgresStore.open(server.url("one", "guarded", password))
            await store.close()

        asyncio.run(opened("right"))
        with pytest.raises(StoreUnavailableError, match="refuses the login") as error:
            asyncio.run(opened("wrong-secret"))
        assert "wrong-secret" not in str(error.value)


def test_of_several_hosts_the_one_that_can_be_written_to_is_found(server: PostgresServer, url: str) -> None:
    database = url.rpartition("/")[2]

    async def writes(several: str) -> str:
        store = await PostgresStore.open(several)
        await store.add_tenant("somebody", 1)
        row = await store._sessions.row("SELECT inet_server_port()::text")
        await store.close()
        assert row is not None
        return str(row[0])

    with postgres_server() as standby:
        standby.create_database(database)
        standby.set_read_only(True)
        several = f"postgresql://podium@127.0.0.1:{standby.port},127.0.0.1:{server.port}/{database}"
        assert asyncio.run(writes(several)) == str(server.port)
        standby.stop()
        assert asyncio.run(writes(several)) == str(server.port)
