"""Who owns a database file: a lock that the kernel frees when its holder dies, and where the owner's socket is.

The lock is `flock` on `PATH.lock`, held by an open descriptor that no child process inherits. What the file says of its
holder is for people; whether the lock is held, only the kernel knows, so stale words never keep anybody out.
"""

from __future__ import annotations

import fcntl
import os
import socket
import stat
import tempfile
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

import msgspec

from podium.clock import Clock, SystemClock
from podium.exceptions import StoreUnavailableError

_SOCKET_PATH_LIMIT = 100  # bytes; Linux allows 107, macOS 103

_LOOKERS_PASSED = 1_000


class Holder(msgspec.Struct, frozen=True):
    """Who holds the lock, in its own words."""

    pid: int
    host: str
    started_us: int
    socket: str


class FileLock:
    """The right to own a database file. One object is one contender, also within a process."""

    def __init__(self, db_path: Path | str, clock: Clock | None = None) -> None:
        self._db_path = Path(db_path)
        self._clock = clock or SystemClock()
        self._descriptor: int | None = None

    @property
    def path(self) -> Path:
        """Where the lock's file is. It stays when the lock is released: to delete it would let two hold it."""
        return Path(f"{os.path.realpath(self._db_path)}.lock")

    @property
    def held(self) -> bool:
        """Whether this object holds the lock."""
        return self._descriptor is not None

    def try_acquire(self) -> bool:
        """Take the lock if it is free; return whether this object holds it now. Never waits."""
        if self._descriptor is not None:
            return True
        try:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreUnavailableError(f"{self.path}: the lock's file can't be opened ({error.strerror})") from error
        try:
            if not _locked_exclusively(descriptor):
                os.close(descriptor)
                return False
            self._sign(descriptor)
        except OSError as error:
            os.close(descriptor)
            raise StoreUnavailableError(f"{self.path}: can't be locked or signed ({error.strerror})") from error
        self._descriptor = descriptor
        return True

    def holder(self) -> Holder | None:
        """Return who holds the lock now, None if nobody does.

        A holder that hasn't signed yet, or that this host can't read, is shown with a pid of 0.
        """
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreUnavailableError(f"{self.path}: the lock's file can't be read ({error.strerror})") from error
        try:
            # A shared lock is refused while somebody holds the exclusive one, and is gone with the descriptor.
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return _signed(os.pread(descriptor, 4_096, 0))
        finally:
            os.close(descriptor)
        return None

    def release(self) -> None:
        """Let the lock go. Safe twice."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            with suppress(OSError):  # a bad disk keeps the stale words, which mean nothing without the lock
                os.ftruncate(descriptor, 0)
            # Closing alone isn't enough: a process that is being spawned just now holds a copy until it has exec'd.
            fcntl.flock(descriptor, fcntl.LOCK_UN)
            os.close(descriptor)

    def _sign(self, descriptor: int) -> None:
        holder = Holder(os.getpid(), socket.gethostname(), self._clock.now_us(), str(socket_path(self._db_path)))
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, msgspec.json.encode(holder), 0)


def _locked_exclusively(descriptor: int) -> bool:
    """Lock the file, or return False when it has an owner. Who only looks (`holder`) holds it shared for a moment."""
    for _ in range(_LOOKERS_PASSED):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            fcntl.flock(descriptor, fcntl.LOCK_UN)
            os.sched_yield()
        else:
            return True
    return False


def _signed(text: bytes) -> Holder:
    try:
        return msgspec.json.decode(text, type=Holder)
    except msgspec.DecodeError:
        return Holder(0, "", 0, "")


def socket_path(db_path: Path | str) -> Path:
    """Return where the owner of this database listens: the same short path for every name of the same file.

    In `XDG_RUNTIME_DIR` or the folder for temporary files, in a folder of this user's with mode 0700, which is made.
    """
    name = sha256(os.path.realpath(db_path).encode(errors="surrogateescape")).hexdigest()[:16] + ".sock"
    for root in (os.environ.get("XDG_RUNTIME_DIR"), tempfile.gettempdir(), "/tmp"):  # noqa: S108 - a folder of 0700
        if root and os.path.isdir(root):
            folder = Path(root) / f"podium-{os.getuid()}"
            if len(os.fsencode(folder / name)) <= _SOCKET_PATH_LIMIT:
                _make_private(folder)
                return folder / name
    raise StoreUnavailableError("there is no folder with a short enough path for a socket; set XDG_RUNTIME_DIR")


def _make_private(folder: Path) -> None:
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise StoreUnavailableError(f"{folder} belongs to somebody else; set XDG_RUNTIME_DIR to a folder of your own")
    if stat.S_IMODE(found.st_mode) != 0o700:
        folder.chmod(0o700)
