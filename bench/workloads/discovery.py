"""F1: agents that have two given capabilities, found among 10,000. Beside it the same by looking at every agent.

Between two queries the fleet lives: an agent reports metrics that change its health, and another one takes or ends a
task; so few answers are the kept ones. Each of the capabilities is one of a hundred, and each agent has eight of them.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable

from bench.figures import Figure, Setup, Workload, percentile
from podium.fleet.descriptor import AgentDescriptor
from podium.fleet.discovery import Query
from podium.fleet.registry import FleetRegistry

AGENTS = 10_000
CAPABILITIES = [f"capability-{number}" for number in range(100)]
EACH = 8
PAIRS = 200  # that are asked for, again and again
PERCENTS = (50, 99)
ASKED_MS = {99: 5.0}


def measure(setup: Setup) -> list[Figure]:
    """Run F1 and the plain look in turns."""
    chance = random.Random(1)
    registry = _fleet(chance, min(AGENTS, setup.size.latencies * 100))
    agents = [(frozenset(i.descriptor.capabilities), i.agent_id) for i in registry.infos(0)]
    pairs = [Query(capabilities=tuple(sorted(chance.sample(CAPABILITIES, 2)))) for _ in range(PAIRS)]
    found: dict[int, list[float]] = {percent: [] for percent in PERCENTS}
    plain: dict[int, list[float]] = {percent: [] for percent in PERCENTS}
    for _ in range(setup.runs):
        times = _times(registry, pairs, chance, setup.size.latencies * 10, lambda query: registry.discover(query, 0))
        looks = _times(registry, pairs, chance, setup.size.latencies, lambda query: _look(agents, query))
        for percent in PERCENTS:
            found[percent].append(percentile(times, percent) * 1_000)
            plain[percent].append(percentile(looks, percent) * 1_000)
    return [
        *(_figure(f"two capabilities, p{p}", found[p], p, beside=_plain(p)) for p in PERCENTS),
        *(_figure(_plain(p), plain[p], p) for p in PERCENTS),
    ]


def _figure(name: str, runs: list[float], percent: int, beside: str = "") -> Figure:
    return Figure(
        workload="F1",
        name=name,
        unit="ms",
        runs=tuple(runs),
        better="less",
        asked=ASKED_MS.get(percent) if beside else None,
        beside=beside,
        is_limit=not beside,
    )


def _plain(percent: int) -> str:
    return f"every agent looked at, p{percent}"


def _fleet(chance: random.Random, count: int) -> FleetRegistry:
    registry = FleetRegistry()
    for number in range(count):
        agent = AgentDescriptor(agent_id=f"agent-{number:05}", capabilities=chance.sample(CAPABILITIES, EACH))
        registry.register(agent, 0)
        registry.heartbeat(agent.agent_id, {"cpu_usage": chance.random()}, 0)
    return registry


def _times(
    registry: FleetRegistry,
    queries: list[Query],
    chance: random.Random,
    count: int,
    ask: Callable[[Query], object],
) -> list[float]:
    found = []
    for _ in range(count):
        _live(registry, chance)
        query = chance.choice(queries)
        begin = time.perf_counter()
        ask(query)
        found.append(time.perf_counter() - begin)
    return sorted(found)


def _live(registry: FleetRegistry, chance: random.Random) -> None:
    count = len(registry)
    registry.heartbeat(f"agent-{chance.randrange(count):05}", {"cpu_usage": chance.random()}, 0)
    registry.note_held(f"agent-{chance.randrange(count):05}", chance.randrange(2))


def _look(agents: list[tuple[frozenset[str], str]], query: Query) -> list[str]:
    """Return the ids of those that fit, without health or order: no more than a list and a loop."""
    wanted = frozenset(query.capabilities)
    return [agent_id for capabilities, agent_id in agents if wanted <= capabilities]


WORKLOAD = Workload("F1", "discovery: two capabilities among 10,000 agents, whose health and load change", measure)
