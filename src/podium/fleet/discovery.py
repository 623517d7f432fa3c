"""Discovery: which agents can do something, best first. Pure; the registry tells it of every change.

An index keeps, for each capability, service type, tag, type and location, the set of its agents, so that a query looks
at those of its rarest word only. Answers are kept by query and never stale: each word counts its changes, and an agent
that a change could bring into an answer, or out of it, or to another place in it, has every word of that query.
"""

from __future__ import annotations

from collections.abc import Iterator
from operator import attrgetter

from msgspec import Struct

from podium.exceptions import InvalidInputError
from podium.fleet.descriptor import SLA, AgentDescriptor
from podium.workflow.versions import satisfies

MAX_ANSWERS = 1_024  # kept
MAX_KEPT_AGENTS = 500_000  # in all answers that are kept

Rank = tuple[float, float, str]
_EVERY = ("", "")  # the word that all agents have
_by_rank = attrgetter("rank")


class Query(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is looked for. An agent must have all of the capabilities, service types and tags, and satisfy the rest;
    only `location_preference` leaves nobody out, it brings those of that location (or tagged so) to the front.
    """

    capabilities: tuple[str, ...] = ()
    service_types: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    agent_type: str = ""
    location: str = ""
    version: str = ""  # a constraint, as `podium.workflow.versions` reads it
    min_health_score: float = 0.0
    sla: SLA | None = None
    location_preference: str = ""
    max_results: int | None = None

    def __post_init__(self) -> None:
        if not 0.0 <= self.min_health_score <= 1.0:
            raise InvalidInputError(f"min_health_score is from 0.0 to 1.0, not {self.min_health_score!r}")
        if self.max_results is not None and self.max_results < 1:
            raise InvalidInputError(f"max_results is at least 1, not {self.max_results!r}")


class Candidate:
    """What discovery knows of an agent. The registry changes `rank`, `health` and `open`, then calls `touch`."""

    __slots__ = ("descriptor", "health", "open", "rank", "words")

    def __init__(self, descriptor: AgentDescriptor) -> None:
        self.descriptor = descriptor
        self.health = 1.0
        self.rank: Rank = (-1.0, 0.0, descriptor.agent_id)
        self.open = True  # whether it may be found at all: neither unhealthy nor draining
        self.words: tuple[_Word, ...] = ()

    def keeps(self, sla: SLA, now_us: int) -> bool:
        """Whether it is known to keep a level of service."""
        raise NotImplementedError


class _Word:
    """The agents of one capability (tag, type …), and when they last changed."""

    __slots__ = ("agents", "joined", "moved", "name")

    def __init__(self, name: tuple[str, str]) -> None:
        self.name = name
        self.agents: set[Candidate] = set()
        self.joined = 0  # the index's count at the last change of who is in it
        self.moved = 0  # of their ranks or openness


class _Answer:
    """What a query found. `fitting` are the agents that fit by what they registered, in the order of their ranks."""

    __slots__ = ("fitting", "found", "joined", "moved", "word")

    def __init__(self, word: _Word, fitting: list[Candidate]) -> None:
        self.word = word
        self.fitting = fitting
        self.found: tuple[AgentDescriptor, ...] = ()
        self.joined = word.joined
        self.moved = -1


class DiscoveryIndex:
    """The agents by what they can do, and the answers to the latest queries."""

    def __init__(self, max_answers: int = MAX_ANSWERS) -> None:
        self._words: dict[tuple[str, str], _Word] = {}
        self._answers: dict[Query, _Answer] = {}
        self._max_answers = max_answers
        self._kept_agents = 0
        self._changes = 0
        self._capabilities = 0
        self.queries = 0
        self.hits = 0

    @property
    def unique_capabilities(self) -> int:
        """How many different capabilities the agents have."""
        return self._capabilities

    def add(self, candidate: Candidate) -> None:
        """Take an agent in."""
        self._changes += 1
        words = []
        for name in _words_of(candidate.descriptor):
            word = self._words.get(name)
            if word is None:
                word = self._words[name] = _Word(name)
                self._capabilities += name[0] == "capability"
            word.agents.add(candidate)
            word.joined = self._changes
            words.append(word)
        candidate.words = tuple(words)

    def remove(self, candidate: Candidate) -> None:
        """Take an agent out."""
        self._changes += 1
        for word in candidate.words:
            word.agents.discard(candidate)
            word.joined = self._changes  # also of a word that goes: answers that hold it see that they are stale
            if not word.agents:
                del self._words[word.name]
                self._capabilities -= word.name[0] == "capability"
        candidate.words = ()

    def touch(self, candidate: Candidate) -> None:
        """An agent's rank, health or openness has changed."""
        self._changes += 1
        for word in candidate.words:
            word.moved = self._changes

    def find(self, query: Query, now_us: int) -> tuple[AgentDescriptor, ...]:
        """Return the agents that fit, preferred ones first, then by health, load and id."""
        self.queries += 1
        answer = self._answers.get(query)
        if answer is not None and answer.joined == answer.word.joined:
            if answer.moved == answer.word.moved:
                self.hits += 1
                return answer.found
        else:
            if answer is not None:
                self._forget(query)
            answer = self._fitting(query)
            if answer is None:
                return ()
            self._keep(query, answer)
        self._rank(answer, query, now_us)
        return answer.found

    def _fitting(self, query: Query) -> _Answer | None:
        """Return the agents that have every word of the query, none if there is no such word."""
        if query.version:
            satisfies("1", query.version)  # an unreadable constraint is refused, whoever is there
        words = []
        for name in _words_in(query) or (_EVERY,):
            word = self._words.get(name)
            if word is None:
                return None
            words.append(word)
        words.sort(key=lambda word: len(word.agents))
        found = words[0].agents
        if len(words) > 1:
            found = found.intersection(*(word.agents for word in words[1:]))
        if query.version:
            return _Answer(words[0], [c for c in found if satisfies(c.descriptor.version, query.version)])
        return _Answer(words[0], list(found))

    def _rank(self, answer: _Answer, query: Query, now_us: int) -> None:
        """Bring an answer up to the present ranks. The list keeps its last order, so little is left to sort."""
        answer.fitting.sort(key=_by_rank)
        least, sla, place = query.min_health_score, query.sla, query.location_preference
        found = answer.fitting
        if sla is not None:
            found = [c for c in found if c.keeps(sla, now_us)]
        agents = [c.descriptor for c in found if c.open and c.health >= least]
        if place:
            agents.sort(key=lambda agent: not _is_at(agent, place))  # a stable sort: within, the ranks' order stays
        answer.found = tuple(agents[: query.max_results])
        # What an SLA's availability says changes with time alone: such an answer is put together anew each time.
        answer.moved = answer.word.moved if sla is None else -1

    def _keep(self, query: Query, answer: _Answer) -> None:
        self._answers[query] = answer
        self._kept_agents += len(answer.fitting)
        while len(self._answers) > self._max_answers or (self._kept_agents > MAX_KEPT_AGENTS and self._answers):
            self._forget(next(iter(self._answers)))

    def _forget(self, query: Query) -> None:
        self._kept_agents -= len(self._answers.pop(query).fitting)


def _words_of(descriptor: AgentDescriptor) -> Iterator[tuple[str, str]]:
    yield _EVERY
    yield "type", descriptor.agent_type
    if descriptor.location:
        yield "location", descriptor.location
    for capability in descriptor.capabilities:
        yield "capability", capability
    for service in descriptor.service_types:
        yield "service", service
    for tag in descriptor.tags:
        yield "tag", tag


def _words_in(query: Query) -> list[tuple[str, str]]:
    words = [("capability", capability) for capability in query.capabilities]
    words += [("service", service) for service in query.service_types]
    words += [("tag", tag) for tag in query.tags]
    if query.agent_type:
        words.append(("type", query.agent_type))
    if query.location:
        words.append(("location", query.location))
    return words


def _is_at(descriptor: AgentDescriptor, place: str) -> bool:
    return descriptor.location == place or place in descriptor.tags
