"""`podium dev`: a workflow that runs again at each save of its files or its agents' code, each time as a new process.

A run that goes on when something is saved is stopped first. What goes wrong is shown by the run itself; the watching
goes on until Ctrl-C.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, Final

import typer

from podium.cli.manners import Manners
from podium.cli.run import Agents, CapacityOption, Input, InputJson, Timeout
from podium.cli.watching import LOOK_SECONDS, Seen, first_change, seen, watched_folders

QUIET_SECONDS: Final = 0.15
"""So long nothing may change before a run begins: an editor may write many files, or one in steps."""

PATIENCE_SECONDS: Final = 15.0
"""For a run to stop, before its process is killed."""


def dev(
    manners: Manners,
    file: Annotated[str, typer.Argument(metavar="FILE", help="The workflow, a YAML file.")],
    given: Input = None,
    input_json: InputJson = None,
    agents: Agents = None,
    timeout: Timeout = None,
    capacity: CapacityOption = None,
) -> int:
    """Run a workflow, and again at each save of its file, of podium.yaml or of Python files below this folder.

    Nothing is kept, unless --database says where. A run that goes on is stopped first. Ctrl-C ends it.
    """
    from podium.exceptions import InvalidInputError

    path = Path(file)
    if not path.is_file():
        raise InvalidInputError(f"{file} is no file")
    specs = [*(agents or ()), *manners.settings().agents.values()]
    command = _command(manners, file, given, input_json, agents, timeout, capacity)
    with _told_to_stop() as asked:
        _Watched(path, specs, asked).run(command)
    return 0


def _command(
    manners: Manners,
    file: str,
    given: Sequence[str] | None,
    input_json: str | None,
    agents: Sequence[str] | None,
    timeout: str | None,
    capacity: str | None,
) -> list[str]:
    """Return the command of one run."""
    options: list[tuple[str, str | None]] = [
        *(("--input", one) for one in given or ()),
        *(("--agents", one) for one in agents or ()),
        ("--input-json", input_json),
        ("--timeout", timeout),
        ("--capacity", capacity),
        ("--database", manners.database or ":memory:"),
    ]
    flags = [flag for flag, wanted in _flags(manners) if wanted]
    words = [f"{option}={value}" for option, value in options if value is not None]
    return [sys.executable, "-m", "podium", "run", *words, *flags, "--", file]


def _flags(manners: Manners) -> tuple[tuple[str, bool], ...]:
    return ("--json", manners.json), ("--no-color", manners.no_color), ("--debug", manners.debug)


@contextmanager
def _told_to_stop() -> Iterator[threading.Event]:
    """Give an event that Ctrl-C and SIGTERM set, as long as this lasts."""
    asked = threading.Event()

    def ask(number: int, frame: FrameType | None) -> None:
        asked.set()

    before: dict[int, Any] = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def included_files(file: Path) -> list[Path]:
    """Return the files that a workflow includes, as far as they can be read at the moment."""
    from podium.api.including import ProjectFiles
    from podium.workflow.yaml import check_workflow

    files = ProjectFiles(file)
    try:
        check_workflow(file.read_bytes(), str(file), opener=files)
    except OSError:
        return []  # the run says so
    return files.opened


class _Watched:
    """The files that matter, and the runs."""

    def __init__(self, file: Path, specs: Sequence[str], asked: threading.Event) -> None:
        self._file = file
        self._folders = sorted({*watched_folders(specs), file.parent.resolve()})
        self._files: tuple[Path, ...] = (file,)
        self._asked = asked

    def run(self, command: Sequence[str]) -> None:
        """Run the command at each change, until a stop is asked for."""
        from podium.cli.printing import complain, wrapped

        while not self._asked.is_set():
            self._files = (self._file, Path("podium.yaml"), *included_files(self._file))
            before = self._quiet()
            # Of a process group of its own: Ctrl-C comes here alone, and the run is told once.
            child = subprocess.Popen(command, start_new_session=True)
            changed = self._change(before, child)
            if changed is None and not self._asked.is_set():
                complain(wrapped(f"podium dev: {self._ended(child.returncode)}; it runs again at the next save"))
                changed = self._change(before)
            _stop(child)
            if changed is not None and not self._asked.is_set():
                complain(wrapped(f"podium dev: {_shown(changed)} has changed"))

    def _look(self) -> Seen:
        return seen(self._folders, self._files)

    def _quiet(self) -> Seen:
        """Return what is there once nothing changes any more."""
        before = self._look()
        while not self._asked.wait(QUIET_SECONDS):
            now = self._look()
            if first_change(before, now) is None:
                return now
            before = now
        return before

    def _change(self, before: Seen, child: subprocess.Popen[bytes] | None = None) -> Path | None:
        """Wait for a change and return what changed; None when the child ended, or a stop was asked for."""
        while child is None or child.poll() is None:
            if self._asked.wait(LOOK_SECONDS):
                return None
            changed = first_change(before, self._look())
            if changed is not None:
                return changed
        return None

    def _ended(self, code: int) -> str:
        return f"{self._file} ran to its end" if code == 0 else f"{self._file} ended with code {code}"


def _shown(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _stop(child: subprocess.Popen[bytes]) -> None:
    """End a run that still goes on: it is told, waited for, and killed when it takes too long."""
    if child.poll() is not None:
        return
    child.send_signal(signal.SIGTERM)
    try:
        child.wait(PATIENCE_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
