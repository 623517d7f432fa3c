"""Forms: what a person's answer must look like, as a JSON Schema of which this is the part that a form needs.

What a schema may say is a closed list (`KEYWORDS`), so that nothing in it is silently not checked. Regular expressions
are those of `patterns`, and small: an answer is checked where executions are decided, and must not hold them up.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import msgspec

from podium.workflow.patterns import pattern_of
from podium.workflow.problems import Path, did_you_mean, quoted

MAX_FORM_DEPTH: Final = 16
MOST_NAMED: Final = 10  # problems of one answer
MAX_PLACES: Final = 100  # of a pattern: each character of an answer costs so many steps at most
MAX_PATTERNS: Final = 100  # of a form
KINDS: Final = ("string", "integer", "number", "boolean", "array", "object", "null")
ANNOTATIONS: Final = frozenset(
    {"$schema", "$id", "$comment", "title", "description", "default", "examples", "format", "deprecated"}
)
_COUNTS: Final = ("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties")
_BOUNDS: Final = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
KEYWORDS: Final = frozenset(
    {
        *("type", "enum", "const", "properties", "required", "additionalProperties", "items", "uniqueItems", "pattern"),
        *(*_COUNTS, *_BOUNDS, *ANNOTATIONS),
    }
)

_encode = msgspec.json.Encoder(order="sorted").encode

Enums = dict[int, frozenset[bytes]]  # what enums of a form allow, encoded: by the identity of each


# --- the form itself -------------------------------------------------------------------------------------------------


def schema_problems(form: Any, path: Path = ()) -> Iterator[tuple[Path, str, str]]:
    """Yield what is wrong with a form: the place within it, a sentence, a hint."""
    todo: list[tuple[Path, Any]] = [(path, form)]
    patterns = 0
    while todo:
        at, schema = todo.pop()
        if isinstance(schema, bool):
            continue
        if not isinstance(schema, Mapping):
            yield at, f"a schema is a mapping, not {_kind(schema)}", ""
            continue
        if len(at) - len(path) > 2 * MAX_FORM_DEPTH:
            yield at, f"schemas are nested more than {MAX_FORM_DEPTH} deep", ""
            continue
        patterns += "pattern" in schema
        if "pattern" in schema and patterns == MAX_PATTERNS + 1:
            yield (*at, "pattern"), f"a form has at most {MAX_PATTERNS} patterns", ""
        if patterns > MAX_PATTERNS:
            return
        for keyword, said in schema.items():
            yield from _keyword_problems(keyword, said, (*at, keyword))
        properties = schema.get("properties")
        if isinstance(properties, Mapping):
            todo += [((*at, "properties", name), below) for name, below in properties.items()]
        todo += [((*at, name), schema[name]) for name in ("items", "additionalProperties") if name in schema]


def _keyword_problems(keyword: Any, said: Any, at: Path) -> Iterator[tuple[Path, str, str]]:
    if keyword not in KEYWORDS:
        known = f"known are {', '.join(sorted(KEYWORDS - ANNOTATIONS))}"
        yield at, f"a form can't say {quoted(str(keyword))}", did_you_mean(str(keyword), KEYWORDS) or known
    elif keyword == "type":
        kinds = said if isinstance(said, list) else [said]
        wrong = next((kind for kind in kinds if kind not in KINDS), None) if kinds else said
        if wrong is not None:
            hint = did_you_mean(wrong, KINDS) if isinstance(wrong, str) else ""
            yield at, f"there is no type {quoted(str(wrong))}", hint or f"known are {', '.join(KINDS)}"
    elif keyword == "properties" and not isinstance(said, Mapping):
        yield at, f"properties is a mapping of names, not {_kind(said)}", ""
    elif keyword == "required" and not (isinstance(said, list) and all(isinstance(name, str) for name in said)):
        yield at, "required is a list of names", ""
    elif keyword == "enum" and not (isinstance(said, list) and said):
        yield at, "enum is a list of the values that are allowed", ""
    elif keyword in _COUNTS and (isinstance(said, bool) or not isinstance(said, int) or said < 0):
        yield at, f"{keyword} is a whole number, 0 or more", ""
    elif keyword in _BOUNDS and (isinstance(said, bool) or not isinstance(said, (int, float))):
        yield at, f"{keyword} is a number", ""
    elif keyword == "pattern":
        if why := _pattern_problem(said):
            yield at, why, ""
    elif keyword == "uniqueItems" and not isinstance(said, bool):
        yield at, "uniqueItems is true or false", ""


def _pattern_problem(said: Any) -> str:
    if not isinstance(said, str):
        return f"pattern is a text, not {_kind(said)}"
    try:
        places = pattern_of(said).places
    except ValueError as error:
        return f"the pattern {quoted(said)} can't be used: {error}"
    if places > MAX_PLACES:
        counted = f"{places} characters, those that repeat counted each time"
        return f"the pattern {quoted(said)} has {counted}; at most {MAX_PLACES}"
    return ""


# --- an answer -------------------------------------------------------------------------------------------------------


def form_problems(form: Any, answer: Any) -> list[str]:
    """Return why an answer doesn't fit a valid form, in sentences that name the field; none if it does."""
    found: list[str] = []
    for problem in _problems(form, answer, "", {}):
        if len(found) == MOST_NAMED:
            return [*found, "and more"]
        found.append(problem)
    return found


def _problems(schema: Any, value: Any, at: str, enums: Enums) -> Iterator[str]:
    if schema is True:
        return
    shown = at or "the answer"
    if schema is False:
        yield f"{shown} isn't asked for"
        return
    kinds = schema.get("type")
    if kinds is not None:
        allowed = kinds if isinstance(kinds, list) else [kinds]
        if not any(_is(value, kind) for kind in allowed):
            yield f"{shown} must be of type {' or '.join(allowed)}, not {_kind(value)}"
            return
    if "enum" in schema and _encode(value) not in _encoded(schema["enum"], enums):
        yield f"{shown} must be one of {_listed(schema['enum'])}, not {_shown(value)}"
    if "const" in schema and _encode(value) != _encode(schema["const"]):
        yield f"{shown} must be {_shown(schema['const'])}, not {_shown(value)}"
    match value:
        case str():
            yield from _length_problems(schema, len(value), shown, "Length", "characters")
            if "pattern" in schema and not pattern_of(schema["pattern"]).found_in(value):
                yield f"{shown} must fit the pattern {schema['pattern']}, not {_shown(value)}"
        case bool() | None:
            pass
        case int() | float():
            yield from _bound_problems(schema, value, shown)
        case list():
            yield from _list_problems(schema, value, at, shown, enums)
        case dict():
            yield from _object_problems(schema, value, at, shown, enums)


def _encoded(enum: list[Any], enums: Enums) -> frozenset[bytes]:
    """Return what an enum allows; encoded once for each answer, however often the answer comes by."""
    found = enums.get(id(enum))
    if found is None:
        found = enums[id(enum)] = frozenset(map(_encode, enum))
    return found


def _length_problems(schema: Mapping[str, Any], length: int, shown: str, of: str, what: str) -> Iterator[str]:
    least, most = schema.get(f"min{of}", 0), schema.get(f"max{of}", math.inf)
    if length < least:
        yield f"{shown} has {length} {what}, at least {least} are asked for"
    if length > most:
        yield f"{shown} has {length} {what}, at most {most} are allowed"


_COMPARED: Final[tuple[tuple[str, str, Callable[[float, float], bool]], ...]] = (
    ("minimum", "at least", lambda value, bound: value >= bound),
    ("maximum", "at most", lambda value, bound: value <= bound),
    ("exclusiveMinimum", "more than", lambda value, bound: value > bound),
    ("exclusiveMaximum", "less than", lambda value, bound: value < bound),
)


def _bound_problems(schema: Mapping[str, Any], value: float, shown: str) -> Iterator[str]:
    for keyword, words, holds in _COMPARED:
        if keyword in schema and not holds(value, schema[keyword]):
            yield f"{shown} must be {words} {schema[keyword]}, not {value}"


def _list_problems(schema: Mapping[str, Any], value: list[Any], at: str, shown: str, enums: Enums) -> Iterator[str]:
    yield from _length_problems(schema, len(value), shown, "Items", "items")
    if schema.get("uniqueItems") and len({_encode(item) for item in value}) < len(value):
        yield f"{shown} has an item twice"
    if "items" in schema:
        for index, item in enumerate(value):
            yield from _problems(schema["items"], item, f"{at}[{index}]", enums)


def _object_problems(
    schema: Mapping[str, Any], value: dict[str, Any], at: str, shown: str, enums: Enums
) -> Iterator[str]:
    yield from _length_problems(schema, len(value), shown, "Properties", "fields")
    properties, dot = schema.get("properties", {}), f"{at}." if at else ""
    for name in schema.get("required", ()):
        if name not in value:
            yield f"{dot}{name} is missing"
    more = schema.get("additionalProperties", True)
    for name, below in value.items():
        if name in properties:
            yield from _problems(properties[name], below, f"{dot}{name}", enums)
        elif more is False:
            near = did_you_mean(name, properties)
            yield f"{dot}{name} isn't asked for{'; ' + near if near else f' (asked for: {_listed(list(properties))})'}"
        else:
            yield from _problems(more, below, f"{dot}{name}", enums)


def field_value(form: Any, name: str, text: str) -> Any:
    """Return what a text that a person wrote for a field stands for: by its type in the form, else JSON or the text.

    Raises ValueError for one that can't be of the field's type.
    """
    properties = form.get("properties", {}) if isinstance(form, Mapping) else {}
    schema = properties.get(name)
    kinds = schema.get("type") if isinstance(schema, Mapping) else None
    allowed = kinds if isinstance(kinds, list) else [] if kinds is None else [kinds]
    try:
        value = msgspec.json.decode(text)
    except msgspec.DecodeError:
        value = text
    if not allowed or any(_is(value, kind) for kind in allowed):
        return value
    if "string" in allowed:
        return text
    raise ValueError(f"{name} must be of type {' or '.join(allowed)}, not {quoted(text)}")


def _is(value: Any, kind: str) -> bool:
    match kind:
        case "string":
            return isinstance(value, str)
        case "boolean":
            return isinstance(value, bool)
        case "null":
            return value is None
        case "array":
            return isinstance(value, list)
        case "object":
            return isinstance(value, dict)
        case "integer":
            whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
            return whole and not isinstance(value, bool)
        case _:
            return isinstance(value, (int, float)) and not isinstance(value, bool)


def _kind(value: Any) -> str:
    return next((kind for kind in ("null", "boolean", "integer", "number", "string", "array", "object")
                 if _is(value, kind)), type(value).__name__)  # fmt: skip


def _shown(value: Any) -> str:
    text = _encode(value).decode()
    return text if len(text) <= 60 else f"{text[:59]}…"


def _listed(values: list[Any]) -> str:
    shown = [value if isinstance(value, str) else _shown(value) for value in values[:8]]
    return ", ".join(shown) + (" …" if len(values) > 8 else "")
