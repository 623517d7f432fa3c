"""Inputs: whatever can move an execution. Each is one row of the log, with an id that makes it count once.

The id of an input says what it is about (`succeeded:<attempt>`), so that a repeated one is recognised whoever sends it.
"""

from __future__ import annotations

from msgspec import Struct

from podium.engine.values import NULL, Value
from podium.fleet.messages import ErrorInfo
from podium.workflow.model import Task

UNPLACED = "unplaced"  # how an attempt has failed for which no agent was found
HANDED_BACK = "handed back by its agent"  # why an attempt that had begun came back


class Parent(Struct, frozen=True, omit_defaults=True):
    """Whose child an execution is: of which execution's task, its which child, how many executions are above it; and
    until when that one had time, which bounds every run of the child.
    """

    execution: str
    task: str
    number: int
    depth: int
    deadline_us: int | None = None


class Start(Struct, frozen=True, omit_defaults=True, tag_field="kind", tag="start"):
    """Begin: which definition, with which input, on which code. The seed decides every identifier and jitter."""

    workflow: str
    version: str
    definition: str  # SHA-256 of the stored workflow
    seed: int
    input: Value = NULL
    bindings: dict[str, str] = {}  # agent type -> what loads its code
    priority: int | None = None
    timeout_seconds: float | None = None
    preferred_agent: str = ""  # gets the tasks where it is free
    submission: str = ""  # what the client calls it, when it is a single task that was submitted over the bus
    notify: str = ""  # a subject where its end is to be told
    schedule: str = ""  # the schedule that has fired
    parent: Parent | None = None


class Granted(Struct, frozen=True, omit_defaults=True, array_like=True, gc=False):
    """A slot for a ready task's next attempt."""

    task: str
    number: int
    agent: str
    incarnation: str


class Grant(Struct, frozen=True, omit_defaults=True, tag_field="kind", tag="grant"):
    """Placement gives slots to tasks of this execution. `fence` is the placement's, `turn` counts within it."""

    fence: int
    turn: int
    grants: tuple[Granted, ...]
    run: int = 0  # of whose tasks; 0: it isn't said


class Growth(Struct, frozen=True, omit_defaults=True):
    """What a result adds to the graph: tasks, and which tasks are to wait for which besides; or why it can't be read.

    Roles and names are as the agent wrote them: deciding finds out what they mean in the execution.
    """

    tasks: tuple[Task, ...] = ()
    dependencies: dict[str, tuple[str, ...]] = {}
    unreadable: str = ""


class Succeeded(Struct, frozen=True, omit_defaults=True, tag_field="kind", tag="succeeded", gc=False):
    """An attempt's result, and what it adds to the graph."""

    task: str
    number: int
    value: Value
    growth: Growth | None = None


class Failed(Struct, frozen=True, omit_defaults=True, tag_field="kind", tag="failed"):
    """An attempt's failure; `unplaced`, that of one to come: no agent was found for it."""

    task: str
    number: int
    error: ErrorInfo
    how: str = "error"  # error, timeout, crash, cancelled, unplaced
    holds_slot: bool = False  # its thread couldn't be stopped
    run: int = 0  # in which it was unplaced; others have a number that no other run has


class Refused(Struct, frozen=True, omit_defaults=True, tag_field="kind", tag="refused"):
    """An agent didn't take the attempt, or handed it back: it goes elsewhere and doesn't count."""

    task: str
    number: int
    reason: str


class Lost(Struct, frozen=True, omit_defaults=True, tag_field="kind", tag="lost"):
    """An attempt's agent is gone: its lease ended, it left, or it died with the orchestrator (`owner_died`)."""

    task: str
    number: int
    reason: str


class Saved(Struct, frozen=True, omit_defaults=True, tag_field="kind", tag="saved"):
    """An attempt saved a checkpoint for the next one, should there be one."""

    task: str
    number: int
    nth: int
    checkpoint: Value


class Published(Struct, frozen=True, omit_defaults=True, tag_field="kind", tag="published"):
    """An attempt shows a value as the execution's status; `nth` counts those of the attempt."""

    task: str
    number: int
    nth: int
    value: Value


class Tick(Struct, frozen=True, omit_defaults=True, tag_field="kind", tag="tick"):
    """A timer is due: whatever is due at the row's time fires."""


class Pause(Struct, frozen=True, omit_defaults=True, tag_field="kind", tag="pause"):
    """Somebody pauses the execution."""

    reason: str = ""


class Resume(Struct, frozen=True, omit_defaults=True, tag_field="kind", tag="resume"):
    """Somebody lets a paused execution go on."""


class Cancel(Struct, frozen=True, omit_defaults=True, tag_field="kind", tag="cancel"):
    """Somebody cancels the execution; by force, without waiting for its attempts."""

    reason: str = ""
    force: bool = False


class Retry(Struct, frozen=True, omit_defaults=True, tag_field="kind", tag="retry"):
    """Somebody wants an execution that has ended to go on: what failed is tried again, and, where a task is named, that
    one and all behind it, whatever came of them.
    """

    from_task: str = ""
    by: str = ""


class Skip(Struct, frozen=True, omit_defaults=True, tag_field="kind", tag="skip"):
    """Somebody decides that a task, or an instance, isn't to be done."""

    task: str
    reason: str = ""
    by: str = ""
    run: int = 0  # which is meant; 0: whichever it is


class Complete(Struct, frozen=True, omit_defaults=True, tag_field="kind", tag="complete"):
    """Somebody gives the result of a task, or of an instance, in its agent's place."""

    task: str
    value: Value
    reason: str = ""
    by: str = ""
    run: int = 0  # which is meant; 0: whichever it is


class Resolve(Struct, frozen=True, omit_defaults=True, tag_field="kind", tag="resolve"):
    """Somebody decides what becomes of a task that has failed and asks: `retry` or `fail`."""

    task: str
    decision: str
    reason: str = ""
    by: str = ""
    run: int = 0  # in which it was asked; 0: whichever it is


class Signal(Struct, frozen=True, omit_defaults=True, tag_field="kind", tag="signal"):
    """Somebody tells the execution something."""

    name: str
    value: Value = NULL


class Answer(Struct, frozen=True, omit_defaults=True, tag_field="kind", tag="answer"):
    """A person answers what a task asks."""

    task: str
    value: Value = NULL
    by: str = ""
    run: int = 0  # in which it was asked; 0: whichever it is


class Await(Struct, frozen=True, omit_defaults=True, tag_field="kind", tag="await"):
    """A task of another execution waits for this one's end; `asked` is its sequence, `tenant` whose it is."""

    execution: str
    task: str
    asked: int
    tenant: str


class Ended(Struct, frozen=True, omit_defaults=True, tag_field="kind", tag="ended"):
    """An execution for whose end a task waits has ended: with its result, or with why it has none."""

    task: str
    execution: str
    status: str
    value: Value | None = None
    error: ErrorInfo | None = None
    ended_us: int = 0  # when it ended: after a retry it may end once more


Input = (
    Start
    | Grant
    | Succeeded
    | Failed
    | Refused
    | Lost
    | Saved
    | Published
    | Tick
    | Pause
    | Resume
    | Cancel
    | Retry
    | Skip
    | Complete
    | Resolve
    | Signal
    | Answer
    | Await
    | Ended
)
