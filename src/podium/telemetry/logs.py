"""Structured logs over the standard library's logging, so that an application's own handlers and levels hold.

Podium never prints by itself: without a handler, only warnings reach the standard error, as everywhere in Python.
"""

from __future__ import annotations

import logging
from typing import Any

import structlog

_PROCESSORS: list[Any] = [
    structlog.stdlib.filter_by_level,
    structlog.processors.format_exc_info,
    structlog.processors.KeyValueRenderer(key_order=["event"], repr_native_str=False),
]


def get_logger(name: str) -> Any:
    """Return a structlog logger that hands `event key=value …` lines to the logger of this name."""
    return structlog.wrap_logger(
        logging.getLogger(name), processors=_PROCESSORS, wrapper_class=structlog.stdlib.BoundLogger
    )
