"""Commands: what an event asks of the world. They leave only after the event is committed.

Nothing here is remembered: after a crash the same commands follow from the history again.
"""

from __future__ import annotations

from msgspec import Struct

from podium.engine import events as ev
from podium.engine import inputs as inp
from podium.engine.state import State, TaskState
from podium.workflow.model import FailureAction


class Assign(Struct, frozen=True, gc=False):
    """Send the task's attempt to the agent."""

    task: str
    number: int
    agent: str


class Stop(Struct, frozen=True, gc=False):
    """Tell the agent to stop the attempt."""

    attempt: str
    agent: str
    reason: str
    force: bool = False


Command = Assign | Stop


def commands_for(state: State, given: inp.Input, event: ev.Event) -> list[Command]:
    """Return the commands of an event, judged on the state before it is applied."""
    match event:
        case ev.AttemptGranted() if event.agent:
            return [Assign(event.task, event.number, event.agent)]
        case ev.AttemptFailed() if isinstance(given, inp.Tick | inp.Cancel | inp.Skip | inp.Complete):
            live = state.tasks[event.task].live or {}
            attempt = state.attempt_id(event.task, event.number)
            return [Stop(attempt, live[event.number].agent, event.error.message, force=True)]
        case ev.ExecutionCancelling() if not event.force:
            return _stop_all(state, list(state.tasks.values()), event.reason or "the execution is cancelled")
        case ev.TaskFailed():
            return _stop_instances(state, state.tasks[event.task])
        case ev.TaskCompleted():
            return _stop_others(state, state.tasks[event.task], event.number)
        case _:
            return []


def _stop_all(state: State, tasks: list[TaskState], reason: str) -> list[Command]:
    return [
        Stop(state.attempt_id(task.path, attempt.number), attempt.agent, reason)
        for task in tasks
        for attempt in (task.live or {}).values()
    ]


def _stop_instances(state: State, task: TaskState) -> list[Command]:
    """A fan-out that gives way to its fallback doesn't need its other instances."""
    if task.fan is None or task.compiled.spec.on_failure.action != FailureAction.FALLBACK:
        return []
    instances = [state.tasks[f"{task.path}[{i}]"] for i in range(task.fan.begun)]
    return _stop_all(state, instances, f"{task.path} failed and its fallback takes over")


def _stop_others(state: State, task: TaskState, number: int) -> list[Command]:
    return [
        Stop(state.attempt_id(task.path, other.number), other.agent, "another attempt was first")
        for other in (task.live or {}).values()
        if other.number != number
    ]
