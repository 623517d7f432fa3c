"""What attempts log, in the database: a bounded, unlogged table that all replicas write to and read.

As `store/logs.py`: writing never blocks and never fails. A line goes into a bounded buffer, a thread with an event loop
and a connection of its own writes the buffer in batches, and what doesn't fit is dropped and counted, the oldest first.
"""

from __future__ import annotations

import asyncio
import threading
from collections import Counter, deque
from collections.abc import Coroutine, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as OutOfTimeError
from typing import Any, TypeVar

from podium.exceptions import PodiumError
from podium.store.logs import FLUSH_SECONDS, LINES_AN_ATTEMPT, LINES_BUFFERED, LINES_IN_ALL, KeptLine, Line, cut
from podium.store.named_sql import named_blocks
from podium.store.postgres.connection import Address
from podium.store.postgres.sessions import Sessions
from podium.telemetry.logs import get_logger

T = TypeVar("T")
_SQL = named_blocks("postgres.sql")
_ATTEMPTS_COUNTED = 10_000
_STATEMENT_SECONDS = 5.0
_ANSWER_SECONDS = 10.0
_log = get_logger("podium.store.postgres")
_Columns = tuple[str, str, str, int, str, str]


class PostgresLogs:
    """Attempt logs in a table: every replica writes its own, any process reads (`read_only=True` writes nothing)."""

    def __init__(
        self,
        url: str,
        *,
        read_only: bool = False,
        lines_an_attempt: int = LINES_AN_ATTEMPT,
        lines_in_all: int = LINES_IN_ALL,
        lines_buffered: int = LINES_BUFFERED,
    ) -> None:
        self._address = Address(url, "podium logs", statement_timeout_seconds=_STATEMENT_SECONDS)
        self._read_only = read_only
        self._lines_an_attempt = lines_an_attempt
        self._lines_in_all = lines_in_all
        self._lines_buffered = lines_buffered
        self._buffer: deque[_Columns] = deque()
        self._lock = threading.Lock()  # of the buffer; held for moments only
        self._of_attempt: Counter[str] = Counter()
        self._since_trim = 0
        self._unreachable = False
        self._closing = False
        self.dropped = 0
        self._loop = asyncio.new_event_loop()
        self._written = asyncio.Event()
        self._sessions = Sessions(self._address, 2)  # a reader needn't wait for a batch
        self._writing = asyncio.Lock()
        self._thread = threading.Thread(target=self._run, name="podium-logs postgres", daemon=True)
        self._thread.start()

    def __repr__(self) -> str:
        return f"PostgresLogs({str(self._address)!r})"

    def write(self, line: Line) -> None:
        """Keep a line: it is in the table after a fifth of a second, or after `flush`."""
        columns = (_text(line.execution), _text(line.task), _text(line.attempt), line.at_us, _text(line.level))
        with self._lock:
            if self._closing or self._read_only:
                self.dropped += 1
                return
            if len(self._buffer) >= self._lines_buffered:
                self._buffer.popleft()
                self.dropped += 1
            self._buffer.append((*columns, cut(line.text)))
            if len(self._buffer) == 1:
                self._loop.call_soon_threadsafe(self._written.set)

    def read(self, execution: str, task: str | None = None, after_id: int = 0, limit: int = 1_000) -> list[KeptLine]:
        """Return kept lines; none if the database can't be asked: nothing may stop because logs can't be looked at."""
        try:
            return self._ask(self._read(execution, task, after_id, limit))
        except (PodiumError, RuntimeError, OutOfTimeError) as error:
            _log.debug("attempts' logs can't be read", error=str(error))
            return []

    def flush(self) -> None:
        """Write what is buffered now. Blocks until it is in the table, or dropped if it can't be written."""
        if not self._closing:
            self._ask(self._flush())

    def close(self) -> None:
        """Write what is buffered, let go. Safe twice."""
        with self._lock:
            if self._closing:
                return
            self._closing = True
        self._loop.call_soon_threadsafe(self._written.set)
        self._thread.join()

    def _ask(self, work: Coroutine[Any, Any, T]) -> T:
        if self._closing:
            work.close()
            raise RuntimeError("the logs are closed")
        answer: Future[T] = asyncio.run_coroutine_threadsafe(work, self._loop)
        return answer.result(_ANSWER_SECONDS)

    # --- on the thread -------------------------------------------------------------------------------------------

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._write_until_closed())

    async def _write_until_closed(self) -> None:
        while not self._closing:
            await self._written.wait()
            if not self._closing:
                await asyncio.sleep(FLUSH_SECONDS)  # so that a batch comes together
            await self._flush()
        await self._sessions.close()

    async def _flush(self) -> None:
        async with self._writing:
            with self._lock:
                lines, self._buffer = self._buffer, deque()
                self._written.clear()
                if self._closing:
                    self._written.set()
            if not lines:
                return
            try:
                await self._keep(list(lines))
                self._unreachable = False
            except PodiumError as error:
                with self._lock:
                    self.dropped += len(lines)
                if not self._unreachable:  # said once, until it works again
                    _log.warning("lines that attempts logged are lost", count=len(lines), error=str(error))
                self._unreachable = True

    async def _read(self, execution: str, task: str | None, after_id: int, limit: int) -> list[KeptLine]:
        return [
            KeptLine(*row) for row in await self._sessions.rows(_SQL["read_logs"], execution, task, after_id, limit)
        ]

    async def _keep(self, lines: Sequence[_Columns]) -> None:
        await self._sessions.rows(_SQL["write_logs"], *map(list, zip(*lines, strict=True)), again=False)
        self._of_attempt.update(columns[2] for columns in lines)
        self._since_trim += len(lines)
        full = [each for each, count in self._of_attempt.items() if count > self._lines_an_attempt]
        if full:
            await self._sessions.rows(_SQL["trim_attempts"], full, self._lines_an_attempt)
            for attempt in full:
                self._of_attempt[attempt] = self._lines_an_attempt
        if self._since_trim > self._lines_in_all // 100:
            await self._sessions.rows(_SQL["trim_all"], self._lines_in_all)
            self._since_trim = 0
        if len(self._of_attempt) > _ATTEMPTS_COUNTED:
            self._of_attempt.clear()


def _text(given: str) -> str:
    """Return a text as PostgreSQL can hold it."""
    return given.replace("\0", "␀").encode("utf-8", "replace").decode()
