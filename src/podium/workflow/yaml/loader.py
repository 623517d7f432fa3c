"""From YAML to a `Workflow`: `load_workflow` raises with every problem, `check_workflow` returns them.

The text is read into a tree (`reader`), the tree into the model (`language`), and the model is validated like any
other (`podium.workflow.validation`), whose findings get their line and column here.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

from msgspec.structs import replace

from podium.workflow.model import (
    NAMED_RETRY_POLICIES,
    AgentGroup,
    RetryPolicy,
    Task,
    TaskType,
    Workflow,
    WorkflowConfig,
)
from podium.workflow.problems import Path, Problem, Problems, quoted, raise_problems, shown_path
from podium.workflow.validation import MAX_TASKS, rule_problems
from podium.workflow.yaml.fields import read_block
from podium.workflow.yaml.including import Whole, whole_of, with_defaults
from podium.workflow.yaml.language import AGENT, TASK, WORKFLOW, WRITTEN_AS
from podium.workflow.yaml.nodes import Mapping, Node, Scalar, Sequence, plain_value
from podium.workflow.yaml.opening import CHILD, Opener, Opening
from podium.workflow.yaml.reader import read_tree
from podium.workflow.yaml.values import Reading

_OF_CONFIG = ("timeout", "priority")  # may stand at the workflow's own level too


def load_workflow(
    text: str | bytes,
    file: str = "<text>",
    opener: Opener | None = None,
    further: Callable[[Workflow], Iterable[Problem]] | None = None,
) -> Workflow:
    """Return the workflow that a YAML text describes; `file` is what problems call it.

    Further files that it names are opened by `opener`; without one they are refused. `further` is as for
    `check_workflow`.

    Raises WorkflowSyntaxError if the text can't be parsed, WorkflowInvalidError if what it says is invalid; the
    exception's `problems` lists everything that is wrong.
    """
    workflow, problems = check_workflow(text, file, further, opener)
    if workflow is None:
        raise_problems(problems)
    return workflow


def check_workflow(
    text: str | bytes,
    file: str = "<text>",
    further: Callable[[Workflow], Iterable[Problem]] | None = None,
    opener: Opener | None = None,
) -> tuple[Workflow | None, list[Problem]]:
    """Return the workflow and no problems, or None and every problem, in the order of the files.

    `further` is asked what else is wrong with a workflow that is valid by itself; `opener` opens further files.
    """
    with _collector_paused():
        return _checked(text, file, further, opener)


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Look for no cycles meanwhile: nodes have none, and each search through a large tree takes longer than the last.

    What is read is bounded, and so is what piles up.
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


def _checked(
    text: str | bytes,
    file: str,
    further: Callable[[Workflow], Iterable[Problem]] | None,
    opener: Opener | None,
) -> tuple[Workflow | None, list[Problem]]:
    problems = Problems()
    root = read_tree(text, file, problems)
    reading = Reading(file, problems, Opening(file, opener))
    body = None if root is None else _body(reading, root)
    workflow = None
    if body is not None:
        whole = whole_of(reading, body)
        body = body if whole is None else whole.body
        workflow = read_workflow(reading, body, whole)
        if not _too_many_tasks(reading, body):
            _validate(reading, body, workflow, whole)
        if further is not None and not len(problems):
            _note(reading, body, further(workflow), whole)
    if workflow is not None and not len(problems):
        return workflow, []
    return None, sorted(problems.listed(), key=lambda problem: (problem.rule == "more", reading.rank(problem.file)))


def _body(reading: Reading, root: Node) -> Mapping | None:
    """Return the mapping with the workflow's fields: the root, or what stands under `workflow:`."""
    if type(root) is not Mapping:
        reading.wrong_type("a mapping of fields", root, (), "begin with name: … and tasks: …")
        return None
    inner = root.get("workflow")
    if inner is None:
        return root
    if type(inner) is not Mapping:
        reading.wrong_type("a mapping of fields", inner, ("workflow",))
        return None
    for name, (key, _) in root.entries.items():
        if name != "workflow":
            message = f'{quoted(name)} stands beside "workflow"'
            hint = "move it under workflow" if name in WORKFLOW.by_name else "only workflow may stand here"
            reading.note("unknown-field", message, key, (name,), hint)
    return inner


def read_workflow(reading: Reading, body: Mapping, whole: Whole | None = None) -> Workflow:
    """Return the workflow that a mapping of fields says, not yet validated; what can't be read is noted."""
    values = read_block(reading, body, (), WORKFLOW)
    if "name" not in values and ("name",) not in reading.excused:
        reading.note("missing-field", "the workflow has no name", body, ("name",), 'write name: "…"')
    if "name" not in values:
        reading.excused.add(("name",))
    _move_description(reading, body, values)
    agents = _agents(reading, values.pop("agents", None))
    tasks = _tasks(reading, values.pop("tasks", None), agents, whole)
    config = _config(reading, body, values)
    return Workflow(name=values.pop("name", "unnamed"), agents=agents, tasks=tasks, config=config, **values)


def _move_description(reading: Reading, body: Mapping, values: dict[str, Any]) -> None:
    description = values.pop("description", None)
    if description is None:
        return
    metadata = values.setdefault("metadata", {})
    if metadata.setdefault("description", description) != description:
        message = 'the workflow says the same twice: "description" and "metadata.description"'
        reading.note("given-twice", message, body.entries["description"][0], ("description",), "keep one of the two")


def _config(reading: Reading, body: Mapping, values: dict[str, Any]) -> WorkflowConfig:
    said = values.pop("config", {})
    for attribute in _OF_CONFIG:
        if attribute not in values:
            if (attribute,) in reading.excused:
                reading.excused.add(("config", attribute))
            continue
        value = values.pop(attribute)
        if attribute in said:
            name = next(name for name in WRITTEN_AS[attribute] if name in body.entries)
            message = f'the workflow says the same twice: "{name}" and "config.{attribute}"'
            reading.note("given-twice", message, body.entries[name][0], (name,), "keep one of the two")
        said[attribute] = value
    return WorkflowConfig(**said)


def _agents(reading: Reading, node: Node | None) -> dict[str, AgentGroup]:
    if node is None:
        return {}
    if type(node) is not Mapping:
        reading.wrong_type("a mapping of roles", node, ("agents",), "write agents: {ROLE: {type: …}}")
        reading.excused.add(("agents",))
        return {}
    groups = {}
    for role, (_, block) in node.entries.items():
        values = read_block(reading, block, ("agents", role), AGENT)
        values.setdefault("type", "")
        groups[role] = AgentGroup(name=role, **values)
    return groups


def _tasks(reading: Reading, node: Node | None, agents: dict[str, AgentGroup], whole: Whole | None) -> tuple[Task, ...]:
    if node is None:
        return ()
    if whole is not None and type(node) is Sequence:
        if len(whole.entries) > MAX_TASKS:
            return ()
        read = (
            read_task(reading, entry.node, ("tasks", at), agents, entry.key, entry.document.defaults)
            for at, entry in enumerate(whole.entries)
        )
        return whole.with_prefixes(tuple(read))
    if type(node) is Mapping:
        if len(node.entries) > MAX_TASKS:
            return ()
        return tuple(
            read_task(reading, block, ("tasks", at), agents, key)
            for at, (key, block) in enumerate(node.entries.values())
        )
    if type(node) is Sequence:
        if len(node.items) > MAX_TASKS:
            return ()
        return tuple(read_task(reading, block, ("tasks", at), agents) for at, block in enumerate(node.items))
    reading.wrong_type("a list of tasks", node, ("tasks",), "write tasks: [{id: …, agent: …}]")
    reading.excused.add(("tasks",))
    return ()


def _too_many_tasks(reading: Reading, body: Mapping) -> bool:
    node = body.get("tasks")
    count = len(node.entries) if type(node) is Mapping else len(node.items) if type(node) is Sequence else 0
    if node is None or count <= MAX_TASKS:
        return False
    reading.note("too-many-tasks", f"there are {count:,} tasks; at most {MAX_TASKS:,} are allowed", node, ("tasks",))
    return True


def read_task(
    reading: Reading,
    node: Node,
    path: Path,
    agents: dict[str, AgentGroup] | None,
    key: Scalar | None = None,
    defaults: dict[str, Any] = {},  # noqa: B006 - only read
) -> Task:
    """Return the task that a block describes; without `agents`, its agent stays as it is written.

    `key` is its id where tasks are a mapping, `defaults` are what it gets that it doesn't say.
    """
    values = read_block(reading, node, path, TASK)
    if defaults:
        with_defaults(reading, path, values, defaults)
    if type(node) is Scalar and key is None and node.value is None:
        reading.wrong_type("a mapping of fields", node, path)
        reading.excused.update((*path, field.target) for field in TASK.fields)
    _name_task(reading, node, path, values, key)
    if agents is not None:
        resolve_agent(values, agents)
        resolve_compensation(values, agents)
    _resolve_retry(reading, node, path, values)
    if "workflow" in values:
        values["workflow"] = _child(reading, node, values["workflow"], (*path, "workflow"))
    if (*path, "workflow") in reading.excused:
        values["type"], values["workflow"] = TaskType.WORKFLOW, None
    return Task(**values)


def _child(reading: Reading, task: Node, said: Node, path: Path) -> Workflow | None:
    """Return the workflow that a task is, which may stand in a file of its own; None if that can't be had."""
    inner = reading.inside()
    body = said if isinstance(said, Mapping) else _child_in_a_file(inner, said, path)
    if body is None:
        reading.excused.add(path)
        return None
    whole = reading.wholes.get(id(body)) or whole_of(inner, body)
    if whole is not None:
        body = whole.body
        reading.wholes[id(body)] = whole
    if isinstance(task, Mapping):  # what is found wrong later has its place there
        task.entries["workflow"] = (task.entries["workflow"][0], body)
    workflow = read_workflow(inner, body, whole)
    if _too_many_tasks(inner, body):
        inner.excused.add(("tasks",))
    reading.excused.update((*path, *excused) for excused in inner.excused)
    if not isinstance(said, Mapping) and workflow.schedule is not None:
        return replace(workflow, schedule=None)  # that is said of the file when it is started by itself
    return workflow


def _child_in_a_file(inner: Reading, said: Node, path: Path) -> Mapping | None:
    opening = inner.opening or Opening(inner.file, None)
    tree = opening.tree(inner, said, path, str(plain_value(said)), CHILD)
    return None if tree is None else _body(inner, tree)


def _name_task(reading: Reading, node: Node, path: Path, values: dict[str, Any], key: Scalar | None) -> None:
    if key is not None:
        if values.setdefault("id", key.text) != key.text:
            message = f"{shown_path(path)}: the id {quoted(values['id'])} differs from its key {quoted(key.text)}"
            reading.note("given-twice", message, key, (*path, "id"), "leave the id out")
        return
    if "id" in values:
        return
    if (*path, "id") not in reading.excused:
        reading.note("missing-field", f"{shown_path(path)} has no id", node, (*path, "id"), 'write id: "…"')
    reading.excused.add((*path, "id"))
    values["id"] = shown_path(path)  # no task can be called so: nothing depends on it by chance


def resolve_agent(values: dict[str, Any], agents: dict[str, AgentGroup]) -> None:
    """Tell a role from an agent type: what isn't declared as a role is a type, if it can be one."""
    name = values.get("agent")
    if name is None:
        return
    group = agents.get(name)
    if group is not None:
        values.setdefault("agent_type", group.type)
    elif "agent_type" not in values and (not agents or any(group.type == name for group in agents.values())):
        values["agent_type"] = values.pop("agent")


def resolve_compensation(values: dict[str, Any], agents: dict[str, AgentGroup]) -> None:
    """Tell a role from an agent type in what undoes a task."""
    undo = values.get("compensation")
    if undo is None or not undo.agent:
        return
    called = {"agent": undo.agent} | ({"agent_type": undo.agent_type} if undo.agent_type else {})
    resolve_agent(called, agents)
    values["compensation"] = replace(undo, agent=called.get("agent", ""), agent_type=called.get("agent_type", ""))


def _resolve_retry(reading: Reading, node: Node, path: Path, values: dict[str, Any]) -> None:
    """A `retry` block wins over a policy's name, that over `retries`; a block may fill itself up from the others."""
    policy = NAMED_RETRY_POLICIES.get(values.pop("retry_policy", ""))
    block = values.pop("retry", None)
    block = None if block is None else dict(block)  # the defaults' one is every task's
    if block is None:
        if policy is not None:
            values["retry"] = policy
        return
    if "max_attempts" not in block and policy is None:
        if "retries" in values:
            block["max_attempts"] = values["retries"] + 1
        elif (*path, "retry", "max_attempts") not in reading.excused:
            message = f"{shown_path((*path, 'retry'))} has no max_attempts, so nothing would be tried again"
            at = node.get("retry") if type(node) is Mapping else None
            reading.note("missing-field", message, at or node, (*path, "retry"), "write max_attempts: 3")
    base = {name: getattr(policy, name) for name in RetryPolicy.__struct_fields__} if policy is not None else {}
    values["retry"] = RetryPolicy(**{**base, **block})


# --- places ----------------------------------------------------------------------------------------------------------


def _validate(reading: Reading, body: Mapping, workflow: Workflow, whole: Whole | None = None) -> None:
    found = Problems(reading.excused)
    rule_problems(workflow, found)
    reading.problems.left_out += found.left_out
    _note(reading, body, found.noted(), whole)


def _note(reading: Reading, body: Mapping, found: Iterable[Problem], whole: Whole | None) -> None:
    said: set[tuple[str, int]] = set()
    for problem in found:
        inside, path = _innermost(body, problem.path)
        of = whole if inside is body else reading.wholes.get(id(inside))
        node = _node_at(inside, path)
        if of is not None and node is _node_at(inside, path[:2]):
            defaults = of.defaults_at(path)
            if isinstance(defaults, Mapping):  # what is wrong with them is said once, not for each task
                node = _node_at(defaults, path[2:])
                if (problem.rule, id(node)) in said:
                    continue
                said.add((problem.rule, id(node)))
        reading.note(problem.rule, problem.message, node, problem.path, problem.hint, problem.certain)


def _innermost(body: Mapping, path: Path) -> tuple[Mapping, Path]:
    """Return the innermost of the workflows inside each other that a path leads into, and the path from there on."""
    while len(path) > 3 and path[0] == "tasks" and path[2] == "workflow":
        child = _node_at(body, path[:3])
        if not isinstance(child, Mapping) or child is _node_at(body, path[:2]):
            break
        body, path = child, path[3:]
    return body, path


def _node_at(body: Mapping, path: Path) -> Node:
    """Return the node that a path of the model stands for, or the nearest one around it."""
    node: Node = body
    for part in path:
        found: Node | None = None
        if type(node) is Sequence and isinstance(part, int) and part < len(node.items):
            found = node.items[part]
        elif type(node) is Mapping and isinstance(part, int):
            found = next((value for _, value in islice(node.entries.values(), part, None)), None)
        elif type(node) is Mapping and isinstance(part, str):
            names = (part, *WRITTEN_AS.get(part, ()))
            found = next((value for name in names if (value := node.get(name)) is not None), None)
        if found is None and not (node is body and part == "config"):
            break
        node = found if found is not None else node
    return node
