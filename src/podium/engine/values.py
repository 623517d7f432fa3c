"""Values in inputs and events: JSON kept inline up to 4 KiB, by the content's hash above it.

Who makes a large value puts its bytes beside it, so that they are committed with the first mention.
"""

from __future__ import annotations

from hashlib import sha256

from msgspec import Raw, Struct

INLINE_LIMIT = 4096  # bytes of JSON kept in the log itself
MAX_INPUT = 64 << 20  # bytes of JSON of an execution's input


_NO_TEXT = Raw(b"")


class Value(Struct, frozen=True, omit_defaults=True, gc=False):
    """A JSON value: its text, or the SHA-256 (hex) of its text and where that is kept, a blob; `size` is in bytes."""

    json: Raw = _NO_TEXT  # empty where the text is a blob
    blob: str | None = None
    size: int = 0


NULL = Value(json=Raw(b"null"))


def value_of(text: bytes) -> tuple[Value, bytes | None]:
    """Return the value of a JSON text, and the text itself when it must be kept as a blob."""
    if len(text) <= INLINE_LIMIT:
        return (NULL if text == b"null" else Value(json=Raw(text))), None
    return Value(blob=sha256(text).hexdigest(), size=len(text)), text
