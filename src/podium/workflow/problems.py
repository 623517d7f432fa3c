"""What is wrong with a workflow, said so that its author can mend it: place, rule, sentence, nearest right word.

`Problem` is one such finding, `Problems` collects them up to a limit. The readers and the validator find problems and
go on; only `raise_problems` turns them into an exception.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Final, NoReturn

from msgspec import Struct

from podium.exceptions import InvalidInputError, WorkflowInvalidError, WorkflowSyntaxError

Path = tuple[str | int, ...]

MAX_PROBLEMS: Final = 1_000
"""So many problems are listed; the rest are counted in one last line."""

_MAX_SUGGESTIONS: Final = 50  # the search through 100,000 task ids is done so often, not for each of 1,000 problems
_MAX_CANDIDATES: Final = 2_000
_MAX_QUOTED: Final = 60

SYNTAX_RULES: Final = frozenset(
    {
        "syntax",
        "encoding",
        "control-character",
        "file-size",
        "depth",
        "nodes",
        "alias-expansion",
        "recursive-alias",
        "unknown-alias",
        "merge-key",
        "tag",
        "duplicate-key",
        "non-string-key",
        "number",
        "several-documents",
        "empty",
    }
)
"""The rules that say "this can't be parsed" (400 at a door); all others say "this parses, and is invalid" (422)."""


class Problem(Struct, frozen=True):
    """One thing that is wrong, at one place. Lines and columns count from 1; 0 means that there is no file."""

    rule: str
    message: str
    path: Path = ()
    hint: str = ""
    line: int = 0
    column: int = 0
    file: str = ""

    def __str__(self) -> str:
        place = self.file
        if self.line:
            place = f"{place or '<text>'}:{self.line}:{self.column}"
        hint = f"; {self.hint}" if self.hint else ""
        return f"{place}: {self.rule}: {self.message}{hint}" if place else f"{self.rule}: {self.message}{hint}"


class Problems:
    """A list of problems that an attacker can't make long."""

    def __init__(self) -> None:
        self._found: list[Problem] = []
        self._left_out = 0
        self._suggestions = 0

    def __len__(self) -> int:
        return len(self._found) + self._left_out

    def add(self, problem: Problem) -> None:
        """Note a problem; beyond `MAX_PROBLEMS` it is only counted."""
        if len(self._found) < MAX_PROBLEMS:
            self._found.append(problem)
        else:
            self._left_out += 1

    def suggest(self, word: str, candidates: Iterable[str]) -> str:
        """Return `did_you_mean`, or nothing once it has been asked too often."""
        self._suggestions += 1
        return did_you_mean(word, candidates) if self._suggestions <= _MAX_SUGGESTIONS else ""

    def listed(self) -> list[Problem]:
        """Return what was found in the order of the file, and how many more there are."""
        found = sorted(self._found, key=lambda problem: (problem.line, problem.column))
        if self._left_out:
            file = found[0].file
            found.append(Problem(rule="more", message=f"{self._left_out:,} more problems are not listed", file=file))
        return found


def raise_problems(problems: Iterable[Problem]) -> NoReturn:
    """Raise all problems as one exception; its `problems` is the list.

    Raises WorkflowSyntaxError if one of them says that the text can't be parsed, else WorkflowInvalidError.
    """
    found = tuple(problems)
    message = "\n".join(str(problem) for problem in found)
    syntax = any(problem.rule in SYNTAX_RULES for problem in found)
    error: InvalidInputError = WorkflowSyntaxError(message) if syntax else WorkflowInvalidError(message)
    vars(error)["problems"] = found
    raise error


def problems_in(error: BaseException) -> tuple[Problem, ...]:
    """Return the problems that an exception carries."""
    found: tuple[Problem, ...] = getattr(error, "problems", ())
    return found


def did_you_mean(word: str, candidates: Iterable[str]) -> str:
    """Return `did you mean "…"?` with the nearest candidate, or nothing if none is near.

    Differences of case, `-`, `_` and spaces count for nothing; of very many candidates only those of about the same
    length are compared.
    """
    if not word or len(word) > 100:
        return ""
    known = list(candidates)
    plain = _plain(word)
    nearest = next((candidate for candidate in known if _plain(candidate) == plain), None)
    if nearest is None:
        if len(known) > _MAX_CANDIDATES:
            known = [c for c in known if abs(len(c) - len(word)) <= 2 and (c[:1] == word[:1] or c[-1:] == word[-1:])]
        close = get_close_matches(plain, (_plain(candidate) for candidate in known[:_MAX_CANDIDATES]), n=1, cutoff=0.7)
        nearest = next((candidate for candidate in known if _plain(candidate) == close[0]), None) if close else None
    return f"did you mean {quoted(nearest)}?" if nearest is not None and nearest != word else ""


def _plain(word: str) -> str:
    return word.casefold().replace("_", "").replace("-", "").replace(" ", "")


def quoted(text: object) -> str:
    """Return a text in quotes, cut to a readable length, with nothing in it that a terminal or a log would obey."""
    shown = str(text)
    if len(shown) > _MAX_QUOTED:
        shown = shown[: _MAX_QUOTED - 1] + "…"
    shown = shown.replace("\\", "\\\\").replace('"', '\\"')
    if not shown.isprintable():
        shown = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in shown)
    return f'"{shown}"'


def shown_path(path: Path) -> str:
    """Return a path as an author would write it: `tasks[1].retry`."""
    shown = ""
    for part in path:
        if isinstance(part, int):
            shown += f"[{part}]"
        elif part.isidentifier():
            shown += f".{part}" if shown else part
        else:
            shown += f"[{quoted(part)}]"
    return shown or "the workflow"
