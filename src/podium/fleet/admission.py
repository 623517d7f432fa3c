"""Who comes into the fleet over the bus: registrations checked, entered, confirmed or refused; who isn't known, asked.

The registry decides who may have a name; here a registration becomes an entry in it and a word to the engine, and the
agent is told what became of it. Whoever is refused changes nothing.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Protocol

from msgspec import Struct
from msgspec.structs import replace

from podium.bus.transport import Delivery
from podium.clock import Clock, seconds_to_us
from podium.exceptions import InvalidInputError, PodiumError, RegistrationConflictError, RegistryError
from podium.fleet import messages as msg
from podium.fleet import wire
from podium.fleet.descriptor import AgentDescriptor, descriptor_of
from podium.fleet.hearing import agent_of
from podium.fleet.presence import Presence
from podium.fleet.registry import FleetRegistry, Known, Outcome
from podium.fleet.speaking import Speaker
from podium.fleet.translation import registration_of
from podium.telemetry.logs import get_logger

ASK_AGAIN_SECONDS = 5.0
ASKED_KEPT = 20_000
Identify = Callable[[str, AgentDescriptor, wire.AgentRegistrationMessage], str]
_log = get_logger("podium.fleet")


class LinkSettings(Struct, frozen=True):
    """The times of the link, in seconds."""

    heartbeat_seconds: float = 30.0
    check_seconds: float = 30.0
    lease_seconds: float = 15.0
    foreign_lease_seconds: float = 60.0
    redeliver_seconds: float = 30.0


class Tell(Protocol):
    """Who is told what happens to the fleet."""

    def __call__(self, event: wire.SystemEventType, payload: dict[str, Any]) -> None:
        """A system event of document 000. Must not block."""
        ...


class Admission:
    """Takes registrations, and tells strangers to register."""

    def __init__(
        self,
        registry: FleetRegistry,
        receiver: msg.Receiver,
        speaker: Speaker,
        *,
        clock: Clock,
        settings: LinkSettings,
        tell: Tell,
        frames: set[str],
        doubt: Callable[[str], None],
        held_as: Callable[[str], str],
        identify: Identify | None,
        presence: Presence | None,
        taken: Callable[[str], bool],
    ) -> None:
        """`frames` are the agents that speak Podium's frames: it is kept here. `doubt` has the engine say again what an
        agent may not have heard; `held_as` is the incarnation under which an agent holds attempts, empty if it holds
        none; `identify` returns the key that a registration was made with, or raises RegistrationConflictError;
        `taken` are ids of agents that live in the orchestrator's own process.
        """
        self._taken = taken
        self._registry = registry
        self._receiver = receiver
        self._speaker = speaker
        self._clock = clock
        self._settings = settings
        self._tell = tell
        self._frames = frames
        self._doubt = doubt
        self._held_as = held_as
        self._identify = identify
        self._presence = presence
        self._asked: OrderedDict[str, int] = OrderedDict()  # agents that were told to register again, and when

    @property
    def asked(self) -> int:
        """How many agents are remembered as told to register."""
        return len(self._asked)

    async def take(self, delivery: Delivery) -> None:
        """Take a registration. Raises InvalidInputError for one that can't be read."""
        said = wire.decoded(delivery.data, wire.AgentRegistrationMessage)
        given = said.registration
        descriptor = self._described(given)
        if self._identify is not None:
            try:
                descriptor = replace(descriptor, key=self._identify(delivery.subject, descriptor, said))
            except RegistrationConflictError as error:  # it may be anybody: the agent it claims to be isn't told
                await self._refuse(delivery, descriptor, said, error, tell_agent=False)
                return
        elif delivery.subject != wire.REGISTER and agent_of(delivery.subject) != given.agent_id:
            raise InvalidInputError(f"{delivery.subject[:200]} isn't where agent {given.agent_id[:128]!r} registers")
        try:
            if self._taken(given.agent_id):
                raise RegistrationConflictError(f"an agent of the orchestrator's own process is {given.agent_id}")
            registered = self._registry.register(descriptor, self._clock.now_us())
        except (RegistrationConflictError, RegistryError) as error:
            await self._refuse(delivery, descriptor, said, error)
            return
        if given.protocol == wire.PROTOCOL:
            self._frames.add(given.agent_id)
        else:
            self._frames.discard(given.agent_id)
        self._asked.pop(f"{given.agent_id} ", None)
        if not self._receiver.receive(registration_of(given, descriptor.incarnation)):
            self._registry.deregister(given.agent_id)  # full: it says it again
            await self._speaker.answer_error(delivery.reply, "BUSY", "there is too much to do; register again", 1_000)
            return
        if self._presence is not None:
            process = given.incarnation if given.protocol == wire.PROTOCOL else ""
            self._presence.joined(given.agent_id, descriptor.key, process)
        await self._confirm(delivery, descriptor, said)
        if registered.outcome in (Outcome.SAME, Outcome.UPDATED):
            self._doubt(descriptor.agent_id)  # its connection was lost, and perhaps something with it
        if registered.outcome in (Outcome.NEW, Outcome.NEW_INCARNATION):
            self._tell(
                wire.SystemEventType.AGENT_REGISTERED,
                {
                    "agentId": descriptor.agent_id,
                    "agentType": descriptor.agent_type,
                    "capabilities": list(descriptor.capabilities),
                    "version": descriptor.version,
                    "restarted": registered.outcome is Outcome.NEW_INCARNATION,
                },
            )

    def _described(self, given: wire.AgentRegistration) -> AgentDescriptor:
        return descriptor_of(
            registration_of(given, self._incarnation_of(given)),
            key=given.key,
            service_types=given.service_types,
            endpoint=given.endpoint,
            tags=given.tags,
            location=given.location,
            metadata=given.metadata,
        )

    def _incarnation_of(self, given: wire.AgentRegistration) -> str:
        """Return which start of an agent this is. One that doesn't tell was started anew, unless it was asked to
        register: then our own restart made it unknown, and what it held is still its.
        """
        if given.incarnation:
            return (msg.REMOTE if given.renews else msg.FOREIGN) + given.incarnation
        was_asked = f"{given.agent_id} " in self._asked
        held = self._held_as(given.agent_id) if was_asked else ""
        return held or f"{msg.FOREIGN}{self._speaker.message_id()}"

    async def _confirm(self, delivery: Delivery, descriptor: AgentDescriptor, said: Any) -> None:
        settings, renews = self._settings, said.registration.renews
        lease = settings.lease_seconds if renews else settings.foreign_lease_seconds
        fields: dict[str, Any] = {
            "accepted": True,
            "heartbeat_interval_ms": round(settings.heartbeat_seconds * 1_000),
            "lease_ms": round(lease * 1_000),
            "incarnation": said.registration.incarnation,
        }
        status = wire.AgentStatus(agent_id=descriptor.agent_id, state="IDLE")
        await self._speaker.notify(descriptor.agent_id, wire.Notice.REGISTERED, status=status, **fields)
        if delivery.reply:
            notice = wire.OrchestratorNotice(
                sender="orchestrator",
                message_id=self._speaker.message_id(),
                timestamp=self._speaker.now_ms(),
                notice=wire.Notice.REGISTERED,
                status=status,
                **fields,
            )
            await self._speaker.answer(delivery.reply, wire.encoded(notice))

    async def _refuse(
        self,
        delivery: Delivery,
        descriptor: AgentDescriptor,
        said: wire.AgentRegistrationMessage,
        error: PodiumError,
        tell_agent: bool = True,
    ) -> None:
        conflict = isinstance(error, RegistrationConflictError)
        _log.warning("a registration was refused", agent=descriptor.agent_id, reason=str(error))
        self._tell(
            wire.SystemEventType.SYSTEM_ERROR,
            {"error": "REGISTRATION_REFUSED", "agentId": descriptor.agent_id, "message": str(error)},
        )
        # Without an incarnation in it, the agent that is here would take the refusal for its own.
        if tell_agent and said.registration.incarnation:
            await self._speaker.notify(
                descriptor.agent_id,
                wire.Notice.REGISTRATION_REFUSED,
                code=409 if conflict else 503,
                reason=str(error),
                incarnation=said.registration.incarnation,
            )
        await self._speaker.answer_error(delivery.reply, "CONFLICT" if conflict else "FLEET_FULL", str(error))

    async def correct(self, agent: str, known: Known, incarnation: str) -> None:
        """Tell who isn't (or isn't any more) an agent of the fleet what to do, not more often than now and then."""
        now_us = self._clock.now_us()
        key = f"{agent} {incarnation}"
        asked_us = self._asked.get(key)
        if asked_us is not None and now_us - asked_us < seconds_to_us(ASK_AGAIN_SECONDS):
            return
        self._asked[key] = now_us
        self._asked.move_to_end(key)
        while len(self._asked) > ASKED_KEPT:
            self._asked.popitem(last=False)
        named = incarnation.removeprefix(msg.REMOTE).removeprefix(msg.FOREIGN)
        if known is Known.FENCED:
            reason = "another process of this agent was started later; stop this one"
            await self._speaker.notify(
                agent, wire.Notice.REGISTRATION_REFUSED, code=409, reason=reason, incarnation=named
            )
        else:
            await self._speaker.notify(
                agent, wire.Notice.REGISTER_AGAIN, reason="no such agent is registered here", incarnation=named
            )
