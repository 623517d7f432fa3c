"""Files that change: what `podium agent --reload` and `podium dev` look at, again and again.

Nothing is asked of the operating system but when and how large: that works on every file system, and in containers.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

LOOK_SECONDS = 0.5

_LEFT_OUT = frozenset({"__pycache__", "node_modules", "site-packages", "venv"})

Seen = dict[Path, tuple[int, int, int]]
"""Of each file when it was written, its size, and which one it is: an editor may put a new one in its place."""


def watched_folders(specs: Iterable[str]) -> list[Path]:
    """Return the folders with the code of agents: this one, and those that specs (`path/to/file.py:Name`) lie in."""
    paths = (spec.rpartition("=")[2].partition(":")[0] for spec in specs if "/" in spec)
    return sorted({Path.cwd(), *(Path(path).parent.resolve() for path in paths)})


def seen(folders: Iterable[Path], files: Iterable[Path] = ()) -> Seen:
    """Return the Python files in and below folders, and these files, as they are now."""
    found: Seen = {}
    for path in (*files, *_python_files(folders)):
        try:
            said = path.stat()
        except OSError:
            continue
        found[path] = (said.st_mtime_ns, said.st_size, said.st_ino)
    return found


def first_change(before: Seen, after: Seen) -> Path | None:
    """Return a file that was written, made or removed between two looks, or None."""
    for path in after.keys() | before.keys():
        if before.get(path) != after.get(path):
            return path
    return None


def _python_files(folders: Iterable[Path]) -> Iterator[Path]:
    for folder in folders:
        for place, inside, names in os.walk(folder):
            inside[:] = [name for name in inside if name not in _LEFT_OUT and not name.startswith(".")]
            yield from (Path(place, name) for name in names if name.endswith(".py"))
