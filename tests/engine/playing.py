"""An execution played by hand: inputs in, events out, and after each one the checks that must hold in any state."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from podium.engine import events as ev
from podium.engine import inputs as inp
from podium.engine.codec import decode_events, decode_input, encode_events, encode_input
from podium.engine.definition import Definition
from podium.engine.evolve import evolve
from podium.engine.expansions import without_growth
from podium.engine.explain import Sources, explain, headline
from podium.engine.reconciliation import contradictions
from podium.engine.snapshot import decode_state, encode_state
from podium.engine.state import CHILD_IN_FLIGHT, DECIDING, IN_FLIGHT, State, TaskState
from podium.engine.step import Decision, step
from podium.engine.values import NULL, Value
from podium.fleet.messages import ErrorInfo
from podium.workflow.model import ExecutionStatus, FailureAction, OnFailure, TaskStatus, Workflow

BEGIN_US = 1_700_000_000_000_000
SECOND_US = 1_000_000
ID = "e-1"
FINAL = (TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.SKIPPED, TaskStatus.CANCELLED)


def json_value(value: Any) -> Value:
    return NULL if value is None else Value(json=msgspec.Raw(msgspec.json.encode(value)))


def error(kind: str = "ValueError", text: str = "boom", retryable: bool = True) -> ErrorInfo:
    return ErrorInfo(kind, text, retryable=retryable)


class Play:
    """One execution, its history, and its time."""

    def __init__(self, workflow: Workflow, seed: int = 7, given: Any = None, timeout: float | None = None) -> None:
        self.definition = Definition(workflow, "d")
        self.state = State(ID, "t", self.definition)
        self.now_us = BEGIN_US
        self.rows: list[tuple[int, bytes, bytes]] = []  # time, input, events: as the log has them
        self.begun = inp.Start(workflow.name, workflow.version, "d", seed, json_value(given), timeout_seconds=timeout)
        self.commands: list[Any] = []

    # --- inputs --------------------------------------------------------------------------------------------------

    def start(self) -> list[ev.Event]:
        return self.give(self.begun)

    def give(self, given: inp.Input) -> list[ev.Event]:
        decision = self.decide(given)
        return decision.events

    def decide(self, given: inp.Input) -> Decision:
        decision = step(self.state, given, self.now_us)
        self.commands = decision.commands
        self.rows.append((self.now_us, encode_input(given), encode_events(decision.events, given)))
        return decision

    def grant(self, *tasks: str, agent: str = "a") -> list[ev.Event]:
        """Grant the next attempt of each of these tasks."""
        granted = tuple(inp.Granted(t, self.state.tasks[t].number + 1, agent, "i") for t in tasks)
        return self.give(inp.Grant(1, len(self.rows), granted))

    def grant_ready(self) -> list[str]:
        ready = self.ready()
        if ready:
            self.grant(*ready)
        return ready

    def succeed(self, task: str, value: Any = None, number: int | None = None) -> list[ev.Event]:
        result, growth = without_growth(msgspec.json.encode(value))
        given = json_value(msgspec.json.decode(result))
        return self.give(inp.Succeeded(task, number or self.state.tasks[task].number, given, growth))

    def fail(self, task: str, how: str = "error", number: int | None = None, **about: Any) -> list[ev.Event]:
        return self.give(inp.Failed(task, number or self.state.tasks[task].number, error(**about), how))

    def run(self, task: str, value: Any = None) -> list[ev.Event]:
        self.grant(task)
        return self.succeed(task, value)

    def tick(self, seconds: float = 0.0) -> list[ev.Event]:
        self.now_us += round(seconds * SECOND_US)
        return self.give(inp.Tick())

    # --- what there is -------------------------------------------------------------------------------------------

    @property
    def status(self) -> ExecutionStatus:
        return self.state.status

    def ready(self) -> list[str]:
        return [p for p, t in self.state.tasks.items() if t.status is TaskStatus.READY]

    def status_of(self, task: str) -> str:
        return str(self.state.tasks[task].status)

    # --- the history ---------------------------------------------------------------------------------------------

    def folded(self, rows: Iterable[tuple[int, bytes, bytes]] | None = None, state: State | None = None) -> State:
        """Return the fold of the recorded rows, as a new owner makes it."""
        state = state or State(ID, "t", self.definition)
        for now_us, given, events in self.rows if rows is None else rows:
            for event in decode_events(events, decode_input(given)):
                evolve(state, event, now_us)
        return state

    def restored(self) -> State:
        return decode_state(ID, "t", self.definition, encode_state(self.state))


# --- what holds in any state -----------------------------------------------------------------------------------------


def check_state(play: Play) -> None:
    """Check a state against a recount from scratch."""
    try:
        _check_state(play)
    except AssertionError as failure:
        failure.add_note(show(play))
        raise


def _check_state(play: Play) -> None:
    """Check a state against a recount from scratch."""
    state = play.state
    _check_counters(state)
    _check_work_lists(state)
    _check_limits(state)
    _check_explanations(play)
    _check_not_stuck(play)
    if state.status is ExecutionStatus.COMPLETED:
        left = [t.path for t in state.tasks.values() if not t.final]
        assert not left, f"completed, but these aren't final: {left}"
    if state.final:
        assert state.live == 0


def check_history(play: Play) -> None:
    """Check that the fold of what is recorded, and a snapshot, equal the state."""
    encoded = encode_state(play.state)
    assert encode_state(play.folded()) == encoded
    assert encode_state(play.restored()) == encoded


def settled(state: State, task: TaskState) -> bool:
    """Whether nothing more is to come of a task, its fallback included."""
    if task.status is TaskStatus.FAILED and task.compiled.fallback is not None:
        return task.substitute is not None and settled(state, state.tasks[task.substitute])
    return task.final


def _check_counters(state: State) -> None:
    tasks = state.tasks.values()
    for status in TaskStatus:
        assert state.counts[status] == sum(t.status is status for t in tasks), status
    assert state.live == sum(len(t.live or ()) for t in tasks)
    assert contradictions(state) == []
    assert state.in_flight == sum(t.fan is None and not t.compiled.child and t.status in IN_FLIGHT for t in tasks)
    assert state.total == sum(1 for t in tasks if t.parent is None) + sum(t.fan.count for t in tasks if t.fan)
    for task in tasks:
        assert task.live != {}
        assert (task.status is TaskStatus.RUNNING) == (
            task.live is not None or (task.fan is not None and not task.final)
        ) or (task.final or task.status is TaskStatus.PENDING), task.path
        if task.fan is None:
            continue
        instances = [i for i in tasks if i.parent is task]
        assert len(instances) == task.fan.begun <= task.fan.count
        flying = IN_FLIGHT if task.compiled.child is None else CHILD_IN_FLIGHT
        assert task.fan.in_flight == sum(i.status in flying for i in instances)
        if state.status is not ExecutionStatus.CANCELLED:  # there all end at once, uncounted
            assert task.fan.done == sum(i.final for i in instances)
            assert task.fan.completed == sum(i.status is TaskStatus.COMPLETED for i in instances)
            assert task.fan.failed == sum(i.status is TaskStatus.FAILED for i in instances)
    if state.status in DECIDING:
        assert state.unfinished == sum(_is_awaited(state, t) for t in tasks)


def _is_awaited(state: State, task: TaskState) -> bool:
    if task.parent is not None or settled(state, task):
        return False
    if task.compiled.stands_in_for is None:
        return True
    primary = state.tasks[task.compiled.stands_in_for]
    return primary.substitute == task.path or (primary.final and primary.status is not TaskStatus.FAILED)


def _check_work_lists(state: State) -> None:
    """Whatever could move is in a work list, and the lists hold nothing else."""
    if state.status not in DECIDING:
        return
    for path in state.eligible:
        task = state.tasks[path]
        if task.status is TaskStatus.FAILED and task.compiled.fallback is not None:
            continue  # its fallback starts as soon as there is room
        assert task.status is TaskStatus.PENDING, f"{path} is eligible, but {task.status}"
        assert task.unmet == 0 or _stands_idle(state, task)
    for path in state.fans:
        assert state.tasks[path].status is TaskStatus.RUNNING, f"{path} is in the list of fans"
    for task in state.tasks.values():
        if task.parent is None:
            met = [settled(state, state.tasks[d]) for d in task.compiled.spec.dependencies]
            assert task.unmet == met.count(False), f"{task.path}: unmet is {task.unmet}"
        if task.status is TaskStatus.PENDING and task.unmet == 0 and _may_start(state, task):
            assert task.path in state.eligible, f"{task.path} could start, but isn't eligible"


def _may_start(state: State, task: TaskState) -> bool:
    return _is_awaited(state, task) if task.parent is None else task.parent.status is TaskStatus.RUNNING


def _stands_idle(state: State, task: TaskState) -> bool:
    primary = task.compiled.stands_in_for
    return primary is not None and state.tasks[primary].final and state.tasks[primary].substitute != task.path


def _check_limits(state: State) -> None:
    limit = state.definition.max_parallel
    assert limit is None or state.in_flight <= limit
    for task in state.tasks.values():
        if task.fan is not None:
            assert task.fan.in_flight <= task.fan.window


def _check_explanations(play: Play) -> None:
    state = play.state
    assert headline(state, play.now_us)
    sources = Sources(why_ready=lambda e, t: "no agent", how_live=lambda a, n: ", renewed")
    for told in explain(state, play.now_us, sources):
        task = state.tasks[told.task]
        assert told.because, f"{told.task} ({told.status}) has no explanation"
        if told.because.startswith("it waits for "):
            names = told.because.removeprefix("it waits for ").split(" and ")[0].split(", ")
            assert not any(settled(state, state.tasks[n]) for n in names), told
        assert told.because != "it is about to be looked at", told
        if "it runs only if" in told.because:
            primary = state.tasks[task.compiled.stands_in_for or ""]
            assert primary.substitute != task.compiled.id
            waits = primary.path in state.eligible  # for room
            assert primary.status is not TaskStatus.FAILED or waits or state.status not in DECIDING


def _check_not_stuck(play: Play) -> None:
    state = play.state
    if state.final or state.status is ExecutionStatus.PAUSED:
        return
    waits = state.live > 0 or state.counts[TaskStatus.READY] > 0 or state.next_timer_us() is not None
    assert waits or state.waiting or state.children, (
        f"stuck in {state.status}: {[(t.path, str(t.status)) for t in state.tasks.values() if not t.final]}"
    )
    retrying = [t for t in state.tasks.values() if t.status is TaskStatus.RETRYING]
    if retrying and state.status in DECIDING:
        held = {t[2] for t in state._timers if t[1] == "retry" and state.timer_holds(t)}
        assert {t.path for t in retrying} <= held
    if state.status in (ExecutionStatus.PAUSING, ExecutionStatus.FAILING, ExecutionStatus.CANCELLING):
        assert state.live > 0 or state.children, f"nothing is live, yet it is {state.status}"


def tolerated(task: TaskState) -> bool:
    return task.compiled.spec.on_failure.action is FailureAction.CONTINUE


def show(play: Play) -> str:
    """Return a play so that a failing property can be read."""
    lines = []
    for task in (compiled.spec for compiled in play.state.definition.tasks.values()):
        about = {
            n: getattr(task, n)
            for n in (
                "dependencies",
                "when",
                "for_each",
                "parallel",
                "max_parallel",
                "run_if",
                "on_failure",
                "retry",
                "timeout",
                "deadline",
            )
        }
        lines.append(
            f"{task.id}: " + ", ".join(f"{n}={v}" for n, v in about.items() if v not in (None, False, (), OnFailure()))
        )
    for now_us, given, events in play.rows:
        lines.append(f"+{(now_us - BEGIN_US) / 1e6:g}s {given.decode()}\n    {events.decode()}")
    state = play.state
    for known in state.tasks.values():
        lines.append(
            f"{known.path}: {known.status} unmet={known.unmet} substitute={known.substitute} live={known.live}"
        )
    lines.append(f"{state.status} unfinished={state.unfinished} live={state.live} in_flight={state.in_flight}")
    lines.append(f"eligible={list(state.eligible)} fans={list(state.fans)}")
    return "\n".join(lines)
