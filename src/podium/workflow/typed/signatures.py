"""What a function of an agent takes and gives: a JSON Schema for each argument, and one for the result."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

Schema = Mapping[str, Any]
"""A JSON Schema (2020-12) as msgspec and pydantic write them; `{}` is anything."""


class Signature(Struct, frozen=True):
    """A function's arguments and result. `others` is what any other argument may be; None refuses others."""

    arguments: Mapping[str, Schema] = {}
    required: frozenset[str] = frozenset()
    others: Schema | None = None
    result: Schema = {}

    def as_schema(self) -> dict[str, Any]:
        """Return the arguments as one JSON Schema of an object."""
        definitions: dict[str, Schema] = {}
        properties = {name: _lifted(schema, definitions) for name, schema in self.arguments.items()}
        schema: dict[str, Any] = {"type": "object", "properties": properties}
        if self.required:
            schema["required"] = [name for name in self.arguments if name in self.required]
        others = None if self.others is None else _lifted(self.others, definitions)
        schema["additionalProperties"] = False if others is None else others or True
        return {**schema, "$defs": definitions} if definitions else schema


def _lifted(schema: Schema, definitions: dict[str, Schema]) -> dict[str, Any]:
    """Return a part of a schema without its definitions, which go to those of the whole.

    Where these have others of the same name, they stay with the part.
    """
    own: Mapping[str, Schema] = schema.get("$defs", {})
    if not own or any(definitions.get(name, one) != one for name, one in own.items()):
        return dict(schema)
    definitions.update(own)
    return {key: value for key, value in schema.items() if key != "$defs"}
