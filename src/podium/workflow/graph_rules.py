"""The rules of what comes before what: ids, dependencies, cycles, fallbacks.

Works on task indices, so that a duplicate id or an unknown dependency doesn't stop the search for the rest.
"""

from __future__ import annotations

from collections import Counter

from msgspec import Struct

from podium.workflow.graph import shown_cycle
from podium.workflow.model import FailureAction, Workflow
from podium.workflow.problems import Path, Problem, Problems, quoted


class Order(Struct, frozen=True):
    """The tasks by index: `before[i]` are the tasks whose end task i has seen when it starts.

    These are its dependencies, and for a fallback the task that it stands in for. `sequence` is a topological order,
    None where there is a cycle.
    """

    index: dict[str, int]
    before: list[list[int]]
    sequence: list[int] | None


def order_problems(workflow: Workflow, problems: Problems) -> Order:
    """Note what is wrong with ids, dependencies and fallbacks; return the order of the tasks."""
    index = _index(workflow, problems)
    before = _dependencies(workflow, index, problems)
    sequence = _sequence(before)
    if len(sequence) < len(before):
        _note_cycles(workflow, before, sequence, problems)
    primaries = _fallbacks(workflow, index, problems)
    acyclic = len(sequence) == len(before)
    if primaries:
        acyclic = _check_fallback_order(workflow, before, primaries, problems, acyclic) and acyclic
        before = [list(tasks) for tasks in before]
        for fallback, primary in primaries.items():
            before[fallback].append(primary)
        sequence = _sequence(before)
        acyclic = acyclic and len(sequence) == len(before)
    return Order(index=index, before=before, sequence=sequence if acyclic else None)


def _index(workflow: Workflow, problems: Problems) -> dict[str, int]:
    index: dict[str, int] = {}
    for at, task in enumerate(workflow.tasks):
        first = index.setdefault(task.id, at)
        if first != at:
            message = f"two tasks have the id {quoted(task.id)}: tasks[{first}] and tasks[{at}]"
            problems.add(Problem("duplicate-id", message, ("tasks", at, "id")))
    return index


def _dependencies(workflow: Workflow, index: dict[str, int], problems: Problems) -> list[list[int]]:
    before: list[list[int]] = []
    for name in workflow.dependencies:
        if name not in index:
            message = f"dependencies has {quoted(name)}, which is no task"
            problems.add(Problem("unknown-dependency", message, ("dependencies", name), problems.suggest(name, index)))
    for at, task in enumerate(workflow.tasks):
        known: list[int] = []
        for place, name in enumerate(task.dependencies):
            path: Path = ("tasks", at, "dependencies", place)
            found = index.get(name)
            if found is None:
                message = f"task {quoted(task.id)} depends on {quoted(name)}, which is no task"
                problems.add(Problem("unknown-dependency", message, path, problems.suggest(name, index)))
            elif name == task.id:
                problems.add(Problem("self-dependency", f"task {quoted(name)} depends on itself", path))
            else:
                known.append(found)
        if len(set(known)) < len(known):
            twice, _ = Counter(task.dependencies).most_common(1)[0]
            message = f"task {quoted(task.id)} depends on {quoted(twice)} more than once"
            problems.add(Problem("duplicate-dependency", message, ("tasks", at, "dependencies")))
            known = list(dict.fromkeys(known))
        before.append(known)
    return before


def _sequence(before: list[list[int]]) -> list[int]:
    """Return the tasks in topological order (Kahn, 1962); what is in a cycle or behind one is left out."""
    waiting = [len(tasks) for tasks in before]
    after: list[list[int]] = [[] for _ in before]
    for task, tasks in enumerate(before):
        for earlier in tasks:
            after[earlier].append(task)
    sequence = [task for task, count in enumerate(waiting) if not count]
    for task in sequence:  # grows while it is read
        for later in after[task]:
            waiting[later] -= 1
            if not waiting[later]:
                sequence.append(later)
    return sequence


def _cycles(before: list[list[int]], sequence: list[int]) -> list[list[int]]:
    """Return cycles without a common task: each task that isn't in order waits for one such task, so follow that."""
    stuck = set(range(len(before))).difference(sequence)
    seen: dict[int, int] = {}  # the walk in which a task was met
    cycles = []
    for walk, start in enumerate(sorted(stuck)):
        task, trail = start, []
        while task not in seen:
            seen[task] = walk
            trail.append(task)
            task = next(earlier for earlier in before[task] if earlier in stuck)
        if seen[task] == walk:
            cycle = trail[trail.index(task) :]
            cycles.append(cycle[::-1])
    return cycles


def _note_cycles(workflow: Workflow, before: list[list[int]], sequence: list[int], problems: Problems) -> None:
    for cycle in _cycles(before, sequence):
        at = min(cycle)
        turned = [*cycle[cycle.index(at) :], *cycle[: cycle.index(at)], at]
        names = [workflow.tasks[task].id for task in turned]
        message = f"tasks wait for each other: {shown_cycle([quoted(name)[1:-1] for name in names])}"
        problems.add(Problem("cycle", message, ("tasks", at, "dependencies"), "take one of these dependencies out"))


# --- fallbacks -------------------------------------------------------------------------------------------------------


def _fallbacks(workflow: Workflow, index: dict[str, int], problems: Problems) -> dict[int, int]:
    """Return the primary of each fallback; a fallback starts when its primary fails, and nothing else starts it."""
    primaries: dict[int, int] = {}
    for at, task in enumerate(workflow.tasks):
        if task.on_failure.action is not FailureAction.FALLBACK:
            continue
        path: Path = ("tasks", at, "on_failure")
        what, name = f"task {quoted(task.id)}", task.on_failure.task
        fallback = None if name is None else index.get(name)
        if not name:
            problems.add(Problem("missing-field", f"{what}: the fallback names no task", path, "{fallback: TASK}"))
        elif fallback is None:
            message = f"{what} falls back to {quoted(name)}, which is no task"
            problems.add(Problem("unknown-fallback", message, path, problems.suggest(name, index)))
        elif name == task.id:
            problems.add(Problem("fallback-cycle", f"{what} falls back to itself", path, "retry does that"))
        elif fallback in primaries:
            other = quoted(workflow.tasks[primaries[fallback]].id)
            message = f"{what} falls back to {quoted(name)}, which already stands in for {other}"
            problems.add(Problem("fallback-shared", message, path, "give each its own"))
        else:
            primaries[fallback] = at
    return primaries


def _check_fallback_order(
    workflow: Workflow, before: list[list[int]], primaries: dict[int, int], problems: Problems, acyclic: bool
) -> bool:
    """Note fallbacks in a loop, and those that wait for what waits for them; return whether there are none."""
    looped = _note_loops(workflow, primaries, problems)
    sound = True
    chains = _chains(primaries)
    places = {task: (chain[0], place) for chain in chains for place, task in enumerate(chain)}
    for fallback, primary in primaries.items():
        chain, place = places.get(fallback, (-1, 0))
        for earlier in before[fallback]:
            if earlier != primary and (
                earlier not in places or places[earlier][0] != chain or places[earlier][1] > place
            ):
                continue
            sound = False
            task, name = workflow.tasks[fallback], workflow.tasks[earlier].id
            message = f"the fallback {quoted(task.id)} depends on {quoted(name)}, whose failure starts it"
            hint = f"take it out; the fallback can read tasks.{name}.error without it"
            path: Path = ("tasks", fallback, "dependencies", task.dependencies.index(name))
            problems.add(Problem("fallback-depends-on-primary", message, path, hint))
    if looped or not sound or not acyclic:
        return False
    # What waits for a primary may have to wait for its fallback, and that one's: is there still an order?
    last = {task: chain[-1] for chain in chains for task in chain[:-1]}
    with_fallbacks = [
        [*tasks, *(last[earlier] for earlier in tasks if earlier in last and last[earlier] != task)]
        for task, tasks in enumerate(before)
    ]
    for fallback, primary in primaries.items():
        with_fallbacks[fallback].append(primary)
    with_fallbacks = [list(dict.fromkeys(tasks)) for tasks in with_fallbacks]
    cycles = _cycles(with_fallbacks, _sequence(with_fallbacks))
    for cycle in cycles:
        fallback = next(task for task in cycle if task in primaries)
        name = quoted(workflow.tasks[primaries[fallback]].id)
        message = f"the fallback {quoted(workflow.tasks[fallback].id)} waits for tasks that wait for {name}"
        problems.add(Problem("fallback-cycle", message, ("tasks", fallback, "dependencies")))
    return not cycles


def _chains(primaries: dict[int, int]) -> list[list[int]]:
    """Return the chains of tasks each of which falls back to the next; those that go round in a circle are left out."""
    fallbacks = {primary: fallback for fallback, primary in primaries.items()}
    chains = []
    for first in fallbacks:
        if first in primaries:
            continue
        chain = [first]
        while chain[-1] in fallbacks:
            chain.append(fallbacks[chain[-1]])
        chains.append(chain)
    return chains


def _note_loops(workflow: Workflow, primaries: dict[int, int], problems: Problems) -> bool:
    seen: set[int] = set()
    looped = False
    for start in primaries:
        trail: dict[int, None] = {}
        task = start
        while task in primaries and task not in seen:
            seen.add(task)
            trail[task] = None
            task = primaries[task]
        if task in trail:
            looped = True
            message = f"fallbacks go round in a circle, by way of {quoted(workflow.tasks[task].id)}"
            problems.add(Problem("fallback-cycle", message, ("tasks", task, "on_failure")))
    return looped
