"""The tasks of a trace and who comes before whom, of both layouts.

Up to schema 1.4 there is one list of tasks, which refer to each other by name; from 1.5 on a specification and an
execution are joined by ids. `parents` and `children` may each say all, a part or nothing. A name that several tasks
have means those of them that share a file with the task that names them, else all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Final

from podium.workflow.graph import DependencyGraph, shown_cycle
from podium.workflow.validation import MAX_EDGES, MAX_TASKS
from podium.workflow.wfformat.places import Place, shown
from podium.workflow.wfformat.records import files_of_task

_LONGEST_CYCLE_NAME: Final = 80


class Found:
    """A task's places: what it is, and what was recorded of it; the same up to schema 1.4."""

    def __init__(self, place: Place, record: Place | None, task_id: str, name: str) -> None:
        self.place = place
        self.record = record
        self.id = task_id
        self.name = name
        self.known_as = task_id

    @cached_property
    def files(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The names of what it reads and of what it writes."""
        return files_of_task(self.place)


def listed(body: Place) -> list[Found]:
    """Return the tasks of a trace up to schema 1.4: `name` is what others call it, `id` may be missing."""
    key = "tasks" if "tasks" in body.value or "jobs" not in body.value else "jobs"
    body.needed(key, "a list of tasks")
    read = []
    for place in body.items(key):
        if not isinstance(place.value, dict):
            place.expected("an object")
            continue
        name_at, id_at = place.first("name", "id"), place.first("id", "name")
        name = name_at.text() if name_at is not None else None
        task_id = id_at.text() if id_at is not None else None
        if name_at is None:
            place.note("name is missing: expected a text")
        if name is not None:
            read.append(Found(place, place, task_id or name, name))
    named = Counter(one.name for one in read)
    for one in read:
        one.known_as = one.name if named[one.name] == 1 or one.id == one.name else f"{one.name}_{one.id}"
    return read


def specified(body: Place) -> list[Found]:
    """Return the tasks of a trace from schema 1.5 on, each with what the execution says of it."""
    specification = body.part("specification")
    assert specification is not None
    specification.needed("tasks", "a list of tasks")
    records = _records(body.part("execution"))
    read: dict[str, Found] = {}
    for place in specification.items("tasks"):
        id_at = place.needed("id", "a text")
        task_id = id_at.text() if id_at is not None else None
        if task_id is None or id_at is None:
            continue
        if task_id in read:
            id_at.note(f"the id {shown(task_id)} is that of {read[task_id].place} already")
            continue
        name_at = place.part("name")
        name = name_at.text() if name_at is not None else task_id
        read[task_id] = Found(place, records.pop(task_id, None), task_id, name or task_id)
    for left in records.values():
        left.note(f"the specification has no task {shown(left.value['id'])}")
    return list(read.values())


def _records(execution: Place | None) -> dict[str, Place]:
    """Return what was recorded of each task, by its id; a trace that was never run has nothing."""
    records: dict[str, Place] = {}
    for place in execution.items("tasks") if execution is not None else ():
        id_at = place.needed("id", "a text")
        task_id = id_at.text() if id_at is not None else None
        if task_id is None or id_at is None:
            continue
        if task_id in records:
            id_at.note(f"the task {shown(task_id)} is recorded at {records[task_id]} already")
        else:
            records[task_id] = place
    return records


def check_size(body: Place, read: Sequence[Found]) -> None:
    """Note that there are too many tasks, or none."""
    if len(read) > MAX_TASKS:
        body.note(f"there are {len(read):,} tasks; at most {MAX_TASKS:,} are allowed")
    elif not read:
        body.note("there are no tasks")


# --- dependencies -----------------------------------------------------------------------------------------------------


class _Names:
    """Finds tasks by what others call them: ids first from schema 1.5 on, names first before."""

    def __init__(self, read: Sequence[Found], *, by_id: bool) -> None:
        names: dict[str, list[int]] = {}
        ids: dict[str, list[int]] = {}
        for at, one in enumerate(read):
            names.setdefault(one.name, []).append(at)
            ids.setdefault(one.id, []).append(at)
        self._read = read
        self._ways = (ids, names) if by_id else (names, ids)

    def parents(self, at: int) -> Iterator[int]:
        """Yield the tasks that a task names as its parents; a reference to none is noted."""
        for place in self._read[at].place.items("parents"):
            yield from self._meant(place, at, self._writers, self._read[at].files[0])

    def children(self, at: int) -> Iterator[int]:
        """Yield the tasks that a task names as its children."""
        for place in self._read[at].place.items("children"):
            yield from self._meant(place, at, self._readers, self._read[at].files[1])

    def _meant(self, place: Place, at: int, users: Mapping[str, Sequence[int]], files: Sequence[str]) -> Sequence[int]:
        """Return what a reference means: one task, or of several with the name those that use one of the files."""
        reference = place.text()
        if reference is None:
            return ()
        found = [way[reference] for way in self._ways if reference in way]
        if not found:
            place.note(f"there is no task {shown(reference)}")
            return ()
        alone = next((positions for positions in found if len(positions) == 1), None)
        if alone is not None:
            return alone
        using = {user for file in files for user in users.get(file, ())}
        called = [
            user for user in sorted(using) if user != at and reference in (self._read[user].name, self._read[user].id)
        ]
        return called or [position for position in found[0] if position != at]

    @cached_property
    def _readers(self) -> dict[str, list[int]]:
        return self._users(0)

    @cached_property
    def _writers(self) -> dict[str, list[int]]:
        return self._users(1)

    def _users(self, way: int) -> dict[str, list[int]]:
        users: dict[str, list[int]] = {}
        for at, one in enumerate(self._read):
            for file in one.files[way]:
                users.setdefault(file, []).append(at)
        return users


def parents_of(read: Sequence[Found], *, by_id: bool) -> list[list[int]]:
    """Return the parents of each task: those that it names, and those that name it as a child."""
    names = _Names(read, by_id=by_id)
    found: list[dict[int, None]] = [{} for _ in read]
    for at in range(len(read)):
        found[at].update(dict.fromkeys(names.parents(at)))
        for child in names.children(at):
            found[child][at] = None
    edges = sum(len(parents) for parents in found)
    if edges > MAX_EDGES and read:
        read[0].place.note(f"there are {edges:,} dependencies; at most {MAX_EDGES:,} are allowed")
    return [list(parents) for parents in found]


def check_acyclic(read: Sequence[Found], parents: Sequence[Sequence[int]]) -> None:
    """Note a circle of dependencies, at the first of its tasks."""
    graph = DependencyGraph(
        [str(at) for at in range(len(read))],
        {str(at): [str(parent) for parent in own] for at, own in enumerate(parents)},
    )
    cycle = graph.cycle()
    if cycle is not None:
        named = [_cut(read[int(at)].known_as) for at in cycle]
        read[int(cycle[0])].place.note(f"the tasks depend on each other in a circle: {shown_cycle(named)}")


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST_CYCLE_NAME else f"{text[: _LONGEST_CYCLE_NAME - 1]}…"
