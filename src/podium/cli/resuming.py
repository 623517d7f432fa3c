"""`podium resume` and `podium retry`: let an execution go on, and follow it to its end."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from podium.cli.manners import Manners
from podium.cli.run import Agents, CapacityOption

if TYPE_CHECKING:
    from podium.app import Podium
    from podium.cli.following import Outcome, StopRequest
    from podium.store.protocol import ExecutionRow

ExecutionId = Annotated[
    str, typer.Argument(metavar="ID", help="The execution: its id, a unique beginning of it, or `last`.")
]


def resume(
    manners: Manners,
    execution: ExecutionId,
    agents: Agents = None,
    capacity: CapacityOption = None,
    follow_it: Annotated[
        bool, typer.Option("--follow", "-f", help="Follow it, though another process runs it.")
    ] = False,
) -> int:
    """Let an execution go on: a paused one, or one whose process is gone.

    Where another process runs it, that one is told; else this one takes over and runs it to its end. Finished tasks
    aren't run again.
    """
    from podium.cli.following import Outcome, announce, follow
    from podium.cli.printing import say
    from podium.engine import inputs as inp
    from podium.workflow.model import ExecutionStatus

    async def go_on(podium: Podium, row: ExecutionRow, stop: StopRequest) -> Outcome:
        holder, follower = await podium.who_runs(row.id) or "no process", await podium.follower(row.id)
        paused = follower.state.status in (ExecutionStatus.PAUSED, ExecutionStatus.PAUSING)
        if paused:
            await podium.command(row.id, inp.Resume())
        if not podium.owner and not follow_it:
            if manners.json:
                return Outcome(0, {"execution_id": row.id, "resumed": paused, "owner": holder})
            say(f"execution {row.id}")
            say(f"{'resumed' if paused else 'it runs already'}: {holder} runs it; --follow shows how")
            return Outcome(0)
        announce(row.id, row.workflow, manners.json)
        return await follow(podium, follower, manners, stop)

    return _with_execution(manners, execution, agents or (), capacity, go_on, unless_ended=True)


def retry(
    manners: Manners,
    execution: ExecutionId,
    from_task: Annotated[
        str, typer.Option("--from", metavar="TASK", help="Run this task and all that depends on it again.")
    ] = "",
    task: Annotated[
        str, typer.Option("--task", metavar="TASK", help="Only this task, which has failed and asks (on_failure: ask).")
    ] = "",
    preview: Annotated[bool, typer.Option("--preview", help="Only show what would run again.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="With --from: don't ask.")] = False,
    agents: Agents = None,
    capacity: CapacityOption = None,
) -> int:
    """Try again what failed in an execution that ended without success, and follow it to its end.

    With --from, of any execution that has ended: TASK and all behind it run again, whatever came of them; the results
    before it stay. What would run again is shown, and asked, first.

    With --task, of an execution that goes on: the task that asks is tried again.
    """
    from podium.cli.following import announce, follow
    from podium.cli.steering import agreed, decide_asked, refuse_unasked, show_rerun, user_name
    from podium.exceptions import InvalidInputError

    if task and (from_task or preview):
        raise InvalidInputError("--task tries a task again that asks; it goes neither with --from nor with --preview")
    if task:
        return decide_asked(manners, execution, task, "retry")
    if from_task and not (yes or preview):
        refuse_unasked(manners)
    if preview or (from_task and not yes):
        execution = show_rerun(manners, execution, from_task)
        if preview:
            return 0
        if not agreed():
            return 1

    async def again(podium: Podium, row: ExecutionRow, stop: StopRequest) -> Outcome:
        follower = await podium.follower(row.id)
        await podium.retry(row.id, from_task, by=user_name())
        announce(row.id, row.workflow, manners.json)
        return await follow(podium, follower, manners, stop)

    return _with_execution(manners, execution, agents or (), capacity, again, unless_ended=False)


def _with_execution(
    manners: Manners,
    given: str,
    agents: Sequence[str],
    capacity: str | None,
    work: Callable[[Podium, ExecutionRow, StopRequest], Awaitable[Outcome]],
    unless_ended: bool,
) -> int:
    """Find the execution, become the owner if there is none, do the work, print what is to be printed."""
    from podium.cli.ending import document_of, ending_text, exit_code_of
    from podium.cli.errors import INTERRUPTED
    from podium.cli.following import (
        STOPPED_EARLY,
        Outcome,
        StopRequest,
        others_run,
        say_how_to_go_on,
        standard_output_kept,
    )
    from podium.cli.given import capacities
    from podium.cli.printing import print_json, say
    from podium.cli.sessions import finish, found, refuse_missing, running
    from podium.workflow.model import FINAL_EXECUTION, ExecutionStatus

    async def ended(podium: Podium, row: ExecutionRow) -> Outcome:
        follower = await podium.follower(row.id)
        code = exit_code_of(follower.state.status)
        if manners.json:
            return Outcome(code, await document_of(follower))
        say("it has ended already:")
        say(ending_text(follower.state, await follower.result()))
        return Outcome(code)

    async def whole() -> Outcome:
        settings = manners.settings(capacity=capacities(capacity))
        refuse_missing(settings)
        with StopRequest() as stop:
            async with running(manners, settings, agents, own=False) as podium:
                row = await found(podium, given)
                if unless_ended and ExecutionStatus(row.status) in FINAL_EXECUTION:
                    return await ended(podium, row)
                stop.arm(STOPPED_EARLY)
                await podium.try_to_outlive()
                outcome = await work(podium, row, stop)
                others = await others_run(podium, row.id)
            if outcome.code == INTERRUPTED:
                say_how_to_go_on(settings, row.id, others)
        return outcome

    with standard_output_kept(manners.json):
        outcome = finish(whole())
    if outcome.document is not None:
        print_json(outcome.document)
    return outcome.code
