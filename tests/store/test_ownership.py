"""One owner a file; the kernel frees the lock of who dies; the socket's path is short, private and always the same."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from podium.exceptions import StoreUnavailableError
from podium.store import ownership
from podium.store.ownership import FileLock, Holder, socket_path

HOLD = """
import sys
from podium.store.ownership import FileLock
lock = FileLock(sys.argv[1])
print(lock.try_acquire(), flush=True)
sys.stdin.read()
"""


def holding(path: Path) -> subprocess.Popen[str]:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "True\n"
    return holder


def test_one_holds_the_lock_and_says_who_it_is(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    first, second = FileLock(path), FileLock(path)
    assert second.holder() is None
    assert first.try_acquire()
    assert first.try_acquire()
    assert first.held
    assert not second.try_acquire()
    holder = second.holder()
    assert holder is not None
    assert holder.pid == os.getpid()
    assert holder.socket == str(socket_path(path))
    assert first.holder() == holder
    first.release()
    first.release()
    assert not first.held
    assert second.holder() is None
    assert second.try_acquire()
    second.release()


def test_the_lock_of_a_killed_holder_is_free_and_its_words_are_stale(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    holder = holding(path)
    lock = FileLock(path)
    assert not lock.try_acquire()
    seen = lock.holder()
    assert seen is not None
    assert seen.pid == holder.pid
    holder.send_signal(signal.SIGKILL)
    holder.communicate()
    assert f'"pid":{holder.pid}'.encode() in lock.path.read_bytes()
    assert lock.holder() is None
    assert lock.try_acquire()
    lock.release()


def test_a_child_process_doesnt_inherit_the_lock(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    lock = FileLock(path)
    assert lock.try_acquire()
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, close_fds=False)
    try:
        lock.release()
        assert FileLock(path).holder() is None
    finally:
        child.communicate(b"\n")


def test_names_of_the_same_file_are_one_lock_and_one_socket(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    lock = FileLock(tmp_path / "real" / "store.db")
    assert lock.try_acquire()
    assert not FileLock(tmp_path / "link" / "store.db").try_acquire()
    lock.release()
    assert socket_path(tmp_path / "real" / "store.db") == socket_path(tmp_path / "link" / "store.db")
    assert socket_path(tmp_path / "real" / "store.db") != socket_path(tmp_path / "real" / "other.db")


def test_who_only_looks_keeps_nobody_out(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    looking = True

    def look() -> None:
        while looking:
            FileLock(path).holder()

    threads = [threading.Thread(target=look) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(300):
            lock = FileLock(path)
            assert lock.try_acquire()
            lock.release()
    finally:
        looking = False
        for thread in threads:
            thread.join()


def test_a_holder_that_hasnt_signed_is_a_holder(tmp_path: Path) -> None:
    lock = FileLock(tmp_path / "store.db")
    assert lock.try_acquire()
    lock.path.write_bytes(b"{")
    assert FileLock(tmp_path / "store.db").holder() == Holder(0, "", 0, "")
    lock.release()


def test_a_lock_that_cant_be_opened_is_said(tmp_path: Path) -> None:
    lock = FileLock(tmp_path / "nowhere" / "store.db")
    assert lock.holder() is None
    with pytest.raises(StoreUnavailableError, match="can't be opened"):
        lock.try_acquire()


def test_the_socket_is_short_and_private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setattr(ownership, "_SOCKET_PATH_LIMIT", len(str(tmp_path)) + 50)
    path = socket_path(tmp_path / ("deep" * 60) / "store.db")
    assert path.is_relative_to(tmp_path)
    assert str(os.getuid()) in str(path)
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    path.parent.chmod(0o755)
    socket_path(tmp_path / "store.db")
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_runtime_folder_with_a_long_path_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deep = tmp_path / ("d" * 90)
    deep.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(deep))
    path = socket_path(tmp_path / "store.db")
    assert len(str(path)) <= 100
    assert not path.is_relative_to(deep)


def test_a_folder_that_isnt_ours_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setattr(ownership, "_SOCKET_PATH_LIMIT", len(str(tmp_path)) + 50)
    (tmp_path / f"podium-{os.getuid()}").symlink_to("/tmp")
    with pytest.raises(StoreUnavailableError, match="somebody else"):
        socket_path(tmp_path / "store.db")


def test_where_no_path_is_short_enough_it_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ownership, "_SOCKET_PATH_LIMIT", 10)
    with pytest.raises(StoreUnavailableError, match="XDG_RUNTIME_DIR"):
        socket_path(tmp_path / "store.db")
