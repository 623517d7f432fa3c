"""What a person sees while an execution runs: a live table on a terminal, lines elsewhere, nothing with `--json`.

A `Progress` is told of each committed event and asked to show itself now and then; it decides nothing.
"""

from __future__ import annotations

import os
import sys
from typing import Protocol

from podium.cli.printing import cut, say, width, wrapped
from podium.cli.rows import Activity, counted, shown_error
from podium.cli.times import between_us, clock_time
from podium.engine import events as ev
from podium.engine.numbering import attempt_named
from podium.engine.outside import waited_for
from podium.engine.state import State, TaskState
from podium.workflow.model import ExecutionStatus, TaskStatus

LINES_A_SECOND = 20  # changes that are said one by one; above that they are counted
_NAME_WIDTH = 16
_NAMED = 5  # of the tasks that a result adds
_EXECUTION = "execution"
_HOW = {"error": "failed", "timeout": "ran out of time", "crash": "crashed", "lost": "was lost"}


class Progress(Protocol):
    """How an execution is shown while it runs."""

    pause_seconds: float  # between two looks
    wants_activity: bool  # whether `show` uses what live attempts report

    def hear(self, state: State, event: ev.Event, now_us: int) -> None:
        """Take note of a committed event; `state` has it already."""
        ...

    def show(self, state: State, activity: Activity, now_us: int, last: bool) -> None:
        """Show what is new. `last` says that there will be nothing more."""
        ...

    def close(self) -> None:
        """Leave the terminal as it was found. Safe twice."""
        ...


def progress_for(json: bool) -> Progress:
    """Return what fits standard output."""
    if json:
        return Silence()
    if sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb":
        from podium.cli.live import LiveTable

        return LiveTable()
    return Lines()


class Silence:
    """Shows nothing."""

    pause_seconds = 0.5
    wants_activity = False

    def hear(self, state: State, event: ev.Event, now_us: int) -> None:
        """Take no note."""

    def show(self, state: State, activity: Activity, now_us: int, last: bool) -> None:
        """Show nothing."""

    def close(self) -> None:
        """Nothing to leave."""


class Lines:
    """A line for each change; when they come too fast, one line a second that counts them."""

    pause_seconds = 0.1
    wants_activity = False

    def __init__(self) -> None:
        self._waiting: list[str] = []
        self._left_out = 0
        self._second = 0
        self._said = 0
        self._unread = False

    def hear(self, state: State, event: ev.Event, now_us: int) -> None:
        """Keep the line, if there are not too many already."""
        if len(self._waiting) > LINES_A_SECOND:
            self._left_out += 1
            return
        line = line_for(state, event, now_us)
        if line is not None:
            self._waiting.append(line)

    def show(self, state: State, activity: Activity, now_us: int, last: bool) -> None:
        """Print what is waiting, or how far it is."""
        second = now_us // 1_000_000
        if second != self._second:
            self._second, self._said = second, 0
        if not self._waiting:
            return
        if not self._left_out and self._said + len(self._waiting) <= LINES_A_SECOND:
            self._said += len(self._waiting)
            self._print("\n".join(self._waiting))
        elif last or self._said <= LINES_A_SECOND:
            self._said = LINES_A_SECOND + 1
            self._print(cut(f"{clock_time(now_us)}  {how_far(state, now_us)}: {counted(state.counts)}", width()))
        else:
            return
        self._waiting.clear()
        self._left_out = 0

    def close(self) -> None:
        """Nothing to leave."""

    def _print(self, text: str) -> None:
        if self._unread:
            return
        try:
            say(text)
        except BrokenPipeError:  # nobody reads any more; the execution goes on
            self._unread = True
            sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - to the process's end


def how_far(state: State, now_us: int) -> str:
    """Return `3 of 5 done, 1 failed, 4.2 s`."""
    done = state.counts[TaskStatus.COMPLETED] + state.counts[TaskStatus.SKIPPED]
    failed = state.counts[TaskStatus.FAILED]
    text = f"{done:,} of {state.total:,} done{f', {failed:,} failed' if failed else ''}"
    return f"{text}, {between_us(state.created_us, state.finished_us or now_us)}"


def line_for(state: State, event: ev.Event, now_us: int) -> str | None:
    """Return the line for an event, or None for one that no person waits for."""
    said = _said_of_execution(state, event) or _said_of_task(state, event, now_us)
    if said is None:
        return None
    who, what = said
    line = f"{clock_time(now_us)}  {who:<{_NAME_WIDTH}}  {what}"
    return wrapped(line, indent=" " * (_NAME_WIDTH + 12)) if who == _EXECUTION else cut(line, width())


def _said_of_execution(state: State, event: ev.Event) -> tuple[str, str] | None:
    name = _EXECUTION
    match event:
        case ev.ExecutionDue():
            return name, "begins: its time has come"
        case ev.RunStarted():
            return name, f"run {event.run} begins"
        case ev.ExecutionPausing():
            return name, f"pausing{_because(event.reason)}"
        case ev.ExecutionPaused():
            return name, f"paused; `podium resume {state.id}` lets it go on"
        case ev.ExecutionResumed():
            return name, "resumed"
        case ev.ExecutionRetried():
            more = f", {len(event.tasks):,} of its tasks from the beginning" if event.tasks else ""
            return name, f"tried again{_who(event.by)}{more}"
        case ev.ExecutionFailing():
            return (
                name,
                f"failing, since {event.task or 'it'} failed" if event.task else f"failing: {event.error.message}",
            )
        case ev.ExecutionCancelling():
            return name, f"cancelling{' by force' if event.force else ''}{_because(event.reason)}"
        case ev.SignalReceived():
            return name, f"signal {event.name}"
        case _:
            return None


def _said_of_task(state: State, event: ev.Event, now_us: int) -> tuple[str, str] | None:
    match event:
        case ev.GraphGrown():
            return event.task, _grown(event)
        case ev.FanOutOpened():
            return event.task, f"{event.count:,} instance{'s' * (event.count != 1)}"
        case ev.AttemptGranted() if event.agent:  # nobody: its failure follows
            again = f", {attempt_named(state, event.number)}" if state.number_in_run(event.number) > 1 else ""
            return event.task, f"running on {event.agent}{again}"
        case ev.AttemptFailed():
            how = _HOW.get(event.how, f"was {event.how}")
            why = shown_error(event.error) if event.how == "error" else event.error.message
            return event.task, f"{attempt_named(state, event.number)} {how}: {why}"
        case ev.AttemptReturned():
            return event.task, f"given back: {event.reason}"
        case ev.RetryScheduled():
            return event.task, f"again in {between_us(now_us, event.due_us)}" if event.due_us > now_us else "again now"
        case ev.TaskWaiting():
            return event.task, f"waiting for {waited_for(event)}"
        case ev.TaskEscalated():
            return event.task, f"no answer yet: {event.to} is asked"
        case ev.TaskCompleted() if event.by:
            return event.task, f"{_by_hand(state.tasks.get(event.task))}{_who(event.by)}{_because(event.reason)}"
        case ev.TaskCompleted():
            return event.task, f"completed{_after(state.tasks.get(event.task))}"
        case ev.FanOutCompleted():
            failed = f", {event.failed:,} failed" if event.failed else ""
            return event.task, f"completed{_after(state.tasks.get(event.task))}{failed}"
        case ev.TaskFailed() if event.by:
            return event.task, f"failed{_who(event.by)}{_because(event.reason)}: {shown_error(event.error)}"
        case ev.TaskFailed():
            return event.task, f"failed: {shown_error(event.error)}"
        case ev.TaskParked():
            return event.task, f"asks: {shown_error(event.error)}; `podium answer ID {event.task} retry|skip|fail`"
        case ev.TaskRetried():
            return event.task, f"tried again{_who(event.by)}{_because(event.reason)}"
        case ev.TaskSkipped() if event.by:
            return event.task, f"skipped{_who(event.by)}{_because(event.reason)}"
        case ev.TaskSkipped():
            return event.task, f"skipped: {event.reason}"
        case ev.TaskCancelled():
            return event.task, "cancelled"
        case ev.FallbackStarted():
            return event.task, f"{event.fallback} runs in its place"
        case _:
            return None


def _grown(event: ev.GraphGrown) -> str:
    count = len(event.tasks)
    names = ", ".join(task.id for task in event.tasks[:_NAMED])
    more = f" and {count - _NAMED:,} more" if count > _NAMED else ""
    return f"adds {names}{more}" if count else f"has {', '.join(list(event.dependencies)[:_NAMED])} wait for more"


def _by_hand(task: TaskState | None) -> str:
    answered = task is not None and task.reason.startswith("answered ")
    return "answered" if answered else "completed"


def _after(task: TaskState | None) -> str:
    return f" in {between_us(task.started_us, task.finished_us)}" if task is not None and task.started_us else ""


def _who(by: str) -> str:
    return f" by {by}" if by else ""


def _because(reason: str) -> str:
    return f" ({reason})" if reason else ""


def hint(state: State) -> str:
    """Return what a person may want to know of a state that isn't the usual one."""
    match state.status:
        case ExecutionStatus.PAUSED:
            return f"{_because(state.reason)}; `podium resume {state.id}` lets it go on"
        case ExecutionStatus.PAUSING | ExecutionStatus.FAILING | ExecutionStatus.CANCELLING:
            return f"; {state.live} live attempt{'s' * (state.live != 1)} to settle"
        case _:
            return ""
