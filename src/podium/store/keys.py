"""What may be the key of a row in every store: an execution's id, an input's id.

An index of PostgreSQL's takes at most 2,704 bytes, and its texts no NUL; nothing can write half of a surrogate pair.
Whatever comes from outside and becomes a key is held against this at the door: a row that can't be written would
otherwise take down whoever tries, again and again.
"""

from __future__ import annotations

from podium.exceptions import InvalidInputError

MAX_KEY_BYTES = 1_200  # two of them, and what the index adds, are below its limit


def check_key(what: str, text: str) -> None:
    """Raise InvalidInputError, naming `what` it is, for a text that can't be kept as a key."""
    if len(text) > MAX_KEY_BYTES or not text.isprintable() or len(text.encode()) > MAX_KEY_BYTES:
        raise InvalidInputError(
            f"{what} can't be kept: {text[:80]!r} has {len(text):,} characters; at most {MAX_KEY_BYTES:,} bytes of "
            "printable text are allowed"
        )
