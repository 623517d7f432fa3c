"""The sizes that an expression and its results may have, and the budget of one evaluation.

There are no loops in the language, so an evaluation takes at most as many steps as the expression has nodes, each of
a cost that depends on the size of its operands. That cost is charged to a meter (a list of one number, the budget
left) before the step is taken.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from podium.workflow.expressions.problems import Refusal

MAX_SOURCE = 4_096  # characters of one expression
MAX_NODES = 500
MAX_DEPTH = 64  # of the expression's tree; brackets alone may be half as deep
MAX_ITEMS = 100_000  # of a list that an expression makes
MAX_CHARACTERS = 1_000_000  # of a text that an expression makes
MAX_BITS = 1_024  # of an integer that an expression makes
MAX_VALUE_DEPTH = 100  # of values that are compared
BUDGET = 500_000  # steps of one evaluation; a step is an item touched or 64 characters

Meter = list[int]

_FLAT = {int, float, bool, type(None)}


def charge(meter: Meter, steps: int) -> None:
    """Take steps off the budget before they are made; Refusal when it is used up."""
    meter[0] -= steps
    if meter[0] < 0:
        raise Refusal(f"the evaluation takes more than {BUDGET:,} steps")


def charge_text(meter: Meter, characters: int) -> None:
    """Charge for a text that is about to be made; Refusal when it would be too long."""
    if characters > MAX_CHARACTERS:
        raise Refusal(f"the text would have {amount(characters)} characters; the limit is {MAX_CHARACTERS:,}")
    charge(meter, 1 + (characters >> 6))


def charge_items(meter: Meter, items: int) -> None:
    """Charge for a list that is about to be made; Refusal when it would be too long."""
    if items > MAX_ITEMS:
        raise Refusal(f"the list would have {amount(items)} items; the limit is {MAX_ITEMS:,}")
    charge(meter, 1 + items)


def charge_search(meter: Meter, text: str, part: str) -> None:
    """Charge for a search of a part in a text: short texts may compare every place with the whole part."""
    charge(meter, 1 + (len(text) * min(len(part), 100) >> 8))


def charge_value(meter: Meter, value: Any) -> None:
    """Charge for touching all that a value consists of; Refusal when it is nested too deeply."""
    level = [value]
    depth = 0
    while level:
        charge(meter, len(level))
        depth += 1
        if depth > MAX_VALUE_DEPTH:
            raise Refusal(f"the value is nested more than {MAX_VALUE_DEPTH} deep")
        kinds = set(map(type, level))
        if kinds == {str}:
            return charge(meter, sum(map(len, level)) >> 6)
        if kinds <= _FLAT:
            return None
        below: list[Any] = []
        characters = 0
        for part in level:
            if isinstance(part, str):
                characters += len(part)
            elif isinstance(part, (list, tuple)):
                charge(meter, len(part))
                below.extend(part)
            elif isinstance(part, Mapping):
                charge(meter, len(part))
                below.extend(part.values())
        charge(meter, characters >> 6)
        level = below
    return None


def amount(number: int) -> str:
    """Return a number for a message; one with too many digits to print is described."""
    return f"{number:,}" if number.bit_length() <= 64 else "far too many"
