"""`podium schedule`: workflows that the clock starts: made, listed, shown, paused, resumed, triggered, made up for."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Annotated, Any

import typer

from podium.cli.manners import Manners, as_command
from podium.cli.run import Agents, Input, InputJson, Priority, Timeout

if TYPE_CHECKING:
    from podium.app import Podium
    from podium.scheduling.schedules import Schedule
    from podium.workflow.model import Workflow

schedule = typer.Typer(
    help="Workflows that the clock starts: create, list, show, pause, resume, trigger, backfill, delete.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
Name = Annotated[str, typer.Argument(metavar="NAME", help="The schedule's name; `podium schedule list` lists them.")]
_UPCOMING = 5
_OPTIONS = {
    "cron": "--cron", "every": "--every", "at": "--at", "time_zone": "--tz", "starts_at": "--from",
    "ends_at": "--until", "max_firings": "--count", "catch_up": "--catch-up",
    "catch_up_limit": "--catch-up-limit", "jitter": "--jitter",
}  # fmt: skip
_NARROWEST = 12
_COLORS = {"active": "green", "paused": "yellow", "over": "dim"}


def create(
    manners: Manners,
    name: Annotated[str, typer.Argument(metavar="NAME", help="A name for it; the file alone takes the workflow's.")],
    file: Annotated[str | None, typer.Argument(metavar="FILE", help="The workflow, a YAML file.")] = None,
    cron: Annotated[str | None, typer.Option("--cron", metavar="EXPRESSION", help='Such as "0 9 * * mon-fri".')] = None,
    tz: Annotated[
        str | None, typer.Option("--tz", metavar="ZONE", help="The expression's, such as Europe/Zurich. [default: UTC]")
    ] = None,
    every: Annotated[str | None, typer.Option("--every", metavar="DURATION", help="Such as 15m.")] = None,
    at: Annotated[str | None, typer.Option("--at", metavar="TIME", help="Once, such as 2030-01-31T09:00:00Z.")] = None,
    given: Input = None,
    input_json: InputJson = None,
    agents: Agents = None,
    overlap: Annotated[
        str | None,
        typer.Option(
            "--overlap",
            metavar="POLICY",
            help="While an execution runs: skip, buffer_one, allow, cancel_previous. [default: skip]",
        ),
    ] = None,
    catch_up: Annotated[
        str | None, typer.Option("--catch-up", metavar="DURATION", help="How late it may fire. [default: 1h]")
    ] = None,
    catch_up_limit: Annotated[
        int | None, typer.Option("--catch-up-limit", metavar="N", help="Of many late ones, so many. [default: 100]")
    ] = None,
    jitter: Annotated[
        str | None, typer.Option("--jitter", metavar="DURATION", help="Spread its firings over so long.")
    ] = None,
    begin: Annotated[str | None, typer.Option("--from", metavar="TIME", help="Not before this time.")] = None,
    until: Annotated[str | None, typer.Option("--until", metavar="TIME", help="Not after this time.")] = None,
    count: Annotated[int | None, typer.Option("--count", metavar="N", help="So many times at most.")] = None,
    priority: Priority = None,
    timeout: Timeout = None,
    replaces: Annotated[bool, typer.Option("--replace", help="In place of the schedule of this name.")] = False,
) -> int:
    """Have a workflow started by the clock: by a cron expression, at an interval, or once.

    What the options don't say, the file's own `schedule:` does. When this returns, it is on disk; the orchestrator that
    runs, or the next one, goes by it.
    """
    from podium.api.loading import workflow_from
    from podium.cli.given import execution_input, moment, seconds
    from podium.cli.sessions import scheduling
    from podium.workflow.schedules.spec import checked, other_than

    if file is None:
        workflow = workflow_from(name)
        name = _name_of(workflow)
    else:
        workflow = workflow_from(file)
    value = execution_input(workflow, given or (), input_json)
    said = {
        "cron": cron,
        "every_seconds": seconds(every, "--every"),
        "at": moment(at, "--at"),
        "time_zone": tz,
        "starts_at": moment(begin, "--from"),
        "ends_at": moment(until, "--until"),
        "max_firings": count,
        "overlap": None if overlap is None else _overlap(overlap),
        "catch_up_seconds": _seconds(catch_up, "--catch-up"),
        "catch_up_limit": catch_up_limit,
        "jitter_seconds": _seconds(jitter, "--jitter"),
    }
    spec = other_than(workflow.schedule, {field: value for field, value in said.items() if value is not None})
    checked(spec, _OPTIONS)
    options: dict[str, Any] = {
        "priority": priority,
        "timeout_seconds": seconds(timeout, "--timeout"),
        "replaces": replaces,
    }

    async def work() -> tuple[Schedule, bool]:
        async with scheduling(manners, agents or (), makes=True) as podium:
            made = await podium.schedules.create(name, workflow, spec, value, **options)
            return made, bool(await podium.who_runs())

    return _told(manners, work(), "made")


def list_schedules(manners: Manners) -> int:
    """List schedules: when each fires next, and what became of the last time."""
    from podium.cli.printing import print_json, say
    from podium.cli.sessions import database_exists, finish, scheduling

    async def work() -> list[tuple[Schedule, str]]:
        if not database_exists(manners.settings()):
            return []
        async with scheduling(manners) as podium:
            return [(one, await _last_of(podium, one)) for one in await podium.schedules.all()]

    found = finish(work())
    if manners.json:
        print_json([_document(*one) for one in found])
    elif found:
        say(_table(found))
    else:
        say("no schedules; `podium schedule create NAME FILE --every 15m` makes one")
    return 0


def show(manners: Manners, name: Name) -> int:
    """Show a schedule: what it starts, why it fires next when it does, and what became of the last times."""
    from podium.cli.printing import print_json
    from podium.cli.sessions import finish, scheduling

    async def work() -> tuple[Schedule, dict[str, str], list[str]]:
        async with scheduling(manners) as podium:
            one = await podium.schedules.get(name)
            begun = [record.execution for record in one.records if record.execution]
            statuses = {execution: await podium.schedules.status_of(one, execution) for execution in begun}
            return one, statuses, await _reasons(manners, podium, name)

    one, statuses, because = finish(work())
    last = one.records[-1] if one.records else None
    if manners.json:
        records = [_record_document(record, statuses) for record in one.records]
        document = {**_document(one, _last_word(last, statuses)), "because": because, "upcoming": _upcoming(one)}
        print_json({**document, "firings": records})
    else:
        _print_schedule(one, statuses, because)
    return 0


def pause(
    manners: Manners,
    name: Name,
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; it is shown.")] = "",
) -> int:
    """Let a schedule fire no more until it is resumed; what it has begun goes on."""
    return _command(manners, name, "paused", lambda podium: podium.schedules.pause(name, reason))


def resume(manners: Manners, name: Name) -> int:
    """Let a paused schedule fire again; what it would have fired meanwhile isn't made up for."""
    return _command(manners, name, "resumed", lambda podium: podium.schedules.resume(name))


def trigger(manners: Manners, name: Name) -> int:
    """Start a schedule's workflow now, besides its times."""
    from podium.cli.printing import print_json, say
    from podium.cli.sessions import finish, scheduling

    async def work() -> tuple[str, bool]:
        async with scheduling(manners) as podium:
            return await podium.schedules.trigger(name), bool(await podium.who_runs())

    execution, owned = finish(work())
    if manners.json:
        print_json({"name": name, "execution_id": execution})
    else:
        say(f"execution {execution} of {name}{_when(owned)}")
    return 0


def backfill(
    manners: Manners,
    name: Name,
    begin: Annotated[str, typer.Option("--from", metavar="TIME", help="The first time, such as 2026-03-01T00:00Z.")],
    end: Annotated[str, typer.Option("--to", metavar="TIME", help="The last time.")],
) -> int:
    """Make up for times that have passed, in order; those that have fired aren't fired again."""
    from podium.cli.given import moment
    from podium.cli.printing import print_json, say
    from podium.cli.sessions import finish, scheduling

    first, last = moment(begin, "--from"), moment(end, "--to")
    assert first is not None
    assert last is not None

    async def work() -> tuple[int, bool]:
        async with scheduling(manners) as podium:
            return await podium.schedules.backfill(name, first, last), bool(await podium.who_runs())

    count, owned = finish(work())
    if manners.json:
        print_json({"name": name, "times": count})
    else:
        say(f"{count:,} time{'s' * (count != 1)} of {name} {'are' if count != 1 else 'is'} made up for{_when(owned)}")
    return 0


def delete(manners: Manners, name: Name) -> int:
    """Take a schedule away; what it has begun goes on."""
    from podium.cli.printing import print_json, say
    from podium.cli.sessions import finish, scheduling

    async def work() -> None:
        async with scheduling(manners) as podium:
            await podium.schedules.delete(name)

    finish(work())
    if manners.json:
        print_json({"name": name, "deleted": True})
    else:
        say(f"{name} is deleted")
    return 0


schedule.command("create")(as_command(create))
schedule.command("list")(as_command(list_schedules))
schedule.command("show")(as_command(show))
schedule.command("pause")(as_command(pause))
schedule.command("resume")(as_command(resume))
schedule.command("trigger")(as_command(trigger))
schedule.command("backfill")(as_command(backfill))
schedule.command("delete")(as_command(delete))


# --- what is given ---------------------------------------------------------------------------------------------------


def _name_of(workflow: Workflow) -> str:
    """Return the name of a schedule that was given none."""
    from podium.exceptions import InvalidInputError
    from podium.schedules.rows import check_name

    try:
        return check_name(workflow.name)
    except InvalidInputError as error:
        raise InvalidInputError(f"{error}; say another one: podium schedule create NAME FILE") from None


def _overlap(text: str) -> Any:
    from podium.exceptions import InvalidInputError
    from podium.workflow.problems import did_you_mean
    from podium.workflow.schedules.spec import Overlap

    known = [str(one) for one in Overlap]
    wanted = text.strip().lower().replace("-", "_")
    if wanted not in known:
        hint = did_you_mean(wanted, known) or f"there are {', '.join(known)}"
        raise InvalidInputError(f"--overlap {text[:40]!r} isn't known; {hint}")
    return Overlap(wanted)


def _seconds(text: str | None, name: str) -> float | None:
    """Return a duration that may be nothing."""
    from podium.exceptions import InvalidInputError
    from podium.workflow.units import parse_duration

    if text is None:
        return None
    try:
        return parse_duration(text)
    except ValueError as error:
        raise InvalidInputError(f"{name}: {error}") from error


# --- what is said ----------------------------------------------------------------------------------------------------


def _command(
    manners: Manners, name: str, done: str, act: Callable[[Podium], Coroutine[Any, Any, Schedule]]
) -> int:  # fmt: skip
    from podium.cli.sessions import scheduling

    async def work() -> tuple[Schedule, bool]:
        async with scheduling(manners) as podium:
            return await act(podium), bool(await podium.who_runs())

    return _told(manners, work(), done)


def _told(manners: Manners, work: Coroutine[Any, Any, tuple[Schedule, bool]], done: str) -> int:
    from podium.cli.printing import print_json, say, wrapped
    from podium.cli.sessions import finish

    one, owned = finish(work)
    if manners.json:
        print_json({**_document(one, ""), "owned": owned})
        return 0
    said = f"{one.name} is {done}"
    following = _next_us(one)
    if following is not None:
        said += f"; it fires next at {_local(following)}"
        said += "" if owned else ", if an orchestrator runs then: `podium up`"
    say(wrapped(said))
    return 0


def _when(owned: bool) -> str:
    return "" if owned else ", as soon as an orchestrator runs"


def _state(one: Schedule) -> str:
    return "paused" if one.paused else "over" if one.over else "active"


def _next_us(one: Schedule) -> int | None:
    following = None if one.paused else one.next_time_us()
    return None if following is None else one.due_us(following)


def _local(time_us: int) -> str:
    from podium.cli.times import date_and_time

    return date_and_time(time_us)


async def _last_of(podium: Podium, one: Schedule) -> str:
    if not one.records:
        return ""
    record = one.records[-1]
    begun = record.execution
    return _last_word(record, {begun: await podium.schedules.status_of(one, begun)} if begun else {})


def _last_word(record: Any, statuses: dict[str, str]) -> str:
    if record is None:
        return ""
    return statuses.get(record.execution, "") if record.execution else f"left out: {record.why}"


def _upcoming(one: Schedule) -> list[str | None]:
    from podium.cli.times import iso

    found: list[str | None] = []
    at = None if one.paused else one.next_time_us()
    room = _UPCOMING if one.left is None else min(_UPCOMING, one.left)
    while at is not None and len(found) < room:
        found.append(iso(one.due_us(at)))
        at = one.next_time_us(at)
    return found


def _document(one: Schedule, last: str) -> dict[str, Any]:
    import msgspec

    from podium.cli.times import iso

    return {
        "name": one.name,
        "id": one.id,
        "workflow": one.beginning.workflow,
        "version": one.beginning.version,
        "state": _state(one),
        "reason": one.reason or None,
        "spec": msgspec.to_builtins(one.spec),
        "next_at": iso(_next_us(one)),
        "last": last or None,
        "fired": one.fired,
        "skipped": one.skipped,
        "missed": one.missed,
        "waiting": sum((len(one.triggers), len(one.backfills), one.buffered is not None)),
        "created_at": iso(one.created_us),
        "decided_until": iso(one.decided_us),
    }


def _record_document(record: Any, statuses: dict[str, str]) -> dict[str, Any]:
    from podium.cli.times import iso

    return {
        "at": iso(record.time_us),
        "decided_at": iso(record.decided_us),
        "execution_id": record.execution or None,
        "status": statuses.get(record.execution),
        "why": record.why or None,
    }


def _table(found: list[tuple[Schedule, str]]) -> str:
    from podium.cli.printing import painted
    from podium.cli.tables import table
    from podium.workflow.schedules.spec import in_words

    rows: list[tuple[str, ...]] = []
    for one, last in found:
        following = _next_us(one)
        at = _local(following) if following is not None else ""
        rows.append((one.name, one.beginning.workflow, _state(one), at, last, in_words(one.spec)))
    titles = ("NAME", "WORKFLOW", "STATE", "NEXT", "LAST", "WHEN")
    _narrow(titles, rows, (0, 1, 4))
    return table(titles, rows, paint={2: lambda text: painted(text, _COLORS.get(text, ""))})


def _narrow(titles: tuple[str, ...], rows: list[tuple[str, ...]], columns: tuple[int, ...]) -> None:
    """Cut some columns, the widest first, as far as the others need the room."""
    from podium.cli.printing import cut, width
    from podium.cli.tables import GAP, NARROWEST

    widths = [max(map(len, column)) for column in zip(titles, *rows, strict=True)]
    widths[-1] = min(widths[-1], NARROWEST)
    while sum(widths) + len(GAP) * (len(widths) - 1) > width():
        widest = max(columns, key=lambda at: widths[at])
        if widths[widest] <= _NARROWEST:
            break
        widths[widest] -= 1
    rows[:] = [tuple(cut(cell, widths[at]) if at in columns else cell for at, cell in enumerate(row)) for row in rows]


async def _reasons(manners: Manners, podium: Podium, name: str) -> list[str]:
    from podium.cli.times import iso

    owned = bool(await podium.who_runs())
    return await podium.schedules.explain(name, owned, (lambda at: str(iso(at))) if manners.json else _local)


async def explain_schedule(manners: Manners, podium: Podium, name: str) -> None:
    """Say why a schedule fires next when it does, or doesn't. Raises ScheduleNotFoundError."""
    from podium.cli.printing import print_json, say, wrapped

    one = await podium.schedules.get(name)
    because = await _reasons(manners, podium, name)
    if manners.json:
        print_json({"schedule": name, "state": _state(one), "because": because})
        return
    say(wrapped(f"schedule {name}: {because[0]}"))
    for reason in because[1:]:
        say(wrapped(f"  {reason}", indent="      "))


def _print_schedule(one: Schedule, statuses: dict[str, str], because: list[str]) -> None:
    from podium.cli.printing import say, wrapped
    from podium.cli.tables import table
    from podium.workflow.schedules.spec import in_words
    from podium.workflow.units import format_duration

    spec = one.spec
    reason = f" ({one.reason})" if one.reason else ""
    say(wrapped(f"schedule {one.name} of {one.beginning.workflow} {one.beginning.version}: {_state(one)}{reason}"))
    say(wrapped(f"fires {in_words(spec)}, overlap {spec.overlap}"))
    if spec.jitter_seconds:
        say(f"spread over {format_duration(spec.jitter_seconds)}")
    say(f"fired {one.fired:,} times, {one.skipped:,} left out, {one.missed:,} too late")
    for reason in because:
        say(wrapped(reason, indent="  "))
    rows = [(_local(each.time_us), each.execution, _last_word(each, statuses)) for each in reversed(one.records)]
    if rows:
        say(table(("TIME", "EXECUTION", "WHAT BECAME OF IT"), rows))
