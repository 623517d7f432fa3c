"""The fields of the messages on the wire, in the words of `docs/protocol.md`."""

import inspect
import types
import typing
from enum import StrEnum

import msgspec
from msgspec import Meta, Raw, Struct, UnsetType

from podium.fleet import wire

TYPES: dict[str, type[Struct]] = {
    name: kind
    for name, kind in vars(wire).items()
    if inspect.isclass(kind) and issubclass(kind, Struct) and kind is not Struct and not name.startswith("_")
}
_HEAD = tuple(field.encode_name for field in msgspec.structs.fields(wire.NatsMessage))
_WORDS = {str: "string", int: "integer", float: "number", bool: "boolean", types.NoneType: "null"}
Line = tuple[str, str, str]  # field, type, default


def lines_of(kind: type[Struct]) -> list[Line]:
    """Every field of a type; of a message without those that all messages have."""
    inherited = issubclass(kind, wire.NatsMessage) and kind is not wire.NatsMessage
    return [
        (field.encode_name, type_words(field.type), default_words(field))
        for field in msgspec.structs.fields(kind)
        if not (inherited and field.encode_name in _HEAD)
    ]


def type_words(kind: typing.Any) -> str:
    """A type as the page has it; limits are told by its words."""
    origin = typing.get_origin(kind)
    if origin is typing.Annotated:
        inner, *more = typing.get_args(kind)
        return type_words(inner) + "".join(limit_words(meta, inner) for meta in more if isinstance(meta, Meta))
    if origin is typing.Literal:
        return " or ".join(f'"{value}"' for value in typing.get_args(kind))
    if origin in (typing.Union, types.UnionType):
        said = [type_words(each) for each in typing.get_args(kind) if each not in (types.NoneType, UnsetType)]
        return " or ".join(said)
    if origin is tuple:
        return f"array of {type_words(typing.get_args(kind)[0])}"
    if origin is dict:
        return "object"
    if kind in (typing.Any, Raw):
        return "any JSON"
    if inspect.isclass(kind) and issubclass(kind, StrEnum):
        return f"{kind.__name__}, a string"
    if inspect.isclass(kind) and issubclass(kind, Struct):
        return kind.__name__
    return _WORDS[kind]


def limit_words(meta: Meta, of: typing.Any) -> str:
    said = []
    if meta.ge is not None:
        said.append(f"from {meta.ge:,}")
    if meta.gt is not None:
        said.append(f"above {meta.gt:,}")
    if meta.le is not None:
        said.append(f"to {meta.le:,}")
    if meta.max_length is not None:
        shortest = f"{meta.min_length} to " if meta.min_length else "up to "
        said.append(f"{shortest}{meta.max_length:,}{'' if typing.get_origin(of) is tuple else ' characters'}")
    return f", {' '.join(said)}" if said else ""


def default_words(field: msgspec.structs.FieldInfo) -> str:
    if field.required:
        return "required"
    default = field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
    if default is msgspec.UNSET or default is None or (default == "" and default is not msgspec.NODEFAULT):
        return "–"
    if isinstance(default, Raw):
        return bytes(default).decode()
    return msgspec.json.encode(default).decode()
