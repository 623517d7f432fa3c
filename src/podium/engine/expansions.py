"""Results that add to the graph, as agents of any language write them: an object whose only key is `$expansion`.

    {"$expansion": {"tasks": [{"id": "a", "agent": "worker"}], "dependencies": {"report": ["a"]}, "result": 3}}

The tasks are written in the words of the YAML language. What is read here is a form; whether it may grow the graph so
is decided with the execution at hand (`engine/growing.py`).
"""

from __future__ import annotations

import re
from typing import Final

import msgspec
from msgspec import Raw

from podium.engine.inputs import Growth
from podium.exceptions import WorkflowInvalidError
from podium.workflow.problems import did_you_mean, quoted

KEY: Final = "$expansion"
MAX_BYTES: Final = 1024 * 1024  # of an expansion with its result
MAX_SHOWN: Final = 2_000  # characters of what is wrong

_MARK: Final = re.compile(rb'\s*\{\s*"\$expansion"\s*:')
_PARTS: Final = ("tasks", "dependencies", "result")
_NULL: Final = b"null"
_outer = msgspec.json.Decoder(dict[str, Raw])


def without_growth(result: bytes) -> tuple[bytes, Growth | None]:
    """Return an attempt's result as JSON, and what it adds to the graph; None for any other result."""
    if _MARK.match(result) is None:
        return result, None
    if len(result) > MAX_BYTES:
        return _NULL, _unreadable(f"the expansion has {len(result):,} bytes; at most {MAX_BYTES:,} are allowed")
    from podium.workflow.yaml.additions import read_additions  # the language is only wanted where a graph grows

    try:
        outer = _outer.decode(result)
        if len(outer) > 1:
            return result, None
        parts = _outer.decode(outer[KEY])
        unknown = next((name for name in parts if name not in _PARTS), None)
        if unknown is not None:
            hint = did_you_mean(unknown, _PARTS) or f"known are {', '.join(_PARTS)}"
            return _NULL, _unreadable(f"an expansion has no field {quoted(unknown)}; {hint}")
        tasks, dependencies = read_additions(
            msgspec.json.decode(parts.get("tasks", _NULL)), msgspec.json.decode(parts.get("dependencies", _NULL))
        )
    except msgspec.MsgspecError as error:
        return _NULL, _unreadable(f"the expansion can't be read: {error}")
    except WorkflowInvalidError as error:
        return _NULL, _unreadable(str(error))
    return bytes(parts.get("result", _NULL)), Growth(tasks, dependencies)


def _unreadable(why: str) -> Growth:
    return Growth(unreadable=why if len(why) <= MAX_SHOWN else f"{why[: MAX_SHOWN - 1]}…")
