"""Forms: which schemas may be written, and which answers fit them; held against the jsonschema library."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podium.workflow.forms import field_value, form_problems, schema_problems

REVIEW = {
    "type": "object",
    "required": ["ok"],
    "properties": {
        "ok": {"type": "boolean"},
        "why": {"type": "string", "maxLength": 5},
        "score": {"type": "integer", "minimum": 1, "maximum": 5},
        "tags": {"type": "array", "items": {"enum": ["a", "b"]}, "uniqueItems": True, "maxItems": 2},
        "kind": {"const": "review"},
        "more": {"type": ["null", "object"], "additionalProperties": {"type": "number", "exclusiveMinimum": 0}},
    },
    "additionalProperties": False,
}


def test_the_form_of_these_tests_is_one():
    assert list(schema_problems(REVIEW)) == []


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ({"ok": True}, []),
        ({}, ["ok is missing"]),
        ([], ["the answer must be of type object, not array"]),
        ({"ok": "yes"}, ["ok must be of type boolean, not string"]),
        ({"ok": True, "scor": 1}, ['scor isn\'t asked for; did you mean "score"?']),
        ({"ok": True, "zzz": 1}, ["zzz isn't asked for (asked for: ok, why, score, tags, kind, more)"]),
        ({"ok": True, "why": "too long"}, ["why has 8 characters, at most 5 are allowed"]),
        ({"ok": True, "score": 9}, ["score must be at most 5, not 9"]),
        ({"ok": True, "score": True}, ["score must be of type integer, not boolean"]),
        ({"ok": True, "tags": ["a", "c"]}, ['tags[1] must be one of a, b, not "c"']),
        ({"ok": True, "tags": ["a", "a"]}, ["tags has an item twice"]),
        ({"ok": True, "kind": 1}, ['kind must be "review", not 1']),
        ({"ok": True, "more": {"x": 0}}, ["more.x must be more than 0, not 0"]),
        ({"ok": True, "more": None}, []),
    ],
)
def test_an_answer_is_told_each_field_that_does_not_fit(answer: Any, said: list[str]):
    assert form_problems(REVIEW, answer) == said


def test_of_many_problems_the_first_are_named():
    form = {"type": "array", "items": {"type": "string"}}
    assert len(form_problems(form, [1] * 50)) == 11


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ({"typ": "string"}, ('a form can\'t say "typ"', 'did you mean "type"?')),
        ({"type": "text"}, ('there is no type "text"',)),
        ({"pattern": 3}, ("pattern is a text, not integer",)),
        ({"pattern": "(a"}, ("the pattern \"(a\" can't be used: this group isn't closed (character 1)",)),
        ({"pattern": "a{101}"}, ('the pattern "a{101}" has 101 characters',)),
        ({"properties": {f"f{n}": {"pattern": "a"} for n in range(101)}}, ("a form has at most 100 patterns",)),
        ({"properties": []}, ("properties is a mapping of names, not array",)),
        ({"required": "ok"}, ("required is a list of names",)),
        ({"enum": []}, ("enum is a list",)),
        ({"minLength": -1}, ("minLength is a whole number",)),
        ({"minimum": "1"}, ("minimum is a number",)),
        ({"uniqueItems": 1}, ("uniqueItems is true or false",)),
        ({"items": 3}, ("a schema is a mapping, not integer",)),
        ({"properties": {"a": {"oneOf": []}}}, ('a form can\'t say "oneOf"',)),
    ],
)
def test_what_a_form_can_not_say_is_refused(form: Any, said: tuple[str, ...]):
    ((_, message, hint),) = schema_problems(form)
    assert message.startswith(said[0])
    assert hint == said[1] if len(said) > 1 else True


def test_a_text_that_does_not_fit_its_pattern_is_named():
    form = {"properties": {"day": {"pattern": "^[0-9]{4}-[0-9]{2}$"}}}
    assert form_problems(form, {"day": "2030-01"}) == []
    assert form_problems(form, {"day": "soon"}) == ['day must fit the pattern ^[0-9]{4}-[0-9]{2}$, not "soon"']


def test_a_form_is_not_nested_without_end():
    form: Any = {}
    for _ in range(40):
        form = {"items": form}
    assert [message for _, message, _ in schema_problems(form)] == ["schemas are nested more than 16 deep"]


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [("ok", "true", True), ("why", "12", "12"), ("score", "3", 3), ("tags", '["a"]', ["a"]), ("new", "x y", "x y")],
)
def test_a_field_is_read_by_its_type(name: str, text: str, value: Any):
    assert field_value(REVIEW, name, text) == value


def test_a_field_of_another_type_is_refused():
    with pytest.raises(ValueError, match="score must be of type integer"):
        field_value(REVIEW, "score", "many")


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from([0.5, 2.0]) | st.sampled_from(["", "a", "bcd"]),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.sampled_from("ab"), below, max_size=2),
    max_leaves=6,
)
_LEAVES = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(["string", "integer", "number", "boolean", "array", "object", "null"]),
        "enum": st.lists(st.sampled_from(["a", 1, 2.0, None]), min_size=1, max_size=2),
        "minimum": st.integers(-2, 2),
        "exclusiveMaximum": st.integers(-2, 3),
        "minLength": st.integers(0, 2),
        "pattern": st.sampled_from(["^a", "b|^$", "^[a-c]{2,}$"]),
        "maxItems": st.integers(0, 2),
        "minProperties": st.integers(0, 1),
        "required": st.lists(st.sampled_from("ab"), max_size=2, unique=True),
    },
)
_FORMS = st.recursive(
    _LEAVES,
    lambda below: st.fixed_dictionaries(
        {},
        optional={
            "items": below,
            "properties": st.dictionaries(st.sampled_from("ab"), below, max_size=2),
            "additionalProperties": st.booleans() | below,
        },
    ),
    max_leaves=4,
)


@given(_FORMS, _VALUES)
@settings(max_examples=400, deadline=None)
def test_an_answer_fits_where_the_jsonschema_library_says_so(form: Any, answer: Any):
    assert list(schema_problems(form)) == []
    whole = jsonschema.Draft7Validator(form).is_valid(answer)
    assert (form_problems(form, answer) == []) == whole
