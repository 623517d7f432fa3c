"""What the metrics name of an orchestrator, read from its parts when somebody asks for it."""

from __future__ import annotations

from podium.app import Podium
from podium.bus.transport import Transport
from podium.engine.projections import Projection
from podium.fleet.link import FleetLink
from podium.service.reporting import Reporting
from podium.telemetry.metrics import Metrics


def measure(
    metrics: Metrics,
    podium: Podium,
    transport: Transport,
    link: FleetLink,
    reporting: Reporting,
    projection: Projection,
) -> None:
    """Have the bus, the fleet and what reads the log measured from now on."""

    def reading_lag() -> dict[str, float]:
        models = podium.read_models
        return {projection.name: float(projection.lag), **(models.lag() if models is not None else {})}

    async def look_at_lag() -> None:
        metrics.gauge("consumer_lag", "results").set(await link.lag())

    metrics.watch("message_bus_connections", lambda: float(transport.connected))
    metrics.watch("registry_agents_total", reporting.agents_by_status)
    metrics.watch("registry_agent_health", reporting.health_by_agent)
    metrics.watch("podium_projection_lag", reading_lag)
    if (webhooks := podium.webhooks) is not None:
        metrics.watch("podium_webhooks_pending", lambda: webhooks.pending)
        metrics.watch("podium_webhook_tries_total", webhooks.outcomes)
    if (timekeeper := podium.timekeeper) is not None:
        metrics.watch("podium_schedules", lambda: timekeeper.held)
        metrics.watch("podium_schedule_firings_total", lambda: {k: float(n) for k, n in timekeeper.outcomes.items()})
        metrics.watch("podium_schedule_lag_seconds", lambda: timekeeper.overdue_seconds)
    if (reconciler := podium.reconciler) is not None:
        metrics.watch("podium_reconciler_finds_total", reconciler.counted)
    metrics.watch("podium_bus_lost_messages_total", lambda: {"agents": float(link.lost)})
    metrics.refresh_with(look_at_lag)
