"""The rules of limits by key and of agents' versions, of tasks and of roles."""

from __future__ import annotations

from typing import Final

from podium.exceptions import InvalidInputError
from podium.workflow.model import ConcurrencyLimit, RateLimit
from podium.workflow.problems import Path, Problem, Problems
from podium.workflow.versions import check_constraint

MAX_RATE: Final = 10_000  # attempts within a rate's time
MAX_RATE_SECONDS: Final = 86_400.0
MIN_RATE_SECONDS: Final = 0.001
MAX_CONCURRENCY: Final = 1_000_000
MAX_KEY: Final = 1_000  # characters of a key's text, as it is written


def limit_problems(
    what: str, rate: RateLimit | None, concurrency: ConcurrencyLimit | None, path: Path, problems: Problems
) -> None:
    """Note what is wrong with the limits of a task or a role, but for what their keys refer to."""
    if rate is not None:
        at = (*path, "rate_limit")
        _check_limit(f"{what}: rate_limit", rate.limit, MAX_RATE, at, problems)
        if not MIN_RATE_SECONDS <= rate.per_seconds <= MAX_RATE_SECONDS:
            message = f"{what}: rate_limit is per {rate.per_seconds:g} seconds; 1 ms to one day is allowed"
            problems.add(Problem("out-of-range", message, (*at, "per_seconds")))
        _check_key(f"{what}: rate_limit", rate.key, at, problems)
    if concurrency is not None:
        at = (*path, "concurrency")
        _check_limit(f"{what}: concurrency", concurrency.limit, MAX_CONCURRENCY, at, problems)
        _check_key(f"{what}: concurrency", concurrency.key, at, problems)


def version_problems(what: str, version: str, path: Path, problems: Problems) -> None:
    """Note a constraint on versions that can't be read."""
    if not version:
        return
    try:
        check_constraint(version)
    except InvalidInputError as error:
        problems.add(Problem("version", f"{what}: {error}", path))


def _check_limit(what: str, limit: int, most: int, path: Path, problems: Problems) -> None:
    if not 1 <= limit <= most:
        message = f"{what} is {limit:,}; 1 to {most:,} is allowed"
        problems.add(Problem("out-of-range", message, (*path, "limit")))


def _check_key(what: str, key: str, path: Path, problems: Problems) -> None:
    if key and not key.strip():
        problems.add(Problem("empty-text", f"{what} has an empty key", (*path, "key")))
    elif len(key) > MAX_KEY:
        message = f"{what} has a key of {len(key):,} characters; at most {MAX_KEY:,} are allowed"
        problems.add(Problem("too-long", message, (*path, "key")))
