"""`podium plan`: a workflow before it runs, in words, as pictures and as JSON. Nothing here opens a database."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from podium.cli.manners import Manners
from podium.cli.phrases import amounts_of, counted, path_of

if TYPE_CHECKING:
    from podium.scheduling.planner import Schedule
    from podium.workflow.model import ContinueAsNew, Workflow
    from podium.workflow.plan import ExecutionPlan

_STAGES = 40
_MOST_ROWS = 1_000  # in a picture


def plan(
    manners: Manners,
    file: Annotated[str, typer.Argument(metavar="FILE", help="The workflow, a YAML file.")],
    svg: Annotated[str | None, typer.Option("--svg", metavar="FILE", help="Draw the graph into this file.")] = None,
    gantt: Annotated[
        str | None, typer.Option("--gantt", metavar="FILE", help="Draw the schedule into this file.")
    ] = None,
    agents: Annotated[
        int | None, typer.Option("--agents", metavar="N", min=1, help="Schedule it on so many agents. [default: any]")
    ] = None,
    capacity: Annotated[
        str | None,
        typer.Option("--capacity", metavar="NAME=AMOUNT,…", help="What each of them has: cpu=4,memory=16GB."),
    ] = None,
) -> int:
    """Foresee a run: stages, the critical path with slack, how much goes on side by side, what it needs.

    With --agents, --capacity or --gantt also how long it takes on what there is, and who does what when.
    """
    from podium.api.loading import workflow_from
    from podium.cli.given import capacities
    from podium.cli.printing import print_json
    from podium.workflow.plan import plan as plan_of
    from podium.workflow.schedules.spec import in_words

    workflow = workflow_from(file)
    foreseen = plan_of(workflow)
    scheduled = _schedule(workflow, agents, capacities(capacity)) if gantt or agents or capacity else None
    drawn = _pictures(workflow, foreseen, scheduled, svg, gantt, agents)
    for path, picture in drawn.items():
        _write(path, picture)
    if manners.json:
        document = foreseen.to_dict()
        document["compensations"] = _compensations(workflow)
        if workflow.schedule is not None:
            document["starts"] = in_words(workflow.schedule)
        if workflow.continue_as_new is not None:
            document["continues"] = _again(workflow.continue_as_new)
        document["secrets"] = [secret.name for secret in workflow.secrets]
        if scheduled is not None:
            document["schedule"] = scheduled.to_dict()
        print_json(document)
        return 0
    _print_plan(workflow, foreseen)
    if scheduled is not None:
        _print_schedule(scheduled, agents)
    if drawn:
        _say_of("drawn", ", ".join(drawn))
    return 0


def _schedule(workflow: Workflow, agents: int | None, capacity: dict[str, float] | None) -> Schedule:
    from podium.scheduling.planner import schedule

    return schedule(workflow, agents, capacity)


# --- pictures ------------------------------------------------------------------------------------------------------


def _pictures(
    workflow: Workflow,
    foreseen: ExecutionPlan,
    scheduled: Schedule | None,
    svg: str | None,
    gantt: str | None,
    agents: int | None,
) -> dict[str, str]:
    """Return what is to be written, by file; both are drawn before either is written."""
    from podium.exceptions import InvalidInputError
    from podium.workflow.drawing import graph_svg

    if svg is not None and svg == gantt:
        raise InvalidInputError(f"--svg and --gantt both name {svg}; give them different files")
    drawn = {}
    if svg is not None:
        drawn[svg] = graph_svg(workflow, foreseen)
    if gantt is not None and scheduled is not None:
        drawn[gantt] = schedule_svg(workflow, scheduled, agents)
    return drawn


def schedule_svg(workflow: Workflow, scheduled: Schedule, agents: int | None) -> str:
    """Return the picture of a schedule. Raises InvalidInputError for one with more agents than can be seen."""
    from podium.exceptions import InvalidInputError
    from podium.workflow.drawing import Bar, gantt_svg

    names, row_of = scheduled.rows()
    if len(names) > _MOST_ROWS:
        raise InvalidInputError(
            f"a picture with {len(names):,} rows would show nothing, {_MOST_ROWS:,} at most; give --agents, or fewer"
        )
    chain = frozenset(scheduled.chain)
    bars = [
        Bar(slot.path, row, slot.start, slot.end, slot.path in chain)
        for slot, row in zip(scheduled.slots, row_of, strict=True)
    ]
    title = f"{workflow.name} {workflow.version}"
    return gantt_svg(title, f"on {_on(scheduled, agents)}: {_facts(scheduled)}", bars, names)


def _write(path: str, content: str) -> None:
    from podium.exceptions import InvalidInputError

    try:
        Path(path).write_text(content, encoding="utf-8")
    except OSError as error:
        raise InvalidInputError(f"{path} can't be written: {error.strerror or error}") from error


# --- words ---------------------------------------------------------------------------------------------------------


def _print_plan(workflow: Workflow, plan: ExecutionPlan) -> None:
    from podium.cli.printing import cut, say, width, wrapped
    from podium.cli.tables import table
    from podium.cli.times import shown_duration
    from podium.workflow.plan import Estimates
    from podium.workflow.schedules.spec import in_words

    counts = f"{counted(plan.task_count, 'task')}, {counted(plan.edge_count, 'dependency', 'dependencies')}"
    say(cut(f"{workflow.name} {workflow.version}: {counts}, {counted(plan.depth, 'stage')}", width()))
    stages = [
        (
            str(s.stage_number),
            _listed([_named(task.id, plan) for task in s.tasks]),
            str(s.max_parallelism),
            shown_duration(s.estimated_duration),
        )
        for s in plan.stages[:_STAGES]
    ]
    say()
    say(table(("STAGE", "TASKS", "AT ONCE", "TIME"), stages, gives_way=1, right=frozenset({0, 2, 3})))
    if plan.depth > _STAGES:
        say(f"  … {plan.depth - _STAGES:,} more stages (--json has them all)")
    say()
    say(wrapped(f"critical path  {path_of(plan.critical_path)}", indent=" " * 15))
    say(f"takes          {shown_duration(plan.estimated_duration)}, of {shown_duration(plan.work_seconds)} of work")
    say(f"parallelism    {plan.parallelism_factor:.1f}: so many agents are busy on average")
    slack = sorted((s, t) for t, s in plan.slack_seconds.items() if s > 0 and t not in plan.fallbacks)
    if slack:
        waits = [f"{task} {shown_duration(seconds)}" for seconds, task in slack]
        say(wrapped(f"slack          {_listed(waits, 8)}", indent=" " * 15))
    if plan.fallbacks:
        say(wrapped(f"only if needed {_listed(list(plan.fallbacks), 8)}", indent=" " * 15))
    undone = [f"{task} by {undo}" for task, undo in _compensations(workflow).items()]
    if undone:
        say(wrapped(f"undone         {_listed(undone, 8)}", indent=" " * 15))
    if workflow.secrets:
        say(wrapped(f"secrets        {_listed([secret.name for secret in workflow.secrets], 8)}", indent=" " * 15))
    if workflow.continue_as_new is not None:
        _say_of("again", _again(workflow.continue_as_new))
    if workflow.schedule is not None:
        _say_of("starts", f"{in_words(workflow.schedule)}, once `podium schedule create` is given the file")
    needs = _needs(plan)
    if needs:
        say(wrapped(f"needs          {needs} at its peak", indent=" " * 15))
    if plan.estimates is not Estimates.GIVEN:
        which = "every task" if plan.estimates is Estimates.UNIT else "a task without one"
        say(
            wrapped(
                f"durations      {which} is taken to last 1 s; estimated_duration gives better ones", indent=" " * 15
            )
        )


def _print_schedule(scheduled: Schedule, agents: int | None) -> None:
    from podium.cli.times import shown_duration

    spread = f"at least {shown_duration(scheduled.lower_bound_seconds)} in whatever order"
    _say_of("scheduled", f"on {_on(scheduled, agents)}: {_facts(scheduled)}, {spread}")
    if scheduled.makespan_seconds > scheduled.lower_bound_seconds * 1.001:
        _say_of("held up by", path_of(scheduled.chain))


def _on(scheduled: Schedule, agents: int | None) -> str:
    """Return what a schedule runs on, in words."""
    many = "1 agent" if scheduled.agents == 1 else f"{scheduled.agents:,} agents"
    many = many if agents is not None else f"as many agents as it can use, {scheduled.agents:,}"
    if not scheduled.capacity:
        return many
    return f"{many} with {amounts_of(scheduled.capacity)} each"


def _facts(scheduled: Schedule) -> str:
    from podium.cli.times import shown_duration

    used = ", ".join(f"{name} {share:.0%}" for name, share in scheduled.utilisation.items())
    return f"{shown_duration(scheduled.makespan_seconds)}, in use {used}"


def _again(renewal: ContinueAsNew) -> str:
    """Return that what is foreseen is one run of several, in words."""
    if renewal.when is None:
        return "this is one run; another one follows each, for ever"
    return f"this is one run; another one follows as long as {renewal.when}"


def _compensations(workflow: Workflow) -> dict[str, str]:
    """Return what undoes each task: another task, or a function and the agent it is a call of."""
    undone = {}
    for task in workflow.tasks:
        undo = task.compensation
        if undo is not None:
            undone[task.id] = undo.task or f"{undo.function or task.id} ({undo.agent or undo.agent_type})"
    return undone


def _say_of(subject: str, text: str) -> None:
    from podium.cli.printing import say, wrapped

    say(wrapped(f"{subject:<15}{text}", indent=" " * 15))


def _named(task_id: str, plan: ExecutionPlan) -> str:
    if task_id not in plan.instances:
        return task_id
    count = plan.instances[task_id]
    return f"{task_id} ×{'?' if count is None else count}"


def _listed(texts: list[str], shown: int = 12) -> str:
    more = f" and {len(texts) - shown:,} more" if len(texts) > shown else ""
    return ", ".join(texts[:shown]) + more


def _needs(plan: ExecutionPlan) -> str:
    from podium.scheduling.resources import vector_of

    return amounts_of(vector_of(plan.resource_requirements))
