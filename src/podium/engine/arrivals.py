"""Arrivals: inputs on their way to the engine, and the batch that takes them to the store in one append.

A batch is what is decided in memory and not yet committed. Its commands, answers and news leave when it has landed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from hashlib import sha256

from podium.engine import events as ev
from podium.engine import inputs as inp
from podium.engine.codec import encode_events, encode_input
from podium.engine.commands import Command
from podium.engine.definition import Definition
from podium.engine.state import State
from podium.engine.step import Decision
from podium.engine.values import INLINE_LIMIT
from podium.ids import shard_of
from podium.store.protocol import Append, Blob, CounterChange, ExecutionChange, ExecutionRow, InboxRow, LogRow
from podium.workflow.model import FINAL_EXECUTION, ExecutionStatus, TaskStatus


class Arrival:
    """One input, where it came from and who waits for it."""

    __slots__ = (
        "agent",
        "attempt",
        "blobs",
        "definition",
        "execution",
        "given",
        "inbox_id",
        "input_id",
        "tenant",
        "waiter",
    )

    def __init__(
        self,
        execution: str,
        input_id: str,
        given: inp.Input,
        tenant: str = "",
        blobs: Iterable[tuple[str, bytes]] = (),
        waiter: asyncio.Future[list[ev.Event]] | None = None,
        inbox_id: int = 0,
        agent: str = "",
        attempt: str = "",
    ) -> None:
        self.execution = execution
        self.input_id = input_id
        self.given = given
        self.tenant = tenant
        self.blobs = blobs
        self.waiter = waiter
        self.inbox_id = inbox_id
        self.agent = agent  # who wants a confirmation, and of which attempt
        self.attempt = attempt
        self.definition: Definition | None = None  # of a start, once it is at hand

    @property
    def key(self) -> tuple[str, str]:
        """What makes the input count once."""
        return (self.execution, self.input_id)

    @property
    def renewable(self) -> bool:
        """Whether the engine makes this input again by itself when it is dropped."""
        return isinstance(self.given, inp.Grant | inp.Tick)


class Decided:
    """An arrival with what it caused."""

    __slots__ = ("arrival", "commands", "events", "state")

    def __init__(self, arrival: Arrival, state: State, events: list[ev.Event], commands: list[Command]) -> None:
        self.arrival = arrival
        self.state = state
        self.events = events
        self.commands = commands


class Batch:
    """Decisions that go to the store together."""

    def __init__(self, positions: dict[int, int]) -> None:
        self.decided: list[Decided] = []
        self.rows: list[LogRow] = []
        self.drained: list[int] = []
        self.blobs: list[Blob] = []
        self.counters: list[CounterChange] = []
        self.touched: dict[str, tuple[State, int]] = {}  # with the sequence before
        self.bytes_of: dict[str, int] = {}
        self.status_of: dict[str, ExecutionStatus] = {}  # once sealed; the states themselves move on
        self._positions = positions  # of the shards, moved on by every row

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def empty(self) -> bool:
        """Whether there is nothing to write."""
        return not self.rows and not self.drained

    def add(self, arrival: Arrival, state: State, before: int, decision: Decision, now_us: int) -> None:
        """Add a decided arrival; `before` is the sequence that its decision began with."""
        shard = shard_of(state.id)
        position = self._positions[shard] = self._positions[shard] + 1
        payload = encode_input(arrival.given)
        events = encode_events(decision.events, arrival.given)
        kept, blob = self._kept(state.tenant, payload)
        kind = str(arrival.given.__struct_config__.tag)
        count = len(decision.events)
        self.rows.append(
            LogRow(
                shard,
                position,
                state.tenant,
                state.id,
                before + 1,
                count,
                arrival.input_id,
                kind,
                now_us,
                kept,
                events,
                blob,
            )
        )
        self.decided.append(Decided(arrival, state, decision.events, decision.commands))
        self.touched.setdefault(state.id, (state, before))
        self.bytes_of[state.id] = self.bytes_of.get(state.id, 0) + len(payload) + len(events)
        self.blobs += [Blob(state.tenant, digest, content) for digest, content in arrival.blobs]
        if arrival.inbox_id:
            self.drained.append(arrival.inbox_id)

    def _kept(self, tenant: str, payload: bytes) -> tuple[bytes, str | None]:
        """Return a payload as the row keeps it: one over the limit is a blob."""
        if len(payload) <= INLINE_LIMIT:
            return payload, None
        digest = sha256(payload).hexdigest()
        self.blobs.append(Blob(tenant, digest, payload))
        return b"", digest

    def sealed(self, fences: dict[int, int], now_us: int) -> Append:
        """Return the append; the states must not have moved on since the last `add`."""
        self.status_of = {execution: state.status for execution, (state, _) in self.touched.items()}
        return Append(
            fences={row.shard: fences[row.shard] for row in self.rows},
            rows=self.rows,
            executions=[ExecutionChange(row_of(state), before) for state, before in self.touched.values()],
            drained=self.drained,
            blobs=self.blobs,
            counters=self.counters,
            now_us=now_us,
        )


def row_of(state: State) -> ExecutionRow:
    """Return the row by which an execution is found."""
    workflow = state.definition.workflow
    return ExecutionRow(
        id=state.id,
        tenant=state.tenant,
        shard=shard_of(state.id),
        workflow=workflow.name,
        version=workflow.version,
        definition=state.definition.digest,
        status=str(state.status),
        run=state.run,
        sequence=state.sequence,
        wake_at_us=None if state.status in FINAL_EXECUTION else state.next_timer_us(),
        active=state.active,
        created_us=state.created_us,
        updated_us=state.updated_us,
        finished_us=state.finished_us,
        priority=state.priority,
        summary=_summary(state),
    )


def _summary(state: State) -> bytes:
    counts = state.counts
    return (
        f'{{"total":{state.total},"completed":{counts[TaskStatus.COMPLETED]},"failed":{counts[TaskStatus.FAILED]},'
        f'"running":{counts[TaskStatus.RUNNING]},"ready":{counts[TaskStatus.READY]},"partial":{str(state.partial).lower()}}}'
    ).encode()


def posted(row: InboxRow, given: inp.Input) -> Arrival:
    """Return the arrival of an input that somebody else wrote to the inbox."""
    return Arrival(row.execution, row.input_id, given, tenant=row.tenant, inbox_id=row.id)
