"""How the registries of several processes know each other's agents: what they say on the topic `agent.registry`. Pure.

Each agent belongs to the registry that it registered with, which tells the others of it. The carrier may lose,
repeat or reorder: each registry counts its changes, says the count with everything it says, and is asked for all it
has by whoever finds a gap. Silence is reckoned by each registry from what arrives at it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, assert_never

import msgspec
from msgspec import Struct

from podium.clock import SECOND, seconds_to_us
from podium.exceptions import InvalidInputError, RegistrationConflictError, RegistryError
from podium.fleet.descriptor import AgentDescriptor
from podium.fleet.health import usable_metrics
from podium.fleet.registry import FleetRegistry, Known
from podium.telemetry.logs import get_logger

TOPIC = "agent.registry"
MAX_PEERS = 1_000
MAX_GONE = 500  # deregistered agents that are remembered, for whoever missed it
PART_BYTES = 128 * 1024  # of the agents in one message
ASK_AGAIN_SECONDS = 1.0

_log = get_logger("podium.fleet")


class _Said(Struct, frozen=True, kw_only=True, tag_field="kind"):
    registry: str  # who says it
    changes: int  # how many changes it has made to its agents, with this one


class Joined(_Said, frozen=True, tag="registered"):
    """An agent has registered, or tells something else of itself."""

    agent: AgentDescriptor


class Gone(_Said, frozen=True, tag="deregistered"):
    """An agent has left."""

    agent_id: str
    incarnation: str = ""


class Beat(_Said, frozen=True, tag="heartbeat"):
    """An agent is alive."""

    agent_id: str
    metrics: dict[str, float]
    incarnation: str = ""


class Present(_Said, frozen=True, tag="present"):
    """I am here; said from time to time, so that a lost change is found."""


class Asked(_Said, frozen=True, tag="asked"):
    """Tell what you have: one registry, or (empty) every one."""

    of: str = ""


class Kept(Struct, frozen=True):
    """An agent as its registry has it."""

    agent: AgentDescriptor
    metrics: dict[str, float]
    silent_seconds: float
    registered_seconds: float  # ago; of two registries that both have an agent, the later registration holds


class Left(Struct, frozen=True):
    """An agent that was deregistered, so many seconds ago."""

    agent_id: str
    incarnation: str
    seconds: float


class Told(_Said, frozen=True, tag="told"):
    """What I have: one of so many parts, from 0. The first one names those that were deregistered here of late."""

    part: int
    parts: int
    agents: tuple[Kept, ...]
    gone: tuple[Left, ...] = ()


Saying = Joined | Gone | Beat | Present | Asked | Told


class _Peer:
    """Another registry: how many of its changes are known here, and what it is telling."""

    __slots__ = ("asked_us", "changes", "heard_us", "next_part", "refused", "telling", "told")

    def __init__(self) -> None:
        self.changes = -1
        self.heard_us = 0
        self.asked_us = 0
        self.telling = -1  # the count at which it tells what it has
        self.next_part = 0
        self.told: set[str] = set()
        self.refused: set[str] = set()  # its agents that can't be taken: nothing is missing because of them


class FleetSharing:
    """One registry's part. What it returns is to be said on the topic, in order."""

    def __init__(self, registry: FleetRegistry, me: str) -> None:
        self._registry = registry
        self._me = me
        self._changes = 0
        self._peers: dict[str, _Peer] = {}
        self._home: dict[str, str] = {}  # whose agent it is: the registry that it last registered with
        self._gone: dict[str, tuple[str, int]] = {}  # incarnation of one that was deregistered here, and when

    @property
    def peers(self) -> tuple[str, ...]:
        """The other registries that are known."""
        return tuple(self._peers)

    # --- what happens here -------------------------------------------------------------------------------------

    def joined(self, descriptor: AgentDescriptor) -> dict[str, Any]:
        """Return what to say of an agent that registered here."""
        self._changes += 1
        self._home[descriptor.agent_id] = self._me
        self._gone.pop(descriptor.agent_id, None)
        return self._say(Joined(registry=self._me, changes=self._changes, agent=descriptor))

    def gone(self, agent_id: str, now_us: int, incarnation: str = "") -> dict[str, Any]:
        """Return what to say of an agent that was deregistered here, whosever it was."""
        self._changes += 1
        self._home.pop(agent_id, None)
        self._gone[agent_id] = (incarnation, now_us)
        if len(self._gone) > MAX_GONE:
            del self._gone[next(iter(self._gone))]
        return self._say(Gone(registry=self._me, changes=self._changes, agent_id=agent_id, incarnation=incarnation))

    def beat(self, agent_id: str, metrics: Mapping[str, float], incarnation: str = "") -> dict[str, Any]:
        """Return what to say of a heartbeat that arrived here. The agent is this registry's from now on."""
        if self._home.get(agent_id) != self._me:
            self._home[agent_id] = self._me
            self._changes += 1  # whoever doesn't know it asks
        usable = usable_metrics(metrics)
        return self._say(
            Beat(registry=self._me, changes=self._changes, agent_id=agent_id, metrics=usable, incarnation=incarnation)
        )

    def ask(self) -> dict[str, Any]:
        """Return what a registry that joins says: tell me what you have."""
        return self._say(Asked(registry=self._me, changes=self._changes))

    def present(self, now_us: int) -> dict[str, Any]:
        """Return what to say from time to time. Registries that said nothing for the lost limit are forgotten."""
        silent_us = seconds_to_us(self._registry.limits.lost_seconds)
        for name in [name for name, peer in self._peers.items() if now_us - peer.heard_us >= silent_us]:
            del self._peers[name]
        for peer in self._peers.values():
            peer.refused.clear()  # there may be room for them by now, or their name may be free
        for agent_id in [a for a, (_, at_us) in self._gone.items() if now_us - at_us >= silent_us]:
            del self._gone[agent_id]
        for agent_id in [agent_id for agent_id in self._home if agent_id not in self._registry]:
            del self._home[agent_id]
        return self._say(Present(registry=self._me, changes=self._changes))

    def tell(self, now_us: int) -> list[dict[str, Any]]:
        """Return all that is registered here, in as many messages as it needs."""
        parts: list[list[Kept]] = [[]]
        size = 0
        for agent_id, home in self._home.items():
            if home != self._me or agent_id not in self._registry:
                continue
            info = self._registry.get(agent_id, now_us)
            registered_seconds = (now_us - info.registered_us) / SECOND
            kept = Kept(info.descriptor, info.metrics, info.heartbeat_age_seconds, registered_seconds)
            length = len(msgspec.msgpack.encode(kept))
            if size + length > PART_BYTES and parts[-1]:
                parts.append([])
                size = 0
            size += length
            parts[-1].append(kept)
        gone = tuple(Left(a, incarnation, (now_us - at_us) / SECOND) for a, (incarnation, at_us) in self._gone.items())
        count = len(parts)
        return [
            self._say(
                Told(
                    registry=self._me,
                    changes=self._changes,
                    part=n,
                    parts=count,
                    agents=tuple(part),
                    gone=gone if n == 0 else (),
                )
            )
            for n, part in enumerate(parts)
        ]

    # --- what others say ---------------------------------------------------------------------------------------

    def hear(self, payload: Mapping[str, Any], now_us: int) -> list[dict[str, Any]]:
        """Take what somebody said; return what to answer. Raises InvalidInputError for what can't be understood."""
        try:
            said: Saying = msgspec.convert(payload, Saying)
        except msgspec.ValidationError as error:
            raise InvalidInputError(f"a message on {TOPIC} can't be understood: {error}") from error
        if said.registry == self._me:
            return []
        peer = self._peers.get(said.registry)
        if peer is None:
            if len(self._peers) >= MAX_PEERS:
                raise InvalidInputError(f"more than {MAX_PEERS:,} registries speak on {TOPIC}")
            peer = self._peers[said.registry] = _Peer()
        peer.heard_us = now_us
        match said:
            case Asked(of=of):
                answers = self.tell(now_us) if of in ("", self._me) else []
                return [*answers, *self._missing(said, peer, said.changes, now_us)]
            case Told():
                return self._told(said, peer, now_us)
            case Joined() | Gone() if peer.changes >= said.changes:
                return []  # repeated, or overtaken by what was told meanwhile
            case Joined(agent=descriptor):
                peer.told.add(descriptor.agent_id)
                self._take(said.registry, peer, descriptor, now_us)
                return self._missing(said, peer, said.changes - 1, now_us)
            case Gone(agent_id=agent_id, incarnation=incarnation):
                if self._registry.deregister(agent_id, incarnation) and self._home.pop(agent_id, "") == self._me:
                    self._changes += 1  # whoever missed this word finds out when it hears from us
                return self._missing(said, peer, said.changes - 1, now_us)
            case Beat(agent_id=agent_id):
                known = self._registry.heartbeat(agent_id, said.metrics, now_us, said.incarnation)
                if known is Known.UNKNOWN and agent_id not in peer.refused:
                    peer.changes = -1  # whatever we thought to know: this agent isn't in it
                return self._missing(said, peer, said.changes, now_us)
            case Present():
                return self._missing(said, peer, said.changes, now_us)
            case _:
                assert_never(said)

    def _missing(self, said: Saying, peer: _Peer, known_before: int, now_us: int) -> list[dict[str, Any]]:
        """Go on counting if all before is known; otherwise ask for everything, not more often than each second."""
        if peer.changes == known_before or peer.changes >= said.changes:
            peer.changes = max(said.changes, peer.changes)
            return []
        if peer.asked_us and now_us - peer.asked_us < ASK_AGAIN_SECONDS * SECOND:
            return []
        peer.asked_us = now_us
        return [self._say(Asked(registry=self._me, changes=self._changes, of=said.registry))]

    def _told(self, said: Told, peer: _Peer, now_us: int) -> list[dict[str, Any]]:
        """Take a part of what another has; with the last one, forget what it no longer has."""
        if peer.changes >= said.changes:
            return []  # somebody else had asked
        if said.part == 0:
            peer.telling, peer.next_part = said.changes, 0
            peer.told.clear()
            peer.refused.clear()
        if (said.changes, said.part) != (peer.telling, peer.next_part):
            return []  # a part was lost; its next `present` shows that something is missing
        peer.next_part += 1
        for left in said.gone:
            self._lose(left, now_us)
        for kept in said.agents:
            peer.told.add(kept.agent.agent_id)
            self._take(said.registry, peer, kept.agent, now_us, kept)
        if peer.next_part == said.parts:
            peer.changes, peer.asked_us = said.changes, 0
            missed = [a for a, home in self._home.items() if home == said.registry and a not in peer.told]
            for agent_id in missed:
                self._registry.deregister(agent_id)
                del self._home[agent_id]
            if missed:  # it may have moved to another registry, whose word was overtaken
                for other in self._peers.values():
                    other.changes = other.changes if other is peer else -1
            peer.told.clear()
        return []

    def _lose(self, left: Left, now_us: int) -> None:
        """Deregister an agent that left elsewhere, unless it has registered since."""
        if left.agent_id not in self._registry:
            return
        registered_us = self._registry.get(left.agent_id, now_us).registered_us
        if registered_us > now_us - seconds_to_us(left.seconds):
            return
        if self._registry.deregister(left.agent_id, left.incarnation) and self._home.pop(left.agent_id, "") == self._me:
            self._changes += 1

    def _take(
        self, registry: str, peer: _Peer, descriptor: AgentDescriptor, now_us: int, kept: Kept | None = None
    ) -> None:
        agent_id = descriptor.agent_id
        try:
            if kept is None:
                self._registry.register(descriptor, now_us)
            elif not self._take_over(registry, kept, now_us):
                peer.refused.add(agent_id)
                return
        except (RegistrationConflictError, RegistryError) as error:
            peer.refused.add(agent_id)
            _log.warning("another registry's agent was refused", agent=agent_id, registry=registry, reason=str(error))
            return
        peer.refused.discard(agent_id)
        self._gone.pop(agent_id, None)
        if self._home.get(agent_id) == self._me:
            self._changes += 1  # it was ours: whoever still thinks so finds out
        self._home[agent_id] = registry

    def _take_over(self, registry: str, kept: Kept, now_us: int) -> bool:
        """Take an agent as another registry has it; False if it registered, or left, later than that one knows."""
        agent_id = kept.agent.agent_id
        registered_us = now_us - seconds_to_us(kept.registered_seconds)
        heard_us = now_us - seconds_to_us(kept.silent_seconds)
        if agent_id in self._gone and self._gone[agent_id][1] >= registered_us:
            return False
        if agent_id in self._registry:
            here = self._registry.get(agent_id, now_us)
            home = self._home.get(agent_id, registry)
            if home != registry and (here.registered_us, home) > (registered_us, registry):
                return False
            if here.descriptor == kept.agent and here.last_heartbeat_us >= heard_us:
                return True
        self._registry.register(kept.agent, registered_us)
        self._registry.heartbeat(agent_id, kept.metrics, heard_us, kept.agent.incarnation)
        return True

    def _say(self, said: Saying) -> dict[str, Any]:
        return _builtins(said)


_builtins: Callable[[Saying], dict[str, Any]] = msgspec.to_builtins
