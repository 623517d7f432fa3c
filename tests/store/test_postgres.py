"""What only the store on PostgreSQL has: one round trip an append, locks, wake-ups, groups, errors in words."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from podium.exceptions import FenceLostError, StoreUnavailableError, UnstorableError
from podium.ids import PLACEMENT_SHARD, shard_of
from podium.store.batch import shard_moves
from podium.store.keys import MAX_KEY_BYTES, check_key
from podium.store.postgres import PostgresStore
from podium.store.postgres.append import Statement
from podium.store.postgres.connection import asyncpg
from podium.store.protocol import FORMAT, Append, InboxRow, Replica
from podium.testing.bus_tools import eventually
from podium.testing.postgresserver import PostgresServer
from podium.testing.scribe import ALL_SHARDS, Scribe, check_gapless
from podium.testing.store_tools import A, B, blob

pytestmark = pytest.mark.xdist_group("postgres")
LEASE_US = 60_000_000
BLOCKED = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"


def run(work: Awaitable[Any]) -> Any:
    async def all_of_it() -> Any:
        return await work

    return asyncio.run(all_of_it())


@asynccontextmanager
async def store_on(databases: Any, name: str = "one", **settings: Any) -> AsyncIterator[PostgresStore]:
    store = await PostgresStore.open(await databases.empty(name), **settings)
    try:
        yield store
    finally:
        await store.close()


@asynccontextmanager
async def session(store: PostgresStore) -> AsyncIterator[Any]:
    """A connection of a stranger's."""
    connection = await asyncpg().connect(store._address.url)
    try:
        yield connection
    finally:
        connection.terminate()


async def blocked(connection: Any, count: int = 1) -> None:
    async def so_many() -> bool:
        return bool(await connection.fetchval(BLOCKED) >= count)

    await until(so_many)


async def until(condition: Callable[[], Awaitable[bool]], seconds: float = 20.0) -> None:
    async with asyncio.timeout(seconds):
        while not await condition():  # noqa: ASYNC110 - a question to a server, which has no event for it
            await asyncio.sleep(0.01)


def member(name: str, **more: Any) -> Replica:
    given: dict[str, Any] = {"id": name, "name": name, "bus": "nats://one", "version": "1", "format": FORMAT}
    return Replica(**given | more)


# --- appends -----------------------------------------------------------------------------------------------------


def test_an_append_is_one_statement_on_one_session(podium_databases: Any) -> None:
    async def check() -> None:
        async with store_on(podium_databases) as store:
            scribe = Scribe(store)
            await scribe.take()
            await scribe.append({A: [("start", 1)]})
            asked: list[str] = []
            assert store._writer._connection is not None
            store._writer._connection.add_query_logger(lambda record: asked.append(record.query))
            await scribe.append(
                {A: [("x", 1), ("y", 2)], B: [("start", 1)]}, inbox=[scribe.post("c", "i")], blobs=[blob(b"content")]
            )
            assert len(asked) == 1
            await check_gapless(store)

    run(check())


def test_a_claim_waits_for_an_append_that_names_the_fence_and_then_fences_it_off(podium_databases: Any) -> None:
    async def check() -> None:
        async with store_on(podium_databases) as store, session(store) as other, session(store) as looker:
            for name in ("old", "new"):
                await store.join(member(name), LEASE_US)
            (owned,) = (await store.claim("old", {PLACEMENT_SHARD: 0})).values()
            await store._sessions.rows("UPDATE replicas SET lease_until_us = 0 WHERE id = 'old'")
            posted = InboxRow(A, "grant:1:1", "default", shard_of(A), "grant", b"{}", 1)
            batch = Append({PLACEMENT_SHARD: owned.fence}, (), (), inbox=[posted])
            statement = Statement(batch, shard_moves(batch), set())
            begun = other.transaction()
            await begun.start()
            await other.fetchrow(statement.sql, *statement.arguments)
            claiming = asyncio.create_task(store.claim("new", {PLACEMENT_SHARD: owned.fence}))
            await blocked(looker)
            assert not claiming.done()
            await begun.commit()
            assert (await claiming)[PLACEMENT_SHARD].fence == owned.fence + 1
            assert [row.input_id for row in await store.inbox(ALL_SHARDS, 0, 9)] == ["grant:1:1"]
            with pytest.raises(FenceLostError):
                await store.append(batch)

    run(check())


def test_appends_of_several_replicas_and_their_claims_never_wait_in_a_circle(podium_databases: Any) -> None:
    async def check() -> None:
        async with store_on(podium_databases) as store:
            stores = [await PostgresStore.open(store._address.url) for _ in range(3)]
            scribes = []
            for nth, each in enumerate(stores):
                scribe = Scribe(each, f"owner {nth}")
                await scribe.take([shard for shard in ALL_SHARDS if shard % 3 == nth])
                scribes.append(scribe)
            names = [f"execution-{n}" for n in range(60)]

            async def work(nth: int) -> None:
                own = [name for name in names if shard_of(name) % 3 == nth]
                order = own if nth % 2 else own[::-1]
                for turn in range(15):
                    posts = [scribes[nth].post(f"nobody-{n}", f"{turn}") for n in range(20)]
                    blobs = [blob(f"{turn % 3} {n}".encode()) for n in range(20)]
                    turned = nth % 2
                    await scribes[nth].append(
                        {name: [(f"{turn}", 1)] for name in order},
                        inbox=posts[::-1] if turned else posts,
                        blobs=blobs[::-1] if turned else blobs,
                    )

            await asyncio.gather(*(work(nth) for nth in range(3)))
            await check_gapless(store)
            assert len(await store.inbox(ALL_SHARDS, 0, 10_000)) == 20 * 15
            for each in stores:
                await each.close()

    run(check())


def test_a_caller_that_gives_up_doesnt_stop_its_append(podium_databases: Any) -> None:
    async def check() -> None:
        async with store_on(podium_databases) as store, session(store) as other, session(store) as looker:
            scribe = Scribe(store)
            await scribe.take()
            begun = other.transaction()
            await begun.start()
            await other.execute("SELECT FROM shards WHERE shard = $1 FOR UPDATE", shard_of(A))
            appending = asyncio.create_task(store.append(scribe.batch({A: [("start", 1)]})))
            await blocked(looker)
            appending.cancel()
            with pytest.raises(asyncio.CancelledError):
                await appending
            await begun.rollback()

            async def is_there() -> bool:
                return await store.execution(A) is not None

            await until(is_there)

    run(check())


def test_an_append_whose_connection_broke_cant_come_true_after_the_shards_were_looked_at(podium_databases: Any) -> None:
    async def check() -> None:
        async with store_on(podium_databases) as store, session(store) as other, session(store) as looker:
            scribe = Scribe(store)
            await scribe.take()
            await scribe.append({A: [("start", 1)]})
            begun = other.transaction()
            await begun.start()
            await other.execute("SELECT FROM shards WHERE shard = $1 FOR UPDATE", shard_of(A))
            appending = asyncio.create_task(store.append(scribe.batch({A: [("unknown", 1)]})))
            await blocked(looker)
            assert store._writer._connection is not None
            store._writer._connection.terminate()  # as a network that is cut: the server knows nothing of it
            with pytest.raises(StoreUnavailableError, match="may be done or not"):
                await appending
            assert await looker.fetchval(BLOCKED) == 1
            before = await store.shards()
            assert await looker.fetchval(BLOCKED) == 0
            await begun.rollback()
            assert await store.shards() == before
            assert [row.input_id for row in await store.history(A)] == ["start"]
            await scribe.append({A: [("next", 1)]})

    run(check())


def test_a_statement_that_takes_too_long_is_rolled_back_and_the_next_one_works(podium_databases: Any) -> None:
    async def check() -> None:
        async with store_on(podium_databases, statement_timeout_seconds=0.3) as store, session(store) as other:
            scribe = Scribe(store)
            await scribe.take()
            begun = other.transaction()
            await begun.start()
            await other.execute("SELECT FROM shards WHERE shard = $1 FOR UPDATE", shard_of(A))
            batch = scribe.batch({A: [("start", 1)]})
            with pytest.raises(StoreUnavailableError, match="time-out, and was rolled back"):
                await store.append(batch)
            await begun.rollback()
            assert await store.execution(A) is None
            await store.append(batch)
            assert await store.execution(A) is not None

    run(check())


def test_what_postgresql_cant_keep_is_refused_and_harms_nobody_else(podium_databases: Any) -> None:
    async def check() -> None:
        async with store_on(podium_databases) as store:
            scribe = Scribe(store)
            await scribe.take()
            good = [store.post(scribe.post(A, f"{n}")) for n in range(20)]
            odd = [store.post(scribe.post(A, "nul \0")), store.post(scribe.post(A, "half \ud800"))]
            answers = await asyncio.gather(*good, *odd, return_exceptions=True)
            assert answers[:20] == [True] * 20
            assert all(type(answer) is UnstorableError for answer in answers[20:])
            with pytest.raises(UnstorableError):
                await scribe.append({A: [("nul \0", 1)]})
            await scribe.take()
            await scribe.append({A: [("start", 1)]})

    run(check())


# --- the inbox ---------------------------------------------------------------------------------------------------


def test_an_inbox_row_that_becomes_visible_late_isnt_missed(podium_databases: Any) -> None:
    async def check() -> None:
        async with store_on(podium_databases) as store, session(store) as other:
            scribe = Scribe(store)
            begun = other.transaction()
            await begun.start()
            await other.execute(
                "INSERT INTO inbox (execution, input_id, tenant, shard, kind, payload, posted_us) "
                "VALUES ($1, 'first', 'default', $2, 'test', '', 1)",
                A,
                shard_of(A),
            )
            await store.post(scribe.post(A, "second"))
            (second,) = await store.inbox(ALL_SHARDS, 0, 9)
            assert second.input_id == "second"
            await begun.commit()
            (first,) = await store.inbox(ALL_SHARDS, 0, 9, known=[second.id])
            assert first.input_id == "first"
            assert first.id < second.id
            assert await store.inbox(ALL_SHARDS, 0, 9, known=[first.id, second.id]) == []

    run(check())


def test_what_is_posted_and_put_together_goes_out_together(podium_databases: Any) -> None:
    async def check() -> None:
        async with store_on(podium_databases) as store:
            scribe = Scribe(store)
            asked: list[str] = []
            rows = store._sessions.rows

            async def counted(sql: str, *arguments: Any, **how: Any) -> Any:
                asked.append(sql)
                return await rows(sql, *arguments, **how)

            store._sessions.rows = counted  # type: ignore[method-assign]
            posts = [scribe.post(A, f"{n // 2}") for n in range(1_000)]
            puts = [[blob(b"%d" % (n // 2))] for n in range(1_000)]
            answers = await asyncio.gather(
                *(store.post(row) for row in posts), *(store.put(blobs, 1) for blobs in puts)
            )
            assert sum(bool(answer) for answer in answers[:1_000]) == 500
            assert list(answers[:1_000:2]) == [True] * 500
            assert len([sql for sql in asked if "podium_post" in sql]) <= 3
            assert len([sql for sql in asked if "podium_put" in sql]) <= 3
            ids = [(row.id, int(row.input_id)) for row in await store.inbox(ALL_SHARDS, 0, 1_000)]
            assert [number for _, number in sorted(ids)] == list(range(500))

    run(check())


# --- wake-ups ----------------------------------------------------------------------------------------------------


def test_others_are_woken_for_their_shards_alone_and_by_everything_after_a_broken_connection(
    podium_databases: Any,
) -> None:
    async def check() -> None:
        server: PostgresServer = podium_databases.server
        async with store_on(podium_databases) as store, store_on_same(store) as other:
            await store.join(member("one"), LEASE_US)
            await store.claim("one", {shard_of(A): 0})
            woken: list[str] = []
            store.listen(woken.append)
            await eventually(lambda: {"inbox", "replicas"} <= set(woken))  # what was before it listened
            await other.join(member("two"), LEASE_US)
            woken.clear()
            on_another = next(n for n in (f"x{k}" for k in range(99)) if shard_of(n) != shard_of(A))
            await other.post(Scribe(other).post(on_another, "i"))
            await other.post(Scribe(other).post(A, "i"))
            await eventually(lambda: "inbox" in woken)
            assert woken.count("inbox") == 1
            woken.clear()
            assert await asyncio.to_thread(server.terminate_backends, "one", "podium listener") == 1
            await eventually(lambda: {"inbox", "replicas"} <= set(woken))
            woken.clear()
            await other.leave("two")
            await eventually(lambda: "replicas" in woken)

    run(check())


@asynccontextmanager
async def store_on_same(store: PostgresStore) -> AsyncIterator[PostgresStore]:
    other = await PostgresStore.open(store._address.url)
    try:
        yield other
    finally:
        await other.close()


def test_two_schemas_of_one_database_dont_see_and_dont_wake_each_other(podium_databases: Any) -> None:
    async def check() -> None:
        server: PostgresServer = podium_databases.server
        url = await asyncio.to_thread(server.create_database, "schemas")
        await asyncio.to_thread(server.execute, "CREATE SCHEMA left_one; CREATE SCHEMA right_one", "schemas")
        left = await PostgresStore.open(f"{url}?search_path=left_one", migrate=True)
        right = await PostgresStore.open(f"{url}?search_path=right_one", migrate=True)
        woken: list[str] = []
        right.listen(woken.append)
        await eventually(lambda: len(woken) == 2)
        scribe = Scribe(left)
        await scribe.take()
        await scribe.append({A: [("start", 1)]})
        await left.post(scribe.post(A, "i"))
        assert await right.execution(A) is None
        assert await right.inbox(ALL_SHARDS, 0, 9) == []
        await right.post(Scribe(right).post(A, "own"))
        await eventually(lambda: len(woken) == 3)
        assert woken[2] == "inbox"
        await left.close()
        await right.close()

    run(check())


# --- errors in words ---------------------------------------------------------------------------------------------


def test_a_server_that_isnt_there_is_said_so_with_what_to_do() -> None:
    with pytest.raises(StoreUnavailableError, match=r"can't be reached.*check that PostgreSQL runs") as error:
        run(PostgresStore.open("postgresql://me:hidden@127.0.0.1:1/none"))
    assert "hidden" not in str(error.value)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:se/cret@127.0.0.1:5432/one",
        "postgresql://me:se:cret@[broken/one",
        "postgresql://me:secret@127.0.0.1:port/one",
        "postgresql://me:secret@127.0.0.1/one?sslmode=perhaps",
        "postgresql://me:secret@127.0.0.1/one?connect_timeout=soon",
    ],
)
def test_no_error_of_an_odd_url_shows_its_password(url: str) -> None:
    with pytest.raises(StoreUnavailableError) as error:
        run(PostgresStore.open(url))
    shown: BaseException | None = error.value
    while shown is not None:
        assert "cret" not in str(shown)
        shown = shown.__cause__ or (None if shown.__suppress_context__ else shown.__context__)


def test_no_repr_shows_the_password(podium_databases: Any) -> None:
    async def check() -> None:
        url = (await podium_databases.empty("one")).replace("podium@", "podium:hidden@")
        store = await PostgresStore.open(url)
        assert "hidden" not in f"{store!r} {store.url} {store._address!r} {store._address}"
        await store.close()

    run(check())


def test_a_database_without_tables_or_one_that_isnt_there_is_said_so(podium_databases: Any) -> None:
    server: PostgresServer = podium_databases.server
    with pytest.raises(StoreUnavailableError, match="podium migrate --database"):
        run(PostgresStore.open(server.url("postgres")))
    with pytest.raises(StoreUnavailableError, match="createdb"):
        run(PostgresStore.open(server.url("nowhere")))


def test_the_pool_is_bounded_and_a_full_server_is_said_so(podium_databases: Any) -> None:
    server: PostgresServer = podium_databases.server

    async def check() -> None:
        url = await podium_databases.empty("one")
        store = await PostgresStore.open(url, application="bounded", max_connections=3)
        await asyncio.gather(*(store.execution(f"{n}") for n in range(200)))
        asked = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'bounded%'"
        assert int(await asyncio.to_thread(server.execute, asked)) <= 3
        await store.close()
        assert await asyncio.to_thread(server.execute, asked) in ("0", "1", "2", "3")
        await asyncio.to_thread(
            server.execute, "DROP ROLE IF EXISTS narrow; CREATE ROLE narrow LOGIN SUPERUSER CONNECTION LIMIT 0"
        )
        with pytest.raises(StoreUnavailableError):
            await PostgresStore.open(server.url("nowhere", user="narrow"))

    run(check())


def test_without_the_extra_one_error_names_it() -> None:
    program = (
        "import asyncio, sys\n"
        "sys.modules['asyncpg'] = None\n"
        "from podium.store.postgres import PostgresStore\n"
        "from podium.exceptions import MissingExtraError\n"
        "try: asyncio.run(PostgresStore.open('postgresql://h/d'))\n"
        "except MissingExtraError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert "pip install 'podium[postgres]'" in done.stdout, done.stderr


def test_the_driver_is_imported_when_a_database_is_opened_and_not_before() -> None:
    program = (
        "import sys, podium.store.postgres; print(sorted({'asyncpg', 'alembic', 'sqlalchemy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stderr


def test_the_longest_keys_that_the_doors_let_in_fit_the_indexes(podium_databases):
    async def written() -> None:
        async with store_on(podium_databases) as store:
            letters = "".join(chr(0x4E00 + nth * 7_919 % 20_000) for nth in range(MAX_KEY_BYTES // 3))  # incompressible
            check_key("an execution's id", letters)
            scribe = Scribe(store)
            await scribe.take()
            await scribe.append({letters: [(f"handed_back:{letters[:-4]}", 1)]})
            assert await store.post(InboxRow(letters, letters, "default", shard_of(letters), "cancel", b"{}", 1))

    run(written())
