"""One input's whole way through the rules: decide, evolve, advance until quiet. Also the fold of a recorded history."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

from podium.engine import events as ev
from podium.engine import inputs as inp
from podium.engine.advance import advance
from podium.engine.commands import Command, commands_for
from podium.engine.decide import decide
from podium.engine.evolve import evolve
from podium.engine.state import State


class Decision(Struct, frozen=True):
    """What an input caused: facts to record, and commands to give once they are."""

    events: list[ev.Event]
    commands: list[Command]


def step(state: State, given: inp.Input, now_us: int) -> Decision:
    """Decide an input and everything that follows from it, and bring the state up to it."""
    events: list[ev.Event] = []
    commands: list[Command] = []
    more = decide(state, given, now_us)
    while more:
        for event in more:
            commands += commands_for(state, given, event)
            evolve(state, event, now_us)
        events += more
        more = advance(state, now_us)
    return Decision(events, commands)


def fold(state: State, rows: Iterable[tuple[int, list[ev.Event]]]) -> State:
    """Apply recorded events, given as the rows' times and their events, and return the state."""
    for now_us, events in rows:
        for event in events:
            evolve(state, event, now_us)
    return state
