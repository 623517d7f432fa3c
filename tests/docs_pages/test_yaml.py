"""`docs/yaml.md` lists each field of the language under all its names, its functions, methods and limits."""

import re

import pytest

from podium.workflow.expressions.methods import METHODS
from podium.workflow.expressions.operations import FUNCTIONS
from podium.workflow.model import NAMED_RETRY_POLICIES
from podium.workflow.validation import INPUT_TYPES, MAX_EDGES, MAX_TASKS
from podium.workflow.yaml import declarations, language, limits
from podium.workflow.yaml.fields import Table
from tests.docs_pages.markdown import page, section, tables

PAGE = page("yaml.md")


@pytest.mark.parametrize(
    ("title", "at", "block"),
    [
        ("Workflow", 0, language.WORKFLOW),
        ("Inputs", 0, declarations.INPUT),
        ("Several files", 0, language.INCLUDED),
        ("Secrets", 0, declarations.SECRET),
        ("Agents", 0, language.AGENT),
        ("Tasks", 0, language.TASK),
        ("Waiting", 0, language.ESCALATION),
        ("Retry", 0, language.RETRY),
        ("Failure", 0, language.FAILURE),
        ("Resources", 0, language.RESOURCES),
        ("Limits by key", 0, limits.RATE_LIMIT),
        ("Limits by key", 1, limits.CONCURRENCY),
        ("Config", 0, language.CONFIG),
        ("Constraints", 0, language.CONSTRAINT),
        ("Cache", 0, declarations.CACHE),
        ("Compensation", 0, declarations.COMPENSATION),
        ("Recorded only", 0, language.COORDINATION),
        ("Recorded only", 1, language.FAULT_TOLERANCE),
        ("Recorded only", 2, language.CIRCUIT_BREAKER),
        ("Recorded only", 3, language.SAGA),
    ],
)
def test_each_field_is_listed_under_all_its_names(title: str, at: int, block: Table) -> None:
    rows = tables(section(PAGE, title))[at]
    said = [tuple(re.findall(r"[a-z_]+", row["field"].replace("` or `", " "))) for row in rows]
    assert sorted(said) == sorted((field.name, *field.also) for field in block.fields)
    assert all(row["type"] and row["meaning"] for row in rows)


def test_each_function_and_method_of_expressions_is_listed() -> None:
    rows = tables(section(PAGE, "Expressions"))[1]
    said = {row["kind"]: re.findall(r"`(\w+)`", f"`{row['names']}`") for row in rows}
    assert sorted(said["functions"]) == sorted(FUNCTIONS)
    assert set(said["methods"]) == set(METHODS)


def test_policies_input_types_and_limits_are_those_of_the_code() -> None:
    assert all(f"`{name}`" in section(PAGE, "Retry") for name in NAMED_RETRY_POLICIES)
    assert all(f"`{kind}`" in section(PAGE, "Inputs") for kind in INPUT_TYPES)
    limits = section(PAGE, "What is refused")
    assert f"| tasks | {MAX_TASKS:,} |" in limits
    assert f"| dependencies | {MAX_EDGES:,} |" in limits
