"""`podium ps`, `podium status`, `podium explain`: which executions there are, how far one is, why it isn't further."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Any

import typer

from podium.cli.manners import Manners
from podium.cli.resuming import ExecutionId

if TYPE_CHECKING:
    from podium.app import Podium
    from podium.engine.following import Follower
    from podium.store.protocol import ExecutionRow

ENDED_SHOWN = 5  # without --all
LATELY_US = 24 * 3600 * 1_000_000
_ROWS = 60
_EXPLAINED = 30
WAITING = "waiting"
INTERRUPTED = "interrupted"
DAMAGED = "damaged"
ASKS = "asks"
_GOING_ON = ("running", "pausing", "failing", "cancelling")


def ps(
    manners: Manners,
    show_all: Annotated[bool, typer.Option("--all", "-a", help="Those that ended long ago too.")] = False,
    status: Annotated[list[str] | None, typer.Option("--status", help="Only these; may be given many times.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=10_000, help="At most so many.")] = 50,
) -> int:
    """List executions, the newest first: those that go on, and the last ones that ended within a day."""
    from podium.cli.printing import print_json, say
    from podium.cli.sessions import NOTHING_YET, database_exists, finish, looking
    from podium.clock import SystemClock

    wanted = _statuses(status or ())
    now_us = SystemClock().now_us()

    async def listed(podium: Podium) -> list[ExecutionRow]:
        tenant, store = podium.settings.tenant, podium.store
        waiting = await podium.waiting(limit) if not wanted or "running" in wanted else []
        if wanted or show_all:
            return [*waiting, *await store.executions(tenant, wanted, limit=limit)][:limit]
        going = await store.executions(tenant, _unfinished(), limit=limit)
        ended = await store.executions(tenant, _finished(), limit=min(limit, ENDED_SHOWN))
        lately = [row for row in ended if (row.finished_us or 0) > now_us - LATELY_US]
        if not waiting and not going and not lately:
            lately = ended
        return sorted([*waiting, *going, *lately], key=lambda row: row.created_us, reverse=True)[:limit]

    async def whole() -> tuple[list[ExecutionRow], dict[str, str]]:
        if not database_exists(manners.settings()):
            return [], {}
        async with looking(manners) as podium:
            rows = await listed(podium)
            return rows, await _shown_statuses(podium, rows)

    rows, shown = finish(whole())
    if manners.json:
        print_json([_row_document(row, shown[row.id]) for row in rows])
    elif not rows:
        say(f"no executions with status {' or '.join(wanted)}" if wanted else NOTHING_YET)
    else:
        _print_rows(rows, shown, now_us)
    return 0


def status(manners: Manners, execution: ExecutionId) -> int:
    """Show an execution: its tasks, how far it is, what came out."""
    from podium.cli.printing import print_json
    from podium.cli.sessions import finish, found, looking

    async def whole() -> None:
        async with looking(manners) as podium:
            row = await found(podium, execution)
            follower = await podium.follower(row.id)
            if manners.json:
                from podium.cli.ending import document_of

                print_json({**await document_of(follower), "owner": await podium.who_runs(row.id) or None})
                return
            activity = await podium.activity(row.id) if not follower.state.final else {}
            await _print_status(follower, activity, await podium.who_runs(row.id))

    finish(whole())
    return 0


def explain(
    manners: Manners,
    execution: ExecutionId,
    task: Annotated[str | None, typer.Argument(metavar="[TASK]", help="Only this task.")] = None,
) -> int:
    """Say what an execution, and each task that hasn't ended, waits for; of a schedule, why it fires when it does."""
    from podium.cli.printing import print_json, say, wrapped
    from podium.cli.schedule import explain_schedule
    from podium.cli.sessions import finish, found, looking
    from podium.exceptions import ExecutionNotFoundError, ScheduleNotFoundError

    async def whole() -> None:
        async with looking(manners) as podium:
            try:
                row = await found(podium, execution)
            except ExecutionNotFoundError:
                with suppress(ScheduleNotFoundError):
                    await explain_schedule(manners, podium, execution)
                    return
                raise
            headline, explanations = await podium.explain(row.id)
            if task is not None and row.sequence:
                explanations = [e for e in explanations if e.task == task or e.task.startswith(f"{task}[")]
                if not explanations:
                    explanations = [_ended(await podium.follower(row.id), task)]
            if manners.json:
                tasks = [{"task": e.task, "status": e.status, "because": e.because} for e in explanations]
                print_json({"execution_id": row.id, "headline": headline, "tasks": tasks})
                return
            say(wrapped(headline))
            for one in explanations[:_EXPLAINED]:
                say(wrapped(f"  {one.task} ({one.status}): {one.because}", indent="      "))
            if len(explanations) > _EXPLAINED:
                say(f"  … and {len(explanations) - _EXPLAINED:,} more; `podium explain ID TASK` tells of one")

    finish(whole())
    return 0


# --- ps --------------------------------------------------------------------------------------------------------------


def _statuses(given: Any) -> list[str]:
    from podium.exceptions import InvalidInputError
    from podium.workflow.model import ExecutionStatus
    from podium.workflow.problems import did_you_mean

    known = [str(one) for one in ExecutionStatus]
    wanted = [one.strip().lower() for text in given for one in text.split(",")]
    for one in wanted:
        if one not in known:
            hint = did_you_mean(one, known) or f"there are {', '.join(known)}"
            raise InvalidInputError(f"no execution has the status {one!r}; {hint}")
    return wanted


def _finished() -> list[str]:
    from podium.workflow.model import FINAL_EXECUTION

    return [str(one) for one in FINAL_EXECUTION]


def _unfinished() -> list[str]:
    from podium.workflow.model import FINAL_EXECUTION, ExecutionStatus

    return [str(one) for one in ExecutionStatus if one not in FINAL_EXECUTION]


def _print_rows(rows: list[ExecutionRow], shown: dict[str, str], now_us: int) -> None:
    from podium.cli.printing import painted, say, wrapped
    from podium.cli.tables import table
    from podium.cli.times import between_us

    colors = {"completed": "green", "failed": "red", "cancelled": "yellow", "running": "cyan", INTERRUPTED: "yellow"}
    colors[DAMAGED], colors[ASKS] = "red", "blue"
    cells = [
        (
            row.id,
            row.workflow,
            str(_summary(row).get("schedule", "")),
            shown[row.id],
            _done(row),
            between_us(row.created_us, row.finished_us or now_us),
        )
        for row in rows
    ]
    say(
        table(
            ("ID", "WORKFLOW", "SCHEDULE", "STATUS", "DONE", "TIME"), cells, gives_way=1, right=frozenset({4, 5}),
            paint={3: lambda text: painted(text, colors.get(text, ""))},
        )
    )  # fmt: skip
    if WAITING in shown.values():
        say(wrapped("the waiting ones begin when fewer executions are at work; `podium explain ID` says more"))
    if ASKS in shown.values():
        say(wrapped("those that ask wait for a person; `podium waiting` lists what they ask", indent=""))
    if INTERRUPTED in shown.values():
        say(wrapped("no process runs the interrupted ones; `podium resume ID` goes on with one", indent=""))
    if DAMAGED in shown.values():
        say(wrapped("the history of the damaged ones can't be read, they are set aside; `podium explain ID` says why"))


async def _shown_statuses(podium: Podium, rows: list[ExecutionRow]) -> dict[str, str]:
    """Return the rows' statuses as people are shown them; what hasn't ended is looked into: it may be damaged."""
    from podium.exceptions import CorruptHistoryError

    shown, owned = {row.id: row.status for row in rows}, await podium.who_runs()
    for row in rows:
        if not row.sequence:
            shown[row.id] = WAITING
        if row.status in _finished() or not row.sequence:
            continue
        if row.status == "running" and (owned or not row.active) and _summary(row).get("people"):
            shown[row.id] = ASKS
        elif row.status in _GOING_ON and not owned:
            shown[row.id] = INTERRUPTED
        try:
            await podium.store.load(row.id)
        except CorruptHistoryError:
            shown[row.id] = DAMAGED
    return shown


def _summary(row: ExecutionRow) -> dict[str, Any]:
    import msgspec

    found: dict[str, Any] = msgspec.json.decode(row.summary)
    return found


def _done(row: ExecutionRow) -> str:
    summary = _summary(row)
    run = f" of run {row.run:,}" if row.run > 1 else ""
    return f"{summary.get('completed', 0)}/{summary.get('total', 0)}{run}"


def _row_document(row: ExecutionRow, shown: str) -> dict[str, Any]:
    from podium.cli.times import iso

    return {
        "execution_id": row.id,
        "workflow": row.workflow,
        "version": row.version,
        "status": row.status,
        "run": row.run,
        "waiting": shown == WAITING,
        "interrupted": shown == INTERRUPTED,
        "damaged": shown == DAMAGED,
        "priority": row.priority,
        "created_at": iso(row.created_us),
        "updated_at": iso(row.updated_us),
        "finished_at": iso(row.finished_us),
        "summary": _summary(row),
    }


# --- status and explain ----------------------------------------------------------------------------------------------


async def _print_status(follower: Follower, activity: dict[str, dict[str, Any]], holder: str) -> None:
    from podium.cli.ending import ending_text, published_text
    from podium.cli.printing import say, wrapped
    from podium.cli.progress import hint, how_far
    from podium.cli.rows import TITLES, rows_of
    from podium.cli.tables import table
    from podium.cli.times import date_and_time
    from podium.clock import SystemClock
    from podium.engine.explain import why_waiting

    state, now_us = follower.state, SystemClock().now_us()
    say(f"execution {state.id} of {state.definition.workflow.name}")
    if not state.sequence:
        say(wrapped(why_waiting(now_us - state.created_us)))
        return
    by = f" by the schedule {state.schedule}" if state.schedule else ""
    again = f"; run {state.run:,} since {date_and_time(state.run_started_us)}" if state.run > 1 else ""
    say(wrapped(f"begun {date_and_time(state.created_us)}{by}{again}"))
    say(table(TITLES, [row.cells for row in rows_of(state, now_us, activity, _ROWS)], right=frozenset({3, 4})))
    published = await follower.published()
    if published is not None:
        say(published_text(published))
    if state.final:
        say(ending_text(state, await follower.result()))
        return
    where = f"; {holder} runs it" if holder else f"; no process runs it at the moment, `podium resume {state.id}` does"
    say(wrapped(f"{state.status}: {how_far(state, now_us)}{hint(state)}{where}"))


def _ended(follower: Follower, task_id: str) -> Any:
    """Return an explanation of a task that needs none, since it has ended. Raises TaskNotFoundError."""
    from podium.cli.rows import shown_error
    from podium.cli.times import between_us
    from podium.engine.explain import Explanation
    from podium.exceptions import TaskNotFoundError
    from podium.workflow.problems import did_you_mean

    task = follower.state.tasks.get(task_id)
    if task is None:
        hint = (
            did_you_mean(task_id, follower.state.tasks) or f"`podium status {follower.state.id[:13]}` lists its tasks"
        )
        raise TaskNotFoundError(f"the execution has no task {task_id!r}; {hint}")
    count = follower.state.attempts_of(task)
    attempts = f"after {count} attempt{'s' * (count != 1)}" if count else "without an attempt"
    took = f" in {between_us(task.started_us, task.finished_us)}" if task.started_us and task.finished_us else ""
    why = f": {shown_error(task.error)}" if task.error else f": {task.reason}" if task.reason else ""
    return Explanation(task_id, str(task.status), f"it has ended, {attempts}{took}{why}")
