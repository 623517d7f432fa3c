"""The workloads, in the order in which they are run. Peers are measured beside them in the same way, by name."""

from bench.figures import Workload
from bench.workloads import (
    bus,
    cold_start,
    discovery,
    durable_steps,
    fan_out,
    latency,
    plans,
    remote,
    replicas,
    shares,
    simulated,
    validation,
)

WORKLOADS: tuple[Workload, ...] = (
    durable_steps.WORKLOAD,
    fan_out.WORKLOAD,
    latency.WORKLOAD,
    cold_start.WORKLOAD,
    shares.WORKLOAD,
    discovery.WORKLOAD,
    bus.THROUGHPUT,
    bus.LATENCY,
    bus.ROUND_TRIPS,
    remote.TASKS,
    remote.LATENCY,
    remote.FLEET,
    simulated.WORKLOAD,
    plans.WORKLOAD,
    validation.WORKLOAD,
    *replicas.WORKLOADS,
)
