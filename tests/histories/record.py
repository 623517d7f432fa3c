"""Records histories of this release: `python -m tests.histories.record`. Once a release, never again for an old one.

Each is one execution of a simulated world that has the wanted thing in it; seeds are tried until one has.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from msgspec.structs import replace

from podium import __version__
from podium.store.protocol import LogRow
from podium.testing import Faults, record_history
from podium.testing.simulation import simulate
from podium.workflow.model import (
    AgentGroup,
    ContinueAsNew,
    FailureAction,
    OnFailure,
    RetryPolicy,
    RunIf,
    Task,
    Workflow,
    WorkflowConfig,
)

FOLDER = Path(__file__).parent / __version__
AGENTS = {kind: AgentGroup(kind, kind, 2) for kind in ("porter", "clerk")}
RETRY = RetryPolicy(max_attempts=4, initial_delay_seconds=0.5)
Wanted = Callable[[bytes, list[LogRow]], bool]


def workflow(name: str, *tasks: Task, **config: object) -> Workflow:
    """Return a workflow of these tasks."""
    return Workflow(name=name, tasks=tasks, agents=AGENTS, config=WorkflowConfig(**config))  # type: ignore[arg-type]


CHAIN = tuple(
    Task(id=f"step{n}", agent="porter", dependencies=(f"step{n - 1}",) if n else (), retry=RETRY) for n in range(5)
)
FAN = (
    Task(id="find", agent="porter", function="list3", retry=RETRY),
    Task(
        id="visit", agent="clerk", dependencies=("find",), for_each="${tasks.find.result}", max_parallel=2, retry=RETRY
    ),
    Task(id="sum", agent="porter", dependencies=("visit",), retry=RETRY),
)
BIG = (
    Task(id="find", agent="porter", function="biglist3", retry=RETRY),
    Task(id="flag", agent="porter", function="flag", retry=RETRY),
    Task(
        id="visit", agent="clerk", function="big", dependencies=("find", "flag"), for_each="${tasks.find.result}",
        when="tasks.flag.status == 'completed'", retry=RETRY,
    ),
)  # fmt: skip
FALLBACK = (
    Task(id="rescue", agent="clerk", function="big"),
    Task(id="doom", agent="porter", function="doomed", on_failure=OnFailure(FailureAction.FALLBACK, "rescue")),
    Task(id="after", agent="clerk", dependencies=("doom",), when="tasks.doom.status == 'completed'"),
    Task(id="always", agent="clerk", dependencies=("doom",), run_if=RunIf.ALL_DONE),
)
PARTLY = (
    Task(id="may_fail", agent="porter", function="doomed", on_failure=OnFailure(FailureAction.CONTINUE)),
    Task(id="goes_on", agent="clerk", dependencies=("may_fail",), run_if=RunIf.ALL_DONE),
)


LOOP = replace(
    workflow("loop", *CHAIN[:2]),
    continue_as_new=ContinueAsNew("execution.run < 3 and tasks.step1.status == 'completed'", {"n": "${execution.run}"}),
)


def has(*words: bytes) -> Wanted:
    """Return a condition: the execution's events speak of all of these."""
    return lambda events, rows: all(word in events for word in words)


MEDDLED = Faults(meddling=0.6, attempt_fails=0.1, agent_silent=0.1)
RECORDED: dict[str, tuple[Workflow, Faults, Wanted]] = {
    "chain": (workflow("chain", *CHAIN), Faults(), has(b"execution_completed")),
    "retries": (workflow("retries", *CHAIN), Faults(attempt_fails=0.5), has(b"retry", b"execution_completed")),
    "fan_out": (workflow("fan_out", *FAN), Faults(attempt_fails=0.2), has(b"visit[2]", b"execution_completed")),
    "large_values": (workflow("large_values", *BIG), Faults(message_doubled=0.3), has(b"blob", b"execution_completed")),
    "fallback": (workflow("fallback", *FALLBACK), Faults(), has(b"rescue", b"execution_")),
    "partly": (workflow("partly", *PARTLY), Faults(), has(b"task_failed")),
    "pause": (workflow("pause", *CHAIN), MEDDLED, has(b"execution_paused", b"execution_resumed")),
    "cancel": (workflow("cancel", *CHAIN), MEDDLED, has(b"execution_cancelled")),
    "retry_of_an_end": (workflow("retry_of_an_end", *FALLBACK[1:2], *FALLBACK[:1], *CHAIN), MEDDLED, has(b"_retried")),
    "crashes": (
        workflow("crashes", *FAN),
        Faults(crash_after_commit=0.2, crash_before_commit=0.1, crash_after_send=0.1),
        has(b"lost", b"execution_completed"),
    ),
    "dying_agents": (
        workflow("dying_agents", *FAN), Faults(agent_dies=0.2, worker_dies=0.2), has(b"execution_completed", b"crash")
    ),
    "late_results": (
        workflow("late_results", *CHAIN), Faults(agent_late=0.4, agent_silent=0.1), has(b"input_ignored")
    ),
    "checkpoints": (workflow("checkpoints", *CHAIN), Faults(agent_late=0.3), has(b"saved", b"execution_completed")),
    "deadline": (workflow("deadline", *CHAIN, timeout=4.0), Faults(attempt_fails=0.6), has(b"execution_failed")),
    "unknown_commits": (
        workflow("unknown_commits", *BIG),
        Faults(append_unknown=0.2, append_fails=0.2, message_lost=0.2),
        has(b"execution_completed"),
    ),
    "loop": (
        LOOP, Faults(attempt_fails=0.3, agent_late=0.2, crash_after_commit=0.1),
        has(b"run_started", b"input_ignored", b"retry", b"execution_completed"),
    ),
}  # fmt: skip


async def record(name: str) -> int:
    """Try seeds until an execution has what is wanted; write it and return the seed."""
    defined, faults, wanted = RECORDED[name]
    for seed in range(500):
        report = simulate(defined, seed, faults)
        report.check()
        for execution in report.executions:
            rows = await report.store.history(execution)
            if wanted(b" ".join(row.kind.encode() + row.payload + row.events for row in rows), rows):
                await record_history(report.store, execution, FOLDER / f"{name}.jsonl")
                return seed
    raise LookupError(f"no seed has what {name} wants")


def main() -> None:
    """Record them all."""
    FOLDER.mkdir(exist_ok=True)
    for name in RECORDED:
        print(f"{name}: seed {_recorded(name)}")


def _recorded(name: str) -> int:
    work = record(name)
    try:
        work.send(None)
    except StopIteration as ended:
        return int(ended.value)
    raise RuntimeError("a store in memory never waits")


if __name__ == "__main__":
    main()
