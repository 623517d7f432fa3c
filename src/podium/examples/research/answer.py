"""Weighs the findings of all shards against each other: which documents count, and which passages answer.

Pure: findings in, choices out. It neither searches nor checks nor writes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import msgspec

from podium.examples.research.findings import Finding
from podium.examples.research.topics import WHOLE

QUOTED_FROM_MAIN_SOURCE = 4
NEARLY_AS_WEIGHTY = 0.8
"""A second document is quoted in the answer when its weight is at least this share of the main one's."""

LEAST_COVERAGE = 0.25
"""If no passage holds this share of the question's word weight, the documents don't answer it."""

QUOTED_PER_TOPIC = 2
OTHER_SOURCES = 2


class Source(msgspec.Struct, frozen=True):
    """A document and its weight for the whole question: its scores for all topics, each times the topic's weight."""

    file: str
    weight: float


class Answer(msgspec.Struct, frozen=True):
    """What is to be quoted: passages that answer, what other sources say, then what tells most about each topic."""

    sources: tuple[Source, ...]
    passages: tuple[Finding, ...]
    elsewhere: tuple[Finding, ...]
    topics: dict[str, tuple[Finding, ...]]


def compose(findings: Iterable[Finding]) -> Answer:
    """The answer that the findings give; it quotes nothing when no passage comes near the question."""
    known = list(findings)
    sources = weigh(known)
    if max((finding.coverage for finding in known if finding.weight >= WHOLE), default=0.0) < LEAST_COVERAGE:
        return Answer(sources, (), (), {})
    main, others = sources[0], list(sources[1:])
    passages = _best_of(known, main.file, QUOTED_FROM_MAIN_SOURCE)
    if others and others[0].weight >= NEARLY_AS_WEIGHTY * main.weight:
        passages += _best_of(known, others.pop(0).file, 1)
    elsewhere = [finding for source in others[:OTHER_SOURCES] for finding in _best_of(known, source.file, 1)]
    parts = [finding for finding in known if finding.weight < WHOLE]
    return Answer(sources, tuple(passages), tuple(elsewhere), _by_topic(parts, sources))


def weigh(findings: Iterable[Finding]) -> tuple[Source, ...]:
    """The documents of the findings, the weightiest first."""
    scores: dict[tuple[str, str], float] = {}
    for finding in findings:
        scores[finding.file, finding.topic] = finding.weight * finding.document_score
    weights: defaultdict[str, float] = defaultdict(float)
    for (file, _), score in scores.items():
        weights[file] += score
    ranked = sorted(weights.items(), key=lambda item: (-item[1], item[0]))
    return tuple(Source(file, round(weight, 4)) for file, weight in ranked)


def _best_of(findings: list[Finding], file: str, limit: int) -> list[Finding]:
    """The passages of a document that tell most over all topics."""
    scores: defaultdict[tuple[int, int], float] = defaultdict(float)
    passages: dict[tuple[int, int], Finding] = {}
    for finding in findings:
        if finding.file == file:
            scores[finding.start, finding.end] += finding.weight * finding.score
            passages.setdefault((finding.start, finding.end), finding)
    ranked = sorted(scores, key=lambda place: (-scores[place], place))
    return [passages[place] for place in ranked[:limit]]


def _by_topic(findings: list[Finding], sources: tuple[Source, ...]) -> dict[str, tuple[Finding, ...]]:
    """For each topic in the order of weight, the best passages of the weightiest document that speaks of it."""
    order = {source.file: place for place, source in enumerate(sources)}
    topics: defaultdict[str, list[Finding]] = defaultdict(list)
    for finding in sorted(findings, key=lambda finding: -finding.weight):
        topics[finding.topic].append(finding)
    return {
        topic: tuple(sorted(found, key=lambda finding: (order[finding.file], -finding.score))[:QUOTED_PER_TOPIC])
        for topic, found in topics.items()
    }
