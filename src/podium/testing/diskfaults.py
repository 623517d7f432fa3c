"""A disk that is full, broken, read-only, or loses its power, under a real process that knows nothing of it.

A small library in C beside this module is compiled once and preloaded into the process. Which calls on which files
fail, and how, stands in a control file that a test rewrites while the process runs. Linux only, and it needs a C
compiler: `compiled` says so by raising NoCompilerError.

A power cut is played from a journal: every write since its file's last sync may or may not have reached the disk, or
reached it in part. `lose_power` makes of the files what one such cut would have left.
"""

from __future__ import annotations

import errno
import os
import random
import shutil
import struct
import subprocess
import sys
from importlib.resources import as_file, files
from pathlib import Path

from msgspec import Struct

_HEAD = struct.Struct("=6q")
_COMPILE_SECONDS = 60
KILLED = -1  # in place of an errno: the process dies before the call
CALLS = {"write": "w", "sync": "s", "truncate": "t", "open": "o"}


class NoCompilerError(RuntimeError):
    """There is no C compiler, or no way to preload what it makes."""


def compiled(folder: Path) -> Path:
    """Compile the library into this folder and return its path. Raises NoCompilerError."""
    compiler = next((found for name in ("cc", "gcc", "clang") if (found := shutil.which(name))), None)
    if compiler is None or not sys.platform.startswith("linux"):
        raise NoCompilerError("no C compiler" if compiler is None else f"no LD_PRELOAD on {sys.platform}")
    library = folder / "diskfaults.so"
    with as_file(files("podium.testing") / "diskfaults.c") as source:
        command = [compiler, "-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o", str(library), str(source), "-ldl"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=_COMPILE_SECONDS, check=False)
    if done.returncode:
        raise NoCompilerError(f"{compiler} can't compile the library: {done.stderr.strip()}")
    return library


class DiskFaults:
    """The control of one process' disk, or of several processes'.

    Start them with `environment`. Files are meant whose path contains `marker`.
    """

    def __init__(self, library: Path, control: Path, marker: str) -> None:
        """`control` is where the control file will be; its path must not contain the marker."""
        if marker in str(control):
            raise ValueError("the control file would be under its own faults; put it elsewhere")
        self._library = library
        self._control = control
        self._marker = marker
        self._stamp = 0
        self.off()

    @property
    def environment(self) -> dict[str, str]:
        """What a process' environment needs beside its own."""
        return {
            "LD_PRELOAD": str(self._library),
            "PODIUM_FAULT_CONTROL": str(self._control),
            "PODIUM_FAULT_MARKER": self._marker,
        }

    def fail(
        self,
        error: int,
        *calls: str,
        skip: int = 0,
        times: int = 0,
        room: int | None = None,
    ) -> None:
        """Let calls fail from now on with this errno (or KILLED).

        `calls` are names in CALLS, all of them if none is named. `skip` of them succeed first, `times` fail then (0:
        until told otherwise). With `room`, so many bytes can still be written before writes begin to count.
        """
        letters = "".join(CALLS[call] for call in calls or CALLS)
        self._stamp += 1
        text = f"{error} {letters} {skip} {times} {-1 if room is None else room} {self._stamp}\n"
        new = self._control.with_name(self._control.name + ".new")
        new.write_text(text, encoding="ascii")
        os.replace(new, self._control)

    def full(self, room: int = 0) -> None:
        """The disk is full, once `room` more bytes are written."""
        self.fail(errno.ENOSPC, "write", room=room)

    def broken(self) -> None:
        """Writing, syncing and truncating give I/O errors."""
        self.fail(errno.EIO, "write", "sync", "truncate")

    def read_only(self) -> None:
        """The file system has turned read-only."""
        self.fail(errno.EROFS)

    def off(self) -> None:
        """The disk is well again."""
        self.fail(0)

    @property
    def failed(self) -> int:
        """How many calls have failed so far."""
        path = self._control.with_name(self._control.name + ".failed")
        return path.stat().st_size if path.exists() else 0

    def keep_journal(self) -> None:
        """Write down each change of the files from now on, so that `lose_power` can take the unsynced ones back."""
        self._journal.write_bytes(b"")

    @property
    def _journal(self) -> Path:
        return self._control.with_name(self._control.name + ".journal")

    def lose_power(self, seed: int) -> list[str]:
        """Make of the files what a power cut may have left; no process may have them open. Begins a new journal.

        Every change since its file's last sync is dropped, kept, or kept up to a random byte. Returns what was done, a
        line a change.
        """
        pending = _unsynced(self._journal.read_bytes())
        chance = random.Random(seed)
        done: list[str] = []
        for change in reversed(pending):
            _take_back(change)
        for change in pending:
            fate = chance.choice(("dropped", "kept", "torn"))
            length = {"dropped": 0, "kept": len(change.after), "torn": chance.randrange(len(change.after) + 1)}[fate]
            if change.call == "t":
                if fate == "kept" and os.path.exists(change.path):
                    os.truncate(change.path, change.offset)
            elif length:
                _write(change.path, change.offset, change.after[:length])
            done.append(f"{fate} {change.path} at {change.offset}: {length} of {len(change.after)} bytes")
        for path in {change.path for change in pending}:
            if path.endswith("-wal"):
                Path(path.removesuffix("-wal") + "-shm").unlink(missing_ok=True)
        self.keep_journal()
        return done


class _Change(Struct):
    """A write or truncation, as the journal has it."""

    call: str
    path: str
    offset: int
    before: bytes
    after: bytes
    size: int  # of the file before


def _unsynced(journal: bytes) -> list[_Change]:
    """Return the changes behind their file's last sync, in order."""
    pending: list[_Change] = []
    at = 0
    while at + _HEAD.size <= len(journal):
        call, path_length, offset, before_length, length, size = _HEAD.unpack_from(journal, at)
        at += _HEAD.size
        path = journal[at : at + path_length].decode()
        at += path_length
        before = journal[at : at + before_length]
        at += before_length
        after = journal[at : at + length] if chr(call) == "w" else b""
        at += len(after)
        if at > len(journal):
            break  # the process died while it wrote this, so the change itself was never made
        if chr(call) == "s":
            pending = [change for change in pending if change.path != path]
        else:
            pending.append(_Change(chr(call), path, offset, before, after, size))
    return pending


def _take_back(change: _Change) -> None:
    if not os.path.exists(change.path):
        return
    if change.before:
        _write(change.path, change.offset, change.before)
    os.truncate(change.path, change.size)


def _write(path: str, offset: int, content: bytes) -> None:
    if not os.path.exists(path):
        return
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(content)
