"""The `Orchestrator` of document 000: agents, tasks, status and events, within the process and over real NATS."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from podium import (
    AgentDescriptor,
    AgentRegistration,
    AgentTask,
    BackpressureError,
    Orchestrator,
    OrchestratorConfig,
    QueueFullError,
    SystemEventMessage,
    SystemEventType,
    Task,
    TaskPriority,
    TaskStatus,
    Workflow,
    agent,
    task,
)
from podium.bus.memory import MemoryCarrier, MemoryTransport
from podium.bus.opening import transport_for
from podium.bus.transport import Transport
from podium.exceptions import (
    AgentBindingError,
    ConflictError,
    EngineStoppedError,
    ExecutionNotFoundError,
    InvalidInputError,
    NotTheOwnerError,
    PayloadTooLargeError,
    SettingsError,
)
from podium.fleet import wire
from podium.testing.natsserver import nats_server

Story = Callable[["Orchestrator"], Coroutine[Any, Any, None]]


@task
def add(a: int, b: int = 0, dependencyResults: list[int] | None = None) -> int:  # noqa: N803 - document 000's name
    return a + b + sum(dependencyResults or [])


@task
def fail() -> None:
    raise ValueError("on purpose")


@agent(type="clerk", capabilities=["filing"], slots=2)
class Clerk:
    made = 0

    def __init__(self) -> None:
        Clerk.made += 1
        self.number = Clerk.made

    @task
    async def file(self, name: str) -> str:
        return f"{name} is filed by {self.number}"


class Gate:
    """A task that waits to be let through, and says how many are in it."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.inside = 0
        self.most = 0

        @task(name="pass_gate")
        async def pass_gate() -> str:
            self.inside += 1
            self.most = max(self.most, self.inside)
            await self.open.wait()
            self.inside -= 1
            return "through"

        self.task = pass_gate


def run(story: Coroutine[Any, Any, None]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(90):
            await story

    asyncio.run(bounded())


async def until(holds: Callable[[], bool]) -> None:
    while not holds():  # noqa: ASYNC110 - it is about what many parts do
        await asyncio.sleep(0.01)


class Foreign:
    """An agent elsewhere that speaks document 000's JSON over a transport of its own."""

    def __init__(self, transport: Transport, agent_id: str) -> None:
        self._transport = transport
        self.id = agent_id
        self.notices: list[dict[str, Any]] = []
        self.did: list[dict[str, Any]] = []

    @asynccontextmanager
    async def working(self) -> AsyncIterator[Foreign]:
        await self._transport.start()
        tasks = await self._transport.subscribe(wire.task_subject(self.id))
        status = await self._transport.subscribe(wire.status_subject(self.id))
        works = [asyncio.create_task(self._work(tasks)), asyncio.create_task(self._listen(status))]
        try:
            yield self
        finally:
            for work in works:
                work.cancel()
            await asyncio.gather(*works, return_exceptions=True)
            await self._transport.stop(0.0)

    async def say(self, subject: str, message: dict[str, Any]) -> None:
        await self._transport.publish(subject, json.dumps(message).encode())

    async def _work(self, subscription: Any) -> None:
        while True:
            for delivery in await subscription.next():
                given = json.loads(delivery.data)["task"]
                self.did.append(given)
                result = {"taskId": given["taskId"], "status": "COMPLETED", "result": {"by": self.id}}
                await self.say(wire.result_subject(self.id), {"result": result})

    async def _listen(self, subscription: Any) -> None:
        while True:
            for delivery in await subscription.next():
                said = json.loads(delivery.data)
                if said.get("from") == "orchestrator":
                    self.notices.append(said)
                    if said["notice"] == "DRAIN":
                        await self.say(wire.status_subject(self.id), {"status": {"state": "STOPPED"}})


# --- within the process ------------------------------------------------------------------------------------------


def test_a_task_is_done_by_a_function_of_the_process_and_waits_for_those_before_it() -> None:
    async def story() -> None:
        async with Orchestrator(agents=[add]) as orchestrator:
            first = await orchestrator.submit_task(AgentTask(task_type="add", payload={"a": 1, "b": 2}))
            second = await orchestrator.submit_task(
                task_id="sum", task_type="add", payload={"a": 10}, dependencies=[first], priority=TaskPriority.HIGH
            )
            third = await orchestrator.submit_task(
                {"taskId": "more", "taskType": "add", "payload": {"a": 100}, "dependencies": ["sum", first]}
            )
            assert (second, third) == ("sum", "more")
            result = await orchestrator.task_result(third)
            assert (result.status, result.result) == (TaskStatus.COMPLETED, 116)
            assert (result.task_id, result.error, result.attempts) == ("more", None, 1)
            assert await orchestrator.get_task_status("sum") is TaskStatus.COMPLETED

    run(story())


def test_agents_of_the_process_are_there_from_the_start_and_more_can_register() -> None:
    async def story() -> None:
        Clerk.made = 0
        orchestrator = Orchestrator(agents=[add, Clerk])
        async with orchestrator:
            status = orchestrator.get_system_status()
            assert (status.orchestrator_status, status.agent_count, status.healthy_agent_count) == ("RUNNING", 2, 2)
            assert await orchestrator.register_agent(Clerk)
            assert await orchestrator.register_agent(fail)
            assert {info.agent_id for info in orchestrator.agents()} == {"functions-1", "clerk-1", "clerk-2", "fail-1"}
            clerk = next(info for info in orchestrator.agents() if info.agent_id == "clerk-2")
            assert (clerk.descriptor.capabilities, clerk.descriptor.slots, clerk.health) == (("filing",), 2, 1.0)
            task_id = await orchestrator.submit_task(
                task_type="file", payload={"name": "it"}, required_capabilities=["filing"], preferred_agent_id="clerk-2"
            )
            assert (await orchestrator.task_result(task_id)).result == "it is filed by 2"
        assert orchestrator.get_system_status().orchestrator_status == "STOPPED"

    run(story())


def test_all_kinds_of_events_are_heard_without_a_bus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PODIUM_DEREGISTRATION_TIMEOUT_SECONDS", "0.2")

    def deaf(event: SystemEventMessage) -> None:
        raise ValueError("a listener's mistake is its own")

    async def story() -> None:
        heard: list[SystemEventMessage] = []
        orchestrator = Orchestrator(OrchestratorConfig(health_check_interval_ms=20, agent_timeout_ms=40), agents=[add])
        orchestrator.on_event(heard.append)
        orchestrator.on_event(deaf)
        told = orchestrator.events()
        async with orchestrator:
            await orchestrator.task_result(await orchestrator.submit_task(task_type="add", payload={"a": 1}))
            await orchestrator.register_agent(fail)
            failed = await orchestrator.task_result(await orchestrator.submit_task(task_type="fail", task_id="f"))
            assert failed.status is TaskStatus.FAILED
            assert "on purpose" in str(failed.error)
            await orchestrator.register_agent(AgentRegistration(agent_id="silent"))
            with pytest.raises(InvalidInputError):
                await orchestrator.register_agent(AgentRegistration(agent_id="not an id"))
            await until(lambda: SystemEventType.AGENT_LOST in {event.event_type for event in heard})
        assert {event.event_type for event in heard} == set(SystemEventType)
        assert [event async for event in told] == heard
        failure = next(event for event in heard if event.event_type is SystemEventType.TASK_FAILED)
        assert (failure.payload["taskId"], failure.payload["error"]["type"]) == ("f", "ValueError")
        assert heard[-1].event_type is SystemEventType.ORCHESTRATOR_STOPPING

    run(story())


def test_the_process_holds_at_most_max_concurrent_tasks_whatever_its_slots() -> None:
    async def story() -> None:
        gate = Gate()
        async with Orchestrator(OrchestratorConfig(max_concurrent_tasks=3), agents=[gate.task]) as orchestrator:
            ids = [await orchestrator.submit_task(task_type="pass_gate") for _ in range(8)]
            await until(lambda: gate.inside == 3)
            status = orchestrator.get_system_status()
            assert (status.active_task_count, status.queued_task_count) == (3, 5)
            gate.open.set()
            results = [await orchestrator.task_result(task_id) for task_id in ids]
            assert {result.result for result in results} == {"through"}
            assert gate.most == 3

    run(story())


def test_a_full_queue_says_when_to_try_again_and_large_tasks_are_refused() -> None:
    async def story() -> None:
        gate = Gate()
        config = OrchestratorConfig(
            max_concurrent_tasks=1, max_queue_size=2, max_message_bytes=2_000, max_task_seconds=60, drain_seconds=0.1
        )
        async with Orchestrator(config, agents=[gate.task, add]) as orchestrator:
            await orchestrator.submit_task(task_type="pass_gate")
            await until(lambda: gate.inside == 1)
            for _ in range(2):
                await orchestrator.submit_task(task_type="pass_gate")
            with pytest.raises(QueueFullError) as refused:
                await orchestrator.submit_task(task_type="pass_gate")
            assert isinstance(refused.value, BackpressureError)
            assert refused.value.retry_after_seconds
            gate.open.set()
            await until(lambda: orchestrator.get_system_status().queued_task_count == 0)
            with pytest.raises(PayloadTooLargeError):
                await orchestrator.submit_task(task_type="add", payload={"a": "x" * 3_000})
            with pytest.raises(InvalidInputError, match="max_task_seconds"):
                await orchestrator.submit_task(task_type="add", timeout_ms=61_000)

    run(story())


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"task_type": ""}, "taskType"),
        ({"taskType": "add", "priorty": 3}, "priority"),
        ({"task_type": "add", "priority": 101}, "priority"),
        ({"task_type": "add", "priority": "SOON"}, "SOON"),
        ({"task_type": "add", "payload": [1]}, "payload"),
        ({"task_type": "add", "payload": {"a": {1j}}}, "JSON"),
        ({"task_type": "add", "task_id": "x", "dependencies": ["x"]}, "itself"),
        ({"task_type": "add", "dependencies": "x"}, "dependencies"),
    ],
)
def test_a_task_that_makes_no_sense_is_refused_with_the_field(fields: dict[str, Any], reason: str) -> None:
    async def story() -> None:
        async with Orchestrator(agents=[add]) as orchestrator:
            with pytest.raises(InvalidInputError, match=reason):
                await orchestrator.submit_task(fields)
            assert orchestrator.get_system_status().queued_task_count == 0

    run(story())


def test_an_id_is_one_task_however_often_it_is_submitted() -> None:
    async def story() -> None:
        async with Orchestrator(agents=[add]) as orchestrator:
            same = AgentTask(task_id="one", task_type="add", payload={"a": 1})
            ids = await asyncio.gather(*(orchestrator.submit_task(same) for _ in range(10)))
            assert set(ids) == {"one"}
            with pytest.raises(ConflictError):
                await orchestrator.submit_task(task_id="one", task_type="add", payload={"a": 2})
            with pytest.raises(ExecutionNotFoundError):
                await orchestrator.task_result("never")

    run(story())


def test_a_task_is_cancelled_and_one_that_depends_on_it_fails() -> None:
    async def story() -> None:
        gate = Gate()
        async with Orchestrator(agents=[gate.task, add]) as orchestrator:
            await orchestrator.submit_task(task_id="first", task_type="pass_gate")
            await orchestrator.submit_task(task_id="after", task_type="add", payload={"a": 1}, dependencies=["first"])
            await until(lambda: gate.inside == 1)
            assert await orchestrator.cancel_task("first")
            assert (await orchestrator.task_result("first")).status is TaskStatus.CANCELLED
            after = await orchestrator.task_result("after")
            assert after.status is TaskStatus.FAILED
            assert "first" in str(after.error) or "CANCELLED" in str(after.error).upper()
            assert not await orchestrator.cancel_task("first")

    run(story())


def test_workflows_run_beside_tasks_and_an_unknown_type_is_a_mistake_without_a_bus() -> None:
    async def story() -> None:
        async with Orchestrator(agents=[Clerk]) as orchestrator:
            flow = Workflow(name="filing", tasks=(Task(id="file", agent_type="clerk", payload={"name": "w"}),))
            result = await orchestrator.execute_workflow(await orchestrator.submit_workflow(flow))
            assert str(result.result).startswith("w is filed by")
            unknown = Workflow(name="u", tasks=(Task(id="x", agent_type="clark", payload={}),))
            with pytest.raises(AgentBindingError, match="clark"):
                await orchestrator.submit_workflow(unknown)
            await orchestrator.register_agent(AgentDescriptor(agent_id="c-1", agent_type="clark"))
            await orchestrator.submit_workflow(unknown)

    run(story())


def test_a_stopped_orchestrator_says_so_and_can_be_started_again() -> None:
    async def story() -> None:
        orchestrator = Orchestrator(agents=[add])
        with pytest.raises(EngineStoppedError):
            await orchestrator.submit_task(task_type="add")
        for _ in range(2):
            await asyncio.gather(orchestrator.start(), orchestrator.start())
            task_id = await orchestrator.submit_task(task_type="add", payload={"a": 5})
            assert (await orchestrator.task_result(task_id)).result == 5
            await orchestrator.shutdown()
            await orchestrator.shutdown(agents=True)
        with pytest.raises(EngineStoppedError):
            orchestrator.agents()

    run(story())


# --- what is kept ------------------------------------------------------------------------------------------------


def test_nothing_is_kept_unless_it_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for variable in ("PODIUM_DATABASE", "PODIUM_DATA"):
        monkeypatch.delenv(variable, raising=False)
    assert OrchestratorConfig().settings().in_memory
    assert OrchestratorConfig(enable_persistence=True).settings().database == ".podium/podium.db"
    for config in (OrchestratorConfig(persistence_file_path="p.db"), OrchestratorConfig(database="p.db")):
        assert config.settings().database == "p.db"
    monkeypatch.setenv("PODIUM_DATABASE", "said.db")
    assert OrchestratorConfig().settings().database == "said.db"
    with pytest.raises(SettingsError, match="persistence_file_path"):
        OrchestratorConfig(database="a.db", persistence_file_path="b.db")
    with pytest.raises(SettingsError, match="max_concurrent_tasks"):
        OrchestratorConfig(max_concurrent_tasks=0)
    monkeypatch.delenv("PODIUM_DATABASE")

    async def story() -> None:
        async with Orchestrator(agents=[add]) as orchestrator:
            await orchestrator.task_result(await orchestrator.submit_task(task_type="add", payload={"a": 1}))

    run(story())
    assert list(tmp_path.iterdir()) == []


def test_with_a_path_a_submitted_task_outlives_the_orchestrator(tmp_path: Path) -> None:
    async def story() -> None:
        gate = Gate()
        config = OrchestratorConfig(persistence_file_path=str(tmp_path / "podium.db"), drain_seconds=0.05)
        async with Orchestrator(config, agents=[gate.task]) as orchestrator:
            await orchestrator.submit_task(task_id="kept", task_type="pass_gate")
            await orchestrator.submit_task(task_id="next", task_type="pass_gate", dependencies=["kept"], payload={})
            await until(lambda: gate.inside == 1)

        @task(name="pass_gate")
        def again(dependencyResults: list[Any] | None = None) -> list[Any]:  # noqa: N803
            return ["again", *(dependencyResults or [])]

        async with Orchestrator(config, agents=[again]) as orchestrator:
            result = await orchestrator.task_result("next")
            assert (result.status, result.result[0]) == (TaskStatus.COMPLETED, "again")
            async with Orchestrator(config) as guest:
                assert guest.get_system_status().orchestrator_status == "GUEST"
                task_id = await guest.submit_task(task_type="pass_gate")
                assert (await guest.task_result(task_id)).result == ["again"]
                with pytest.raises(NotTheOwnerError):
                    guest.agents()

    run(story())


# --- over a bus --------------------------------------------------------------------------------------------------


async def with_agents_elsewhere(orchestrator: Orchestrator, transport_of: Callable[[], Transport]) -> None:
    """What holds over any bus: an agent elsewhere is registered, works, is told to stop; a client hears the end."""
    heard: list[SystemEventType] = []
    orchestrator.on_event(lambda event: heard.append(event.event_type))
    async with Foreign(transport_of(), "far-1").working() as far, Foreign(transport_of(), "client").working() as client:
        await orchestrator.start()
        registration = AgentRegistration(agent_id="far-1", agent_type="far", capabilities=("distance",))
        assert await orchestrator.register_agent(registration)
        assert not await orchestrator.register_agent(AgentDescriptor(agent_id="far-1", agent_type="far", key="other"))
        await until(lambda: [notice["notice"] for notice in far.notices][:1] == ["REGISTERED"])
        status = orchestrator.get_system_status()
        assert (status.agent_count, status.agent_statuses[0].agent_id) == (1, "far-1")
        task_id = await orchestrator.submit_task(
            AgentTask(task_type="measure", payload={"x": 1}, required_capabilities=("distance",))
        )
        assert (await orchestrator.task_result(task_id)).result == {"by": "far-1"}
        assert (far.did[0]["taskType"], far.did[0]["payload"]) == ("measure", {"x": 1})
        await client.say(wire.SUBMIT, {"task": {"taskId": "theirs", "taskType": "measure", "dependencies": [task_id]}})
        await until(lambda: heard.count(SystemEventType.TASK_COMPLETED) == 2)
        assert (await orchestrator.task_result("theirs")).result == {"by": "far-1"}
        assert {info.agent_id for info in orchestrator.agents()} == {"far-1"}
        await orchestrator.shutdown(agents=True)
        assert "DRAIN" in [notice["notice"] for notice in far.notices]
    assert heard[0] is SystemEventType.ORCHESTRATOR_STARTED
    assert SystemEventType.ORCHESTRATOR_STOPPING in heard
    assert heard.count(SystemEventType.TASK_COMPLETED) == 2


def test_agents_elsewhere_over_real_nats(tmp_path: Path) -> None:
    with nats_server(tmp_path / "nats") as server:

        async def story() -> None:
            config = OrchestratorConfig(persistence_file_path=str(tmp_path / "podium.db"), drain_seconds=5.0)
            orchestrator = Orchestrator(config, bus=server.url)
            await with_agents_elsewhere(orchestrator, lambda: transport_for(server.url))

        run(story())


def test_agents_elsewhere_over_a_transport_that_is_at_hand() -> None:
    async def story() -> None:
        carrier = MemoryCarrier()
        orchestrator = Orchestrator(OrchestratorConfig(drain_seconds=5.0), bus=MemoryTransport(carrier))
        await with_agents_elsewhere(orchestrator, lambda: MemoryTransport(carrier))

    run(story())
