"""What the language can do with values: operators, functions and methods, each bounded before it computes.

Nothing here reads an attribute by a name from an expression: functions and methods are entries of closed tables, and
each checks the kinds of its operands itself. `Refusal` carries the sentence; the compiler adds the place.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from msgspec import Struct

from podium.workflow.expressions.limits import (
    MAX_BITS,
    Meter,
    amount,
    charge,
    charge_items,
    charge_search,
    charge_text,
    charge_value,
)
from podium.workflow.expressions.problems import Refusal, kind

_LONGEST_NUMBER = 400  # characters of a text that is read as a number


class Callee(Struct, frozen=True):
    """A function or method of the language: its code gets the meter, then the arguments."""

    run: Callable[..., Any]
    least: int
    most: int
    keywords: frozenset[str] = frozenset()


# --- operators -----------------------------------------------------------------------------------------------------


def add(meter: Meter, left: Any, right: Any) -> Any:
    """Return the sum of numbers, or one text or list after the other."""
    if _are_numbers(left, right):
        return bounded_number(left + right)
    if isinstance(left, str) and isinstance(right, str):
        charge_text(meter, len(left) + len(right))
        return left + right
    match left, right:
        case (list(), list()) | (tuple(), tuple()):
            charge_items(meter, len(left) + len(right))
            return left + right
    hint = "; str(…) makes a text of a number" if isinstance(left, str) or isinstance(right, str) else ""
    raise Refusal(f"'+' can't join {kind(left)} and {kind(right)}{hint}")


def subtract(meter: Meter, left: Any, right: Any) -> Any:
    """Return the difference of numbers."""
    return bounded_number(_numbers("-", left, right)[0] - right)


def multiply(meter: Meter, left: Any, right: Any) -> Any:
    """Return the product of numbers, or a text or a list of simple items repeated."""
    if _are_numbers(left, right):
        if isinstance(left, int) and isinstance(right, int):
            _check_bits(left.bit_length() + right.bit_length())
        return bounded_number(left * right)
    for sequence, times in ((left, right), (right, left)):
        if not isinstance(times, int):
            continue
        if isinstance(sequence, str):
            charge_text(meter, len(sequence) * max(0, times))
            return sequence * times
        if isinstance(sequence, (list, tuple)):
            charge_items(meter, len(sequence) * max(0, times))
            # A list of the same list many times, many times over, is small to hold and endless to walk.
            if any(isinstance(item, (list, tuple, Mapping)) for item in sequence):
                raise Refusal("'*' repeats only lists of texts and numbers")
            return sequence * times
    raise Refusal(f"'*' can't multiply {kind(left)} and {kind(right)}")


def divide(meter: Meter, left: Any, right: Any) -> Any:
    """Return the quotient of numbers."""
    return bounded_number(_numbers("/", left, right)[0] / right)


def floor_divide(meter: Meter, left: Any, right: Any) -> Any:
    """Return the quotient of numbers, rounded down."""
    return bounded_number(_numbers("//", left, right)[0] // right)


def remainder(meter: Meter, left: Any, right: Any) -> Any:
    """Return what is left over by a division of numbers; texts are not formatted."""
    return bounded_number(_numbers("%", left, right)[0] % right)


def power(meter: Meter, left: Any, right: Any) -> Any:
    """Return a power of numbers, its size known before it is computed."""
    _numbers("**", left, right)
    if isinstance(left, int) and isinstance(right, int) and right > 0 and abs(left) > 1:
        _check_bits(int(math.log2(abs(left)) * right))
    return bounded_number(left**right)


def negative(meter: Meter, value: Any) -> Any:
    """Return a number with the other sign."""
    return -_number("-", value)


def positive(meter: Meter, value: Any) -> Any:
    """Return a number as it is."""
    return +_number("+", value)


def equal(meter: Meter, left: Any, right: Any) -> bool:
    """Return whether two values are the same."""
    _charge_comparison(meter, left, right)
    return bool(left == right)


def unequal(meter: Meter, left: Any, right: Any) -> bool:
    """Return whether two values differ."""
    _charge_comparison(meter, left, right)
    return bool(left != right)


def less(meter: Meter, left: Any, right: Any) -> bool:
    """Return whether the left value comes before the right one."""
    _check_order(meter, "<", left, right)
    return bool(left < right)


def less_or_equal(meter: Meter, left: Any, right: Any) -> bool:
    """Return whether the left value doesn't come after the right one."""
    _check_order(meter, "<=", left, right)
    return bool(left <= right)


def greater(meter: Meter, left: Any, right: Any) -> bool:
    """Return whether the left value comes after the right one."""
    _check_order(meter, ">", left, right)
    return bool(left > right)


def greater_or_equal(meter: Meter, left: Any, right: Any) -> bool:
    """Return whether the left value doesn't come before the right one."""
    _check_order(meter, ">=", left, right)
    return bool(left >= right)


def contained(meter: Meter, part: Any, whole: Any) -> bool:
    """Return whether a list holds an item, a mapping a key, or a text another text."""
    if isinstance(whole, str):
        if not isinstance(part, str):
            raise Refusal(f"'in' looks for a text in a text, not for {kind(part)}")
        charge_search(meter, whole, part)
    elif isinstance(whole, Mapping):
        check_key(part)
    elif isinstance(whole, (list, tuple)):
        charge(meter, len(whole))
        if isinstance(part, (list, tuple, Mapping)):
            charge_value(meter, whole)
            charge_value(meter, part)
    else:
        raise Refusal(f"'in' looks into a list, a mapping or a text, not into {kind(whole)}")
    return part in whole


def not_contained(meter: Meter, part: Any, whole: Any) -> bool:
    """Return the opposite of `contained`."""
    return not contained(meter, part, whole)


def sliced(meter: Meter, value: Any, start: Any, stop: Any, step: Any) -> Any:
    """Return a part of a list or text."""
    if not isinstance(value, (str, list, tuple)):
        raise Refusal(f"[:] takes a part of a list or a text, not of {kind(value)}")
    for bound in (start, stop, step):
        if bound is not None and (isinstance(bound, bool) or not isinstance(bound, int)):
            raise Refusal(f"the bounds in [:] are whole numbers, not {kind(bound)}")
    if step == 0:
        raise Refusal("the step in [::] can't be 0")
    wanted = slice(start, stop, step)
    size = len(range(*wanted.indices(len(value))))
    (charge_text if isinstance(value, str) else charge_items)(meter, size)
    return value[wanted]


def bounded_number(value: Any) -> Any:
    """Return a number that JSON can hold; Refusal for infinities, complex numbers and huge integers."""
    if isinstance(value, int):
        _check_bits(value.bit_length())
    elif not isinstance(value, float):
        raise Refusal("the result is a complex number")
    elif not math.isfinite(value):
        raise Refusal("the result is no finite number")
    return value


# --- functions -----------------------------------------------------------------------------------------------------


def _len(meter: Meter, value: Any) -> int:
    if not isinstance(value, (str, list, tuple, Mapping)):
        raise Refusal(f"len() counts a list, a mapping or a text, not {kind(value)}")
    return len(value)


def _extreme(choose: Callable[..., Any]) -> Callable[..., Any]:
    def run(meter: Meter, *values: Any, **default: Any) -> Any:
        name = choose.__name__
        if len(values) > 1 and default:
            raise Refusal(f"{name}() takes a default only with one list")
        items = _iterable(meter, name, values[0]) if len(values) == 1 else values
        charge_value(meter, items)
        if not items and not default:
            raise Refusal(f"{name}() of an empty list; give it a default: {name}(…, default=0)")
        return choose(items, **default)

    return run


def _sum(meter: Meter, values: Any, start: Any = 0) -> Any:
    items = _iterable(meter, "sum", values)
    for item in (*items, start):
        _number("sum()", item)
        if isinstance(item, int):
            _check_bits(item.bit_length())
    return bounded_number(sum(items, start))


def _abs(meter: Meter, value: Any) -> Any:
    return abs(_number("abs()", value))


def _round(meter: Meter, value: Any, digits: Any = None) -> Any:
    _number("round()", value)
    if digits is not None and (isinstance(digits, bool) or not isinstance(digits, int) or abs(digits) > 300):
        raise Refusal("round() takes a whole number of digits, -300 to 300")
    return bounded_number(round(value, digits))


def _str(meter: Meter, value: Any) -> str:
    if value is None or isinstance(value, (str, int, float)):
        if isinstance(value, int):
            _check_bits(value.bit_length())
        return str(value)
    raise Refusal(f"str() takes a text or a number, not {kind(value)}; ${{…}} inside a text writes lists as JSON")


def _int(meter: Meter, value: Any = 0) -> int:
    if isinstance(value, str):
        if len(value) > _LONGEST_NUMBER:
            raise Refusal("int() can't read so long a text")
    else:
        _number("int()", value)
    number = int(value)
    _check_bits(number.bit_length())
    return number


def _float(meter: Meter, value: Any = 0.0) -> float:
    if isinstance(value, str):
        if len(value) > _LONGEST_NUMBER:
            raise Refusal("float() can't read so long a text")
    else:
        _number("float()", value)
    number: float = bounded_number(float(value))
    return number


def _bool(meter: Meter, value: Any = False) -> bool:
    return bool(value)


def _sorted(meter: Meter, values: Any, reverse: Any = False) -> list[Any]:
    items = _iterable(meter, "sorted", values)
    if not isinstance(reverse, int):
        raise Refusal(f"reverse is True or False, not {kind(reverse)}")
    if not set(map(type, items)) <= {int, float, bool, str}:
        for _ in range(len(items).bit_length()):  # each is compared about so often, and deep
            charge_value(meter, items)
    else:
        charge_value(meter, items)
    charge_items(meter, len(items))
    return sorted(items, reverse=bool(reverse))


def _any(meter: Meter, values: Any) -> bool:
    return any(_iterable(meter, "any", values))


def _all(meter: Meter, values: Any) -> bool:
    return all(_iterable(meter, "all", values))


def _range(meter: Meter, *bounds: Any) -> list[int]:
    for bound in bounds:
        if isinstance(bound, bool) or not isinstance(bound, int):
            raise Refusal(f"range() takes whole numbers, not {kind(bound)}")
        _check_bits(bound.bit_length())
    if len(bounds) == 3 and bounds[2] == 0:
        raise Refusal("the step of range() can't be 0")
    numbers = range(*bounds)
    # Not len(), which fails above 2**63.
    charge_items(meter, abs(numbers[-1] - numbers[0]) // abs(numbers.step) + 1 if numbers else 0)
    return list(numbers)


FUNCTIONS: dict[str, Callee] = {
    "len": Callee(_len, 1, 1),
    "min": Callee(_extreme(min), 1, 100, frozenset({"default"})),
    "max": Callee(_extreme(max), 1, 100, frozenset({"default"})),
    "sum": Callee(_sum, 1, 2),
    "abs": Callee(_abs, 1, 1),
    "round": Callee(_round, 1, 2),
    "str": Callee(_str, 1, 1),
    "int": Callee(_int, 0, 1),
    "float": Callee(_float, 0, 1),
    "bool": Callee(_bool, 0, 1),
    "sorted": Callee(_sorted, 1, 1, frozenset({"reverse"})),
    "any": Callee(_any, 1, 1),
    "all": Callee(_all, 1, 1),
    "range": Callee(_range, 1, 3),
}


# --- what they share -----------------------------------------------------------------------------------------------


def _are_numbers(left: Any, right: Any) -> bool:
    return isinstance(left, (int, float)) and isinstance(right, (int, float))


def _numbers(sign: str, left: Any, right: Any) -> tuple[Any, Any]:
    if not _are_numbers(left, right):
        hint = "; texts are put together with + or with ${…}" if sign == "%" and isinstance(left, str) else ""
        raise Refusal(f"'{sign}' takes two numbers, not {kind(left)} and {kind(right)}{hint}")
    for value in (left, right):
        if isinstance(value, int):
            _check_bits(value.bit_length())
    return left, right


def _number(what: str, value: Any) -> Any:
    if not isinstance(value, (int, float)):
        raise Refusal(f"{what} takes a number, not {kind(value)}")
    return value


def _check_bits(bits: int) -> None:
    if bits > MAX_BITS:
        raise Refusal(f"the number would have {amount(bits)} bits; the limit is {MAX_BITS:,}")


def check_key(key: Any) -> None:
    """Refuse what can't be the key of a mapping."""
    if not isinstance(key, (str, int, float, type(None))):
        raise Refusal(f"the key of a mapping is a text or a number, not {kind(key)}")


def _charge_comparison(meter: Meter, left: Any, right: Any) -> None:
    if isinstance(left, (list, tuple, Mapping)) and isinstance(right, (list, tuple, Mapping)):
        charge_value(meter, left)
        charge_value(meter, right)


def _check_order(meter: Meter, sign: str, left: Any, right: Any) -> None:
    texts = isinstance(left, str) and isinstance(right, str)
    if not texts and not _are_numbers(left, right):
        if type(left) is not type(right) or not isinstance(left, (list, tuple)):
            raise Refusal(f"'{sign}' can't order {kind(left)} and {kind(right)}")
        _charge_comparison(meter, left, right)


def _iterable(meter: Meter, name: str, value: Any) -> Any:
    if isinstance(value, (list, tuple, str)):
        charge(meter, len(value))
        return value
    if isinstance(value, Mapping):
        charge(meter, len(value))
        return list(value)
    raise Refusal(f"{name}() takes a list, not {kind(value)}")
