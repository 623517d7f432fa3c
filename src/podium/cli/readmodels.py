"""`podium stats` and `podium rebuild`: what the log says in numbers, and how those are made anew."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from podium.cli.manners import Manners

if TYPE_CHECKING:
    from podium.app import Podium
    from podium.engine.statistics import ExecutionCounts, TaskCounts, Version

PAUSE_SECONDS = 0.1


def stats(
    manners: Manners,
    workflow: Annotated[str | None, typer.Argument(metavar="[WORKFLOW]", help="Only this one, with its tasks.")] = None,
) -> int:
    """Show how executions ended and how long they took, by workflow and version; with a WORKFLOW, its tasks too."""
    from podium.cli.printing import print_json, say
    from podium.cli.sessions import finish, looking
    from podium.engine.readmodels import statistics
    from podium.exceptions import InvalidInputError

    async def work() -> tuple[list[Version], int]:
        async with looking(manners) as podium:
            return await statistics(podium.store, podium.settings.tenant)

    found, left = finish(work())
    chosen = [each for each in found if workflow in (None, each.workflow)]
    if workflow is not None and not chosen:
        raise InvalidInputError(f"no execution of the workflow {workflow!r} was ever started")
    if manners.json:
        print_json({"workflows": [_document(each) for each in chosen], "rows_left": left})
        return 0
    say(_versions(chosen) if chosen else "no executions yet")
    for each in chosen if workflow is not None else ():
        if each.tasks:
            say()
            say(_tasks(each))
    if left:
        say(f"{left:,} inputs of the log aren't counted yet")
    return 0


def rebuild(
    manners: Manners,
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="The read model; without it, each.")] = None,
) -> int:
    """Make read models anew from the log, while they are in use. Until that is done, the old ones are shown."""
    from podium.cli.printing import print_json, say
    from podium.cli.sessions import finish, looking
    from podium.engine.statistics import NAME
    from podium.exceptions import InvalidInputError

    if name not in (None, NAME):
        raise InvalidInputError(f"there is no read model {name!r} to be rebuilt; there is {NAME}")

    async def work() -> int:
        rows = 0
        async with looking(manners) as podium:
            async for read in _rebuilt(podium, NAME):
                rows += read
        return rows

    rows = finish(work())
    if manners.json:
        print_json({"rebuilt": [NAME], "rows": rows})
    else:
        say(f"{NAME} is rebuilt from {rows:,} inputs of the log")
    return 0


async def _rebuilt(podium: Podium, name: str) -> AsyncIterator[int]:
    """Have each shard rebuilt by its owner, or here where it has none; yield how many rows each had."""
    from podium.engine.readmodels import rebuilt
    from podium.exceptions import ConflictError
    from podium.ids import SHARDS, IdSource

    asked = {"op": "rebuild", "model": name, "token": IdSource().token()}
    left = set(range(SHARDS))
    while left:
        shard = min(left)
        probe = execution_in(shard)
        answer = await podium.ask_owner({**asked, "shards": sorted(left)}, probe)
        if answer is None and not await podium.who_runs(probe):
            left.discard(shard)
            yield await rebuilt(podium.store, name, shard)
            continue
        if answer is not None and (answer.get("error") or answer.get("failed")):
            raise ConflictError(f"{name} can't be rebuilt: {answer.get('error') or answer.get('failed')}")
        for done, rows in dict((answer or {}).get("done", {})).items():
            if int(done) in left:
                left.discard(int(done))
                yield int(rows)
        await asyncio.sleep(PAUSE_SECONDS)


def execution_in(shard: int) -> str:
    """Return an id that an execution of this shard could have: by it the shard's owner is found."""
    from itertools import count

    from podium.ids import shard_of

    return next(name for name in map(str, count()) if shard_of(name) == shard)


def _document(version: Version) -> dict[str, Any]:
    return {
        "workflow": version.workflow,
        "version": version.version,
        "executions": _execution_document(version.executions),
        "tasks": {task: _task_document(counts) for task, counts in sorted(version.tasks.items())},
    }


def _execution_document(counts: ExecutionCounts) -> dict[str, Any]:
    from podium.cli.times import iso

    return {
        "started": counts.started,
        "completed": counts.completed,
        "failed": counts.failed,
        "cancelled": counts.cancelled,
        "retried": counts.retried,
        "seconds": {
            "sum": counts.duration_us / 1e6,
            "mean": _mean(counts.duration_us, counts.ended),
            "max": counts.longest_us / 1e6,
            "last": counts.last_us / 1e6,
        },
        "last_ended_at": iso(counts.last_ended_us or None),
    }


def _task_document(counts: TaskCounts) -> dict[str, Any]:
    return {
        "attempts": counts.attempts,
        "completed": counts.completed,
        "failures": counts.failures,
        "lost": counts.lost,
        "seconds": {
            "sum": counts.run_us / 1e6,
            "mean": _mean(counts.run_us, counts.completed + counts.failures),
            "max": counts.longest_us / 1e6,
        },
    }


def _mean(total_us: int, count: int) -> float | None:
    return round(total_us / count / 1e6, 6) if count else None


def _versions(versions: list[Version]) -> str:
    from podium.cli.tables import table

    rows = []
    for each in versions:
        counts = each.executions
        rows.append(
            (
                each.workflow,
                each.version,
                *(f"{number:,}" for number in (counts.started, counts.completed, counts.failed, counts.cancelled)),
                *_times(counts.duration_us, counts.ended, counts.longest_us),
                _shown(counts.last_us) if counts.ended else "",
            )
        )
    titles = ("WORKFLOW", "VERSION", "STARTED", "COMPLETED", "FAILED", "CANCELLED", "MEAN", "LONGEST", "LAST")
    return table(titles, rows, gives_way=0, right=frozenset(range(2, 9)))


def _tasks(version: Version) -> str:
    from podium.cli.tables import table

    rows = [
        (
            task,
            *(f"{number:,}" for number in (counts.attempts, counts.completed, counts.failures, counts.lost)),
            *_times(counts.run_us, counts.completed + counts.failures, counts.longest_us),
        )
        for task, counts in sorted(version.tasks.items())
    ]
    titles = (f"TASK OF {version.version}", "ATTEMPTS", "COMPLETED", "FAILURES", "LOST", "MEAN", "LONGEST")
    return table(titles, rows, gives_way=0, right=frozenset(range(1, 7)))


def _times(total_us: int, count: int, longest_us: int) -> tuple[str, str]:
    return (_shown(total_us / count), _shown(longest_us)) if count else ("", "")


def _shown(time_us: float) -> str:
    from podium.cli.times import shown_duration

    return shown_duration(time_us / 1e6)
