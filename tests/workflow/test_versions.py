"""Constraints on versions, in the forms that people write."""

import pytest

from podium.exceptions import InvalidInputError
from podium.workflow.versions import satisfies


@pytest.mark.parametrize(
    ("constraint", "good", "bad"),
    [
        ("2.1.0", ["2.1.0", "2.1", "v2.1.0"], ["2.1.1", "2.0"]),
        (">=2,<3", ["2.0", "2.9.9"], ["1.9", "3.0", "3.1"]),
        (">= 2, < 3", ["2.0"], ["3.0"]),
        ("^2.1", ["2.1.0", "2.9"], ["2.0.9", "3.0", "3.0.0rc1"]),
        ("^0.3", ["0.3.0", "0.3.9"], ["0.4", "1.0"]),
        ("^0.0.3", ["0.0.3"], ["0.0.4", "0.1"]),
        ("~2.1", ["2.1", "2.1.9"], ["2.2", "2.0", "3.0"]),
        ("~2.1.3", ["2.1.3", "2.1.9"], ["2.1.2", "2.2.0"]),
        ("~2", ["2.0", "2.9"], ["3.0", "1.0"]),
        ("2.*", ["2.0", "2.5.1"], ["3.0"]),
        ("~=2.1", ["2.1", "2.9"], ["3.0", "2.0"]),
        ("!=2.1", ["2.2"], ["2.1"]),
        ("*", ["1.0", "build-7"], []),
        ("", ["1.0", "build-7"], []),
        ("build-7", ["build-7"], ["build-8", "1.0"]),
        ("^2.1", ["2.2"], ["2.2.0rc1", "build-7"]),
        ("^2.1.0rc1", ["2.1.0rc1", "2.2"], ["2.0"]),
    ],
)
def test_a_constraint_allows_these_and_not_those(constraint, good, bad):
    assert [version for version in [*good, *bad] if satisfies(version, constraint)] == good


@pytest.mark.parametrize("wrong", ["=>2", "a b", ">=", "^x", ">=2;<3", "1" * 201, "^2.1 || ^3"])
def test_an_unreadable_constraint_is_refused(wrong):
    with pytest.raises(InvalidInputError, match="constraint"):
        satisfies("2.0", wrong)
