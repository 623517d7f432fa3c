"""Splits a question into topics that can be researched apart: the whole question, its clauses, code and key terms.

Rules only, and the corpus's own word counts: what is rare in the documents comes first. Reads nothing but the index.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import pairwise

import msgspec

from podium.examples.research.exceptions import QuestionEmpty
from podium.examples.research.index import Index
from podium.examples.research.vocabulary import (
    STOP_WORDS,
    all_words,
    key_words,
    literals_of,
    with_literals,
    without_literals,
)

WHOLE, CLAUSE, LITERAL, TERM = 1.0, 0.5, 0.3, 0.05
"""What a finding counts by the kind of topic that found it."""

MOST_TOPICS = 9
KEY_TERMS = 3

_ASKING = "what|which|who|whom|whose|when|where|why|how"
_CLAUSE_END = re.compile(
    rf"[;:?!]+(?=\s|$)|,\s+(?:(?:and|or|but)\s+)?|\s+(?:and|or|but)\s+(?=(?:{_ASKING})\b)", re.IGNORECASE
)


class Topic(msgspec.Struct, frozen=True):
    """Something to look for: its words, its phrases (words that must follow each other), and what a find counts."""

    text: str
    words: tuple[str, ...]
    phrases: tuple[str, ...]
    weight: float


def decompose(question: str, index: Index) -> list[Topic]:
    """The topics of a question, the weightiest first; the first is always the question as a whole.

    Raises:
        QuestionEmpty: it has no word but stop words.
    """
    asked = " ".join(question.split())
    whole = _topic(asked, WHOLE, index)
    if not whole.words:
        raise QuestionEmpty()
    clauses = [topic for clause in _clauses(asked) if len((topic := _topic(clause, CLAUSE, index)).words) > 1]
    literals = [topic for literal in literals_of(asked) if (topic := _topic(literal, LITERAL, index)).words]
    terms = [_topic(word, TERM, index) for word in _rarest(whole.words, index)]
    return _distinct([whole, *clauses, *literals, *terms])[:MOST_TOPICS]


def _topic(text: str, weight: float, index: Index) -> Topic:
    literals = literals_of(text)
    words = key_words(text) or tuple(word for literal in literals for word in all_words(literal))
    return Topic(text, words, _phrases(text, literals, index), weight)


def _phrases(text: str, literals: list[str], index: Index) -> tuple[str, ...]:
    """Code literals, neighbouring key words, and the other form of what the documents abbreviate."""
    words = all_words(text)
    spoken = " ".join(words)
    code = [literal for literal in literals if len(all_words(literal)) > 1]
    pairs = [f"{a} {b}" for a, b in pairwise(words) if not {a, b} & STOP_WORDS]
    long_forms = [long for short, long in index.abbreviations.items() if short in words]
    short_forms = [short for short, long in index.abbreviations.items() if long in spoken]
    return tuple(dict.fromkeys([*code, *pairs, *long_forms, *short_forms]))


def _clauses(question: str) -> list[str]:
    """The parts of a question between its conjunctions and commas, code left in one piece."""
    marked, literals = without_literals(question)
    parts = (with_literals(part, literals).strip() for part in _CLAUSE_END.split(marked))
    return [part for part in parts if part]


def _rarest(words: Iterable[str], index: Index) -> list[str]:
    """The words that the documents hold least often, but do hold."""
    held = [word for word in words if index.holding(word)]
    return sorted(held, key=lambda word: -index.rarity(word))[:KEY_TERMS]


def _distinct(topics: list[Topic]) -> list[Topic]:
    """The topics without those that look for the same words as an earlier one."""
    first: dict[frozenset[str], Topic] = {}
    for topic in topics:
        first.setdefault(frozenset(topic.words), topic)
    return list(first.values())
