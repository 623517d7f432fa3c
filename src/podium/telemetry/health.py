"""How a component stands, in the words of `/health`: the component says it, whoever asks shows it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from msgspec import Struct, field


class ComponentHealth(Struct, frozen=True):
    """Whether a component does its work, and what else is worth knowing."""

    up: bool
    detail: str = ""  # a sentence without a full stop: why not, or how well
    facts: dict[str, Any] = field(default_factory=dict)  # names and JSON values


Health = Callable[[], Mapping[str, ComponentHealth]]  # every component by its name, asked anew each time
