"""Schedules on PostgreSQL: its clock counts, its replicas share the firing, and one that goes is made good for."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from podium.app import Podium
from podium.settings import Settings
from podium.store.postgres.migrations import upgrade
from podium.testing.postgresserver import PostgresServer, postgres_server
from podium.workflow.schedules.spec import Overlap, ScheduleSpec
from podium.workflow.yaml import load_workflow

pytestmark = pytest.mark.xdist_group("replicas")
GREET = load_workflow("name: greet\ntasks: [{id: say, agent: echo, input: {text: hello}}]\n")
NAMES = "abcdef"


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with postgres_server() as server:
        yield server


async def ended(podium: Podium, count: int) -> None:
    async with asyncio.timeout(60):
        while True:
            rows = await podium.store.executions(None, limit=1_000)
            if len(rows) == count and {row.status for row in rows} == {"completed"}:
                return
            await asyncio.sleep(0.05)


def test_replicas_fire_each_time_once(server: PostgresServer) -> None:
    settings = Settings(database=server.create_database("schedules"))

    async def work() -> None:
        await upgrade(settings.database)
        async with await Podium.open(settings, own=False, may_own=False, works=False, elsewhere=True) as guest:
            spec = ScheduleSpec(every_seconds=1.0, overlap=Overlap.ALLOW, max_firings=3)
            for name in NAMES:
                await guest.schedules.create(name, GREET, spec)
            one = await Podium.open(settings, bus="nats://x", incarnation="1")
            other = await Podium.open(settings, bus="nats://x", incarnation="2")
            async with other:
                async with one:
                    await ended(guest, 6)
                await ended(guest, 18)
                found = await guest.schedules.all()
                assert {(each.fired, each.skipped, each.missed) for each in found} == {(3, 0, 0)}
                assert [each.name for each in found] == [*NAMES]
                at = datetime.now(UTC) + timedelta(hours=1)
                await guest.schedules.create("later", GREET, ScheduleSpec(at=at))
                assert (await guest.schedules.pause("later")).paused
                await guest.schedules.trigger("later")
                await ended(guest, 19)
                await guest.schedules.delete("later")

    asyncio.run(work())
