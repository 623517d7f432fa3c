"""What a researcher does with the topics of its shard: finds the documents that deal with each, and reads them.

A finding carries the exact text and where it stands, so that whoever uses it can check it. Weighing the shards'
findings against each other is the answer module's part.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from podium.examples.research.exceptions import ShardInvalid
from podium.examples.research.index import Entry, Index
from podium.examples.research.ranking import coverage, passages_within, scored_documents, scored_passages
from podium.examples.research.topics import Topic

DOCUMENTS_PER_TOPIC = 6
PASSAGES_PER_DOCUMENT = 5


class Finding(msgspec.Struct, frozen=True):
    """A passage that speaks of a topic; `quotation` is the file's text from character `start` up to `end`.

    `score` says how much of the topic the passage tells, `document_score` how much the whole document is about it,
    `coverage` how much of the topic's word weight the passage holds; each is about 0 to 1.
    """

    topic: str
    weight: float
    file: str
    number: str
    title: str
    section: str
    start: int
    end: int
    quotation: str
    score: float
    document_score: float
    coverage: float


class ShardFindings(msgspec.Struct, frozen=True):
    """What one researcher found: the shard, its topics' texts, and for each topic the findings, best document first."""

    index: int
    topics: tuple[str, ...]
    findings: tuple[Finding, ...]


def shard_of(topics: Sequence[Topic], index: int, count: int) -> list[Topic]:
    """The topics that belong to shard `index` of `count`: every count-th one.

    Raises:
        ShardInvalid: there is no such shard.
    """
    if not 0 <= index < count:
        raise ShardInvalid(f"There is no shard {index} of {count}. Expected 0 <= index < count.")
    return list(topics[index::count])


def find(topic: Topic, index: Index) -> list[Finding]:
    """The best passages of the documents that deal with the topic, best document first."""
    ranked = scored_passages(topic, index)
    documents = scored_documents(topic, ranked, index)
    return [
        _finding(topic, row, score, document_score, index)
        for number, document_score in list(documents.items())[:DOCUMENTS_PER_TOPIC]
        for row, score in passages_within(topic, number, ranked, PASSAGES_PER_DOCUMENT, index).items()
    ]


def _finding(topic: Topic, row: int, score: float, document_score: float, index: Index) -> Finding:
    entry: Entry = index.entries[row]
    return Finding(
        topic=topic.text,
        weight=topic.weight,
        file=entry.document.file,
        number=entry.document.number,
        title=entry.document.title,
        section=entry.passage.section,
        start=entry.passage.start,
        end=entry.passage.end,
        quotation=entry.quotation,
        score=round(score, 4),
        document_score=round(document_score, 4),
        coverage=round(coverage(topic, row, index), 4),
    )
