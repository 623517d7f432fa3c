"""The methods of the language: a closed table for texts, mappings and lists, each bounded before it computes.

A method is looked up here by its name and the kind of the value, never on the value.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from podium.workflow.expressions.limits import Meter, charge, charge_items, charge_search, charge_text, charge_value
from podium.workflow.expressions.operations import Callee, check_key
from podium.workflow.expressions.problems import Refusal, kind

_LONGEST_STRIP = 64  # characters that strip looks for: each character of the text is compared with each of them


# --- of texts ------------------------------------------------------------------------------------------------------


def _startswith(meter: Meter, text: str, start: Any) -> bool:
    return text.startswith(_one_or_more_texts(meter, "startswith", start))


def _endswith(meter: Meter, text: str, end: Any) -> bool:
    return text.endswith(_one_or_more_texts(meter, "endswith", end))


def _lower(meter: Meter, text: str) -> str:
    charge_text(meter, len(text))  # a few characters become three: the result is bounded all the same
    return text.lower()


def _upper(meter: Meter, text: str) -> str:
    charge_text(meter, len(text))
    return text.upper()


def _strip(meter: Meter, text: str, characters: Any = None) -> str:
    return text.strip(_stripped(meter, "strip", text, characters))


def _lstrip(meter: Meter, text: str, characters: Any = None) -> str:
    return text.lstrip(_stripped(meter, "lstrip", text, characters))


def _rstrip(meter: Meter, text: str, characters: Any = None) -> str:
    return text.rstrip(_stripped(meter, "rstrip", text, characters))


def _removeprefix(meter: Meter, text: str, prefix: Any) -> str:
    charge_text(meter, len(text))
    return text.removeprefix(_text("removeprefix", prefix))


def _removesuffix(meter: Meter, text: str, suffix: Any) -> str:
    charge_text(meter, len(text))
    return text.removesuffix(_text("removesuffix", suffix))


def _split(meter: Meter, text: str, separator: Any = None, most: Any = -1) -> list[str]:
    _whole_number("split", most)
    charge_text(meter, len(text))
    if separator is None:
        charge_items(meter, len(text) // 2 + 1 if most < 0 else min(most, len(text)) + 1)
    else:
        if not _text("split", separator):
            raise Refusal("split() needs a separator that isn't empty")
        charge_search(meter, text, separator)
        parts = text.count(separator) + 1
        charge_items(meter, parts if most < 0 else min(parts, most + 1))
    return text.split(separator, most)


def _join(meter: Meter, text: str, parts: Any) -> str:
    if not isinstance(parts, (list, tuple)):
        raise Refusal(f"join() takes a list of texts, not {kind(parts)}")
    charge(meter, len(parts))
    for part in parts:
        if not isinstance(part, str):
            raise Refusal(f"join() takes a list of texts; one of them is {kind(part)}")
    charge_text(meter, sum(map(len, parts)) + len(text) * max(0, len(parts) - 1))
    return text.join(parts)


def _replace(meter: Meter, text: str, old: Any, new: Any, most: Any = -1) -> str:
    _text("replace", old)
    _text("replace", new)
    _whole_number("replace", most)
    charge_search(meter, text, old)
    places = text.count(old) if most < 0 else min(text.count(old), most)
    charge_text(meter, len(text) + places * max(0, len(new) - len(old)))
    charge(meter, places)
    return text.replace(old, new, most)


def _count_text(meter: Meter, text: str, part: Any) -> int:
    charge_search(meter, text, _text("count", part))
    return text.count(part)


# --- of mappings and lists -----------------------------------------------------------------------------------------


def _get(meter: Meter, mapping: Mapping[Any, Any], key: Any, default: Any = None) -> Any:
    check_key(key)
    return mapping.get(key, default)


def _keys(meter: Meter, mapping: Mapping[Any, Any]) -> list[Any]:
    charge_items(meter, len(mapping))
    return list(mapping.keys())


def _values(meter: Meter, mapping: Mapping[Any, Any]) -> list[Any]:
    charge_items(meter, len(mapping))
    return list(mapping.values())


def _items(meter: Meter, mapping: Mapping[Any, Any]) -> list[Any]:
    charge_items(meter, 2 * len(mapping))
    return list(mapping.items())


def _count_item(meter: Meter, items: list[Any] | tuple[Any, ...], item: Any) -> int:
    charge(meter, len(items))
    if isinstance(item, (list, tuple, Mapping)):
        charge_value(meter, items)
        charge_value(meter, item)
    return items.count(item)


_OF_TEXTS: dict[str, Callee] = {
    "startswith": Callee(_startswith, 1, 1),
    "endswith": Callee(_endswith, 1, 1),
    "lower": Callee(_lower, 0, 0),
    "upper": Callee(_upper, 0, 0),
    "strip": Callee(_strip, 0, 1),
    "lstrip": Callee(_lstrip, 0, 1),
    "rstrip": Callee(_rstrip, 0, 1),
    "removeprefix": Callee(_removeprefix, 1, 1),
    "removesuffix": Callee(_removesuffix, 1, 1),
    "split": Callee(_split, 0, 2),
    "join": Callee(_join, 1, 1),
    "replace": Callee(_replace, 2, 3),
    "count": Callee(_count_text, 1, 1),
}
_OF_MAPPINGS: dict[str, Callee] = {
    "get": Callee(_get, 1, 2),
    "keys": Callee(_keys, 0, 0),
    "values": Callee(_values, 0, 0),
    "items": Callee(_items, 0, 0),
}
_OF_LISTS: dict[str, Callee] = {"count": Callee(_count_item, 1, 1)}

# By name: the fewest and the most arguments that any kind's method takes.
METHODS: dict[str, tuple[int, int]] = {
    name: (callee.least, callee.most)
    for table in (_OF_LISTS, _OF_MAPPINGS, _OF_TEXTS)
    for name, callee in table.items()
}


def call_method(meter: Meter, name: str, value: Any, arguments: list[Any]) -> Any:
    """Return what a method gives; Refusal when this kind of value has no such method."""
    if isinstance(value, str):
        table = _OF_TEXTS
    elif isinstance(value, Mapping):
        table = _OF_MAPPINGS
    elif isinstance(value, (list, tuple)):
        table = _OF_LISTS
    else:
        table = {}
    callee = table.get(name)
    if callee is None:
        raise Refusal(f".{name}() is nothing that {kind(value)} has")
    return callee.run(meter, value, *arguments)


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise Refusal(f"{name}() takes a text, not {kind(value)}")
    return value


def _whole_number(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value.bit_length() > 32:
        raise Refusal(f"{name}() takes a whole number of times, not {kind(value)}")


def _one_or_more_texts(meter: Meter, name: str, value: Any) -> str | tuple[str, ...]:
    if isinstance(value, tuple):
        charge(meter, len(value))
        return tuple(_text(name, part) for part in value)
    return _text(name, value)


def _stripped(meter: Meter, name: str, text: str, characters: Any) -> str | None:
    charge_text(meter, len(text))
    if characters is None:
        return None
    if len(_text(name, characters)) > _LONGEST_STRIP:
        raise Refusal(f"{name}() looks for at most {_LONGEST_STRIP} characters")
    charge(meter, len(text) * len(characters) >> 6)
    return str(characters)
