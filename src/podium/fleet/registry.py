"""The fleet's registry: which agents there are, how they stand, and who can do what. Pure: time is an argument.

Agents are known by what they say and when it arrived here; their own clocks don't matter. `check` is to be called
regularly: it tells who has become unhealthy, who has recovered and who is lost. It does no I/O and keeps no thread;
`podium.api.registry` and the link to agents are around it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from msgspec import Struct

from podium.clock import seconds_to_us
from podium.exceptions import AgentNotFoundError, RegistrationConflictError, RegistryError
from podium.fleet.descriptor import AgentDescriptor
from podium.fleet.discovery import DiscoveryIndex, Query
from podium.fleet.health import LATE_INTERVALS, Silence, next_success_rate, usable_metrics
from podium.fleet.member import AVAILABLE, AgentInfo, Member
from podium.fleet.states import AgentEvent, AgentState

FORMER_KEPT = 8  # incarnations of an agent that are known as gone
AUDIT_KEPT = 1_000
CHANGES_KEPT = 100_000  # that nobody has fetched by `check`
KEY_SHOWN = 64
_NEVER = 1 << 62


class FleetLimits(Struct, frozen=True):
    """Times (DESIGN.md: 30, 60, 300 s) and how many agents there may be."""

    heartbeat_seconds: float = 30.0
    unhealthy_seconds: float = 60.0
    lost_seconds: float = 300.0
    max_agents: int = 10_000

    def __post_init__(self) -> None:
        if not 0 < self.heartbeat_seconds <= self.unhealthy_seconds < self.lost_seconds:
            raise ValueError("0 < heartbeat_seconds <= unhealthy_seconds < lost_seconds must hold")
        if self.max_agents < 1:
            raise ValueError("max_agents must be at least 1")


class Outcome(StrEnum):
    """What a registration was."""

    NEW = "new"
    SAME = "same"  # nothing changed; it counts as a sign of life
    UPDATED = "updated"  # the same incarnation tells something else of itself
    NEW_INCARNATION = "new_incarnation"  # the agent was started anew: what the earlier one held is lost


class Registered(Struct, frozen=True):
    """The answer to a registration. `replaced` is the incarnation that this one takes the place of."""

    outcome: Outcome
    replaced: str = ""


class Known(StrEnum):
    """What a sign of life came from."""

    KNOWN = "known"
    UNKNOWN = "unknown"  # nobody who is registered: it should register (again)
    FENCED = "fenced"  # an incarnation whose place a later one has taken: it must stop


class ChangeKind(StrEnum):
    """What `check` tells."""

    UNHEALTHY = "unhealthy"
    RECOVERED = "recovered"
    LOST = "lost"  # and deregistered


class Change(Struct, frozen=True):
    """Something that became of an agent by time, or by its being heard of again."""

    kind: ChangeKind
    descriptor: AgentDescriptor
    at_us: int
    reason: str


class AuditEntry(Struct, frozen=True):
    """A registration that was refused."""

    at_us: int
    agent_id: str
    rule: str  # another_key, fenced, full
    reason: str
    key: str  # of the one who tried, cut


class FleetRegistry:
    """The agents of one fleet. Used on one thread."""

    def __init__(self, limits: FleetLimits | None = None) -> None:
        self.limits = limits or FleetLimits()
        self._members: dict[str, Member] = {}
        self._index = DiscoveryIndex()
        self._counts = dict.fromkeys(AgentState, 0)
        self._next_look_us = _NEVER  # when somebody's silence may reach a limit
        self._changes: deque[Change] = deque(maxlen=CHANGES_KEPT)
        self._audit: deque[AuditEntry] = deque(maxlen=AUDIT_KEPT)
        self.conflicts = 0
        late_us = seconds_to_us(self.limits.heartbeat_seconds * LATE_INTERVALS)
        unhealthy_us, lost_us = seconds_to_us(self.limits.unhealthy_seconds), seconds_to_us(self.limits.lost_seconds)
        self._limits_us = (min(late_us, unhealthy_us), unhealthy_us, lost_us, _NEVER)

    def __len__(self) -> int:
        return len(self._members)

    def __contains__(self, agent_id: object) -> bool:
        return agent_id in self._members

    # --- what agents say ---------------------------------------------------------------------------------------

    def register(self, descriptor: AgentDescriptor, now_us: int) -> Registered:
        """Take an agent in, or take what it says anew. Whatever an earlier incarnation held is then lost.

        Raises RegistrationConflictError, with an audit entry, when another key has the name or when a later
        incarnation has taken this one's place; RegistryError when the fleet is full.
        """
        known = self._members.get(descriptor.agent_id)
        if known is None:
            if len(self._members) >= self.limits.max_agents:
                reason = f"the fleet is full: {self.limits.max_agents:,} agents (MAX_CONCURRENT_AGENTS)"
                self._refuse(descriptor, now_us, "full", reason)
                raise RegistryError(reason)
            self._enter(Member(descriptor, now_us), now_us)
            return Registered(Outcome.NEW)
        self._check_claim(known, descriptor, now_us)
        if known.descriptor.incarnation != descriptor.incarnation:
            return self._replace(known, descriptor, now_us)
        same = known.descriptor == descriptor
        if not same:
            self._index.remove(known)
            known.descriptor = descriptor
            known.registered_us = now_us
            known.rerank()
            self._index.add(known)
        self._hear(known, now_us, measured=True)
        return Registered(Outcome.SAME if same else Outcome.UPDATED)

    def heartbeat(self, agent_id: str, metrics: Mapping[str, float], now_us: int, incarnation: str = "") -> Known:
        """Take a heartbeat with what the agent measured of itself; what it doesn't mention stays as it was.

        Values that are no finite numbers from 0 are left out: the agent lives, whatever it says of itself.
        """
        known = self.recognise(agent_id, incarnation)
        if known is not Known.KNOWN:
            return known
        member = self._members[agent_id]
        if metrics:
            member.metrics = usable_metrics(
                {**metrics, **{n: v for n, v in member.metrics.items() if n not in metrics}}
            )
        sla = member.descriptor.sla
        if sla is not None and metrics:
            member.tracker.observe(sla, member.metrics.get("response_time_ms"), member.metrics.get("error_rate"))
        self._hear(member, now_us, measured=bool(metrics))
        return known

    def heard(self, agent_id: str, now_us: int, incarnation: str = "") -> Known:
        """Take any other message as a sign of life."""
        known = self.recognise(agent_id, incarnation)
        if known is Known.KNOWN:
            self._hear(self._members[agent_id], now_us)
        return known

    def recognise(self, agent_id: str, incarnation: str = "") -> Known:
        """Return whether this is an agent of the fleet. Without an incarnation, the id alone counts."""
        member = self._members.get(agent_id)
        if member is None:
            return Known.UNKNOWN
        if not incarnation or incarnation == member.descriptor.incarnation:
            return Known.KNOWN
        return Known.FENCED if incarnation in member.former else Known.UNKNOWN

    def deregister(self, agent_id: str, incarnation: str = "") -> bool:
        """Take an agent out; False if it isn't registered, or only as another incarnation."""
        if self.recognise(agent_id, incarnation) is not Known.KNOWN:
            return False
        self._remove(self._members[agent_id])
        return True

    def drain(self, agent_id: str) -> bool:
        """It is to get nothing new; False if it isn't registered."""
        member = self._members.get(agent_id)
        if member is None:
            return False
        member.draining = True
        self._move(member, AgentEvent.DRAIN)
        self._rerank(member)
        return True

    # --- what the orchestrator knows of them -------------------------------------------------------------------

    def note_held(self, agent_id: str, held: int) -> None:
        """An agent holds so many tasks now. Of an agent that isn't registered nothing is noted."""
        member = self._members.get(agent_id)
        if member is None or member.held == held:
            return
        before = member.state
        member.hold(held)
        self._count(before, member.state)
        self._rerank(member)

    def note_outcome(self, agent_id: str, succeeded: bool, response_time_ms: float | None = None) -> None:
        """A task of an agent has ended. Refusals and cancellations are no outcomes."""
        member = self._members.get(agent_id)
        if member is None:
            return
        before = member.success_rate
        member.success_rate = next_success_rate(before, succeeded)
        if member.descriptor.sla is not None:
            member.tracker.observe(member.descriptor.sla, response_time_ms)
        if member.success_rate != before:  # it doesn't move while all goes well, of which there is much
            self._rerank(member)

    def note_gone(self, agent_id: str, now_us: int, reason: str) -> None:
        """An agent is known to be away before its silence says so: it is unhealthy until it is heard of again.

        When it counts as lost doesn't change: that is reckoned from its last sign of life.
        """
        member = self._members.get(agent_id)
        if member is None or member.state is AgentState.UNHEALTHY:
            return
        self._move(member, AgentEvent.MARK_UNHEALTHY)
        member.silence = Silence.UNHEALTHY
        member.tracker.down(now_us)
        self._changes.append(Change(ChangeKind.UNHEALTHY, member.descriptor, now_us, reason))
        self._rerank(member)
        self._await(member)

    def check(self, now_us: int) -> list[Change]:
        """Return what has become of agents since the last call: unhealthy, recovered, lost (and deregistered)."""
        self._look(now_us)
        for member in [m for m in self._members.values() if m.silence is Silence.LOST]:
            self._move(member, AgentEvent.MARK_LOST)
            reason = f"it gave no sign of life for {self.limits.lost_seconds:g} s"
            self._changes.append(Change(ChangeKind.LOST, member.descriptor, now_us, reason))
            self._remove(member)
        found = list(self._changes)
        self._changes.clear()
        return found

    def excuse(self, by_us: int) -> None:
        """The registry itself heard nothing for so long (it stood still, its connection was down): nobody's silence
        of that time counts.
        """
        if by_us <= 0:
            return
        for member in self._members.values():
            member.heard_us += by_us
            if member.silence is Silence.LOST:
                member.silence = Silence.UNHEALTHY
        self._next_look_us = 0

    # --- questions ---------------------------------------------------------------------------------------------

    def discover(self, query: Query, now_us: int) -> tuple[AgentDescriptor, ...]:
        """Return the agents that fit: those of the preferred location first, then by health, load and id.

        Agents that are unhealthy or draining are never among them. Raises InvalidInputError for a constraint on
        versions that can't be read.
        """
        self._look(now_us)
        return self._index.find(query, now_us)

    def descriptor(self, agent_id: str) -> AgentDescriptor | None:
        """Return what an agent said of itself; None if it isn't registered."""
        member = self._members.get(agent_id)
        return member.descriptor if member is not None else None

    def get(self, agent_id: str, now_us: int) -> AgentInfo:
        """Return how an agent stands. Raises AgentNotFoundError."""
        self._look(now_us)
        member = self._members.get(agent_id)
        if member is None:
            raise AgentNotFoundError(f"no agent {agent_id[:128]!r} is registered")
        return member.info(now_us)

    def infos(self, now_us: int, most: int | None = None) -> list[AgentInfo]:
        """Return how all agents stand, by id; at most so many of them."""
        self._look(now_us)
        return [self._members[agent_id].info(now_us) for agent_id in sorted(self._members)[:most]]

    def counts(self) -> dict[AgentState, int]:
        """Return how many agents are in each state that somebody is in."""
        return {state: number for state, number in self._counts.items() if number}

    def audit(self) -> list[AuditEntry]:
        """Return the latest refused registrations, the oldest first."""
        return list(self._audit)

    def get_metrics(self) -> dict[str, Any]:
        """Return document 003's figures: `total_agents`, `unique_capabilities`, and what else is counted."""
        index = self._index
        return {
            "total_agents": len(self._members),
            "healthy_agents": sum(self._counts[state] for state in AVAILABLE | {AgentState.DRAINING}),
            "unhealthy_agents": self._counts[AgentState.UNHEALTHY],
            "unique_capabilities": index.unique_capabilities,
            "agents_by_state": {str(state): number for state, number in self.counts().items()},
            "discovery_queries": index.queries,
            "discovery_cache_hits": index.hits,
            "registration_conflicts": self.conflicts,
        }

    # --- inside ------------------------------------------------------------------------------------------------

    def _check_claim(self, known: Member, descriptor: AgentDescriptor, now_us: int) -> None:
        if known.descriptor.key != descriptor.key:
            reason = f"agent {descriptor.agent_id} is registered with another key; choose another name, or wait"
            self._refuse(descriptor, now_us, "another_key", f"{reason} until it has left")
            raise RegistrationConflictError(f"{reason} until it has left")
        if descriptor.incarnation and descriptor.incarnation in known.former:
            reason = f"agent {descriptor.agent_id} was started again since: a later incarnation has its place"
            self._refuse(descriptor, now_us, "fenced", reason)
            raise RegistrationConflictError(reason)

    def _refuse(self, descriptor: AgentDescriptor, now_us: int, rule: str, reason: str) -> None:
        self.conflicts += 1
        self._audit.append(AuditEntry(now_us, descriptor.agent_id, rule, reason, descriptor.key[:KEY_SHOWN]))

    def _replace(self, known: Member, descriptor: AgentDescriptor, now_us: int) -> Registered:
        replaced = known.descriptor.incarnation
        self._remove(known)
        member = Member(descriptor, now_us)
        member.former = (*known.former, replaced)[-FORMER_KEPT:]
        member.success_rate = known.success_rate  # a restart is no new reputation
        member.tracker = known.tracker
        member.tracker.up(now_us)
        self._enter(member, now_us)
        return Registered(Outcome.NEW_INCARNATION, replaced)

    def _enter(self, member: Member, now_us: int) -> None:
        self._members[member.descriptor.agent_id] = member
        self._counts[member.state] += 1
        member.rerank()
        self._index.add(member)
        self._await(member)

    def _remove(self, member: Member) -> None:
        self._move(member, AgentEvent.DEREGISTER)
        self._counts[AgentState.DEREGISTERED] -= 1  # nobody stays there
        self._index.remove(member)
        del self._members[member.descriptor.agent_id]

    def _hear(self, member: Member, now_us: int, measured: bool = False) -> None:
        """Take a sign of life; `measured` is one that may say something new."""
        before, was_late = member.state, member.silence is not Silence.FRESH
        forgives = member.success_rate < 1.0
        silent_us = now_us - member.heard_us
        if member.heard(now_us):
            reason = f"it was heard of again after {silent_us / 1_000_000:.0f} s"
            self._changes.append(Change(ChangeKind.RECOVERED, member.descriptor, now_us, reason))
        self._count(before, member.state)
        if was_late:
            self._await(member)  # its limit is sooner than the one that is awaited
        if measured or was_late or forgives or before is not member.state:
            self._rerank(member)

    def _move(self, member: Member, event: AgentEvent) -> None:
        before = member.state
        self._count(before, member.machine.process(event))

    def _count(self, before: AgentState, after: AgentState) -> None:
        if before is not after:
            self._counts[before] -= 1
            self._counts[after] += 1

    def _rerank(self, member: Member) -> None:
        if member.rerank():
            self._index.touch(member)

    def _await(self, member: Member) -> None:
        """Have the agent's silence looked at when it reaches its next limit."""
        self._next_look_us = min(self._next_look_us, member.heard_us + self._limits_us[member.silence])

    def _look(self, now_us: int) -> None:
        """Mark those whose silence has reached a limit, in one pass that is made only when there can be one.

        A heartbeat moves an agent's limit to a later time, so it needs no change here. Nobody is given up.
        """
        if now_us < self._next_look_us:
            return
        limits, silent, next_us = self._limits_us, [], _NEVER
        for member in self._members.values():
            limit_us = member.heard_us + limits[member.silence]
            if limit_us <= now_us:
                silent.append(member)
            elif limit_us < next_us:
                next_us = limit_us
        self._next_look_us = next_us
        for member in silent:
            while member.heard_us + limits[member.silence] <= now_us:
                self._fall_silent(member, now_us)
            self._rerank(member)
            self._await(member)

    def _fall_silent(self, member: Member, now_us: int) -> None:
        reached_us = member.heard_us + self._limits_us[member.silence]
        member.silence = Silence(member.silence + 1)
        if member.silence is Silence.UNHEALTHY:
            self._move(member, AgentEvent.MARK_UNHEALTHY)
            member.tracker.down(reached_us)
            reason = f"it gave no sign of life for {self.limits.unhealthy_seconds:g} s"
            self._changes.append(Change(ChangeKind.UNHEALTHY, member.descriptor, now_us, reason))
