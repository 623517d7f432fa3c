"""An execution's input against the declared ones: every problem in one message."""

import pytest

from podium.exceptions import InvalidInputError
from podium.workflow.inputs import check_input
from podium.workflow.model import InputParameter, Task, Workflow


def workflow(*inputs: InputParameter) -> Workflow:
    return Workflow(name="w", tasks=(Task(id="a", agent_type="w"),), inputs=inputs)


QUESTION = InputParameter("question", "string")
COUNT = InputParameter("count", "integer", required=False, default=3)


@pytest.mark.parametrize("given", [None, 1, "x", [1], {"any": "thing"}])
def test_a_workflow_that_declares_nothing_takes_anything(given):
    check_input(workflow(), given)


@pytest.mark.parametrize(
    ("kind", "right", "wrong"),
    [
        ("string", ["", "x"], [1, None, ["x"]]),
        ("integer", [0, -5, 2**40], [1.5, True, "1"]),
        ("number", [0, 1.5], [False, "1.5"]),
        ("boolean", [True, False], [0, 1, "true"]),
        ("array", [[], [1]], [{}, "x"]),
        ("object", [{}, {"a": 1}], [[], 1]),
        ("any", [1, None, "x", [], {}], []),
    ],
)
def test_types_are_those_of_json(kind, right, wrong):
    declared = workflow(InputParameter("x", kind))
    for value in right:
        check_input(declared, {"x": value})
    for value in wrong:
        with pytest.raises(InvalidInputError, match=f"x must be of type {kind}"):
            check_input(declared, {"x": value})


def test_what_has_a_default_may_be_left_out_and_null_stands_for_nothing_given():
    check_input(workflow(QUESTION, COUNT), {"question": "why"})
    check_input(workflow(COUNT), None)
    check_input(workflow(InputParameter("x", "string", required=False)), {"x": None})
    with pytest.raises(InvalidInputError, match="count must be of type integer, not null"):
        check_input(workflow(COUNT), {"count": None})


def test_all_problems_are_told_at_once():
    with pytest.raises(InvalidInputError) as caught:
        check_input(workflow(QUESTION, COUNT), {"qestion": "why", "count": "three", "zzz": 1})
    text = str(caught.value)
    assert "question is missing" in text
    assert "qestion isn't an input of w; did you mean question?" in text
    assert "count must be of type integer, not string" in text
    assert "zzz isn't an input of w" in text
    assert text.endswith("(inputs: question, [count])")


@pytest.mark.parametrize(("given", "kind"), [([1], "array"), ("x", "string"), (True, "boolean"), (1, "integer")])
def test_an_input_that_is_no_object_is_refused_where_names_are_declared(given, kind):
    with pytest.raises(InvalidInputError, match=f"must be an object with question, not {kind}"):
        check_input(workflow(QUESTION), given)
