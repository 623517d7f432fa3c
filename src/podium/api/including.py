"""The further files that workflows are made of: of the same project, and of nowhere else.

The project is the folder with `podium.yaml` in or above the workflow's, else the workflow's own. A path leads from
where the file that it is written in really is; where it comes out, symbolic links followed, must be inside.
"""

from __future__ import annotations

import os
import posixpath
import stat
from itertools import islice
from pathlib import Path
from typing import Final

from podium.exceptions import InvalidInputError
from podium.settings import CONFIG_FILE
from podium.workflow.problems import did_you_mean, printable
from podium.workflow.yaml import Opened
from podium.workflow.yaml.decoding import MAX_FILE_BYTES

_ENDINGS: Final = frozenset({".yaml", ".yml"})
_MAX_SHOWN: Final = 300  # characters of a path that can't be opened
MAX_LOOKED_AT: Final = 1_000  # names of a folder, for the one that may be meant


class ProjectFiles:
    """Opens files of the project that a workflow's file is part of; `opened` are those that it has."""

    def __init__(self, file: str | os.PathLike[str]) -> None:
        self._first = Path(os.path.realpath(file))
        self._first_identity = posixpath.normpath(os.fspath(file))
        self._project = _project_of(self._first)
        self.opened: list[Path] = []

    def __call__(self, path: str, within: Opened) -> Opened:
        """Return the file that a path leads to, seen from the file `within`. Raises InvalidInputError."""
        if not path.strip() or "\0" in path or "\\" in path or "://" in path:
            raise InvalidInputError("write the path of a file, with / between folders")
        if posixpath.isabs(path) or path.startswith("~"):
            raise InvalidInputError("its path must be relative to the file that it is written in")
        including = self._first if within.identity == self._first_identity else Path(within.identity)
        found = Path(os.path.realpath(including.parent / path))
        shown = _shown(posixpath.join(posixpath.dirname(within.file), path), found)
        try:
            if not found.is_relative_to(self._project):
                raise InvalidInputError(f"it isn't in the project's folder {self._project.name}")
            content = _content(found)
        except OSError as error:
            called = shown if len(shown) <= _MAX_SHOWN else shown[:_MAX_SHOWN] + "…"
            why = f"{called} can't be read: {error.strerror or type(error).__name__}"
            meant = _meant(found, path) if isinstance(error, FileNotFoundError) else ""
            raise InvalidInputError(f"{why}; {meant}" if meant else why) from error
        self.opened.append(found)
        return Opened(shown, self._first_identity if found == self._first else str(found), content)


def _shown(path: str, found: Path) -> str:
    """Return a path in short, unless that would lead elsewhere: `..` behind a link isn't the folder before it.

    It is for lines of a terminal or a log: there is nothing in it that they would obey.
    """
    short = posixpath.normpath(path)
    return printable(short if os.path.realpath(short) == str(found) else path)


def _meant(missing: Path, written: str) -> str:
    """Return which workflow beside a missing file may be meant, as it would be written."""
    try:
        names = list(islice((one.name for one in missing.parent.iterdir() if one.suffix in _ENDINGS), MAX_LOOKED_AT))
    except OSError:
        return ""
    folder = posixpath.dirname(written)
    return did_you_mean(written, [posixpath.join(folder, name) for name in names])


def _content(path: Path) -> bytes:
    if not stat.S_ISREG(path.stat().st_mode):
        raise InvalidInputError("it is no file")
    with path.open("rb") as opened:
        return opened.read(MAX_FILE_BYTES + 1)  # who reads the text says that it is too large


def _project_of(file: Path) -> Path:
    folder = file.parent
    return next((above for above in (folder, *folder.parents) if (above / CONFIG_FILE).is_file()), folder)
