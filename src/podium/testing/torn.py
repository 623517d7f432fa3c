"""Sequences that fail in the middle: with them a write is torn at any of its parts, in suites and in simulations."""

from __future__ import annotations

from typing import Any


class Fault(Exception):
    """Injected by the suite."""


class FailingParts(list[Any]):
    """A sequence that fails when the n-th item is taken from it, counted over all passes."""

    def __init__(self, items: list[Any], at: int) -> None:
        super().__init__(items)
        self.left = at

    def __iter__(self) -> Any:
        for item in list.__iter__(self):
            if self.left == 0:
                raise Fault
            self.left -= 1
            yield item
