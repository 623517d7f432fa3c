"""How deep values may be nested, and that what stands in strings doesn't count."""

import msgspec
import pytest

from podium.app.said import encoded
from podium.app.submitting import encoded_input
from podium.exceptions import InvalidInputError
from podium.workflow.nesting import MAX_NESTING, check_nesting


def nested(levels: int, kind: str = "list") -> object:
    value: object = 1
    for _ in range(levels):
        value = [value] if kind == "list" else {"a": value}
    return value


@pytest.mark.parametrize("kind", ["list", "object"])
def test_a_value_as_deep_as_the_bound_is_taken_and_a_deeper_one_is_not(kind):
    check_nesting(msgspec.json.encode([nested(MAX_NESTING - 1, kind), 2]), "it")
    with pytest.raises(InvalidInputError, match="it is nested more than 100 levels deep"):
        check_nesting(msgspec.json.encode([1, nested(MAX_NESTING, kind)]), "it")


@pytest.mark.parametrize(
    "text", ["[" * 500, "]" * 500, '"' * 50, "\\" * 51, '\\"[' * 100, "\n[{" * 100], ids=lambda text: text[:6]
)
def test_what_stands_in_strings_neither_counts_nor_hides_what_does(text):
    check_nesting(msgspec.json.encode([text, {text: text}] * 60), "it")
    with pytest.raises(InvalidInputError):
        check_nesting(msgspec.json.encode([text, nested(MAX_NESTING)]), "it")


def test_what_is_wide_is_taken():
    check_nesting(msgspec.json.encode([[[]]] * 10_000), "it")


@pytest.mark.parametrize("door", [encoded, encoded_input])
@pytest.mark.parametrize("levels", [MAX_NESTING + 1, 5_000])
def test_what_people_give_is_refused(door, levels):
    with pytest.raises(InvalidInputError):
        door(nested(levels))
