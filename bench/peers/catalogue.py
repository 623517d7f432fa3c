"""Who is measured, how much of each workload, and what each promises. Pure.

A slow peer does less of the same work, so that the whole run stays below ten minutes; how much is said with its figure.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

Numbers = tuple[int, ...]


class Peer(Struct, frozen=True, kw_only=True):
    """One contender. `sizes` are the numbers that its script gets, a workload; what isn't there isn't measured."""

    name: str
    script: str
    package: str  # whose version is said
    promise: str
    durable: bool  # a step's result survives a kill of every process before the next step starts
    sizes: Mapping[str, Numbers] = {}
    redis: bool = False
    is_podium: bool = False


# W1: workflows, steps of each, at a time · W2, R1: tasks · W3: repetitions · W4: nothing
SMALL_FAN, LARGE_FAN, REMOTE = "W2 1,000", "W2 10,000", "R1 2,000"
WORKLOADS = {
    "W1": "durable steps: workflows of 10 sequential steps, 100 at a time",
    SMALL_FAN: "fan-out: one workflow of 1,000 independent tasks",
    LARGE_FAN: "fan-out: one workflow of 10,000 independent tasks",
    "W3": "latency: one task, from its submission to its result, one at a time",
    "W4": "cold start: from the start of the process to the first task's result",
    REMOTE: "remote: 2,000 independent tasks for four worker processes",
}
_FULL: dict[str, Numbers] = {
    "W1": (200, 10, 100), SMALL_FAN: (1_000,), LARGE_FAN: (10_000,), "W3": (100,), "W4": ()
}  # fmt: skip
_DISTRIBUTED: dict[str, Numbers] = {**_FULL, REMOTE: (2_000,)}  # who has workers in processes of their own
_HALF: dict[str, Numbers] = {**_FULL, "W1": (100, 10, 100), "W3": (50,)}
_SLOW: dict[str, Numbers] = {"W1": (5, 10, 5), SMALL_FAN: (100,), "W3": (10,), "W4": ()}

PEERS: tuple[Peer, ...] = (
    Peer(
        name="Podium", script="with_podium", package="podium", is_podium=True, durable=True, sizes=_DISTRIBUTED,
        promise="each step's grant and result committed (SQLite, FULL) before what follows",
    ),
    Peer(
        name="DBOS", script="with_dbos", package="dbos", durable=True, sizes=_HALF,
        promise="each step's result committed (SQLite, WAL, FULL) before the next",
    ),
    Peer(
        name="LangGraph", script="with_langgraph", package="langgraph", durable=True, sizes=_HALF,
        promise="a checkpoint committed (SQLite, WAL, FULL) before the next step",
    ),
    Peer(
        name="Prefect", script="with_prefect", package="prefect", durable=False, sizes=_SLOW,
        promise="states reported to its local server (SQLite), in the background for tasks; results aren't kept",
    ),
    Peer(
        name="Celery", script="with_celery", package="celery", durable=False, sizes=_DISTRIBUTED, redis=True,
        promise="none at Redis's defaults: a snapshot at times, a kill of a worker loses what it had taken",
    ),
    Peer(
        name="Dramatiq", script="with_dramatiq", package="dramatiq", durable=False, sizes=_DISTRIBUTED, redis=True,
        promise="none at Redis's defaults: a snapshot at times; what a dead worker had taken is given out again",
    ),
)  # fmt: skip

# On the server of P1, beside Podium in the same run, as much of the same work.
ON_POSTGRES: tuple[Peer, ...] = (
    Peer(
        name="DBOS", script="with_dbos_postgres", package="dbos", durable=True,
        promise="each step's result committed before the next",
    ),
    Peer(
        name="Procrastinate", script="with_procrastinate", package="procrastinate", durable=True,
        promise="the next job committed in the course of a job; a job's taking and end committed",
    ),
    Peer(
        name="Procrastinate by locks", script="with_procrastinate_locks", package="procrastinate", durable=True,
        promise="each job's taking and its end committed before the next one of its workflow",
    ),
)  # fmt: skip


def work_of(workload: str, numbers: Numbers) -> int:
    """Return how many steps, tasks, repetitions or starts those numbers are."""
    if workload == "W1":
        return numbers[0] * numbers[1]
    return numbers[0] if numbers else 1
