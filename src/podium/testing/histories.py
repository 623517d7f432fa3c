"""Recorded histories in tests: written once, decided again by every later version of Podium.

`replay_history` takes a file of `podium history ID --export FILE` and raises where today's code would decide
differently; `record_history` writes one from a store.
"""

from __future__ import annotations

from os import PathLike
from pathlib import Path

from podium.api.running import run_to_end
from podium.engine.histories import export_history, import_history
from podium.engine.recovery import Definitions
from podium.engine.replay import Replay, replay_execution
from podium.store.protocol import Store


def replay_history(path: str | PathLike[str]) -> Replay:
    """Decide a recorded history again and return how it went.

    Raises ReplayMismatchError, naming the first decision that differs; InvalidInputError for a file that is none;
    CorruptHistoryError for one that was changed.
    """
    with Path(path).open("rb") as file:
        store, execution = import_history(file, str(path))
    replay = run_to_end(replay_execution(store, Definitions(store), execution))
    replay.check()
    return replay


async def record_history(store: Store, execution: str, path: str | PathLike[str]) -> None:
    """Write an execution's history into a file."""
    from podium import __version__

    lines = [line async for line in export_history(store, execution, __version__)]
    _write(Path(path), b"".join(lines))


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)
