"""What a traced function says that Python has no word for: `when`, `each`, `using`."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import Any, TypeVar, cast

from podium.workflow.tracing.recording import current
from podium.workflow.tracing.refusals import refuse
from podium.workflow.tracing.stand_ins import FunctionStandIn
from podium.workflow.tracing.values import Over, Traced, over_of

_Item = TypeVar("_Item")
_Function = TypeVar("_Function")


def when(condition: Any) -> AbstractContextManager[None]:
    """Run the tasks of a block only if a condition holds: `with when(score.value > 3): publish(score)`.

    The condition compares traced values (`&`, `|`, `~` are its and, or, not), or is a text as in YAML's `when`. A task
    that isn't run is skipped, and so is what waits for it, unless that says `run_if="all_done"`.
    """
    return current("when").under(condition)


def each(items: Iterable[_Item]) -> _Item:
    """Stand for each item of a list in a call: `score(each(rows))` is a task with an instance for each row.

    Its result is the list of its instances' results.
    """
    recording = current("each")
    given: Any = items
    if isinstance(given, Traced) and over_of(given) is not None:
        refuse("traced-each", "each(…) of an item of each(…)", "a list in a list is gone over by a task of its own")
    over = next((one for one in recording.overs if one.is_of(given)), None)
    if over is None:
        over = Over(given)
        recording.overs.append(over)
    return cast("_Item", Traced(recording, "item", over=over))


def using(function: _Function, /, **fields: Any) -> _Function:
    """Return an agent's function whose task has these fields: `using(search, retries=2, timeout="30s")(question)`.

    They are the language's fields of a task; `id` names it, and `depends_on` takes results too. Outside of a traced
    function it returns the function as it is.
    """
    if isinstance(function, FunctionStandIn):
        return cast("_Function", function.with_fields(fields))
    return function
