"""What an agent says of itself when it registers: who it is, what it can do, where it is, what it promises. Pure.

A descriptor is checked when it is made, however it is made, so that whoever holds one needn't ask again: its id may
stand in a subject and in a permission, its names in a metric's label, and its size has an end.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from enum import StrEnum
from sys import intern
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import force_setattr

from podium.bus.names import check_agent_id
from podium.exceptions import InvalidInputError
from podium.fleet.messages import Registration
from podium.workflow.model import ResourceRequirements
from podium.workflow.typed.received import known_schemas

MAX_NAME = 128  # characters of a type, a capability, a tag, a location
MAX_NAMES = 256  # capabilities, and as many tags, service types and functions
MAX_TEXT = 1_024  # characters of an endpoint, a version, a key
MAX_METADATA = 16 * 1024  # bytes of it as JSON
MAX_SLOTS = 100_000

_TYPE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]*")  # as in a workflow


class ServiceType(StrEnum):
    """What kind of service an agent offers. Agents may name others; these are known."""

    COMPUTATION = "computation"
    DATA = "data"
    STORAGE = "storage"
    COMMUNICATION = "communication"
    COORDINATION = "coordination"
    MONITORING = "monitoring"
    ANALYSIS = "analysis"
    REPORTING = "reporting"
    INTEGRATION = "integration"
    SECURITY = "security"


class SLA(Struct, frozen=True, omit_defaults=True):
    """A level of service: promised by an agent, or asked for in a query. What is None says nothing."""

    response_time_ms: float | None = None  # at most
    availability: float | None = None  # at least, 0 to 1
    error_rate: float | None = None  # at most, 0 to 1

    def __post_init__(self) -> None:
        if self.response_time_ms is not None and not 0 < self.response_time_ms < math.inf:
            raise InvalidInputError(f"response_time_ms must be above 0 and finite, not {self.response_time_ms!r}")
        for name in ("availability", "error_rate"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise InvalidInputError(f"{name} must be from 0 to 1, not {value!r}")


class AgentDescriptor(Struct, frozen=True, omit_defaults=True):
    """An agent as it registers (document 003). Lists may be given; they are kept as tuples, without doubles.

    `incarnation` names this start of the agent: another one means that everything the earlier one held is lost. `key`
    is the identity that registered it (a public key); another one can't take its name. `functions` are what it
    answers to, none means all. Raises InvalidInputError for what can't be taken.
    """

    agent_id: str
    agent_type: str = "agent"
    version: str = "1.0.0"
    capabilities: Sequence[str] = ()
    service_types: Sequence[str] = ()  # of ServiceType, or the agent's own words
    endpoint: str = ""  # where it can be called directly, if it can
    tags: Sequence[str] = ()
    location: str = ""  # a region, a rack, a machine: a word that queries can prefer
    slots: int = 1  # tasks at once
    resources: ResourceRequirements = ResourceRequirements()
    metadata: Mapping[str, Any] = {}
    sla: SLA | None = None  # what it promises
    incarnation: str = ""
    functions: Sequence[str] = ()
    key: str = ""
    schemas: Mapping[str, Any] | bytes = b""  # by function, as `{"input": …, "result": …}`; kept as JSON

    def __post_init__(self) -> None:
        check_agent_id(self.agent_id)
        _check_type(self.agent_type)
        for name in ("capabilities", "service_types", "tags", "functions"):
            force_setattr(self, name, _names(name, getattr(self, name)))
        _check_name("location", self.location, may_be_empty=True)
        _check_name("version", self.version)
        for name in ("endpoint", "incarnation", "key"):
            _check_text(name, getattr(self, name))
        slots: Any = self.slots  # whoever makes one in Python isn't held to the types
        if isinstance(slots, bool) or not isinstance(slots, int) or not 1 <= slots <= MAX_SLOTS:
            raise InvalidInputError(f"slots must be a whole number from 1 to {MAX_SLOTS:,}, not {slots!r}")
        _check_metadata(self.metadata)
        if self.schemas != b"":
            force_setattr(self, "schemas", _schemas(self.schemas))

    @property
    def schemas_text(self) -> bytes:
        """The schemas of its functions as JSON; empty, where it says none."""
        return self.schemas if isinstance(self.schemas, bytes) else b""

    @property
    def max_concurrent_tasks(self) -> int:
        """How many tasks it takes at once: document 000's name of `slots`."""
        return self.slots


def descriptor_of(registration: Registration, key: str = "", **more: Any) -> AgentDescriptor:
    """Return the descriptor of an agent that registered over the link. `more` are fields the message doesn't have."""
    return AgentDescriptor(
        agent_id=registration.agent,
        agent_type=registration.type,
        version=registration.version,
        capabilities=registration.capabilities,
        slots=max(registration.slots, 1),
        resources=registration.resources,
        incarnation=registration.incarnation,
        functions=registration.functions,
        key=key,
        **more,
    )


def _names(field: str, given: Sequence[str]) -> tuple[str, ...]:
    """Return names without doubles, in their order; equal names of many agents are kept once."""
    if isinstance(given, str) or not isinstance(given, Sequence):
        raise InvalidInputError(f"{field} must be a list of names, not {str(given)[:40]!r}")
    if len(given) > MAX_NAMES:
        raise InvalidInputError(f"{field} has {len(given):,} names; at most {MAX_NAMES} are allowed")
    for name in given:
        _check_name(field, name)
    return tuple(dict.fromkeys(intern(str(name)) for name in given))


def _check_name(field: str, name: Any, may_be_empty: bool = False) -> None:
    if name == "" and may_be_empty:
        return
    fits = isinstance(name, str) and 0 < len(name) <= MAX_NAME and name.isprintable() and " " not in name
    if not fits:
        raise InvalidInputError(
            f"{field}: a name has 1 to {MAX_NAME} characters, no spaces or control characters; {name!r:.60} hasn't"
        )


def _check_type(name: Any) -> None:
    if not isinstance(name, str) or len(name) > MAX_NAME or _TYPE.fullmatch(name) is None:
        raise InvalidInputError(
            f"an agent's type has 1 to {MAX_NAME} letters, digits, _ and -, the first no -; {name!r:.60} hasn't"
        )


def _check_text(field: str, text: Any) -> None:
    if not isinstance(text, str) or len(text) > MAX_TEXT or not text.isprintable():
        raise InvalidInputError(f"{field} has at most {MAX_TEXT:,} characters, no control characters")


def _check_metadata(metadata: Any) -> None:
    try:
        size = len(msgspec.json.encode(metadata)) if metadata else 0
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInputError(f"metadata must be a mapping that JSON can hold: {error}") from error
    if not isinstance(metadata, Mapping) or size > MAX_METADATA:
        raise InvalidInputError(f"metadata must be a mapping of at most {MAX_METADATA:,} bytes as JSON")


def _schemas(given: Any) -> bytes:
    """Return the schemas of functions as JSON; equal ones of many agents are kept once."""
    try:
        text = given if isinstance(given, bytes) else msgspec.json.encode(given) if given else b""
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInputError(f"schemas must be a mapping that JSON can hold: {error}") from error
    return known_schemas(text).text
