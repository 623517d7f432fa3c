"""The few lines of NATS's protocol that Podium writes and reads itself: publishing, headers, statuses, places."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from msgspec import Struct

from podium.bus.subjects import is_own_header

MESSAGE_ID = "Nats-Msg-Id"
_VERSION = b"NATS/1.0"
_STATUS = b"NATS/1.0 "
_KEPT = 1_024  # headers that are remembered: most messages have one line, and the same one
_SHORT = 256  # bytes; longer ones are nobody's habit, and would fill the memory


def publishing(subject: str, reply: str, data: bytes, headers: Mapping[str, str] | None) -> bytes:
    """Return the command that says it."""
    if not headers:
        return b"PUB %b %b %d\r\n%b\r\n" % (subject.encode(), reply.encode(), len(data), data)
    lines = _usual_lines(*headers.items()) if len(headers) == 1 else _lines_of(*headers.items())
    size = len(lines)
    return b"HPUB %b %b %d %d\r\n%b%b\r\n" % (subject.encode(), reply.encode(), size, size + len(data), lines, data)


def _lines_of(*headers: tuple[str, str]) -> bytes:
    return b"".join([b"NATS/1.0\r\n", *(f"{key}: {value}\r\n".encode() for key, value in headers), b"\r\n"])


_usual_lines = lru_cache(maxsize=_KEPT)(_lines_of)


def headers_of(raw: bytes) -> dict[str, str]:
    """Return the sender's headers; the carrier's own are left out, and what can't be one is skipped."""
    if not raw:
        return {}
    return _headers_in(raw) if len(raw) > _SHORT else _short_headers_in(raw).copy()


def _headers_in(raw: bytes) -> dict[str, str]:
    found = {}
    for line in raw.split(b"\r\n")[1:]:
        name, colon, value = line.partition(b":")
        key = name.decode("ascii", "replace").strip()
        if colon and key and not is_own_header(key):
            found[key] = value.strip().decode("utf-8", "replace")
    return found


_short_headers_in = lru_cache(maxsize=_KEPT)(_headers_in)


def status_of(raw: bytes) -> tuple[int, str]:
    """Return number and words of a status that the server sends instead of a message; (0, "") for a message."""
    if not raw.startswith(_STATUS):
        return 0, ""
    line = raw[len(_STATUS) : raw.find(b"\r\n")].decode("utf-8", "replace")
    number, _, words = line.partition(" ")
    return (int(number), words) if number.isdigit() else (0, "")


def header_number(raw: bytes, key: bytes) -> int:
    """Return the number in a header of the carrier's; 0 if it isn't there."""
    for line in raw.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name == key and value.strip().isdigit():
            return int(value)
    return 0


class Place(Struct, frozen=True):
    """What the reply subject of a stream's message tells."""

    attempt: int
    sequence: int
    published_us: int


def place_of(reply: str) -> Place | None:
    """Read `$JS.ACK.STREAM.CONSUMER.attempt.sequence.…` (or the longer form with domain and account)."""
    words = reply.split(".")
    if len(words) < 9 or words[0] != "$JS" or words[1] != "ACK":
        return None
    first = 4 if len(words) == 9 else 6
    try:
        return Place(int(words[first]), int(words[first + 1]), int(words[first + 3]) // 1_000)
    except (ValueError, IndexError):
        return None
