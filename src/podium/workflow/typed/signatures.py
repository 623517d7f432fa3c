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
        schema: dict[str, Any] = {"type": "object", "properties": dict(self.arguments)}
        if self.required:
            schema["required"] = [name for name in self.arguments if name in self.required]
        schema["additionalProperties"] = False if self.others is None else dict(self.others) or True
        return schema
