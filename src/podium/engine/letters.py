"""Letters: what one execution says to another. They go into the other's inbox with the commit of what says so. Pure.

Nobody polls and nothing is lost: whoever waits for an execution's end says so to it once, and is told by the append
that ends it, whichever replicas own the two.
"""

from __future__ import annotations

from msgspec import Struct

from podium.engine import children
from podium.engine import events as ev
from podium.engine import inputs as inp
from podium.engine.codec import encode_input
from podium.engine.state import State
from podium.fleet.messages import ErrorInfo
from podium.ids import shard_of
from podium.store.protocol import InboxRow
from podium.workflow.model import ParentClose

START = "start"  # the id of the input by which an execution begins
_ENDS = (ev.ExecutionCompleted, ev.ExecutionFailed, ev.ExecutionCancelled)
_SPEAK = frozenset({ev.TaskWaiting, ev.ExecutionRetried, *_ENDS})
_OF_CHILDREN = frozenset(
    {
        *(ev.ChildStarted, ev.ChildEnded, ev.ExecutionCancelling, ev.ExecutionFailing),
        *(ev.TaskFailed, ev.TaskCancelled, ev.TaskSkipped, ev.TaskCompleted),
    }
)
_MAY_SPEAK = _SPEAK | _OF_CHILDREN


class Letter(Struct, frozen=True):
    """An input for another execution."""

    to: str
    input_id: str
    given: inp.Input
    blobs: tuple[tuple[str, bytes], ...] = ()  # that have to be kept before it is read

    def row(self, tenant: str, now_us: int) -> InboxRow:
        """Return it as it lies in the inbox."""
        kind, payload = str(self.given.__struct_config__.tag), encode_input(self.given)
        return InboxRow(self.to, self.input_id, tenant, shard_of(self.to), kind, payload, now_us)


def letters_of(state: State, given: inp.Input, events: list[ev.Event]) -> list[Letter]:
    """Return what an execution says to others because of an input; the state is as it is afterwards."""
    # What an agent has completed has no child: that is nearly every input.
    speaking = [
        event
        for event in events
        if type(event) in _MAY_SPEAK and not (type(event) is ev.TaskCompleted and event.number)
    ]
    if not speaking and not isinstance(given, inp.Await):
        return []
    found: list[Letter] = []
    for event in speaking:
        if type(event) in _OF_CHILDREN:
            found += _to_children(state, given, event)
        if type(event) not in _SPEAK:
            continue
        if isinstance(event, ev.TaskWaiting):
            if event.awaits == "execution" and state.tasks[event.task].compiled.child is None:
                found.append(_asking(state, event.task, event.name))
        elif isinstance(event, ev.ExecutionRetried):  # what has ended meanwhile was told in vain
            anew = {event.task for event in events if isinstance(event, ev.TaskWaiting)}
            left = [task for task in state.tasks.values() if task.wait is not None and task.path not in anew]
            found += [_asking(state, t.path, t.wait.name) for t in left if t.wait and t.wait.awaits == "execution"]
        else:
            found += [_told(state, *who, asked) for who, asked in state.awaiters.items()]
    if isinstance(given, inp.Await) and isinstance(events[0], ev.InputIgnored):
        found.append(_answered(state, given, events[0].reason))
    return list({(letter.to, letter.input_id): letter for letter in found}.values())


def _to_children(state: State, given: inp.Input, event: ev.Event) -> list[Letter]:
    """Return what an event says to children: that one begins, or that one isn't wanted any more."""
    if isinstance(event, ev.ChildStarted):
        blobs = tuple(children.value_blobs(state, event))
        return [Letter(event.execution, START, children.start_of(state, event), blobs)]
    if isinstance(event, ev.ChildEnded):
        task = state.tasks[event.task]
        abandoned = task.compiled.spec.parent_close is ParentClose.ABANDON
        if event.status not in (ev.LATE, ev.LEFT) or abandoned:
            return []
        closing = children.closing_of(state, task, event.number, force=event.status == ev.LEFT)
        return [Letter(event.execution, *closing)]
    force = isinstance(given, inp.Cancel) and given.force
    closed = children.closed_by(state, event)
    return [Letter(task.child, *children.closing_of(state, task, task.number, force)) for task in closed]


def no_child(given: inp.Start, execution: str, why: str) -> Letter | None:
    """Return the word to a parent that its child doesn't begin; None for an execution that is nobody's child."""
    parent = given.parent
    if parent is None:
        return None
    told = inp.Ended(parent.task, execution, "refused", error=ErrorInfo("Refused", why))
    return Letter(parent.execution, f"ended:{execution}:{parent.task}:{parent.number}", told)


def refusal(given: inp.Await, execution: str, why: str) -> Letter:
    """Return the answer to who waits for the end of an execution that isn't there, or can't be read."""
    error = ErrorInfo("NotFound", why, retryable=False)
    told = inp.Ended(given.task, execution, "unknown", error=error)
    return Letter(given.execution, f"ended:{execution}:{given.task}:{given.asked}", told)


def _asking(state: State, task: str, other: str) -> Letter:
    given = inp.Await(state.id, task, state.sequence, state.tenant)
    return Letter(other, f"await:{state.id}:{task}:{state.sequence}", given)


def _answered(state: State, given: inp.Await, reason: str) -> Letter:
    if given.tenant == state.tenant and state.final:
        return _told(state, given.execution, given.task, given.asked)
    if given.tenant != state.tenant:
        reason = f"there is no execution {state.id}"
    return refusal(given, state.id, reason)


def _told(state: State, execution: str, task: str, asked: int) -> Letter:
    """Tell a task of another execution how this one has ended. The result of this end is read when the letter is."""
    told = inp.Ended(task, state.id, str(state.status), error=state.error, ended_us=state.finished_us or 0)
    return Letter(execution, f"ended:{state.id}:{task}:{asked}", told)
