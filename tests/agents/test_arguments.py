"""How arguments and results follow the type hints."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta, Raw, Struct
from pydantic import Field
from pydantic.dataclasses import dataclass as validated_dataclass

from podium.agents.errors import ArgumentError, ResultError
from podium.agents.expansion import Expansion
from podium.agents.sdk import Context, task, task_of
from podium.agents.signatures import signature_of
from podium.exceptions import AgentBindingError
from podium.workflow.model import Task

if TYPE_CHECKING:
    from decimal import Decimal


class Page(Struct):
    number: int
    title: str = ""


@dataclass
class Note:
    text: str
    thing: object = None


class Model:
    """Like one of pydantic's."""

    def __init__(self, value: Any) -> None:
        self.value = value

    @classmethod
    def model_validate(cls, value: Any) -> Model:
        return cls(value)

    def model_dump(self, mode: str) -> Any:
        return self.value


@task
async def read(
    context: Context,
    pages: list[Page],
    folder: Path = Path(),
    since: datetime | None = None,
    limit: Annotated[int, Meta(ge=1)] = 10,
) -> dict[str, Page]:
    raise NotImplementedError


@task
def anything(first: int = 1, **others: Raw) -> Any:
    raise NotImplementedError


@task
def counted(context: Context, name: str, **numbers: int) -> int:
    raise NotImplementedError


@task
async def nothing() -> None: ...


@task
def unhinted(a, b=2): ...


@task
def modelled(model: Model) -> Model:
    raise NotImplementedError


@task
def custom(thing: Note, other: Any = None) -> object:
    raise NotImplementedError


@task
def later(thing: Decimal) -> None: ...


@task
def two_contexts(a: Context, b: Context | None) -> None: ...


@task
def impossible(value: Page | Note) -> None: ...


def call_of(function: Any) -> Any:
    described = task_of(function)
    assert described is not None
    return described.call


def arguments(function: Any, given: object, lenient: bool = False) -> Any:
    return call_of(function).arguments(Raw(msgspec.json.encode(given)), lenient)


def test_arguments_become_what_their_hints_say():
    found = arguments(read, {"pages": [{"number": 3}], "folder": "/tmp", "since": "2024-01-02T03:04:05Z"})
    assert found["pages"] == [Page(3)]
    assert found["folder"] == Path("/tmp")
    assert found["since"].year == 2024
    assert found["limit"] == 10
    assert call_of(read).context == "context"


def test_without_hints_arguments_are_plain_values():
    assert arguments(unhinted, {"a": [1, {"x": None}]}) == {"a": [1, {"x": None}], "b": 2}


@pytest.mark.parametrize(
    ("function", "given", "says"),
    [
        (read, {}, "missing argument `pages`; given none"),
        (read, {"pages": [], "page": 1}, "unknown argument `page`; it takes `pages`, `folder`, `since`, `limit`"),
        (read, {"pages": [], "context": 1}, "unknown argument `context`"),
        (
            read,
            {"pages": [{"number": "x"}]},
            r"argument `pages` expected list\[.*Page\], given .*Expected `int`, got `str`",
        ),
        (read, {"pages": [], "limit": 0}, "argument `limit`"),
        (read, {"pages": [], "folder": 7}, "argument `folder` expected Path, given 7"),
        (read, [1], r"expected arguments as a JSON object, given \[1\]"),
        (nothing, {"x": 1}, "unknown argument `x`; it takes no arguments"),
        (counted, {"a": 1}, "missing argument `name`"),
        (counted, {"name": "n", "a": "x"}, "argument `a` expected int"),
        (counted, {"name": "n", "context": 1}, "`context` is the context"),
    ],
)
def test_what_does_not_fit_is_one_sentence(function, given, says):
    with pytest.raises(ArgumentError, match=says):
        arguments(function, given)


def test_broken_json_is_refused_too():
    with pytest.raises(ArgumentError, match="JSON object"):
        call_of(read).arguments(Raw(b'{"pages": '))


def test_lenient_arguments_leave_out_what_the_function_does_not_take():
    assert arguments(nothing, {"x": 1}, lenient=True) == {}
    assert arguments(unhinted, {"a": 1, "zzz": 2}, lenient=True) == {"a": 1, "b": 2}
    with pytest.raises(ArgumentError, match="missing argument `a`"):
        arguments(unhinted, {"zzz": 2}, lenient=True)


def test_a_double_star_parameter_takes_all_others():
    found = arguments(anything, {"first": 5, "x": [1, 2]})
    assert (found["first"], bytes(found["x"])) == (5, b"[1,2]")
    assert arguments(counted, {"name": "n", "a": 1}) == {"name": "n", "a": 1}


def test_models_that_validate_themselves_pass_both_ways():
    model = arguments(modelled, {"model": {"x": 1}})["model"]
    assert model.value == {"x": 1}
    assert bytes(call_of(modelled).result(model)) == b'{"x":1}'


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (later, "can't be resolved .*Decimal"),
        (two_contexts, "a and b are both annotated Context"),
        (impossible, "the type hint of parameter `value` can't be used"),
    ],
)
def test_hints_that_cannot_be_used_are_refused_when_the_agent_is_bound(function, says):
    with pytest.raises(AgentBindingError, match=says):
        call_of(function)


def test_results_must_be_what_the_hint_promises():
    assert bytes(call_of(read).result({"a": Page(1)})) == b'{"a":{"number":1,"title":""}}'
    with pytest.raises(ResultError, match=r"returned \[1\]: Expected `object`, got `array`"):
        call_of(read).result([1])
    with pytest.raises(ResultError, match="Expected `null`"):
        call_of(nothing).result(1)
    assert bytes(call_of(nothing).result(None)) == b"null"
    assert bytes(call_of(unhinted).result(Path("/tmp"))) == b'"/tmp"'


def test_a_result_that_json_cannot_hold_is_named_with_its_place():
    result = call_of(custom).result
    with pytest.raises(ResultError, match=r"\$\.a\[1\]\.thing is of type .*complex"):
        result({"a": [1, Note("x", complex(1))]})
    with pytest.raises(ResultError, match=r"\$ is of type builtins.str"):
        result("\ud800")
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(ResultError):
        result(loop)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.text()
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(st.text(), json_values, max_size=5))
def test_whatever_json_holds_comes_back_unchanged(given):
    given.pop("first", None)
    found = arguments(anything, given)
    assert {name: msgspec.json.decode(value) for name, value in found.items()} == given
    assert msgspec.json.decode(call_of(anything).result(given)) == given


@given(json_values)
def test_any_value_for_any_hint_is_taken_or_refused_in_words(value):
    for function, name in ((read, "pages"), (custom, "thing"), (counted, "name")):
        with suppress(ArgumentError):
            arguments(function, {name: value})


@task
def grows(n: int) -> Expansion | int:
    raise NotImplementedError


def test_an_expansion_goes_out_in_the_words_of_the_language() -> None:
    added = Task(id="a", agent="team", dependencies=("plan",), payload={"x": "${input.y}"}, retries=2)
    value = Expansion([added, {"id": "b", "agent": "team"}], {"report": ["a", "b"]}, {"n": Path("out")})
    assert msgspec.json.decode(call_of(grows).result(value)) == {
        "$expansion": {
            "tasks": [
                {"id": "a", "agent": "team", "depends_on": ["plan"], "input": {"x": "${input.y}"}, "retries": 2},
                {"id": "b", "agent": "team"},
            ],
            "dependencies": {"report": ["a", "b"]},
            "result": {"n": "out"},
        }
    }


def test_an_expansion_of_what_json_cant_hold_is_refused() -> None:
    with pytest.raises(ResultError, match="JSON can't hold"):
        call_of(grows).result(Expansion([{"id": "a", "input": {"x": object()}}]))


@validated_dataclass
class Point:
    x: int
    y: int = Field(1, lt=10)


@task
async def draw(
    at: Point, path: Annotated[list[Point | None], Meta(min_length=1)], named: dict[str, Point], other: Point | str = ""
) -> Point:
    raise NotImplementedError


def test_dataclasses_of_pydantic_are_built_by_their_own_validation():
    described = task_of(draw)
    assert described is not None
    call = described.call
    given = call.arguments(Raw(b'{"at": {"x": "3"}, "path": [{"x": 1}, null], "named": {"a": {"x": 5}}}'))
    assert given == {"at": Point(3, 1), "path": [Point(1, 1), None], "named": {"a": Point(5, 1)}, "other": ""}
    assert bytes(call.result(given["at"])) == b'{"x":3,"y":1}'
    with pytest.raises(ArgumentError, match=r"argument `at` expected Point, given .*y: Input should be less than 10"):
        call.arguments(Raw(b'{"at": {"x": 3, "y": 10}, "path": [null], "named": {}}'))
    with pytest.raises(ArgumentError, match=r"list\[.*test_arguments\.Point"):
        call.arguments(Raw(b'{"at": {"x": 3}, "path": [], "named": {}}'))
    assert call.arguments(Raw(b'{"at": {"x": 3}, "path": [null], "named": {}, "other": "b"}'))["other"] == "b"
    assert signature_of(described).arguments["at"] == {}
