"""`podium replicas`, `migrate`, `upgrade`: what they show of replicas, what they say where the database is a file."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from msgspec.structs import replace

from podium.cli import replicas as shown
from podium.cli.upgrading import newest_for_all
from podium.exceptions import SchemaTooNewError
from podium.ids import PLACEMENT_SHARD
from podium.store import protocol
from podium.store.postgres import PostgresStore
from podium.store.postgres.migrations import HEAD
from podium.store.protocol import FORMAT, Cluster, Replica, ShardRow
from podium.testing.postgresserver import PostgresServer, postgres_server
from tests.cli.conftest import Here
from tests.cli.support import too_wide

pytestmark = pytest.mark.xdist_group("replicas")
NOW = 1_700_000_000_000_000


def replica(number: int, lease_seconds: float = 3.2, **more) -> Replica:
    return Replica(
        f"r{number}", f"host-{number}", "nats://bus:4222", "0.1.0", FORMAT, NOW - 90_000_000,
        NOW + round(lease_seconds * 1e6), **more,
    )  # fmt: skip


def cluster(*replicas: Replica, shares: dict[str, range], leader: str = "") -> Cluster:
    rows = [ShardRow(shard, 1, 0, owner) for owner, shards in shares.items() for shard in shards]
    return Cluster(NOW, replicas, (*rows, ShardRow(PLACEMENT_SHARD, 4, 0, leader)))


THREE = cluster(
    replica(1), replica(2, draining=True), replica(3, -12),
    shares={"r1": range(22), "r2": range(22, 43), "r3": range(43, 60)}, leader="r1",
)  # fmt: skip


def test_each_replica_has_its_shards_and_what_nobody_owns_is_named():
    document = shown.document(THREE)
    assert document["leader"] == "r1"
    assert document["shards_without_owner"] == list(range(43, 64)), "the lease of their owner has ended, or never taken"
    found = {one["id"]: (one["state"], one["leads"], len(one["shards"])) for one in document["replicas"]}
    assert found == {"r1": ("live", True, 22), "r2": ("draining", False, 21), "r3": ("gone", False, 17)}
    assert document["replicas"][2]["lease_seconds"] == -12


def test_the_table_fits_into_80_columns_and_sentences_say_what_is_missing(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    table = shown._table(THREE).splitlines()
    assert not [line for line in table if len(line) > 80]
    assert table[0].split() == ["REPLICA", "STATE", "SHARDS", "ROLE", "FOR", "LEASE", "VERSION", "BUS"]
    assert table[1].split()[:9] == ["host-1", "live", "22", "places", "1", "m", "30", "s", "3.2"]
    (sentence,) = shown._sentences(THREE)
    assert sentence.startswith("21 of 64 shards have no owner (43-63)")
    assert list(shown._sentences(cluster(replica(1), shares={"r1": range(64)}, leader="r1"))) == []
    (leaderless,) = shown._sentences(cluster(replica(1), shares={"r1": range(64)}))
    assert leaderless.startswith("nobody gives tasks to agents")
    assert list(shown._sentences(cluster(replica(1, -1), shares={"r1": range(64)}))) == [shown.NOBODY]


@pytest.mark.parametrize(
    ("numbers", "text"), [([], ""), ([3], "3"), ([1, 2, 3], "1-3"), ([0, 2, 3, 9, 8], "0, 2-3, 8-9")]
)
def test_shards_are_written_as_ranges(numbers, text):
    assert shown.ranges(numbers) == text


def test_the_newest_format_is_that_which_all_live_replicas_read():
    old = Replica("r9", "old", "", "0.0.9", FORMAT - 1, NOW, NOW + 1)
    assert newest_for_all(cluster(replica(1), shares={})) == FORMAT
    assert newest_for_all(cluster(replica(1), old, shares={})) == FORMAT - 1
    gone = Replica("r9", "old", "", "0.0.9", FORMAT - 1, NOW, NOW - 1)
    assert newest_for_all(cluster(replica(1), gone, shares={})) == FORMAT


def test_on_a_file_nothing_is_to_do(here: Here):
    assert "is a file, which has one owner: nobody at the moment" in here("replicas")
    here("run", "noop.yaml")
    assert here.json("replicas") == {"replicas": [], "owner": None}
    assert "nothing is to do" in here("migrate", "--check").replace("there is nothing to do", "nothing is to do")
    assert here.json("migrate")["up_to_date"] is True
    for command in ("status", "finish"):
        assert "one owner" in " ".join(here("upgrade", command).split())
        assert here.json("upgrade", command)["can_finish"] is False
    assert not list(too_wide(here.out.splitlines()))


def test_what_makes_no_sense_is_refused(here: Here):
    assert "--down needs --to REVISION" in here.refused("migrate", "--down")
    assert "--check takes no other option" in here.refused("migrate", "--check", "--to", "0001")


def test_a_server_that_is_not_there_is_said_without_its_password(here: Here):
    url = "postgresql://me:hunter2@127.0.0.1:1/podium"
    for command in (["replicas"], ["migrate"], ["ps"], ["agents"], ["upgrade", "status"]):
        said = here.refused(*command, "--database", url, code=None)
        assert "hunter2" not in said
        assert "127.0.0.1:1" in said


# --- with a real server -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with postgres_server() as server:
        yield server


@pytest.fixture
def url(server: PostgresServer, here: Here, request: pytest.FixtureRequest) -> str:
    """A database of its own, which the environment names."""
    url = server.create_database(f"cli_{abs(hash(request.node.name))}")
    request.getfixturevalue("monkeypatch").setenv("DATABASE_URL", url)
    return url


def test_tables_are_made_by_migrate_alone_and_nothing_else_starts_before(here: Here, url: str):
    for command in (["ps"], ["run", "noop.yaml"], ["up"], ["replicas"]):
        assert "podium migrate" in here.refused(*command, code=None)
    assert here.json("migrate", "--check", code=1) == {
        "before": None, "revision": None, "newest": HEAD, "up_to_date": False
    }  # fmt: skip
    assert f"is up to date now ({HEAD})" in " ".join(here("migrate").split())
    assert f"is up to date ({HEAD})" in " ".join(here("migrate").split())
    assert here.json("migrate", "--check")["up_to_date"] is True
    assert here("ps") == "no executions yet; `podium run FILE` starts one\n"
    assert "there is no" in here.refused("migrate", "--to", "nowhere") or "nowhere" in here.err
    assert "without tables" in " ".join(here("migrate", "--down", "--to", "base").split())
    assert "podium migrate" in here.refused("ps", code=None)


def test_nobody_is_there_at_first(here: Here, url: str):
    here("migrate")
    assert here.json("replicas")["replicas"] == []
    assert "no orchestrator runs on this database" in here("replicas")
    assert here.json("upgrade", "status") == {"format": FORMAT, "reads": FORMAT, "can_finish": False, "replicas": []}
    assert "nothing is to finish" in here("upgrade", "finish")
    assert "no orchestrator runs" in here.refused("submit", "noop.yaml", code=1)


def test_doctor_says_what_the_server_promises(here: Here, url: str):
    here("migrate")
    said = " ".join(here("doctor").split())
    assert "synchronous_commit on, fsync off" in said
    assert "may leave the database damaged" in said
    document = here.json("doctor")
    assert document["database"].startswith("postgresql://…@127.0.0.1")
    assert document["owner"] == "nobody"


def test_an_upgrade_is_finished_only_once_every_replica_reads_the_new_format(here: Here, url: str, monkeypatch):
    here("migrate")
    earlier = Replica("", "worker-1/7", "nats://bus:4222", "0.0.9", FORMAT)

    async def join(replica: str) -> None:
        store = await PostgresStore.open(url)
        try:
            await store.join(replace(earlier, id=replica), 600_000_000)
        finally:
            await store.close()

    async def leave(replica: str) -> None:
        store = await PostgresStore.open(url)
        try:
            await store.leave(replica)
        finally:
            await store.close()

    asyncio.run(join("old"))
    assert here.json("upgrade", "status")["can_finish"] is False
    monkeypatch.setattr(protocol, "FORMAT", FORMAT + 1)  # as the next version has it
    assert f"format {FORMAT + 1} waits for the replicas of an earlier version" in " ".join(
        here("upgrade", "status").split()
    )
    assert "worker-1/7" in here.refused("upgrade", "finish")
    asyncio.run(leave("old"))
    assert here.json("upgrade", "status")["can_finish"] is True
    assert "the way back is open" in " ".join(here("upgrade", "status").split())
    asyncio.run(join("back"))
    asyncio.run(leave("back"))
    assert here.json("upgrade", "finish") == {"format": FORMAT + 1, "before": FORMAT}
    with pytest.raises(SchemaTooNewError):
        asyncio.run(join("too late"))
    assert "no upgrade is under way" in " ".join(here("upgrade", "status").split())
