"""Dataclasses of pydantic's among type hints: they are built by their own validation, as models of pydantic's are.

To msgspec each is a dataclass like any other, which it would build without its validators and defaults. So in a hint,
something of the same name stands for it that msgspec doesn't know, and leaves to the hook for models.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import operator
import types
import typing
from typing import Any


def with_own_validation(hint: Any) -> Any:
    """Return a hint in which the dataclasses of pydantic's validate themselves; one without any as it is."""
    if inspect.isclass(hint) and not typing.get_args(hint):
        validated: type = hint
        is_validated = dataclasses.is_dataclass(validated) and "__pydantic_validator__" in vars(validated)
        return _standing_for(validated) if is_validated else hint
    given = typing.get_args(hint)
    arguments = tuple(with_own_validation(one) for one in given)
    if all(one is other for one, other in zip(arguments, given, strict=True)):
        return hint
    origin = typing.get_origin(hint)
    if origin is typing.Annotated:
        return typing.Annotated[arguments]
    if origin is types.UnionType or origin is typing.Union:
        return functools.reduce(operator.or_, arguments)
    return origin[arguments]


class _Standing(type):
    """The type of what stands for a dataclass, whose instances are those of the dataclass."""

    validated: type

    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, cls.validated)


@functools.cache
def _standing_for(validated: type) -> type:
    """Return a class that is called like a dataclass and validates as it does."""

    def model_validate(value: Any) -> Any:
        return vars(validated)["__pydantic_validator__"].validate_python(value)

    named = {"__module__": validated.__module__, "__qualname__": validated.__qualname__}
    said = {**named, "validated": validated, "model_validate": staticmethod(model_validate)}
    return _Standing(validated.__name__, (), said)
