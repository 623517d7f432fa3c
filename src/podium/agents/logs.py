"""How the lines that attempts log reach the sink: from any thread, in order, bounded, stamped with their attempt.

`context.logger` and the standard library's `logging` inside a task both end here; `print` doesn't, it stays the
process's own output. Which levels of `logging` are seen is the process's own setting, as everywhere.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable

from podium.agents.context import LOG_LINE_LIMIT, current_outlet, cut
from podium.fleet.messages import LogLine, LogSink

LINES_LIMIT = 10_000


class LogRelay:
    """Hands lines to the sink on the loop's thread; a flood from other threads drops its oldest lines and says so."""

    def __init__(self, sink: LogSink, post: Callable[[Callable[[], None]], None], limit: int = LINES_LIMIT) -> None:
        self._sink = sink
        self._post = post
        self._lines: deque[LogLine] = deque()
        self._limit = limit
        self._dropped = 0
        self._posted = False
        self._lock = threading.Lock()

    def write(self, line: LogLine, at_home: bool) -> None:
        """Take a line; `at_home` says that this is the loop's thread."""
        if at_home and not self._lines:
            self._sink.write(line)
            return
        with self._lock:
            if len(self._lines) >= self._limit:
                self._lines.popleft()
                self._dropped += 1
            self._lines.append(line)
            if self._posted:
                return
            self._posted = True
        self._post(self._deliver)

    def _deliver(self) -> None:
        with self._lock:
            lines, self._lines = self._lines, deque()
            dropped, self._dropped = self._dropped, 0
            self._posted = False
        if dropped and lines:
            text = f"({dropped:,} lines before this one were dropped: they came too fast)"
            first = lines[0]
            self._sink.write(LogLine(first.execution, first.task, first.attempt, first.at_us, "warning", text))
        for line in lines:
            self._sink.write(line)


class TaskLogHandler(logging.Handler):
    """Gives records of the standard library's logging to the attempt in whose context they were made."""

    def emit(self, record: logging.LogRecord) -> None:
        """Log into the current attempt; outside of one, do what logging does when nobody has configured it."""
        outlet = current_outlet.get()
        if outlet is not None:
            try:
                text = self.format(record)
            except Exception:  # noqa: BLE001 - a record that can't be formatted must not fail the task; logging reports it
                self.handleError(record)
                return
            outlet.log(record.levelname.lower(), cut(text, LOG_LINE_LIMIT))
            return
        last_resort = logging.lastResort
        if logging.root.handlers == [self] and last_resort is not None and record.levelno >= last_resort.level:
            last_resort.handle(record)


_handler = TaskLogHandler()
_users = 0
_users_lock = threading.Lock()


def capture_logging() -> None:
    """Capture the standard library's logging inside tasks; call `release_logging` as often."""
    global _users
    with _users_lock:
        _users += 1
        if _users == 1:
            logging.root.addHandler(_handler)


def release_logging() -> None:
    """Undo one `capture_logging`."""
    global _users
    with _users_lock:
        _users -= 1
        if _users == 0:
            logging.root.removeHandler(_handler)
