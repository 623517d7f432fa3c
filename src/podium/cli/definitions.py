"""`podium validate`, `podium agents`: a workflow before it runs. Nothing here opens a database."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from podium.cli.manners import Manners
from podium.cli.phrases import counted
from podium.cli.run import Agents

if TYPE_CHECKING:
    from podium.agents.sdk import AgentDefinition
    from podium.workflow.model import Workflow
    from podium.workflow.problems import Problem

BAD_INPUT = 2


def validate(
    manners: Manners,
    files: Annotated[list[str], typer.Argument(metavar="FILE…", help="Workflows, YAML files.")],
    agents: Agents = None,
    fleet: Annotated[
        bool, typer.Option("--fleet", help="Hold them against the agents that are registered now, too.")
    ] = False,
) -> int:
    """Check workflows and list everything that is wrong, a line each: `file:line:column: rule: message; hint`.

    Where the code of agents can be loaded, arguments and results are held against its type hints.
    """
    from podium.agents.signatures import type_check
    from podium.cli.printing import painted, print_json, say

    further = _fleet_check(manners, agents or []) if fleet else type_check(manners.settings().agents, agents or [])
    checked = [(file, *_checked(file, further)) for file in files]
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
            counts = f"{counted(len(workflow.tasks), 'task')}, {counted(edges, 'dependency', 'dependencies')}"
            say(f"{file}: {painted('valid', 'green')}: {workflow.name} {workflow.version}, {counts}")
    if found:
        bad = sum(bool(problems) for _, _, problems in checked)
        say(f"{counted(len(found), 'problem')} in {counted(bad, 'file')}")
    return BAD_INPUT if found else 0


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
        print_json([_agent_document(definition) for definition in definitions])
        return 0
    rows = [(d.type, ", ".join(sorted(d.functions)).replace("*", "(any)"), str(d.slots), d.spec) for d in definitions]
    say(table(("TYPE", "FUNCTIONS", "SLOTS", "CODE"), rows, right=frozenset({2})))
    return 0


# --- validate --------------------------------------------------------------------------------------------------------


def _fleet_check(manners: Manners, specs: list[str]) -> Callable[[Workflow], Iterable[Problem]]:
    """Return the check against the registered agents; of types that none is of, against the code that is here."""
    from podium.agents.signatures import known_signatures
    from podium.cli.reaching import fleet_types, refuse_unowned
    from podium.workflow.typed import type_problems

    settings = manners.settings()

    def check(workflow: Workflow) -> Iterable[Problem]:
        types = list(workflow.agent_counts())
        registered = fleet_types(settings, types)
        refuse_unowned(settings, registered is not None)
        registered = registered or {}
        here, _ = known_signatures([one for one in types if one not in registered], specs, settings.agents)
        return type_problems(workflow, {**here, **registered})

    return check


def _checked(file: str, further: Callable[[Workflow], Iterable[Problem]]) -> tuple[Workflow | None, list[Problem]]:
    from podium.api.including import ProjectFiles
    from podium.workflow.problems import Problem
    from podium.workflow.yaml import check_workflow

    try:
        content = Path(file).read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        return None, [Problem("unreadable", f"the file can't be read: {reason}", file=file)]
    collects = gc.isenabled()
    gc.disable()
    try:
        return check_workflow(content, file, further, ProjectFiles(file))
    finally:
        gc.freeze()  # what was read and compiled stays until the command ends: no need to look through it once more
        if collects:
            gc.enable()


def _file_document(file: str, workflow: Workflow | None, problems: list[Problem]) -> dict[str, Any]:
    from podium.workflow.problems import shown_path

    shown = [
        {
            "line": p.line,
            "column": p.column,
            "rule": p.rule,
            "message": p.message,
            "hint": p.hint,
            "certain": p.certain,
            "path": shown_path(p.path),
        }
        for p in problems
    ]
    known = {"workflow": workflow.name, "version": workflow.version, "tasks": len(workflow.tasks)} if workflow else {}
    return {"file": file, "valid": not problems, "problems": shown, **known}


# --- agents ----------------------------------------------------------------------------------------------------------


def _agent_document(definition: AgentDefinition) -> dict[str, Any]:
    from podium.agents.signatures import schemas_of

    return {
        "type": definition.type,
        "spec": definition.spec,
        "functions": sorted(definition.functions),
        "slots": definition.slots,
        "schemas": schemas_of(definition),
    }


def _types_of(workflow: Workflow) -> list[str]:
    groups = workflow.agents
    types = (
        t.agent_type or (groups[t.agent].type if t.agent in groups else t.agent)
        for t in workflow.tasks
        if t.needs_agent
    )
    return list(dict.fromkeys(types))
