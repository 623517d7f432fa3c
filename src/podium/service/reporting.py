"""What the orchestrator says of itself: document 000's SystemStatus, every component's health, the fleet as rows.

It only looks. Agents of this process and agents elsewhere are shown alike.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from podium.clock import SECOND
from podium.exceptions import PodiumError
from podium.fleet import wire
from podium.fleet.breaker import CircuitState
from podium.fleet.descriptor import descriptor_of
from podium.fleet.health import SLATracker
from podium.fleet.member import AgentInfo
from podium.fleet.states import AgentState
from podium.ids import PLACEMENT_SHARD
from podium.service.offers import offers_of
from podium.telemetry.health import ComponentHealth
from podium.workflow.model import Workflow

if TYPE_CHECKING:
    from podium.app import Podium
    from podium.engine.ownership import Ownership
    from podium.engine.runtime import Engine
    from podium.engine.staffing import Member
    from podium.scheduling.placement import Agent
    from podium.service.service import Service

STATUSES_SHOWN = 2_000  # agents in one SystemStatus: a message has a limit


class Reporting:
    """Looks at one service."""

    def __init__(self, service: Service) -> None:
        self._service = service

    @property
    def _podium(self) -> Podium:
        return self._service.podium

    # --- the fleet ---------------------------------------------------------------------------------------------

    def refresh_loads(self) -> None:
        """Let the registry know what each agent holds: placement keeps count of that."""
        engine, registry = self._podium.engine, self._service.link.registry
        if engine is None:
            return
        for agent in engine.staffing.placement.agents.values():
            registry.note_held(agent.id, agent.held)

    def infos(self, most: int | None = None) -> list[AgentInfo]:
        """Return how the agents elsewhere stand, by id; at most so many of them."""
        self.refresh_loads()
        return self._service.link.registry.infos(self._service.now_us(), most)

    def rows(self) -> list[dict[str, Any]]:
        """Return all agents as rows for people: first those elsewhere, then those of this process."""
        infos = [(info, "bus") for info in self.infos()] + [(info, "here") for info in self.local_infos()]
        placed = self._podium.engine.placing.placement.agents if self._podium.engine is not None else {}
        return [_row(info, where, placed.get(info.agent_id)) for info, where in infos]

    def local_infos(self) -> list[AgentInfo]:
        """Return how the agents of this process stand, by id; the orchestrator's own is not among them."""
        engine, local = self._podium.engine, self._podium.agents
        if engine is None or local is None:
            return []
        now_us = self._service.now_us()
        found = []
        for agent_id in sorted(local.hosts):
            member, placed = engine.staffing.members.get(agent_id), engine.staffing.placement.agents.get(agent_id)
            if member is None or placed is None or agent_id.startswith("podium_"):
                continue
            found.append(_local_info(member, placed, now_us))
        return found

    async def answer_fleet(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Answer another process of this machine: the fleet, and the work."""
        return {
            "agents": self.rows(),
            "addresses": self._service.addresses,
            "bus": self._service.shown_bus,
            "status": self.status(with_agents=False),
            "up_seconds": round((self._service.now_us() - self._service.started_us) / SECOND, 1),
            "replica": self._service.replica,
        }

    async def answer_schemas(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Answer with what functions take and give, by agent type: of the `types` asked for, or of all."""
        wanted = asked.get("types")
        types = [str(one) for one in wanted] if isinstance(wanted, list) else None
        elsewhere = (info.descriptor for info in self._service.link.registry.infos(self._service.now_us()))
        return {"types": offers_of(self._podium, elsewhere, types).listed()}

    async def answer_promises(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Answer with what the carrier of the bus promises."""
        try:
            return {"promises": await self._service.transport.promises()}
        except PodiumError as error:
            return {"why": str(error)}

    async def answer_audit(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Answer with the registrations that were refused."""
        return {"audit": list(self._service.link.registry.audit())}

    def agents_for(self, workflow: Workflow) -> list[str]:
        """Return the agents that could do a workflow's tasks now, at most a hundred."""
        engine = self._podium.engine
        if engine is None:
            return []
        types = set(workflow.agent_counts())
        placed = engine.staffing.placement.agents
        if len(placed) > 1_000:  # this is told at each start
            return []
        return [a.id for a in placed.values() if a.type in types and not a.id.startswith("podium_")][:100]

    # --- the system --------------------------------------------------------------------------------------------

    def status(self, with_agents: bool = True) -> wire.SystemStatus:
        """Return the system's status; agents one by one, up to a number."""
        registry = self._service.link.registry
        metrics = registry.get_metrics()
        local = self.local_infos()
        statuses = [_status_of(info) for info in self.infos(STATUSES_SHOWN)] if with_agents else []
        if with_agents:
            statuses += [_status_of(info) for info in local[: max(STATUSES_SHOWN - len(statuses), 0)]]
        return wire.SystemStatus(
            orchestrator_status="RUNNING" if self._service.ready else "STOPPING",
            agent_count=metrics["total_agents"] + len(local),
            active_task_count=self._active(),
            queued_task_count=self._podium.queued,
            healthy_agent_count=metrics["healthy_agents"] + len(local),
            unhealthy_agent_count=metrics["unhealthy_agents"],
            agent_statuses=tuple(statuses),
        )

    def _active(self) -> int:
        """Return how many attempts are live: of all replicas where this one leads, else of its own executions."""
        engine = self._podium.engine
        if engine is None:
            return 0
        if engine.leads and self._podium.ownership is not None:
            return sum(agent.held for agent in engine.staffing.placement.agents.values())
        return len(engine.staffing.leases)

    def health(self) -> dict[str, ComponentHealth]:
        """Return how every component is, by name."""
        service, podium = self._service, self._podium
        engine_failure, link_failure = podium.failure, service.link.failure
        registry = service.link.registry.get_metrics()
        found = {
            "store": ComponentHealth(engine_failure is None, facts={"database": podium.settings.shown_database}),
            "engine": ComponentHealth(
                engine_failure is None,
                str(engine_failure or ""),
                {"live_attempts": podium.live_attempts, "queued_tasks": podium.queued},
            ),
            "bus": ComponentHealth(
                service.transport.connected,
                "" if service.transport.connected else "the connection is lost; it is tried again",
                {"transport": service.transport.name, "url": service.shown_bus},
            ),
            "link": ComponentHealth(
                link_failure is None, str(link_failure or ""), {"unconfirmed_results": service.link.unconfirmed}
            ),
            "registry": ComponentHealth(
                True, facts={name: registry[name] for name in ("total_agents", "healthy_agents", "unhealthy_agents")}
            ),
            "announcements": ComponentHealth(
                service.announcements_failure is None,
                str(service.announcements_failure or ""),
                {"waiting_rows": service.announcements_waiting},
            ),
        }
        if podium.ownership is not None:
            found["replica"] = _replica_health(podium.ownership, podium.engine)
        if service.nats is not None:
            found["nats"] = ComponentHealth(
                service.nats.running,
                "" if service.nats.running else "the embedded server is being started again",
                {"restarts": service.nats.restarts},
            )
        return found

    # --- metrics -----------------------------------------------------------------------------------------------

    def agents_by_status(self) -> dict[str, float]:
        """Return how many agents are in each state, in document 003's words."""
        counts = self._service.link.registry.counts()
        active = sum(n for state, n in counts.items() if str(state) in ("registered", "idle", "busy"))
        others = {str(state).upper(): float(n) for state, n in counts.items() if str(state) in _APART}
        return {"ACTIVE": float(active), **others}

    def health_by_agent(self) -> dict[str, float]:
        """Return each agent's health score."""
        return {info.agent_id: info.health for info in self._service.link.registry.infos(self._service.now_us())}


_APART = ("unhealthy", "draining", "lost")


def _replica_health(ownership: Ownership, engine: Engine | None) -> ComponentHealth:
    """Return how this replica's place among the others is. One that owns nothing yet is well."""
    left = ownership.lease_seconds
    facts = {
        "name": ownership.replica.name,
        "id": ownership.replica.id,
        "shards": len(engine.owned - {PLACEMENT_SHARD}) if engine is not None else 0,
        "leads": engine is not None and engine.leads,
        "lease_seconds": round(left, 1),
    }
    return ComponentHealth(left > 0, "" if left > 0 else "its lease is over; it joins anew", facts)


def _local_info(member: Member, placed: Agent, now_us: int) -> AgentInfo:
    """Return how an agent of this process stands; it is as well as the process is."""
    state = AgentState.DRAINING if placed.leaving else AgentState.BUSY if placed.held else AgentState.IDLE
    return AgentInfo(
        descriptor=descriptor_of(member.registration),
        state=state,
        health=1.0,
        held=placed.held,
        registered_us=member.seen_us,
        last_heartbeat_us=member.seen_us,
        heartbeat_age_seconds=max(now_us - member.seen_us, 0) / SECOND,
        metrics={},
        sla=SLATracker(now_us).status(None, now_us),
    )


def _row(info: AgentInfo, where: str, placed: Agent | None) -> dict[str, Any]:
    circuit = placed.circuit if placed is not None else None
    return {
        "agent_id": info.agent_id,
        "type": info.descriptor.agent_type,
        "state": str(info.state),
        "health": round(info.health, 3),
        "held": info.held,
        "slots": info.descriptor.slots,
        "capabilities": list(info.descriptor.capabilities),
        "version": info.descriptor.version,
        "last_heartbeat_seconds": round(info.heartbeat_age_seconds, 1),
        "location": info.descriptor.location,
        "where": where,
        "circuit": str(circuit.state if circuit is not None else CircuitState.CLOSED),
    }


def _status_of(info: AgentInfo) -> wire.AgentStatus:
    return wire.AgentStatus(
        agent_id=info.agent_id,
        state=str(info.state).upper(),
        last_heartbeat=info.last_heartbeat_us // 1_000,
        active_tasks=info.held,
        health=round(info.health, 3),
    )
