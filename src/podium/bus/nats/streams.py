"""JetStream's API as Podium needs it: streams and durable consumers are made, looked at, brought to their settings.

What somebody else has set on a stream (replicas, placement) is left as it is; only what a `Stream` says is ours.
"""

from __future__ import annotations

import base64
from datetime import datetime
from typing import Any

import msgspec
from msgspec import Struct

from podium.bus.arrivals import Said
from podium.bus.nats.asking import NO_RESPONDERS, Questions
from podium.bus.nats.wire import headers_of
from podium.bus.transport import Stream
from podium.exceptions import (
    BackpressureError,
    InvalidInputError,
    MessageBusError,
    NotSupported,
    PayloadTooLargeError,
    TransportUnavailableError,
)

MAX_UNACKNOWLEDGED = 65_536  # messages of one consumer that are out at a time
_NOT_FOUND = 404
_NAME_IN_USE = 10_058
_NO_MESSAGE = (10_037, 10_043, 10_057)
_FULL = (10_023, 10_047, 10_077)
_TOO_LARGE = (10_054, 10_055)
_NS = 1_000_000_000


class ApiError(MessageBusError):
    """JetStream refused."""

    def __init__(self, code: int, err_code: int, description: str) -> None:
        super().__init__(f"NATS refused: {description} ({err_code})")
        self.code = code
        self.err_code = err_code
        self.description = description


class _Error(Struct):
    code: int = 0
    err_code: int = 0
    description: str = ""


class _Message(Struct):
    subject: str
    seq: int
    time: str = ""
    hdrs: str = ""
    data: str = ""


class Reply(Struct):
    """An answer of the API, whatever was asked: what isn't in it is empty."""

    error: _Error | None = None
    config: dict[str, Any] = {}
    created: str = ""
    num_pending: int = 0
    success: bool = False
    message: _Message | None = None
    seq: int = 0


_decode = msgspec.json.Decoder(Reply).decode
_encode = msgspec.json.Encoder().encode


class Streams:
    """The streams of one connection."""

    def __init__(self, questions: Questions, address: str, timeout_seconds: float, replicas: int) -> None:
        self._questions = questions
        self._address = address
        self._timeout_seconds = timeout_seconds
        self._replicas = replicas

    async def declare(self, stream: Stream) -> str:
        """Have a stream with these settings; return when it was made, which tells one from its successor."""
        ours = _stream_config(stream)
        for _ in range(3):  # another may make it between our look and our making
            try:
                there = await self._ask(f"STREAM.INFO.{stream.name}")
            except ApiError as error:
                if error.code != _NOT_FOUND:
                    raise
                config = {**ours, "num_replicas": self._replicas, "allow_direct": True}
                try:
                    return (await self._ask(f"STREAM.CREATE.{stream.name}", config)).created
                except ApiError as refused:
                    if refused.err_code != _NAME_IN_USE:
                        raise InvalidInputError(f"stream {stream.name}: {refused.description}") from refused
                    continue
            if all(there.config.get(key) == value for key, value in ours.items()):
                return there.created
            try:
                return (await self._ask(f"STREAM.UPDATE.{stream.name}", {**there.config, **ours})).created
            except ApiError as error:
                if error.code != _NOT_FOUND:
                    raise InvalidInputError(f"stream {stream.name}: {error.description}") from error
        raise TransportUnavailableError(f"stream {stream.name} is made and deleted by others all the time")

    async def made(self, name: str) -> str:
        """Return when a stream was made; empty if there is none."""
        try:
            return (await self._ask(f"STREAM.INFO.{name}")).created
        except ApiError as error:
            if error.code != _NOT_FOUND:
                raise
            return ""

    async def place(
        self,
        stream: Stream,
        name: str,
        subjects: tuple[str, ...],
        redeliver_seconds: float,
        max_deliveries: int,
        start: int,
    ) -> str:
        """Have a durable consumer; return when it was made. One that is there keeps its place."""
        wanted: dict[str, Any] = {
            "durable_name": name,
            "name": name,
            "ack_policy": "explicit",
            "ack_wait": round(redeliver_seconds * _NS),
            "max_deliver": max_deliveries,
            "max_ack_pending": MAX_UNACKNOWLEDGED,
            "filter_subjects": list(subjects),
            "replay_policy": "instant",
        }
        begin: dict[str, Any] = {"deliver_policy": "all"}
        if start > 0:
            begin = {"deliver_policy": "by_start_sequence", "opt_start_seq": start}
        elif start < 0:
            begin = {"deliver_policy": "new"}
        try:
            there = await self._ask(f"CONSUMER.INFO.{stream.name}.{name}")
        except ApiError as error:
            if error.code != _NOT_FOUND:
                raise
            config = {**wanted, **begin}
        else:
            theirs = there.config
            known = {**theirs, "filter_subjects": theirs.get("filter_subjects") or _one(theirs.get("filter_subject"))}
            if all(known.get(key) == value for key, value in wanted.items()):
                return there.created
            config = {**{key: value for key, value in theirs.items() if key != "filter_subject"}, **wanted}
        try:
            made = await self._ask(
                f"CONSUMER.CREATE.{stream.name}.{name}", {"stream_name": stream.name, "config": config}
            )
        except ApiError as error:
            if error.code == _NOT_FOUND:
                raise
            raise InvalidInputError(f"consumer {name} of {stream.name}: {error.description}") from error
        return made.created

    async def unread(self, stream: Stream, name: str) -> int:
        """Return how many messages a consumer was never given."""
        return (await self._ask(f"CONSUMER.INFO.{stream.name}.{name}")).num_pending

    async def read(self, stream: Stream, after: int, limit: int) -> list[Said]:
        """Return kept messages above a sequence."""
        found: list[Said] = []
        while len(found) < limit:
            query = {"seq": after + 1, "next_by_subj": ">"}
            try:
                message = (await self._ask(f"STREAM.MSG.GET.{stream.name}", query)).message
            except ApiError as error:
                if error.err_code in _NO_MESSAGE:
                    break
                raise _missing(stream.name) if error.code == _NOT_FOUND else error from None
            if message is None:
                break
            after = message.seq
            found.append(_said(message))
        return found

    async def remove(self, stream: Stream, sequence: int) -> bool:
        """Delete one kept message."""
        if sequence < 1:
            return False
        try:
            await self._ask(f"STREAM.MSG.DELETE.{stream.name}", {"seq": sequence, "no_erase": True})
        except ApiError as error:
            if error.err_code in _NO_MESSAGE:
                return False
            raise _missing(stream.name) if error.code == _NOT_FOUND else error from None
        return True

    async def replicas(self, stream: str) -> int:
        """Return how many copies there are."""
        return int((await self._ask(f"STREAM.INFO.{stream}")).config.get("num_replicas", 1))

    async def _ask(self, verb: str, body: dict[str, Any] | None = None) -> Reply:
        try:
            answer = await self._questions.ask(
                f"$JS.API.{verb}", _encode(body) if body else b"", None, self._timeout_seconds
            )
        except TimeoutError:
            raise TransportUnavailableError(
                f"JetStream at {self._address} gave no answer within {self._timeout_seconds:g} s ({verb})"
            ) from None
        if answer.status == NO_RESPONDERS:
            raise NotSupported(f"JetStream isn't on at {self._address}; streams need it (nats-server -js)")
        reply = _decode(answer.data)
        if reply.error is not None:
            raise ApiError(reply.error.code, reply.error.err_code, reply.error.description)
        return reply


def sequence_of(data: bytes, subject: str) -> int:
    """Return the sequence in the acknowledgement of an append, or raise what it says instead."""
    reply = _decode(data)
    error = reply.error
    if error is None:
        return reply.seq
    if error.err_code in _FULL:
        raise BackpressureError(f"the stream of {subject} is full: {error.description}")
    if error.err_code in _TOO_LARGE:
        raise PayloadTooLargeError(f"{subject}: {error.description}")
    raise TransportUnavailableError(f"{subject} was not kept: {error.description} ({error.err_code})")


def _stream_config(stream: Stream) -> dict[str, Any]:
    return {
        "name": stream.name,
        "subjects": list(stream.subjects),
        "retention": "workqueue" if stream.work else "limits",
        "discard": "new" if stream.work else "old",
        "storage": "file",
        "max_age": round(stream.max_age_seconds * _NS),
        "max_bytes": stream.max_bytes,
        "duplicate_window": round(min(stream.duplicate_seconds, stream.max_age_seconds) * _NS),
    }


def _missing(name: str) -> TransportUnavailableError:
    return TransportUnavailableError(f"there is no stream {name}; declare it before")


def _one(subject: str | None) -> list[str]:
    return [subject] if subject else []


def _said(message: _Message) -> Said:
    return Said(
        subject=message.subject,
        data=base64.b64decode(message.data),
        headers=headers_of(base64.b64decode(message.hdrs)),
        sequence=message.seq,
        published_us=_micros(message.time),
    )


def _micros(text: str) -> int:
    """Microseconds of an RFC 3339 time with nanoseconds; 0 without one."""
    if not text:
        return 0
    when = msgspec.convert(text, datetime)  # which cuts nanoseconds
    return round(when.timestamp() * 1_000_000)
