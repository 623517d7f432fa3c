"""The one table of all metrics: name, kind, meaning, labels, and the document that names it.

What isn't here can't be counted; `docs/metrics.md` is held against it. Names and units are the documents' where they
have some (milliseconds, even where the name doesn't say so), else Prometheus's habits: seconds, `_total` for counters.
"""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct


class Kind(StrEnum):
    """How a metric behaves."""

    COUNTER = "counter"  # only grows, but for a restart
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Family(Struct, frozen=True):
    """A metric with its labels. Of each label at most `limit` values are told apart; further ones are `other`."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    source: str = ""  # the document that names it; empty: Podium's own
    buckets: tuple[float, ...] = ()
    limit: int = 100


_MS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1_000.0, 2_500.0, 5_000.0, 10_000.0)
_LAG = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)

_COUNTER, _GAUGE, _HISTOGRAM = Kind.COUNTER, Kind.GAUGE, Kind.HISTOGRAM

_TABLE = (
    # Document 003.
    Family("message_bus_sent_total", _COUNTER, "Messages sent over the bus", ("topic", "type"), "003"),
    Family(
        "message_bus_latency_ms",
        _HISTOGRAM,
        "From the sending of a message to its delivery, by the sender's and the receiver's clock",
        (),
        "003",
        _MS,
    ),
    Family("message_bus_connections", _GAUGE, "Live connections to the bus", (), "003"),
    Family("registry_agents_total", _GAUGE, "Registered agents", ("status",), "003"),
    Family("registry_discovery_latency_ms", _HISTOGRAM, "How long a discovery takes", (), "003", _MS),
    Family(
        "registry_agent_health", _GAUGE, "Health score of an agent, from 0.0 to 1.0", ("agent_id",), "003", limit=1_000
    ),
    Family("routing_messages_total", _COUNTER, "Assignments sent to agents elsewhere", ("strategy",), "003"),
    # Document 004.
    Family("stream_throughput", _GAUGE, "Messages a second of a stream, over the last 10 s", ("stream",), "004"),
    Family("consumer_lag", _GAUGE, "Messages that wait for a consumer", ("consumer",), "004"),
    Family(
        "message_processing_time",
        _HISTOGRAM,
        "Milliseconds from taking a message off the bus until it is dealt with",
        ("subject",),
        "004",
        _MS,
    ),
    Family(
        "workflow_completion_rate",
        _GAUGE,
        "Share that succeeded of the executions that completed or failed in the last 15 minutes",
        (),
        "004",
    ),
    Family(
        "coordination_latency",
        _HISTOGRAM,
        "Milliseconds from taking a task's result until what follows is recorded and leaves",
        (),
        "004",
        _MS,
    ),
    Family("planning_time", _HISTOGRAM, "Milliseconds of a round of placement that placed something", (), "004", _MS),
    # Podium's own.
    Family(
        "podium_executions",
        _GAUGE,
        "Executions in memory that haven't ended; those that wait for long are on disk",
        ("status",),
    ),
    Family("podium_executions_ended_total", _COUNTER, "Executions that have ended", ("status",)),
    Family("podium_tasks_total", _COUNTER, "Tasks that have ended", ("status",)),
    Family("podium_attempts_lost_total", _COUNTER, "Attempts whose lease ended without a sign of life"),
    Family("podium_grants_total", _COUNTER, "Attempts that were given to an agent"),
    Family("podium_unplaced_total", _COUNTER, "Attempts that failed since no registered agent could ever take them"),
    Family("podium_circuit_breakers", _GAUGE, "Registered agents by the state of their circuit breaker", ("state",)),
    Family("podium_circuit_breakers_opened_total", _COUNTER, "Circuit breakers that have opened"),
    Family("podium_queue_length", _GAUGE, "Ready tasks that wait for an agent"),
    Family("podium_limited_tasks", _GAUGE, "Ready tasks that a rate limit or a concurrency limit keeps back"),
    Family("podium_slots", _GAUGE, "Places for attempts on registered agents", ("state",)),
    Family("podium_leases", _GAUGE, "Attempts that are leased to agents"),
    Family("podium_submissions_refused_total", _COUNTER, "Submissions that weren't taken", ("reason",)),
    Family("podium_dead_letters_total", _COUNTER, "Messages that were set aside", ("reason",)),
    Family("podium_malformed_messages_total", _COUNTER, "Messages that couldn't be read", ("subject",)),
    Family("podium_bus_reconnects_total", _COUNTER, "Lost connections to the bus that were made again"),
    Family("podium_bus_lost_messages_total", _COUNTER, "Messages that a slow subscriber has dropped", ("subject",)),
    Family("podium_shards_owned", _GAUGE, "Shards of executions that this replica owns, of 64"),
    Family("podium_placement_leads", _GAUGE, "1 at the replica that gives tasks to agents for all, 0 at the others"),
    Family("podium_shards_moved_total", _COUNTER, "Shards that came to this replica or left it", ("direction",)),
    Family("podium_shards_taken_over_total", _COUNTER, "Shards taken from replicas that were gone"),
    Family("podium_replica_lease_seconds", _GAUGE, "How long this replica's lease holds still"),
    Family("podium_replica_joins_total", _COUNTER, "Times that it joined; more than once: its lease was lost"),
    Family("podium_take_overs_total", _COUNTER, "Times that this replica began to give tasks to agents for all"),
    Family("podium_projection_lag", _GAUGE, "Committed inputs that a reader of the log hasn't taken yet", ("reader",)),
    Family("podium_webhooks_pending", _GAUGE, "Deliveries to webhooks that wait or are tried again"),
    Family("podium_webhook_tries_total", _COUNTER, "Tries to tell a webhook, by how they ended", ("outcome",)),
    Family("podium_schedules", _GAUGE, "Schedules of this replica's shards", ("state",)),
    Family("podium_schedule_firings_total", _COUNTER, "Firings of schedules, by what became of them", ("outcome",)),
    Family("podium_schedule_lag_seconds", _GAUGE, "By how much the firing that waits longest is late"),
    Family("podium_reconciler_finds_total", _COUNTER, "Finds of what should not be", ("kind", "mended")),
    Family("podium_event_loop_lag_seconds", _HISTOGRAM, "How late the event loop wakes up", (), "", _LAG),
    Family("podium_metrics_left_out", _GAUGE, "Label values beyond a metric's limit, which aren't shown", ("metric",)),
)

FAMILIES: dict[str, Family] = {family.name: family for family in _TABLE}
