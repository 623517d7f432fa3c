"""`podium history`: an execution's log, row by row: which input came when, and what it caused."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from podium.cli.manners import Manners
from podium.cli.resuming import ExecutionId

if TYPE_CHECKING:
    from podium.app import Podium
    from podium.engine.events import Event
    from podium.engine.inputs import Input
    from podium.engine.numbering import AttemptNumbers
    from podium.store.protocol import LogRow

_PAGE = 500


def history(
    manners: Manners,
    execution: ExecutionId,
    after: Annotated[int, typer.Option("--after", metavar="N", min=0, help="Only what came after this sequence.")] = 0,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="At most so many rows.")] = None,
    run: Annotated[
        int | None, typer.Option("--run", metavar="N", min=1, help="Only this run, of one that continues as new.")
    ] = None,
    events: Annotated[bool, typer.Option("--events", help="Each event with all that is in it.")] = False,
    export: Annotated[
        str | None, typer.Option("--export", metavar="FILE", help="Write it whole into a file that `replay` reads.")
    ] = None,
) -> int:
    """Show an execution's history: sequence, time, input, events. With --json one line a row, nothing left out."""
    if export is not None:
        return _export(manners, execution, export)
    from podium.cli.printing import complain, say
    from podium.cli.sessions import finish, found, looking
    from podium.engine.numbering import AttemptNumbers
    from podium.engine.recovery import numbers_before

    async def whole() -> int:
        async with looking(manners) as podium:
            row = await found(podium, execution)
            shown, at = 0, after if run is None else 0
            numbers = await numbers_before(podium.store, row.id, at + 1) if at else AttemptNumbers()
            while limit is None or shown < limit:
                most = _PAGE if limit is None or run is not None else min(_PAGE, limit - shown)
                page = await podium.store.history(row.id, at, most)
                for entry in page:
                    given, caused = await _decoded(podium, entry)
                    at = entry.sequence
                    numbers.take(caused)
                    if run is not None and (numbers.run != run or at <= after or shown == limit):
                        continue
                    if not shown and not manners.json:
                        say(f"{'SEQ':>6}  {'TIME':12}  {'INPUT':10}  EVENTS")
                    _print(entry, given, caused, numbers, manners.json, events)
                    shown += 1
                if not page or (run is not None and numbers.run > run):
                    break
            return shown

    if not finish(whole()) and not manners.json:
        complain(f"nothing happened after {after}" if run is None else f"nothing happened in run {run}")
    return 0


def _export(manners: Manners, execution: str, file: str) -> int:
    """Write an execution's history, with its definition and blobs, into a file."""
    from podium.cli.printing import installed_version, print_json, say
    from podium.cli.sessions import finish, found, looking
    from podium.engine.histories import export_history
    from podium.exceptions import InvalidInputError

    async def whole() -> tuple[str, list[bytes]]:
        async with looking(manners) as podium:
            row = await found(podium, execution)
            lines = [line async for line in export_history(podium.store, row.id, installed_version())]
        return row.id, lines

    exported, lines = finish(whole())
    try:
        Path(file).write_bytes(b"".join(lines))
    except OSError as error:
        raise InvalidInputError(f"--export {file} can't be written: {error.strerror or error}") from error
    if manners.json:
        print_json({"execution_id": exported, "file": file, "lines": len(lines)})
    else:
        say(f"{exported}: {len(lines)} lines in {file}; `podium replay {file}` decides it again")
    return 0


async def _decoded(podium: Podium, row: LogRow) -> tuple[Input, list[Event]]:
    from podium.engine.codec import decode_row

    payload = await podium.store.get(row.tenant, row.payload_blob) if row.payload_blob else None
    return decode_row(row, payload)


def _print(row: LogRow, given: Input, caused: list[Event], numbers: AttemptNumbers, json: bool, whole: bool) -> None:
    from podium.cli.printing import cut, print_json, say, width
    from podium.cli.times import clock_time, iso

    if json:
        print_json(
            {
                "sequence": row.sequence,
                "position": row.position,
                "shard": row.shard,
                "at": iso(row.now_us),
                "input_id": row.input_id,
                "input": given,
                "events": caused,
            }
        )
        return
    head = f"{row.sequence:>6}  {clock_time(row.now_us, milliseconds=True)}  {row.kind:10}  "
    say(cut(head + "; ".join(_shown(event, numbers) for event in caused), width()))
    if whole:
        for number, event in enumerate(caused):
            _print_whole(row.sequence + number, event)


def _shown(event: Event, numbers: AttemptNumbers) -> str:
    """Return an event in a few words: `attempt granted decompose#1 supervisor-1`; attempts count from 1 in each run."""
    import msgspec

    fields: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(event))
    words = [str(fields.pop("event")).replace("_", " ")]
    task, number = fields.get("task"), fields.get("number")
    if task:
        words.append(f"{task}#{numbers.of(number)}" if number else str(task))
    if fields.get("by"):
        words.append(f"by {fields['by']}")
    for name in ("run", "tasks", "count", "agent", "fallback", "reason", "how", "name", "workflow"):
        value = fields.get(name)
        if isinstance(value, list | tuple):
            value = [each["id"] if isinstance(each, dict) else each for each in value]
            words.append(", ".join(map(str, value[:5])) + (f" and {len(value) - 5} more" if len(value) > 5 else ""))
        elif value:
            words.append(str(value))
    error = fields.get("error")
    if isinstance(error, dict):
        words.append(f"({error.get('type')}: {error.get('message')})")
    return " ".join(words)


def _print_whole(sequence: int, event: Event) -> None:
    import msgspec

    from podium.cli.ending import cut_right
    from podium.cli.printing import say

    fields = msgspec.json.decode(msgspec.json.encode(event))
    say(f"{'':8}{sequence} {fields.pop('event')}")
    for name, value in fields.items():
        for line in msgspec.json.encode(value).decode().splitlines() or [""]:
            say(cut_right(f"{'':10}{name}: {line}"))
