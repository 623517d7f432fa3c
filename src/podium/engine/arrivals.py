"""Arrivals: inputs on their way to the engine, and the batch that takes them to the store in one append.

A batch is what is decided in memory and not yet committed. Its commands, answers and news leave when it has landed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from hashlib import sha256

import msgspec

from podium.engine import events as ev
from podium.engine import inputs as inp
from podium.engine.changes import PLACING, Changes, encode_changes
from podium.engine.codec import encode_events, encode_input
from podium.engine.commands import Command
from podium.engine.definition import Definition
from podium.engine.state import PEOPLE, State
from podium.engine.step import Decision
from podium.engine.values import INLINE_LIMIT
from podium.ids import PLACEMENT_SHARD, shard_of
from podium.store.protocol import (
    DEFAULT_TENANT,
    Append,
    Blob,
    CounterChange,
    ExecutionChange,
    ExecutionRow,
    InboxRow,
    LogRow,
)
from podium.workflow.model import FINAL_EXECUTION, ExecutionStatus, TaskStatus


class Arrival:
    """One input, where it came from and who waits for it."""

    __slots__ = (
        "agent",
        "attempt",
        "blobs",
        "compiled",
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
        self.compiled = False  # of a result that adds much: whether its texts are

    @property
    def key(self) -> tuple[str, str]:
        """What makes the input count once."""
        return (self.execution, self.input_id)

    def spoken_by(self, again: Arrival) -> None:
        """An agent says what came another way already: it awaits a confirmation all the same."""
        if not self.agent:
            self.agent, self.attempt = again.agent, again.attempt

    def spoken_of(self, task: str, number: int) -> str:
        """Return the id of the attempt that this is a word of; empty if it doesn't say. That of an earlier run has
        another id than the task and the number have now.

        What another replica has heard comes by the inbox, where only the input's id tells the run.
        """
        if self.attempt:
            return self.attempt
        said = self.input_id.partition(":")[2]
        if isinstance(self.given, inp.Saved | inp.Published):
            said = said.rpartition(":")[0]
        return said if said.startswith(f"{self.execution}:") and said.endswith(f":{task}:{number}") else ""

    @property
    def renewable(self) -> bool:
        """Whether the engine makes this input again by itself when it is dropped."""
        return isinstance(self.given, inp.Grant | inp.Tick) and not self.inbox_id


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
        self.told: list[Changes] = []  # for the replica that places, where that is another one
        self.refused: list[str] = []  # executions an input of which is drained and not recorded
        self.posted: list[InboxRow] = []  # inputs for executions of other owners
        self.letters: list[InboxRow] = []  # from executions to others
        self.refusals: list[InboxRow] = []  # of letters
        self.moved: dict[int, InboxRow] = {}  # inbox rows that come under another number, by the id they have now
        self._drained_of: dict[int, int] = {}  # the shards of those without rows
        self._guards: set[int] = set()  # shards that it relies on besides those of its rows
        self._positions = positions  # of the shards, moved on by every row

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def empty(self) -> bool:
        """Whether there is nothing to write."""
        return not (self.rows or self.drained or self.posted or self.told)

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

    def guard(self, shard: int) -> None:
        """Have the append fail if another owner has taken this shard."""
        self._guards.add(shard)

    def drain(self, inbox_id: int, shard: int) -> None:
        """Take a row out of the inbox that needs no row in the log; only the shard's owner may."""
        self.drained.append(inbox_id)
        self._drained_of[inbox_id] = shard
        self._guards.add(shard)

    def move(self, row: InboxRow, shard: int) -> None:
        """Have an inbox row lie under another number."""
        self.drain(row.id, row.shard)
        self.moved[row.id] = msgspec.structs.replace(row, shard=shard, id=0)

    def carry_over(self, lost: Batch, fences: Mapping[int, int]) -> None:
        """Keep of a batch that wasn't written what needn't be decided again, where its shards are still ours."""
        self.refused += lost.refused
        self.refusals += lost.refusals
        decided = {d.arrival.inbox_id for d in lost.decided}
        for inbox_id in lost.drained:
            shard = lost._drained_of.get(inbox_id)
            if inbox_id not in decided and shard is not None and shard in fences:
                self.drain(inbox_id, shard)
                if inbox_id in lost.moved:
                    self.moved[inbox_id] = lost.moved[inbox_id]
        if PLACEMENT_SHARD in fences:
            grants = [row for row in lost.posted if row.kind != PLACING]
            self.posted += grants
            if grants:
                self.guard(PLACEMENT_SHARD)

    def _kept(self, tenant: str, payload: bytes) -> tuple[bytes, str | None]:
        """Return a payload as the row keeps it: one over the limit is a blob."""
        if len(payload) <= INLINE_LIMIT:
            return payload, None
        digest = sha256(payload).hexdigest()
        self.blobs.append(Blob(tenant, digest, payload))
        return b"", digest

    def sealed(self, fences: Mapping[int, int], now_us: int, told_id: str = "") -> Append:
        """Return the append; the states must not have moved on since the last `add`.

        `told_id` is the id of the inbox row that takes the changes to the replica that places.
        """
        if self.told:
            payload = encode_changes(self.told)
            self.posted.append(InboxRow(PLACING, told_id, DEFAULT_TENANT, PLACEMENT_SHARD, PLACING, payload, now_us))
            self.told = []
        self.status_of = {execution: state.status for execution, (state, _) in self.touched.items()}
        return Append(
            fences={shard: fences[shard] for shard in {*self._guards, *(row.shard for row in self.rows)}},
            rows=self.rows,
            executions=[ExecutionChange(row_of(state), before) for state, before in self.touched.values()],
            drained=self.drained,
            inbox=[*self.posted, *self.letters, *self.refusals, *self.moved.values()],
            blobs=self.blobs,
            counters=self.counters,
            now_us=now_us,
        )


class Batches:
    """The batch that is being filled, and the one that is on its way to the store."""

    def __init__(self, positions: dict[int, int]) -> None:
        self.filling = Batch(positions)
        self.flying: Batch | None = None
        self.one_by_one = 0  # so many batches more have one decision each: in one of them is what the store can't keep
        self._positions = positions

    @property
    def empty(self) -> bool:
        """Whether nothing is decided that isn't committed."""
        return self.flying is None and self.filling.empty

    def room(self, most: int) -> int:
        """Return how many decisions more the batch may have, of at most so many."""
        return (1 if self.one_by_one else most) - len(self.filling)

    def touch(self, execution: str) -> bool:
        """Whether something about an execution is decided and isn't committed."""
        flying = self.flying
        return execution in self.filling.touched or (flying is not None and execution in flying.touched)

    def take_off(self) -> Batch:
        """Return what was filled: it is on its way from now on, and another one is being filled."""
        self.one_by_one = max(self.one_by_one - 1, 0)
        flying = self.flying = self.begin_anew()
        return flying

    def begin_anew(self) -> Batch:
        """Return what was filled, and fill another one."""
        filled, self.filling = self.filling, Batch(self._positions)
        return filled


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
    schedule = f',"schedule":{msgspec.json.encode(state.schedule).decode()}' if state.schedule else ""
    return (
        f'{{"total":{state.total},"completed":{counts[TaskStatus.COMPLETED]},"failed":{counts[TaskStatus.FAILED]},'
        f'"running":{counts[TaskStatus.RUNNING]},"ready":{counts[TaskStatus.READY]},"partial":{str(state.partial).lower()}'
        f"{_waits(state)}{schedule}}}"
    ).encode()


def _waits(state: State) -> str:
    """Return how many tasks wait for something outside, and how many of them for a person; nothing where none does."""
    if not state.waiting or state.final:
        return ""
    people = sum(len(paths) for (awaits, _), paths in state.waiting.items() if awaits in PEOPLE)
    return f',"waiting":{state.counts[TaskStatus.WAITING]},"people":{people}'


def posted(row: InboxRow, given: inp.Input) -> Arrival:
    """Return the arrival of an input that somebody else wrote to the inbox."""
    return Arrival(row.execution, row.input_id, given, tenant=row.tenant, inbox_id=row.id)
