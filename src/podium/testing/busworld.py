"""The simulated world whose agents are behind a bus: the real link of the orchestrator, the real transport in memory,
and connections that lose, double, delay, are cut; a carrier that restarts and forgets.

Everything else is the world's: the engine, its store, clients, and the oracle. What the oracle adds here: whoever is
there is registered in the end, no lease of a healthy agent that renews is taken away, and nothing stays in the link.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from podium.bus.memory import MemoryCarrier
from podium.bus.transport import Delivery, Happening
from podium.engine import events as ev
from podium.engine import inputs as inp
from podium.engine.arrivals import Batch
from podium.engine.runtime import Engine
from podium.engine.staffing import UNDELIVERED
from podium.exceptions import PodiumError, TransportUnavailableError
from podium.fleet import messages as msg
from podium.fleet import wire
from podium.fleet.admission import ASKED_KEPT
from podium.fleet.frames import CONTENT_TYPE, decode_heard, decode_spoken
from podium.fleet.link import RESULTS, FleetLink
from podium.fleet.registry import FleetRegistry
from podium.testing.actors import Actor
from podium.testing.faractors import FarActor
from podium.testing.faults import SimulatedCrash
from podium.testing.line import Line, LineTransport
from podium.testing.link import Link, named
from podium.testing.world import World
from podium.workflow.model import ResourceRequirements

FOREIGN_SHARE = 0.3
STAND_SECONDS = 120.0
SETTLED_SECONDS = 200.0  # of calm, after which no fault of before has an effect on a lease


class BusLink(Link):
    """The orchestrator's end of a simulated bus: it ends with its process."""

    def __init__(self, world: BusWorld) -> None:
        super().__init__(world)
        self._bus_world = world
        self.line = Line(world.carrier, world.fate, "orchestrator", described)
        self.line.said = self._left
        self.fleet: FleetLink | None = None
        self._transport = LineTransport(self.line, self._happened)
        self._engine: Engine | None = None

    async def start(self, engine: Engine) -> None:
        """Connect, and listen. Raises TransportUnavailableError."""
        self._engine, world = engine, self._bus_world
        await self._transport.start()
        fleet = self.fleet = FleetLink(
            self._transport,
            FleetRegistry(),
            engine,
            clock=world.clock,
            incarnation=f"o{next(world.starts)}",
            tell=lambda event, payload: None,
            set_aside=self._set_aside,
            suspend=engine.suspend,
            doubt=engine.doubt_deliveries,
            held_as=engine.staffing.held_as,
        )
        engine.unusable = fleet.unusable
        engine.staffing.reachable = lambda: self._transport.connected
        engine.landed.append(world.landed)
        await fleet.start()
        await self._announce()

    def send(self, agent: str, message: msg.ToAgent) -> None:
        """Give a message to the link, perhaps for the last time."""
        if not self.dead and self.fleet is not None:
            self.fleet.send(agent, message)

    def end(self) -> None:
        """The process is gone, and its connection."""
        super().end()
        self.line.die()

    def _left(self, subject: str) -> None:
        world = self._bus_world
        if subject.endswith(".task") and world.fate.strikes("crash_after_send"):
            world.crash("after the command went out")

    async def _announce(self) -> None:
        event = wire.SystemEventMessage(event_type=wire.SystemEventType.ORCHESTRATOR_STARTED)
        await self._transport.publish(wire.SYSTEM_EVENT, wire.encoded(event))

    def _happened(self, what: Happening, details: str) -> None:
        if self.dead or self._engine is None or what not in (Happening.RECONNECTED, Happening.AMNESIA):
            return
        self._engine.doubt_deliveries()
        if what is Happening.RECONNECTED:
            asyncio.get_running_loop().create_task(self._announce(), name="podium-announces")

    def _set_aside(self, reason: str, delivery: Delivery, data: bytes | None) -> None:
        self._bus_world.tell(f"set aside: {reason}")
        if data is None:
            delivery.reject()


class BusWorld(World):
    """One simulated world with a bus in it."""

    rest_looks = 60  # an agent may work for minutes on what was given to another meanwhile
    _link: BusLink | None

    def __init__(self, *about: Any, **more: Any) -> None:
        super().__init__(*about, **more)
        self._agents_live_here = False
        self.carrier = MemoryCarrier("simulated", clock=self.loop.clock)
        self.starts = itertools.count(1)
        self._births: defaultdict[str, Iterator[int]] = defaultdict(lambda: itertools.count(1))
        self._lines: list[Line] = []
        self._replaced: list[FarActor] = []  # processes whose name another one has
        self._calm_at: float | None = None
        self.fate.counts["bus"] = 1

    @property
    def clock(self) -> Any:
        """The clock of the orchestrator's process."""
        return self._clock

    # --- the orchestrator ----------------------------------------------------------------------------------------

    def _make_link(self) -> Link:
        link = BusLink(self)
        self._lines = [line for line in self._lines if not line.dead]
        self._lines.append(link.line)
        return link

    async def _started(self, engine: Engine) -> bool:
        if not await super()._started(engine):
            return False
        assert self._link is not None
        try:
            await self._link.start(engine)
        except TransportUnavailableError as error:
            self.tell(f"the start failed: {error}")
            self.crash("the start failed")
            return False
        except SimulatedCrash:
            return False
        return not self._link.dead

    def _is_orchestrators(self, task: asyncio.Task[Any]) -> bool:
        return super()._is_orchestrators(task) and not task.get_name().startswith("podium-wire")

    # --- the agents ----------------------------------------------------------------------------------------------

    def _make_actor(
        self, agent: str, kind: str, slots: int, able: tuple[str, ...], resources: ResourceRequirements, version: str
    ) -> Actor:
        foreign = self._performer is None and self.chance.random() < FOREIGN_SHARE
        return FarActor(
            agent, kind, slots, self.fate, self.ledger,
            foreign=foreign, births=self._births[agent], make_line=self._make_line,
            script=self.script, performer=self._performer, capabilities=able, resources=resources,
            version=version,
        )  # fmt: skip

    def _make_line(self, party: str) -> Line:
        line = Line(self.carrier, self.fate, party, described)
        self._lines.append(line)
        return line

    def _far(self) -> list[FarActor]:
        return [actor for actor in self._actors.values() if isinstance(actor, FarActor)]

    # --- what happens --------------------------------------------------------------------------------------------

    def _become_calm(self) -> None:
        super()._become_calm()
        self._calm_at = self.loop.time()
        self.carrier.bring_up()
        for line in self._lines:
            line.mend()
            line.deaf_carrier = False

    def _strike(self) -> None:
        """Let happen to the bus and to agents' processes what happens now."""
        super()._strike()
        fate, chance = self.fate, self.chance
        if fate.strikes("bus_restarts"):
            self.carrier.take_down()
            self.loop.call_later(chance.choice((0.1, 3, 20)) * chance.uniform(0.5, 1.5), self.carrier.bring_up)
        if fate.strikes("bus_forgets"):
            self._forget()
        lines = [line for line in self._lines if not line.dead]
        if lines and fate.strikes("bus_cut"):
            line = chance.choice((lines[-1], *(one for one in lines if one.party == "orchestrator")))
            line = chance.choice((line, chance.choice(lines)))
            line.cut_off()
            self.loop.call_later(chance.choice((1, 10, 60, 400)) * chance.uniform(0.5, 1.5), line.mend)
        if fate.strikes("acks_stop"):
            for line in lines:
                line.deaf_carrier = True
                self.loop.call_later(chance.uniform(5, 60), setattr, line, "deaf_carrier", False)
        here = [actor for actor in self._far() if actor.here and actor.process is not None]
        if here and fate.strikes("agent_restarts"):
            chance.choice(here).restart()
        if here and fate.strikes("agent_stands"):
            self._stand(chance.choice(here))

    def _forget(self) -> None:
        chance = self.chance
        if chance.random() < 0.5:
            self.tell("the bus forgets its streams")
            self.carrier.forget(RESULTS.name)
            return
        try:
            log = self.carrier.log(RESULTS.name)
        except PodiumError:
            return
        last = list(log.kept)[-chance.randint(1, 20) :]
        self.tell(f"the bus forgets the last {len(last)} messages")
        for sequence in last:
            log.remove(sequence)

    def _stand(self, actor: FarActor) -> None:
        """Have an agent's process stand still for two minutes; perhaps another takes its name meanwhile."""
        assert actor.process is not None
        line = actor.process.line
        if line.stands:
            return
        self.tell(f"{actor.incarnation} stands still")
        line.stand()
        self.loop.call_later(STAND_SECONDS, line.move)
        if not actor.foreign and self.fate.strikes("agent_replaced"):  # without incarnations one couldn't tell
            self._replaced.append(actor)
            other = self._actors[actor.id] = actor.successor()
            self.loop.call_later(self.chance.uniform(1, 60), other.come)

    # --- the oracle ----------------------------------------------------------------------------------------------

    async def _come_to_rest(self) -> None:
        await super()._come_to_rest()
        for _ in range(60):
            if not self._left_over():
                return
            await asyncio.sleep(10)
        self.broken += self._left_over()

    def _left_over(self) -> list[str]:
        """Return what isn't as it should be in the link, long after the last fault."""
        link, engine = self._link, self._engine
        if link is None or engine is None or link.fleet is None:
            return ["I5: no orchestrator is there"]
        fleet = link.fleet
        found = [f"I6: the link ended: {fleet.failure!r}"] if fleet.failure is not None else []
        if fleet.unconfirmed:
            found.append(f"I6: {fleet.unconfirmed} results are neither recorded nor acknowledged")
        if fleet.unsaid:
            found.append(f"I6: {fleet.unsaid} messages to agents aren't said")
        if fleet.asked > ASKED_KEPT:
            found.append(f"I6: the link remembers {fleet.asked} agents that were told to register")
        kept = len(self.carrier.log(RESULTS.name).kept)
        if kept:
            found.append(f"I6: {kept} results stay in the stream")
        for actor in self._far():
            found += _unregistered(actor, fleet, engine)
        found += [f"I5: {a.incarnation} doesn't know that it was replaced" for a in self._replaced if a.here]
        return found

    def landed(self, batch: Batch) -> None:
        """Look at what was committed: long after the last fault no healthy agent that renews loses an attempt."""
        if self._calm_at is None or self.loop.time() < self._calm_at + SETTLED_SECONDS:
            return
        renewing = {actor.id for actor in self._far() if not actor.foreign}
        for decided in batch.decided:
            given = decided.arrival.given
            if isinstance(given, inp.Lost) and decided.events[0].__class__ is not ev.InputIgnored:
                words = given.reason.split()
                if words[0] == UNDELIVERED or (words[0] == "agent" and words[1] in renewing):
                    self.broken.append(f"I6: {given.task} of {decided.state.id} was taken away: {given.reason}")


def _unregistered(actor: FarActor, fleet: FleetLink, engine: Engine) -> list[str]:
    if not actor.here or actor.process is None:
        return [f"I5: agent {actor.id} isn't there"]
    known, member = fleet.registry.descriptor(actor.id), engine.staffing.members.get(actor.id)
    if known is None or member is None:
        return [f"I5: agent {actor.id} isn't registered"]
    if not actor.process.registered:
        return [f"I5: agent {actor.id} doesn't know that it is registered"]
    mine = actor.foreign or known.incarnation == msg.REMOTE + actor.incarnation
    if not mine or member.registration.incarnation != known.incarnation:
        held = f"{known.incarnation} and {member.registration.incarnation}"
        return [f"I5: agent {actor.incarnation} is registered as {held}"]
    return []


def described(subject: str, data: bytes, headers: Mapping[str, str]) -> str:
    """Return a message of the bus in a few words."""
    _, _, agent, what = (*subject.split(".", 3), "", "", "")[:4]
    if headers.get("Content-Type") != CONTENT_TYPE:
        return f"{agent} {what}: {_described_json(data)}"
    decode = decode_heard if what == "task" else decode_spoken
    return f"{agent} {what}: {', '.join(named(message) for message in decode(data).messages)}"


def _described_json(data: bytes) -> str:
    said: dict[str, Any] = msgspec.json.decode(data)
    for about in ("notice", "eventType"):
        if about in said:
            return f"{said[about]} {said.get('taskId', '')[-30:]}".rstrip()
    for about, shown in _SHOWN.items():
        if about in said:
            return " ".join(str(said[about].get(field, ""))[-30:] for field in shown).strip()
    return "heartbeat"


_SHOWN = {
    "task": ("taskId",),
    "result": ("status", "taskId"),
    "registration": ("agentType", "incarnation"),
    "status": ("state", "taskId"),
}
