"""Random small workflows that use all of the language: retries, fan-out, fallbacks, conditions, large values, limits.

Their functions are those that `testing.actors` knows how to play.
"""

from __future__ import annotations

import random
from typing import Any

import msgspec

from podium.workflow.model import (
    AgentGroup,
    FailureAction,
    OnFailure,
    ResourceRequirements,
    RetryPolicy,
    RunIf,
    Task,
    Workflow,
    WorkflowConfig,
)

AGENT_TYPES = ("porter", "clerk")
_FUNCTIONS = ("work", "work", "work", "big", "list3", "biglist3", "flag")


def random_workflow(chance: random.Random, name: str = "drawn") -> Workflow:
    """Return a valid workflow of one to ten tasks and their fallbacks."""
    tasks: list[Task] = []
    for index in range(chance.randint(1, 10)):
        tasks += _drawn_task(chance, f"t{index}", tasks)
    config = WorkflowConfig(
        timeout=chance.uniform(20, 400) if chance.random() < 0.15 else None,
        max_parallel_tasks=chance.randint(1, 4) if chance.random() < 0.2 else None,
        max_concurrent_executions=chance.randint(1, 2) if chance.random() < 0.1 else None,
        max_crashes=chance.choice((1, 3, 3, 5)),
    )
    agents = {kind: AgentGroup(kind, kind, chance.randint(1, 3)) for kind in AGENT_TYPES}
    return Workflow(name=name, tasks=tuple(tasks), agents=agents, config=config)


def _drawn_task(chance: random.Random, task_id: str, before: list[Task]) -> list[Task]:
    """Return a task, with its fallback before it where it has one."""
    known = [t for t in before if not t.id.endswith("_else")]
    needs = tuple(t.id for t in chance.sample(known, min(len(known), chance.choice((0, 1, 1, 1, 2, 3)))))
    options: dict[str, Any] = {
        "agent": chance.choice(AGENT_TYPES),
        "function": chance.choice(_FUNCTIONS) if chance.random() < 0.95 else "doomed",
        "dependencies": needs,
    }
    if chance.random() < 0.6:
        options["retry"] = RetryPolicy(
            max_attempts=chance.randint(2, 4), initial_delay_seconds=chance.choice((0.01, 1.0, 5.0))
        )
    if chance.random() < 0.15:
        options["timeout"] = chance.uniform(0.3, 10)
    if chance.random() < 0.1:
        options["deadline"] = chance.uniform(5, 120)
    if chance.random() < 0.2:
        options["priority"] = chance.randint(0, 100)
    if chance.random() < 0.15:
        options["run_if"] = RunIf.ALL_DONE
    if chance.random() < 0.1:
        options["resources"] = ResourceRequirements(cpu_cores=chance.choice((0.5, 1.0, 2.0)))
    options |= _fan(chance, [t for t in known if t.id in needs])
    flags = [t for t in known if t.id in needs and t.function == "flag" and not t.fans_out]
    if flags and chance.random() < 0.5:
        options["when"] = f"tasks.{flags[0].id}.status == 'completed' and tasks.{flags[0].id}.result['ok']"
    return _with_failure_action(chance, task_id, options)


def _with_failure_action(chance: random.Random, task_id: str, options: dict[str, Any]) -> list[Task]:
    drawn = chance.random()
    if drawn < 0.2:
        return [Task(id=task_id, on_failure=OnFailure(FailureAction.CONTINUE), **options)]
    if drawn < 0.4:
        fallback_id = f"{task_id}_else"
        fallback = Task(
            id=fallback_id, agent=chance.choice(AGENT_TYPES), function=chance.choice(("work", "work", "big", "doomed"))
        )
        return [fallback, Task(id=task_id, on_failure=OnFailure(FailureAction.FALLBACK, fallback_id), **options)]
    return [Task(id=task_id, **options)]


def with_questions(workflow: Workflow, chance: random.Random) -> Workflow:
    """Return a workflow of which some tasks ask a person when they have failed, instead of failing it."""
    asks = OnFailure(FailureAction.ASK)
    fails = FailureAction.FAIL
    tasks = (
        msgspec.structs.replace(task, on_failure=asks)
        if task.on_failure.action is fails and chance.random() < 0.5
        else task
        for task in workflow.tasks
    )
    return msgspec.structs.replace(workflow, tasks=tuple(tasks))


def with_few_runs(workflow: Workflow, most: int = 3) -> Workflow:
    """Return a workflow that ends after so many runs where it continues as new, and so do its children."""
    tasks = tuple(
        task if task.workflow is None else msgspec.structs.replace(task, workflow=with_few_runs(task.workflow, most))
        for task in workflow.tasks
    )
    renewal = workflow.continue_as_new
    if renewal is not None:
        said = (renewal.when or "True").strip()
        condition = said[2:-1] if said.startswith("${") else said
        renewal = msgspec.structs.replace(renewal, when=f"execution.run < {most} and ({condition})")
    return msgspec.structs.replace(workflow, tasks=tasks, continue_as_new=renewal)


def _fan(chance: random.Random, dependencies: list[Task]) -> dict[str, Any]:
    options: dict[str, Any] = {}
    lists = [t for t in dependencies if "list" in t.function and not t.fans_out]
    drawn = chance.random()
    if lists and drawn < 0.7:
        options["for_each"] = f"${{tasks.{lists[0].id}.result}}"
    elif drawn < 0.1:
        options["for_each"] = list(range(chance.choice((0, 1, 5, 12))))
    elif drawn < 0.2:
        options["parallel"] = True
    if options and chance.random() < 0.4:
        options["max_parallel"] = chance.randint(1, 3)
    return options
