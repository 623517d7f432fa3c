"""AgentRegistry as document 003 uses it, and over a bus."""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from podium import SLA, AgentDescriptor, AgentRegistry, MessageBus, ServiceType
from podium.clock import SECOND, VirtualClock
from podium.exceptions import AgentNotFoundError, InvalidInputError, RegistrationConflictError, RegistryError
from podium.fleet.states import AgentState
from podium.settings import Settings
from podium.telemetry.metrics import Metrics
from podium.testing.natsserver import nats_server

PATIENCE = 30.0
QUICK = Settings(health_check_interval_seconds=0.01)
PRESENT = Settings(health_check_interval_seconds=0.2)
RECONNECTS = Settings(reconnect_wait_ms=50)


async def until(holds: Callable[[], Coroutine[Any, Any, bool]]) -> None:
    """Wait for a condition that nothing tells of."""
    async with asyncio.timeout(PATIENCE):
        while not await holds():  # noqa: ASYNC110 - nobody tells of it
            await asyncio.sleep(0)


def run(work):
    asyncio.run(work)


def test_the_snippet_of_document_003_runs_as_it_is_written():
    async def snippet() -> None:
        message_bus = MessageBus("memory://")
        await message_bus.initialize()
        registry = AgentRegistry(message_bus)
        await registry.initialize()

        # Register agent
        descriptor = AgentDescriptor(
            agent_id="agent-calculator-001",
            agent_type="CarbonCalculatorAgent",
            version="2.1.0",
            capabilities=["carbon_calculation", "scope3_emissions"],
            service_types=[ServiceType.COMPUTATION],
            endpoint="tcp://10.0.1.50:5000",
            tags=["production", "us-east-1"],
        )
        await registry.register(descriptor)

        # Discover agents
        agents = await registry.discover(
            capabilities=["carbon_calculation"], min_health_score=0.8, location_preference="us-east-1"
        )
        assert agents == [descriptor]

        # Send heartbeat
        await registry.heartbeat(
            "agent-calculator-001", {"cpu_usage": 0.45, "error_rate": 0.01, "response_time_ms": 234}
        )
        metrics = await registry.get_metrics()
        assert f"{metrics['total_agents']} {metrics['unique_capabilities']}" == "1 2"
        await registry.shutdown()
        await message_bus.shutdown()

    run(snippet())


@pytest.fixture(params=["memory", "nats"])
def bus_url(request, tmp_path):
    if request.param == "memory":
        yield "memory://shared-fleet"
        return
    with nats_server(tmp_path) as server:
        yield server.url


def test_registries_on_one_bus_know_each_other_s_agents_and_one_that_joins_learns_them(bus_url):
    async def shared() -> None:
        async with (
            MessageBus(bus_url) as one,
            MessageBus(bus_url) as two,
            AgentRegistry(one) as first,
            AgentRegistry(two) as second,
        ):
            await first.register(AgentDescriptor(agent_id="a", capabilities=["add"]))
            await until(lambda: knows(second, "a"))
            await first.heartbeat("a", {"error_rate": 0.5})
            await until(lambda: has_health(second, "a", 0.5))
            async with AgentRegistry(two) as third:
                await until(lambda: knows(third, "a"))
                assert (await third.get("a")).health == 0.5
                assert (await third.get_metrics())["registries"] == 3
                await third.deregister("a")
                await until(lambda: forgets(first, "a"))
                await until(lambda: forgets(second, "a"))

    run(shared())


def test_registries_find_each_other_again_after_the_server_forgot_everything(tmp_path):
    async def forgotten() -> None:
        async with (
            MessageBus(server.url, settings=RECONNECTS) as one,
            MessageBus(server.url, settings=RECONNECTS) as two,
            AgentRegistry(one, settings=PRESENT) as first,
            AgentRegistry(two, settings=PRESENT) as second,
        ):
            await asyncio.to_thread(server.kill)
            registering = asyncio.create_task(first.register(AgentDescriptor(agent_id="a")))
            await asyncio.to_thread(server.wipe)
            await registering
            await until(lambda: knows(second, "a"))

    with nats_server(tmp_path) as server:
        run(forgotten())


def test_a_name_that_is_taken_by_another_key_is_refused_and_noted():
    async def conflict() -> None:
        async with AgentRegistry() as registry:
            await registry.register(AgentDescriptor(agent_id="a", key="one"))
            with pytest.raises(RegistrationConflictError):
                await registry.register(AgentDescriptor(agent_id="a", key="two"))
            assert [entry.rule for entry in await registry.audit()] == ["another_key"]

    run(conflict())


def test_a_zombie_and_a_stranger_are_told_so():
    async def told() -> None:
        async with AgentRegistry() as registry:
            with pytest.raises(AgentNotFoundError, match="register it"):
                await registry.heartbeat("a", {})
            with pytest.raises(AgentNotFoundError):
                await registry.deregister("a")
            with pytest.raises(AgentNotFoundError):
                await registry.get("a")
            await registry.register(AgentDescriptor(agent_id="a", incarnation="i1"))
            await registry.register(AgentDescriptor(agent_id="a", incarnation="i2"))
            with pytest.raises(RegistryError, match="must stop"):
                await registry.heartbeat("a", {}, "i1")
            await registry.heartbeat("a", incarnation="i2")

    run(told())


def test_the_loop_marks_the_silent_and_forgets_the_lost():
    async def silent() -> None:
        # Two clocks: the loop's own time is real, so each turn sees a step of the virtual one as the silence it is,
        # as long as a step is below what counts as a stand-still of the process.
        clock = VirtualClock()
        async with AgentRegistry(settings=QUICK, clock=clock) as registry:
            await registry.register(AgentDescriptor(agent_id="a"))

            async def stands(state: AgentState | None) -> bool:
                clock.advance(SECOND // 2)
                with contextlib.suppress(AgentNotFoundError):
                    return (await registry.get("a")).state is state
                return state is None

            await until(lambda: stands(AgentState.UNHEALTHY))
            assert await registry.discover() == []
            await registry.heartbeat("a", {})
            assert [agent.agent_id for agent in await registry.discover()] == ["a"]

    run(silent())


def test_a_process_that_stood_still_excuses_its_agents():
    async def stalled() -> None:
        clock = VirtualClock()
        async with AgentRegistry(settings=QUICK, clock=clock) as registry:
            await registry.register(AgentDescriptor(agent_id="a"))
            clock.advance(1_000 * SECOND)

            async def is_excused() -> bool:
                return (await registry.agents())[0].heartbeat_age_seconds < 1

            await until(is_excused)

    run(stalled())


def test_queries_narrow_by_everything_and_lists_are_lists():
    async def queries() -> None:
        async with AgentRegistry() as registry:
            for number in range(3):
                await registry.register(
                    AgentDescriptor(
                        agent_id=f"a{number}",
                        version=f"{number}.1",
                        service_types=[ServiceType.DATA],
                        tags=["production"],
                        location=f"rack-{number}",
                        sla=SLA(response_time_ms=100.0 * (number + 1)),
                    )
                )
            found = await registry.discover(
                service_types=[ServiceType.DATA],
                tags=["production"],
                version=">=1",
                sla=SLA(response_time_ms=300),
                location_preference="rack-2",
                max_results=1,
            )
            assert [agent.agent_id for agent in found] == ["a2"]
            with pytest.raises(InvalidInputError, match="a list of names"):
                await registry.discover(capabilities="add")
            with pytest.raises(InvalidInputError, match="min_health_score"):
                await registry.discover(min_health_score=80)
            with pytest.raises(InvalidInputError, match="max_results"):
                await registry.discover(max_results=0)

    run(queries())


def test_metrics_have_the_documents_names():
    async def counted() -> str:
        metrics = Metrics()
        async with AgentRegistry(metrics=metrics) as registry:
            await registry.register(AgentDescriptor(agent_id="a"))
            await registry.discover()
            return metrics.render().decode()

    text = asyncio.run(counted())
    assert 'registry_agents_total{status="ACTIVE"} 1.0' in text
    assert 'registry_agent_health{agent_id="a"} 1.0' in text
    assert "registry_discovery_latency_ms_count 1.0" in text


def test_limits_are_those_of_the_environment(monkeypatch, tmp_path):
    async def full() -> None:
        async with AgentRegistry() as registry:
            await registry.register(AgentDescriptor(agent_id="a"))
            with pytest.raises(RegistryError, match="MAX_CONCURRENT_AGENTS"):
                await registry.register(AgentDescriptor(agent_id="b"))

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MAX_CONCURRENT_AGENTS", "1")
    run(full())


def test_outside_of_its_life_nothing_is_taken_and_stopping_twice_is_safe():
    async def outside() -> None:
        registry = AgentRegistry()
        with pytest.raises(RegistryError, match="initialize"):
            await registry.discover()
        await registry.initialize()
        await registry.initialize()
        await registry.shutdown()
        await registry.shutdown()
        with pytest.raises(RegistryError, match="initialize"):
            await registry.register(AgentDescriptor(agent_id="a"))
        with pytest.raises(InvalidInputError, match="MessageBus"):
            AgentRegistry(object())

    run(outside())


def test_a_registry_outlives_its_bus():
    async def alone() -> None:
        bus = MessageBus("memory://")
        await bus.initialize()
        async with AgentRegistry(bus) as registry:
            await bus.shutdown()
            await registry.register(AgentDescriptor(agent_id="a"))
            assert len(await registry.discover()) == 1

    run(alone())


async def knows(registry: AgentRegistry, agent_id: str) -> bool:
    return any(info.agent_id == agent_id for info in await registry.agents())


async def forgets(registry: AgentRegistry, agent_id: str) -> bool:
    return not await knows(registry, agent_id)


async def has_health(registry: AgentRegistry, agent_id: str, health: float) -> bool:
    return (await registry.get(agent_id)).health == health
