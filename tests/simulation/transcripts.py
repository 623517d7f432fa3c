"""Transcripts of simulated runs; `python -m tests.simulation.transcripts` writes them anew when one is meant to change.

Each file opens with its seed, its faults and the digest of all events in its log; below is what happened, to be read.
"""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

from podium.testing import Faults, simulate
from podium.testing.simulation import Report
from podium.workflow.model import AgentGroup, FailureAction, OnFailure, RetryPolicy, Task, Workflow

FOLDER = Path(__file__).parents[1] / "transcripts" / "simulation"
RETRY = RetryPolicy(max_attempts=3, initial_delay_seconds=1.0)
WORKFLOW = Workflow(
    name="orders",
    agents={kind: AgentGroup(kind, kind, 2) for kind in ("porter", "clerk")},
    tasks=(
        Task(id="find", agent="porter", function="list3", retry=RETRY),
        Task(
            id="fetch", agent="porter", dependencies=("find",), for_each="${tasks.find.result}", max_parallel=2,
            retry=RETRY,
        ),
        Task(id="rescue", agent="clerk", function="big"),
        Task(
            id="risky", agent="clerk", dependencies=("find",), function="doomed",
            on_failure=OnFailure(FailureAction.FALLBACK, "rescue"),
        ),
        Task(id="report", agent="clerk", dependencies=("fetch", "risky"), retry=RETRY),
    ),
)  # fmt: skip
RUNS: dict[str, tuple[int, Faults]] = {
    "no_faults": (1, Faults()),
    "crash_before_commit": (2, Faults(crash_before_commit=0.15)),
    "crash_after_commit": (3, Faults(crash_after_commit=0.15)),
    "crash_after_send": (4, Faults(crash_after_send=0.1)),
    "crash_during_commit": (5, Faults(crash_during_commit=0.15)),
    "crash_while_loading": (6, Faults(crash_anywhere=0.05, crash_after_commit=0.05)),
    "unknown_commits": (7, Faults(append_unknown=0.2, append_fails=0.1)),
    "lost_doubled_late": (8, Faults(message_lost=0.2, message_doubled=0.2, message_late=0.2)),
    "dying_agents": (9, Faults(agent_dies=0.2, worker_dies=0.1)),
    "silent_and_late": (10, Faults(agent_silent=0.15, agent_late=0.15, answers_twice=0.2)),
    "clocks": (11, Faults(clock_jumps=0.5, clock_freezes=0.3, clock_leaps=0.05, stall=0.2, crash_after_commit=0.03)),
    "people": (12, Faults(meddling=0.4, attempt_fails=0.2)),
    "slow_and_away": (13, Faults(slow_store=0.3, outage=0.1)),
    "stops": (14, Faults(stop=0.2, agent_leaves=0.1)),
}


def run(name: str) -> tuple[Report, str]:
    """Run one, and return its report and its text."""
    seed, faults = RUNS[name]
    report = simulate(WORKFLOW, seed, faults)
    report.check()
    rates = ", ".join(f"{kind}={rate:g}" for kind in Faults.__struct_fields__ if (rate := getattr(faults, kind)))
    head = f"seed {seed}\nfaults {rates or 'none'}\nevents {digest(report)}\n\n"
    return report, head + "".join(f"{at:11.3f}  {what}\n" for at, what in report.transcript)


def digest(report: Report) -> str:
    """Return the SHA-256 of every execution's inputs and events, in order."""
    hashed = sha256()
    for execution in sorted(report.executions):
        for row in report.store._data.histories[execution]:
            hashed.update(row.input_id.encode() + b"\0" + row.events + b"\n")
    return hashed.hexdigest()


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name in RUNS:
        (FOLDER / f"{name}.txt").write_text(run(name)[1], encoding="utf-8")
