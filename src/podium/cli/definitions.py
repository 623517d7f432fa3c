"""`podium validate`, `podium plan`, `podium agents`: a workflow before it runs. Nothing here opens a database."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from podium.cli.manners import Manners
from podium.cli.run import Agents

if TYPE_CHECKING:
    from podium.workflow.model import Workflow
    from podium.workflow.plan import ExecutionPlan
    from podium.workflow.problems import Problem

BAD_INPUT = 2
_STAGES = 40


def validate(
    manners: Manners, files: Annotated[list[str], typer.Argument(metavar="FILE…", help="Workflows, YAML files.")]
) -> int:
    """Check workflows and list everything that is wrong, a line each: `file:line:column: rule: message; hint`."""
    from podium.cli.printing import painted, print_json, say

    checked = [(file, *_checked(file)) for file in files]
    found = [problem for _, _, problems in checked for problem in problems]
    if manners.json:
        documents = [_file_document(*one) for one in checked]
        print_json({"valid": not found, "problems": len(found), "files": documents})
        return BAD_INPUT if found else 0
    for file, workflow, problems in checked:
        for problem in problems:
            say(str(problem))
        if workflow is not None:
            edges = sum(len(task.dependencies) for task in workflow.tasks)
            counts = f"{_count(len(workflow.tasks), 'task')}, {_count(edges, 'dependency', 'dependencies')}"
            say(f"{file}: {painted('valid', 'green')}: {workflow.name} {workflow.version}, {counts}")
    if found:
        bad = sum(bool(problems) for _, _, problems in checked)
        say(f"{_count(len(found), 'problem')} in {_count(bad, 'file')}")
    return BAD_INPUT if found else 0


def plan(
    manners: Manners, file: Annotated[str, typer.Argument(metavar="FILE", help="The workflow, a YAML file.")]
) -> int:
    """Foresee a run: stages, the critical path with slack, how much goes on side by side, what it needs."""
    from podium.api.loading import workflow_from
    from podium.cli.printing import print_json
    from podium.workflow.plan import plan as plan_of

    workflow = workflow_from(file)
    foreseen = plan_of(workflow)
    if manners.json:
        print_json(foreseen.to_dict())
    else:
        _print_plan(workflow, foreseen)
    return 0


def agents(
    manners: Manners,
    file: Annotated[str | None, typer.Argument(metavar="[FILE]", help="The workflow whose agents are wanted.")] = None,
    specs: Agents = None,
) -> int:
    """Show which code would stand behind a workflow's agent types, or what a spec holds."""
    from podium.agents.binding import BUILTIN_SPEC, load_binding, resolve
    from podium.api.loading import workflow_from
    from podium.cli.printing import print_json, say
    from podium.cli.tables import table

    if file is not None:
        types = _types_of(workflow_from(file))
        bound = resolve(types, specs or (), manners.settings().agents)
        definitions = [definition for _, definition in bound.values()]
    else:
        definitions = [
            one for spec in (specs or [BUILTIN_SPEC]) for one in load_binding(spec.partition("=")[2] or spec)
        ]
    if manners.json:
        print_json(
            [{"type": d.type, "spec": d.spec, "functions": sorted(d.functions), "slots": d.slots} for d in definitions]
        )
        return 0
    rows = [(d.type, ", ".join(sorted(d.functions)).replace("*", "(any)"), str(d.slots), d.spec) for d in definitions]
    say(table(("TYPE", "FUNCTIONS", "SLOTS", "CODE"), rows, right=frozenset({2})))
    return 0


# --- validate --------------------------------------------------------------------------------------------------------


def _checked(file: str) -> tuple[Workflow | None, list[Problem]]:
    from podium.workflow.problems import Problem
    from podium.workflow.yaml import check_workflow

    try:
        content = Path(file).read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        return None, [Problem("unreadable", f"the file can't be read: {reason}", file=file)]
    return check_workflow(content, file)


def _file_document(file: str, workflow: Workflow | None, problems: list[Problem]) -> dict[str, Any]:
    from podium.workflow.problems import shown_path

    shown = [
        {
            "line": p.line,
            "column": p.column,
            "rule": p.rule,
            "message": p.message,
            "hint": p.hint,
            "path": shown_path(p.path),
        }
        for p in problems
    ]
    known = {"workflow": workflow.name, "version": workflow.version, "tasks": len(workflow.tasks)} if workflow else {}
    return {"file": file, "valid": not problems, "problems": shown, **known}


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number:,} {one if number == 1 else many or one + 's'}"


# --- plan ------------------------------------------------------------------------------------------------------------


def _print_plan(workflow: Workflow, plan: ExecutionPlan) -> None:
    from podium.cli.printing import cut, say, width, wrapped
    from podium.cli.tables import table
    from podium.cli.times import shown_duration
    from podium.workflow.plan import Estimates

    counts = f"{_count(plan.task_count, 'task')}, {_count(plan.edge_count, 'dependency', 'dependencies')}"
    say(cut(f"{workflow.name} {workflow.version}: {counts}, {_count(plan.depth, 'stage')}", width()))
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
    say(wrapped(f"critical path  {_path(plan.critical_path)}", indent=" " * 15))
    say(f"takes          {shown_duration(plan.estimated_duration)}, of {shown_duration(plan.work_seconds)} of work")
    say(f"parallelism    {plan.parallelism_factor:.1f}: so many agents are busy on average")
    slack = sorted((s, t) for t, s in plan.slack_seconds.items() if s > 0 and t not in plan.fallbacks)
    if slack:
        waits = [f"{task} {shown_duration(seconds)}" for seconds, task in slack]
        say(wrapped(f"slack          {_listed(waits, 8)}", indent=" " * 15))
    if plan.fallbacks:
        say(wrapped(f"only if needed {_listed(list(plan.fallbacks), 8)}", indent=" " * 15))
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


def _named(task_id: str, plan: ExecutionPlan) -> str:
    if task_id not in plan.instances:
        return task_id
    count = plan.instances[task_id]
    return f"{task_id} ×{'?' if count is None else count}"


def _listed(texts: list[str], shown: int = 12) -> str:
    more = f" and {len(texts) - shown:,} more" if len(texts) > shown else ""
    return ", ".join(texts[:shown]) + more


def _path(ids: tuple[str, ...], shown: int = 12) -> str:
    if len(ids) <= shown:
        return " → ".join(ids)
    half = shown // 2
    return " → ".join((*ids[:half], f"… {len(ids) - 2 * half:,} more …", *ids[-half:]))


def _needs(plan: ExecutionPlan) -> str:
    needed = plan.resource_requirements
    units = {
        "cpu_cores": "cores", "memory_mb": "MB of memory", "disk_mb": "MB of disk",
        "network_bandwidth_mbps": "Mbit/s", "gpu_count": "GPUs",
    }  # fmt: skip
    known = [f"{amount:,g} {unit}" for name, unit in units.items() if (amount := getattr(needed, name))]
    return ", ".join([*known, *(f"{amount:,g} {name}" for name, amount in needed.custom_resources.items())])


# --- agents ----------------------------------------------------------------------------------------------------------


def _types_of(workflow: Workflow) -> list[str]:
    groups = workflow.agents
    types = (t.agent_type or (groups[t.agent].type if t.agent in groups else t.agent) for t in workflow.tasks)
    return list(dict.fromkeys(types))
