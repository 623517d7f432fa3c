"""`podium replay`: decides again from recorded inputs, and names the first decision that differs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from podium.cli.manners import Manners

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from podium.app import Podium
    from podium.engine.replay import Replay
    from podium.exceptions import PodiumError

_PAGE = 200


def replay(
    manners: Manners,
    what: Annotated[
        str, typer.Argument(metavar="[ID|FILE]", help="An execution, or a file of `history ID --export`.")
    ] = "",
    everything: Annotated[bool, typer.Option("--all", help="Every execution in the database.")] = False,
) -> int:
    """Decide again from the recorded inputs, and name the first decision that differs. Nothing is changed.

    Exit code 1 means that this version would have decided differently, or that a history can't be read.
    """
    from podium.cli.printing import print_json
    from podium.cli.sessions import finish
    from podium.exceptions import InvalidInputError

    if bool(what) == everything:
        raise InvalidInputError("say what to replay: an execution's ID, a FILE, or --all")

    async def whole() -> list[dict[str, Any]]:
        shown = []
        async for document in _replays(manners, what):
            shown.append(document)
            if not manners.json:
                _show(document)
        return shown

    shown = finish(whole())
    differ = [document for document in shown if not document["same"]]
    if manners.json:
        print_json({"replayed": len(shown), "different": len(differ), "executions": shown})
    else:
        _sum_up(shown, differ)
    return 1 if differ else 0


async def _replays(manners: Manners, what: str) -> AsyncIterator[dict[str, Any]]:
    from podium.cli.sessions import found, looking

    if _is_file(what):
        yield await _replay_file(what)
        return
    async with looking(manners) as podium:
        if what:
            yield await _replay_one(podium, (await found(podium, what)).id)
            return
        async for execution in _all(podium):
            yield await _replay_one(podium, execution)


def _is_file(what: str) -> bool:
    return what.endswith(".jsonl") or "/" in what or Path(what).is_file()


async def _all(podium: Podium) -> AsyncIterator[str]:
    """Yield every execution's id, the newest first, each once."""
    before, seen = None, set[str]()
    limit = _PAGE
    while True:
        rows = await podium.store.executions(podium.settings.tenant, limit=limit, before_us=before)
        new = [row for row in rows if row.id not in seen]
        for row in new:
            seen.add(row.id)
            yield row.id
        if len(rows) < limit:
            return
        if new and rows[-1].created_us + 1 != before:
            before, limit = rows[-1].created_us + 1, _PAGE  # those of the same microsecond are asked for again
        else:
            limit *= 2


async def _replay_file(path: str) -> dict[str, Any]:
    from podium.engine.histories import import_history
    from podium.engine.recovery import Definitions
    from podium.engine.replay import replay_execution
    from podium.exceptions import CorruptHistoryError

    try:
        store, execution = import_history(_lines(path), path)
        return _document(await replay_execution(store, Definitions(store), execution))
    except CorruptHistoryError as error:
        return _unreadable(path, error)


def _lines(path: str) -> list[bytes]:
    from podium.exceptions import InvalidInputError

    try:
        return Path(path).read_bytes().splitlines()
    except OSError as error:
        raise InvalidInputError(f"{path} can't be read: {error.strerror or error}") from error


async def _replay_one(podium: Podium, execution: str) -> dict[str, Any]:
    from podium.engine.recovery import Definitions
    from podium.engine.replay import replay_execution
    from podium.exceptions import CorruptHistoryError

    try:
        return _document(await replay_execution(podium.store, Definitions(podium.store), execution))
    except CorruptHistoryError as error:
        return _unreadable(execution, error)


def _document(replay: Replay) -> dict[str, Any]:
    import msgspec

    document: dict[str, Any] = {
        "execution_id": replay.execution, "same": replay.mismatch is None, "rows": replay.rows, "events": replay.events
    }  # fmt: skip
    if replay.mismatch is not None:
        document["difference"] = msgspec.structs.asdict(replay.mismatch)
    return document


def _unreadable(execution: str, error: PodiumError) -> dict[str, Any]:
    return {"execution_id": execution, "same": False, "rows": 0, "events": 0, "error": str(error)}


def _show(document: dict[str, Any]) -> None:
    from podium.cli.printing import painted, say, wrapped

    execution = document["execution_id"]
    if document["same"]:
        say(f"{execution}  {painted('same', 'green')}  {document['rows']} inputs, {document['events']} events")
        return
    say(f"{execution}  {painted('DIFFERENT', 'red')}")
    if "error" in document:
        say(wrapped(f"  it can't be read: {document['error']}", "    "))
        return
    found = document["difference"]
    say(wrapped(f"  at sequence {found['sequence']}, input {found['input_id'] or 'none'} ({found['kind']})", "    "))
    say(wrapped(f"  recorded: {found['recorded']}", "    "))
    say(wrapped(f"  decided now: {found['decided']}", "    "))


def _sum_up(shown: list[dict[str, Any]], differ: list[dict[str, Any]]) -> None:
    from podium.cli.printing import complain, say

    if not shown:
        complain("there is nothing to replay")
    elif len(shown) > 1:
        say(f"{len(shown):,} executions, {len(differ):,} decided differently")
