"""Several services that share a store in memory and one bus: who does what, and what is there when one has gone."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest

from podium.agents.sdk import function_agent, task
from podium.bus.opening import transport_for
from podium.bus.transport import Transport
from podium.engine import reach
from podium.engine.inputs import Cancel
from podium.engine.runtime import Engine
from podium.exceptions import NotTheOwnerError
from podium.fleet import wire
from podium.ids import SHARDS
from podium.service.service import Service
from podium.settings import Settings
from podium.store.memory import MemoryStore
from podium.testing.bus_tools import eventually
from podium.testing.oracle import Examination
from podium.workflow.model import ExecutionStatus, Task, Workflow


@task
async def double(number: int) -> int:
    return 2 * number


@task
async def wait(seconds: float) -> str:
    await asyncio.sleep(seconds)
    return "waited"


@task
async def total(dependencyResults: list[int]) -> int:  # noqa: N803 - so it is called
    return sum(dependencyResults)


DOUBLE = Workflow(name="double", tasks=(Task(id="a", agent_type="adder", function="double", payload={"number": 21}),))


def engine(service: Service) -> Engine:
    assert service.podium.engine is not None
    return service.podium.engine


class Cast:
    """Services on one store and one bus, and a client beside them."""

    def __init__(self, bus: str, **settings: Any) -> None:
        self.bus = bus
        self.store = MemoryStore()
        self.services: list[Service] = []
        self.client: Transport = transport_for(bus)
        self._settings = {"http": "", "metrics": "", "drain_seconds": 5.0, **settings}

    async def start(self, *functions: Any, **more: Any) -> Service:
        definitions = [function_agent("adder", functions)] if functions else []
        settings = Settings(database=":memory:", **{**self._settings, **more})
        service = Service(settings, url=self.bus, definitions=definitions, store=self.store.reopen)
        await service.start()
        self.services.append(service)
        return service

    async def stop(self, service: Service) -> None:
        self.services.remove(service)
        await service.stop()

    @property
    def leader(self) -> Service:
        return next(service for service in self.services if engine(service).leads)

    @property
    def followers(self) -> list[Service]:
        return [service for service in self.services if not engine(service).leads]

    async def spread(self) -> None:
        """Return once all shards are owned, and evenly."""

        def even() -> bool:
            owned = [len(engine(service).owned) for service in self.services]
            leads = sum(engine(service).leads for service in self.services)
            return sum(owned) == SHARDS + 1 and max(owned) - min(owned) <= 1 and leads == 1

        await eventually(even)

    async def known(self, agents: int) -> None:
        """Return once all services know so many agents."""
        try:
            await eventually(lambda: all(len(service.link.registry) == agents for service in self.services))
        except TimeoutError:
            known = [sorted(info.agent_id for info in s.link.registry.infos(s.now_us())) for s in self.services]
            raise AssertionError(f"not all know {agents} agents: {known}") from None

    async def is_sound(self) -> None:
        """Return once everything has come to rest, and nothing is broken."""
        broken: list[str] = []

        async def sound() -> bool:
            broken[:] = await Examination(self.store).examine()
            return not broken

        try:
            await eventually(sound)
        except TimeoutError:
            raise AssertionError(broken) from None

    async def ask(self, subject: str, body: dict[str, Any]) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads((await self.client.request(subject, json.dumps(body).encode())).data)
        return answer

    async def submit(self, **fields: Any) -> dict[str, Any]:
        return await self.ask(wire.SUBMIT, {"task": {"taskType": "double", "payload": {"number": 4}, **fields}})


@asynccontextmanager
async def cast(bus: str, **settings: Any) -> AsyncIterator[Cast]:
    made = Cast(bus, **settings)
    await made.client.start()
    try:
        yield made
        assert [service.failure for service in made.services] == [None] * len(made.services)
    finally:
        for service in list(made.services):
            await made.stop(service)
        await made.client.stop()


def story(name: str, act: Callable[[Cast], Coroutine[Any, Any, None]], replicas: int = 3, **settings: Any) -> None:
    async def main() -> None:
        async with cast(f"memory://{name}", **settings) as made:
            for _ in range(replicas):
                await made.start(double, wait, total)
            await made.spread()
            await made.known(replicas)
            await act(made)
            await made.is_sound()

    asyncio.run(main())


def test_work_goes_to_the_agents_of_every_replica_whoever_has_the_execution():
    async def act(made: Cast) -> None:
        executions = [await service.podium.submit(DOUBLE) for service in made.services for _ in range(20)]
        results = [await made.services[0].podium.result(execution) for execution in executions]
        assert all(result.status is ExecutionStatus.COMPLETED for result in results)
        assert all(service.link.unconfirmed == 0 for service in made.services)

    story("everywhere", act)


def test_each_submission_is_taken_once_also_when_it_is_said_twice():
    async def act(made: Cast) -> None:
        ends = await made.client.subscribe("mcp.orchestrator.task.*.result")
        answers = [await made.submit(taskId=f"t{n % 10}") for n in range(30)]
        assert {answer["taskId"] for answer in answers} == {f"t{n}" for n in range(10)}
        told: list[str] = []
        while len(set(told)) < 10:
            told += [json.loads(said.data)["result"]["taskId"] for said in await asyncio.wait_for(ends.next(), 30)]
        joined = [service.podium.ownership.joined for service in made.services if service.podium.ownership]
        if joined == [1] * len(made.services):  # nobody was taken for dead on a busy machine
            assert sorted(told) == [f"t{n}" for n in range(10)]
        assert len(await made.store.executions(None)) == 10

    story("submissions", act)


def test_a_task_that_depends_on_others_begins_wherever_those_are():
    async def act(made: Cast) -> None:
        first = [(await made.submit(taskId=f"d{n}"))["taskId"] for n in range(8)]
        await made.submit(taskId="then", taskType="total", payload={}, dependencies=first)

        async def ended() -> bool:
            stands = await made.ask(wire.TASK_STATUS, {"taskId": "then"})
            return stands["status"] == "completed" and stands["result"]["result"] == 64

        await eventually(ended)

    story("dependencies", act)


def test_the_leader_alone_says_how_the_system_stands():
    async def act(made: Cast) -> None:
        status = (await made.ask(wire.HEALTH, {}))["status"]
        assert (status["agentCount"], status["orchestratorStatus"]) == (3, "RUNNING")
        heard = await made.client.subscribe(wire.SYSTEM_EVENT)
        await made.client.publish(wire.REGISTER, b"{")
        await made.client.publish(wire.REGISTER, b'{"registration": {"agentId": "far", "incarnation": "1"}}')
        await made.known(4)
        kinds = [json.loads(said.data)["eventType"] for said in await heard.next()]
        while len(kinds) < 2:
            kinds += [json.loads(said.data)["eventType"] for said in await heard.next()]
        assert sorted(kinds) == ["AGENT_REGISTERED", "SYSTEM_ERROR"]

    story("leader", act)


def test_a_replica_that_stops_hands_over_and_what_its_agents_had_is_done():
    async def act(made: Cast) -> None:
        nap = Workflow(name="nap", tasks=(Task(id="a", agent_type="adder", function="wait", payload={"seconds": 0.4}),))
        leader = made.leader
        executions = [await service.podium.submit(nap) for service in made.services for _ in range(4)]
        await eventually(lambda: any(len(engine(service).staffing.leases) for service in made.services))
        await made.stop(leader)
        await made.spread()
        await made.known(2)
        results = [await made.services[0].podium.result(execution) for execution in executions]
        assert all(result.status is ExecutionStatus.COMPLETED for result in results)
        rows = [row for execution in executions for row in await made.store.history(execution)]
        assert not [row.input_id for row in rows if row.kind == "lost"]

    story("handover", act)


def test_announcements_go_on_where_another_replica_has_taken_over():
    async def act(made: Cast) -> None:
        ends = await made.client.subscribe("mcp.orchestrator.task.*.result")
        for n in range(12):
            await made.submit(taskId=f"s{n}", taskType="wait", payload={"seconds": 0.3})
        await made.stop(made.leader)
        told: set[str] = set()
        while len(told) < 12:
            told |= {json.loads(said.data)["result"]["taskId"] for said in await asyncio.wait_for(ends.next(), 30)}

    story("announced", act)


def test_a_replica_says_its_name_and_what_it_owns():
    async def act(made: Cast) -> None:
        heard = await made.client.subscribe(wire.SYSTEM_EVENT)
        fourth = await made.start()
        told = [json.loads(said.data) for said in await heard.next()]
        (started,) = [said for said in told if said["eventType"] == "ORCHESTRATOR_STARTED"]
        assert started["payload"]["replica"] == fourth.replica != "single"
        await made.spread()
        text = fourth.metrics.render().decode()
        owned = len(engine(fourth).owned - {SHARDS})
        assert f"podium_shards_owned {owned}" in text

    story("names", act)


def test_a_replica_that_lost_the_bus_alone_leaves_its_shards_to_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reach, "BELIEVED_US", 1)

    async def act(made: Cast) -> None:
        away = made.leader
        away.transport.connected = False
        await eventually(lambda: not engine(away).owned and sum(len(engine(s).owned) for s in made.services) > SHARDS)
        away.transport.connected = True
        await made.spread()
        await made.submit(taskId="after")

    story("away", act)


def test_a_replica_on_another_bus_is_told_which_one_the_others_share(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("podium.service.opening.LEASE_PATIENCE_SECONDS", 0.5)

    async def main() -> None:
        async with cast("memory://shared") as made:
            await made.start()
            stranger = Service(Settings(database=":memory:", http="", metrics=""), url="memory://other",
                store=made.store.reopen)  # fmt: skip
            with pytest.raises(NotTheOwnerError, match="share the bus memory://shared"):
                await stranger.start()

    asyncio.run(main())


class Hand:
    """An agent in JSON that tells no incarnation: it registers until that is confirmed and whenever it is asked to, and
    holds what it is given until `finish`.
    """

    def __init__(self, bus: Transport) -> None:
        self.bus = bus
        self.tasks: list[str] = []
        self.confirmed: set[str] = set()
        self.registered = asyncio.Event()
        self._listening: asyncio.Task[None] | None = None

    async def join(self) -> None:
        heard = await self.bus.subscribe(("mcp.agent.hand.task", "mcp.agent.hand.status"))
        self._listening = asyncio.create_task(self._listen(heard))
        while not self.registered.is_set():
            await self.register()
            await asyncio.wait({asyncio.create_task(self.registered.wait())}, timeout=1)

    async def register(self) -> None:
        await self.bus.publish(wire.REGISTER, b'{"registration": {"agentId": "hand", "maxConcurrentTasks": 9}}')

    async def finish(self) -> None:
        for attempt in self.tasks:
            said = {"result": {"taskId": attempt, "result": "by hand"}}
            await self.bus.append("mcp.agent.hand.result", json.dumps(said).encode())

    async def _listen(self, heard: Any) -> None:
        while True:
            for delivery in await heard.next():
                said = json.loads(delivery.data)
                if "task" in said and said["task"]["taskId"] not in self.tasks:
                    self.tasks.append(said["task"]["taskId"])
                elif said.get("notice") == "REGISTERED":
                    self.registered.set()
                elif said.get("notice") == "REGISTER_AGAIN":
                    await self.register()
                elif said.get("notice") == "RESULT_CONFIRMED":
                    self.confirmed.add(said["taskId"])

    def leave(self) -> None:
        if self._listening is not None:
            self._listening.cancel()


def test_an_agent_that_tells_no_incarnation_loses_nothing_when_replicas_come_and_go():
    async def act(made: Cast) -> None:
        hand = Hand(made.client)
        await hand.join()
        for n in range(6):
            await made.submit(taskId=f"h{n}", taskType="by_hand", agentType="agent")
        await eventually(lambda: len(hand.tasks) == 6)
        known = made.leader.link.registry.descriptor("hand")
        assert known is not None
        for service in list(made.services):  # the leader among them
            await made.start()
            await made.spread()
            await made.stop(service)
            await made.spread()
        await eventually(lambda: all("hand" in service.link.registry for service in made.services))
        descriptors = [service.link.registry.descriptor("hand") for service in made.services]
        assert {each.incarnation for each in descriptors if each is not None} == {known.incarnation}
        await hand.finish()
        await eventually(lambda: len(hand.confirmed) == 6)
        hand.leave()
        for row in await made.store.executions(None):
            history = await made.store.history(row.id)
            assert [each.kind for each in history if each.kind in ("lost", "succeeded")] == ["succeeded"]

    story("hands", act, replicas=2)


def test_what_the_agents_of_a_dead_replica_had_is_begun_anew_when_its_lease_ends():
    async def act(made: Cast) -> None:
        victim = made.followers[0]
        nap = Workflow(name="nap", tasks=(Task(id="a", agent_type="adder", function="wait", payload={"seconds": 60}),))
        executions = [await made.leader.podium.submit(nap) for _ in range(3)]
        placed = engine(made.leader).staffing.placement
        inside = f"bus.{victim._incarnation}"
        await eventually(lambda: any(each.held for each in placed.agents.values() if each.incarnation == inside))
        ownership = victim.podium.ownership
        assert ownership is not None
        for part in (ownership._task, ownership._moving):  # dead, as far as others can see
            assert part is not None
            part.cancel()
        await eventually(lambda: not any(each.held for each in placed.agents.values() if each.incarnation == inside))
        for execution in executions:
            await made.leader.podium.command(execution, Cancel("enough"))
        made.services.remove(victim)
        await victim.stop(0.0)

    story("dead", act)


def test_too_many_tasks_are_refused_whichever_replica_takes_them():
    async def act(made: Cast) -> None:
        for n in range(120):
            await made.submit(taskId=f"q{n}", agentType="nobody")
        for service in made.services:
            service.submitting._counted_at = float("-inf")
        refused = [await made.submit(taskId=f"r{n}", agentType="nobody") for n in range(3)]  # each takes its turn
        assert [answer["error"]["code"] for answer in refused] == ["QUEUE_FULL"] * 3
        for row in await made.store.executions(None):
            await made.leader.podium.command(row.id, Cancel("enough"))

    story("full", act, max_queued_tasks=20)
