"""What is wrong with a workflow, said so that its author can mend it: place, rule, sentence, nearest right word.

`Problem` is one such finding, `Problems` collects them up to a limit. The readers and the validator find problems and
go on; only `raise_problems` turns them into an exception.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from difflib import get_close_matches
from typing import Final, NoReturn

from msgspec import Struct

from podium.exceptions import InvalidInputError, WorkflowInvalidError, WorkflowSyntaxError

Path = tuple[str | int, ...]

MAX_PROBLEMS: Final = 1_000
"""So many problems are listed; the rest are counted in one last line."""

_MAX_SUGGESTIONS: Final = 50  # the search through 100,000 task ids is done so often, not for each of 1,000 problems
_MAX_CANDIDATES: Final = 500
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
    """One thing that is wrong, at one place. Lines and columns count from 1; 0 means that there is no file.

    What isn't `certain` is a mistake most likely, and may work all the same.
    """

    rule: str
    message: str
    path: Path = ()
    hint: str = ""
    line: int = 0
    column: int = 0
    file: str = ""
    certain: bool = True

    def __str__(self) -> str:
        place = self.file
        if self.line:
            place = f"{place or '<text>'}:{self.line}:{self.column}"
        hint = f"; {self.hint}" if self.hint else ""
        return f"{place}: {self.rule}: {self.message}{hint}" if place else f"{self.rule}: {self.message}{hint}"


class Problems:
    """A list of problems that an attacker can't make long; what lies at or below an excused path isn't noted."""

    def __init__(self, excused: Collection[Path] = ()) -> None:
        self.left_out = 0
        self._found: list[Problem] = []
        self._said: set[tuple[str, int, int, str, str]] = set()  # of files; a file may be part of a workflow twice
        self._excused = excused
        self._suggestions = 0

    def __len__(self) -> int:
        return len(self._found) + self.left_out

    def add(self, problem: Problem) -> None:
        """Note a problem, once if it has a place in a file; beyond `MAX_PROBLEMS` it is only counted."""
        path = problem.path
        if self._excused and any(path[:length] in self._excused for length in range(1, len(path) + 1)):
            return
        said = (problem.file, problem.line, problem.column, problem.rule, problem.message)
        if problem.line and said in self._said:
            return
        if len(self._found) < MAX_PROBLEMS:
            self._said.add(said)
            self._found.append(problem)
        else:
            self.left_out += 1

    def suggest(self, word: str, candidates: Iterable[str]) -> str:
        """Return `did_you_mean`, or nothing once it has been asked too often."""
        return did_you_mean(word, candidates) if self.may_search() else ""

    @property
    def full(self) -> bool:
        """Whether further problems are only counted; costly searches for them may end."""
        return len(self._found) >= MAX_PROBLEMS

    def may_search(self) -> bool:
        """Return whether another search for a hint is worth its time; each question counts."""
        self._suggestions += 1
        return self._suggestions <= _MAX_SUGGESTIONS

    def noted(self) -> list[Problem]:
        """Return what was found in the order of the file, as far as it was kept."""
        return sorted(self._found, key=lambda problem: (problem.line, problem.column))

    def listed(self) -> list[Problem]:
        """Return what was found in the order of the file, and how many more there are."""
        found = self.noted()
        if self.left_out:
            file = found[0].file
            found.append(
                Problem(rule="more", message=f"at least {self.left_out:,} more problems are not listed", file=file)
            )
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
            part = max(1, len(word) * 2 // 3)
            alike = [c for c in known if c[:part] == word[:part] or c[-part:] == word[-part:]]
            known = [c for c in alike if abs(len(c) - len(word)) <= 2]
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
    return f'"{printable(shown)}"'


def printable(text: str) -> str:
    """Return a text with nothing in it that a terminal or a log would obey: such characters are written as escapes."""
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


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
