"""Messages as bytes and back; whatever isn't a message is one clear error."""

import contextlib
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.bus.codec import (
    FRAME_HEADERS,
    FRAME_TYPE,
    content_type,
    decode,
    decode_json,
    decode_parts,
    encode_json,
    encode_one,
    frame_bytes,
    frame_prefix,
    topic_of,
)
from podium.bus.message import Message, MessageType, Priority
from podium.exceptions import InvalidInputError, MalformedMessageError

SUBJECT = "podium.bus.agent.messages.normal"
_json: Any = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 53), 1 << 53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
payloads = st.dictionaries(st.text(max_size=8), _json, max_size=5)
messages = st.builds(
    Message,
    sender_id=st.text(max_size=12),
    recipient_id=st.text(max_size=12),
    message_type=st.sampled_from(MessageType),
    payload=payloads,
    priority=st.integers(0, 100),
    correlation_id=st.text(max_size=12),
    timestamp=st.integers(1, 1 << 52),
    reply_to=st.text(max_size=12),
    headers=st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=2),
    message_id=st.text(min_size=1, max_size=12),
    topic=st.just("agent.messages"),
)


def framed(found: list[Message], source: str = "s.1", first: int = 1, at: int = 5, bare: bool = False) -> bytes:
    encoded = b"".join(map(msgspec.msgpack.encode, found))
    return frame_bytes(frame_prefix(source, 2), first, at, bare, len(found), encoded)


@given(st.lists(messages, min_size=1, max_size=5))
def test_what_a_frame_holds_comes_out_as_it_went_in(found):
    assert decode(framed(found), FRAME_HEADERS, SUBJECT).messages == found


@given(messages)
def test_json_comes_out_as_it_went_in(message):
    assert decode_json(encode_json(message), "agent.messages") == message


def test_id_topic_and_time_are_filled_in_where_they_are_missing():
    bare = [Message(sender_id="a"), Message(sender_id="b")]
    for flag in (True, False):
        frame = decode(framed(bare, first=41, at=7, bare=flag), FRAME_HEADERS, SUBJECT)
        assert [message.message_id for message in frame.messages] == ["s.1.41", "s.1.42"]
        assert {(message.topic, message.timestamp) for message in frame.messages} == {("agent.messages", 7)}
    own = decode(framed([Message(message_id="mine", timestamp=3)]), FRAME_HEADERS, SUBJECT).messages[0]
    assert (own.message_id, own.timestamp) == ("mine", 3)


def test_one_message_is_a_frame_of_its_own():
    frame = decode(encode_one(Message(priority=100), "s.d1", 9), FRAME_HEADERS, SUBJECT)
    assert (frame.source, frame.lane, frame.first, frame.published_us) == ("s.d1", 0, 1, 9)


@pytest.mark.parametrize("headers", [{}, {"Content-Type": "application/json"}, {"content-type": "Application/JSON; x"}])
def test_any_client_can_say_it_in_json(headers):
    data = json.dumps({"senderId": "a", "message_type": "COMMAND", "payload": {"n": 1}, "priority": "high"}).encode()
    (message,) = decode(data, headers, SUBJECT, published_us=8, reply="inbox.1").messages
    assert message == Message(
        sender_id="a",
        message_type=MessageType.COMMAND,
        payload={"n": 1},
        priority=Priority.HIGH,
        timestamp=8,
        reply_to="inbox.1",
        topic="agent.messages",
    )


def test_times_in_json_are_microseconds_or_iso_8601():
    assert decode_json(b'{"timestamp": 1700000000000000}').timestamp == 1_700_000_000_000_000
    assert decode_json(b'{"timestamp": "2023-11-14T22:13:20Z"}').timestamp == 1_700_000_000_000_000
    assert decode_json(b'{"timestamp": "2023-11-14T22:13:20"}').timestamp == 1_700_000_000_000_000


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "isn't JSON"),
        (b"\xff\x00", "isn't JSON"),
        (b"[" * 100_000, "isn't JSON"),
        (b"[]", "is a JSON object"),
        (b'{"sender": "a"}', "no 'sender'; it has senderId"),
        (b'{"payload": 1}', "Expected `object`, got `int` - at `payload`"),
        (b'{"priority": "urgent"}', "'urgent' is no priority"),
        (b'{"priority": 101}', "101 is no priority"),
        (b'{"messageType": "SHOUT"}', "Invalid enum value 'SHOUT' - at `messageType`"),
        (b'{"timestamp": "yesterday"}', "Invalid isoformat"),
        (b'{"senderId": null}', "got `null` - at `senderId`"),
    ],
)
def test_json_that_is_no_message_is_refused_with_what_is_wrong(data, said):
    with pytest.raises(MalformedMessageError) as caught:
        decode(data, {}, SUBJECT)
    assert said in str(caught.value)


@given(st.binary(max_size=200))
def test_poison_bytes_are_one_clear_error(data):
    for headers in ({}, FRAME_HEADERS):
        try:
            decode(data, headers, SUBJECT)
        except MalformedMessageError:
            continue
        raise AssertionError(f"random bytes were taken for a message: {data!r}")


@given(st.lists(messages, min_size=1, max_size=3), st.data())
def test_a_frame_with_a_wrong_byte_is_another_frame_or_an_error(found, data):
    good = bytearray(framed(found))
    place = data.draw(st.integers(0, len(good) - 1))
    good[place] ^= data.draw(st.integers(1, 255))
    with contextlib.suppress(MalformedMessageError):
        decode(bytes(good), FRAME_HEADERS, SUBJECT)


def test_an_unknown_version_or_content_type_is_refused():
    frame = bytearray(framed([Message()]))
    frame[1] = 2
    with pytest.raises(MalformedMessageError, match="version 2, known is 1"):
        decode(bytes(frame), FRAME_HEADERS, SUBJECT)
    with pytest.raises(MalformedMessageError, match=r"'text/plain' is unknown"):
        decode(b"x", {"Content-Type": "text/plain"}, SUBJECT)


def test_one_bad_message_of_a_frame_takes_no_other_with_it():
    bad = msgspec.msgpack.encode(["a", 5])
    encoded = msgspec.msgpack.encode(Message(sender_id="x")) + bad + msgspec.msgpack.encode(Message(sender_id="y"))
    data = frame_bytes(frame_prefix("s.1", 2), 7, 1, True, 3, encoded)
    with pytest.raises(MalformedMessageError, match="Expected `str`, got `int`"):
        decode(data, FRAME_HEADERS, SUBJECT)
    parts = decode_parts(data, SUBJECT)
    assert parts is not None
    assert parts.count == 3
    assert [(m.sender_id, m.message_id) for m in parts.frame.messages] == [("x", "s.1.7"), ("y", "s.1.9")]
    ((alone, problem),) = parts.bad
    assert "Expected `str`" in problem
    with pytest.raises(MalformedMessageError):
        decode(alone, FRAME_HEADERS, SUBJECT)
    assert bad in alone
    assert decode_parts(b"nothing", SUBJECT) is None


def test_what_json_cannot_say_is_refused():
    with pytest.raises(InvalidInputError, match="payload is what JSON can say"):
        encode_json(Message(payload={"a": object()}))


def test_topics_are_in_subjects():
    assert topic_of(SUBJECT) == "agent.messages"
    assert topic_of("podium.reply.x") == "podium.reply.x"
    assert content_type({"CONTENT-TYPE": f"{FRAME_TYPE}"}) == FRAME_TYPE
