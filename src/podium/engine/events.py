"""Events: the facts that an execution's history is made of. Written once, read for ever.

A field may be added with a default; anything else is a new version of the event: a new class whose tag ends in `.2`,
and an upcaster in `codec.py` from the old one. Attempts are named by their task and number; the full id is derived.
"""

from __future__ import annotations

from msgspec import Struct

from podium.engine.inputs import Parent
from podium.engine.values import NULL, Value
from podium.fleet.messages import ErrorInfo
from podium.workflow.model import Task

# --- the execution -----------------------------------------------------------------------------------------------


class ExecutionStarted(Struct, frozen=True, omit_defaults=True, tag_field="event", tag="execution_started"):
    """The execution exists. `definition` is the hash of the stored workflow that it keeps to its end."""

    workflow: str
    version: str
    definition: str
    seed: int
    input: Value = NULL
    bindings: dict[str, str] = {}
    priority: int = 50
    deadline_us: int | None = None
    preferred_agent: str = ""
    schedule: str = ""
    begins_us: int | None = None  # tasks start from then on
    parent: Parent | None = None


class ExecutionDue(Struct, frozen=True, omit_defaults=True, tag_field="event", tag="execution_due"):
    """The time has come at which the execution is to begin: tasks start."""


class ExecutionPausing(Struct, frozen=True, omit_defaults=True, tag_field="event", tag="execution_pausing"):
    """Nothing starts any more; live attempts settle."""

    reason: str = ""


class ExecutionPaused(Struct, frozen=True, omit_defaults=True, tag_field="event", tag="execution_paused"):
    """No attempt is live."""


class ExecutionResumed(Struct, frozen=True, omit_defaults=True, tag_field="event", tag="execution_resumed"):
    """Tasks start again."""


class ExecutionFailing(Struct, frozen=True, omit_defaults=True, tag_field="event", tag="execution_failing"):
    """The execution can't succeed any more; nothing starts, live attempts settle."""

    error: ErrorInfo
    task: str = ""


class ExecutionFailed(Struct, frozen=True, omit_defaults=True, tag_field="event", tag="execution_failed"):
    """Final: ended without success."""


class ExecutionCancelling(Struct, frozen=True, omit_defaults=True, tag_field="event", tag="execution_cancelling"):
    """Nothing starts any more; live attempts were told to stop."""

    reason: str = ""
    force: bool = False


class ExecutionCancelled(Struct, frozen=True, omit_defaults=True, tag_field="event", tag="execution_cancelled"):
    """Final: every task that hadn't ended is cancelled."""


class ExecutionCompleted(Struct, frozen=True, omit_defaults=True, tag_field="event", tag="execution_completed"):
    """Final: ended with success; partial, if a task failed or an instance did and that was allowed."""

    partial: bool = False


class RunCompleted(Struct, frozen=True, omit_defaults=True, tag_field="event", tag="run_completed"):
    """All tasks have ended, and the execution goes on as another run: with this input, which begins then."""

    run: int
    input: Value
    begins_us: int


class RunStarted(Struct, frozen=True, omit_defaults=True, tag_field="event", tag="run_started"):
    """Another run begins: all tasks are to be done again, and nothing is left of what came of them before."""

    run: int
    deadline_us: int | None = None


class ExecutionRetried(Struct, frozen=True, omit_defaults=True, tag_field="event", tag="execution_retried"):
    """A person opened an ended execution again: what failed or was cancelled starts anew, and these do."""

    deadline_us: int | None = None
    tasks: tuple[str, ...] = ()
    by: str = ""


class SignalReceived(Struct, frozen=True, omit_defaults=True, tag_field="event", tag="signal_received"):
    """Somebody told the execution something; it is kept if a task is still to come that waits for it."""

    name: str
    value: Value = NULL
    kept: bool = False


class EndAwaited(Struct, frozen=True, omit_defaults=True, tag_field="event", tag="end_awaited"):
    """A task of another execution waits for this one's end, and is told of it; `asked` is its sequence then."""

    execution: str
    task: str
    asked: int


class StatusPublished(Struct, frozen=True, omit_defaults=True, tag_field="event", tag="status_published"):
    """A task shows a value as the execution's status; the latest one counts. `nth` counts those of the attempt."""

    task: str
    number: int
    value: Value
    nth: int = 0


class InputIgnored(Struct, frozen=True, omit_defaults=True, tag_field="event", tag="input_ignored"):
    """The row's input changed nothing, and why: a late result, a grant for a task that isn't ready any more."""

    reason: str
    task: str = ""
    number: int = 0


# --- tasks -------------------------------------------------------------------------------------------------------


class TasksReady(Struct, frozen=True, omit_defaults=True, tag_field="event", tag="tasks_ready", gc=False):
    """These tasks wait for agents now."""

    tasks: tuple[str, ...]


class FanOutOpened(Struct, frozen=True, omit_defaults=True, tag_field="event", tag="fan_out_opened"):
    """The task becomes `count` instances, `task[0]` and so on; their list is frozen by reference."""

    task: str
    count: int


class InstancesReady(Struct, frozen=True, omit_defaults=True, tag_field="event", tag="instances_ready", gc=False):
    """The instances from `first` up to, not including, `stop` wait for agents now, or begin their children."""

    task: str
    first: int
    stop: int


class FanOutCompleted(Struct, frozen=True, omit_defaults=True, tag_field="event", tag="fan_out_completed"):
    """Every instance has ended; the result is the list of theirs, null where one failed."""

    task: str
    failed: int = 0


class RetryScheduled(Struct, frozen=True, omit_defaults=True, tag_field="event", tag="retry_scheduled", gc=False):
    """The task's next attempt may start at this time."""

    task: str
    due_us: int


class TaskWaiting(Struct, frozen=True, omit_defaults=True, tag_field="event", tag="task_waiting"):
    """No agent does the task: it waits for something outside. Times are 0 where there are none."""

    task: str
    awaits: str  # signal, time, person, execution
    name: str = ""  # the signal's name, who is asked, the execution's id
    due_us: int = 0  # when a time has come
    timeout_us: int = 0  # when it is waited for no more
    escalates_us: int = 0  # when somebody else is asked,
    escalates_to: str = ""  # and who


class ChildStarted(Struct, frozen=True, omit_defaults=True, tag_field="event", tag="child_started"):
    """The task is an execution of its own: this one, its `number`-th."""

    task: str
    number: int
    execution: str
    input: Value = NULL
    priority: int = 50
    timeout_seconds: float | None = None


LATE = "late"  # how a child has ended for its task that is told to end since its time is over
LEFT = "left"  # how one has ended for its parent that is cancelled by force, and waits for nobody


class ChildEnded(Struct, frozen=True, omit_defaults=True, tag_field="event", tag="child_ended"):
    """The task's child has ended so; if the task doesn't wait for it any more, only the execution's end did."""

    task: str
    number: int
    execution: str
    status: str
    error: ErrorInfo | None = None


class ChildDue(Struct, frozen=True, omit_defaults=True, tag_field="event", tag="child_due"):
    """The time has come to start another child."""

    task: str


class SignalTaken(Struct, frozen=True, omit_defaults=True, tag_field="event", tag="signal_taken"):
    """A signal that was kept is what the task waited for; `sequence` is that of its `signal_received`."""

    task: str
    name: str
    sequence: int


class TaskEscalated(Struct, frozen=True, omit_defaults=True, tag_field="event", tag="task_escalated"):
    """The person who was asked hasn't answered in time: now somebody else is."""

    task: str
    to: str


class TaskCompleted(Struct, frozen=True, omit_defaults=True, tag_field="event", tag="task_completed", gc=False):
    """The first result of an attempt, and so the task's; number 0: no attempt gave it.

    Then it is a person's, in place of any attempt's, or what the task waited for outside has come, from `by` if from a
    person. In the log, no result means: the value in the row's input.
    """

    task: str
    number: int
    result: Value | None = None
    by: str = ""
    reason: str = ""


class GraphGrown(Struct, frozen=True, omit_defaults=True, tag_field="event", tag="graph_grown"):
    """The task's result adds these tasks, under the names that they have from now on, and has others wait besides."""

    task: str
    number: int
    tasks: tuple[Task, ...] = ()
    dependencies: dict[str, tuple[str, ...]] = {}  # of tasks that were there before


class TaskFailed(Struct, frozen=True, omit_defaults=True, tag_field="event", tag="task_failed"):
    """No further attempt: the task's final failure, by a person's decision where one was asked (`by`)."""

    task: str
    error: ErrorInfo
    by: str = ""
    reason: str = ""


class TaskParked(Struct, frozen=True, omit_defaults=True, tag_field="event", tag="task_parked"):
    """No further attempt, and a person is asked what becomes of the task."""

    task: str
    error: ErrorInfo


class TaskRetried(Struct, frozen=True, omit_defaults=True, tag_field="event", tag="task_retried"):
    """A person who was asked has the task tried again, with all its attempts."""

    task: str
    by: str = ""
    reason: str = ""


class TaskSkipped(Struct, frozen=True, omit_defaults=True, tag_field="event", tag="task_skipped"):
    """The task doesn't run: its condition is false, what it depends on didn't succeed, or a person said so (`by`)."""

    task: str
    reason: str
    by: str = ""


class TaskCancelled(Struct, frozen=True, omit_defaults=True, tag_field="event", tag="task_cancelled"):
    """The task was stopped before it ended."""

    task: str


class FallbackStarted(Struct, frozen=True, omit_defaults=True, tag_field="event", tag="fallback_started"):
    """Another task runs in the failed one's place."""

    task: str
    fallback: str


# --- attempts ----------------------------------------------------------------------------------------------------


class AttemptGranted(Struct, frozen=True, omit_defaults=True, tag_field="event", tag="attempt_granted", gc=False):
    """The attempt belongs to this agent; its assignment follows the commit."""

    task: str
    number: int
    agent: str
    incarnation: str = ""


class AttemptReturned(Struct, frozen=True, omit_defaults=True, tag_field="event", tag="attempt_returned"):
    """The agent refused or handed back: the task is ready again, and nothing is counted."""

    task: str
    number: int
    reason: str


class AttemptFailed(Struct, frozen=True, omit_defaults=True, tag_field="event", tag="attempt_failed"):
    """The attempt ended without a result: `error`, `timeout`, `crash`, `lost`, `interrupted` or `cancelled`."""

    task: str
    number: int
    error: ErrorInfo
    how: str = "error"


class CheckpointSaved(Struct, frozen=True, omit_defaults=True, tag_field="event", tag="checkpoint_saved"):
    """The attempt left this for the next one."""

    task: str
    number: int
    checkpoint: Value
    nth: int = 0  # which one of the attempt


Event = (
    ExecutionStarted
    | ExecutionDue
    | ExecutionPausing
    | ExecutionPaused
    | ExecutionResumed
    | ExecutionFailing
    | ExecutionFailed
    | ExecutionCancelling
    | ExecutionCancelled
    | ExecutionCompleted
    | RunCompleted
    | RunStarted
    | ExecutionRetried
    | SignalReceived
    | EndAwaited
    | StatusPublished
    | InputIgnored
    | TasksReady
    | FanOutOpened
    | InstancesReady
    | FanOutCompleted
    | RetryScheduled
    | TaskWaiting
    | ChildStarted
    | ChildEnded
    | ChildDue
    | SignalTaken
    | TaskEscalated
    | TaskCompleted
    | GraphGrown
    | TaskFailed
    | TaskParked
    | TaskRetried
    | TaskSkipped
    | TaskCancelled
    | FallbackStarted
    | AttemptGranted
    | AttemptReturned
    | AttemptFailed
    | CheckpointSaved
)
