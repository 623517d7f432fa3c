"""Connections that end, at a real embedded server: who comes back has lost nothing, who stays away loses the work."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from podium.agents.sdk import AgentDefinition, agent, definition_of, task
from podium.agents.serving import ServedAgents
from podium.bus.nats import NatsSettings, NatsTransport
from podium.bus.nats_auth import Authority, Kind, authority_folder
from podium.bus.nats_events import SYSTEM_USER
from podium.bus.opening import transport_for
from podium.clock import SystemClock
from podium.fleet import wire
from podium.fleet.connections import connection_name
from podium.fleet.states import AgentState
from podium.ids import IdSource
from podium.service.service import Service
from podium.settings import Settings
from podium.testing.bus_tools import eventually
from podium.testing.natsserver import binary_or_skip, nats_server
from podium.testing.proxy import FaultProxy, tcp
from podium.workflow.model import AgentGroup, Task, Workflow

ONE = Workflow(name="one", agents={"gated": AgentGroup("gated", "gated", 1)}, tasks=(Task(id="wait", agent="gated"),))
Story = Callable[[Service], Coroutine[Any, Any, None]]


class Gate:
    """What the agents' task waits for, and how often it was begun."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.begun = 0


gate: Gate


@agent("gated")
class Gated:
    @task
    async def wait(self) -> str:
        gate.begun += 1
        await gate.open.wait()
        return "through"


def definition() -> AgentDefinition:
    found = definition_of(Gated)
    assert found is not None
    return found


def told(story: Story, folder: Path, bus: str = "", **more: Any) -> None:
    """Let a story happen to an orchestrator whose leases are too long to end in it."""
    global gate
    binary_or_skip()

    async def main() -> None:
        global gate
        gate = Gate()
        settings = Settings(
            database=str(folder / "podium.db"), data=str(folder), nats="127.0.0.1:0", lease_seconds=600.0,
            reconnect_wait_ms=50, bus=bus, **more,
        )  # fmt: skip
        async with asyncio.timeout(60), Service(settings) as service:
            await eventually(lambda: bool(opened(service)))
            await story(service)

    asyncio.run(main())


def presence(service: Service) -> Any:
    return service.link._presence


def opened(service: Service) -> dict[str, set[str]]:
    """The connections that are known, by whom they belong to."""
    found: dict[str, set[str]] = presence(service).connections._open
    return found


def absent(service: Service) -> set[str]:
    return set(presence(service).connections.absent)


def state(service: Service, name: str) -> AgentState | None:
    return next((info.state for info in service.reporting.infos() if info.agent_id == name), None)


@asynccontextmanager
async def served(service: Service, name: str, url: str = "") -> AsyncIterator[ServedAgents]:
    """An agent as `podium agent` has it, registered."""
    incarnation = IdSource().token()
    make = partial(transport_for, url or service.url, service.settings, name=connection_name(incarnation))
    agents = ServedAgents(make, incarnation=incarnation)
    await agents.start([definition()], names=[name])
    await agents.registered()
    await eventually(lambda: f"name {connection_name(incarnation)}" in opened(service))
    try:
        yield agents
    finally:
        gate.open.set()
        await agents.stop(5.0)


async def attempts(service: Service, execution: str) -> int:
    """Let the task through; return how many attempts it took."""
    gate.open.set()
    result = await service.podium.result(execution)
    assert result.result == "through"
    return gate.begun


async def begun(service: Service) -> str:
    execution = await service.podium.submit(ONE)
    await eventually(lambda: gate.begun == 1)
    return str(execution)


def test_a_connection_that_is_cut_and_comes_back_within_the_grace_has_lost_nothing(tmp_path: Path) -> None:
    async def story(service: Service) -> None:
        assert service.nats is not None
        async with FaultProxy(tcp(service.nats.port)) as proxy, served(service, "a", url_of(proxy)):
            execution = await begun(service)
            taken = proxy.accepted
            proxy.reset()
            await eventually(lambda: proxy.accepted > taken and bool(opened(service)) and not absent(service))
            assert state(service, "a") is AgentState.BUSY
            assert await attempts(service, execution) == 1

    told(story, tmp_path, disconnect_grace_seconds=30.0)


def test_one_that_stays_away_loses_its_work_and_is_well_again_once_it_is_back(tmp_path: Path) -> None:
    async def story(service: Service) -> None:
        assert service.nats is not None
        async with FaultProxy(tcp(service.nats.port)) as proxy, served(service, "a", url_of(proxy)):
            execution = await begun(service)
            port = proxy.port
            await proxy.stop()
            await eventually(lambda: state(service, "a") is AgentState.UNHEALTHY)
            async with served(service, "b"):
                await eventually(lambda: gate.begun == 2)
                again = FaultProxy(tcp(service.nats.port), tcp(port))
                await again.start()
                await eventually(lambda: state(service, "a") is not AgentState.UNHEALTHY)
                assert await attempts(service, execution) == 2
                await again.stop()

    told(story, tmp_path, disconnect_grace_seconds=0.3)


def is_back(service: Service, times: int) -> bool:
    """Whether the server was started again so often, and the bus is there."""
    return service.nats is not None and service.nats.restarts == times and service.transport.connected


def test_a_server_that_is_started_again_is_nobodys_disconnection(tmp_path: Path) -> None:
    async def story(service: Service) -> None:
        nats = service.nats
        assert nats is not None
        async with served(service, "a") as agents:
            execution = await begun(service)
            for times, sign in enumerate((signal.SIGTERM, signal.SIGKILL), 1):
                assert nats.pid is not None
                presence(service).unseen()  # so that what is known afterwards was heard afterwards
                os.kill(nats.pid, sign)
                await eventually(partial(is_back, service, times))
                await eventually(lambda: f"name {connection_name(agents.incarnation)}" in opened(service))
                assert state(service, "a") is AgentState.BUSY
            assert await attempts(service, execution) == 1

    told(story, tmp_path, disconnect_grace_seconds=0.001)


def test_who_leaves_in_good_order_is_not_missed(tmp_path: Path) -> None:
    async def story(service: Service) -> None:
        async with served(service, "a") as agents:
            party = f"name {connection_name(agents.incarnation)}"
        await eventually(lambda: party not in opened(service))
        assert state(service, "a") is None
        assert not absent(service)

    told(story, tmp_path)


def foreign(url: str, name: str, credentials: str = "") -> NatsTransport:
    return NatsTransport(NatsSettings(server_url=url, name=name, credentials=credentials))


async def registered(service: Service, transport: NatsTransport, name: str, own_subject: bool = False) -> None:
    await transport.start()
    subject = f"mcp.agent.{name}.register" if own_subject else wire.REGISTER
    said = {"registration": {"agentId": name, "agentType": "gated", "incarnation": "1"}}
    await transport.publish(subject, json.dumps(said).encode())
    await eventually(lambda: state(service, name) is not None)


def test_an_agent_in_another_language_is_known_by_the_name_of_its_connection(tmp_path: Path) -> None:
    async def story(service: Service) -> None:
        first = foreign(service.url, "f")
        await registered(service, first, "f")
        await first.stop()
        await eventually(lambda: state(service, "f") is AgentState.UNHEALTHY)
        second = foreign(service.url, "f")
        await second.start()
        await eventually(lambda: state(service, "f") is AgentState.IDLE)
        await second.stop()

    told(story, tmp_path, disconnect_grace_seconds=0.1)


def test_with_authentication_a_name_counts_for_nothing_and_the_key_for_all(tmp_path: Path) -> None:
    async def story(service: Service) -> None:
        authority = Authority.open(authority_folder(tmp_path), SystemClock().now_us())
        files = {}
        for name in ("f", "g"):
            files[name] = tmp_path / f"{name}.creds"
            files[name].write_text(authority.issue((name,), Kind.AGENT, SystemClock().now_us()).text())
        first, other = foreign(service.url, "whatever", str(files["f"])), foreign(service.url, "f", str(files["g"]))
        await registered(service, first, "f", own_subject=True)
        await registered(service, other, "g", own_subject=True)
        await other.stop()
        await eventually(lambda: state(service, "g") is AgentState.UNHEALTHY)
        assert state(service, "f") is not AgentState.UNHEALTHY
        await first.stop()
        await eventually(lambda: state(service, "f") is AgentState.UNHEALTHY)

    told(story, tmp_path, disconnect_grace_seconds=0.1, nats_authentication=True)


@pytest.mark.parametrize("password", ["", "x"])
def test_nobody_else_is_let_in_to_hear_the_servers_events(tmp_path: Path, password: str) -> None:
    async def story(service: Service) -> None:
        assert service.nats is not None
        reader, writer = await asyncio.open_connection("127.0.0.1", service.nats.port)
        who = json.dumps({"user": SYSTEM_USER, "pass": password, "verbose": False})
        writer.write(f"CONNECT {who}\r\nPING\r\n".encode())
        assert b"Authorization Violation" in await reader.read()
        writer.close()

    told(story, tmp_path)


def test_a_server_of_another_operator_that_tells_nothing_is_no_error(tmp_path: Path) -> None:
    binary_or_skip()
    with nats_server(tmp_path / "nats") as server:

        async def main() -> None:
            settings = Settings(database=str(tmp_path / "podium.db"), bus=server.url)
            async with asyncio.timeout(60), Service(settings) as service:
                transport = foreign(server.url, "f")
                await registered(service, transport, "f")
                await transport.stop()
                assert service.failure is None
                assert not absent(service)

        asyncio.run(main())


def url_of(proxy: FaultProxy) -> str:
    return f"nats://127.0.0.1:{proxy.port}"
