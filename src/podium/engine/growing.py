"""Whether a result may grow the graph as it wants to: names, limits, cycles, references, what has begun already.

Pure, and judged on the state before the result counts. What is refused is refused whole, with the words of `validate`.
The cost is that of what is added and of what comes behind it, not that of the whole graph.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgspec

from podium.engine.bounds import compiled_bounds, key_templates
from podium.engine.definition import CompiledTask, Definition, Outside
from podium.engine.events import GraphGrown
from podium.engine.grown import GrownDefinition
from podium.engine.inputs import Growth, Succeeded
from podium.engine.state import State, TaskState
from podium.exceptions import ExpressionError
from podium.workflow.expressions import Reference, compile_condition, compile_template
from podium.workflow.expressions.renaming import renamed_condition, renamed_template
from podium.workflow.model import FailureAction, OnFailure, Task, TaskStatus, Workflow
from podium.workflow.problems import Problem, Problems, did_you_mean, quoted
from podium.workflow.validation import MAX_EDGES, MAX_TASKS, rule_problems

MAX_ADDED: Final = 1_000  # tasks of one result; more of the same is a fan-out
MAX_TEXTS: Final = 10_000  # of one result: conditions, and texts with `${…}` in them; so many stay compiled at once
MAX_DEPTH: Final = 1_000  # tasks that were added by tasks that were added …
MUCH: Final = 200  # texts to compile: some 20 ms
_SHOWN: Final = 10  # problems

Edges = dict[str, tuple[str, ...]]
Reads = list[list[Reference]]
"""What each of the added tasks reads."""


class GrowthRefused(Exception):
    """The graph can't grow so; the text says why."""


def growth_of(state: State, task: TaskState, number: int, growth: Growth) -> list[GraphGrown]:
    """Return the event by which an attempt's result grows the graph; none if it adds nothing.

    Raises GrowthRefused.
    """
    if not task.compiled.spec.grows:
        raise GrowthRefused(f"task {quoted(task.path)} may not add tasks; write grows: true in its definition")
    if growth.unreadable:
        raise GrowthRefused(growth.unreadable)
    definition = state.definition
    if len(growth.tasks) <= MAX_ADDED:  # else that is what is said of it
        _check_limit("texts with ${…} added by one result", _texts_in(growth), MAX_TEXTS)
    tasks, edges = _with_own_names(task, growth)
    tasks, edges = _merged(definition, tasks, edges)
    tasks = tuple(_with_agent(definition, each) for each in tasks)
    _check_limits(definition, task, tasks, edges)
    tasks = _new_ones(definition, task, tasks)
    reads = [_references(each) for each in tasks]
    _check_names(definition, tasks, edges, reads)
    for name in edges:
        _check_waits_still(state, name)
    _check_rules(definition, tasks, edges, reads)
    return [GraphGrown(task.path, number, tasks, edges)] if tasks or edges else []


def may_grow(state: State, given: Succeeded) -> bool:
    """Whether a result that adds something counts, and is one of a task that may: else it costs nothing to say so."""
    task = state.tasks.get(given.task)
    return task is not None and not task.final and given.number in (task.live or ()) and task.compiled.spec.grows


def has_much_to_compile(growth: Growth) -> bool:
    """Whether deciding about a growth would take long for its texts alone; for what is too large it doesn't."""
    return len(growth.tasks) <= MAX_ADDED and MUCH < _texts_in(growth) <= MAX_TEXTS


def _texts_in(growth: Growth) -> int:
    """Return how many texts of a growth must be compiled: conditions, and texts with `${…}` in them."""
    count = 0
    for task in growth.tasks:
        count += sum(text is not None for text in (task.when, task.accept, task.for_each))
        todo: list[Any] = [task.payload]
        while todo:
            part = todo.pop()
            if isinstance(part, str):
                count += "${" in part
            elif isinstance(part, (dict, list)):
                todo += part.values() if isinstance(part, dict) else part
    return count


def compile_texts(task: TaskState, growth: Growth) -> None:
    """Compile what a task's result adds, so that deciding about it finds it compiled. Threads may do it."""
    try:
        tasks, _ = _with_own_names(task, growth)
    except GrowthRefused:
        return
    for each in tasks:
        _references(each)


def texts_wanted(state: State, given: Succeeded) -> list[str]:
    """Return the blobs that deciding about what a result adds reads and that aren't at hand: to be had before that.

    What can't grow the graph anyhow is refused, or too late, without having been read.
    """
    growth = given.growth
    if growth is None or not may_grow(state, given):
        return []
    names: dict[str, None] = {}
    for added in growth.tasks:
        names |= dict.fromkeys(_read_to_decide(added, growth.dependencies.get(added.id, ()), state.definition.workflow))
    for name, more in growth.dependencies.items():
        if name in state.tasks and state.tasks[name].compiled.takes_all:
            names |= dict.fromkeys(more)
    values = [state.input] if "" in names else []
    known = state.definition.with_fallbacks(name for name in names if name in state.tasks)
    for name in known:
        task = state.tasks[name]
        begun = range(task.fan.begun if task.fan is not None else 0)
        ends = [task, *(state.tasks[f"{name}[{index}]"] for index in begun)]
        values += [each.result for each in ends if each.result is not None]
    return list(dict.fromkeys(v.blob for v in values if v.blob is not None and v.blob not in state.loaded))


# --- what names mean -------------------------------------------------------------------------------------------------


def _with_own_names(task: TaskState, growth: Growth) -> tuple[tuple[Task, ...], Edges]:
    """Give what an instance adds names of its own: `plan[3]` calls its `draft` `plan.3.draft`."""
    if task.parent is None:
        return growth.tasks, growth.dependencies
    names = {each.id: f"{task.parent.path}.{task.index}.{each.id}" for each in growth.tasks}
    edges = {
        names.get(name, name): tuple(names.get(one, one) for one in more) for name, more in growth.dependencies.items()
    }
    return tuple(_renamed(each, names) for each in growth.tasks), edges


def _renamed(task: Task, names: dict[str, str]) -> Task:
    fallback = task.on_failure.task
    changes: dict[str, Any] = {
        "id": names[task.id],
        "function": task.function or task.id,
        "dependencies": tuple(names.get(one, one) for one in task.dependencies),
    }
    if task.name == task.id:
        changes["name"] = names[task.id]
    if fallback in names:
        changes["on_failure"] = OnFailure(task.on_failure.action, names[fallback])
    try:
        changes["payload"] = renamed_template(task.payload, names)
        changes["when"] = renamed_condition(task.when, names) if task.when is not None else None
        changes |= _renamed_outside(task, names)
        listed = isinstance(task.for_each, list)
        changes["for_each"] = (
            renamed_template(task.for_each, names)
            if listed or task.for_each is None
            else renamed_condition(str(task.for_each), names)
        )
    except ExpressionError as error:
        raise GrowthRefused(f"task {quoted(task.id)}: {error}") from None
    return msgspec.structs.replace(task, **changes)


def _renamed_outside(task: Task, names: dict[str, str]) -> dict[str, Any]:
    """Return what a task waits for outside, by the names that the others have from now on."""
    said = {name: getattr(task, name) for name in ("wait_for", "until", "execution", "assignee")}
    changes = {name: renamed_template(text, names) for name, text in said.items() if isinstance(text, str)}
    if task.accept is not None:
        changes["accept"] = renamed_condition(task.accept, names)
    if task.escalation is not None:
        changes["escalation"] = msgspec.structs.replace(task.escalation, to=renamed_template(task.escalation.to, names))
    return changes


def _merged(definition: Definition, tasks: tuple[Task, ...], edges: Edges) -> tuple[tuple[Task, ...], Edges]:
    """Return the tasks with what `dependencies` says of them, and what it says of tasks that were there before."""
    added = {task.id for task in tasks}
    whole = tuple(_waiting_for(task, edges[task.id]) if task.id in edges else task for task in tasks)
    others: Edges = {}
    for name, more in edges.items():
        if name in added:
            continue
        known = definition.tasks[name].spec.dependencies if name in definition.tasks else ()
        new = tuple(dict.fromkeys(one for one in more if one not in known))
        if new or not known:
            others[name] = new
    return whole, {name: more for name, more in others.items() if more}


def _waiting_for(task: Task, more: tuple[str, ...]) -> Task:
    missing = tuple(dict.fromkeys(one for one in more if one not in task.dependencies))
    return msgspec.structs.replace(task, dependencies=(*task.dependencies, *missing))


def _with_agent(definition: Definition, task: Task) -> Task:
    """Tell a role from a type, as the YAML reader does, and see to it that the execution has such agents."""
    workflow, types = definition.workflow, definition.agent_types
    foreign = [] if task.workflow is None else sorted(set(task.workflow.agent_counts()) - types)
    if foreign:
        raise GrowthRefused(f"task {quoted(task.id)}: the execution has no agent {quoted(foreign[0])} for its workflow")
    agent, agent_type = task.agent, task.agent_type
    if agent in workflow.agents:
        agent_type = agent_type or workflow.agents[agent].type
    elif agent and not agent_type and agent in types:
        agent, agent_type = "", agent
    if not agent and not agent_type and not task.needs_agent:
        return task
    wrong = agent if agent and agent not in workflow.agents else agent_type if agent_type not in types else ""
    if wrong:
        known = [*workflow.agents, *types]
        hint = did_you_mean(wrong, known) or f"it has {', '.join(sorted(set(known))[:_SHOWN])}"
        raise GrowthRefused(f"task {quoted(task.id)}: the workflow has no agent {quoted(wrong)}; {hint}")
    if not agent and not agent_type:
        raise GrowthRefused(f"task {quoted(task.id)} has no agent; write agent: a role of the workflow, or a type")
    return msgspec.structs.replace(task, agent=agent, agent_type=agent_type)


# --- what is allowed -------------------------------------------------------------------------------------------------


def _check_limits(definition: Definition, task: TaskState, tasks: tuple[Task, ...], edges: Edges) -> None:
    depths = definition.depths if isinstance(definition, GrownDefinition) else {}
    before = (
        definition.edges
        if isinstance(definition, GrownDefinition)
        else sum(len(each.dependencies) for each in definition.workflow.tasks)
    )
    more = sum(len(each.dependencies) for each in tasks) + sum(map(len, edges.values()))
    for what, count, most in (
        ("tasks added by one result", len(tasks), MAX_ADDED),
        ("tasks in the execution", len(definition.tasks) + len(tasks), MAX_TASKS),
        ("dependencies in the execution", before + more, MAX_EDGES),
        ("growths, each by a task of the one before", depths.get(task.compiled.id, 0) + 1, MAX_DEPTH),
    ):
        _check_limit(what, count, most)


def _check_limit(what: str, count: int, most: int) -> None:
    if count > most:
        raise GrowthRefused(f"there would be {count:,} {what}; at most {most:,} are allowed")


def _new_ones(definition: Definition, task: TaskState, tasks: tuple[Task, ...]) -> tuple[Task, ...]:
    """Leave out what the same task has added before, should it run once more and say the same."""
    added, said = (definition.added, definition.said) if isinstance(definition, GrownDefinition) else ({}, {})
    new = []
    for each in tasks:
        known = definition.tasks.get(each.id)
        if known is None:
            new.append(each)
        elif added.get(each.id) != task.path or said[each.id] != each:
            raise GrowthRefused(f"there is a task {quoted(each.id)} already; give the added one another id")
    return tuple(new)


def _check_names(definition: Definition, tasks: tuple[Task, ...], edges: Edges, reads: Reads) -> None:
    """Hold names of tasks against all that there are; the rules below see only a part of the graph."""
    added = {task.id: task for task in tasks}
    known = definition.tasks

    def check(name: str, sentence: str) -> None:
        if name not in added and name not in known:
            hint = did_you_mean(name, [*added, *known])
            raise GrowthRefused(f"{sentence}, which is no task{f'; {hint}' if hint else ''}")

    for task, references in zip(tasks, reads, strict=True):
        what = f"task {quoted(task.id)}"
        if task.cache is not None or task.compensation is not None:
            raise GrowthRefused(
                f"{what} has a {'cache' if task.cache else 'compensation'}, which only the file's tasks have"
            )
        for name in task.dependencies:
            check(name, f"{what} depends on {quoted(name)}")
            if name in known and known[name].undoes:
                raise GrowthRefused(f"{what} depends on {quoted(name)}, which only compensates {known[name].undoes}")
        for reference in references:
            if reference.root == "secret":
                hint = "a role's env may have it"
                raise GrowthRefused(f"{what} asks for {reference}, which only the file's tasks may; {hint}")
            if reference.root == "tasks" and reference.path:
                check(str(reference.path[0]), f"{what} reads {reference}, of {quoted(reference.path[0])}")
        fallback = task.on_failure.task if task.on_failure.action is FailureAction.FALLBACK else None
        if fallback:
            check(fallback, f"{what} falls back to {quoted(fallback)}")
            if fallback not in added:
                raise GrowthRefused(f"{what} falls back to {quoted(fallback)}, which isn't added together with it")
    for name, more in edges.items():
        check(name, f"dependencies has {quoted(name)}")
        for one in more:
            check(one, f"task {quoted(name)} is to depend on {quoted(one)}")


def _check_waits_still(state: State, name: str) -> None:
    task = state.tasks[name]
    if task.status is not TaskStatus.PENDING or task.fan is not None:
        raise GrowthRefused(f"task {quoted(name)} is {task.status} already; nothing can be put before it any more")


def _check_rules(definition: Definition, tasks: tuple[Task, ...], edges: Edges, reads: Reads) -> None:
    """Hold what is added against the rules of any workflow, together with the part of the graph that it touches."""
    if not tasks and not edges:
        return
    before = _before(definition, tasks, edges, reads)
    part = Workflow(
        name="grown",
        agents=definition.workflow.agents,
        inputs=definition.workflow.inputs,
        secrets=definition.workflow.secrets,
        tasks=(*(_bare(definition.tasks[name], before, edges.get(name, ())) for name in before), *tasks),
    )
    problems = Problems()
    rule_problems(part, problems)
    if len(problems):
        raise GrowthRefused(_in_words(problems.listed()))


def _before(definition: Definition, tasks: tuple[Task, ...], edges: Edges, reads: Reads) -> dict[str, None]:
    """Return the tasks there are already that what is added may contradict, in no order that matters."""
    direct = [name for task in tasks for name in task.dependencies if name in definition.tasks]
    direct += [name for more in edges.values() for name in more if name in definition.tasks]
    found = dict.fromkeys(direct)
    read = [
        str(reference.path[0])
        for task, references in zip(tasks, reads, strict=True)
        for reference in references
        if reference.root == "tasks" and reference.path and reference.path[0] not in task.dependencies
    ]
    if any(name in definition.tasks for name in read):  # by way of others, perhaps
        found.update(dict.fromkeys(name for name in read if name in definition.tasks))
        found.update(_reached(definition, found, _earlier))
    found.update(_reached(definition, edges, _later))
    return found


def _reached(definition: Definition, first: Iterable[str], steps: Any) -> dict[str, None]:
    found = dict.fromkeys(first)
    waiting = list(found)
    while waiting:
        for name in steps(definition.tasks[waiting.pop()]):
            if name not in found:
                found[name] = None
                waiting.append(name)
    return found


def _earlier(task: CompiledTask) -> Iterator[str]:
    yield from task.spec.dependencies
    if task.stands_in_for is not None:
        yield task.stands_in_for


def _later(task: CompiledTask) -> Iterator[str]:
    """Yield what waits for a task; who waits for a task waits for its fallback, too."""
    yield from task.dependents
    if task.fallback is not None:
        yield task.fallback
    if task.stands_in_for is not None:
        yield task.stands_in_for


def _bare(task: CompiledTask, known: dict[str, None], more: tuple[str, ...]) -> Task:
    """Return what matters of a task that is there already: what it waits for."""
    return Task(
        id=task.id,
        agent_type="any",
        dependencies=(*(name for name in task.spec.dependencies if name in known), *more),
        on_failure=task.spec.on_failure if task.fallback in known else OnFailure(),
    )


def _in_words(problems: list[Problem]) -> str:
    said = [f"{found.message}{f'; {found.hint}' if found.hint else ''}" for found in problems[:_SHOWN]]
    more = [f"and {len(problems) - _SHOWN} more problems"] if len(problems) > _SHOWN else []
    return " · ".join([*said, *more])


def _read_to_decide(task: Task, more: Iterable[str], workflow: Workflow) -> list[str]:
    """Return the tasks that deciding about an added one reads, and "" for the input, as `CompiledTask.reads` will."""
    found = _references(task, deciding=True)
    try:
        for key in key_templates(compiled_bounds(task, workflow)):
            found += key.references
    except ExpressionError:
        pass
    names = [str(one.path[0]) if one.root == "tasks" and one.path else "" for one in found]
    if task.workflow is not None and task.payload is None:
        names += ["", *task.dependencies, *more]
    return names


def _references(task: Task, deciding: bool = False) -> list[Reference]:
    """Return what a task reads, or only what deciding about it does; what can't be read at all is said elsewhere."""
    found: list[Reference] = []
    try:
        if task.when is not None:
            found += compile_condition(task.when).references
        if isinstance(task.for_each, str):
            found += compile_condition(task.for_each).references
        elif task.for_each is not None:
            found += compile_template(task.for_each).references
        if not task.needs_agent:
            found += [one for one in Outside(task).references if one.root != "signal"]
        if task.payload is not None and (task.workflow is not None or not deciding):  # a child starts with its input
            found += compile_template(task.payload).references
    except ExpressionError:
        pass
    return found
