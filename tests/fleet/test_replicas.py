"""Several replicas' ends of one bus: the leader decides about the fleet, all keep the same one, nobody tells twice."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from podium.bus.memory import MemoryCarrier, MemoryTransport
from podium.clock import VirtualClock, seconds_to_us
from podium.fleet import messages as msg
from podium.fleet import wire
from podium.fleet.audience import Audience
from podium.fleet.frames import CONTENT_TYPE, encode_frame
from podium.fleet.link import FleetLink
from podium.fleet.registry import FleetLimits, FleetRegistry
from podium.testing.bus_tools import eventually

FRAME = {"Content-Type": CONTENT_TYPE}


class Replica:
    """One replica's link, with an engine that only listens."""

    def __init__(self, carrier: MemoryCarrier, clock: VirtualClock, name: str, leads: bool) -> None:
        self.leads = leads
        self.reaches = True
        self.owned: set[str] = set()
        self.heard: list[Any] = []
        self.told: list[tuple[str, dict[str, Any]]] = []
        self.aside: list[str] = []
        self.doubted: list[str] = []
        self.held = ""
        self.lines: list[msg.LogLine] = []
        self.transport = MemoryTransport(carrier)
        self.link = FleetLink(
            self.transport,
            FleetRegistry(FleetLimits(max_agents=3)),
            self,
            clock=clock,
            incarnation=name,
            tell=lambda event, payload: self.told.append((str(event), payload)),
            set_aside=lambda reason, delivery, data: self.aside.append(reason),
            suspend=lambda agent: None,
            doubt=self.doubted.append,
            held_as=lambda agent: self.held,
            audience=Audience(lambda: self.leads, self.owned.__contains__, lambda: self.reaches, alone=False),
            logs=self,
        )

    def receive(self, message: Any) -> bool:
        self.heard.append(message)
        return True

    def write(self, line: msg.LogLine) -> None:
        self.lines.append(line)

    def incarnation(self, agent: str) -> str:
        known = self.link.registry.descriptor(agent)
        return known.incarnation if known is not None else ""

    def of(self, kind: type) -> list[Any]:
        return [message for message in self.heard if isinstance(message, kind)]


class Cast:
    """The replicas, a leader and two others, and an agent that somebody else wrote."""

    def __init__(self) -> None:
        self.carrier = MemoryCarrier("replicas")
        self.clock = VirtualClock()
        self.replicas = [Replica(self.carrier, self.clock, name, name == "r1") for name in ("r1", "r2", "r3")]
        self.agent = MemoryTransport(self.carrier)
        self.notices: list[dict[str, Any]] = []

    @property
    def leader(self) -> Replica:
        return next(replica for replica in self.replicas if replica.leads)

    async def add(self, name: str) -> Replica:
        replica = Replica(self.carrier, self.clock, name, False)
        self.replicas.append(replica)
        await replica.transport.start()
        await replica.link.start()
        return replica

    async def say(self, subject: str, body: dict[str, Any]) -> None:
        await self.agent.publish(subject, json.dumps(body).encode())

    async def register(self, agent: str = "a1", **more: Any) -> None:
        await self.say(wire.REGISTER, {"registration": {"agentId": agent, **more}})

    async def beat(self, agent: str = "a1") -> None:
        await self.say(wire.heartbeat_subject(agent), {"agentId": agent})

    def noticed(self, notice: str) -> list[dict[str, Any]]:
        return [said for said in self.notices if said["notice"] == notice]

    async def agreed(self, agent: str = "a1", unlike: str = "") -> str:
        """Return the incarnation as which all replicas know an agent, once they do."""

        def same() -> bool:
            found = {replica.incarnation(agent) for replica in self.replicas}
            return len(found) == 1 and not found & {"", unlike}

        await eventually(same)
        return self.leader.incarnation(agent)


def story(act: Callable[[Cast], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        cast = Cast()
        for replica in cast.replicas:
            await replica.transport.start()
            await replica.link.start()
        await cast.agent.start()
        statuses = await cast.agent.subscribe("mcp.agent.*.status")

        async def listen() -> None:
            while True:
                for delivery in await statuses.next():
                    if not delivery.headers.get("Content-Type", "").endswith("msgpack"):
                        said = json.loads(delivery.data)
                        if said.get("from") == "orchestrator":
                            cast.notices.append(said)

        listening = asyncio.create_task(listen())
        try:
            await act(cast)
            assert all(replica.link.failure is None for replica in cast.replicas)
        finally:
            listening.cancel()
            for replica in cast.replicas:
                await replica.link.stop()
                await replica.transport.stop()
            await cast.agent.stop()

    asyncio.run(main())


@pytest.mark.parametrize("given", [{}, {"incarnation": "7"}, {"incarnation": "7", "renews": True}])
def test_one_replica_answers_a_registration_and_all_know_the_same_agent(given):
    async def act(cast: Cast) -> None:
        await cast.register(**given)
        incarnation = await cast.agreed()
        assert incarnation.startswith("bus." if "renews" in given else "ext.")
        assert len(cast.noticed("REGISTERED")) == 1
        assert [len(replica.of(msg.Registration)) for replica in cast.replicas] == [1, 1, 1]
        assert [event for replica in cast.replicas for event, _ in replica.told] == ["AGENT_REGISTERED"]

    story(act)


def test_an_agent_that_tells_no_incarnation_and_starts_anew_is_another_one_at_all_replicas():
    async def act(cast: Cast) -> None:
        await cast.register()
        first = await cast.agreed()
        await cast.register()
        second = await cast.agreed(unlike=first)
        assert all(replica.of(msg.Registration)[-1].incarnation == second for replica in cast.replicas)
        assert cast.noticed("REGISTERED")[-1]["incarnation"] == second.removeprefix("ext.")

    story(act)


def test_a_replica_that_comes_later_has_who_is_there_register_again_and_nothing_is_lost(monkeypatch):
    monkeypatch.setattr("podium.fleet.admission.ASK_AGAIN_SECONDS", 0.3)

    async def act(cast: Cast) -> None:
        await cast.register()
        before = await cast.agreed()
        late = await cast.add("r4")
        await cast.beat()
        await eventually(lambda: bool(late.link._admission._strangers._timers))
        assert not cast.noticed("REGISTER_AGAIN")  # the leader is given the time to do so
        await eventually(lambda: bool(cast.noticed("REGISTER_AGAIN")))
        await cast.register()
        assert await cast.agreed() == before
        assert len(late.of(msg.Registration)) == 1
        await eventually(lambda: all(replica.doubted for replica in cast.replicas[:3]))

    story(act)


def test_a_leader_that_knows_nobody_keeps_what_an_agent_holds():
    async def act(cast: Cast) -> None:
        cast.leader.held = "ext.before-1"
        await cast.beat()
        await eventually(lambda: bool(cast.noticed("REGISTER_AGAIN")))
        await cast.register()
        assert await cast.agreed() == "ext.before-1"

    story(act)


def test_who_was_not_answered_is_taken_in_by_the_next_leader():
    async def act(cast: Cast) -> None:
        first, second, third = cast.replicas
        first.leads = False
        await cast.register(incarnation="7")
        await eventually(lambda: all(len(replica.link._admission._undecided) for replica in cast.replicas))
        assert not cast.notices
        third.leads = True
        await third.link.take_over()
        assert await cast.agreed() == "ext.7"
        assert len(cast.noticed("REGISTERED")) == 1
        assert [event for event, _ in third.told] == ["AGENT_REGISTERED"]
        assert not first.told
        assert not second.told

    story(act)


def test_what_the_leader_refuses_no_replica_takes_in_then_or_later():
    async def act(cast: Cast) -> None:
        for agent in ("a1", "a2", "a3"):
            await cast.register(agent, incarnation="1")
            await cast.agreed(agent)
        await cast.register("a4", incarnation="1")
        await eventually(lambda: bool(cast.noticed("REGISTRATION_REFUSED")))
        assert cast.noticed("REGISTRATION_REFUSED")[0]["code"] == 503
        second = cast.replicas[1]
        await eventually(lambda: not len(second.link._admission._undecided))
        cast.leader.leads, second.leads = False, True
        await second.link.take_over()
        assert not any("a4" in replica.link.registry for replica in cast.replicas)
        assert sum(len(replica.told) for replica in cast.replicas) == 4

    story(act)


def test_what_cannot_be_used_is_told_and_set_aside_once():
    async def act(cast: Cast) -> None:
        await cast.agent.publish(wire.REGISTER, b"{")
        await cast.agent.publish("mcp.agent.a1.heartbeat", b"[]")
        await cast.agent.append("mcp.agent.a1.result", b"?")
        await eventually(lambda: sum(len(replica.aside) for replica in cast.replicas) == 3)
        await cast.register()
        await cast.agreed()
        told = [
            payload["subject"] for replica in cast.replicas for event, payload in replica.told if "subject" in payload
        ]
        assert sorted(told) == sorted([wire.REGISTER, "mcp.agent.a1.heartbeat", "mcp.agent.a1.result"])
        assert sum(len(replica.aside) for replica in cast.replicas) == 3

    story(act)


def test_inputs_that_all_hear_are_taken_by_their_owner_and_passed_on_by_the_leader():
    async def act(cast: Cast) -> None:
        await cast.register()
        await cast.agreed()
        first, second, third = cast.replicas
        second.owned.add("e")
        await cast.say("mcp.agent.a1.status", {"status": {"taskId": "e:0:t:1", "progress": 0.5, "checkpoint": 1}})
        await cast.say("mcp.agent.a1.status", {"status": {"taskId": "e:0:t:1", "refused": True}})
        await eventually(lambda: bool(first.of(msg.Refused) and second.of(msg.Refused)))
        await eventually(lambda: bool(third.of(msg.Progress)))
        assert [len(replica.of(msg.Saved)) for replica in cast.replicas] == [0, 1, 0]
        assert not third.of(msg.Refused)

    story(act)


def test_a_line_of_a_log_is_written_once():
    async def act(cast: Cast) -> None:
        await cast.register(incarnation="p", renews=True, protocol=wire.PROTOCOL)
        await cast.agreed()
        cast.replicas[2].owned.add("e")
        line = msg.LogLine("e", "t", "e:0:t:1", 1, "info", "hello")
        await cast.agent.publish("mcp.agent.a1.status", encode_frame("p", 1, [line]), FRAME)
        await cast.agent.append("mcp.agent.a1.result", encode_frame("p", 2, [line, msg.Freed("a1", "e:0:t:1")]), FRAME)
        await eventually(lambda: sum(len(replica.lines) for replica in cast.replicas) == 2)
        assert cast.replicas[2].lines

    story(act)


def test_an_agent_that_says_farewell_has_left_at_all_replicas_once_its_last_words_are_heard():
    async def act(cast: Cast) -> None:
        await cast.register(incarnation="p", renews=True, protocol=wire.PROTOCOL)
        await cast.agreed()
        left = msg.Left("a1", "p")
        await cast.agent.publish("mcp.agent.a1.status", encode_frame("p", 3, [left]), FRAME)
        await eventually(lambda: all(replica.of(msg.Leaving) for replica in cast.replicas))
        await cast.agent.append(
            "mcp.agent.a1.result", encode_frame("p", 1, [msg.HandedBack("a1", "e:0:t:1"), left]), FRAME
        )
        await eventually(lambda: all("a1" not in replica.link.registry for replica in cast.replicas))
        assert [len(replica.of(msg.Left)) for replica in cast.replicas] == [1, 1, 1]
        assert not cast.noticed("REGISTER_AGAIN")

    story(act)


def test_a_stopped_agent_s_last_results_count_though_they_are_heard_after_its_farewell():
    async def act(cast: Cast) -> None:
        await cast.register()
        await cast.agreed()
        await cast.say("mcp.agent.a1.status", {"status": {"state": "STOPPED"}})
        await cast.agent.append("mcp.agent.a1.result", b'{"result": {"taskId": "e:0:t:1"}}')
        await eventually(lambda: all("a1" not in replica.link.registry for replica in cast.replicas))
        (taker,) = (replica for replica in cast.replicas if replica.of(msg.Succeeded))
        kinds = [type(message) for message in taker.heard if isinstance(message, msg.Succeeded | msg.Left)]
        assert kinds == [msg.Succeeded, msg.Left]

    story(act)


def test_that_an_agent_is_lost_is_told_once():
    async def act(cast: Cast) -> None:
        await cast.register()
        await cast.agreed()
        cast.clock.advance(seconds_to_us(40))
        for replica in cast.replicas:
            replica.link._silence.looked_us = cast.clock.now_us()
        cast.clock.advance(seconds_to_us(270))
        for replica in cast.replicas:
            replica.link._silence.looked_us = cast.clock.now_us()
            replica.link._silence.check()
        assert [event for replica in cast.replicas for event, _ in replica.told] == ["AGENT_REGISTERED", "AGENT_LOST"]
        assert all(replica.of(msg.Left) for replica in cast.replicas)

    story(act)


def test_a_replica_out_of_the_store_s_reach_leaves_results_to_the_others():
    async def act(cast: Cast) -> None:
        await cast.register()
        await cast.agreed()
        for replica in cast.replicas[:2]:
            replica.reaches = False
        for n in range(20):
            await cast.agent.append("mcp.agent.a1.result", b'{"result": {"taskId": "e:0:t:%d"}}' % n)
        third = cast.replicas[2]
        await eventually(lambda: len({m.attempt for m in third.of(msg.Succeeded)}) == 20)
        assert [len(replica.of(msg.Succeeded)) for replica in cast.replicas[:2]] == [0, 0]

    story(act)


def test_a_replica_that_is_cut_off_gives_back_what_it_has_taken_and_not_recorded():
    async def act(cast: Cast) -> None:
        await cast.register()
        await cast.agreed()
        for n in range(20):
            await cast.agent.append("mcp.agent.a1.result", b'{"result": {"taskId": "e:0:t:%d"}}' % n)
        await eventually(lambda: sum(len(r.of(msg.Succeeded)) for r in cast.replicas) == 20)
        first, *others = cast.replicas
        for replica in others:
            for message in replica.of(msg.Succeeded):
                replica.link.send("a1", msg.Confirmation(message.attempt, True))
        assert first.link.unconfirmed
        held = {m.attempt for m in first.of(msg.Succeeded)}
        first.reaches = False
        first.link.give_back()
        assert first.link.unconfirmed == 0
        await eventually(lambda: {m.attempt for r in others for m in r.of(msg.Succeeded)} >= held)

    story(act)
