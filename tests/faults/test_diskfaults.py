"""The failing disk fails as it is told, and only where it is told; a played power cut leaves what was synced."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from podium.testing.diskfaults import KILLED, DiskFaults, NoCompilerError, compiled

# Reads a line, does it to the file, answers with the number of bytes or the error.
CHILD = """
import os, sys
file = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
for line in sys.stdin:
    what, _, text = line.rstrip("\\n").partition(" ")
    try:
        if what == "write":
            answer = os.write(file, text.encode())
        elif what == "pwrite":
            answer = os.pwrite(file, text.encode(), 0)
        elif what == "sync":
            answer = os.fdatasync(file) or 0
        elif what == "truncate":
            answer = os.ftruncate(file, int(text)) or 0
        else:
            answer = os.close(os.open(sys.argv[1] + text, os.O_RDWR | os.O_CREAT)) or 0
    except OSError as error:
        answer = -error.errno
    print(answer, flush=True)
"""


class Child:
    def __init__(self, path: Path, disk: DiskFaults) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(path)], env={**os.environ, **disk.environment},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def __call__(self, line: str) -> int | None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        said = self.process.stdout.readline()
        return int(said) if said else None

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *error: object) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def disk(library, tmp_path):
    return DiskFaults(library, tmp_path / "control", "/marked")


@pytest.fixture
def child(disk, tmp_path):
    with Child(tmp_path / "marked", disk) as child:
        yield child


def test_a_full_disk_writes_what_still_fits_and_then_nothing_until_there_is_room(disk, child, tmp_path):
    assert child("write hello") == 5
    disk.full(room=7)
    assert child("write 12345") == 5
    assert child("write 12345") == 2
    assert child("write 12345") == -errno.ENOSPC
    assert child("sync") == 0
    assert disk.failed == 1
    disk.off()
    assert child("write !") == 1
    assert (tmp_path / "marked").read_text() == "hello1234512!"


def test_each_call_fails_by_name_so_often_as_said(disk, child):
    disk.fail(errno.EIO, "sync", skip=1, times=2)
    assert [child("sync") for _ in range(4)] == [0, -errno.EIO, -errno.EIO, 0]
    assert child("write a") == 1
    disk.fail(errno.EIO, "truncate", "write")
    assert [child("truncate 0"), child("write b"), child("pwrite b"), child("sync")] == [-5, -5, -5, 0]
    disk.read_only()
    assert [child("open x"), child("sync"), child("write b")] == [-errno.EROFS] * 3


def test_other_files_are_left_alone(disk, tmp_path):
    disk.read_only()
    with Child(tmp_path / "other", disk) as child:
        assert [child("write a"), child("sync"), child("truncate 0"), child("open x")] == [1, 0, 0, 0]
    assert disk.failed == 0


def test_it_kills_before_the_call(disk, child, tmp_path):
    disk.fail(KILLED, "write", skip=1)
    assert child("write a") == 1
    assert child("write b") is None
    assert child.process.wait() == -9
    assert (tmp_path / "marked").read_text() == "a"


def test_a_power_cut_keeps_what_was_synced_and_any_part_of_the_rest(disk, child, tmp_path):
    disk.keep_journal()
    path = tmp_path / "marked"
    for line in ("write synced.", "sync", "write lost", "pwrite S", "truncate 9"):
        child(line)
    child.process.kill()
    child.process.wait()
    whole = path.read_bytes()
    assert whole == b"Synced.lo"
    journal = (tmp_path / "control.journal").read_bytes()
    left = set()
    for seed in range(60):
        path.write_bytes(whole)
        (tmp_path / "control.journal").write_bytes(journal)
        disk.lose_power(seed)
        left.add(path.read_bytes())
    assert {b"synced.", b"synced.lost", b"Synced.lo", b"synced.l"} <= left
    assert all(content[1:7] == b"ynced." for content in left)


def test_without_a_compiler_it_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NoCompilerError, match="no C compiler"):
        compiled(tmp_path)


def test_a_control_file_under_its_own_faults_is_refused(tmp_path):
    with pytest.raises(ValueError, match="elsewhere"):
        DiskFaults(tmp_path / "library", tmp_path / "marked" / "control", "/marked")
