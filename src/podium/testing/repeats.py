"""Whether tasks are idempotent: every call of a task's code is noted under its idempotency key, and calls that repeat
an earlier one are compared with it.

A task that was run again with the same key and the same arguments has to give the same result. If it gives another,
or raises where it had succeeded ("file exists"), it isn't idempotent: in production a lost result would do the same.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from enum import StrEnum

from msgspec import Struct


class How(StrEnum):
    """How one call of a task's code ended."""

    UNDER_WAY = "under way"
    RETURNED = "returned"
    RAISED = "raised"
    INTERRUPTED = "interrupted"


class Call(Struct):
    """One call: of which task, with what, and what came of it (a result's JSON, or an error's words)."""

    task: str
    code: str
    key: str
    arguments: bytes
    attempt: str
    how: How = How.UNDER_WAY
    what: str = ""


class NotIdempotent(Struct, frozen=True):
    """A task that did something else when it was run again with the same key."""

    task: str
    code: str
    key: str
    first: str
    again: str

    def __str__(self) -> str:
        return (
            f"task {self.task} ({self.code}) isn't idempotent: {self.first}; run again with the same key and "
            f"arguments, {self.again}"
        )


class Repeats:
    """The calls of one simulated run."""

    def __init__(self) -> None:
        self._calls: defaultdict[tuple[str, bytes], list[Call]] = defaultdict(list)
        self._first_ends: list[Call] = []
        self.found: list[NotIdempotent] = []

    def began(self, call: Call) -> Call:
        """Note that a call begins."""
        self._calls[call.key, call.arguments].append(call)
        return call

    def ended(self, call: Call, how: How, what: str = "") -> None:
        """Note how it ended, and compare it with those before."""
        call.how, call.what = how, what
        others = [other for other in self._calls[call.key, call.arguments] if other is not call]
        returned = next((other for other in others if other.how is How.RETURNED), None)
        if how is How.RETURNED and returned is not None and returned.what != what:
            self._say(call, f"it returned {_short(returned.what)}", f"it returned {_short(what)}")
        elif how is How.RAISED and returned is not None:
            self._say(call, f"it returned {_short(returned.what)}", f"it raised {_short(what)}")
        elif how is How.RAISED and any(other.how is How.INTERRUPTED for other in others) and self._succeeds(call):
            self._say(call, "it was interrupted", f"it raised {_short(what)}")
        if how is not How.INTERRUPTED and not others:
            self._first_ends.append(call)

    def _succeeds(self, call: Call) -> bool:
        """Whether the code succeeds where nothing went before, so that what was left by an interruption is to blame."""
        ends = [end.how for end in self._first_ends if end.code == call.code]
        return How.RETURNED in ends and How.RAISED not in ends

    def _say(self, call: Call, first: str, again: str) -> None:
        self.found.append(NotIdempotent(call.task, call.code, call.key, first, again))

    def ran_again(self) -> dict[str, int]:
        """Return by task how often it was run again with a key and arguments that had been tried before."""
        counts: Counter[str] = Counter()
        for calls in self._calls.values():
            if len(calls) > 1:
                counts[calls[0].task.partition("[")[0]] += len(calls) - 1
        return dict(counts)


def _short(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= 120 else f"{flat[:119]}…"
