"""Messages as bytes: frames of positional arrays between Podium's processes, JSON for everybody else. Pure.

A frame is MessagePack: version, source, lane, number of its first message, when that was published, whether the
messages leave id and time to the frame, and the messages. A source is one publisher's lane of one topic, and numbers
its messages from 1; the id of a message is its source and number. A content type tells the two apart; without one it
is JSON.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from itertools import repeat
from typing import Any

import msgspec
from msgspec import Raw, Struct
from msgspec.structs import force_setattr

from podium.bus.lanes import Lane, lane_in, lane_of
from podium.bus.message import Message, Priority, priority_named
from podium.exceptions import InvalidInputError, MalformedMessageError

VERSION = 1
CONTENT_TYPE = "Content-Type"
FRAME_TYPE = "application/vnd.podium.frame+msgpack"
JSON_TYPE = "application/json"
FRAME_HEADERS = {CONTENT_TYPE: FRAME_TYPE}
JSON_HEADERS = {CONTENT_TYPE: JSON_TYPE}
MOST_IN_FRAME = 65_535

_SUBJECT = "podium.bus."
UNENCODABLE = (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError)
_UNREADABLE = (msgspec.MsgspecError, RecursionError, UnicodeDecodeError)
_NUMBERS = struct.Struct(">BQBQBBH")  # first as uint64, time as uint64, whether bare, the array's length as uint16
_encoder = msgspec.msgpack.Encoder()
_exhaust: Any = deque(maxlen=0).extend

encode_into = _encoder.encode_into


class Frame(Struct, frozen=True, array_like=True, gc=False):
    """What was decoded. Without a source (JSON) there are no numbers: nothing is known of what came before."""

    version: int
    source: str
    lane: int
    first: int
    published_us: int
    bare: bool  # no message of it has an id or a time of its own
    messages: list[Message]


class _Unread(Struct, frozen=True, array_like=True, gc=False):
    """A frame whose messages are looked at one by one, since one of them is bad."""

    version: int
    source: str
    lane: int
    first: int
    published_us: int
    bare: bool
    messages: list[Raw]


_decode_frame = msgspec.msgpack.Decoder(Frame).decode
_decode_unread = msgspec.msgpack.Decoder(_Unread).decode
_decode_message = msgspec.msgpack.Decoder(Message).decode


# --- writing -----------------------------------------------------------------------------------------------------


def frame_prefix(source: str, lane: int) -> bytes:
    """Return what all frames of a source begin with."""
    return b"\x97" + b"".join(map(_encoder.encode, (VERSION, source, lane)))


def frame_bytes(
    prefix: bytes, first: int, published_us: int, bare: bool, count: int, encoded: bytes | bytearray
) -> bytes:
    """Return a frame of messages that are encoded already, one behind the other."""
    numbers = _NUMBERS.pack(0xCF, first, 0xCF, published_us, 0xC3 if bare else 0xC2, 0xDC, count)
    return b"".join((prefix, numbers, encoded))


def unencodable(error: Exception) -> InvalidInputError:
    """Return what to raise for a message that can't be bytes."""
    return InvalidInputError(f"the message can't be sent: {error}; a payload is what JSON can say")


def encode_one(message: Message, source: str, published_us: int = 0) -> bytes:
    """Return a frame of one message, the first and only one of its source."""
    prefix = frame_prefix(source, lane_of(message.priority))
    return frame_bytes(prefix, 1, published_us, False, 1, _encoder.encode(message))


def encode_json(message: Message) -> bytes:
    """Return a message as a JSON object with camelCase keys, without what is empty."""
    values = {name: getattr(message, name) for name in _FIELDS}
    said = {_camel(name): value for name, value in values.items() if name in _ALWAYS or value != _DEFAULTS[name]}
    try:
        return msgspec.json.encode(said)
    except UNENCODABLE as error:
        raise unencodable(error) from error


# --- reading -----------------------------------------------------------------------------------------------------


def decode(data: bytes, headers: Mapping[str, str], subject: str, published_us: int = 0, reply: str = "") -> Frame:
    """Return what arrived, each message with its id, topic and time. Raises MalformedMessageError."""
    kind = content_type(headers)
    if kind == FRAME_TYPE:
        try:
            frame = _decode_frame(data)
        except _UNREADABLE as error:
            raise MalformedMessageError(f"this is no frame: {error}") from error
        if frame.version != VERSION:
            raise MalformedMessageError(f"this is a frame of version {frame.version}, known is {VERSION}")
        _fill_in(frame, topic_of(subject))
        return frame
    if kind in (JSON_TYPE, ""):
        message = decode_json(data, topic_of(subject), published_us, reply)
        return Frame(VERSION, "", lane_in(subject), 0, message.timestamp, False, [message])
    raise MalformedMessageError(f"the content type {kind!r} is unknown; there are {FRAME_TYPE} and {JSON_TYPE}")


class Parts(Struct, frozen=True):
    """A frame without its bad messages, and those: the bytes of a frame of each, and what is wrong with it."""

    frame: Frame
    bad: list[tuple[bytes, str]]

    @property
    def count(self) -> int:
        """How many messages the frame had."""
        return len(self.frame.messages) + len(self.bad)


def decode_parts(data: bytes, subject: str) -> Parts | None:
    """Return the parts of a frame that `decode` has refused: one bad message shall not take others with it.

    None if it isn't a frame at all.
    """
    try:
        unread = _decode_unread(data)
    except _UNREADABLE:
        return None
    if unread.version != VERSION:
        return None
    good: list[Message] = []
    bad: list[tuple[bytes, str]] = []
    for number, raw in enumerate(unread.messages, unread.first):
        try:
            message = _decode_message(raw)
        except _UNREADABLE as error:
            prefix = frame_prefix(unread.source, unread.lane)
            bad.append((frame_bytes(prefix, number, unread.published_us, unread.bare, 1, bytes(raw)), str(error)))
            continue
        _name(message, f"{unread.source}.{number}", topic_of(subject), unread.published_us)
        good.append(message)
    frame = Frame(VERSION, unread.source, unread.lane, unread.first, unread.published_us, False, good)
    return Parts(frame, bad)


def decode_json(data: bytes, topic: str = "", published_us: int = 0, reply: str = "") -> Message:
    """Return a message from a JSON object with camelCase or snake_case keys. Raises MalformedMessageError."""
    try:
        given = msgspec.json.decode(data)
    except _UNREADABLE as error:
        raise MalformedMessageError(f"this isn't JSON: {error}") from error
    if not isinstance(given, dict):
        raise MalformedMessageError('a message is a JSON object, for example {"senderId": "a", "payload": {}}')
    values: dict[str, Any] = {}
    for key, value in given.items():
        name = _FIELD_OF.get(key)
        if name is None:
            raise MalformedMessageError(f"a message has no {key!r}; it has {', '.join(map(_camel, _FIELDS))}")
        values[name] = value
    try:
        values["priority"] = _priority_in(values.get("priority", Priority.NORMAL.value))
        values["timestamp"] = _timestamp_in(values.get("timestamp", 0))
        message = msgspec.convert([values.get(name, _DEFAULTS[name]) for name in _FIELDS], Message)
    except (msgspec.ValidationError, ValueError, InvalidInputError) as error:
        raise MalformedMessageError(f"a message is wrong: {_named(str(error))}") from error
    if not message.reply_to and reply:
        force_setattr(message, "reply_to", reply)
    _name(message, message.message_id, topic, published_us)
    return message


def content_type(headers: Mapping[str, str]) -> str:
    """Return the content type without its parameters, in small letters; empty if none is said."""
    found = headers.get(CONTENT_TYPE)
    if found is None:
        found = next((value for key, value in headers.items() if key.lower() == "content-type"), "")
    return found if found == FRAME_TYPE else found.partition(";")[0].strip().lower()


def topic_of(subject: str) -> str:
    """Return the topic that a subject of the bus belongs to; any other subject is its own."""
    return subject[len(_SUBJECT) : subject.rfind(".")] if subject.startswith(_SUBJECT) else subject


def subject_of(topic: str, lane: Lane) -> str:
    """Return the subject of a topic's lane."""
    return f"{_SUBJECT}{topic}.{lane.word}"


def _fill_in(frame: Frame, topic: str) -> None:
    """Give each message the id, topic and time that the frame says once for all of them.

    Messages are frozen for those who hold them; nobody holds these yet. The plain case is done by loops in C.
    """
    messages, at, prefix = frame.messages, frame.published_us, f"{frame.source}."
    numbers: Sequence[int] = range(frame.first, frame.first + len(messages))
    if frame.bare:
        _exhaust(map(force_setattr, messages, repeat("message_id"), [f"{prefix}{number}" for number in numbers]))
        _exhaust(map(force_setattr, messages, repeat("topic"), repeat(topic)))
        _exhaust(map(force_setattr, messages, repeat("timestamp"), repeat(at)))
        return
    for message, number in zip(messages, numbers, strict=True):
        _name(message, f"{prefix}{number}", topic, at)


def _name(message: Message, message_id: str, topic: str, published_us: int) -> None:
    if not message.message_id:
        force_setattr(message, "message_id", message_id)
    if not message.timestamp:
        force_setattr(message, "timestamp", published_us)
    if topic:
        force_setattr(message, "topic", topic)


def _camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(word.title() for word in others)


_FIELDS = Message.__struct_fields__
_FIELD_OF = {spelled: name for name in _FIELDS for spelled in (name, _camel(name))}
_ALWAYS = ("message_type", "payload", "priority")
_DEFAULTS: dict[str, Any] = {name: getattr(Message(), name) for name in _FIELDS}


def _priority_in(value: Any) -> int:
    if isinstance(value, str):
        return priority_named(value).value
    lane_of(value)
    return int(value)


def _timestamp_in(value: Any) -> Any:
    """Return microseconds since the epoch of a number of them, or of an ISO 8601 text (UTC where it says no zone)."""
    if not isinstance(value, str):
        return value
    at = datetime.fromisoformat(value)
    return round((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1_000_000)


def _named(problem: str) -> str:
    """Name the field where msgspec gives its place in the array."""
    for place, name in reversed(list(enumerate(_FIELDS))):
        problem = problem.replace(f"$[{place}]", _camel(name))
    return problem
