"""What is given on the command line becomes the value that a person meant."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.cli.given import capacities, execution_input, input_value, json_or_text, seconds
from podium.exceptions import InvalidInputError
from podium.workflow.model import InputParameter, Workflow

DECLARED = Workflow(
    name="w",
    inputs=tuple(InputParameter(kind, kind) for kind in ("string", "integer", "number", "boolean", "array", "object")),
)


@given(st.text())
def test_a_string_input_takes_any_text_as_it_is(text: str) -> None:
    assert execution_input(DECLARED, [f"string={text}"], None) == {"string": text}


@given(st.text())
def test_an_undeclared_input_is_its_text_or_a_json_scalar(text: str) -> None:
    value = input_value(text, "any", "--input x")
    assert value == text or json.loads(text) == value
    assert not isinstance(value, list | dict)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5", 5), ("-2.5", -2.5), ("1e3", 1000.0), ("true", True), ("null", None), ('"5"', "5"), ("", ""),
        ("007", "007"), ("1.2.3", "1.2.3"), ("[1]", "[1]"), ("{}", "{}"), ("NaN", "NaN"), ("Infinity", "Infinity"),
        ('say "hi"', 'say "hi"'), ("a=b=c", "a=b=c"), ("two\nlines", "two\nlines"), ('"', '"'),
        ("123456789012345678901234567890", 123456789012345678901234567890),
    ],
)  # fmt: skip
def test_undeclared_values(text: str, value: object) -> None:
    assert execution_input(Workflow(name="w"), [f"x={text}"], None) == {"x": value}


@pytest.mark.parametrize(("kind", "text", "value"), [("array", "[1, 2]", [1, 2]), ("object", '{"a": 1}', {"a": 1})])
def test_declared_structures_are_json(kind: str, text: str, value: object) -> None:
    assert execution_input(DECLARED, [f"{kind}={text}"], None) == {kind: value}
    with pytest.raises(InvalidInputError, match="isn't JSON"):
        execution_input(DECLARED, [f"{kind}=[1,"], None)


def test_pairs_win_over_the_whole(tmp_path: Path) -> None:
    file = tmp_path / "input.json"
    file.write_text('{"a": 1, "b": 2}', encoding="utf-8")
    assert execution_input(Workflow(name="w"), ["b=3"], f"@{file}") == {"a": 1, "b": 3}
    assert execution_input(Workflow(name="w"), [], f"@{file}") == {"a": 1, "b": 2}
    assert execution_input(Workflow(name="w"), [], None) is None


def test_json_that_is_too_deep_is_refused() -> None:
    with pytest.raises(InvalidInputError):
        execution_input(Workflow(name="w"), [], "[" * 200_000)


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "input.json"
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InvalidInputError, match="isn't UTF-8"):
        execution_input(Workflow(name="w"), [], f"@{file}")


def test_capacities() -> None:
    assert capacities("cpu=4,memory=16GB, licences=2") == {"cpu": 4.0, "memory": 16000.0, "licences": 2.0}
    assert capacities(None) is None
    for wrong in ("cpu", "cpu=", "=4", "x=many", "x=nan", "x=inf", ""):
        with pytest.raises(InvalidInputError):
            capacities(wrong)


def test_durations() -> None:
    assert seconds("1h30m", "--timeout") == 5400
    assert seconds(None, "--timeout") is None


def test_a_signals_value_is_json_or_text() -> None:
    assert json_or_text('{"ok": true}') == {"ok": True}
    assert json_or_text("yes, do") == "yes, do"
    assert msgspec.json.encode(json_or_text("5")) == b"5"
