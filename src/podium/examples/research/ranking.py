"""Scores documents and passages for one topic; pure but for the counts that it asks of the index.

A document is scored by BM25 over its passages, by what it says about itself, and by its best passage. Within a
document, passages are told apart by the words that are rare in that very document: what all of it is about says little.
BM25: Robertson and Zaragoza, The Probabilistic Relevance Framework (2009), section 3.4.
"""

from __future__ import annotations

from collections import defaultdict

from podium.examples.research.index import Index, Part, inverse_frequency
from podium.examples.research.topics import Topic
from podium.examples.research.vocabulary import all_words

PASSAGES_RANKED = 400

BODY, SUBJECT, BEST_PASSAGE = 0.3, 0.4, 0.3
"""The three parts of a document's score."""

PARTS: dict[Part, float] = {"title": 0.4, "opening": 0.4, "fields": 0.3, "headings": 0.15}
"""What it counts that a document names a word in a part of itself."""

PHRASE, FORM = 0.7, 0.5
"""What a phrase, and a word in exactly the asked form, count beside a word in any form (1)."""

SATURATION, LENGTH = 3.0, 0.75
"""BM25's k1 and b; k1 is above the usual 1.2 because here a whole passage counts as one occurrence."""

OUTDATED = 0.92
"""The factor for a document whose own header says that another one has replaced it."""

RANK, WITHIN = 0.2, 0.8
"""The parts of a passage's score: BM25 over all passages, and the words it holds weighed within its document."""

HELD_ALREADY = 0.7
"""What a word still counts after each chosen passage of the same document that holds it."""

FRONT_MATTER_ASKED = frozenset({"who", "author", "authors", "wrote", "written", "when", "date", "version", "status"})
"""A question with one of these may be answered by a document's header, which otherwise counts little."""

NAME_ASKED = frozenset({"call", "calls", "called", "name", "named", "term", "mean", "means", "definition"})
NAMING_SECTIONS = ("glossary", "terminology", "definition", "naming")
"""A question for a name may be answered where a document explains its words."""

ASKED_FOR = 1.3
"""The prior of such passages."""


def scored_passages(topic: Topic, index: Index) -> dict[int, float]:
    """The passages that hold something of the topic, best first; scores are 0 to about 1.2."""
    ranked = index.ranked_passages((*topic.words, *topic.phrases), PASSAGES_RANKED)
    best = max(ranked.values(), default=1.0)
    weights = _word_weights(topic, index)
    scores = {
        row: (0.6 * score / best + 0.4 * _share_held(weights, row, index)) * index.entries[row].prior
        for row, score in ranked.items()
    }
    return _best_first(scores)


def scored_documents(topic: Topic, passages: dict[int, float], index: Index) -> dict[int, float]:
    """The documents that hold something of the topic, best first, given its scored passages."""
    bodies = _body_scores(topic, index)
    best_body = max(bodies.values(), default=1.0)
    best_passage = max(passages.values(), default=1.0)
    top_passages: dict[int, float] = {}
    for row, score in passages.items():
        top_passages.setdefault(index.document_of[row], score / best_passage)
    subjects = _subject_scores(topic, index)
    scores: dict[int, float] = {}
    for number, body in bodies.items():
        about = SUBJECT * subjects.get(number, 0.0) + BEST_PASSAGE * top_passages.get(number, 0.0)
        scores[number] = (BODY * body / best_body + about) * _validity(number, index)
    return _best_first(scores)


def passages_within(topic: Topic, number: int, ranked: dict[int, float], limit: int, index: Index) -> dict[int, float]:
    """The `limit` passages of one document that tell most about the topic, best first, given its scored passages.

    Each next one is chosen for the words that those before it have not held, so that together they cover the topic.
    """
    first = index.document_of.index(number)
    rows = range(first, first + index.sizes[number])
    best = max(ranked.values(), default=1.0)
    held = {term: index.holding(term).intersection(rows) for term in (*topic.words, *topic.phrases)}
    weights = {term: _weight_within(term, topic, len(rows), len(found)) for term, found in held.items() if found}
    total = sum(weights.values()) or 1.0

    def gain(row: int) -> float:
        newly_held = sum(weight for term, weight in weights.items() if row in held[term])
        return _prior(topic, row, index) * (RANK * ranked.get(row, 0.0) / best + WITHIN * newly_held / total)

    chosen: dict[int, float] = {}
    while len(chosen) < min(limit, len(rows)):
        row = max((row for row in rows if row not in chosen), key=gain)
        if not (score := gain(row)):
            break
        chosen[row] = score
        weights = {term: weight * (HELD_ALREADY if row in held[term] else 1.0) for term, weight in weights.items()}
    return chosen


def coverage(topic: Topic, row: int, index: Index) -> float:
    """How much of the topic's words, each weighed by its rarity, a passage holds: 0 to 1."""
    return _share_held(_word_weights(topic, index), row, index)


def _word_weights(topic: Topic, index: Index) -> dict[str, float]:
    return {word: _weight(word, index) for word in topic.words}


def _share_held(weights: dict[str, float], row: int, index: Index) -> float:
    total = sum(weights.values())
    return sum(weight for word, weight in weights.items() if row in index.holding(word)) / total if total else 0.0


def _body_scores(topic: Topic, index: Index) -> dict[int, float]:
    """BM25 of the documents, where a passage that holds a term counts as one occurrence, weighed by its prior."""
    average = len(index.entries) / len(index.documents)
    scores: defaultdict[int, float] = defaultdict(float)
    for rows, weight in _occurrences(topic, index):
        counts: defaultdict[int, float] = defaultdict(float)
        for row in rows:
            counts[index.document_of[row]] += index.entries[row].prior
        for number, count in counts.items():
            room = SATURATION * (1 - LENGTH + LENGTH * index.sizes[number] / average)
            scores[number] += weight * count * (SATURATION + 1) / (count + room)
    return dict(scores)


def _occurrences(topic: Topic, index: Index) -> list[tuple[frozenset[int], float]]:
    """For each term of the topic, the passages that hold it and its weight."""
    words = [(index.holding(word), 1.0) for word in topic.words]
    phrases = [(index.holding(phrase), PHRASE) for phrase in topic.phrases]
    forms = [(index.holding_form(word), FORM) for word in topic.words]
    return [(rows, share * _weight_of(rows, index)) for rows, share in (*words, *phrases, *forms)]


def _subject_scores(topic: Topic, index: Index) -> dict[int, float]:
    """How much of the topic each document names in its title, its first paragraphs, its fields and headings."""
    weights = {word: _weight(word, index) + _weight_of(index.holding_form(word), index) for word in topic.words}
    weights |= {phrase: PHRASE * _weight(phrase, index) for phrase in topic.phrases if index.holding(phrase)}
    total = sum(weights.values()) or 1.0
    scores: defaultdict[int, float] = defaultdict(float)
    for term, weight in weights.items():
        for part, counts in PARTS.items():
            for number in index.naming(part, term):
                scores[number] += weight * counts / total
    return scores


def _weight(word: str, index: Index) -> float:
    return _weight_of(index.holding(word), index)


def _weight_of(rows: frozenset[int], index: Index) -> float:
    """The rarity over passages, lowered for a term that nearly every document has somewhere."""
    spread = len({index.document_of[row] for row in rows}) / len(index.documents)
    return inverse_frequency(len(index.entries), len(rows)) * (1.25 - spread)


def _weight_within(term: str, topic: Topic, passages: int, number: int) -> float:
    return inverse_frequency(passages, number) * (1.0 if term in topic.words else 0.5)


def _validity(number: int, index: Index) -> float:
    return OUTDATED if index.documents[number].fields.get("Status") == "Superseded" else 1.0


def _prior(topic: Topic, row: int, index: Index) -> float:
    """A passage's prior, raised when it stands where questions of the topic's kind are answered."""
    entry = index.entries[row]
    asked = set(all_words(topic.text))
    if entry.passage.kind == "header" and asked & FRONT_MATTER_ASKED:
        return ASKED_FOR
    if any(word in entry.passage.section.lower() for word in NAMING_SECTIONS) and asked & NAME_ASKED:
        return ASKED_FOR
    return entry.prior


def _best_first(scores: dict[int, float]) -> dict[int, float]:
    return dict(sorted(scores.items(), key=lambda item: (-item[1], item[0])))
