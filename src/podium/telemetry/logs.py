"""Structured logs over the standard library's logging, so that an application's own handlers and levels hold.

Podium never prints by itself: without a handler only warnings reach the standard error, as everywhere in Python. The
library behind it is imported at the first line that somebody wants: it costs more than the rest of a start.
"""

from __future__ import annotations

import logging
from typing import Any


class Logger:
    """Hands `event key=value …` lines to the standard logger of a name."""

    def __init__(self, name: str) -> None:
        self._standard = logging.getLogger(name)
        self._structured: Any = None

    def debug(self, event: str, **values: Any) -> None:
        """Say something that only a developer wants to know."""
        self._say(logging.DEBUG, event, values)

    def info(self, event: str, **values: Any) -> None:
        """Say what happened."""
        self._say(logging.INFO, event, values)

    def warning(self, event: str, **values: Any) -> None:
        """Say what went wrong and was made good."""
        self._say(logging.WARNING, event, values)

    def error(self, event: str, **values: Any) -> None:
        """Say what went wrong."""
        self._say(logging.ERROR, event, values)

    def _say(self, level: int, event: str, values: dict[str, Any]) -> None:
        if not self._standard.isEnabledFor(level):
            return
        if self._structured is None:
            self._structured = _structured(self._standard)
        self._structured.log(level, event, **values)


def get_logger(name: str) -> Logger:
    """Return the logger of a name."""
    return Logger(name)


def _structured(standard: logging.Logger) -> Any:
    import structlog

    processors: list[Any] = [
        structlog.processors.format_exc_info,
        structlog.processors.KeyValueRenderer(key_order=["event"], repr_native_str=False),
    ]
    return structlog.wrap_logger(standard, processors=processors, wrapper_class=structlog.stdlib.BoundLogger)
