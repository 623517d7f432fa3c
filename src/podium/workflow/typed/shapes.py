"""What a JSON Schema says of a value: its parts by key, its kinds, and whether a value fits.

Each answer is on the safe side: a schema that isn't understood allows everything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from typing import Any, Final

from msgspec import Struct

from podium.workflow.typed.signatures import Schema

MAX_DEPTH: Final = 32
MAX_STEPS: Final = 5_000  # of holding one value against a shape
_MAX_ALTERNATIVES: Final = 64
_UNDERSTOOD: Final = frozenset(
    {"null", "boolean", "integer", "number", "string", "array", "object"}
)  # JSON Schema's types
_COMBINED: Final = frozenset({"allOf", "not", "if", "patternProperties", "propertyNames", "$dynamicRef"})

OTHERS: Final = "x-others"
UNLIKELY: Final = "unlikely"
"""What a schema says of fields that it doesn't name, if code names all that it knows of but a value may have more."""

Kinds = frozenset[str] | None
"""JSON's kinds that a value may be of, `integer` among `number`; None where nothing is known."""


class Shape(Struct, frozen=True, dict=True):
    """A schema with the definitions that its references mean."""

    schema: Schema
    definitions: Mapping[str, Schema] = {}

    @cached_property
    def alternatives(self) -> list[Shape] | None:
        """The shapes one of which holds, each with one known type or an `enum`; None if that isn't all known.

        Found out once: a function's result is asked about for each task that reads it.
        """
        schemas = _alternatives(self)
        return None if schemas is None else [Shape(schema, self.definitions) for schema in schemas]


class Missing(Struct, frozen=True):
    """A value has no such part: what it is instead, and the parts that it has. It might, where that isn't `certain`."""

    what: str
    known: tuple[str, ...] = ()
    certain: bool = True


ANYTHING: Final = Shape({})
NOTHING: Final = Shape({"type": "null"})


def shape_of(schema: Schema) -> Shape:
    """Return the shape that a whole schema describes."""
    return Shape(schema, schema.get("$defs", {}))


def one_of(shapes: Iterable[Shape]) -> Shape:
    """Return the shape of a value that has one of several."""
    every = list(shapes)
    if len(every) == 1:
        return every[0]
    if any(not one.schema for one in every):
        return ANYTHING
    definitions = {f"{at}/{name}": part for at, one in enumerate(every) for name, part in one.definitions.items()}
    return Shape({"anyOf": [_moved(one.schema, at) for at, one in enumerate(every)]}, _all_moved(every, definitions))


def mapping_of(parts: Mapping[str, Shape]) -> Shape:
    """Return the shape of a mapping with these parts and no others."""
    every = list(parts.values())
    definitions = {f"{at}/{name}": part for at, one in enumerate(every) for name, part in one.definitions.items()}
    properties = {name: _moved(one.schema, at) for at, (name, one) in enumerate(parts.items())}
    schema = {"type": "object", "properties": properties, "additionalProperties": False}
    return Shape(schema, _all_moved(every, definitions))


def with_others_unlikely(schema: Any) -> Any:
    """Return a schema whose mappings most likely have the fields that it names and no others, unless it says more."""
    if not isinstance(schema, Mapping):
        return schema
    found = dict(schema)
    for name in ("properties", "$defs"):
        if isinstance(found.get(name), Mapping):
            found[name] = {key: with_others_unlikely(below) for key, below in found[name].items()}
    for name in ("anyOf", "oneOf", "allOf", "prefixItems"):
        if isinstance(found.get(name), list):
            found[name] = [with_others_unlikely(below) for below in found[name]]
    for name in ("items", "additionalProperties"):
        if name in found:
            found[name] = with_others_unlikely(found[name])
    if "properties" in found and "additionalProperties" not in found:
        found[OTHERS] = UNLIKELY
    return found


def list_of(shape: Shape) -> Shape:
    """Return the shape of a list of values of a shape."""
    return Shape({"type": "array", "items": shape.schema}, shape.definitions)


def part(shape: Shape, key: str | int) -> Shape | Missing:
    """Return the shape of what stands under a key or at a place, or that there is no such part."""
    if shape.alternatives is None:
        return ANYTHING
    found: list[Shape] = []
    missing: list[Missing] = []
    for one in shape.alternatives:
        below = _part(one.schema, key)
        if below is None:
            return ANYTHING
        if isinstance(below, Missing):
            missing.append(below)
        else:
            found.append(Shape(below, shape.definitions))
    if found:
        return _united(found, shape.definitions)
    known = tuple(dict.fromkeys(name for one in missing for name in one.known))
    telling = [one.what for one in missing if one.what != "nothing (null)"] or ["nothing (null)"]
    return Missing(" or ".join(dict.fromkeys(telling)), known, all(one.certain for one in missing))


def items(shape: Shape) -> Shape:
    """Return the shape of the items of a list; anything where it is no list, which is complained of elsewhere."""
    if shape.alternatives is None:
        return ANYTHING
    alternatives = [one.schema for one in shape.alternatives]
    lists = [one for one in alternatives if one.get("type") == "array" and isinstance(one.get("items"), Mapping)]
    if len(lists) != len([one for one in alternatives if one.get("type") != "null"]) or any(
        "prefixItems" in one for one in lists
    ):
        return ANYTHING
    return _united([Shape(one["items"], shape.definitions) for one in lists], shape.definitions) if lists else ANYTHING


def kinds(shape: Shape) -> Kinds:
    """Return the kinds that a value of a shape may be of."""
    if shape.alternatives is None:
        return None
    found: set[str] = set()
    for one in (alternative.schema for alternative in shape.alternatives):
        kind = one.get("type")
        if kind is None:
            values = one.get("enum")
            if not isinstance(values, list):
                return None
            found.update(_kind(value) for value in values)
        elif kind == "string" and _is_formatted(one):
            found |= {"string", "number"}  # a decimal number, a duration: some are written as numbers
        else:
            found.add("number" if kind == "integer" else kind)
    return frozenset(found)


def misfit(value: Any, shape: Shape, known: Callable[[str], Kinds]) -> str:
    """Return what a value is that can't be of a shape, or nothing if it may be.

    `known` tells the kinds of a text with `${…}` in it. What would take very long to find out, may be.
    """
    return _Fitting(known).misfit(value, shape, 0)


def said(shape: Shape) -> str:
    """Return what a shape wants, in a word or two."""
    words = []
    for one in (alternative.schema for alternative in shape.alternatives or ()):
        values = one.get("enum")
        if isinstance(values, list):
            words.append("one of " + ", ".join(_shown(value) for value in values[:8]))
        else:
            words.append(_WORDS.get(str(one.get("type")), "something else"))
    return " or ".join(dict.fromkeys(words)) or "something else"


_WORDS: Final = {
    "null": "null",
    "boolean": "a boolean",
    "integer": "a whole number",
    "number": "a number",
    "string": "a text",
    "array": "a list",
    "object": "a mapping",
}


def _alternatives(shape: Shape) -> list[Schema] | None:
    """Return the schemas one of which holds, each with one known type or an `enum`; None if that isn't all known."""
    found: list[Schema] = []
    todo: list[Schema] = [shape.schema]
    steps = 0
    while todo:
        one = todo.pop(0)
        steps += 1
        if steps > _MAX_ALTERNATIVES or not _COMBINED.isdisjoint(one):
            return None
        if "$ref" in one:
            target: Any = shape.definitions.get(str(one["$ref"]).removeprefix("#/$defs/"))
            if not isinstance(target, Mapping):
                return None
            todo.insert(0, target)
        elif "anyOf" in one or "oneOf" in one:
            among = one.get("anyOf", one.get("oneOf"))
            if not isinstance(among, list) or not all(isinstance(other, Mapping) for other in among):
                return None  # a plain true or false is a schema too
            todo += among
        elif isinstance(one.get("type"), list):
            todo += [{**one, "type": kind} for kind in one["type"]]
        elif one.get("type") in _UNDERSTOOD or isinstance(one.get("enum"), list):
            found.append(one)
        elif "const" in one:
            found.append({"enum": [one["const"]]})
        else:
            return None
    return found


def _part(one: Schema, key: str | int) -> Schema | Missing | None:
    """Return the schema of a part, that it is missing, or None where nothing is known."""
    kind = one.get("type")
    if kind is None:
        return None
    if kind == "object":
        return _field(one, key) if isinstance(key, str) else None
    if kind == "null":
        return Missing("nothing (null)")
    if isinstance(key, int) and kind == "array":
        return _place(one, key)
    if isinstance(key, int) and kind == "string":
        return {"type": "string"}
    return Missing(_WORDS[kind])


def _field(one: Schema, key: str) -> Schema | Missing | None:
    fields = one.get("properties")
    if isinstance(fields, Mapping) and key in fields:
        return fields[key] if isinstance(fields[key], Mapping) else None
    more = one.get("additionalProperties")
    if isinstance(more, Mapping):
        return more
    if more is False:
        return Missing("a mapping", tuple(fields or ()))
    if more is None and one.get(OTHERS) == UNLIKELY:
        return Missing("a mapping", tuple(fields or ()), certain=False)
    return None


def _place(one: Schema, at: int) -> Schema | Missing | None:
    first = one.get("prefixItems")
    if isinstance(first, list):
        if -len(first) <= at < len(first):
            return first[at] if isinstance(first[at], Mapping) else None
        is_whole = one.get("items") is False or one.get("maxItems") == len(first)
        return Missing(f"a list of {len(first)}") if is_whole else None
    found = one.get("items")
    return found if isinstance(found, Mapping) else None


class _Fitting:
    """Holds one value against a shape, in so many steps: alternatives within each other may be very many."""

    def __init__(self, known: Callable[[str], Kinds]) -> None:
        self._known = known
        self._steps = 0

    def misfit(self, value: Any, shape: Shape, depth: int) -> str:
        """Return what a value is that can't be of a shape, or nothing."""
        longest = ""
        for one in (shape.alternatives if depth <= MAX_DEPTH else None) or ():
            self._steps += 1
            found = self._misfit(value, one, depth) if self._steps <= MAX_STEPS else ""
            if not found:
                return ""
            longest = max(longest, found, key=len)  # it knows most of what is wrong
        return longest

    def _misfit(self, value: Any, shape: Shape, depth: int) -> str:
        """Return what a value is that isn't of a shape with one type; or nothing."""
        one = shape.schema
        wanted = kinds(shape)
        if isinstance(value, str) and "${" in value:
            may_be = self._known(value)
            return "" if wanted is None or may_be is None or wanted & may_be else listed(may_be)
        if isinstance(one.get("enum"), list):
            return "" if value in one["enum"] else _shown(value)
        kind = one.get("type")
        if wanted is not None and _kind(value) not in wanted:
            return _shown(value)
        if kind == "integer" and isinstance(value, float) and not value.is_integer():
            return _shown(value)
        if (
            kind == "array"
            and isinstance(value, list)
            and isinstance(one.get("items"), Mapping)
            and "prefixItems" not in one
        ):
            inner = Shape(one["items"], shape.definitions)
            return next(
                (f"a list with {found}" for item in value if (found := self.misfit(item, inner, depth + 1))), ""
            )
        if kind == "object" and isinstance(value, dict):
            return self._misfit_object(value, shape, depth)
        return ""

    def _misfit_object(self, value: dict[str, Any], shape: Shape, depth: int) -> str:
        fields = shape.schema.get("properties")
        more = shape.schema.get("additionalProperties")
        for name in shape.schema.get("required", ()):
            if name not in value:
                return f"a mapping without {name!r}"
        for name, below in value.items():
            schema = fields.get(name) if isinstance(fields, Mapping) else None
            if schema is None:
                if more is False:
                    return f"a mapping with {name!r}"
                schema = more
            if isinstance(schema, Mapping):
                found = self.misfit(below, Shape(schema, shape.definitions), depth + 1)
                if found:
                    return f"a mapping with {found} as {name!r}"
        return ""


def _is_formatted(one: Schema) -> bool:
    return "format" in one or "contentEncoding" in one


def _kind(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int() | float():
            return "number"
        case str():
            return "string"
        case Mapping():
            return "object"
        case _:
            return "array"


def _shown(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case int() | float() | str():
            text = repr(value)
            return text if len(text) <= 40 else f"{text[:39]}…"
        case _:
            return _WORDS[_kind(value)]


def listed(found: frozenset[str]) -> str:
    """Return kinds in words."""
    return " or ".join(sorted(_WORDS[kind] for kind in found))


def _united(shapes: list[Shape], definitions: Mapping[str, Schema]) -> Shape:
    """Return one of several shapes with the same definitions."""
    if any(not one.schema for one in shapes):
        return ANYTHING
    return shapes[0] if len(shapes) == 1 else Shape({"anyOf": [one.schema for one in shapes]}, definitions)


def _all_moved(shapes: list[Shape], definitions: Mapping[str, Schema]) -> dict[str, Schema]:
    return {name: _moved(schema, int(name.partition("/")[0])) for name, schema in definitions.items() if shapes}


def _moved(schema: Any, at: int) -> Any:
    """Return a schema whose references name the definitions of one shape among several."""
    match schema:
        case Mapping():
            return {
                key: f"#/$defs/{at}/{str(value).removeprefix('#/$defs/')}"
                if key == "$ref" and isinstance(value, str)
                else _moved(value, at)
                for key, value in schema.items()
                if key != "$defs"
            }
        case list():
            return [_moved(value, at) for value in schema]
        case _:
            return schema
