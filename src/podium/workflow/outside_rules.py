"""The rules of tasks that no agent does: what they wait for is said, once, and nothing that only an agent could use."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from podium.workflow.forms import schema_problems
from podium.workflow.model import FailureAction, Task, TaskType
from podium.workflow.problems import Path, Problem, Problems, quoted
from podium.workflow.units import parse_duration

OF_WAITS: Final = ("signal", "wait_for", "until", "execution")
OF_PEOPLE: Final = ("form", "assignee", "escalation")
OF_CHILDREN: Final = ("workflow", "parent_close")
OF_AGENTS: Final = (
    *(
        "agent",
        "agent_type",
        "function",
        "resources",
        "retries",
        "retry",
        "for_each",
        "parallel",
        "max_parallel",
        "grows",
        "idempotent",
        "cache",
        "compensation",
    ),
)
OF_CHILDREN_TOO: Final = frozenset({"retries", "retry", "for_each", "max_parallel"})
MAX_SECONDS: Final = 10 * 366 * 86_400.0  # ten years
MAX_NAME: Final = 200
_WRITTEN: Final = {"wait_for": "for", "payload": "input", "agent_type": "agent"}
_DEFAULTS: Final = Task(id="x")
_NOTHING_SAID: Final = ("", "", "", None, None, None, None, None)


def check_with_agent(task: Task, what: str, path: Path, problems: Problems) -> None:
    """Note what a task says that only one without an agent can mean."""
    _check_no_child(task, what, path, problems)
    said = (
        task.signal,
        task.execution,
        task.assignee,
        task.accept,
        task.wait_for,
        task.until,
        task.form,
        task.escalation,
    )
    if said == _NOTHING_SAID:
        return
    for name, kind in (*((n, "wait") for n in (*OF_WAITS, "accept")), *((n, "human") for n in OF_PEOPLE)):
        if getattr(task, name) != getattr(_DEFAULTS, name):
            message = f"{what}: {quoted(_written(name))} belongs to a task of type {kind}"
            problems.add(Problem("wrong-type-of-task", message, (*path, name), f"write type: {kind}"))


def check_outside(task: Task, what: str, path: Path, problems: Problems) -> None:
    """Note what is wrong with a task of type `wait`, `human` or `workflow`."""
    if task.type is TaskType.WORKFLOW:
        _check_child(task, what, path, problems)
        return
    _check_no_child(task, what, path, problems)
    wants, others = (OF_WAITS, OF_PEOPLE) if task.type is TaskType.WAIT else (OF_PEOPLE, (*OF_WAITS, "accept"))
    refused = [*OF_AGENTS, *others, *(("payload",) if task.type is TaskType.WAIT else ())]
    for name in refused:
        if name == "agent_type" and task.agent:
            continue  # its role's
        if getattr(task, name) != getattr(_DEFAULTS, name):
            message = f"{what} is of type {task.type}: {quoted(_written(name))} means nothing there"
            problems.add(Problem("wrong-type-of-task", message, (*path, name), "take it out"))
    if task.on_failure.action is FailureAction.ASK:
        message = f"{what} is of type {task.type}: ask is what becomes of an agent's failure"
        problems.add(
            Problem("wrong-type-of-task", message, (*path, "on_failure"), "write fail, continue or a fallback")
        )
    if task.type is TaskType.WAIT:
        _check_wait(task, what, path, problems, wants)
    else:
        _check_human(task, what, path, problems)


def _check_no_child(task: Task, what: str, path: Path, problems: Problems) -> None:
    for name in OF_CHILDREN:
        if getattr(task, name) != getattr(_DEFAULTS, name):
            message = f"{what} is of type {task.type}: {quoted(name)} belongs to a task of type workflow"
            problems.add(Problem("wrong-type-of-task", message, (*path, name), "take it out, or leave out the type"))


def _check_child(task: Task, what: str, path: Path, problems: Problems) -> None:
    for name in (*OF_WAITS, "accept", *OF_PEOPLE, *OF_AGENTS):
        if name not in OF_CHILDREN_TOO and getattr(task, name) != getattr(_DEFAULTS, name):
            message = f"{what} is a workflow of its own: {quoted(_written(name))} means nothing there"
            problems.add(Problem("wrong-type-of-task", message, (*path, name), "take it out"))
    child = task.workflow
    if child is None:
        message = f"{what} is of type workflow, but names none"
        problems.add(Problem("missing-field", message, (*path, "workflow"), "write workflow: {name: …, tasks: …}"))
        return
    given = task.payload
    if given is None and child.inputs and task.fans_out:
        message = f"{what} doesn't say what of an item is the input of the workflow {quoted(child.name)}"
        hint = f"write input: {{{child.inputs[0].name}: ${{item}}}}"
        problems.add(Problem("missing-input", message, (*path, "payload"), hint))
    if given is None or not child.inputs:
        return
    declared = {parameter.name: parameter for parameter in child.inputs}
    for name in given:
        if name not in declared:
            message = f"{what}: {quoted(name)} is no input of the workflow {quoted(child.name)}"
            hint = problems.suggest(name, declared) or f"its inputs are {', '.join(declared)}"
            problems.add(Problem("undeclared-input", message, (*path, "payload", name), hint))
    for name, parameter in declared.items():
        if parameter.required and name not in given:
            message = f"{what}: the workflow {quoted(child.name)} needs the input {quoted(name)}"
            problems.add(Problem("missing-input", message, (*path, "payload"), f"write input: {{{name}: …}}"))


def _check_wait(task: Task, what: str, path: Path, problems: Problems, wants: tuple[str, ...]) -> None:
    said = [name for name in wants if getattr(task, name) not in ("", None)]
    if len(said) != 1:
        names = ", ".join(_written(name) for name in wants)
        message = f"{what} waits for {'nothing' if not said else ' and '.join(map(_written, said))}"
        problems.add(Problem("wait", message, (*path, said[1] if said else "wait_for"), f"write one of {names}"))
    if task.signal:
        _check_name(task.signal, f"{what}: the signal", (*path, "signal"), problems)
    elif task.accept is not None:
        message = f"{what} has accept, but no signal"
        problems.add(Problem("wait", message, (*path, "accept"), "accept says which values of a signal count"))
    if task.wait_for is not None:
        _check_duration(task.wait_for, what, (*path, "wait_for"), problems)
    if task.until and "${" not in task.until:
        _check_moment(task.until, what, (*path, "until"), problems)
    if task.execution:
        _check_name(task.execution, f"{what}: the execution", (*path, "execution"), problems)


def _check_human(task: Task, what: str, path: Path, problems: Problems) -> None:
    if task.assignee:
        _check_name(task.assignee, f"{what}: the assignee", (*path, "assignee"), problems)
    escalation = task.escalation
    if escalation is not None:
        if not 0 < escalation.after <= MAX_SECONDS:
            message = f"{what}: the escalation is after {escalation.after:g} seconds; more than 0, at most ten years"
            problems.add(Problem("out-of-range", message, (*path, "escalation")))
        _check_name(escalation.to, f"{what}: who it escalates to", (*path, "escalation"), problems)
        if task.timeout is not None and escalation.after >= task.timeout:
            message = f"{what} fails (timeout) before it escalates"
            problems.add(Problem("wait", message, (*path, "escalation"), "let it escalate earlier, or fail later"))
    if task.form is not None:
        for at, message, hint in schema_problems(task.form):
            place = ".".join(map(str, at))
            where = f"form.{place}" if place else "form"
            problems.add(Problem("form", f"{what}: {where}: {message}", (*path, "form", *at), hint))


def _check_duration(value: float | str, what: str, path: Path, problems: Problems) -> None:
    if isinstance(value, str):
        if "${" in value:
            return
        try:
            value = parse_duration(value)
        except ValueError as error:
            problems.add(Problem("wrong-value", f"{what}: for: {error}", path))
            return
    if not 0 < value <= MAX_SECONDS:
        message = f"{what}: it waits for {value:g} seconds; more than 0, at most ten years are allowed"
        problems.add(Problem("out-of-range", message, path))


def _check_moment(text: str, what: str, path: Path, problems: Problems) -> None:
    hint = 'write it so: "2026-03-01T09:30:00Z"'
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        problems.add(Problem("wrong-value", f"{what}: until: {quoted(text)} is no time", path, hint))
        return
    if found.tzinfo is None:
        problems.add(Problem("wrong-value", f"{what}: until: {quoted(text)} has no time zone", path, hint))


def _check_name(text: str, what: str, path: Path, problems: Problems) -> None:
    if not text.strip() or not text.isprintable():
        problems.add(Problem("empty-text", f"{what} is no name: {quoted(text)}", path))
    elif len(text) > MAX_NAME:
        message = f"{what} has {len(text):,} characters; at most {MAX_NAME} are allowed"
        problems.add(Problem("too-long", message, path))


def _written(name: str) -> str:
    return _WRITTEN.get(name, name)
