"""`podium run FILE --simulate`: a workflow on virtual time, with agents of a given number and size.

The real engine places its tasks; each takes what it is expected to. Nothing of it is run, nothing is kept.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from podium.cli.phrases import amounts_of, counted, path_of
from podium.exceptions import InvalidInputError

if TYPE_CHECKING:
    from podium.simulation.running import Moment
    from podium.simulation.schedule import SimulatedRun
    from podium.workflow.model import Workflow

_LINE_SECONDS = 1.0
_CHAIN = 8


def rehearse(
    workflow: Workflow,
    given: Any,
    agents: Sequence[str],
    capacity: Mapping[str, float] | None,
    *,
    speed: float | None,
    gantt: str | None,
    json: bool,
    **options: Any,
) -> int:
    """Simulate a loaded workflow and show what came of it; 1 where it didn't succeed."""
    import msgspec

    from podium.cli.printing import print_json
    from podium.simulation.running import simulate
    from podium.workflow.inputs import check_input

    check_input(workflow, given)
    told = _Told(len(workflow.tasks)) if speed is not None and not json else None
    run = simulate(
        workflow,
        _number(agents),
        capacity,
        given=msgspec.json.encode(given),
        speed=speed,
        watcher=told,
        **options,
    )
    if told is not None:
        told.end()
    if gantt is not None:
        _draw(run, gantt)
    if json:
        print_json(run.to_dict() | ({"gantt": gantt} if gantt is not None else {}))
    else:
        _show(run, gantt)
    return 0 if run.succeeded else 1


def _number(agents: Sequence[str]) -> int | None:
    """Return how many agents are wanted; None for those that the workflow asks for."""
    if not agents:
        return None
    if len(agents) > 1 or not agents[0].isdecimal():
        raise InvalidInputError(f"--simulate takes a number of agents, such as --agents 8, not {' '.join(agents)!r}")
    return int(agents[0][:9])


class _Told:
    """Says how far a run is while it goes on: a line each second, or one that is written over on a terminal."""

    def __init__(self, tasks: int) -> None:
        self._tasks = tasks
        self._over = sys.stderr.isatty()
        self._said = time.perf_counter()

    def __call__(self, moment: Moment) -> None:
        from podium.cli.printing import complain
        from podium.cli.times import shown_duration

        now = time.perf_counter()
        if now - self._said < (_LINE_SECONDS / 10 if self._over else _LINE_SECONDS):
            return
        self._said = now
        line = f"at {shown_duration(moment.seconds)}: {moment.done:,} done, {moment.running:,} running"
        if self._over:
            sys.stderr.write(f"\r\x1b[K{line}")
            sys.stderr.flush()
        else:
            complain(line)

    def end(self) -> None:
        """Leave the line free."""
        if self._over:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


# --- what people see -------------------------------------------------------------------------------------------------


def _show(run: SimulatedRun, gantt: str | None) -> None:
    from podium.cli.chart import chart
    from podium.cli.printing import painted, say, width, wrapped
    from podium.cli.times import shown_duration

    status = painted(str(run.status), "green" if run.succeeded else "red")
    say(wrapped(f"simulated {run.workflow.name} on {_crew(run)}: {status}{f': {run.error}' if run.error else ''}"))
    best = f"no schedule of this is shorter than {shown_duration(run.lower_bound_seconds)}"
    path = f"critical path {shown_duration(run.critical_path_seconds)}"
    facts = [
        ("makespan", f"{shown_duration(run.makespan_seconds)}; {best} ({path})"),
        ("work", f"{shown_duration(run.work_seconds)} in {counted(len(run.ran), 'attempt')}"),
        ("utilisation", ", ".join(f"{name} {_percent(share)}" for name, share in run.utilisation().items())),
    ]
    if len(run.chain) > 1:
        facts.append(("held up by", path_of([ran.task for ran in run.chain], _CHAIN)))
    if run.skipped:
        facts.append(("skipped", counted(len(run.skipped), "task")))
    if run.guessed:
        facts.append(("supposed", f"1 s for {counted(run.guessed, 'task')} without an estimated_duration"))
    if run.left_out:
        facts.append(("left out", f"what {counted(len(run.left_out), 'child workflow')} would have agents do"))
    if gantt is not None:
        facts.append(("drawn", gantt))
    for name, fact in facts:
        say(wrapped(f"{name:<14} {fact}", indent=" " * 15))
    lines = chart(run.ran, [agent.id for agent in run.crew.agents], width())
    if lines:
        say()
    for line in lines:
        say(line)


def _crew(run: SimulatedRun) -> str:
    size = amounts_of(run.crew.capacity)
    return f"{counted(len(run.crew.agents), 'agent')}{f' with {size} each' if size else ''}"


def _percent(share: float) -> str:
    percent = share * 100
    return f"{percent:.0f} %" if percent >= 10 or not percent else f"{percent:.1f} %"


def _draw(run: SimulatedRun, path: str) -> None:
    """Write the run as an SVG file."""
    from podium.cli.times import shown_duration
    from podium.workflow.drawing import Bar, gantt_svg

    rows, row_of = run.lanes()
    held_up = set(run.chain)
    bars = [
        Bar(ran.task, row, ran.start_seconds, ran.end_seconds, ran in held_up)
        for ran, row in zip(run.ran, row_of, strict=True)
    ]
    facts = f"simulated on {_crew(run)}: {shown_duration(run.makespan_seconds)}, {run.status}"
    drawn = gantt_svg(run.workflow.name, facts, bars, rows)
    try:
        Path(path).write_text(drawn, encoding="utf-8")
    except (OSError, ValueError) as error:
        raise InvalidInputError(
            f"--gantt {path} can't be written: {getattr(error, 'strerror', None) or error}"
        ) from error
