"""Version constraints: `2.1.0`, `>=2,<3`, `^2.1`, `~2.1`, `2.*`; on the `packaging` library. Pure.

A version that isn't of Python's form (PEP 440, which nearly every `1.2.3` is) satisfies only the constraint that is
the same text, and `*`.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

from podium.exceptions import InvalidInputError

if TYPE_CHECKING:  # imported where a constraint is read: most workflows have none
    from packaging.specifiers import SpecifierSet
    from packaging.version import Version

MAX_CONSTRAINT = 200
_SHORT = re.compile(r"(?P<mark>[\^~]|)(?P<version>[vV]?\d[^,<>=!~^*\s]*)")
_EVERY = frozenset({"", "*"})


def satisfies(version: str, constraint: str) -> bool:
    """Whether a version is one that the constraint allows. Raises InvalidInputError for an unreadable constraint.

    A plain version is that one; `^2.1` is from 2.1 up to the next number that, being the first above zero, breaks
    (3); `~2.1` is from 2.1 up to 2.2; anything else is a list of comparisons. Pre-releases count only where the
    constraint names one.
    """
    constraint = constraint.strip()
    allowed = _specifier(constraint)  # refuses the constraint, whatever the version
    if constraint in _EVERY or version == constraint:
        return True
    found = _version(version)
    if found is None or allowed is None:
        return False
    return allowed.contains(found, prereleases=bool(allowed.prereleases))


def check_constraint(constraint: str) -> None:
    """Raise InvalidInputError for a constraint that can't be read."""
    _specifier(constraint.strip())


def version_for(constraint: str) -> str:
    """Return a version that a constraint allows, near those that it names: what an agent that is made up for it has."""
    if satisfies("1.0", constraint):
        return "1.0"
    named: list[str] = re.findall(r"\d+(?:\.\d+)*[^,<>=!~^*\s]*", constraint)
    for version in (*named, *(f"{name}.1" for name in named), *(f"{int(name.split('.')[0]) + 1}.0" for name in named)):
        if satisfies(version, constraint):
            return version
    return next((f"0.{at}" for at in range(100) if satisfies(f"0.{at}", constraint)), constraint)


@lru_cache(maxsize=1_024)
def _specifier(constraint: str) -> SpecifierSet | None:
    """Return the comparisons of a constraint; None for one that only equal text satisfies."""
    from packaging.specifiers import InvalidSpecifier, SpecifierSet

    if len(constraint) > MAX_CONSTRAINT:
        raise InvalidInputError(f"a version constraint has at most {MAX_CONSTRAINT} characters")
    if constraint in _EVERY:
        return None
    parts = [_comparison(part.strip()) for part in constraint.split(",")]
    try:
        return SpecifierSet(",".join(parts))
    except InvalidSpecifier as error:
        if re.fullmatch(r"[\w.+-]+", constraint):
            return None
        raise InvalidInputError(
            f"{constraint!r} is no version constraint; write 2.1.0, >=2,<3, ^2.1, ~2.1 or 2.*"
        ) from error


def _comparison(part: str) -> str:
    if part.endswith(".*") and part[0].isdigit():
        return f"=={part}"
    short = _SHORT.fullmatch(part)
    if short is None:
        return part
    lowest = _version(short["version"])
    if lowest is None:
        return part
    if not short["mark"]:
        return f"=={lowest}"
    release = list(lowest.release)
    if short["mark"] == "^":
        place = next((i for i, number in enumerate(release) if number), len(release) - 1)
    else:
        place = min(1, len(release) - 1)
    highest = [*release[:place], release[place] + 1]
    return f">={lowest},<{'.'.join(str(number) for number in highest)}"  # not its pre-releases either (PEP 440)


@lru_cache(maxsize=4_096)
def _version(text: str) -> Version | None:
    from packaging.version import InvalidVersion, Version

    try:
        return Version(text)
    except InvalidVersion:
        return None
