"""Fixtures: real `podium` processes in a folder, and a disk under them that fails on command."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from podium.testing.diskfaults import DiskFaults, NoCompilerError, compiled
from tests.cli.support import Shell


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The compiled library; without a compiler the test isn't run, which in CI is a failure."""
    try:
        return compiled(tmp_path_factory.mktemp("library"))
    except NoCompilerError as error:
        if os.environ.get("CI") == "true":
            pytest.fail(f"in CI this must run: {error}")
        pytest.skip(f"not run: {error}")


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    """`podium` as processes in a folder of their own."""
    folder = tmp_path / "work"
    folder.mkdir()
    shell = Shell(folder)
    yield shell
    shell.close()


@pytest.fixture
def folder(shell: Shell) -> Path:
    """The folder in which they run."""
    return shell.folder


@pytest.fixture
def disk(library: Path, tmp_path: Path) -> DiskFaults:
    """Faults of the files of the database, its WAL and its lock."""
    return DiskFaults(library, tmp_path / "control", "/.podium/podium.db")
