"""Signatures that come from elsewhere: JSON Schemas of functions as agents send them, read within bounds.

A schema is only looked at: no pattern is ever tried, no reference is followed out of it, and what isn't understood
allows everything. So the bounds are those of size and depth, and of references that lead nowhere but to themselves.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from graphlib import CycleError, TopologicalSorter
from typing import Any, Final

import msgspec
from msgspec import Struct

from podium.exceptions import InvalidInputError
from podium.workflow.problems import quoted
from podium.workflow.typed.scope import ANY_FUNCTION
from podium.workflow.typed.shapes import one_of, shape_of
from podium.workflow.typed.signatures import Schema, Signature

MAX_SCHEMAS_BYTES: Final = 32 * 1024  # of all functions of an agent together, as JSON
MAX_SCHEMAS: Final = 256  # functions
MAX_NAME: Final = 256  # characters of a function's name, or of a field's
MAX_SCHEMA_DEPTH: Final = 64  # lists and mappings in each other
_MOST_OFFERS: Final = 64  # different ones of one agent type; of more nothing is known
_TEXTS_KEPT: Final = 256

Offer = tuple[Sequence[str], bytes]
"""What agents say of themselves: the functions they answer to (none: any), and the schemas of some, as JSON."""

UNKNOWN: Final = Signature(others={})
_KINDS: Final = frozenset({"null", "boolean", "integer", "number", "string", "array", "object"})
_MAPPINGS: Final = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
_LISTS: Final = ("anyOf", "oneOf", "allOf", "prefixItems")
_SINGLE: Final = ("items", "additionalProperties", "not", "if", "then", "else", "contains", "propertyNames")
_ALTERNATIVES: Final = ("anyOf", "oneOf", "allOf")
_HERE: Final = "#/$defs/"


class ReceivedSchemas(Struct, frozen=True):
    """The schemas of an agent's functions as it sent them, and what they say, by function."""

    text: bytes
    signatures: Mapping[str, Signature] = {}


@lru_cache(_TEXTS_KEPT)
def known_schemas(text: bytes) -> ReceivedSchemas:
    """Return what an agent sends, as JSON: `{"read": {"input": SCHEMA, "result": SCHEMA}}`; equal texts are read once.

    Raises InvalidInputError that says which schema can't be taken, and why.
    """
    if not text:
        return ReceivedSchemas(b"")
    if len(text) > MAX_SCHEMAS_BYTES:
        raise InvalidInputError(f"schemas have {len(text):,} bytes as JSON; at most {MAX_SCHEMAS_BYTES:,} are taken")
    try:
        given = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidInputError(f"schemas are no JSON: {error}") from error
    if not isinstance(given, dict):
        raise InvalidInputError("schemas are a mapping of functions' names")
    if len(given) > MAX_SCHEMAS:
        raise InvalidInputError(f"schemas are of {len(given):,} functions; at most {MAX_SCHEMAS} are taken")
    _check_names("schemas", given)
    signatures = {name: _read_function(f"schemas.{name[:64]}", said) for name, said in given.items()}
    return ReceivedSchemas(text, signatures)


def signatures_offered(offers: Iterable[Offer]) -> dict[str, Signature] | None:
    """Return what agents of one type take and give together: what one of them takes, is taken. None: nothing is known.

    Raises InvalidInputError as `known_schemas`.
    """
    each = [_offered(functions, known_schemas(text).signatures) for functions, text in dict.fromkeys(offers)]
    if not each or len(each) > _MOST_OFFERS:
        return None
    names = dict.fromkeys(name for offered in each for name in offered)
    found: dict[str, Signature] = {}
    for name in names:
        able = [offered.get(name) or offered.get(ANY_FUNCTION) for offered in each]
        found[name] = _united([signature for signature in able if signature is not None])
    return found


def _offered(functions: Sequence[str], known: Mapping[str, Signature]) -> dict[str, Signature]:
    if functions:
        return {name: known.get(name, UNKNOWN) for name in functions}
    return {ANY_FUNCTION: UNKNOWN, **known}


def _united(signatures: list[Signature]) -> Signature:
    """Return the signature of a function of which agents have several: whatever one of them takes or gives."""
    distinct = [one for at, one in enumerate(signatures) if one not in signatures[:at]]
    if len(distinct) == 1:
        return distinct[0]
    others = [one.others for one in distinct if one.others is not None]
    arguments: dict[str, Schema] = {}
    for name in dict.fromkeys(name for one in distinct for name in one.arguments):
        taken = (one.arguments.get(name, one.others) for one in distinct)
        arguments[name] = _any_of([schema for schema in taken if schema is not None])
    return Signature(
        arguments=arguments,
        required=frozenset.intersection(*(one.required for one in distinct)),
        others=_any_of(others) if others else None,
        result=_any_of([one.result for one in distinct]),
    )


def _any_of(schemas: list[Schema]) -> Schema:
    distinct = [one for at, one in enumerate(schemas) if one not in schemas[:at]]
    shape = one_of([shape_of(schema) for schema in distinct])
    return {**shape.schema, "$defs": dict(shape.definitions)} if shape.definitions else shape.schema


# --- one function ----------------------------------------------------------------------------------------------------


def _read_function(what: str, said: Any) -> Signature:
    if not isinstance(said, dict):
        raise InvalidInputError(f"{what} is no mapping of input and result")
    for part in ("input", "result"):
        _check(f"{what}.{part}", said.get(part))
    given, result = said.get("input"), said.get("result")
    found = Signature(others={}) if not isinstance(given, dict) else _arguments(f"{what}.input", given)
    return msgspec.structs.replace(found, result=result if isinstance(result, dict) else {})


def _arguments(what: str, schema: Schema) -> Signature:
    """Return the signature of a function whose arguments are one schema; of what isn't plain nothing is known."""
    definitions: Mapping[str, Any] = schema.get("$defs", {})
    for _ in range(MAX_SCHEMA_DEPTH):
        if "$ref" not in schema:
            break
        schema = definitions.get(str(schema["$ref"]).removeprefix(_HERE), {})
        if not isinstance(schema, dict):
            return UNKNOWN
    kind = schema.get("type")
    if isinstance(kind, str) and kind != "object":
        raise InvalidInputError(f"{what}: arguments are a mapping of names (type: object), not {kind}")
    if kind != "object" or any(word in schema for word in (*_ALTERNATIVES, "not", "if", "patternProperties")):
        return UNKNOWN
    properties: Mapping[str, Any] = schema.get("properties", {})
    required = schema.get("required", [])
    arguments = {name: _with(definitions, below) for name, below in properties.items() if below is not False}
    more = schema.get("additionalProperties", True)
    return Signature(
        arguments={**{name: {} for name in required}, **arguments},
        required=frozenset(required),
        others=None if more is False else _with(definitions, more),
    )


def _with(definitions: Mapping[str, Any], schema: Any) -> Schema:
    """Return a part of a schema with the definitions that its references mean: the part's own come first."""
    if not isinstance(schema, dict):
        return {}
    known = {**definitions, **schema.get("$defs", {})}
    return {**schema, "$defs": known} if known and schema else schema


# --- bounds ----------------------------------------------------------------------------------------------------------


def _check(what: str, schema: Any) -> None:
    """Raise InvalidInputError for what is no schema, lies too deep, or refers to itself and nothing else."""
    if schema is None:
        return
    _check_depth(what, schema)
    todo: list[tuple[str, Any]] = [("", schema)]
    while todo:
        place, one = todo.pop()
        if isinstance(one, bool):
            continue
        if not isinstance(one, dict):
            raise InvalidInputError(f"{what}{place}: a schema is a mapping, true or false")
        _check_keywords(what + place, one)
        todo += _below(place, one)
        if isinstance(one.get("$defs"), dict):
            _check_circles(what + place, one["$defs"])


def _check_depth(what: str, value: Any) -> None:
    level = [value]
    for _ in range(MAX_SCHEMA_DEPTH):
        if not level:
            return
        level = [below for one in level for below in _parts(one)]
    if level:
        raise InvalidInputError(f"{what}: lists and mappings are nested more than {MAX_SCHEMA_DEPTH} deep")


def _parts(value: Any) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()


def _check_keywords(what: str, schema: dict[str, Any]) -> None:
    kinds = schema.get("type", [])
    if isinstance(kinds, list) and len(kinds) > len(_KINDS):
        raise InvalidInputError(f"{what}: a type is one of {len(_KINDS)}, and none is said twice")
    for kind in kinds if isinstance(kinds, list) else [kinds]:
        if not isinstance(kind, str) or kind not in _KINDS:
            raise InvalidInputError(f"{what}: there is no type {quoted(kind)}; known are {', '.join(sorted(_KINDS))}")
    required = schema.get("required", [])
    if not isinstance(required, list) or not all(isinstance(name, str) for name in required):
        raise InvalidInputError(f"{what}: required is a list of names")
    _check_names(what, required)
    for word, kind, shown in (*((word, dict, "a mapping of schemas") for word in _MAPPINGS),
                              *((word, list, "a list of schemas") for word in _LISTS),
                              ("enum", list, "a list of values"), ("$ref", str, "a text")):  # fmt: skip
        if word in schema and not isinstance(schema[word], kind):
            raise InvalidInputError(f"{what}: {word} is {shown}")
    for word in _MAPPINGS:
        _check_names(what, schema.get(word, ()))


def _check_names(what: str, names: Iterable[str]) -> None:
    """Raise InvalidInputError for a name that a terminal or a log would obey: they are shown to people."""
    odd = next((name for name in names if not name.isprintable() or len(name) > MAX_NAME), None)
    if odd is not None:
        raise InvalidInputError(f"{what}: the name {quoted(odd)} is long, or has a control character in it")


def _below(place: str, schema: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for word in _MAPPINGS:
        for name, below in schema.get(word, {}).items():
            yield f"{place}.{word}.{name[:64]}", below
    for word in _LISTS:
        for at, below in enumerate(schema.get(word, ())):
            yield f"{place}.{word}[{at}]", below
    for word in _SINGLE:
        if word in schema and not isinstance(schema[word], list):  # items was a list once
            yield f"{place}.{word}", schema[word]


def _check_circles(what: str, definitions: dict[str, Any]) -> None:
    """Raise InvalidInputError for definitions that stand for each other and for no value."""
    order = TopologicalSorter({name: _immediate(schema) for name, schema in definitions.items()})
    try:
        order.prepare()
    except CycleError as error:
        raise InvalidInputError(f"{what}: the definition {quoted(error.args[1][0])} stands for itself") from None


def _immediate(schema: Any) -> set[str]:
    """Return the definitions that a schema stands for itself, not one of its parts."""
    found: set[str] = set()
    todo = [schema]
    while todo:
        one = todo.pop()
        if isinstance(one, dict):
            if isinstance(one.get("$ref"), str):
                found.add(one["$ref"].removeprefix(_HERE))
            for word in _ALTERNATIVES:
                alternatives = one.get(word)
                todo += alternatives if isinstance(alternatives, list) else []
    return found
