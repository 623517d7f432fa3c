"""One orchestrator of several in a simulated world: its process, its engine, its place among the others, its ends of
the store and of the bus.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec

from podium.clock import SECOND, SlewedClock
from podium.engine.ownership import Ownership
from podium.engine.recovery import inline
from podium.engine.runtime import Engine
from podium.exceptions import StoreUnavailableError
from podium.fleet import messages as msg
from podium.fleet.audience import Audience
from podium.ids import IdSource
from podium.scheduling.placement import Placement
from podium.store.protocol import FORMAT, Append, Replica
from podium.testing.farstore import FarStore
from podium.testing.faults import SimulatedCrash
from podium.testing.link import JumpingClock, named
from podium.testing.processes import Process
from podium.testing.virtual import first_of, where

if TYPE_CHECKING:
    from podium.testing.replicaworld import ReplicaWorld

BUS = "simulated://bus"
STOP_SECONDS = 600.0


class SimulatedReplica:
    """One life of an orchestrator. Its messages to agents leave through itself: it is the engine's carrier."""

    def __init__(self, world: ReplicaWorld, name: str, born: int) -> None:
        self.name = name
        self.process = Process(world.loop, f"{name}#{born}")
        self.ended = asyncio.Event()
        self.relieved = False  # another one has its place
        self.stopping = False
        self.mute: set[str] = set()  # agents that don't hear it
        self.deaf: set[str] = set()  # agents that it doesn't hear
        self.dead = False
        self._lives: dict[str, int] = {}  # of agents, the newest of each
        self._world = world
        chance, fate = world.chance, world.fate
        off_us = chance.choice((-3_600, 3_600, 5)) * SECOND if fate.strikes("clock_jumps") else 0
        self.raw_clock = JumpingClock(world.loop.clock, off_us)
        self.clock = SlewedClock(self.raw_clock)
        self.store = FarStore(world.disk, fate, world.weather, self.process, self.crash, self._wrote)
        self._ids = IdSource(self.raw_clock, chance)
        self.engine = Engine(
            self.store, self, clock=self.clock, ids=self._ids, settings=world.settings, offload=inline,
            placement=Placement(pool=world.pool),
        )  # fmt: skip
        self.ownership = Ownership(
            self.store, self.engine, Replica("", name, BUS, "1", FORMAT), ids=self._ids, clock=self.clock
        )
        self._audience = Audience(lambda: self.engine.leads, self.engine.owns)
        world.tell(f"{self.process.name} starts{f', its clock off by {off_us // SECOND} s' if off_us else ''}")

    # --- its life ------------------------------------------------------------------------------------------------

    async def begin(self) -> None:
        """Start; a start that fails ends the process."""
        starting = self.process.start(self._start(), f"{self.name}-starts")
        ending = self._world.loop.create_task(self.ended.wait())
        await asyncio.wait({starting, ending}, return_when=asyncio.FIRST_COMPLETED)
        ending.cancel()

    async def _start(self) -> None:
        try:
            await self.engine.start()
            await self.ownership.start()
        except StoreUnavailableError as error:
            self._world.tell(f"the start of {self.process.name} failed: {error}")
            self.crash("the start failed")
        except SimulatedCrash:
            pass

    @property
    def there(self) -> bool:
        """Whether it has started and isn't gone; it may stand still."""
        return not self.dead and self.ownership.joined > 0

    def crash(self, where: str) -> None:
        """End its process here and now: nothing of it has any effect from now on, but what it has asked the store."""
        if not self.dead:
            self._world.tell(f"CRASH of {self.process.name} {where}")
            self.dead = self.store.dead = True
            self.ended.set()

    async def clear_away(self) -> None:
        """Clear away what is left of the process."""
        await self.process.end()
        await self.store.close()

    async def stop(self) -> None:
        """Stop in good order."""
        if self.stopping or self.dead:
            return
        self.stopping = True
        self._world.tell(f"{self.process.name} is stopped in good order")
        self.engine.drain()
        stopping = self.process.start(self._stop(), f"{self.name}-stops")
        ending = self._world.loop.create_task(self.ended.wait())
        await first_of({stopping, ending}, STOP_SECONDS)
        ending.cancel()
        if not stopping.done() and not self.dead:
            waits = ", ".join(f"{task.get_name()} at {where(task)}" for task in self.process.tasks)
            self._world.broken.append(f"I5: {self.process.name} doesn't stop: {waits}")
        self.crash("stopped")

    async def _stop(self) -> None:
        await self.ownership.stop()
        await self.engine.stop()

    # --- the store -----------------------------------------------------------------------------------------------

    def _wrote(self, batch: Append) -> None:
        self._world.wrote(self, batch)

    # --- agents --------------------------------------------------------------------------------------------------

    def send(self, agent: str, message: msg.ToAgent) -> None:
        """Take a message to an agent, perhaps."""
        world = self._world
        if self.dead:
            return
        what = f"{agent} <- {self.process.name} {named(message)}"
        if agent in self.mute:
            world.tell(f"lost: {what}")
            return
        world.carry(what, lambda: world.deliver(agent, message))
        if world.fate.strikes("crash_after_send"):
            self.crash("after the command went out")
            raise SimulatedCrash("after the command went out")

    def hears(self, agent: str) -> bool:
        """Whether it hears what this agent says."""
        return self.there and agent not in self.deaf

    def receive(self, message: msg.FromAgent) -> None:
        """Take what an agent says to all, in its process; of its lives the newest counts, as for the registry."""
        if isinstance(message, msg.Registration):
            life = int(message.incarnation.rpartition("#")[2])
            if life < self._lives.get(message.agent, 0):
                return
            self._lives[message.agent] = life
        for each in self._audience.share((message,)):
            self._take(each)

    def receive_result(self, message: msg.FromAgent) -> None:
        """Take what an agent says to one of the replicas; should it have no room, the bus brings it to another."""
        if not self.dead and not self.engine.receive(message):
            self._world.loop.call_later(0.5, self._world.bring_result, message, context=self.process.outside.copy())

    def _take(self, message: Any) -> None:
        if not self.dead and not self.engine.receive(message):
            self._world.loop.call_later(0.05, self._take, message)

    # --- what is asked of it -------------------------------------------------------------------------------------

    @property
    def failure(self) -> BaseException | None:
        """Why it ended by itself, if it did."""
        failures = (self.engine.failure, self.ownership.failure)
        return next((each for each in failures if each is not None and not isinstance(each, SimulatedCrash)), None)

    def leftovers(self) -> list[str]:
        """Return what stays under way in it, at rest."""
        engine = self.engine
        held = {
            "inputs are under way": len(engine._intake.known),
            "inputs are queued": len(engine._intake.queue),
            "inputs wait to be forwarded": len(engine._parts.forwarding),
            "inbox rows are read and not drained": len(engine._loader._unsettled),
            "inbox rows are under way twice": len(engine._loader._twice),
            "executions are being loaded": len(engine.residency.loading),
            "slots linger": len(engine.placing._lingering) + len(engine.placing._stuck),
            "changes are exported and not told": len(engine._parts.exports._changes),
        }
        return [f"I6: at {self.process.name} {count} {what}" for what, count in held.items() if count]


def settings_of(settings: Any, **more: Any) -> Any:
    """Return an engine's settings for one of several."""
    return msgspec.structs.replace(settings, shared=True, inbox_poll_seconds=5.0, **more)
