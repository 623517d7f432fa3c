"""Attempts count from 1 in each run of a loop: in what clients are told, from wherever that begins, and in logs."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace
from typing import Any, cast

import pytest

from podium.cli.logs import _Reader
from podium.engine.codec import decode_input
from podium.engine.snapshot import encode_state
from podium.service.announcing import Announcer
from podium.store.logs import KeptLine
from podium.store.protocol import ExecutionRow, Loaded, LogRow, Snapshot
from podium.workflow.model import ContinueAsNew, Task, Workflow
from tests.engine.playing import ID, Play

LOOP = Workflow(name="w", tasks=(Task(id="a", agent_type="worker"),), continue_as_new=ContinueAsNew())
RUNS = 4


class Recorded:
    """The history of a loop as a store gives it, with a snapshot in it or none."""

    def __init__(self, snapshot_behind: int | None = None) -> None:
        play = Play(LOOP)
        play.start()
        for _ in range(RUNS):
            play.run("a", 1)
            play.tick()
        self.rows: list[LogRow] = []
        self.snapshot: Snapshot | None = None
        again, sequence = Play(LOOP), 1
        for at, (now_us, given, events) in enumerate(play.rows):
            again.now_us = now_us
            count = len(again.give(decode_input(given)))
            self.rows.append(LogRow(0, at + 1, "t", ID, sequence, count, str(at), "x", now_us, given, events))
            sequence += count
            if at == snapshot_behind:
                self.snapshot = Snapshot(ID, again.state.sequence, again.state.run, encode_state(again.state), now_us)

    async def load(self, execution: str) -> Loaded:
        return Loaded(cast("ExecutionRow", None), self.snapshot, [])

    async def history(self, execution: str, after: int = 0, limit: int = 1_000) -> list[LogRow]:
        return [row for row in self.rows if row.sequence > after][:limit]


async def workflow_of(tenant: str, definition: str) -> Workflow:
    return LOOP


@pytest.mark.parametrize("snapshot", [None, 3, 9], ids=["none", "behind", "ahead"])
@pytest.mark.parametrize("begin", [0, 5], ids=["whole", "from_the_middle"])
def test_events_name_the_attempt_of_the_run(begin: int, snapshot: int | None) -> None:
    told: list[dict[str, Any]] = []

    async def publish(subject: str, data: bytes, headers: dict[str, str]) -> None:
        told.append(json.loads(data))

    store = Recorded(snapshot)
    announcer = Announcer(cast("Any", SimpleNamespace(publish=publish)), cast("Any", store), workflow_of, lambda: "id")
    asyncio.run(announcer.take([(row, None) for row in store.rows[begin:]]))
    attempts = [event["attempt"] for event in told if event.get("event") == "agent.task_assigned"]
    attempts += [event["payload"]["attempt"] for event in told if "attempt" in event.get("payload", ())]
    assert announcer.unreadable == 0
    assert len(attempts) >= RUNS
    assert set(attempts) == {1}


def test_logs_name_the_run_and_the_attempt_of_it() -> None:
    reader = _Reader(cast("Any", SimpleNamespace(store=Recorded())), ID, None)

    async def named(attempt: str) -> tuple[int, int]:
        return await reader.attempt_of(KeptLine(1, ID, "a", attempt, 0, "info", "text"))

    assert asyncio.run(named(f"{ID}:1:a:1")) == (1, 1)
    assert asyncio.run(named(f"{ID}:3:a:3")) == (3, 1)
    assert asyncio.run(named(f"{ID}:2:a:4")) == (2, 3)
