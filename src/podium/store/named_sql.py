"""SQL lives in `.sql` files beside the code; this loads a file's named blocks (`-- name: …`)."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files

_NAME = re.compile(r"^-- name: (\w+)$", re.MULTILINE)


@cache
def named_blocks(file: str) -> dict[str, str]:
    """Return the named statements of `sql/<file>`."""
    text = (files("podium.store") / "sql" / file).read_text(encoding="utf-8")
    _, *parts = _NAME.split(text)
    return {name: sql.strip().rstrip(";") for name, sql in zip(parts[::2], parts[1::2], strict=True)}
