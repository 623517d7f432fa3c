"""Limits by key as they are written: `rate_limit: 10/s`, `concurrency: 3`, or a mapping with a key."""

from __future__ import annotations

import re
from typing import Any, Final

from podium.workflow.model import ConcurrencyLimit, RateLimit
from podium.workflow.problems import Path, quoted, shown_path
from podium.workflow.units import parse_duration
from podium.workflow.yaml import values as v
from podium.workflow.yaml.fields import Field, Table, read_block
from podium.workflow.yaml.nodes import Node, Scalar
from podium.workflow.yaml.values import INVALID, Reading

RATE_LIMIT: Final = Table(
    (
        Field("limit", v.integer, "so many attempts may begin"),
        Field("per", v.duration, "within this time; 1 s", also=("per_seconds",), attribute="per_seconds"),
        Field("key", v.text, "of one key, a text with ${…}; without it, of the task or of the role"),
    )
)
CONCURRENCY: Final = Table(
    (
        Field("limit", v.integer, "so many attempts may be at work at once"),
        Field("key", v.text, "of one key, a text with ${…}; without it, of the task or of the role"),
    )
)

IN_SHORT: Final = r"^\s*[0-9]{1,9}\s*/\s*([0-9][0-9.a-zA-Z\s]*|[a-zA-Z]+)\s*$"
_IN_SHORT: Final = re.compile(r"\s*([0-9]{1,9})\s*/\s*([0-9a-zA-Z.\s]+)", re.ASCII)
_EXAMPLE: Final = 'write "10/s", "100/5m" or {limit: 10, per: 1s, key: …}'


def rate_limit(reading: Reading, node: Node, path: Path) -> Any:
    """Read `10/s`, `100/5m`, or a mapping."""
    if type(node) is not Scalar:
        said = _limited(reading, node, path, RATE_LIMIT)
        return RateLimit(**said) if said else INVALID
    found = _IN_SHORT.fullmatch(node.value) if isinstance(node.value, str) else None
    if found is None:
        return reading.wrong_type('a rate such as "10/s"', node, path, _EXAMPLE)
    limit, per = found[1], found[2].strip()
    try:
        return RateLimit(int(limit), parse_duration(per if per[:1].isdigit() else f"1{per}"))
    except ValueError as error:
        return reading.wrong_value(f"{quoted(node.value)} is no rate: {error}", node, path, _EXAMPLE)


def concurrency(reading: Reading, node: Node, path: Path) -> Any:
    """Read a whole number, or a mapping."""
    if type(node) is Scalar:
        limit = v.integer(reading, node, path)
        return ConcurrencyLimit(limit) if limit is not INVALID else INVALID
    said = _limited(reading, node, path, CONCURRENCY)
    return ConcurrencyLimit(**said) if said else INVALID


def _limited(reading: Reading, node: Node, path: Path, table: Table) -> dict[str, Any]:
    """Return what a block says, nothing if it has no limit."""
    said = read_block(reading, node, path, table)
    if "limit" in said:
        return said
    if (*path, "limit") not in reading.excused:
        reading.note("missing-field", f"{shown_path(path)} has no limit", node, path, "write limit: …")
    return {}
