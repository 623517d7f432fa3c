"""A whole workflow on its way: a segment with a name, inputs, roles, an output and whatever else a workflow can say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Self

import msgspec

from podium.exceptions import WorkflowInvalidError
from podium.workflow.builder.notation import Unsayable, node_of
from podium.workflow.builder.places import Place, calling_place, placed
from podium.workflow.builder.segment import Segment, segment_of
from podium.workflow.model import AgentGroup, Task, Workflow
from podium.workflow.problems import Problem, Problems, problems_in, quoted, raise_problems
from podium.workflow.validation import validate
from podium.workflow.yaml.dumper import as_written
from podium.workflow.yaml.loader import read_workflow, resolve_agent, resolve_compensation
from podium.workflow.yaml.nodes import Mapping as MappingNode
from podium.workflow.yaml.values import Reading

_OF_FILES: Final = {
    "tasks": "add tasks by task, then, parallel, map, when",
    "include": "call include with a segment or a workflow",
    "defaults": "give each task what it needs, in a function of your own",
}


class WorkflowBuilder(Segment):
    """A workflow on its way: `WorkflowBuilder("report").task(…).then(…).build()`.

    It is a `Segment` and as immutable. Fields of the workflow are those of the language, by the same names: `version`,
    `inputs`, `agents`, `config`, `output`, `metadata` … Raises WorkflowInvalidError for what it can't take.
    """

    __slots__ = ("_said",)

    _said: Mapping[str, Any]

    def __init__(self, name: str, **fields: Any) -> None:
        super().__init__()
        self._set(_said={})
        said = {"name": name, **fields}
        _check_said(said, calling_place())
        self._set(_said=said)

    @classmethod
    def of(cls, workflow: Workflow) -> Self:
        """Return the builder that has made a workflow, or might have: to go on from it."""
        said = as_written(workflow)
        del said["tasks"]
        started = cls(**said)
        return started._with(segment_of(workflow.tasks))

    def with_fields(self, **fields: Any) -> Self:
        """Say more of the workflow itself; what was said under the same name before is replaced."""
        said = {**self._said, **fields}
        _check_said(said, calling_place())
        new = self._copy()
        new._set(_said=said)
        return new

    def input(self, name: str, type: str = "any", **fields: Any) -> Self:
        """Declare an input: its type, and `default`, `required`, `description` where they are wanted."""
        return self.with_fields(inputs={**self._said.get("inputs", {}), name: {"type": type, **fields}})

    def role(self, name: str, type: str, **fields: Any) -> Self:
        """Declare a role that agents of a type fill, with `count`, `capabilities`, `resources` where wanted."""
        return self.with_fields(agents={**self._said.get("agents", {}), name: {"type": type, **fields}})

    def output(self, template: Any) -> Self:
        """Say what an execution gives: any value with `${…}` in its texts."""
        return self.with_fields(output=template)

    def continue_as_new(self, when: str | None = None, input: Any = None) -> Self:
        """Say that an execution goes on as another run when its tasks have ended: when, and with which input."""
        said = {name: value for name, value in (("when", when), ("input", input)) if value is not None}
        return self.with_fields(continue_as_new=said or True)

    def build(self) -> Workflow:
        """Return the workflow. Raises WorkflowInvalidError with everything that is wrong with it as a whole."""
        place = calling_place()
        head = _check_said(self._said, place)
        tasks = tuple(_with_agent(task, head.agents) for task in self._tasks.values())
        whole = msgspec.structs.replace(head, tasks=tasks, dependencies={})
        try:
            return validate(whole)
        except WorkflowInvalidError as error:
            raise_problems(self._placed(problem, tasks, place) for problem in problems_in(error))

    def _placed(self, problem: Problem, tasks: tuple[Task, ...], place: Place) -> Problem:
        """Return a problem with the line where its task was added, or else where the workflow is built."""
        match problem.path:
            case ("tasks", int(at), *_) if at < len(tasks):
                return placed(problem, self._places.get(tasks[at].id, place))
            case _:
                return placed(problem, place)

    def _copy(self) -> Self:
        new = super()._copy()
        new._set(_said=self._said)
        return new

    def _meaning(self) -> tuple[Any, ...]:
        return (self._said, self.tasks)


def _check_said(said: Mapping[str, Any], place: Place) -> Workflow:
    """Return what the fields of a workflow say, without its tasks; raise what can't be read."""
    problems = Problems()
    for name, instead in _OF_FILES.items():
        if name in said:
            problems.add(Problem("unknown-field", f"{quoted(name)} is a word of files", (name,), instead))
            raise_problems(placed(problem, place) for problem in problems.listed())
    try:
        node = node_of(said)
    except Unsayable as error:
        problems.add(Problem("not-json", f"the workflow {quoted(said.get('name'))}: {error}", error.path))
        raise_problems(placed(problem, place) for problem in problems.listed())
    assert isinstance(node, MappingNode)
    head = read_workflow(Reading("", problems), node)
    if len(problems):
        raise_problems(placed(problem, place) for problem in problems.listed())
    return head


def _with_agent(task: Task, agents: dict[str, AgentGroup]) -> Task:
    """Return a task whose agent is known to be a role or a type."""
    if task.compensation is not None:
        undo = {"compensation": task.compensation}
        resolve_compensation(undo, agents)
        task = msgspec.structs.replace(task, **undo)
    if not task.agent:
        return task
    values = {"agent": task.agent} | ({"agent_type": task.agent_type} if task.agent_type else {})
    resolve_agent(values, agents)
    return msgspec.structs.replace(task, agent=values.get("agent", ""), agent_type=values.get("agent_type", ""))
