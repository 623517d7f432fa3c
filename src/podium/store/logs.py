"""What attempts log: bounded rings, outside the event log, in a file of their own that is never synced.

Writing never blocks and never fails: a line goes into a bounded buffer, a thread writes the buffer to `logs.db` in
batches, and what doesn't fit is dropped and counted, the oldest first. Another process reads the file with `read`.
"""

from __future__ import annotations

import sqlite3
import threading
from collections import Counter, deque
from contextlib import closing
from pathlib import Path
from typing import Protocol

import msgspec
from msgspec import Struct

MAX_TEXT_BYTES = 8 * 1024
LINES_AN_ATTEMPT = 1_000
LINES_IN_ALL = 100_000
LINES_BUFFERED = 10_000
FLUSH_SECONDS = 0.2
_CUT = "… (cut)"

_SCHEMA = (
    """CREATE TABLE IF NOT EXISTS lines (
        id INTEGER PRIMARY KEY AUTOINCREMENT, execution TEXT NOT NULL, task TEXT NOT NULL, attempt TEXT NOT NULL,
        at_us INTEGER NOT NULL, level TEXT NOT NULL, text TEXT NOT NULL)""",
    "CREATE INDEX IF NOT EXISTS lines_attempt ON lines (attempt, id)",
    "CREATE INDEX IF NOT EXISTS lines_execution ON lines (execution, id)",
)
_INSERT = """INSERT INTO lines (execution, task, attempt, at_us, level, text)
    SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5 FROM json_each(?)"""
_READ = """SELECT id, execution, task, attempt, at_us, level, text FROM lines
    WHERE execution = :execution AND (:task IS NULL OR task = :task) AND id > :after ORDER BY id LIMIT :limit"""
_TRIM_RINGS = """DELETE FROM lines WHERE id IN (
    SELECT id FROM (SELECT id, row_number() OVER (PARTITION BY attempt ORDER BY id DESC) AS age
                    FROM lines WHERE attempt IN (SELECT value FROM json_each(:attempts))) WHERE age > :kept)"""
_TRIM_ALL = "DELETE FROM lines WHERE id <= (SELECT id FROM lines ORDER BY id DESC LIMIT 1 OFFSET :kept)"
_ATTEMPTS_COUNTED = 10_000


class Line(Protocol):
    """What is written: `podium.fleet.messages.LogLine`, by its form (a store knows nothing of the fleet)."""

    @property
    def execution(self) -> str:
        """The execution's id."""
        ...

    @property
    def task(self) -> str:
        """The task, with its instance."""
        ...

    @property
    def attempt(self) -> str:
        """The attempt's id: a ring each."""
        ...

    @property
    def at_us(self) -> int:
        """When it was said, in microseconds since the epoch."""
        ...

    @property
    def level(self) -> str:
        """How serious it is."""
        ...

    @property
    def text(self) -> str:
        """What was said."""
        ...


_Columns = tuple[str, str, str, int, str, str]


class KeptLine(Struct, frozen=True):
    """A line as it was kept; `id` grows, so that a reader goes on behind the last one it has seen."""

    id: int
    execution: str
    task: str
    attempt: str
    at_us: int
    level: str
    text: str


class AttemptLogs(Protocol):
    """A sink for lines that can be read back."""

    @property
    def dropped(self) -> int:
        """How many lines were lost before they were kept; lines that a ring has let go of aren't among them."""
        ...

    def write(self, line: Line) -> None:
        """Keep a line. Never blocks, never fails; a text above 8 KiB is cut."""
        ...

    def read(self, execution: str, task: str | None = None, after_id: int = 0, limit: int = 1_000) -> list[KeptLine]:
        """Return kept lines with an id above `after_id`, in order. Blocks for some milliseconds."""
        ...

    def close(self) -> None:
        """Keep what was written, let go. Safe twice."""
        ...


def cut(text: str) -> str:
    """Return the text as UTF-8 can hold it, without NUL, cut to 8 KiB."""
    encoded = text.replace("\0", "␀").encode("utf-8", "replace")
    if len(encoded) > MAX_TEXT_BYTES:
        encoded = encoded[: MAX_TEXT_BYTES - len(_CUT.encode())]
        return encoded.decode("utf-8", "ignore") + _CUT
    return encoded.decode()


class MemoryLogs:
    """Attempt logs in memory, with the same bounds."""

    def __init__(self, lines_an_attempt: int = LINES_AN_ATTEMPT, lines_in_all: int = LINES_IN_ALL) -> None:
        self._lines_an_attempt = lines_an_attempt
        self._lines_in_all = lines_in_all
        self._lines: dict[int, KeptLine] = {}
        self._rings: dict[str, deque[int]] = {}
        self._last_id = 0
        self._closed = False
        self._lock = threading.Lock()
        self.dropped = 0

    def write(self, line: Line) -> None:
        """Keep a line."""
        with self._lock:
            if self._closed:
                self.dropped += 1
                return
            self._last_id += 1
            kept = KeptLine(
                self._last_id, line.execution, line.task, line.attempt, line.at_us, line.level, cut(line.text)
            )
            self._lines[kept.id] = kept
            ring = self._rings.setdefault(line.attempt, deque())
            ring.append(kept.id)
            if len(ring) > self._lines_an_attempt:
                del self._lines[ring.popleft()]
            if len(self._lines) > self._lines_in_all:
                oldest = self._lines.pop(next(iter(self._lines)))
                others = self._rings[oldest.attempt]
                others.popleft()
                if not others:
                    del self._rings[oldest.attempt]

    def read(self, execution: str, task: str | None = None, after_id: int = 0, limit: int = 1_000) -> list[KeptLine]:
        """Return kept lines."""
        with self._lock:
            found = [
                line
                for line in self._lines.values()
                if line.id > after_id and line.execution == execution and (task is None or line.task == task)
            ]
        return found[:limit]

    def close(self) -> None:
        """Take nothing more."""
        self._closed = True


class SqliteLogs:
    """Attempt logs in `logs.db`: the owner writes, any process reads (`read_only=True` starts no thread)."""

    def __init__(
        self,
        path: Path | str,
        *,
        read_only: bool = False,
        lines_an_attempt: int = LINES_AN_ATTEMPT,
        lines_in_all: int = LINES_IN_ALL,
        lines_buffered: int = LINES_BUFFERED,
    ) -> None:
        self._path = Path(path)
        self._lines_an_attempt = lines_an_attempt
        self._lines_in_all = lines_in_all
        self._lines_buffered = lines_buffered
        self._buffer: deque[_Columns] = deque()
        self._lock = threading.Lock()  # of the buffer; held for moments only
        self._file_lock = threading.Lock()  # of the connection; held while it writes
        self._connection: sqlite3.Connection | None = None
        self._of_attempt: Counter[str] = Counter()
        self._since_trim = 0
        self._written = threading.Event()
        self._closing = threading.Event()
        self._read_only = read_only
        self.dropped = 0
        self._thread = threading.Thread(target=self._run, name=f"podium-logs {self._path.name}", daemon=True)
        if not read_only:
            self._thread.start()

    def write(self, line: Line) -> None:
        """Keep a line: it is in the file after a fifth of a second, or after `flush`."""
        columns = (line.execution, line.task, line.attempt, line.at_us, line.level, cut(line.text))
        with self._lock:
            if self._closing.is_set() or self._read_only:
                self.dropped += 1
                return
            if len(self._buffer) >= self._lines_buffered:
                self._buffer.popleft()
                self.dropped += 1
            self._buffer.append(columns)
            if len(self._buffer) == 1:
                self._written.set()

    def read(self, execution: str, task: str | None = None, after_id: int = 0, limit: int = 1_000) -> list[KeptLine]:
        """Return kept lines; none if there is no file, or if it can't be read."""
        arguments = {"execution": execution, "task": task, "after": after_id, "limit": limit}
        try:
            with closing(_connected(self._path, "ro")) as connection:
                return [KeptLine(*row) for row in connection.execute(_READ, arguments).fetchall()]
        except sqlite3.Error:  # not there yet, or damaged: nothing may stop because logs can't be looked at
            return []

    def flush(self) -> None:
        """Write what is buffered now. Blocks until it is in the file (or dropped, if the file can't be written)."""
        with self._file_lock:
            with self._lock:
                lines, self._buffer = self._buffer, deque()
                self._written.clear()
            if not lines:
                return
            try:
                self._keep(lines)
            except sqlite3.Error as error:
                self._abandon(len(lines), error)

    def close(self) -> None:
        """Write what is buffered, let go. Safe twice."""
        with self._lock:
            self._closing.set()
            self._written.set()
        if self._thread.is_alive():
            self._thread.join()
        self.flush()
        with self._file_lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def _run(self) -> None:
        while not self._closing.is_set():
            self._written.wait()
            self._closing.wait(FLUSH_SECONDS)  # so that a batch comes together
            self.flush()

    def _keep(self, lines: deque[_Columns]) -> None:
        if self._connection is None:
            self._connection = _connected(self._path, "rwc")
            for statement in _SCHEMA:
                self._connection.execute(statement)
        self._connection.execute("BEGIN IMMEDIATE")
        self._connection.execute(_INSERT, (msgspec.json.encode(list(lines)).decode(),))
        self._of_attempt.update(columns[2] for columns in lines)
        self._since_trim += len(lines)
        full = [each for each, count in self._of_attempt.items() if count > self._lines_an_attempt]
        if full:
            arguments = {"attempts": msgspec.json.encode(full).decode(), "kept": self._lines_an_attempt}
            self._connection.execute(_TRIM_RINGS, arguments)
            for attempt in full:
                self._of_attempt[attempt] = self._lines_an_attempt
        if self._since_trim > self._lines_in_all // 100:
            self._connection.execute(_TRIM_ALL, {"kept": self._lines_in_all})
            self._since_trim = 0
        self._connection.execute("COMMIT")
        if len(self._of_attempt) > _ATTEMPTS_COUNTED:
            self._of_attempt.clear()

    def _abandon(self, count: int, error: sqlite3.Error) -> None:
        """Give these lines up, and begin with another connection next time; a damaged file is begun anew."""
        with self._lock:
            self.dropped += count
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            for suffix in ("", "-wal", "-shm"):
                Path(f"{self._path}{suffix}").unlink(missing_ok=True)


def _connected(path: Path, mode: str) -> sqlite3.Connection:
    uri = f"{path.absolute().as_uri()}?mode={mode}"
    connection = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False, timeout=5)
    if mode != "ro":
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = OFF")
        except sqlite3.Error:
            connection.close()
            raise
    return connection
