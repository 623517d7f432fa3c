"""`@podium.workflow`: a Python function that is a workflow."""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Callable, Mapping
from types import FunctionType, UnionType
from typing import Any, Final, Generic, ParamSpec, TypeVar, overload

from podium.workflow.builder import WorkflowBuilder
from podium.workflow.builder.places import Place
from podium.workflow.model import Workflow
from podium.workflow.tracing.recording import Recording
from podium.workflow.tracing.refusals import refuse
from podium.workflow.tracing.stand_ins import standing_in
from podium.workflow.tracing.values import Traced

P = ParamSpec("P")
R = TypeVar("R")

_KINDS: Final[Mapping[object, str]] = {
    str: "string",
    int: "integer",
    float: "number",
    bool: "boolean",
    list: "array",
    tuple: "array",
    dict: "object",
}


class WorkflowFunction(Generic[P, R]):
    """A function that is a workflow: `build` gives the `Workflow`; called, it is the plain function that it was."""

    def __init__(self, function: Callable[P, R], fields: Mapping[str, Any]) -> None:
        if not isinstance(function, FunctionType):
            refuse("traced-function", f"@workflow goes on a function, not on a {type(function).__name__}", "define one")
        self.plain: FunctionType = function
        self.function: Callable[P, R] = function
        self._fields = dict(fields)
        self._built: tuple[Workflow, tuple[Any, ...]] | None = None
        functools.update_wrapper(self, function)

    def __call__(self, *given: P.args, **named: P.kwargs) -> R:
        """Call the function as it is, without a workflow."""
        return self.function(*given, **named)

    def build(self) -> Workflow:
        """Return the workflow; the function is traced at the first call.

        Raises WorkflowInvalidError for what a workflow can't say, with file and line.
        """
        return self._traced()[0]

    @property
    def agents(self) -> tuple[Any, ...]:
        """The agents' classes and functions that the workflow calls, for `agents=` of `podium.run`."""
        return self._traced()[1]

    def __repr__(self) -> str:
        return f"<workflow {self.function.__qualname__}>"

    def _traced(self) -> tuple[Workflow, tuple[Any, ...]]:
        if self._built is None:
            self._built = _trace(self.function, self._fields)
        return self._built


@overload
def workflow(function: Callable[P, R], /) -> WorkflowFunction[P, R]: ...
@overload
def workflow(*, name: str | None = None, **fields: Any) -> Callable[[Callable[P, R]], WorkflowFunction[P, R]]: ...
def workflow(function: Any = None, /, **fields: Any) -> Any:
    """Make a function a workflow: its parameters are the inputs, the calls of agents' functions the tasks.

    `name` is the function's own unless it is given; `fields` are the language's fields of a workflow: `version`,
    `agents`, `config` … Nothing is called before the workflow is built.
    """
    if function is None:
        return lambda decorated: WorkflowFunction(decorated, fields)
    return WorkflowFunction(function, fields)


def _trace(function: Any, fields: Mapping[str, Any]) -> tuple[Workflow, tuple[Any, ...]]:
    said = {"name": function.__name__, "inputs": _inputs(function), **fields}
    if not said["inputs"]:
        del said["inputs"]
    recording = Recording(WorkflowBuilder(**said))
    traced = standing_in(function, recording)
    with recording.at_work():
        try:
            result = traced(**{name: Traced(recording, f"input.{name}") for name in _parameters(function)})
            if inspect.iscoroutine(result):
                result = _awaited(result)
        except RecursionError:
            message = f"{function.__name__} calls itself without an end when it is traced"
            refuse("traced-recursion", message, "write a loop, or have a task grow the graph", _place_of(function))
        builder = recording.builder
        if result is not None and "output" not in fields:
            overs: list[Any] = []
            builder = builder.output(recording.template(result, set(), overs))
            if overs:
                refuse("traced-each", "an item of each(…) is returned", "return the result of the task that got it")
    return builder.build(), tuple(recording.called)


def _awaited(coroutine: Any) -> Any:
    """Return what a coroutine returns that waits for nothing but results of tasks."""
    try:
        coroutine.send(None)
    except StopIteration as ended:
        return ended.value
    coroutine.close()
    return refuse("traced-await", "`await` of something that is no task", "await it in a task")


def _parameters(function: Any) -> dict[str, inspect.Parameter]:
    parameters = dict(inspect.signature(function).parameters)
    for parameter in parameters.values():
        if parameter.kind not in (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY):
            shown = str(parameter).partition(":")[0]
            message = f"the parameter {shown} of {function.__name__}"
            refuse("traced-parameter", message, "inputs have names", _place_of(function))
    return parameters


def _place_of(function: Any) -> Place:
    return Place(function.__code__.co_filename.rpartition("/")[2], function.__code__.co_firstlineno)


def _inputs(function: Any) -> dict[str, dict[str, Any]]:
    """Return the declared inputs: the type by the parameter's hint, the default as it is."""
    try:
        hints = typing.get_type_hints(function)
    except (NameError, AttributeError, TypeError):  # a hint that can't be resolved says nothing about the input
        hints = {}
    declared: dict[str, dict[str, Any]] = {}
    for name, parameter in _parameters(function).items():
        declared[name] = {"type": _kind(hints.get(name))}
        if parameter.default is not inspect.Parameter.empty:
            declared[name]["default"] = parameter.default
    return declared


def _kind(hint: Any) -> str:
    """Return the input type that a hint stands for; `any` where the language has no word for it."""
    if typing.get_origin(hint) in (typing.Union, UnionType):
        others = [one for one in typing.get_args(hint) if one is not type(None)]
        return _kind(others[0]) if len(others) == 1 else "any"
    origin = typing.get_origin(hint) or hint
    if isinstance(origin, type) and hasattr(origin, "__struct_fields__"):
        return "object"
    return _KINDS.get(origin, "any") if isinstance(origin, type) else "any"
