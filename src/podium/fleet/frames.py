"""Frames: what Podium's own processes say to each other, many messages in one, as MessagePack of positional arrays.

A frame names who speaks (an incarnation) and the number of its first message, so that a doubled or late one is known.
What doesn't decode to the very types is refused as a whole: nothing half-read reaches the engine.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any, TypeVar

import msgspec
from msgspec import Raw, Struct

from podium.exceptions import InvalidInputError
from podium.fleet import messages as msg

CONTENT_TYPE = "application/vnd.podium.frame.v1+msgpack"
FRAME_MESSAGES = 64

T = TypeVar("T", bound=Struct)

_SPOKEN = (
    *(msg.Accepted, msg.Refused, msg.Progress, msg.Saved, msg.Renewal, msg.Succeeded, msg.Failed, msg.Freed),
    *(msg.HandedBack, msg.Leaving, msg.Left, msg.LogLine, msg.Published),
)
_HEARD = (msg.Assignment, msg.Cancel, msg.Confirmation, msg.Drain)

FrameMessage = msg.FromAgent | msg.ToAgent | msg.LogLine


class Frame(Struct, frozen=True):
    """What one process said at one go: `first` is the number of the first message, counted from 1 for each speaker."""

    speaker: str
    first: int
    messages: tuple[Any, ...]


def encode_frame(speaker: str, first: int, messages: Sequence[FrameMessage]) -> bytes:
    """Return the frame's bytes."""
    return _encode((1, speaker, first, [_spoken_as[type(m)](m) for m in messages]))


def decode_spoken(data: bytes) -> Frame:
    """Return a frame of an agent's process. Raises InvalidInputError for anything else."""
    return _decoded(data, _from_agents)


def decode_heard(data: bytes) -> Frame:
    """Return a frame of an orchestrator. Raises InvalidInputError for anything else."""
    return _decoded(data, _to_agents)


def _decoded(data: bytes, decoder: Any) -> Frame:
    try:
        version, speaker, first, mirrored = decoder.decode(data)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise InvalidInputError(f"this is no frame: {error}") from error
    if version != 1:
        raise InvalidInputError(f"this is a frame of version {version}, known is 1")
    return Frame(speaker, first, tuple(_meant_by[type(m)](m) for m in mirrored))


# --- the same messages as arrays: JSON that is carried along (`Raw`) becomes bytes ----------------------------------

_encode = msgspec.msgpack.Encoder().encode
_spoken_as: dict[type, Any] = {}
_meant_by: dict[type, Any] = {}


def _mirror(kind: type[Struct]) -> type[Struct]:
    fields = msgspec.structs.fields(kind)
    raw = [field.name for field in fields if field.type is Raw]
    described: list[Any] = []
    for field in fields:
        as_type = bytes if field.type is Raw else field.type
        if field.required:
            described.append((field.name, as_type))
        else:
            default = bytes(field.default) if field.type is Raw else field.default
            described.append((field.name, as_type, default))
    tag = _TAGS[kind]
    mirror = msgspec.defstruct(kind.__name__, described, array_like=True, tag=tag, frozen=True, gc=False)
    names = [field.name for field in fields]
    first = attrgetter(names[0])
    values_of: Callable[[Any], Any] = attrgetter(*names) if names[1:] else lambda message: (first(message),)
    raw_places = [names.index(name) for name in raw]

    def mirrored(message: Any) -> Any:
        values = [*values_of(message)]
        for at in raw_places:
            values[at] = bytes(values[at])
        return mirror(*values)

    def meant(found: Any) -> Any:
        values = [*values_of(found)]
        for at in raw_places:
            values[at] = Raw(values[at])
        return kind(*values)

    _spoken_as[kind] = mirrored
    _meant_by[mirror] = meant
    return mirror


# Part of the format: a number is never given to another message.
_TAGS: dict[type, int] = {
    msg.Assignment: 1,
    msg.Cancel: 2,
    msg.Confirmation: 3,
    msg.Drain: 4,
    msg.Accepted: 11,
    msg.Refused: 12,
    msg.Progress: 13,
    msg.Saved: 14,
    msg.Renewal: 15,
    msg.Succeeded: 16,
    msg.Failed: 17,
    msg.Freed: 18,
    msg.HandedBack: 19,
    msg.Left: 20,
    msg.LogLine: 21,
    msg.Leaving: 22,
    msg.Published: 23,
}


def _decoder(kinds: Sequence[type[Struct]]) -> Any:
    mirrors: Any = _mirror(kinds[0])
    for kind in kinds[1:]:
        mirrors = mirrors | _mirror(kind)
    return msgspec.msgpack.Decoder(tuple[int, str, int, list[mirrors]])


_from_agents = _decoder(_SPOKEN)
_to_agents = _decoder(_HEARD)
