"""A part of a workflow: tasks, what they wait for, and the ends that the next step will wait for.

A segment never changes; each call returns a new one, so that it can be used again, with a prefix, in as many workflows
as one likes. What is wrong with a task by itself is refused where it is added; what takes the whole is refused by
`WorkflowBuilder.build`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NoReturn, Self

import msgspec

from podium.workflow.builder.notation import own_problems, task_of
from podium.workflow.builder.places import Place, calling_place, placed
from podium.workflow.model import RunIf, Task, Workflow
from podium.workflow.problems import Problem, Problems, quoted, raise_problems
from podium.workflow.renaming import renamed_task


class Segment:
    """Tasks of a workflow, in an order. `Segment()` is empty.

    Fields of tasks are those of the language, by the same names: `agent`, `input`, `depends_on`, `timeout="30s"`,
    `retry={…}` or a `RetryPolicy`. Every call raises WorkflowInvalidError for what it can't take, with file and line.
    """

    __slots__ = ("_ends", "_fallbacks", "_places", "_tasks")

    _tasks: Mapping[str, Task]
    _places: Mapping[str, Place]
    _ends: tuple[str, ...]
    _fallbacks: frozenset[str]

    def __init__(self) -> None:
        self._set(_tasks={}, _places={}, _ends=(), _fallbacks=frozenset())

    @property
    def tasks(self) -> tuple[Task, ...]:
        """The tasks, in the order in which they were added."""
        return tuple(self._tasks.values())

    @property
    def ends(self) -> tuple[str, ...]:
        """The ids of the tasks that the next step will wait for: those that nothing here waits for.

        A fallback isn't one: its primary stands for it.
        """
        return tuple(end for end in self._ends if end not in self._fallbacks) if self._fallbacks else self._ends

    def task(self, task: str | Task | Mapping[str, Any], /, **fields: Any) -> Self:
        """Add a task that waits only for what it says itself (`depends_on`)."""
        return self._with(_as_segment(task, fields))

    def then(self, step: str | Task | Mapping[str, Any] | Segment | Workflow, /, **fields: Any) -> Self:
        """Add a task, or a segment, that waits for all ends of what is here."""
        return self._with(_as_segment(step, fields), after=self.ends)

    def parallel(self, *branches: Task | Mapping[str, Any] | Segment | Workflow) -> Self:
        """Add tasks or segments side by side, each after all ends of what is here."""
        return self._with(_side_by_side(branches), after=self.ends)

    def map(self, task: str | Task | Mapping[str, Any], /, over: str | list[Any], **fields: Any) -> Self:
        """Add a task that has an instance for each item of a list, after all ends of what is here.

        `over` is the list or the expression that gives one, `for_each` in YAML; `${item}` and `${index}` are what an
        instance gets. Its result is the list of its instances' results.
        """
        if isinstance(task, (Segment, Workflow)):
            hint = "map one task after the other, or give the work to one task"
            _refuse(Problem("map", "a segment can't be mapped: a list is gone over by one task", ("for_each",), hint))
        return self._with(_as_segment(task, {**fields, "for_each": over}), after=self.ends)

    def when(
        self,
        condition: str,
        step: str | Task | Mapping[str, Any] | Segment | Workflow,
        /,
        otherwise: Task | Mapping[str, Any] | Segment | Workflow | None = None,
        **fields: Any,
    ) -> Self:
        """Add a task, or a segment, that is skipped unless the condition holds, after all ends of what is here.

        `otherwise` is what runs if it doesn't hold. What follows is skipped with what it waits for: a task that goes on
        in either case says `run_if="all_done"`.
        """
        branches = [_under(condition, _as_segment(step, fields))]
        if otherwise is not None:
            branches.append(_under(f"not ({_bare(condition)})", _as_segment(otherwise, {})))
        return self._with(_side_by_side(branches), after=self.ends)

    def include(self, other: Segment | Workflow, /, prefix: str = "") -> Self:
        """Add the tasks of a segment or a workflow after all ends of what is here, with a prefix before their ids."""
        return self._with(_as_segment(other, {}).prefixed(prefix), after=self.ends)

    def prefixed(self, prefix: str) -> Self:
        """Return the same with a prefix before each task's id, and in each reference to one of these tasks.

        The function that a task calls stays the same; so do references to tasks that aren't here.
        """
        if not prefix:
            return self
        ids = {task_id: f"{prefix}{task_id}" for task_id in self._tasks}
        tasks = {ids[task.id]: renamed_task(task, ids) for task in self._tasks.values()}
        places = {ids[task_id]: place for task_id, place in self._places.items()}
        renamed = self._copy()
        renamed._set(
            _tasks=tasks,
            _places=places,
            _ends=tuple(ids[end] for end in self._ends),
            _fallbacks=frozenset(ids.get(fallback, fallback) for fallback in self._fallbacks),
        )
        renamed._check(tasks.values(), Problems())
        return renamed

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other._meaning() == self._meaning()

    def __hash__(self) -> int:
        return hash(tuple(self._tasks))

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {', '.join(self._tasks) or 'empty'}>"

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        raise AttributeError(f"a {type(self).__name__} never changes; each call returns a new one")

    # --- inside ------------------------------------------------------------------------------------------------------

    def _set(self, **slots: Any) -> None:
        for name, value in slots.items():
            object.__setattr__(self, name, value)

    def _copy(self) -> Self:
        new = object.__new__(type(self))
        new._set(_tasks=self._tasks, _places=self._places, _ends=self._ends, _fallbacks=self._fallbacks)
        return new

    def _meaning(self) -> tuple[Any, ...]:
        return (self.tasks,)

    def _with(self, other: Segment, after: Iterable[str] = ()) -> Self:
        """Return this with another's tasks, those of them that wait for nothing there waiting for `after`."""
        problems = Problems()
        for task_id in other._tasks:
            if task_id in self._tasks:
                message, hint = (
                    f"two tasks have the id {quoted(task_id)}",
                    "give one another id, or include with a prefix",
                )
                problems.add(placed(Problem("duplicate-id", message, ("tasks", task_id), hint), calling_place()))
        if len(problems):
            raise_problems(problems.listed())
        before = tuple(after)
        starts = _starts(other)
        added = {
            task.id: _waiting(task, before) if before and task.id in starts else task for task in other._tasks.values()
        }
        awaited = {needed for task in added.values() for needed in task.dependencies}
        ends = [end for end in self._ends if end not in awaited]
        ends += [task_id for task_id in other._ends if task_id not in awaited]
        grown = self._copy()
        grown._set(
            _tasks={**self._tasks, **added},
            _places={**self._places, **other._places},
            _ends=tuple(ends),
            _fallbacks=self._fallbacks | other._fallbacks,
        )
        return grown

    def _check(self, tasks: Iterable[Task], problems: Problems) -> None:
        """Raise what is wrong with tasks by themselves, with the places where they were written."""
        for task in tasks:
            found = Problems()
            own_problems(task, found)
            for problem in found.noted():
                problems.add(placed(problem, self._places.get(task.id, Place())))
        if len(problems):
            raise_problems(problems.listed())


# --- what is given as a step -----------------------------------------------------------------------------------------


def _as_segment(step: Any, fields: Mapping[str, Any]) -> Segment:
    """Return what stands for a step as a segment; refuse fields beside what has its own."""
    if isinstance(step, (Segment, Workflow)) and fields:
        message = f"{', '.join(fields)}: a {type(step).__name__} of several tasks takes no fields"
        _refuse(Problem("unknown-field", message, (), "give them to its tasks"))
    match step:
        case Segment():
            return step
        case Workflow():
            return segment_of(step.tasks)
        case Task():
            known = [name for name in fields if name not in Task.__struct_fields__]
            if known:
                _refuse(Problem("unknown-field", f"a Task has no field {quoted(known[0])}", ("tasks", step.id)))
            return segment_of([msgspec.structs.replace(step, **fields)])
        case str():
            return _of_fields(step, fields)
        case Mapping() if isinstance(step.get("id"), str):
            return _of_fields(step["id"], {**{key: part for key, part in step.items() if key != "id"}, **fields})
        case Mapping():
            return _refuse(Problem("missing-field", "the task has no id", (), 'write {"id": "…"}'))
        case _:
            message = f"a {type(step).__name__} is no step"
            hint = "give an id, a Task, a mapping with an id, or a Segment"
            return _refuse(Problem("wrong-type", message, (), hint))


def _of_fields(task_id: str, fields: Mapping[str, Any]) -> Segment:
    place = calling_place()
    found = Problems()
    task = task_of(task_id, fields, found)
    if len(found):
        raise_problems(placed(problem, place) for problem in found.listed())
    return segment_of([task], place)


def segment_of(tasks: Iterable[Task], place: Place | None = None) -> Segment:
    """Return tasks as a segment, each checked by itself; their ids are unlike."""
    by_id: dict[str, Task] = {}
    place = place or calling_place()
    for task in tasks:
        if task.id in by_id:
            _refuse(Problem("duplicate-id", f"two tasks have the id {quoted(task.id)}", ("tasks", task.id)))
        by_id[task.id] = msgspec.structs.replace(task, dependencies=tuple(task.dependencies))
    awaited = {needed for task in by_id.values() for needed in task.dependencies}
    segment = Segment()
    segment._set(
        _tasks=by_id,
        _places=dict.fromkeys(by_id, place),
        _ends=tuple(task_id for task_id in by_id if task_id not in awaited),
        _fallbacks=frozenset(task.on_failure.task for task in by_id.values() if task.on_failure.task),
    )
    segment._check(by_id.values(), Problems())
    return segment


def _side_by_side(branches: Iterable[Any]) -> Segment:
    whole = Segment()
    for branch in branches:
        whole = whole._with(_as_segment(branch, {}))
    return whole


def _refuse(problem: Problem) -> NoReturn:
    raise_problems([placed(problem, calling_place())])


# --- changes to tasks ------------------------------------------------------------------------------------------------


def _changed(segment: Segment, tasks: Mapping[str, Task]) -> Segment:
    changed = segment._copy()
    changed._set(_tasks={**segment._tasks, **tasks})
    changed._check(tasks.values(), Problems())
    return changed


def _starts(segment: Segment) -> set[str]:
    """Return the tasks that wait for no other one of a segment; a fallback begins when its primary has failed."""
    return {
        task.id
        for task in segment._tasks.values()
        if task.id not in segment._fallbacks and not any(needed in segment._tasks for needed in task.dependencies)
    }


def _waiting(task: Task, more: tuple[str, ...]) -> Task:
    own = set(task.dependencies)
    missing = tuple(needed for needed in more if needed not in own and needed != task.id)
    return msgspec.structs.replace(task, dependencies=(*task.dependencies, *missing))


def _under(condition: str, segment: Segment) -> Segment:
    """Return a segment whose tasks run only if a condition holds: what waits for a skipped task is skipped with it."""
    if not isinstance(condition, str):
        _refuse(Problem("wrong-type", f"a condition is a text, not a {type(condition).__name__}", ("when",)))
    starts = _starts(segment)
    guarded = {
        task.id: msgspec.structs.replace(task, when=_both(condition, task.when))
        for task in segment._tasks.values()
        if task.id in starts or task.run_if is RunIf.ALL_DONE
    }
    return _changed(segment, guarded)


def _both(condition: str, other: str | None) -> str:
    return condition if other is None else f"({_bare(condition)}) and ({_bare(other)})"


def _bare(condition: str) -> str:
    stripped = condition.strip()
    return stripped[2:-1].strip() if stripped.startswith("${") and stripped.endswith("}") else stripped
