"""The blocks that declare what a workflow is given and what is recorded of its tasks: inputs, secrets, variables,
caches, compensations. Like all of the language: one table a block, `read_block` does the rest.
"""

from __future__ import annotations

from typing import Any, Final

from podium.workflow.model import CachePolicy, Compensation, InputParameter, Secret
from podium.workflow.problems import Path, did_you_mean, quoted, shown_path
from podium.workflow.validation import INPUT_TYPES, MAX_INPUTS
from podium.workflow.yaml import values as v
from podium.workflow.yaml.fields import Field, Table, read_block
from podium.workflow.yaml.nodes import Mapping, Node, Scalar, Sequence, plain_value
from podium.workflow.yaml.values import INVALID, Reading

# --- inputs ----------------------------------------------------------------------------------------------------------


def choices(reading: Reading, node: Node, path: Path) -> Any:
    """Read the list of values that an input may have."""
    if type(node) is Sequence and node.items:
        return tuple(plain_value(item) for item in node.items)
    return reading.wrong_type("a list of values, at least one", node, path)


INPUT: Final = Table(
    (
        Field("type", v.text, ", ".join(sorted(INPUT_TYPES)), among=INPUT_TYPES),
        Field("default", v.anything, "what it is when nobody gives it", keeps_null=True),
        Field("required", v.boolean, "whether it must be given; true unless there is a default"),
        Field("description", v.text, "a sentence for people"),
        Field("enum", choices, "the values that it may have"),
        Field("minimum", v.number, "the least number; of a text or a list, its length", also=("min",)),
        Field("maximum", v.number, "the largest number; of a text or a list, its length", also=("max",)),
        Field("pattern", v.text, "a regular expression that is found in a text that fits; ^ and $ hold it to the ends"),
    ),
    later=("format", "schema", "secret"),
)


def inputs(reading: Reading, node: Node, path: Path) -> Any:
    """Read the declared inputs: name to declaration, to type, or to default."""
    if type(node) is not Mapping:
        return reading.wrong_type("a mapping of names", node, path)
    if _too_many(reading, node, path, "inputs"):
        return INVALID
    return tuple(_parameter(reading, name, value, (*path, name)) for name, (_, value) in node.entries.items())


def _parameter(reading: Reading, name: str, node: Node, path: Path) -> InputParameter:
    if type(node) is Mapping:
        said = read_block(reading, node, path, INPUT)
        said.setdefault("required", "default" not in said)
        return InputParameter(name=name, **said)
    if type(node) is Scalar and node.value is None:
        return InputParameter(name=name)
    if type(node) is Scalar and isinstance(node.value, str):
        if node.value in INPUT_TYPES:
            return InputParameter(name=name, type=node.value)
        if hint := did_you_mean(node.value, INPUT_TYPES):
            message = f"{shown_path(path)}: there is no type {quoted(node.value)}"
            reading.note("wrong-value", message, node, path, f"{hint} (a default is written {{default: …}})")
    default = plain_value(node)
    return InputParameter(name=name, type=_type_of(default), required=False, default=default)


def _type_of(value: Any) -> str:
    match value:
        case bool():
            return "boolean"
        case int() | float():
            return "number"  # 0 is a default of seconds as much as of a count; `type: integer` says which
        case list():
            return "array"
        case _:
            return "string"


def _too_many(reading: Reading, node: Mapping, path: Path, what: str) -> bool:
    if len(node.entries) <= MAX_INPUTS:
        return False
    message = f"there are {len(node.entries):,} {what}; at most {MAX_INPUTS:,} are allowed"
    reading.note("too-many-names", message, node, path)
    return True


# --- secrets and variables -------------------------------------------------------------------------------------------

SECRET: Final = Table(
    (
        Field("env", v.text, "the variable that holds it where the agent runs"),
        Field("file", v.text, "the file that holds it, in the folder of secrets where the agent runs"),
        Field("description", v.text, "a sentence for people"),
    ),
    later=("from", "key", "vault", "version"),
)


def secrets(reading: Reading, node: Node, path: Path) -> Any:
    """Read the declared secrets: name to where it is found, or a list of names."""
    if type(node) is Sequence:
        names = [v.text(reading, item, (*path, at)) for at, item in enumerate(node.items[: MAX_INPUTS + 1])]
        return tuple(Secret(name=name) for name in names if name is not INVALID)
    if type(node) is not Mapping:
        return reading.wrong_type("a mapping of names, or a list of them", node, path)
    if _too_many(reading, node, path, "secrets"):
        return INVALID
    return tuple(_secret(reading, name, value, (*path, name)) for name, (_, value) in node.entries.items())


def _secret(reading: Reading, name: str, node: Node, path: Path) -> Secret:
    if type(node) is Scalar and isinstance(node.value, str):
        hint = "write {env: VARIABLE} or {file: NAME}; the value itself never stands in a workflow"
        reading.note("wrong-type", f"{shown_path(path)} must be a mapping of fields", node, path, hint)
        return Secret(name=name)
    return Secret(name=name, **read_block(reading, node, path, SECRET))


def variables(reading: Reading, node: Node, path: Path) -> Any:
    """Read environment variables: a mapping of names to texts; a number or a boolean is the text as it is written."""
    if type(node) is not Mapping:
        return reading.wrong_type("a mapping of names to texts", node, path)
    read = {}
    for name, (_, value) in node.entries.items():
        if type(value) is Scalar and value.value is not None:
            read[name] = value.text
        else:
            reading.wrong_type("a text", value, (*path, name))
    return read


# --- what is recorded of a task --------------------------------------------------------------------------------------

CACHE: Final = Table(
    (
        Field("key", v.text, "what results have in common that may stand for each other, a template with ${…}"),
        Field("ttl", v.duration, "how long a result may be used", also=("ttl_seconds",), attribute="ttl_seconds"),
    )
)
COMPENSATION: Final = Table(
    (
        Field("task", v.text, "another task, which undoes this one and doesn't run by itself"),
        Field("agent", v.text, "or a call: of a role of `agents`, or an agent type"),
        Field("agent_type", v.text, "an agent type, where no role is meant"),
        Field("function", v.text, "what the agent is asked to do"),
        Field("input", v.any_mapping, "arguments, with ${…} in their texts", also=("payload",), attribute="payload"),
        Field("timeout", v.duration, "the longest that it may take"),
    ),
    later=("retry", "retries"),
)


def cache(reading: Reading, node: Node, path: Path) -> Any:
    """Read a `cache` block, or its key alone."""
    if type(node) is Scalar and isinstance(node.value, str):
        return CachePolicy(key=node.value)
    said = read_block(reading, node, path, CACHE)
    if "key" not in said:
        if type(node) is Mapping and (*path, "key") not in reading.excused:
            reading.note("missing-field", f"{shown_path(path)} has no key", node, path, "write key: ${input.…}")
        return INVALID
    return CachePolicy(**said)


def compensation(reading: Reading, node: Node, path: Path) -> Any:
    """Read a `compensation`: a task's id, or a block."""
    if type(node) is Scalar and isinstance(node.value, str):
        return Compensation(task=node.value)
    said = read_block(reading, node, path, COMPENSATION)
    return Compensation(**said) if said else INVALID
