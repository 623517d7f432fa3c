"""`podium pause`, `podium cancel`, `podium signal`: tell an execution something, whichever process runs it.

Where none does, this process takes the store for a moment, decides, and lets go; it begins no task.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from podium.cli.manners import Manners
from podium.cli.resuming import ExecutionId

if TYPE_CHECKING:
    from podium.engine.inputs import Input

Reason = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; the history keeps it.")]
MAX_REASON = 1_000
NOBODY = "; no process runs it at the moment"


def pause(manners: Manners, execution: ExecutionId, reason: Reason = "") -> int:
    """Let an execution start nothing more; what runs ends first. `podium resume ID` lets it go on."""
    from podium.engine import inputs as inp

    return _tell(manners, execution, inp.Pause(reason[:MAX_REASON]))


def cancel(
    manners: Manners,
    execution: ExecutionId,
    force: Annotated[bool, typer.Option("--force", help="At once, without waiting for what runs.")] = False,
    reason: Reason = "",
) -> int:
    """End an execution: what runs is told to stop, and waited for unless by --force."""
    from podium.engine import inputs as inp

    return _tell(manners, execution, inp.Cancel(reason[:MAX_REASON], force))


def signal(
    manners: Manners,
    execution: ExecutionId,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The signal's name.")],
    value: Annotated[str | None, typer.Argument(metavar="[VALUE]", help="JSON, or any text.")] = None,
) -> int:
    """Tell a running execution something: a task that waits for this signal goes on with its value."""
    from podium.cli.given import json_or_text

    return _tell(manners, execution, (name, None if value is None else json_or_text(value)))


def _tell(manners: Manners, given: str, told: Input | tuple[str, Any]) -> int:
    from podium.cli.printing import print_json, say, wrapped
    from podium.cli.progress import hint, how_far
    from podium.cli.sessions import finish, found, looking
    from podium.clock import SystemClock

    async def whole() -> None:
        async with looking(manners) as podium:
            row = await found(podium, given)
            owned = await podium.who_runs(row.id)
            if isinstance(told, tuple):
                await podium.signal(row.id, *told)
            else:
                await podium.command(row.id, told)
            state = (await podium.follower(row.id)).state
            if manners.json:
                print_json({"execution_id": row.id, "status": str(state.status), "live_attempts": state.live})
                return
            far = how_far(state, SystemClock().now_us())
            say(wrapped(f"execution {row.id}"))
            nobody = NOBODY if str(state.status) == "running" and not owned else ""
            say(wrapped(f"{state.status}: {far}{hint(state)}{nobody}"))

    finish(whole())
    return 0
