"""Names that follow from other names."""

from __future__ import annotations

import re


def snake_case(name: str) -> str:
    """Return `HTTPReader` as `http_reader`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()
