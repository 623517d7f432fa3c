"""Whatever happens to a fleet, what the registry says is what a plain account of the same events says."""

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from podium.clock import SECOND
from podium.exceptions import RegistrationConflictError, RegistryError
from podium.fleet.descriptor import SLA, AgentDescriptor
from podium.fleet.discovery import Query
from podium.fleet.member import AVAILABLE
from podium.fleet.registry import ChangeKind, FleetLimits, FleetRegistry, Known, Outcome
from podium.fleet.states import AgentState
from podium.workflow.versions import satisfies

IDS = [f"a{n}" for n in range(6)]
CAPABILITIES = ["add", "divide", "multiply"]
TAGS = ["production", "east"]
PLACES = ["", "east", "west"]
VERSIONS = ["1.0.0", "1.2.0", "2.1.0", "build-7"]

ids = st.sampled_from(IDS)
subsets = st.lists(st.sampled_from(CAPABILITIES), unique=True, max_size=3)
metrics = st.dictionaries(
    st.sampled_from(["cpu_usage", "memory_usage", "error_rate", "response_time_ms"]),
    st.sampled_from([0.0, 0.3, 0.85, 1.0, 400.0]),
    max_size=3,
)
descriptors = st.builds(
    AgentDescriptor,
    agent_id=ids,
    agent_type=st.sampled_from(["calculator", "reporter"]),
    version=st.sampled_from(VERSIONS),
    capabilities=subsets,
    service_types=st.lists(st.sampled_from(["computation", "data"]), unique=True),
    tags=st.lists(st.sampled_from(TAGS), unique=True),
    location=st.sampled_from(PLACES),
    slots=st.integers(1, 3),
    sla=st.none() | st.builds(SLA, response_time_ms=st.sampled_from([None, 200.0]), error_rate=st.just(0.1)),
    incarnation=st.sampled_from(["", "i1", "i2"]),
    key=st.sampled_from(["k1", "k1", "k1", "k2"]),
)
queries = st.builds(
    Query,
    capabilities=st.lists(st.sampled_from([*CAPABILITIES, "nobody"]), max_size=2).map(tuple),
    service_types=st.sampled_from([(), (), ("data",)]),
    tags=st.sampled_from([(), (), ("production",)]),
    agent_type=st.sampled_from(["", "", "calculator"]),
    location=st.sampled_from(PLACES),
    version=st.sampled_from(["", "", "^1.0", ">=2,<3", "build-7"]),
    min_health_score=st.sampled_from([0.0, 0.5, 0.9]),
    sla=st.none() | st.builds(SLA, error_rate=st.just(0.2), availability=st.sampled_from([None, 0.9])),
    location_preference=st.sampled_from(["", "east", "nowhere"]),
    max_results=st.sampled_from([None, None, 1, 3]),
)


def brute_force(registry: FleetRegistry, query: Query, now_us: int) -> list[str]:
    """Look at every agent, with no index and nothing kept."""
    found = []
    for info in registry.infos(now_us):
        agent = info.descriptor
        promised = agent.sla or SLA()
        errors = info.metrics.get("error_rate", promised.error_rate)
        response = info.metrics.get("response_time_ms", promised.response_time_ms)
        asked = query.sla or SLA()
        fits = (
            info.state in AVAILABLE
            and set(query.capabilities) <= set(agent.capabilities)
            and set(query.service_types) <= set(agent.service_types)
            and set(query.tags) <= set(agent.tags)
            and query.agent_type in ("", agent.agent_type)
            and query.location in ("", agent.location)
            and (not query.version or satisfies(agent.version, query.version))
            and info.health >= query.min_health_score
            and (asked.error_rate is None or (errors is not None and errors <= asked.error_rate))
            and (asked.response_time_ms is None or (response is not None and response <= asked.response_time_ms))
            and (asked.availability is None or info.sla.availability >= asked.availability)
        )
        if fits:
            near = query.location_preference in (agent.location, *agent.tags) if query.location_preference else False
            found.append((not near, -info.health, Fraction(info.held, agent.slots), agent.agent_id))
    return [agent_id for *_, agent_id in sorted(found)][: query.max_results]


class Fleet(RuleBasedStateMachine):
    """Events in any order; a few queries are asked again and again, so that answers are kept and must stay right."""

    def __init__(self):
        super().__init__()
        self.registry = FleetRegistry(FleetLimits(max_agents=5))
        self.now_us = 1_000 * SECOND
        self.heard: dict[str, int] = {}
        self.asked: list[Query] = [Query(), Query(capabilities=("add",)), Query(capabilities=("add", "divide"))]

    @rule(descriptor=descriptors)
    def register(self, descriptor):
        agent_id = descriptor.agent_id
        known = self.registry.descriptor(agent_id)
        full = known is None and len(self.registry) == 5
        outcome = None
        try:
            outcome = self.registry.register(descriptor, self.now_us).outcome
        except RegistrationConflictError:
            assert known is not None
            return
        except RegistryError:
            full_is_said = True
        else:
            full_is_said = False
        assert full_is_said == full
        if full:
            return
        assert (outcome is Outcome.NEW) == (known is None)
        assert self.registry.descriptor(agent_id) == descriptor
        self.heard[agent_id] = self.now_us

    @rule(agent_id=ids, said=metrics)
    def heartbeat(self, agent_id, said):
        known = self.registry.heartbeat(agent_id, said, self.now_us)
        assert (known is Known.KNOWN) == (agent_id in self.registry)
        if known is Known.KNOWN:
            self.heard[agent_id] = self.now_us

    @rule(agent_id=ids, held=st.integers(0, 3))
    def hold(self, agent_id, held):
        self.registry.note_held(agent_id, held)

    @rule(agent_id=ids, succeeded=st.booleans())
    def outcome(self, agent_id, succeeded):
        self.registry.note_outcome(agent_id, succeeded)

    @rule(agent_id=ids)
    def drain(self, agent_id):
        self.registry.drain(agent_id)

    @rule(agent_id=ids)
    def deregister(self, agent_id):
        assert self.registry.deregister(agent_id) == (agent_id in self.heard)
        self.heard.pop(agent_id, None)

    @rule(seconds=st.sampled_from([1, 20, 45, 60, 240, 301]))
    def wait(self, seconds):
        self.now_us += seconds * SECOND

    @rule()
    def check(self):
        changes = self.registry.check(self.now_us)
        lost = [change.descriptor.agent_id for change in changes if change.kind is ChangeKind.LOST]
        silent = [a for a, at_us in self.heard.items() if self.now_us - at_us >= 300 * SECOND]
        assert sorted(lost) == sorted(silent)
        for agent_id in silent:
            del self.heard[agent_id]

    @rule(query=queries)
    def ask_from_now_on(self, query):
        self.asked = [*self.asked[-7:], query]

    @invariant()
    def answers_are_those_of_brute_force(self):
        for query in self.asked:
            found = [descriptor.agent_id for descriptor in self.registry.discover(query, self.now_us)]
            assert found == brute_force(self.registry, query, self.now_us)

    @invariant()
    def states_and_counts_are_those_of_the_agents(self):
        infos = self.registry.infos(self.now_us)
        assert {info.agent_id for info in infos} == set(self.heard)
        for info in infos:
            unhealthy = self.now_us - self.heard[info.agent_id] >= 60 * SECOND
            assert (info.state is AgentState.UNHEALTHY) == unhealthy
            if not unhealthy and info.state is not AgentState.DRAINING:
                assert (info.state is AgentState.BUSY) == (info.held > 0)
        counts = self.registry.counts()
        assert counts == {s: n for s in AgentState if (n := sum(info.state is s for info in infos))}
        said = self.registry.get_metrics()
        assert said["total_agents"] == len(infos) == said["healthy_agents"] + said["unhealthy_agents"]
        assert said["unique_capabilities"] == len({c for info in infos for c in info.descriptor.capabilities})


TestFleet = Fleet.TestCase
TestFleet.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


@given(st.lists(descriptors, max_size=5, unique_by=lambda d: d.agent_id), queries)
def test_an_answer_is_the_same_when_it_is_asked_twice_and_counts_as_kept(agents, query):
    registry = FleetRegistry()
    for agent in agents:
        registry.register(agent, 0)
    first = registry.discover(query, 1)
    assert registry.discover(query, 1) == first
    if first and query.sla is None:
        assert registry.get_metrics()["discovery_cache_hits"] == 1


@pytest.mark.parametrize("seconds", [0, 44, 45, 59, 60, 299, 300, 100_000])
def test_how_often_somebody_looks_changes_nothing(seconds):
    often, seldom = FleetRegistry(), FleetRegistry()
    for registry in (often, seldom):
        registry.register(AgentDescriptor(agent_id="a"), 0)
    changes = [change for at in range(min(seconds, 400) + 1) for change in often.check(at * SECOND)]
    kinds = [change.kind for change in seldom.check(seconds * SECOND)]
    assert [change.kind for change in changes] == kinds
    assert often.infos(seconds * SECOND) == seldom.infos(seconds * SECOND)
