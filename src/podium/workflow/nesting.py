"""How deep values may be nested. Reading one takes a stack as deep: what is deeper is refused at each door."""

from __future__ import annotations

from array import array
from itertools import accumulate
from typing import Final

from podium.exceptions import InvalidInputError

MAX_NESTING: Final = 100  # lists and objects, each within the one before

_BRACKETS: Final = b"[{]}"
_STEPS: Final = bytes.maketrans(_BRACKETS, bytes((1, 1, 255, 255)))  # down, or up: -1 as a signed byte
_OTHERS: Final = bytes(each for each in range(256) if each not in _BRACKETS)


def check_nesting(text: bytes, what: str) -> None:
    """Raise InvalidInputError, in words that begin with `what`, for a JSON text that is nested too deeply.

    Almost every text has fewer brackets than that and is only searched for them; a large one costs up to
    what reading it would.
    """
    if text.count(b"[") + text.count(b"{") > MAX_NESTING and _depth(text) > MAX_NESTING:
        raise InvalidInputError(f"{what} is nested more than {MAX_NESTING} levels deep")


def _depth(text: bytes) -> int:
    """Return how deep a JSON text is nested; what stands in its strings doesn't count."""
    if b"\\" in text:
        text = text.replace(b"\\\\", b"").replace(b'\\"', b"")
    outside = b"".join(text.split(b'"')[::2])
    return max(accumulate(array("b", outside.translate(_STEPS, _OTHERS))))
