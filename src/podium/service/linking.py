"""How the orchestrator is linked to its fleet: a registry, the link, and on NATS who follows agents' connections."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from msgspec import Struct

from podium.app import Podium
from podium.bus.opening import transport_for
from podium.bus.transport import Happening, Transport
from podium.clock import Clock
from podium.engine.runtime import Engine
from podium.fleet.admission import LinkSettings, Tell
from podium.fleet.audience import Audience
from podium.fleet.identity import identified_by
from podium.fleet.link import FleetLink
from podium.fleet.presence import Presence
from podium.fleet.registry import FleetLimits, FleetRegistry
from podium.service.connecting import BusAtHand
from podium.service.standing import Standing
from podium.service.telling import SetAside
from podium.service.watching import Watching
from podium.settings import Settings
from podium.telemetry.logs import get_logger
from podium.telemetry.metrics import Metrics

# After so long without an acknowledgement a result comes again; of several replicas perhaps to another one, since
# one that stands still has taken what it will not record.
REDELIVER_SECONDS = 30.0
REDELIVER_SHARED_SECONDS = 10.0
_log = get_logger("podium.service")


class Linked(Struct, frozen=True):
    """The link to the fleet, to be started; `watching` where agents' connections can be followed."""

    link: FleetLink
    watching: Watching | None


def linked_to(
    transport: Transport,
    podium: Podium,
    engine: Engine,
    standing: Standing,
    bus: BusAtHand,
    settings: Settings,
    metrics: Metrics,
    clock: Clock,
    *,
    incarnation: str,
    tell: Tell,
    set_aside: SetAside,
    happened: Callable[[Happening, str], None],
) -> Linked:
    """Return the link of an engine to the fleet on this bus; `happened` is told of the connection that is watched."""
    registry, authority, ownership = _registry(settings), bus.authority, podium.ownership
    presence = _presence(registry, engine, transport, bus, settings, clock) if transport.name == "nats" else None
    link = FleetLink(
        transport,
        registry,
        engine,
        clock=clock,
        incarnation=incarnation,
        settings=LinkSettings(
            heartbeat_seconds=settings.heartbeat_interval_seconds,
            check_seconds=settings.health_check_interval_seconds,
            lease_seconds=settings.lease_seconds,
            foreign_lease_seconds=settings.foreign_lease_seconds,
            redeliver_seconds=REDELIVER_SECONDS if ownership is None else REDELIVER_SHARED_SECONDS,
        ),
        tell=tell,
        set_aside=set_aside,
        suspend=engine.suspend,
        doubt=engine.doubt_deliveries,
        held_as=standing.held_as,
        identify=identified_by(authority, registry, clock) if authority is not None else None,
        may_answer=bus.may_answer,
        presence=presence,
        taken=standing.lives_here,
        audience=Audience(standing.leads, engine.owns, standing.reaches, alone=ownership is None),
        logs=podium.logs,
        metrics=metrics,
    )
    watching = _watching(presence, transport, bus, settings, clock, happened) if presence is not None else None
    return Linked(link, watching)


async def dismiss_agents(link: FleetLink, seconds: float) -> None:
    """Have all agents finish within the time, hand back the rest, and leave."""
    link.drain_agents(seconds)
    try:
        async with asyncio.timeout(seconds + 1.0):
            while len(link.registry):  # noqa: ASYNC110 - agents leave one by one
                await asyncio.sleep(0.02)
    except TimeoutError:
        _log.warning("agents have not left in time", left=len(link.registry))


def _registry(settings: Settings) -> FleetRegistry:
    return FleetRegistry(
        FleetLimits(
            heartbeat_seconds=settings.heartbeat_interval_seconds,
            unhealthy_seconds=settings.unhealthy_seconds,
            lost_seconds=settings.deregistration_timeout_seconds,
            max_agents=settings.max_concurrent_agents,
        )
    )


def _presence(
    registry: FleetRegistry, engine: Engine, transport: Transport, bus: BusAtHand, settings: Settings, clock: Clock
) -> Presence:
    """Have followed whose connection ends."""
    return Presence(
        registry,
        engine,
        clock,
        grace_seconds=min(settings.disconnect_grace_seconds, settings.lease_seconds),
        keyed=bus.authority is not None,
        suspend=engine.suspend,
        give_up=engine.give_up,
        reachable=lambda: transport.connected,
    )


def _watching(
    presence: Presence,
    transport: Transport,
    bus: BusAtHand,
    settings: Settings,
    clock: Clock,
    happened: Callable[[Happening, str], None],
) -> Watching:
    """Return who hears of connections: on a server of our own from its system account."""
    if bus.access is None:
        return Watching(presence, transport, None, "*")
    as_system = bus.access.events(settings, clock.now_us())
    system = transport_for(bus.url, as_system, happened, name="podium-events")
    return Watching(presence, transport, system, bus.access.account)
