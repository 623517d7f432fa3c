"""What a database answers about guarded counters, to values. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from podium.store.protocol import Counted


def counted(rows: Iterable[Sequence[Any]]) -> list[Counted]:
    """Return counters from rows of tenant, key, value, definition (None: no execution moves it) and how many do."""
    found: dict[tuple[str, str], Counted] = {}
    for tenant, key, value, definition, number in rows:
        of_key = found.setdefault((tenant, key), Counted(tenant, key, value, {}))
        if definition is not None:
            of_key.unfinished[definition] = number
    return list(found.values())
