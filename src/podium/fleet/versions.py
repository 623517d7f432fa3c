"""Version constraints: `2.1.0`, `>=2,<3`, `^2.1`, `~2.1`, `2.*`; on the `packaging` library. Pure.

A version that isn't of Python's form (PEP 440, which nearly every `1.2.3` is) satisfies only the constraint that is
the same text, and `*`.
"""

from __future__ import annotations

import re
from functools import lru_cache

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import InvalidVersion, Version

from podium.exceptions import InvalidInputError

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


@lru_cache(maxsize=1_024)
def _specifier(constraint: str) -> SpecifierSet | None:
    """Return the comparisons of a constraint; None for one that only equal text satisfies."""
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
    try:
        return Version(text)
    except InvalidVersion:
        return None
