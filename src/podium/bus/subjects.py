"""What a subject, a pattern, a name and a header may look like, and which patterns match: one truth for all transports.

Transports check here before anything leaves, so that each refuses the same things, with the same words.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache

from podium.bus.transport import Stream
from podium.exceptions import InvalidInputError, PayloadTooLargeError

_WORD = re.compile(r"[^\s.*>\x00-\x1f\x7f]+")
_NAME = re.compile(r"[A-Za-z0-9_-]{1,200}")
_STREAM_NAME = re.compile(r"[A-Za-z0-9_]{1,200}")
_HEADER_KEY = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_HEADER_BREAK = re.compile(r"[\r\n\x00]")
_LONGEST = 2_048  # characters of a subject: a carrier's control line is 4 KiB, with the reply's subject in it
_FRAME = len("NATS/1.0\r\n\r\n")
_RESERVED = ("nats-", "status", "description")  # mean something to a carrier: "Nats-Rollup" would empty a stream


@lru_cache(maxsize=65_536)
def check_subject(subject: str) -> None:
    """Raise InvalidInputError unless it is words with dots, without wildcards."""
    if not subject or len(subject) > _LONGEST or not all(_WORD.fullmatch(word) for word in subject.split(".")):
        raise InvalidInputError(
            f"{subject[:80]!r} isn't a subject; that is words with dots, without spaces, '*' and '>', as in 'a.b.c'"
        )


@lru_cache(maxsize=65_536)
def check_pattern(pattern: str) -> None:
    """Raise InvalidInputError unless it is words with dots, where `*` stands for a word and a last `>` for the rest."""
    words = pattern.split(".")
    last = len(words) - 1
    good = bool(pattern) and len(pattern) <= _LONGEST
    for index, word in enumerate(words):
        good = good and (word == "*" or (word == ">" and index == last) or _WORD.fullmatch(word) is not None)
    if not good:
        raise InvalidInputError(
            f"{pattern[:80]!r} isn't a pattern; that is words with dots, '*' for one word, '>' last for the rest"
        )


def check_patterns(patterns: Sequence[str]) -> None:
    """Raise InvalidInputError for none, for a bad one, and for two that could match one subject."""
    if not patterns:
        raise InvalidInputError("no subject is given; at least one is needed")
    for index, pattern in enumerate(patterns):
        check_pattern(pattern)
        for other in patterns[:index]:
            if overlap(pattern, other):
                raise InvalidInputError(f"the subjects {other!r} and {pattern!r} overlap; a message would come twice")


def check_stream(stream: Stream) -> None:
    """Raise InvalidInputError unless name, subjects and limits of the stream are sound."""
    if not _STREAM_NAME.fullmatch(stream.name):
        raise InvalidInputError(f"{stream.name!r} isn't a stream's name; it is letters, digits and '_'")
    check_patterns(stream.subjects)
    if stream.max_age_seconds <= 0 or stream.max_bytes <= 0 or stream.duplicate_seconds <= 0:
        raise InvalidInputError(f"the limits of stream {stream.name} must be more than 0")


def check_place(stream: Stream, name: str, subjects: Sequence[str], start: int, limit: int) -> None:
    """Raise InvalidInputError unless a consumer of this name and these subjects can read the stream from `start`."""
    check_name(name)
    if subjects:
        check_patterns(subjects)
    for subject in subjects:
        if not any(overlap(subject, kept) for kept in stream.subjects):
            raise InvalidInputError(f"stream {stream.name} keeps nothing that matches {subject!r}")
    if stream.work and start:
        raise InvalidInputError(f"{stream.name} is a work stream: it is read from its beginning, not from {start}")
    if start < -1:
        raise InvalidInputError(
            f"a stream can't be read from {start}; 0 is all that is kept, -1 what comes from now on"
        )
    check_limit(limit)


def check_limit(limit: int) -> None:
    """Raise InvalidInputError unless at least one message may be held."""
    if limit < 1:
        raise InvalidInputError(f"a limit of {limit} messages is too small; at least 1 is needed")


def check_name(name: str) -> None:
    """Raise InvalidInputError unless it can name a group or a consumer."""
    if not _NAME.fullmatch(name):
        raise InvalidInputError(f"{name!r} can't name a consumer or a group; use letters, digits, '_' and '-'")


def check_message_id(message_id: str) -> str:
    """Return it. Raises InvalidInputError for one that can't be a header's value."""
    if _HEADER_BREAK.search(message_id) or message_id != message_id.strip():
        raise InvalidInputError(f"{message_id[:80]!r} can't be a message's id: no line breaks, no blanks at its ends")
    return message_id


def check_size(data: bytes, headers: Mapping[str, str] | None, most: int) -> None:
    """Raise PayloadTooLargeError if data and headers together are more bytes than `most`, InvalidInputError for a
    header that no carrier could give back as it was.
    """
    size = len(data)
    if headers:
        size += _usual_size(*headers.items()) if len(headers) == 1 else _headers_size(*headers.items())
    if size > most:
        raise PayloadTooLargeError(f"the message has {size:,} bytes with its headers; this carrier takes {most:,}")


def _headers_size(*headers: tuple[str, str]) -> int:
    size = _FRAME
    for key, value in headers:
        if not _HEADER_KEY.fullmatch(key) or key.lower().startswith(_RESERVED):
            raise InvalidInputError(
                f"{key!r} can't be a header's name: it is taken, or has characters that aren't allowed"
            )
        if _HEADER_BREAK.search(value) or value != value.strip():
            raise InvalidInputError(f"header {key} can't have a line break or blanks at its ends")
        size += len(key) + len(value.encode()) + 4
    return size


_usual_size = lru_cache(maxsize=1_024)(_headers_size)  # most messages have one header, and the same one


def is_own_header(key: str) -> bool:
    """Tell whether a header is the carrier's, and none of the sender's."""
    return key.lower().startswith(_RESERVED)


def matches(pattern: str, subject: str) -> bool:
    """Tell whether a subject is one of a pattern's."""
    if pattern == subject:
        return True
    if "*" not in pattern and ">" not in pattern:
        return False
    wanted, words = pattern.split("."), subject.split(".")
    if wanted[-1] == ">":
        wanted.pop()
        if len(words) <= len(wanted):
            return False
    elif len(words) != len(wanted):
        return False
    return all(want in ("*", word) for want, word in zip(wanted, words, strict=False))


def overlap(one: str, other: str) -> bool:
    """Tell whether some subject would match both patterns."""
    left, right = one.split("."), other.split(".")
    for mine, theirs in zip(left, right, strict=False):
        if ">" in (mine, theirs):
            return True
        if mine != theirs and "*" not in (mine, theirs):
            return False
    return len(left) == len(right)
