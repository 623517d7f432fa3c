"""Document 004's data models, as anybody's SQL sees them: of an execution that really ran, and of odd rows."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

import podium
from podium.exceptions import ExecutionFailedError
from podium.ids import workflow_id_for
from podium.store.postgres import PostgresStore
from podium.store.postgres.connection import asyncpg
from podium.store.protocol import Append, Blob, ExecutionChange, ExecutionRow, LogRow, Snapshot
from podium.store.sqlite import SqliteStore
from podium.testing.scribe import ALL_SHARDS, EPOCH_US, Scribe
from podium.testing.store_tools import A, B

pytestmark = pytest.mark.xdist_group("postgres")
WORKFLOW = """
name: modelled
version: "2.1"
orchestration_pattern: supervisor
tasks:
  - {id: greet, agent: echo, input: {text: hello}}
  - {id: many, agent: echo, depends_on: [greet], for_each: [1, 2], input: {text: x}}
  - {id: no, agent: fail, depends_on: [greet], retries: 1}
  - {id: never, agent: echo, depends_on: [no], input: {text: x}}
"""


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of an execution that ran and failed."""
    path = tmp_path_factory.mktemp("models") / "podium.db"
    with suppress(ExecutionFailedError):
        podium.run(WORKFLOW, database=str(path))
    return path


@pytest.fixture
def url(podium_databases: Any) -> str:
    return str(asyncio.run(podium_databases.empty("models")))


async def copied(path: Path, url: str) -> str:
    """Write an execution of a file to the database; return its id."""
    file = SqliteStore.open(path, read_only=True)
    (execution,) = await file.executions(None)
    rows = await file.history(execution.id)
    blobs = [Blob("default", execution.definition, await file.get("default", execution.definition))]
    await file.close()
    store = await PostgresStore.open(url)
    await store.take("me", ALL_SHARDS, 1)
    renumbered = [_at(row, position) for position, row in enumerate(rows, 1)]
    await store.append(Append({execution.shard: 1}, renumbered, [ExecutionChange(execution, 0)], blobs=blobs, now_us=1))
    await store.close()
    return execution.id


def _at(row: LogRow, position: int) -> LogRow:
    values = {name: getattr(row, name) for name in LogRow.__struct_fields__}
    return LogRow(**{**values, "position": position, "checksum": 0})


async def asked(url: str, sql: str, *arguments: Any) -> list[dict[str, Any]]:
    connection = await asyncpg().connect(url)
    await connection.set_type_codec("jsonb", schema="pg_catalog", encoder=json.dumps, decoder=json.loads)
    found = [dict(row) for row in await connection.fetch(sql, *arguments)]
    await connection.close()
    return found


def test_an_execution_that_ran_is_there_with_the_documents_fields(ran: Path, url: str) -> None:
    async def check() -> None:
        execution = await copied(ran, url)
        (row,) = await asked(url, "SELECT * FROM workflow_executions WHERE execution_id = $1", execution)
        assert row["workflow_id"] == UUID(workflow_id_for("modelled"))
        assert (row["status"], row["current_phase"]) == ("failed", "failed")
        states = row["task_states"]
        assert {task: state["status"] for task, state in states.items()} == {
            "greet": "completed",
            "many": "completed",
            "many[0]": "completed",
            "many[1]": "completed",
            "no": "failed",
        }
        assert (states["no"]["attempts"], states["no"]["error"]) == (2, "failed on purpose")
        assert {each["agent_id"].partition("-")[0]: each["attempts"] for each in row["allocated_agents"]} == {
            "echo": 3,
            "fail": 2,
        }
        assert {each["live"] for each in row["allocated_agents"]} == {0}
        assert row["performance_metrics"]["failed"] == 1
        assert row["performance_metrics"]["duration_ms"] >= 0
        assert row["completed_at"] >= row["started_at"] > dt.datetime(2024, 1, 1, tzinfo=dt.UTC)

        (definition,) = await asked(url, "SELECT * FROM workflow_definitions")
        assert (definition["name"], definition["version"]) == ("modelled", "2.1")
        assert definition["orchestration_pattern"] == "supervisor"
        assert [task["id"] for task in definition["definition"]["tasks"]] == ["greet", "many", "no", "never"]
        assert definition["workflow_id"] == row["workflow_id"]

        events = await asked(url, "SELECT * FROM execution_events WHERE execution_id = $1 ORDER BY sequence", execution)
        assert [event["sequence"] for event in events] == list(range(1, row["performance_metrics"]["events"] + 1))
        assert events[0]["event_type"] == "execution_started"
        assert events[-1]["event_type"] == "execution_failed"
        failed = next(event for event in events if event["event_type"] == "task_failed")
        assert failed["task_id"] == "no"
        assert failed["event_data"]["error"]["message"] == "failed on purpose"

    asyncio.run(check())


class Told:
    """An execution whose events a test tells."""

    def __init__(self, store: PostgresStore, execution: str = A) -> None:
        self.scribe = Scribe(store)
        self.execution = execution

    async def events(self, *events: Any, **columns: Any) -> None:
        if not self.scribe.fences:
            await self.scribe.take()
        prepared = self.scribe.batch({self.execution: [(f"{self.scribe.now_us}", len(events))]}, columns=columns)
        (row,) = prepared.rows
        values = {name: getattr(row, name) for name in LogRow.__struct_fields__}
        kind = "saved" if any(event["event"] == "checkpoint_saved" for event in events) else "test"
        told = LogRow(**{**values, "kind": kind, "events": json.dumps(events).encode()})
        await self.scribe.write(Append(prepared.fences, [told], prepared.executions, now_us=prepared.now_us))


def event(kind: str, task: str = "", **fields: Any) -> dict[str, Any]:
    return {"event": kind, **({"task": task} if task else {}), **fields}


def test_task_states_follow_attempts_returns_cancels_and_retries(url: str) -> None:
    async def state(column: str = "task_states") -> Any:
        (row,) = await asked(url, f"SELECT {column} AS found FROM workflow_executions")
        return row["found"]

    async def check() -> None:
        store = await PostgresStore.open(url)
        told = Told(store)
        await told.events(event("tasks_ready", tasks=["a", "b", "c"]), event("task_skipped", "d"))
        await told.events(
            event("attempt_granted", "a", number=1, agent="one"), event("attempt_granted", "b", number=1, agent="two")
        )
        assert {task: each["status"] for task, each in (await state()).items()} == {
            "a": "running",
            "b": "running",
            "c": "ready",
            "d": "skipped",
        }
        assert await state("current_phase") == "a, b, c"
        assert [each["live"] for each in await state("allocated_agents")] == [1, 1]
        await told.events(
            event("attempt_returned", "a", number=1, reason="full"),
            event("attempt_failed", "b", number=1, error={"message": "why"}),
            event("retry_scheduled", "b", due_us=1),
            event("instances_ready", "f", first=2, stop=4),
            event("task_waiting", "f[3]", awaits="execution", name="its child"),
        )
        states = await state()
        assert (states["f[2]"]["status"], states["f[3]"]["status"]) == ("ready", "waiting")
        assert (states["a"]["status"], states["b"]["status"], states["b"]["error"]) == ("ready", "retrying", "why")
        assert {"f[2]", "f[3]"} <= set(states)
        assert "f[4]" not in states
        await told.events(event("task_failed", "b", error={"message": "for good"}), event("execution_cancelled"))
        states = await state()
        assert {task: each["status"] for task, each in states.items()} == {
            "a": "cancelled",
            "b": "failed",
            "c": "cancelled",
            "d": "skipped",
            "f[2]": "cancelled",
            "f[3]": "cancelled",
        }
        assert [each["live"] for each in await state("allocated_agents")] == [0, 0]
        await told.events(event("execution_retried"), event("tasks_ready", tasks=["b"]))
        states = await state()
        assert (states["b"]["status"], states["d"]["status"]) == ("ready", "skipped")
        await store.close()

    asyncio.run(check())


def test_checkpoints_are_those_of_attempts_and_of_executions(url: str) -> None:
    async def check() -> None:
        store = await PostgresStore.open(url)
        told = Told(store)
        await told.events(event("checkpoint_saved", "a", number=1, checkpoint={"json": {"page": 3}}))
        await store.put_snapshot(Snapshot(A, 1, 1, b"state", EPOCH_US))
        rows = await asked(url, "SELECT * FROM checkpoints ORDER BY kind")
        assert [row["kind"] for row in rows] == ["execution", "task"]
        assert rows[0]["size_bytes"] == 5
        assert (rows[1]["task_id"], rows[1]["state_snapshot"]) == ("a", {"json": {"page": 3}})
        assert len({row["checkpoint_id"] for row in rows}) == 2
        await store.close()

    asyncio.run(check())


def test_one_odd_row_fails_no_view(url: str) -> None:
    async def check() -> None:
        store = await PostgresStore.open(url)
        scribe = Scribe(store)
        await scribe.take()
        shard = scribe.created(B).shard
        odd = [
            b'[{"event":"task_failed","task":"a","error":{"message":"nul \\u0000, half \\ud83d"}}]',
            b'[{"event":"task_completed","task":"a","number":1e999999}]',
            b"no json at all \xff",
            b"[1,2]",
            b'{"event":"an object"}',
        ]
        rows = [
            LogRow(shard, n, "default", B, n, 1, f"{n}", "saved", 1, b"", events) for n, events in enumerate(odd, 1)
        ]
        values = {name: getattr(scribe.created(B), name) for name in ExecutionRow.__struct_fields__}
        execution = ExecutionRow(**{**values, "sequence": len(odd), "summary": b"odd \xff", "definition": "gone"})
        await store.append(Append({shard: 1}, rows, [ExecutionChange(execution, 0)], now_us=1))
        for view in ("workflow_definitions", "workflow_versions", "workflow_executions", "execution_events"):
            assert await asked(url, f"SELECT * FROM {view}"), view
            assert await asked(f"{url}?search_path=pg_catalog", f"SELECT * FROM public.{view}"), view
        await asked(url, "SELECT * FROM checkpoints")
        (row,) = await asked(url, "SELECT task_states FROM workflow_executions")
        assert row["task_states"]["a"]["error"] == "nul �, half �"
        events = await asked(url, "SELECT event_data FROM execution_events ORDER BY sequence")
        assert "unreadable" in events[1]["event_data"]
        await store.close()

    asyncio.run(check())


def test_a_new_version_of_a_workflow_is_the_definition_and_the_older_ones_stay(url: str) -> None:
    async def check() -> None:
        store = await PostgresStore.open(url)
        scribe = Scribe(store)
        await scribe.take()
        for n, version in enumerate(("1.0", "1.1", "1.1")):
            content = json.dumps({"name": "workflow", "tasks": [{"id": version}]}).encode()
            blob = Blob("default", version.ljust(64, "0"), content)
            columns = {"version": version, "definition": blob.hash}
            await scribe.append({f"execution-{n}": [("start", 1)]}, columns=columns, blobs=[blob])
        versions = await asked(url, "SELECT * FROM workflow_versions ORDER BY version")
        assert [row["version"] for row in versions] == ["1.0", "1.1"]
        (newest,) = await asked(url, "SELECT * FROM workflow_definitions")
        assert newest["definition"]["tasks"] == [{"id": "1.1"}]
        assert newest["created_at"] == versions[0]["created_at"] < newest["updated_at"]
        joined = "SELECT count(*) AS n FROM workflow_executions JOIN workflow_definitions USING (workflow_id)"
        assert (await asked(url, joined))[0]["n"] == 3
        await store.close()

    asyncio.run(check())
