"""The language as a JSON Schema (draft-07), made from the tables that the reader itself goes by, for editors.

Each field's names and description are those of its `Field`; its shape follows from the function that reads it. So no
field can be read and be missing here. The schema says what stands where and of which kind; what takes more than one
place to see (cycles, references, ranges) only `podium validate` says. Whatever the schema refuses, that refuses too.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import combinations
from typing import Any, Final

from podium.workflow.model import NAMED_RETRY_POLICIES, WITHOUT_AGENT, ConstraintType
from podium.workflow.validation import INPUT_TYPES, MAX_INPUTS
from podium.workflow.yaml import declarations, language, limits, schedule
from podium.workflow.yaml import values as v
from podium.workflow.yaml.fields import Field, Table
from podium.workflow.yaml.values import Read

Shape = dict[str, Any]

DRAFT: Final = "http://json-schema.org/draft-07/schema#"


def workflow_schema() -> Shape:
    """Return the schema of a workflow's file as plain dicts and lists; each call makes a new one."""
    return {
        "$schema": DRAFT,
        "title": "Podium workflow",
        "description": "A workflow of Podium: tasks, what they depend on, and the agents that do them.",
        "type": "object",
        "if": {"required": ["workflow"]},
        "then": {"properties": {"workflow": _referred("workflow")}, "additionalProperties": False},
        "else": _referred("workflow"),
        "definitions": {
            "workflow": _workflow(),
            "task": _block(language.TASK),
            "listed_task": _block(language.TASK, needed=("id",)),
            "agent": _block(language.AGENT, needed=("type",)),
            "resources": _block(language.RESOURCES),
            "retry": _block(language.RETRY),
            "duration": _amount('a number of seconds, or "30s", "5m", "1h30m", "250ms", "2d"'),
            "memory": _amount('a number of megabytes, or "512MB", "4GB", "4GiB"'),
            "cores": _amount('a number, "2 cores", or "500m" for half a core'),
            "priority": _priority(),
        },
    }


# --- blocks ----------------------------------------------------------------------------------------------------------


def _block(table: Table, needed: Iterable[str] = ()) -> Shape:
    """Return the shape of a block: its fields, no others, none of them twice, those that are needed not null."""
    needed = frozenset(needed)
    properties = {
        name: _property(field, field.name in needed) for field in table.fields for name in (field.name, *field.also)
    }
    shape: Shape = {"type": "object", "properties": properties, "additionalProperties": False}
    if table.free:
        shape["patternProperties"] = {"^x-": {}}
    if required := [field.name for field in table.fields if field.name in needed and not field.also]:
        shape["required"] = required
    rules: list[Shape] = []
    for field in table.fields:
        names = (field.name, *field.also)
        rules += [_not_both(*pair) for pair in combinations(names, 2)]
        if field.name in needed and field.also:
            rules.append(_any_of_fields(names))
    return shape | ({"allOf": rules} if rules else {})


def _property(field: Field, needed: bool) -> Shape:
    shape: Shape = {"type": "string", "enum": list(field.among)} if field.among else _shape_of(field.read)
    return {"description": field.says, **(shape if needed or field.keeps_null else _or_null(shape))}


def _or_null(shape: Shape) -> Shape:
    """Return the shape of a field that may be left empty, which is as if it weren't there."""
    if not shape:
        return {}
    if set(shape) == {"type"}:
        kinds = shape["type"] if isinstance(shape["type"], list) else [shape["type"]]
        return {"type": [*kinds, "null"]}
    return {"anyOf": [*(shape["anyOf"] if set(shape) == {"anyOf"} else [shape]), {"type": "null"}]}


def _not_both(one: str, other: str) -> Shape:
    return {"not": {"required": [one, other]}, "errorMessage": f"{one} and {other} say the same: keep one of the two"}


def _any_of_fields(names: Iterable[str]) -> Shape:
    return {"anyOf": [{"required": [name]} for name in names]}


def _workflow() -> Shape:
    """Return the shape of the whole: it has tasks, its own or included ones; each has an agent, or all by default."""
    shape = _block(language.WORKFLOW, needed=("name",))
    without = {
        "required": ["type"],
        "properties": {"type": {"type": "string", "pattern": _in_any_case(sorted(WITHOUT_AGENT))}},
    }
    who: Shape = {"anyOf": [{"required": ["agent"]}, {"required": ["agent_type"]}, {"required": ["workflow"]}, without]}
    by_default = {"required": ["defaults"], "properties": {"defaults": {"type": "object", **who}}}
    each = {"properties": {"tasks": {"items": who, "additionalProperties": who}}}
    rules = [_any_of_fields(("tasks", "include")), {"anyOf": [each, by_default]}]
    return shape | {"allOf": [*shape.get("allOf", ()), *rules]}


def _referred(name: str) -> Shape:
    return {"$ref": f"#/definitions/{name}"}


# --- single values ---------------------------------------------------------------------------------------------------


def _shape_of(read: Read) -> Shape:
    """Return what a reader takes. A reader that isn't known here is a mistake of whoever wrote it."""
    if isinstance(read, v.choice):
        return {"anyOf": [{"enum": list(read.known)}, {"type": "string", "pattern": _in_any_case(read.known)}]}
    shape = _SHAPES.get(read)
    if shape is None:
        raise LookupError(f"schema.py says no shape for the reader {getattr(read, '__name__', read)}")
    return shape() if callable(shape) else dict(shape)


def _in_any_case(words: Iterable[str]) -> str:
    """Return the pattern of words in capitals or not, with `-` for `_`; JSON Schema has no flag for that."""

    def letter(one: str) -> str:
        return "[-_]" if one == "_" else f"[{one.upper()}{one}]" if one.isalpha() else one

    return f"^({'|'.join(''.join(letter(one) for one in word) for word in words)})$"


def _amount(says: str) -> Shape:
    text = {"type": "string", "pattern": r"^\s*[0-9][0-9.a-zA-Z\s]*$"}
    return {"description": says, "anyOf": [{"type": "number", "minimum": 0}, text]}


def _priority() -> Shape:
    names = {"type": "string", "pattern": _in_any_case(v.PRIORITIES)}
    return {"anyOf": [{"type": "integer"}, {"enum": list(v.PRIORITIES)}, names]}


def _on_failure() -> Shape:
    in_short = {"type": "string", "pattern": r"^\s*fallback\s*:\s*\S"}
    block = _block(language.FAILURE)
    said = {"fallback": {"type": "string"}}
    for name in ("action", "task"):
        both = {"required": ["fallback", name], "properties": {**said, name: {"type": "string"}}}
        block.setdefault("allOf", []).append({"not": both})
    return {"anyOf": [{"enum": ["fail", "continue", "ask"]}, in_short, block]}


def _rate_limit() -> Shape:
    in_short = {"type": "string", "pattern": limits.IN_SHORT}
    return {"anyOf": [in_short, _block(limits.RATE_LIMIT, needed=("limit",))]}


def _concurrency() -> Shape:
    return {"anyOf": [{"type": "integer"}, _block(limits.CONCURRENCY, needed=("limit",))]}


def _inputs() -> Shape:
    default = {"type": ["string", "number", "boolean", "array", "null"]}
    one = {"anyOf": [{"enum": list(INPUT_TYPES)}, _block(declarations.INPUT), default]}
    return {"type": "object", "additionalProperties": one, "maxProperties": MAX_INPUTS}


def _included() -> Shape:
    one = {"anyOf": [_TEXT, _block(language.INCLUDED)]}
    return {"anyOf": [*one["anyOf"], {"type": "array", "items": one}]}


def _secrets() -> Shape:
    by_name = {"anyOf": [_block(declarations.SECRET), {"type": "null"}]}
    listed = {"type": "array", "items": _TEXT, "maxItems": MAX_INPUTS}
    return {"anyOf": [listed, {"type": "object", "additionalProperties": by_name, "maxProperties": MAX_INPUTS}]}


def _constraints() -> Shape:
    listed = {"type": "array", "items": _block(language.CONSTRAINT, needed=("type", "value"))}
    kinds = {kind.value: {"type": ["integer", "null"]} for kind in ConstraintType}
    return {"anyOf": [listed, {"type": "object", "properties": kinds, "additionalProperties": False}]}


def _tasks() -> Shape:
    listed = {"type": "array", "items": _referred("listed_task"), "minItems": 1}
    by_id = {"type": "object", "additionalProperties": _referred("task"), "minProperties": 1}
    return {"anyOf": [listed, by_id]}


_TEXT: Final[Shape] = {"type": "string"}
_CRON: Final[Shape] = {"type": "string", "pattern": r"^\s*(@\w+|\S+(\s+\S+){4})\s*$"}
_MAPPING: Final[Shape] = {"type": "object"}

_SHAPES: Final[dict[Read, Any]] = {
    v.text: _TEXT,
    v.text_as_written: {"type": ["string", "number"]},
    v.texts: {"anyOf": [{"type": "array", "items": _TEXT}, _TEXT]},
    v.boolean: {"type": "boolean"},
    v.integer: {"type": "integer"},
    v.number: {"type": "number"},
    v.amounts: {"type": "object", "additionalProperties": {"type": "integer"}},
    v.anything: {},
    v.any_mapping: _MAPPING,
    v.duration: _referred("duration"),
    v.duration_or_expression: lambda: {"anyOf": [_referred("duration"), {"type": "string", "pattern": r"\$\{"}]},
    v.memory: _referred("memory"),
    v.cores: _referred("cores"),
    v.priority: _referred("priority"),
    v.moment: _TEXT,
    v.condition: {"type": ["string", "boolean"]},
    language.resources: _referred("resources"),
    language.retry: _referred("retry"),
    language.retry_policy: {"enum": list(NAMED_RETRY_POLICIES)},
    language.on_failure: _on_failure,
    language.for_each: {"type": ["array", "string"]},
    language.escalation: lambda: _block(language.ESCALATION, needed=("after", "to")),
    language.included_later: _included,
    language.defaults_later: lambda: _block(language.DEFAULTS),
    declarations.inputs: _inputs,
    declarations.secrets: _secrets,
    declarations.choices: {"type": "array", "minItems": 1},
    declarations.variables: {"type": "object", "additionalProperties": {"type": ["string", "number", "boolean"]}},
    declarations.cache: lambda: {"anyOf": [_TEXT, _block(declarations.CACHE, needed=("key",))]},
    declarations.compensation: lambda: {"anyOf": [_TEXT, _block(declarations.COMPENSATION)]},
    language.agents_later: {"type": "object", "additionalProperties": _referred("agent")},
    language.tasks_later: _tasks,
    language.child_later: {"anyOf": [_referred("workflow"), _TEXT]},
    language.config: lambda: _block(language.CONFIG),
    language.coordination: lambda: _block(language.COORDINATION),
    language.fault_tolerance: lambda: _block(language.FAULT_TOLERANCE),
    language.circuit_breaker: lambda: _block(language.CIRCUIT_BREAKER),
    language.saga_pattern: lambda: _block(language.SAGA),
    language.constraints: _constraints,
    schedule.schedule: lambda: {"anyOf": [_CRON, _block(schedule.SCHEDULE)]},
    language.continue_as_new: lambda: {"anyOf": [{"type": "boolean"}, _block(language.CONTINUE_AS_NEW)]},
    limits.rate_limit: _rate_limit,
    limits.concurrency: _concurrency,
}
"""What each reader of the language takes: a shape, or what makes one."""
