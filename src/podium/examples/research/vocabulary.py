"""What words are to this example: which ones say nothing, which ones mean the same, which ones are code.

Plain English and general programming talk only; nothing here knows the documents that come with the example.
"""

from __future__ import annotations

import re

_SAYING_NOTHING = """
a about above after again all also am an and another any are aren as at be because been before being below between
both brought but by came can cannot could did didn do does doesn doing don down during each either else ever every
explain few find for from further gave get gets give given gives had has have having he her here hers him his how
i if in into is isn it its itself just let list made make makes many may me might more most much must my
need needs neither no nor not now of off on once one only or other our out over own please said same say says
shall she should show so some such tell than that the their them then there these they thing things this those
through to too under until up upon us use used uses using very via want wants was way we were what whatever when
where whether which while who whom whose why will with within without would you your
"""

_SAME_MEANING = """
several, multiple
replaced, replaces, replace, superseded, supersedes, supersede
stdlib, standard library
run, execute
runs, executes
error, exception
errors, exceptions
forbid, forbids, disallow, disallows, prevent, prevents, prohibit, prohibits
allow, allows, permit, permits, enable, enables
delete, remove
begin, begins, start, starts, open, opens
finish, finishes, end, ends, close, closes
option, flag
argument, parameter
arguments, parameters
parallel, concurrent
build, compile
author, authors, wrote, written
function, callable
"""

MOST_WORDS = 60
"""Words of a text that are searched for; the rest of a very long one is left out."""

_MARKED_LITERAL = re.compile(r"`+([^`]+?)`+|\"([^\"]+)\"|“([^”]+)”")
_CODE_WORD = re.compile(
    r"(?<![\w.`-])(?:--?[A-Za-z][\w-]+|@\w[\w.]*|\w+(?:\.\w+)+|\w*_\w+|[a-z]+[A-Z]\w*|[A-Z][a-z]+[A-Z]\w*)(?:\(\))?"
)
_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)?")


def _alternatives() -> dict[str, tuple[str, ...]]:
    groups = [[word.strip() for word in line.split(",")] for line in _SAME_MEANING.strip().splitlines()]
    return {word: tuple(other for other in group if other != word) for group in groups for word in group}


STOP_WORDS = frozenset(_SAYING_NOTHING.split())
"""Words that are not searched for."""

ALTERNATIVES = _alternatives()
"""For a word in lower case, other words that documents use in its place."""


def all_words(text: str) -> list[str]:
    """Every word of a text in lower case, in its order; punctuation and underscores part words."""
    return [word.lower() for word in _WORD.findall(text)]


def key_words(text: str) -> tuple[str, ...]:
    """The words of a text that name something, in lower case, each once, in their order; at most MOST_WORDS."""
    words = (word.removesuffix("'s").removesuffix("’s") for word in all_words(text))
    return tuple(dict.fromkeys(word for word in words if word not in STOP_WORDS and _says_something(word)))[:MOST_WORDS]


def literals_of(text: str) -> list[str]:
    """Code and quoted names in a text: what stands in backticks or quotation marks, and words that look like code."""
    marked = [next(filter(None, groups)) for groups in _MARKED_LITERAL.findall(text)]
    return list(dict.fromkeys([*marked, *_CODE_WORD.findall(_MARKED_LITERAL.sub(" ` ", text))]))


def alternatives_of(phrase: str) -> list[str]:
    """The phrase itself, then what may stand in its place: `multiple interpreters` for `several interpreters`."""
    words = phrase.split(" ")
    replaced = (
        " ".join([*words[:place], other, *words[place + 1 :]])
        for place, word in enumerate(words)
        for other in ALTERNATIVES.get(word, ())
    )
    return list(dict.fromkeys([phrase, *ALTERNATIVES.get(phrase, ()), *replaced]))


def without_literals(text: str) -> tuple[str, list[str]]:
    """A text with a numbered mark (NUL, number, NUL) for each marked literal, and the literals with their marks."""
    kept: list[str] = []

    def hidden(match: re.Match[str]) -> str:
        kept.append(match[0])
        return f"\0{len(kept) - 1}\0"

    return _MARKED_LITERAL.sub(hidden, text.replace("\0", " ")), kept


def with_literals(text: str, kept: list[str]) -> str:
    """The reverse of `without_literals`, for any part of its text."""
    return re.sub(r"\0(\d+)\0", lambda match: kept[int(match[1])], text)


def _says_something(word: str) -> bool:
    return len(word) > 1 or not word.isascii() or word.isdigit()
