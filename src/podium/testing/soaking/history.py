"""What clients of the long run were told, and what they make of it: acknowledgements, ends, and what was wrong."""

from __future__ import annotations

import time
from collections import Counter

from msgspec import Struct

from podium.testing.ledger import Told

MOST_KEPT = 200  # problems of a kind that are kept with their text


class Problem(Struct, frozen=True):
    """Something that must not be: lost, twice, stuck, wrong, ended, held, found."""

    kind: str
    text: str
    at_seconds: float


class History:
    """The clients' own history. `told` is what the oracle holds the log against."""

    def __init__(self) -> None:
        self.told = Told()
        self.ends: dict[str, str] = {}  # the end that a client was told, by execution
        self.counts: Counter[str] = Counter()
        self.problems: list[Problem] = []
        self.under_way: dict[str, tuple[str, float]] = {}  # execution: its shape, and since when
        self.began = time.monotonic()

    @property
    def seconds(self) -> float:
        """How long it goes on."""
        return time.monotonic() - self.began

    def acknowledged(self, execution: str, shape: str) -> None:
        """A submission was acknowledged."""
        self.told.executions[execution] = None
        self.under_way[execution] = shape, time.monotonic()
        self.counts["submissions"] += 1

    def recorded(self, execution: str, input_id: str) -> None:
        """An input was acknowledged as recorded."""
        self.told.inputs[execution, input_id] = None
        self.counts["inputs"] += 1

    def ended(self, execution: str, status: str) -> None:
        """An execution ended, as a client was told; only a person's retry may change that."""
        before = self.ends.setdefault(execution, status)
        if before != status:
            self.wrong("twice", f"{execution} ended as {before}, then as {status}")
        self.under_way.pop(execution, None)
        self.counts[f"ended {status}"] += 1

    def reopened(self, execution: str) -> None:
        """Somebody retries an execution that had ended."""
        self.ends.pop(execution, None)
        self.under_way[execution] = "retried", time.monotonic()

    def wrong(self, kind: str, text: str) -> None:
        """Write down what must not be."""
        self.counts[f"wrong: {kind}"] += 1
        if sum(problem.kind == kind for problem in self.problems) < MOST_KEPT:
            self.problems.append(Problem(kind, text, round(self.seconds, 1)))
