"""The reference of the language, a Markdown page made from the tables that the reader itself goes by.

Every field stands in it under all its names, with its default from the model and an example that a test validates.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec
from msgspec import Struct

from podium.workflow import model
from podium.workflow.expressions.methods import METHODS
from podium.workflow.expressions.operations import FUNCTIONS
from podium.workflow.schedules.spec import ScheduleSpec
from podium.workflow.yaml import declarations, examples, language, limits, schedule
from podium.workflow.yaml.fields import Field, Table


class Block(Struct, frozen=True):
    """One block of the language: its name among the examples, where it stands, its fields and what they fill."""

    name: str
    title: str
    says: str
    table: Table
    examples: Mapping[str, str]
    fills: type[Struct] | None = None


BLOCKS: Final = (
    Block(
        "workflow", "Workflow", "The file itself, or what stands under its one key `workflow:`.",
        language.WORKFLOW, examples.WORKFLOW, model.Workflow,
    ),
    Block(
        "included", "`include`", "What is included, or each item of a list; in short the file.",
        language.INCLUDED, examples.INCLUDED,
    ),
    Block(
        "input", "`inputs`", "Under each name of `inputs:`; in short a type, or a default.",
        declarations.INPUT, examples.INPUT, model.InputParameter,
    ),
    Block(
        "secret", "`secrets`", "Under each name of `secrets:`; in short a list of names.",
        declarations.SECRET, examples.SECRET, model.Secret,
    ),
    Block(
        "agent", "`agents`", "Under each role of `agents:`; in short its type.",
        language.AGENT, examples.AGENT, model.AgentGroup,
    ),
    Block(
        "task", "`tasks`", "Each item of the list `tasks:`, or what stands under each id of a mapping.",
        language.TASK, examples.TASK, model.Task,
    ),
    Block("retry", "`retry`", "Of a task.", language.RETRY, examples.RETRY, model.RetryPolicy),
    Block(
        "failure", "`on_failure`", "Of a task; in short `fail`, `continue`, `ask` or `fallback: TASK`.",
        language.FAILURE, examples.FAILURE,
    ),
    Block("cache", "`cache`", "Of a task; in short its key.", declarations.CACHE, examples.CACHE, model.CachePolicy),
    Block(
        "compensation", "`compensation`", "Of a task; in short another task's id.",
        declarations.COMPENSATION, examples.COMPENSATION, model.Compensation,
    ),
    Block(
        "escalation", "`escalation`", "Of a task of type `human`.",
        language.ESCALATION, examples.ESCALATION, model.Escalation,
    ),
    Block(
        "resources", "`resources`", "What a task needs, what an agent has.",
        language.RESOURCES, examples.RESOURCES, model.ResourceRequirements,
    ),
    Block(
        "rate_limit", "`rate_limit`", "Of a task or a role; in short `10/s`, `100/5m`.",
        limits.RATE_LIMIT, examples.RATE_LIMIT, model.RateLimit,
    ),
    Block(
        "concurrency", "`concurrency`", "Of a task or a role; in short its limit.",
        limits.CONCURRENCY, examples.CONCURRENCY, model.ConcurrencyLimit,
    ),
    Block(
        "schedule", "`schedule`", "Of the workflow; in short a cron expression.",
        schedule.SCHEDULE, examples.SCHEDULE, ScheduleSpec,
    ),
    Block("config", "`config`", "Of the workflow.", language.CONFIG, examples.CONFIG, model.WorkflowConfig),
    Block(
        "constraint", "`constraints`", "Each item of the list; in short a mapping of type to value.",
        language.CONSTRAINT, examples.CONSTRAINT,
    ),
    Block(
        "continue_as_new", "`continue_as_new`", "Of the workflow; in short `true`.",
        language.CONTINUE_AS_NEW, examples.CONTINUE_AS_NEW, model.ContinueAsNew,
    ),
    Block(
        "coordination", "`coordination`", "Of the workflow.",
        language.COORDINATION, examples.COORDINATION, model.Coordination,
    ),
    Block(
        "fault_tolerance", "`fault_tolerance`", "Of the workflow.",
        language.FAULT_TOLERANCE, examples.FAULT_TOLERANCE, model.FaultTolerance,
    ),
    Block(
        "circuit_breaker", "`circuit_breaker`", "Of `fault_tolerance`.",
        language.CIRCUIT_BREAKER, examples.CIRCUIT_BREAKER, model.CircuitBreaker,
    ),
    Block("saga", "`saga_pattern`", "Of `fault_tolerance`.", language.SAGA, examples.SAGA, model.SagaPattern),
)  # fmt: skip
"""Every block, in the order of the page."""

_HEAD = """# Every field of the language

Made from the code by `podium schema --reference`; a test holds it against that, and has each example validated.
[The language](yaml.md) explains; this page lists.
"""


def language_reference() -> str:
    """Return the page."""
    return "\n".join([_HEAD, *(line for block in BLOCKS for line in _of_block(block)), *_expressions()]) + "\n"


def _of_block(block: Block) -> Iterator[str]:
    yield f"## {block.title}\n"
    yield f"{block.says}\n"
    for field in block.table.fields:
        names = " or ".join(f"`{name}`" for name in (field.name, *field.also))
        default = _default(block, field)
        yield f"**{names}**: {field.says}{f' (default {default})' if default else ''}.\n"
        yield f"```text\n{block.examples[field.name]}\n```\n"


def _default(block: Block, field: Field) -> str:
    """Return what the field is where nobody says it; empty for what is nothing then."""
    if block.fills is None:
        return ""
    for known in msgspec.structs.fields(block.fills):
        if known.name == field.target:
            return _shown(known.default)
    return ""


def _shown(value: Any) -> str:
    if value is msgspec.NODEFAULT or value is None or value == "" or isinstance(value, tuple | dict | Struct):
        return ""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


def _expressions() -> Iterator[str]:
    yield "## Expressions\n"
    yield "Functions: " + ", ".join(f"`{name}`" for name in sorted(FUNCTIONS)) + ".\n"
    yield "Methods: " + ", ".join(f"`{name}`" for name in sorted(METHODS)) + "."
