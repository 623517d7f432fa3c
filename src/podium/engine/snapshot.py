"""Snapshots: a state as bytes, so that a long history needn't be folded again. A snapshot always equals the fold.

Positional MessagePack under a format number; a field is only ever added at the end, with a default.
"""

from __future__ import annotations

import msgspec
from msgspec import Raw, Struct

from podium.engine.children import awaits_child, closing
from podium.engine.definition import Definition
from podium.engine.eligible import Eligible
from podium.engine.events import GraphGrown, RunCompleted, StatusPublished, TaskWaiting
from podium.engine.grown import regrown
from podium.engine.inputs import Parent
from podium.engine.numbering import AttemptNumbers
from podium.engine.state import Attempt, FanOut, State, TaskState
from podium.engine.values import NULL, Value
from podium.exceptions import CorruptHistoryError
from podium.fleet.messages import ErrorInfo
from podium.workflow.model import ExecutionStatus, TaskStatus

_Value = tuple[bytes | None, str | None, int]


class _Task(Struct, array_like=True, omit_defaults=False):
    path: str
    status: TaskStatus
    unmet: int
    number: int
    generation: int
    failures: int
    crashes: int
    interruptions: int
    live: list[tuple[int, str, str, int]]
    result: _Value | None
    error: ErrorInfo | None
    reason: str
    checkpoint: _Value | None
    fan: tuple[int, int, int, int, int, int] | None  # count, begun, in flight, done, failed, completed
    substitute: str | None
    agent: str
    times: tuple[int, int, int, int, int]  # ready, started, finished, deadline, due
    task: str = ""  # of an instance: its fan-out, and its index
    index: int = -1
    saved: tuple[int, int] = (0, 0)
    wait: TaskWaiting | None = None
    child: str = ""
    heard: int = 0


class _State(Struct, array_like=True, omit_defaults=False):
    status: ExecutionStatus
    run: int
    sequence: int
    seed: int
    input: _Value
    bindings: dict[str, str]
    priority: int
    deadline_us: int | None
    created_us: int
    updated_us: int
    finished_us: int | None
    reason: str
    error: ErrorInfo | None
    partial: bool
    fatal: tuple[str, ErrorInfo] | None
    total: int
    unfinished: int
    live: int
    in_flight: int
    eligible: list[str]
    fans: list[str]
    timers: list[tuple[int, str, str, int]]
    tasks: list[_Task]
    timeout_us: int | None = None
    preferred_agent: str = ""
    growths: list[GraphGrown] = []
    signals: list[tuple[str, int, _Value]] = []  # name, sequence, value
    awaiters: list[tuple[str, str, int]] = []
    schedule: str = ""
    published: tuple[str, int, int, _Value] | None = None  # task, number, nth, value
    begins_us: int | None = None
    origin: Parent | None = None
    run_started_us: int = 0
    attempts_before: int = 0
    next_run: tuple[int, _Value, int] | None = None  # the run that has ended, the next one's input and begin
    closing: list[tuple[str, str, int]] = []  # children that only its end waits for: execution, task, which one


_decoder = msgspec.msgpack.Decoder(_State)


def encode_state(state: State) -> bytes:
    """Return the state as bytes."""
    timers = sorted({t for t in state._timers if state.timer_holds(t)})
    return msgspec.msgpack.encode(
        _State(
            state.status, state.run, state.sequence, state.seed, _pack(state.input), state.bindings, state.priority,
            state.deadline_us, state.created_us, state.updated_us, state.finished_us, state.reason, state.error,
            state.partial, state.fatal, state.total, state.unfinished, state.live, state.in_flight,
            list(state.eligible), list(state.fans), timers, [_pack_task(t) for t in state.tasks.values()],
            state.timeout_us, state.preferred_agent, list(state.definition.growths),
            [(name, at, _pack(value)) for name, kept in state.signals.items() for at, value in kept.items()],
            [(execution, task, asked) for (execution, task), asked in state.awaiters.items()],
            state.schedule,
            _pack_published(state.published),
            state.begins_us,
            state.origin,
            state.run_started_us,
            state.attempts_before,
            _pack_next(state.next_run),
            closing(state),
        )
    )  # fmt: skip


def decode_state(execution: str, tenant: str, definition: Definition, encoded: bytes) -> State:
    """Return the state that was encoded. Raises CorruptHistoryError when it can't be read."""
    try:
        kept = _decoder.decode(encoded)
    except msgspec.DecodeError as error:
        raise CorruptHistoryError(f"the snapshot of {execution} can't be read: {error}") from error
    state = State(execution, tenant, regrown(definition, kept.growths))
    for name in (
        "status", "run", "sequence", "seed", "bindings", "priority", "deadline_us", "created_us", "updated_us",
        "finished_us", "reason", "error", "partial", "fatal", "total", "unfinished", "live", "in_flight", "timeout_us",
        "preferred_agent", "schedule", "begins_us", "origin", "run_started_us", "attempts_before",
    ):  # fmt: skip
        setattr(state, name, getattr(kept, name))
    state.input = _unpack(kept.input) or NULL
    state.eligible = Eligible(kept.eligible)
    state.fans = dict.fromkeys(kept.fans)
    state._timers = kept.timers
    for packed in kept.tasks:
        task = _unpack_task(state, packed)
        state.add_task(task)
        state.wait_for(task, packed.wait)
        if awaits_child(task):
            state.children[task.child] = (task.path, task.number)
    for name, at, value in kept.signals:
        state.signals.setdefault(name, {})[at] = _unpack(value) or NULL
    if kept.published is not None:
        path, number, nth, value = kept.published
        state.published = StatusPublished(path, number, _unpack(value) or NULL, nth)
    if kept.next_run is not None:
        run, value, begins_us = kept.next_run
        state.next_run = RunCompleted(run, _unpack(value) or NULL, begins_us)
    state.awaiters = {(execution, task): asked for execution, task, asked in kept.awaiters}
    state.children.update((execution, (path, number)) for execution, path, number in kept.closing)
    return state


def numbers_in(encoded: bytes) -> AttemptNumbers:
    """Return the numbers of attempts that an encoded state has come to."""
    kept = _decoder.decode(encoded)
    return AttemptNumbers(
        kept.run, kept.attempts_before, max((task.number for task in kept.tasks), default=kept.attempts_before)
    )


def _pack_published(shown: StatusPublished | None) -> tuple[str, int, int, _Value] | None:
    return None if shown is None else (shown.task, shown.number, shown.nth, _pack(shown.value))


def _pack_next(ended: RunCompleted | None) -> tuple[int, _Value, int] | None:
    return None if ended is None else (ended.run, _pack(ended.input), ended.begins_us)


def _pack(value: Value) -> _Value:
    return (bytes(value.json) if value.blob is None else None, value.blob, value.size)


def _unpack(value: _Value | None) -> Value | None:
    if value is None:
        return None
    text, blob, size = value
    return Value(blob=blob, size=size) if text is None else Value(json=Raw(text))


def _pack_task(task: TaskState) -> _Task:
    fan = task.fan
    return _Task(
        task.path, task.status, task.unmet, task.number, task.generation, task.failures, task.crashes,
        task.interruptions, [(a.number, a.agent, a.incarnation, a.granted_us) for a in (task.live or {}).values()],
        None if task.result is None else _pack(task.result), task.error, task.reason,
        None if task.checkpoint is None else _pack(task.checkpoint),
        None if fan is None else (fan.count, fan.begun, fan.in_flight, fan.done, fan.failed, fan.completed),
        task.substitute, task.agent,
        (task.ready_us, task.started_us, task.finished_us, task.deadline_us, task.due_us),
        task.parent.path if task.parent else "", -1 if task.index is None else task.index, task.saved,
        task.wait, task.child, task.heard,
    )  # fmt: skip


def _unpack_task(state: State, packed: _Task) -> TaskState:
    parent = state.tasks[packed.task] if packed.task else None
    compiled = parent.compiled if parent else state.definition.tasks[packed.path]
    task = TaskState(packed.path, compiled, None if parent is None else packed.index, parent)
    for name in (
        "status", "unmet", "number", "generation", "failures", "crashes", "interruptions", "error", "reason",
        "substitute", "agent", "child", "heard",
    ):  # fmt: skip
        setattr(task, name, getattr(packed, name))
    task.live = {
        number: Attempt(number, agent, incarnation, at) for number, agent, incarnation, at in packed.live
    } or None
    task.result = _unpack(packed.result)
    task.checkpoint = _unpack(packed.checkpoint)
    if packed.fan is not None:
        fan = task.fan = FanOut(packed.fan[0], compiled.window)
        _, fan.begun, fan.in_flight, fan.done, fan.failed, fan.completed = packed.fan
    task.ready_us, task.started_us, task.finished_us, task.deadline_us, task.due_us = packed.times
    task.saved = packed.saved
    return task
