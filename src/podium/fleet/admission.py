"""Who comes into the fleet over the bus: registrations checked, entered, confirmed or refused; who isn't known, asked.

The registry decides who may have a name; here a registration becomes an entry in it and a word to the engine, and the
agent is told what became of it. Whoever is refused changes nothing.

Of several replicas all hear each registration, and one of them, the leader, decides on it. The others take in whom it
takes in, when they hear it tell the agent so: thus one agent is the same incarnation everywhere.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Protocol

import msgspec
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
from podium.fleet.strangers import Strangers
from podium.fleet.translation import registration_of
from podium.fleet.undecided import Undecided
from podium.telemetry.logs import get_logger

ASK_AGAIN_SECONDS = 5.0
INVITED_SECONDS = 30.0  # so long after it was asked a registration is the answer to that
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
        leads: Callable[[], bool],
    ) -> None:
        """`frames` are the agents that speak Podium's frames: it is kept here. `doubt` has the engine say again what an
        agent may not have heard; `held_as` is the incarnation under which an agent holds attempts, empty if it holds
        none; `identify` returns the key that a registration was made with, or raises RegistrationConflictError;
        `taken` are ids of agents that live in the orchestrator's own process; `leads` says whether this replica
        decides.
        """
        self._taken = taken
        self._leads = leads
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
        self._asked: OrderedDict[tuple[str, str], int] = OrderedDict()  # who was told what to do, and when
        self._invited: OrderedDict[str, int] = OrderedDict()  # who was told to register again, and didn't yet
        self._strangers = Strangers(self.ask_again, ASK_AGAIN_SECONDS)
        self._undecided = Undecided()

    @property
    def asked(self) -> int:
        """How many agents are remembered as told to register."""
        return max(len(self._asked), len(self._invited))

    async def take(self, delivery: Delivery) -> None:
        """Take a registration. Raises InvalidInputError for one that can't be read."""
        said = wire.decoded(delivery.data, wire.AgentRegistrationMessage)
        if self._leads():
            await self._decide(delivery, said)
        elif not self._taken(said.registration.agent_id):
            incarnation = self._undecided.keep(delivery, said, self._clock.now_us())
            if incarnation:
                self._follow(delivery, said, incarnation)

    async def take_over(self) -> None:
        """This replica leads from now on: decide on what was said of late and nobody has answered."""
        for delivery, said in self._undecided.all(self._clock.now_us()):
            try:
                await self._decide(delivery, said)
            except InvalidInputError as error:
                _log.info("a registration can't be used", subject=delivery.subject, error=str(error))

    async def _decide(self, delivery: Delivery, said: wire.AgentRegistrationMessage) -> None:
        given = said.registration
        descriptor = _described(given, self._incarnation_of(given))
        try:
            descriptor = self._identified(delivery, descriptor, said)
        except RegistrationConflictError as error:  # it may be anybody: the agent it claims to be isn't told
            await self._refuse(delivery, descriptor, said, error, tell_agent=False)
            return
        try:
            if self._taken(given.agent_id):
                raise RegistrationConflictError(f"an agent of the orchestrator's own process is {given.agent_id}")
            outcome = self._enter(descriptor, given)
        except (RegistrationConflictError, RegistryError) as error:
            await self._refuse(delivery, descriptor, said, error)
            return
        if outcome is None:
            await self._speaker.answer_error(delivery.reply, "BUSY", "there is too much to do; register again", 1_000)
            return
        await self._confirm(delivery, descriptor, said)
        if outcome in (Outcome.SAME, Outcome.UPDATED):
            self._doubt(descriptor.agent_id)  # its connection was lost, and perhaps something with it
            return
        self._tell(
            wire.SystemEventType.AGENT_REGISTERED,
            {
                "agentId": descriptor.agent_id,
                "agentType": descriptor.agent_type,
                "capabilities": list(descriptor.capabilities),
                "version": descriptor.version,
                "restarted": outcome is Outcome.NEW_INCARNATION,
            },
        )

    def _identified(
        self, delivery: Delivery, descriptor: AgentDescriptor, said: wire.AgentRegistrationMessage
    ) -> AgentDescriptor:
        """Return the descriptor with the key that the carrier shows. Raises RegistrationConflictError."""
        agent = descriptor.agent_id
        if self._identify is not None:
            return replace(descriptor, key=self._identify(delivery.subject, descriptor, said))
        if delivery.subject != wire.REGISTER and agent_of(delivery.subject) != agent:
            raise InvalidInputError(f"{delivery.subject[:200]} isn't where agent {agent[:128]!r} registers")
        return descriptor

    def _enter(self, descriptor: AgentDescriptor, given: wire.AgentRegistration) -> Outcome | None:
        """Let the registry and the engine know an agent; None where the engine has no room: it says it again.

        Raises RegistrationConflictError, RegistryError.
        """
        agent = descriptor.agent_id
        outcome = self._registry.register(descriptor, self._clock.now_us()).outcome
        if given.protocol == wire.PROTOCOL:
            self._frames.add(agent)
        else:
            self._frames.discard(agent)
        self._invited.pop(agent, None)
        self._asked.pop((agent, ""), None)
        self._strangers.known(agent)
        if not self._receiver.receive(registration_of(given, descriptor.incarnation)):
            self._registry.deregister(agent)
            return None
        if self._presence is not None:
            process = given.incarnation if given.protocol == wire.PROTOCOL else ""
            self._presence.joined(agent, descriptor.key, process)
        return outcome

    def _incarnation_of(self, given: wire.AgentRegistration) -> str:
        """Return which start of an agent this is. One that doesn't tell was started anew, unless it was asked to
        register: then one of us didn't know it, and what it held is still its.
        """
        if given.incarnation:
            return _named(given, given.incarnation)
        invited_us = self._invited.get(given.agent_id)
        if invited_us is not None and self._clock.now_us() - invited_us < seconds_to_us(INVITED_SECONDS):
            known = self._registry.descriptor(given.agent_id)
            found = known.incarnation if known is not None else self._held_as(given.agent_id)
            if found:
                return found
        return f"{msg.FOREIGN}{self._speaker.message_id()}"

    # --- what other replicas say -------------------------------------------------------------------------------

    def overhear(self, agent: str, notice: wire.OrchestratorNotice) -> None:
        """Take what another replica says to an agent."""
        if self._speaker.said(notice.message_id):
            return
        match notice.notice:
            case wire.Notice.REGISTER_AGAIN:
                self._note_asked(agent, notice.incarnation)
            case wire.Notice.REGISTERED if not self._leads():
                answered = self._undecided.taken_in(agent, notice.incarnation, self._clock.now_us())
                if answered is not None:
                    self._follow(*answered, notice.incarnation)
            case wire.Notice.REGISTRATION_REFUSED:
                self._undecided.refused(agent, notice.incarnation)
            case _:
                pass

    def _follow(self, delivery: Delivery, said: wire.AgentRegistrationMessage, incarnation: str) -> None:
        """The leader has taken an agent in: do likewise."""
        given = said.registration
        try:
            descriptor = self._identified(delivery, _described(given, _named(given, incarnation)), said)
            outcome = self._enter(descriptor, given)
        except (RegistrationConflictError, RegistryError, InvalidInputError) as error:
            _log.warning("the leading replica has taken in an agent that can't be here", reason=str(error))
            return
        if outcome in (Outcome.SAME, Outcome.UPDATED):
            self._doubt(descriptor.agent_id)

    def _note_asked(self, agent: str, named: str) -> None:
        now_us = self._clock.now_us()
        _remember(self._asked, (agent, named), now_us)
        _remember(self._invited, agent, now_us)

    # --- what is said to agents --------------------------------------------------------------------------------

    async def _confirm(self, delivery: Delivery, descriptor: AgentDescriptor, said: Any) -> None:
        settings, renews = self._settings, said.registration.renews
        lease = settings.lease_seconds if renews else settings.foreign_lease_seconds
        fields: dict[str, Any] = {
            "accepted": True,
            "heartbeat_interval_ms": round(settings.heartbeat_seconds * 1_000),
            "lease_ms": round(lease * 1_000),
            "incarnation": _own_word(descriptor.incarnation),
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
        """Tell who isn't (or isn't any more) an agent of the fleet what to do, not more often than now and then.

        A replica that doesn't lead gives the leader the time to do so: only who stays unknown to it is asked by it.
        """
        now_us, named = self._clock.now_us(), _own_word(incarnation)
        again_us = seconds_to_us(ASK_AGAIN_SECONDS)
        if not self._leads():
            if known is not Known.FENCED:
                self._strangers.seen(agent, named)
            return
        asked_us = self._asked.get((agent, named))
        if asked_us is not None and now_us - asked_us < again_us:
            return
        if known is Known.FENCED:
            _remember(self._asked, (agent, named), now_us)
            reason = "another process of this agent was started later; stop this one"
            await self._speaker.notify(
                agent, wire.Notice.REGISTRATION_REFUSED, code=409, reason=reason, incarnation=named
            )
        else:
            await self.ask_again(agent, named)

    def end(self) -> None:
        """Nothing is said by itself any more."""
        self._strangers.end()

    async def ask_again(self, agent: str, named: str = "") -> None:
        """Ask an agent to register again: nothing that it has is lost by that."""
        self._note_asked(agent, named)
        await self._speaker.notify(
            agent, wire.Notice.REGISTER_AGAIN, reason="no such agent is registered here", incarnation=named
        )


def _described(given: wire.AgentRegistration, incarnation: str) -> AgentDescriptor:
    return descriptor_of(
        registration_of(given, incarnation),
        key=given.key,
        service_types=given.service_types,
        endpoint=given.endpoint,
        tags=given.tags,
        location=given.location,
        metadata=given.metadata,
        schemas=msgspec.json.encode(given.schemas) if given.schemas else b"",
    )


def _named(given: wire.AgentRegistration, word: str) -> str:
    """Return the incarnation of an agent by its own word for it."""
    return (msg.REMOTE if given.renews else msg.FOREIGN) + word


def _own_word(incarnation: str) -> str:
    return incarnation.removeprefix(msg.REMOTE).removeprefix(msg.FOREIGN)


def _remember(among: OrderedDict[Any, Any], key: Any, value: Any) -> None:
    """Keep the newest of what is remembered."""
    among[key] = value
    among.move_to_end(key)
    while len(among) > ASKED_KEPT:
        among.popitem(last=False)
