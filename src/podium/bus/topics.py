"""Topics and the subjects that carry them: each topic has a subject for each priority lane. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from zlib import crc32

from podium.bus.codec import subject_of
from podium.bus.lanes import Lane
from podium.bus.subjects import check_pattern, matches, overlap
from podium.bus.transport import Stream
from podium.exceptions import InvalidInputError

STREAM = Stream(name="PODIUM_BUS", subjects=("podium.bus.>",))


def distinct_topics(topics: str | Iterable[str]) -> tuple[str, ...]:
    """Return the topics without those that others cover. `*` stands for a word, a last `>` for the rest.

    Raises InvalidInputError for none, for a bad one, and for two that overlap in part: messages would come twice.
    """
    given = (topics,) if isinstance(topics, str) else tuple(dict.fromkeys(topics))
    if not given:
        raise InvalidInputError("no topic is given; at least one is needed, for example 'agent.messages'")
    for topic in given:
        check_pattern(topic)
    kept = tuple(topic for topic in given if not any(topic != wider and _covers(wider, topic) for wider in given))
    for place, topic in enumerate(kept):
        for other in kept[:place]:
            if overlap(topic, other):
                raise InvalidInputError(f"the topics {other!r} and {topic!r} overlap; a message would come twice")
    return kept


def subjects_by_lane(topics: Sequence[str]) -> list[tuple[str, ...]]:
    """Return the subjects of topics, those of each lane together, so that no lane waits behind another.

    Topics that end with `>` have one subject for all lanes.
    """
    # Behind the topic's last word, at least one, there is the lane: `a.>` isn't the topic `a` with any lane.
    open_ended = tuple(f"podium.bus.{topic[:-1]}*.>" for topic in topics if topic.endswith(">"))
    closed = [topic for topic in topics if not topic.endswith(">")]
    lanes = [tuple(subject_of(topic, lane) for topic in closed) for lane in Lane] if closed else []
    return [*lanes, *([open_ended] if open_ended else [])]


def place_name(group: str, subjects: Sequence[str]) -> str:
    """Return the durable name of a group's place: the same for the same group and subjects, in every process."""
    return f"{group}-{crc32(' '.join(sorted(subjects)).encode()):08x}"


def wanted(topics: Sequence[str], topic: str) -> bool:
    """Whether a topic is one of these."""
    return any(matches(pattern, topic) for pattern in topics)


def _covers(wider: str, topic: str) -> bool:
    """Whether all that matches the one matches the other too."""
    wide, words = wider.split("."), topic.split(".")
    if wide[-1] == ">":
        wide.pop()
        if len(words) <= len(wide):
            return False
    elif len(words) != len(wide) or words[-1] == ">":
        return False
    return all((one == "*" and other != ">") or one == other for one, other in zip(wide, words, strict=False))
