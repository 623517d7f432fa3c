"""What a running task knows about its attempt, and what it can say: progress, checkpoints, log lines.

A `Context` is made by whoever runs the attempt (the host, or the worker process under it) and may be used from any
thread. It decides nothing: what a task says goes to its `Outlet`.
"""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any, Protocol

import msgspec
from msgspec import Raw

from podium.clock import SECOND, Clock
from podium.exceptions import TaskCancelledError
from podium.workflow.nesting import check_nesting

LOG_LINE_LIMIT = 8 * 1024
PROGRESS_MESSAGE_LIMIT = 1024
PUBLISHED_LIMIT = 4096  # bytes of JSON


class Outlet(Protocol):
    """Where a context says things; each method may be called from any thread and never blocks for long."""

    def progress(self, fraction: float, message: str) -> None:
        """Say how far the attempt is."""
        ...

    def save(self, checkpoint: Raw) -> None:
        """Keep a checkpoint for the next attempt."""
        ...

    def publish(self, value: Raw) -> None:
        """Show a value as the execution's status."""
        ...

    def log(self, level: str, text: str) -> None:
        """Keep a line of the attempt's log."""
        ...


class Context:
    """What a task may ask about its attempt and tell about its work; a parameter annotated `Context` gets it.

    `env` are the variables of the agent's role in the workflow. `attempt` counts from 1; `idempotency_key` is the same
    for every attempt of the same piece of work, so hand it to whatever must not happen twice.
    """

    __slots__ = (
        "_clock",
        "_deadline_us",
        "_outlet",
        "_restored",
        "attempt",
        "attempt_id",
        "cancel_reason",
        "cancelled",
        "env",
        "execution",
        "function",
        "idempotency_key",
        "logger",
        "task",
    )

    def __init__(
        self,
        outlet: Outlet,
        clock: Clock,
        *,
        attempt_id: str,
        attempt: int,
        execution: str,
        task: str,
        function: str,
        idempotency_key: str,
        deadline_us: int | None = None,
        checkpoint: Raw | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self._outlet = outlet
        self._clock = clock
        self._deadline_us = deadline_us
        self._restored: Raw | Any = checkpoint
        self.attempt = attempt
        self.attempt_id = attempt_id
        self.cancel_reason = ""
        self.cancelled = False
        self.env: Mapping[str, str] = env or {}
        self.execution = execution
        self.function = function
        self.idempotency_key = idempotency_key
        self.logger = TaskLogger(outlet)
        self.task = task

    @property
    def deadline(self) -> float | None:
        """The seconds that are left for this attempt (never below 0), or None without a time-out."""
        if self._deadline_us is None:
            return None
        return max(0.0, (self._deadline_us - self._clock.now_us()) / SECOND)

    def check_cancelled(self) -> None:
        """Raise TaskCancelledError if the attempt was cancelled or has run out of its time."""
        if self.cancelled:
            raise TaskCancelledError(self.cancel_reason or None)

    def progress(self, fraction: float, message: str = "") -> None:
        """Say how far the work is (0 to 1) and, in words, where; of many in a row only the last need arrive."""
        fraction = min(1.0, max(0.0, float(fraction)))
        self._outlet.progress(fraction if fraction == fraction else 0.0, cut(message, PROGRESS_MESSAGE_LIMIT))

    def checkpoint(self, value: Any) -> None:
        """Save a value (anything JSON can hold) that the next attempt finds in `restored` should this one be lost.

        Raises InvalidInputError for one that is nested too deeply.
        """
        encoded = _encoded(value, "a checkpoint")
        self._restored = encoded
        self._outlet.save(encoded)

    def publish(self, value: Any) -> None:
        """Show a value (JSON of at most 4,096 bytes) as the execution's status from now on; the latest counts.

        `podium status` and the API show it, and it stays when the execution has ended. Of many in a row only the last
        need arrive. Raises ValueError for one that is too large, InvalidInputError for one that is nested too deeply.
        """
        encoded = _encoded(value, "a published value")
        if len(bytes(encoded)) > PUBLISHED_LIMIT:
            raise ValueError(
                f"a published value has at most {PUBLISHED_LIMIT:,} bytes of JSON, this one {len(bytes(encoded)):,}"
            )
        self._outlet.publish(encoded)

    @property
    def restored(self) -> Any:
        """The value saved last, by this attempt or an earlier one, or None."""
        return None if self._restored is None else msgspec.json.decode(self._restored)


def _encoded(value: Any, what: str) -> Raw:
    encoded = msgspec.json.encode(value)
    check_nesting(encoded, what)
    return Raw(encoded)


class TaskLogger:
    """Writes structured lines into the attempt's log: `context.logger.info("read", pages=12)`."""

    __slots__ = ("_outlet",)

    def __init__(self, outlet: Outlet) -> None:
        self._outlet = outlet

    def debug(self, text: str, **values: Any) -> None:
        """Log what only matters when something is looked for."""
        self._outlet.log("debug", line_of(text, values))

    def info(self, text: str, **values: Any) -> None:
        """Log what happens."""
        self._outlet.log("info", line_of(text, values))

    def warning(self, text: str, **values: Any) -> None:
        """Log what somebody should look at."""
        self._outlet.log("warning", line_of(text, values))

    def error(self, text: str, **values: Any) -> None:
        """Log what went wrong."""
        self._outlet.log("error", line_of(text, values))

    def exception(self, text: str, **values: Any) -> None:
        """Log what went wrong, with the traceback of the exception that is being handled."""
        self._outlet.log("error", cut(f"{line_of(text, values)}\n{traceback.format_exc(limit=-20)}", LOG_LINE_LIMIT))


# The outlet of the attempt that runs here, for records of the standard library's logging.
current_outlet: ContextVar[Outlet | None] = ContextVar("podium_outlet", default=None)


def line_of(text: str, values: dict[str, Any]) -> str:
    """Return one line of text with its values: `read pages=12 title="A tale"`."""
    parts = [str(text)]
    for name, value in values.items():
        shown = value if isinstance(value, str) else repr(value)
        if isinstance(value, str) and (not value or any(character in value for character in ' "=\n')):
            shown = msgspec.json.encode(cut(value, LOG_LINE_LIMIT)).decode()
        parts.append(f"{name}={shown}")
    return cut(" ".join(parts), LOG_LINE_LIMIT)


def cut(text: str, limit: int) -> str:
    """Return a text that any encoder takes, at most about `limit` bytes long; a cut says how much is gone."""
    text = str(text)
    if len(text) <= limit and text.isascii():
        return text
    kept = text[:limit].encode("utf-8", "replace")[:limit].decode("utf-8", "ignore")
    left_out = len(text) - len(kept)
    return f"{kept} … ({left_out:,} characters left out)" if left_out else kept
