"""Files that commands write: whole or not at all, and a refusal that says why."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def write_file(path: Path, text: str, said_before: str = "") -> None:
    """Write a text file by way of a new one beside it: nobody ever reads half of it; its permissions stay.

    A link stays a link: what it points to is written. Raises InvalidInputError where it can't be written.
    """
    from podium.exceptions import InvalidInputError

    try:
        target = path.resolve()
        if target.exists() and not target.is_file():  # a pipe or a device can't be replaced
            path.write_text(text, encoding="utf-8")
        else:
            _replace(target, text.encode("utf-8"))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InvalidInputError(f"{said_before}{path} can't be written: {reason}") from error


def _replace(target: Path, content: bytes) -> None:
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".new")
    new = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        new.chmod(_permissions(target))
        new.replace(target)
    except BaseException:
        new.unlink(missing_ok=True)
        raise


def _permissions(target: Path) -> int:
    """Return those of the file that is there, else what any new file gets."""
    try:
        return target.stat().st_mode & 0o7777
    except FileNotFoundError:
        umask = os.umask(0)
        os.umask(umask)
        return 0o666 & ~umask
