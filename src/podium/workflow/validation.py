"""What makes a workflow valid, wherever it comes from: YAML, a builder, plain Python.

`problems_of` finds everything at once and gives each problem the path of its field in the model; the YAML loader turns
paths into lines. `validate` raises instead. Linear in tasks, edges and references; nothing here recurses.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import Any, Final

import msgspec

from podium.workflow.continuation_rules import check_continuation
from podium.workflow.declaration_rules import check_bounds, check_declarations
from podium.workflow.graph_rules import order_problems
from podium.workflow.limit_rules import limit_problems, version_problems
from podium.workflow.model import AgentGroup, FailureAction, InputParameter, ResourceRequirements, Task, Workflow
from podium.workflow.outside_rules import check_outside, check_with_agent
from podium.workflow.problems import Path, Problem, Problems, quoted, raise_problems
from podium.workflow.reference_rules import json_problem, reference_problems
from podium.workflow.schedule_rules import check_schedule

MAX_TASKS: Final = 200_000
MAX_EDGES: Final = 1_000_000
MAX_NAME: Final = 200  # characters of an id, a role, a type, a capability, a workflow's or task's name
MAX_TEXT: Final = 10_000  # characters of a description
ANY_TYPE: Final = "*"  # of a role: whatever agent has its capabilities and answers to the function
MAX_AGENTS: Final = 100_000  # of one role
MAX_INPUTS: Final = 1_000
MAX_ROLES: Final = 10_000
MAX_CHILDREN: Final = 8  # workflows as tasks of each other
MAX_ATTEMPTS: Final = 1_000
MAX_SECONDS: Final = 10 * 366 * 86_400.0  # ten years

INPUT_TYPES: Final = ("any", "string", "integer", "number", "boolean", "array", "object")
COORDINATION_TYPES: Final = ("hybrid", "event_driven", "graph_based")

_ID: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", re.ASCII)
_ID_FORM: Final = "letters, digits, _, - and ., the first a letter, a digit or _"
_SUBJECT: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]*", re.ASCII)  # one token of a bus's subject
_SUBJECT_FORM: Final = "letters, digits, _ and -, the first a letter, a digit or _"
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")

_AMOUNTS: Final = tuple(name for name in ResourceRequirements.__struct_fields__ if name != "custom_resources")


def validate(workflow: Workflow) -> Workflow:
    """Return the workflow as its YAML would give it: numbers of the declared kinds, roles' agent types filled in.

    Raises WorkflowInvalidError, with every problem in `problems`.
    """
    found = problems_of(workflow)
    if found:
        raise_problems(found)
    plain = _through_json(workflow)
    tasks = tuple(_with_agent_type(task, plain.agents) for task in plain.tasks)
    return msgspec.structs.replace(plain, tasks=tasks)


def problems_of(workflow: Workflow) -> list[Problem]:
    """Return everything that is wrong with a workflow, each with the path of its field; none if it is valid."""
    problems = Problems()
    _check_types(workflow, problems)
    if not len(problems):
        rule_problems(workflow, problems)
    return problems.listed()


def rule_problems(workflow: Workflow, problems: Problems, depth: int = 0) -> None:
    """Note what is wrong with a workflow whose fields are of the declared types, which lies so deep inside others."""
    if not workflow.tasks:
        problems.add(Problem("no-tasks", "the workflow has no tasks", ("tasks",)))
    if _too_large(workflow, problems):
        return
    _check_workflow(workflow, problems)
    for role, group in workflow.agents.items():
        _check_group(role, group, problems)
    _check_inputs(workflow.inputs, problems)
    check_schedule(workflow, problems, depth)
    for at, task in enumerate(workflow.tasks):
        _check_task(workflow, task, ("tasks", at), problems, depth)
    check_declarations(workflow, problems)
    check_continuation(workflow, problems)
    order = order_problems(workflow, problems)
    reference_problems(workflow, order, problems)


def _with_agent_type(task: Task, agents: dict[str, AgentGroup]) -> Task:
    if task.workflow is not None:
        tasks = tuple(_with_agent_type(each, task.workflow.agents) for each in task.workflow.tasks)
        return msgspec.structs.replace(task, workflow=msgspec.structs.replace(task.workflow, tasks=tasks))
    if task.agent_type or task.agent not in agents:
        return task
    return msgspec.structs.replace(task, agent_type=agents[task.agent].type)


# --- the whole -------------------------------------------------------------------------------------------------------


def _check_types(workflow: Workflow, problems: Problems) -> None:
    """Note the first field of a wrong type; values that no JSON can hold, each."""
    for path, value in _free_values(workflow):
        if found := json_problem(value, path):
            problems.add(found)
    if len(problems):
        return
    try:
        _through_json(workflow)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        said, _, where = str(error).partition(" - at `")
        problems.add(Problem("wrong-type", f"{where.rstrip('`') or 'the workflow'}: {said}", _path_of(where)))


def _through_json(workflow: Workflow) -> Workflow:
    return msgspec.json.decode(msgspec.json.encode(workflow), type=Workflow)


def _path_of(where: str) -> Path:
    named, _, _ = where.partition("[...]")  # msgspec doesn't say which key of a mapping it means
    parts = re.findall(r"\.(\w+)|\[(\d+)\]", named)
    return tuple(int(index) if index else name for name, index in parts)


def _free_values(workflow: Workflow) -> Iterable[tuple[Path, Any]]:
    yield ("metadata",), workflow.metadata
    yield ("output",), workflow.output
    yield ("publish",), workflow.publish
    if workflow.continue_as_new is not None:
        yield ("continue_as_new", "input"), workflow.continue_as_new.input
    for parameter in workflow.inputs:
        yield ("inputs", parameter.name, "default"), parameter.default
        yield ("inputs", parameter.name, "enum"), parameter.enum
    for at, task in enumerate(workflow.tasks):
        yield ("tasks", at, "payload"), task.payload
        yield ("tasks", at, "for_each"), task.for_each
        if task.form is not None:
            yield ("tasks", at, "form"), task.form
        if task.compensation is not None:
            yield ("tasks", at, "compensation", "payload"), task.compensation.payload
        if task.workflow is not None:
            for path, value in _free_values(task.workflow):
                yield ("tasks", at, "workflow", *path), value


def _too_large(workflow: Workflow, problems: Problems) -> bool:
    tasks, edges = len(workflow.tasks), sum(len(task.dependencies) for task in workflow.tasks)
    if tasks > MAX_TASKS:
        message = f"there are {tasks:,} tasks; at most {MAX_TASKS:,} are allowed"
        problems.add(Problem("too-many-tasks", message, ("tasks",)))
    if edges > MAX_EDGES:
        message = f"there are {edges:,} dependencies; at most {MAX_EDGES:,} are allowed"
        problems.add(Problem("too-many-edges", message, ("tasks",)))
    before = len(problems)
    for name, count, most in (
        ("inputs", len(workflow.inputs), MAX_INPUTS),
        ("agents", len(workflow.agents), MAX_ROLES),
    ):
        if count > most:
            message = f"there are {count:,} {name}; at most {most:,} are allowed"
            problems.add(Problem("too-many-names", message, (name,)))
    return tasks > MAX_TASKS or edges > MAX_EDGES or len(problems) > before


def _check_workflow(workflow: Workflow, problems: Problems) -> None:
    _check_text(problems, "the workflow's name", workflow.name, ("name",))
    _check_text(problems, "the workflow's id", workflow.id, ("id",))
    _check_text(problems, "the version", workflow.version, ("version",))
    description = workflow.metadata.get("description")
    if isinstance(description, str) and len(description) > MAX_TEXT:
        message = f"the description has {len(description):,} characters; at most {MAX_TEXT:,} are allowed"
        problems.add(Problem("too-long", message, ("metadata", "description")))
    config = workflow.config
    _check_time(problems, "the execution's timeout", config.timeout, ("config", "timeout"))
    _check_priority(problems, config.priority, ("config", "priority"))
    for name in ("max_parallel_tasks", "max_concurrent_executions", "max_crashes"):
        _at_least_one(problems, name, getattr(config, name), ("config", name))
    for at, constraint in enumerate(workflow.constraints):
        _at_least_one(problems, f"the constraint {constraint.type}", constraint.value, ("constraints", at, "value"))
    kind = workflow.coordination.type if workflow.coordination else "hybrid"
    if kind.replace("-", "_") not in COORDINATION_TYPES:
        hint = problems.suggest(kind, COORDINATION_TYPES) or f"known are {', '.join(COORDINATION_TYPES)}"
        message = f"there is no coordination type {quoted(kind)}"
        problems.add(Problem("wrong-value", message, ("coordination", "type"), hint))
    breaker = workflow.fault_tolerance.circuit_breaker if workflow.fault_tolerance else None
    if breaker:
        path = ("fault_tolerance", "circuit_breaker")
        _at_least_one(problems, "failure_threshold", breaker.failure_threshold, (*path, "failure_threshold"))
        _check_time(problems, "timeout_seconds", breaker.timeout_seconds, (*path, "timeout_seconds"))


def _check_inputs(inputs: tuple[InputParameter, ...], problems: Problems) -> None:
    names: set[str] = set()
    for parameter in inputs:
        path: Path = ("inputs", parameter.name)
        _check_form(problems, "the input", parameter.name, path, _ID, _ID_FORM)
        if parameter.name in names:
            problems.add(Problem("duplicate-id", f"the input {quoted(parameter.name)} is declared twice", path))
        names.add(parameter.name)
        if parameter.type not in INPUT_TYPES:
            hint = problems.suggest(parameter.type, INPUT_TYPES) or f"known are {', '.join(INPUT_TYPES)}"
            message = f"the input {quoted(parameter.name)}: there is no type {quoted(parameter.type)}"
            problems.add(Problem("wrong-value", message, (*path, "type"), hint))
        elif parameter.default is not None and not is_of_type(parameter.default, parameter.type):
            message = f"the default of the input {quoted(parameter.name)} is no {parameter.type}"
            problems.add(Problem("wrong-default", message, (*path, "default")))
        else:
            check_bounds(parameter, problems)


def is_of_type(value: Any, kind: str) -> bool:
    """Return whether a value is of one of `INPUT_TYPES`, as JSON Schema understands them."""
    match kind:
        case "string":
            return isinstance(value, str)
        case "integer":
            return isinstance(value, int) and not isinstance(value, bool)
        case "number":
            return isinstance(value, (int, float)) and not isinstance(value, bool)
        case "boolean":
            return isinstance(value, bool)
        case "array":
            return isinstance(value, (list, tuple))
        case "object":
            return isinstance(value, dict)
        case _:
            return True


def _check_group(role: str, group: AgentGroup, problems: Problems) -> None:
    path: Path = ("agents", role)
    _check_form(problems, "the role", role, path, _SUBJECT, _SUBJECT_FORM)
    if group.name != role:
        message = f"the role {quoted(role)} holds a group called {quoted(group.name)}"
        problems.add(Problem("agent-mismatch", message, path, "give both the same name"))
    if not group.type:
        problems.add(Problem("missing-field", f"the role {quoted(role)} has no type", (*path, "type")))
    elif group.type != ANY_TYPE:
        _check_form(problems, "the agent type", group.type, (*path, "type"), _SUBJECT, _SUBJECT_FORM)
    if not 1 <= group.count <= MAX_AGENTS:
        message = f"the role {quoted(role)} has {group.count:,} agents; 1 to {MAX_AGENTS:,} are allowed"
        problems.add(Problem("out-of-range", message, (*path, "count")))
    for at, capability in enumerate(group.capabilities):
        _check_text(problems, "the capability", capability, (*path, "capabilities", at))
    _check_amounts(problems, group.resources, (*path, "resources"))
    version_problems(f"the role {quoted(role)}", group.version, (*path, "version"), problems)
    limit_problems(f"the role {quoted(role)}", group.rate_limit, group.concurrency, path, problems)


# --- one task --------------------------------------------------------------------------------------------------------


def _check_task(workflow: Workflow, task: Task, path: Path, problems: Problems, depth: int) -> None:
    what = f"task {quoted(task.id)}"
    _check_form(problems, "the task id", task.id, (*path, "id"), _ID, _ID_FORM)
    if task.name != task.id:
        _check_text(problems, f"{what}: the name", task.name, (*path, "name"))
    if task.function:
        _check_text(problems, f"{what}: the function", task.function, (*path, "function"))
    if task.needs_agent:
        _check_agent(workflow, task, what, path, problems)
        check_with_agent(task, what, path, problems)
    else:
        check_outside(task, what, path, problems)
    if task.workflow is not None:
        _check_child(task.workflow, what, (*path, "workflow"), problems, depth + 1)
    if task.timeout is not None:
        _check_time(problems, f"{what}: the timeout", task.timeout, (*path, "timeout"))
    if task.deadline is not None:
        _check_time(problems, f"{what}: the deadline", task.deadline, (*path, "deadline"))
    if task.estimated_duration is not None and not 0 <= task.estimated_duration <= MAX_SECONDS:
        message = f"{what}: the estimated duration is {task.estimated_duration:g} seconds; 0 to ten years are allowed"
        problems.add(Problem("out-of-range", message, (*path, "estimated_duration")))
    if task.priority is not None:
        _check_priority(problems, task.priority, (*path, "priority"))
    _check_fan_out(workflow, task, what, path, problems)
    if task.rate_limit is not None or task.concurrency is not None:
        limit_problems(what, task.rate_limit, task.concurrency, path, problems)
    if task.retries or task.retry is not None:
        _check_retry(task, what, path, problems)
    if task.on_failure.task is not None and task.on_failure.action is not FailureAction.FALLBACK:
        message = f"{what}: on_failure names a task, but its action is {task.on_failure.action}"
        problems.add(Problem("fallback", message, (*path, "on_failure")))


def _check_child(child: Workflow, what: str, path: Path, problems: Problems, depth: int) -> None:
    """Note what is wrong with the workflow that a task is, the `depth`-th inside another."""
    if depth > MAX_CHILDREN:
        message = f"{what}: more than {MAX_CHILDREN} workflows lie inside each other"
        problems.add(Problem("depth", message, path))
        return
    found = Problems()
    rule_problems(child, found, depth)
    for problem in found.noted():
        problems.add(msgspec.structs.replace(problem, path=(*path, *problem.path)))
    problems.left_out += found.left_out


def _check_agent(workflow: Workflow, task: Task, what: str, path: Path, problems: Problems) -> None:
    if not task.agent:
        if not task.agent_type:
            message = f"{what} has no agent"
            problems.add(Problem("missing-agent", message, (*path, "agent"), "write agent: a role, or agent_type: …"))
        else:
            _check_form(
                problems, f"{what}: the agent type", task.agent_type, (*path, "agent_type"), _SUBJECT, _SUBJECT_FORM
            )
        _check_amounts(problems, task.resources, (*path, "resources"))
        return
    group = workflow.agents.get(task.agent)
    if group is None:
        hint = problems.suggest(task.agent, workflow.agents) or "declare it under agents, or write agent_type"
        message = f"{what}: there is no agent role {quoted(task.agent)}"
        problems.add(Problem("unknown-agent", message, (*path, "agent"), hint))
    elif task.agent_type and task.agent_type != group.type:
        message = (
            f"{what}: the role {quoted(task.agent)} is of type {quoted(group.type)}, not {quoted(task.agent_type)}"
        )
        problems.add(Problem("agent-mismatch", message, (*path, "agent_type"), "leave agent_type out"))
    _check_amounts(problems, task.resources, (*path, "resources"))
    if group is not None and group.resources != _NOTHING and task.resources != _NOTHING:
        _check_fits(task, group, what, path, problems)


_NOTHING: Final = ResourceRequirements()


def _check_fits(task: Task, group: AgentGroup, what: str, path: Path, problems: Problems) -> None:
    """A role has no more of a resource than it says, and no devices (GPUs, custom ones) that it doesn't name.

    Of cores, memory, disk and bandwidth a role that says nothing has no limit of its own, as in placement.
    """
    need, offer = task.resources, group.resources
    at: Path = (*path, "resources")
    needs = [
        (name, getattr(need, name) or 0, getattr(offer, name) or 0, (*at, name))
        for name in _AMOUNTS
        if getattr(offer, name) or name == "gpu_count"
    ]
    for name, amount in need.custom_resources.items():
        needs.append((name, amount, offer.custom_resources.get(name, 0), (*at, "custom_resources", name)))
    for name, wanted, offered, where in needs:
        if wanted > offered:
            message = f"{what} needs {wanted:g} {name}; an agent of {quoted(group.name)} offers {offered:g}"
            hint = f"ask for less, or raise agents.{group.name}.resources"
            problems.add(Problem("never-fits", message, where, hint))


def _check_fan_out(workflow: Workflow, task: Task, what: str, path: Path, problems: Problems) -> None:
    if task.parallel and task.for_each is not None:
        message = f"{what} has both parallel and for_each"
        problems.add(Problem("parallel-and-for-each", message, (*path, "parallel"), "keep one of the two"))
    if task.parallel and not task.agent:
        role = next((role for role, group in workflow.agents.items() if group.type == task.agent_type), "ROLE")
        message = f"{what} is parallel, but no agent role says over how many agents"
        problems.add(Problem("parallel-without-group", message, (*path, "parallel"), f"write agent: {role}"))
    if isinstance(task.for_each, list) and len(task.for_each) > MAX_TASKS:
        message = f"{what}: for_each has {len(task.for_each):,} items; at most {MAX_TASKS:,} are allowed"
        problems.add(Problem("too-many-tasks", message, (*path, "for_each")))
    if task.max_parallel is not None:
        _at_least_one(problems, f"{what}: max_parallel", task.max_parallel, (*path, "max_parallel"))
        if not task.fans_out:
            message = f"{what} has max_parallel, but neither for_each nor parallel"
            problems.add(Problem("max-parallel-alone", message, (*path, "max_parallel")))


def _check_retry(task: Task, what: str, path: Path, problems: Problems) -> None:
    if not 0 <= task.retries < MAX_ATTEMPTS:
        message = f"{what}: {task.retries} retries; 0 to {MAX_ATTEMPTS - 1} are allowed"
        problems.add(Problem("out-of-range", message, (*path, "retries")))
    retry = task.retry
    if retry is None:
        return
    path = (*path, "retry")
    rules: tuple[tuple[str, bool, str], ...] = (
        ("max_attempts", 1 <= retry.max_attempts <= MAX_ATTEMPTS, f"1 to {MAX_ATTEMPTS:,}"),
        ("initial_delay_seconds", 0 <= retry.initial_delay_seconds <= MAX_SECONDS, "0 seconds to ten years"),
        ("max_delay_seconds", 0 <= retry.max_delay_seconds <= MAX_SECONDS, "0 seconds to ten years"),
        ("multiplier", 0 < retry.multiplier <= MAX_ATTEMPTS, f"more than 0, at most {MAX_ATTEMPTS:,}"),
        ("jitter", 0 <= retry.jitter <= 1, "0 to 1"),
    )
    for name, holds, allowed in rules:
        if not holds:
            message = f"{what}: {name} is {getattr(retry, name):g}; allowed is {allowed}"
            problems.add(Problem("out-of-range", message, (*path, name)))
    for at, name in enumerate(retry.non_retryable):
        _check_text(problems, f"{what}: the error type", name, (*path, "non_retryable", at))


# --- single values ---------------------------------------------------------------------------------------------------


def _check_text(problems: Problems, what: str, text: str, path: Path) -> None:
    if not text.strip():
        problems.add(Problem("empty-text", f"{what} is empty", path))
    elif len(text) > MAX_NAME:
        message = f"{what} has {len(text):,} characters; at most {MAX_NAME} are allowed"
        problems.add(Problem("too-long", message, path))
    elif _CONTROL.search(text):
        problems.add(Problem("control-character", f"{what} {quoted(text)} has a control character in it", path))


def _check_form(problems: Problems, what: str, name: str, path: Path, form: re.Pattern[str], allowed: str) -> None:
    if not name:
        problems.add(Problem("empty-text", f"{what} is empty", path))
    elif len(name) > MAX_NAME:
        message = f"{what} {quoted(name)} has {len(name):,} characters; at most {MAX_NAME} are allowed"
        problems.add(Problem("too-long", message, path))
    elif not form.fullmatch(name):
        problems.add(Problem("id-form", f"{what} {quoted(name)} can't be used", path, f"allowed are {allowed}"))


def _check_time(problems: Problems, what: str, seconds: float | None, path: Path) -> None:
    if seconds is not None and not 0 < seconds <= MAX_SECONDS:
        message = f"{what} is {seconds:g} seconds; more than 0, at most ten years are allowed"
        problems.add(Problem("out-of-range", message, path))


def _check_priority(problems: Problems, priority: int, path: Path) -> None:
    if not 0 <= priority <= 100:
        message = f"the priority is {priority}; 0 to 100 are allowed, larger is sooner"
        problems.add(Problem("out-of-range", message, path))


def _at_least_one(problems: Problems, what: str, value: int | None, path: Path) -> None:
    if value is not None and not 1 <= value < 2**31:
        problems.add(Problem("out-of-range", f"{what} is {value}; at least 1 is allowed", path))


def _check_amounts(problems: Problems, resources: ResourceRequirements, path: Path) -> None:
    if resources == _NOTHING:
        return
    amounts = [(name, getattr(resources, name) or 0, (*path, name)) for name in _AMOUNTS]
    for name, custom in resources.custom_resources.items():
        where = (*path, "custom_resources", name)
        _check_form(problems, "the resource", name, where, _ID, _ID_FORM)
        amounts.append((name, custom, where))
    for name, amount, where in amounts:
        if not (math.isfinite(amount) and 0 <= amount < 2**53):
            problems.add(Problem("out-of-range", f"{name} is {amount:g}; 0 or more is allowed", where))
