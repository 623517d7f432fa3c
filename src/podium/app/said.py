"""What people give along with their word: a value, a reason, a name. Checked before anything is recorded."""

from __future__ import annotations

from typing import Any

import msgspec

from podium.exceptions import InvalidInputError, PayloadTooLargeError
from podium.workflow.nesting import check_nesting

MAX_REASON = 1_000  # characters
MAX_NAME = 200  # characters of a person, and of a signal
MAX_VALUE = 64 << 20  # bytes of JSON


def check_texts(by: str, reason: str = "") -> None:
    """Raise InvalidInputError for a reason or a name that isn't one."""
    if len(reason) > MAX_REASON:
        raise InvalidInputError(f"the reason has {len(reason):,} characters; at most {MAX_REASON:,} are kept")
    if len(by) > MAX_NAME or not by.isprintable():
        raise InvalidInputError(f"a person's name is a line of at most {MAX_NAME} characters")


def encoded(value: Any) -> bytes:
    """Return a value as JSON. Raises InvalidInputError for what can't be that, PayloadTooLargeError."""
    try:
        text = msgspec.json.encode(value)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise InvalidInputError(f"the value can't be written as JSON: {error}") from error
    if len(text) > MAX_VALUE:
        raise PayloadTooLargeError(f"the value has {len(text):,} bytes; at most {MAX_VALUE:,} are taken")
    check_nesting(text, "the value")
    return text
