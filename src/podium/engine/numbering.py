"""The numbers of attempts as people see them: from 1 in each run, though they go on over all runs. Pure.

With the number over all runs, in events, attempts' ids and messages, programs tell attempts apart; this is for words.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

from podium.engine import events as ev
from podium.engine.state import State


def attempt_named(state: State, number: int) -> str:
    """Return an attempt of the present run in words: `attempt 2`, or behind the first run `run 3, attempt 2`."""
    said = f"attempt {state.number_in_run(number)}"
    return f"run {state.run:,}, {said}" if state.run > 1 else said


class AttemptNumbers(Struct):
    """Which run a history has come to, and the highest numbers of attempts before it and up to now."""

    run: int = 1
    before: int = 0
    highest: int = 0

    def take(self, events: Iterable[ev.Event]) -> None:
        """Go on with the events of a row."""
        for event in events:
            if isinstance(event, ev.AttemptGranted | ev.ChildStarted):
                self.highest = max(self.highest, event.number)
            elif isinstance(event, ev.RunStarted):
                self.run, self.before = event.run, self.highest

    def of(self, number: int) -> int:
        """Return the number in the present run of one over all runs."""
        return max(number - self.before, 0)
