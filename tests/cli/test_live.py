"""The live table on a terminal of 80 columns and 24 lines: what a person sees, and how it is left."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Callable
from contextlib import suppress

from tests.cli.support import GATED_RUN, ID, Shell, environment, eventually

SEQUENCE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal:
    """A `podium` on a terminal of its own."""

    def __init__(self, shell: Shell, *arguments: str, **more: str) -> None:
        outer, inner = pty.openpty()
        fcntl.ioctl(inner, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        kept = {name: value for name, value in environment().items() if name not in ("COLUMNS", "LINES")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "podium", *arguments],
            cwd=shell.folder, env={**kept, "TERM": "xterm-256color", **more},
            stdin=inner, stdout=inner, stderr=inner, start_new_session=True,
        )  # fmt: skip
        os.close(inner)
        os.set_blocking(outer, False)
        self._outer = outer
        self.text = ""

    def read(self) -> str:
        """Return all that was written so far."""
        with suppress(BlockingIOError, OSError):
            while part := os.read(self._outer, 65_536):
                self.text += part.decode()
        return self.text

    def until(self, condition: Callable[[str], object]) -> str:
        """Wait until what was written fulfils a condition."""
        eventually(lambda: condition(self.read()), f"in {self.text!r}")
        return self.text

    def wait(self) -> int:
        """Read to the end and return the exit code."""
        eventually(lambda: self.read() is not None and self.process.poll() is not None, "the end")
        self.read()
        os.close(self._outer)
        return self.process.wait()

    @property
    def lines(self) -> list[str]:
        """What was written, without control sequences."""
        return [line.rstrip() for line in re.split(r"[\r\n]+", SEQUENCE.sub("", self.text))]


def test_a_terminal_shows_a_row_a_task_and_then_the_last_words(shell: Shell) -> None:
    terminal = Terminal(shell, *GATED_RUN)
    terminal.until(lambda text: "50% half way" in text)
    shell.open_gate()
    assert terminal.wait() == 0
    assert ID.search(terminal.lines[0])
    titles = next(line for line in terminal.lines if line.startswith("TASK"))
    assert titles.split() == ["TASK", "STATE", "AGENT", "TRY", "TIME", "NOTE"]
    assert any(re.match(r"held +running +ledger-1 +1 +\S+ m?s +50% half way", line) for line in terminal.lines)
    assert any(line.startswith("running: 1 of 3 done") for line in terminal.lines)
    assert all(len(line) <= 80 for line in terminal.lines)
    assert [line.split()[0] for line in terminal.lines[-4:-1]] == ["completed", "result", "execution"]
    assert terminal.text.count("\x1b[?25l") == terminal.text.count("\x1b[?25h")


def test_ctrl_c_on_a_terminal_gives_the_cursor_back(shell: Shell) -> None:
    terminal = Terminal(shell, *GATED_RUN, PODIUM_DRAIN_SECONDS="0.2")
    terminal.until(lambda text: "half way" in text)
    terminal.process.send_signal(signal.SIGINT)
    assert terminal.wait() == 130
    assert "goes on with it" in " ".join(terminal.lines)
    assert terminal.text.count("\x1b[?25l") == terminal.text.count("\x1b[?25h")


def test_many_tasks_fit_the_screen(shell: Shell) -> None:
    tasks = "".join(f"  - {{id: t{number}, agent: ledger, function: gate}}\n" for number in range(100))
    (shell.folder / "many.yaml").write_text(f"name: many\ntasks:\n{tasks}", encoding="utf-8")
    terminal = Terminal(shell, "run", "many.yaml", "--agents", "ledger.py")
    terminal.until(lambda text: "more" in text and "running" in text)
    shell.open_gate()
    assert terminal.wait() == 0
    assert any(re.match(r"… \d+ more", line) for line in terminal.lines)
    assert all(len(line) <= 80 for line in terminal.lines)


def test_no_color_and_dumb_terminals_have_none(shell: Shell) -> None:
    shell.open_gate()
    colored = re.compile(r"\x1b\[[0-9;]*[0-9]m")
    for arguments, more in (((), {"NO_COLOR": "1"}), (("--no-color",), {}), ((), {"TERM": "dumb"})):
        terminal = Terminal(shell, "run", "noop.yaml", *arguments, **more)
        assert terminal.wait() == 0
        assert not colored.search(terminal.text), (arguments, more)
    terminal = Terminal(shell, "run", "noop.yaml")
    assert terminal.wait() == 0
    assert colored.search(terminal.text)
