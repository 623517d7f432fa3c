"""What a host and a worker process under it say to each other, and how: MessagePack after an eight-byte length."""

from __future__ import annotations

import struct

import msgspec
from msgspec import Raw, Struct

from podium.fleet.messages import ErrorInfo

HEADER = struct.Struct(">Q")


class Source(Struct, frozen=True):
    """Where a process finds a function: the module (its file, if only that leads to it) and the name in it.

    For a method `name` is the class and `task` the method's task name; for a plain function `task` is empty.
    """

    module: str
    name: str
    task: str = ""
    file: str | None = None


class Job(Struct, frozen=True, tag="job"):
    """Run this function. `path` is the host's `sys.path`; arguments and checkpoint are JSON.

    `env` are variables that the child sets before it imports the function; its tasks see them in their context too.
    """

    source: Source
    path: list[str]
    arguments: bytes
    lenient: bool
    attempt: str
    number: int
    execution: str
    task: str
    function: str
    idempotency_key: str
    remaining_seconds: float | None
    checkpoint: bytes | None
    env: dict[str, str] = {}


class Flag(Struct, frozen=True, tag="flag"):
    """This attempt is cancelled: let its task see it."""

    attempt: str
    reason: str


class Began(Struct, frozen=True, tag="began"):
    """The job has reached the child: from here on its code may have run."""


class Went(Struct, frozen=True, tag="progress"):
    """The task's progress."""

    fraction: float
    message: str


class Kept(Struct, frozen=True, tag="checkpoint"):
    """The task's checkpoint, as JSON."""

    checkpoint: bytes


class Shown(Struct, frozen=True, tag="published"):
    """What the execution shows as its status, as JSON."""

    value: bytes


class Logged(Struct, frozen=True, tag="log"):
    """A line of the attempt's log."""

    level: str
    text: str


class Returned(Struct, frozen=True, tag="returned"):
    """The task's result, as JSON."""

    value: bytes


class Raised(Struct, frozen=True, tag="raised"):
    """What the task raised; `by_cancel` if it gave up because its context told it of a cancel."""

    error: ErrorInfo
    by_cancel: bool = False


ToWorker = Job | Flag
FromWorker = Began | Went | Kept | Shown | Logged | Returned | Raised

_encoder = msgspec.msgpack.Encoder()
decode_to_worker = msgspec.msgpack.Decoder(ToWorker).decode
decode_from_worker = msgspec.msgpack.Decoder(FromWorker).decode


def frame(message: ToWorker | FromWorker) -> bytes:
    """Return the message with its length before it."""
    body = _encoder.encode(message)
    return HEADER.pack(len(body)) + body


def raw(value: bytes | None) -> Raw | None:
    """Return JSON bytes as a raw value."""
    return None if value is None else Raw(value)
