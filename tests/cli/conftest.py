"""Fixtures: a folder with `podium` in processes of its own, and one with it in this process."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from podium.cli.main import main
from tests.cli.support import Shell


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    """`podium` as processes in a folder of their own."""
    shell = Shell(tmp_path)
    yield shell
    shell.close()


class Here:
    """`podium` within this process: quick, and measured."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self.out = self.err = ""
        self._capsys = capsys

    def __call__(self, *arguments: str, code: int | None = 0) -> str:
        """Call it; it must end with this exit code (None: any but 0). Returns standard output."""
        self._capsys.readouterr()
        ended = main(list(arguments))
        self.out, self.err = self._capsys.readouterr()
        assert ended != 0 if code is None else ended == code, (ended, self.out, self.err)
        return self.out

    def read(self) -> tuple[str, str]:
        """Return what was written to standard output and to standard error since the last reading."""
        captured = self._capsys.readouterr()
        return captured.out, captured.err

    def json(self, *arguments: str, code: int = 0) -> Any:
        """Call it with `--json` and return the document."""
        return json.loads(self(*arguments, "--json", code=code))

    def refused(self, *arguments: str, code: int | None = 2) -> str:
        """Call it with what it refuses; returns the sentence on one line."""
        self(*arguments, code=code)
        assert "Traceback" not in self.err
        return " ".join(self.err.split())

    def write(self, name: str, content: str) -> str:
        """Write a file and return its name."""
        (self.folder / name).write_text(content, encoding="utf-8")
        return name


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Here]:
    """`podium` within this process, in a folder of its own; logging is left as it was."""
    Shell(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    for name in ("NO_COLOR", "DATABASE_URL", "PODIUM_DATABASE"):
        monkeypatch.delenv(name, raising=False)
    own, level = logging.getLogger("podium"), logging.root.level
    before = (own.level, own.propagate, own.handlers)
    yield Here(tmp_path, capsys)
    logging.root.setLevel(level)
    own.setLevel(before[0])
    own.propagate, own.handlers = before[1:]
