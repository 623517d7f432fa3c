"""What travels over the bus: a message from one agent to another, or to whoever listens on a topic. Pure.

Messages are values: `publish` takes what one holds at that moment. `podium.bus.codec` turns them into bytes.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import Any

from msgspec import Struct, field

from podium.exceptions import InvalidInputError

DEFAULT_TOPIC = "agent.messages"


class MessageType(StrEnum):
    """What a message is for (document 003)."""

    REQUEST = "REQUEST"
    RESPONSE = "RESPONSE"
    EVENT = "EVENT"
    COMMAND = "COMMAND"
    BROADCAST = "BROADCAST"
    HEARTBEAT = "HEARTBEAT"
    ERROR = "ERROR"

    __hash__ = str.__hash__  # an enum's own is written in Python, and each message is counted by its type


class Priority(IntEnum):
    """The four names of a priority; any number from 0 to 100 is one, larger is sooner. `Priority("high")` works too."""

    LOW = 25
    NORMAL = 50
    HIGH = 75
    CRITICAL = 100

    __hash__ = int.__hash__  # as above

    @classmethod
    def _missing_(cls, value: object) -> Priority | None:
        return cls.__members__.get(value.upper()) if isinstance(value, str) else None


def priority_named(name: str) -> Priority:
    """Return the priority of a name, in any case. Raises InvalidInputError for any other text."""
    found = Priority.__members__.get(name.upper())
    if found is None:
        raise InvalidInputError(f"{name!r} is no priority; there are 0 to 100, and {', '.join(Priority.__members__)}")
    return found


class Message(Struct, frozen=True, array_like=True, omit_defaults=True, gc=False):
    """One message. `payload` is any JSON object, `priority` a number from 0 to 100 or a name of `Priority`.

    `message_id`, `topic` and `timestamp` (microseconds since the epoch) are filled in by the bus where they are empty,
    so that a receiver always has them. `reply_to` is the subject on which an answer is awaited; `correlation_id` says
    which request a response belongs to. The order of the fields is the order on the wire: new ones come last.
    """

    sender_id: str = ""
    recipient_id: str = ""
    message_type: MessageType = MessageType.EVENT
    payload: dict[str, Any] = field(default_factory=dict)
    priority: int = Priority.NORMAL.value
    correlation_id: str = ""
    timestamp: int = 0
    reply_to: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    message_id: str = ""
    topic: str = ""
