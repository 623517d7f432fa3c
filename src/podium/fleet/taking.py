"""What agents have said, once it is read: handed to the engine and noted in the registry, as far as it counts.

What an agent says that isn't one of the fleet is held against its incarnation; where the engine has no room, whoever
brought it waits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from podium.clock import Clock
from podium.fleet import messages as msg
from podium.fleet.admission import Admission
from podium.fleet.audience import Audience
from podium.fleet.farewells import Farewells
from podium.fleet.hearing import Heard
from podium.fleet.presence import Presence
from podium.fleet.receipts import Receipts
from podium.fleet.registry import FleetRegistry, Known

FULL_PAUSE_SECONDS = 0.05
_RESULTS = (msg.Succeeded, msg.Failed)
_FACTS = (*_RESULTS, msg.Saved, msg.Published, msg.HandedBack, msg.Refused, msg.Freed)


class Taking:
    """Brings what was heard to whom it is for."""

    def __init__(
        self,
        registry: FleetRegistry,
        receiver: msg.Receiver,
        admission: Admission,
        receipts: Receipts,
        audience: Audience,
        clock: Clock,
        *,
        frames: set[str],
        presence: Presence | None,
        logs: msg.LogSink | None,
    ) -> None:
        """`frames` are the agents that speak frames."""
        self._registry = registry
        self._receiver = receiver
        self._admission = admission
        self._receipts = receipts
        self._audience = audience
        self._clock = clock
        self._frames = frames
        self._presence = presence
        self._logs = logs
        self._farewells = Farewells(self._take_farewell)

    def end(self) -> None:
        """Wait for nobody's last words any more."""
        self._farewells.end()

    def take(self, heard: Heard, messages: tuple[Any, ...]) -> Coroutine[Any, Any, None] | None:
        """Hand over what was heard. Returns what is to be awaited where the agent must be told something, or where
        the engine has no room.
        """
        now_us, agent, incarnation = self._clock.now_us(), heard.agent, self._incarnation_in(heard)
        if heard.metrics:
            known = self._registry.heartbeat(agent, heard.metrics, now_us, incarnation)
        else:
            known = self._registry.heard(agent, now_us, incarnation)
        if known is not Known.KNOWN:
            return self._take_facts(agent, messages, known, incarnation)
        if self._presence is not None:
            self._presence.heard(agent)
        for at, message in enumerate(messages):
            if not self._take_one(agent, message):
                return self._take_rest(agent, messages[at:])
        return None

    def _incarnation_in(self, heard: Heard) -> str:
        """Return the incarnation that a message names, as the registry has it."""
        if heard.is_frame or not heard.incarnation:
            return heard.incarnation
        return (msg.REMOTE if heard.agent in self._frames else msg.FOREIGN) + heard.incarnation

    def _take_facts(
        self, agent: str, messages: tuple[Any, ...], known: Known, incarnation: str
    ) -> Coroutine[Any, Any, None] | None:
        """Hand over what an agent says that isn't (or isn't any more) one of the fleet, as far as it counts.

        An attempt's id is a fence of its own: what became of it counts, whoever brings that; signs of life don't.
        """
        facts = tuple(m for m in messages if isinstance(m, _RESULTS if known is Known.FENCED else _FACTS))
        for at, message in enumerate(facts):
            if not self._receiver.receive(message):
                return self._take_rest(agent, facts[at:])
        if messages and isinstance(messages[-1], msg.Left) and agent not in self._registry:
            return None  # it has gone, as is known
        return self._admission.correct(agent, known, incarnation)

    def _take_one(self, agent: str, message: Any) -> bool:
        kind = type(message)
        if kind is msg.LogLine:
            if self._logs is not None:
                self._logs.write(message)
            return True
        if kind is msg.Left:
            return self._take_leave(agent, message)
        if not self._receiver.receive(message):
            return False
        if kind is msg.Leaving:
            self._registry.drain(agent)
        elif kind is msg.Succeeded or (kind is msg.Failed and not message.cancelled):
            self._note_outcome(agent, message)
        return True

    def _note_outcome(self, agent: str, message: msg.Succeeded | msg.Failed) -> None:
        """Let the registry know how a task ended; a repetition of a result is no second outcome."""
        if self._receipts.waiting_for(agent, message.attempt) == 1:
            self._registry.note_outcome(agent, isinstance(message, msg.Succeeded))

    def _take_leave(self, agent: str, message: msg.Left) -> bool:
        known = self._registry.descriptor(agent)
        incarnation = known.incarnation if known is not None else msg.REMOTE + message.incarnation
        if not self._receiver.receive(msg.Left(agent, incarnation)):
            return False
        self._registry.deregister(agent)
        self.forget(agent)
        return True

    def leaves_soon(self, heard: Heard) -> bool:
        """An agent says farewell to all: it gets nothing more, and has left once its last words are heard.

        False where it isn't to be waited for: it isn't known, or it speaks JSON and there is no other replica.
        """
        agent, known = heard.agent, self._registry.descriptor(heard.agent)
        if known is None or self._registry.recognise(agent, self._incarnation_in(heard)) is not Known.KNOWN:
            return False
        if self._audience.alone and not heard.is_frame:
            return False
        self._take_one(agent, msg.Leaving(agent))
        self._farewells.say(agent, known.incarnation)
        return True

    def _take_farewell(self, agent: str, incarnation: str) -> bool:
        known = self._registry.descriptor(agent)
        return known is None or known.incarnation != incarnation or self._take_leave(agent, msg.Left(agent, ""))

    def forget(self, agent: str) -> None:
        """An agent is no more one of the fleet."""
        self._frames.discard(agent)
        self._farewells.cancel(agent)
        if self._presence is not None:
            self._presence.left(agent)

    async def _take_rest(self, agent: str, messages: tuple[Any, ...]) -> None:
        """The engine is full: wait for room, and fetch nothing more meanwhile."""
        for message in messages:
            while not self._take_one(agent, message):  # noqa: ASYNC110 - room is nobody's event
                await asyncio.sleep(FULL_PAUSE_SECONDS)
