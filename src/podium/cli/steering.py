"""`podium skip` and `podium complete`: what a person decides about a task; and what a retry would run again.

They work from any process, as `podium pause` does: whoever runs the execution decides.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from podium.cli.control import MAX_REASON, NOBODY, Reason
from podium.cli.manners import Manners
from podium.cli.resuming import ExecutionId

if TYPE_CHECKING:
    from podium.app import Podium
    from podium.engine.steering import Rerun

TaskName = Annotated[str, typer.Argument(metavar="TASK", help="The task's id, or an instance's: `task[3]`.")]
By = Annotated[str | None, typer.Option("--by", metavar="NAME", help="Who decides; without it, you by your user name.")]
Run = Annotated[
    int,
    typer.Option(
        "--run", metavar="N", min=1, help="Which run of a loop is meant; else, the present one.", show_default=False
    ),
]
_LABEL = 14


def skip(
    manners: Manners, execution: ExecutionId, task: TaskName, reason: Reason = "", by: By = None, run: Run = 0
) -> int:
    """Decide that a task isn't to be done. What depends on it goes by its `run_if`; a live attempt is told to stop."""
    who = by if by is not None else user_name()
    return _decide(
        manners,
        execution,
        task,
        lambda podium, row_id: podium.skip(row_id, task, reason=reason[:MAX_REASON], by=who, run=run),
    )


def complete(
    manners: Manners,
    execution: ExecutionId,
    task: TaskName,
    value: Annotated[
        str, typer.Option("--value", metavar="JSON", help="The result; `@FILE` reads it from a file, `@-` from stdin.")
    ],
    reason: Reason = "",
    by: By = None,
    run: Run = 0,
) -> int:
    """Give a task's result in its agent's place. A live attempt is told to stop; its own result comes too late."""
    from podium.cli.given import json_value

    result, who = json_value(value, "--value"), by if by is not None else user_name()
    return _decide(
        manners,
        execution,
        task,
        lambda podium, row_id: podium.complete(row_id, task, result, reason=reason[:MAX_REASON], by=who, run=run),
    )


def decide_asked(
    manners: Manners, execution: str, task: str, decision: str, reason: str = "", by: str | None = None, run: int = 0
) -> int:
    """Decide what becomes of a task that has failed and asks: `retry`, `skip` or `fail`."""
    who = by if by is not None else user_name()
    return _decide(
        manners,
        execution,
        task,
        lambda podium, row_id: podium.resolve(row_id, task, decision, reason=reason[:MAX_REASON], by=who, run=run),
    )


def user_name() -> str:
    """Return who sits at this terminal, as the system has it; empty if it doesn't say."""
    import getpass

    try:
        name = getpass.getuser()
    except (KeyError, OSError, ImportError):  # a user id without a name, as in some containers
        return ""
    return name if name.isprintable() else ""


def _decide(manners: Manners, given: str, task: str, tell: Callable[[Podium, str], Awaitable[Any]]) -> int:
    from podium.cli.printing import print_json, say, wrapped
    from podium.cli.progress import hint, how_far
    from podium.cli.sessions import finish, found, looking
    from podium.clock import SystemClock

    async def whole() -> None:
        async with looking(manners) as podium:
            row = await found(podium, given)
            owned = await podium.who_runs(row.id)
            await tell(podium, row.id)
            state = (await podium.follower(row.id)).state
            status = str(state.tasks[task].status)
            if manners.json:
                about = {"execution_id": row.id, "status": str(state.status), "task": task, "task_status": status}
                print_json(about)
                return
            say(wrapped(f"execution {row.id}"))
            say(wrapped(f"task {task} is {status}"))
            nobody = NOBODY if str(state.status) == "running" and not owned else ""
            say(wrapped(f"{state.status}: {how_far(state, SystemClock().now_us())}{hint(state)}{nobody}"))

    finish(whole())
    return 0


# --- before a retry --------------------------------------------------------------------------------------------------


def show_rerun(manners: Manners, given: str, from_task: str) -> str:
    """Show what a retry would do; return the execution's id. Raises ConflictError for one that can't be retried."""
    from podium.cli.printing import print_json, say, wrapped
    from podium.cli.sessions import finish, found, looking

    async def whole() -> tuple[str, Rerun]:
        async with looking(manners) as podium:
            row = await found(podium, given)
            return row.id, await podium.rerun(row.id, from_task)

    execution, rerun = finish(whole())
    if manners.json:
        document = {
            "execution_id": execution,
            "runs_again": rerun.again,
            "runs_first": rerun.first,
            "keeps": rerun.kept,
            "not_idempotent": rerun.not_idempotent,
        }
        print_json(document)
        return execution
    say(wrapped(f"execution {execution}"))
    for label, names in (("runs again", rerun.again), ("runs first", rerun.first), ("keeps its end", rerun.kept)):
        if names:
            say(wrapped(f"{label:<{_LABEL}}{len(names):,}: {_listed(names)}", indent=" " * _LABEL))
    if rerun.not_idempotent:
        say(
            wrapped(
                f"not marked idempotent: {_listed(rerun.not_idempotent)}; what was done outside Podium is done again, "
                "under new idempotency keys"
            )
        )
    return execution


def refuse_unasked(manners: Manners) -> None:
    """Raise InvalidInputError where nobody can be asked."""
    from podium.exceptions import InvalidInputError

    if manners.json or not sys.stdin.isatty():
        raise InvalidInputError("--from asks before it runs tasks again, and nobody can be asked here: add --yes")


def agreed() -> bool:
    """Ask whether that is to be done."""
    return typer.confirm("run these again?", default=False)


def _listed(names: tuple[str, ...], most: int = 20) -> str:
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return f"{', '.join(names[:most])}{more}"
