"""What an agent is written with: `@agent` for a class, `@task` for its methods or for plain functions, `Context`.

The decorators only describe: a decorated function stays what it was and can be called in a test as it is. What can't
work (an `*args`, two tasks of one name) is refused at the decoration. Nothing here runs a task; the host does.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar, overload

import msgspec
from msgspec import Struct

from podium.agents.context import Context
from podium.exceptions import AgentBindingError
from podium.workflow.model import ResourceRequirements
from podium.workflow.naming import snake_case

if TYPE_CHECKING:
    from podium.agents.arguments import Call

__all__ = ["ANY_FUNCTION", "AgentDefinition", "Context", "Kind", "TaskFunction", "agent", "function_agent", "task"]

ANY_FUNCTION = "*"  # the name of a task that answers to every name the agent has no other task for
CLASS_SLOTS = 1
FUNCTION_SLOTS = 32

_Class = TypeVar("_Class", bound=type)
_Function = TypeVar("_Function", bound=Callable[..., Any])


class Kind(StrEnum):
    """Where a task function runs."""

    ASYNC = "async"  # on the event loop
    SYNC = "sync"  # in a thread
    CPU = "cpu"  # in a process of its own


class Parameter(Struct, frozen=True):
    """One argument that a task function takes; without a default it is required."""

    name: str
    required: bool
    default: Any = None


class TaskFunction(Struct, frozen=True, dict=True):
    """A decorated function: its name for workflows, where it runs and what it takes."""

    name: str
    function: Callable[..., Any]
    kind: Kind
    parameters: tuple[Parameter, ...]
    keywords: str | None  # the name of its **parameter, which takes all other arguments
    is_method: bool
    capabilities: tuple[str, ...] = ()

    @cached_property
    def call(self) -> Call:
        """How arguments become the function's and its result becomes JSON; made from the type hints at first use."""
        from podium.agents.arguments import Call

        return Call(self)

    @property
    def shown(self) -> str:
        """The function as messages name it."""
        return f"{self.function.__module__}.{self.function.__qualname__}"


class AgentDefinition(Struct, frozen=True):
    """What an agent type can do and how an instance of it is made.

    `factory` is the decorated class, or None for an agent of plain functions. `spec` is the text that
    `podium.agents.binding.load_binding` loads the same definition from, empty until it was loaded by one.
    """

    type: str
    factory: Callable[[], Any] | None
    functions: Mapping[str, TaskFunction]
    capabilities: tuple[str, ...] = ()
    slots: int = CLASS_SLOTS
    version: str = "1.0"
    resources: ResourceRequirements = ResourceRequirements()
    spec: str = ""

    def function(self, name: str) -> TaskFunction | None:
        """Return the function of a name, else the one that answers to every name, else None."""
        return self.functions.get(name) or self.functions.get(ANY_FUNCTION)

    @property
    def all_capabilities(self) -> tuple[str, ...]:
        """The agent's own capabilities and those of its functions, each once."""
        of_functions = (name for function in self.functions.values() for name in function.capabilities)
        return tuple(dict.fromkeys((*self.capabilities, *of_functions)))

    @property
    def function_names(self) -> tuple[str, ...]:
        """The names it answers to; empty when it answers to any."""
        return () if ANY_FUNCTION in self.functions else tuple(self.functions)

    def bound(self, type: str, spec: str) -> AgentDefinition:
        """Return the same agent under this type, as loaded from this spec."""
        return msgspec.structs.replace(self, type=type, spec=spec)


@overload
def agent(type: _Class, /) -> _Class: ...
@overload
def agent(
    type: str | None = None,
    *,
    capabilities: Iterable[str] = (),
    slots: int = CLASS_SLOTS,
    version: str = "1.0",
    resources: ResourceRequirements | Mapping[str, Any] | None = None,
) -> Callable[[_Class], _Class]: ...
def agent(
    type: str | type | None = None,
    *,
    capabilities: Iterable[str] = (),
    slots: int = CLASS_SLOTS,
    version: str = "1.0",
    resources: ResourceRequirements | Mapping[str, Any] | None = None,
) -> Any:
    """Make a class an agent: its `@task` methods are what it can do.

    `type` is the name workflows use, by default the class's name in snake_case. `slots` is how many attempts one
    instance runs at a time; `resources` is what it has to offer. An instance is made once for each agent, without
    arguments; `async start()` and `async stop()` are called when it has them.
    """

    def decorate(cls: _Class) -> _Class:
        named = type if isinstance(type, str) else snake_case(cls.__name__)
        definition = AgentDefinition(
            type=_checked_name(named, f"agent {cls.__qualname__}"),
            factory=cls,
            functions=_methods_of(cls),
            capabilities=_names(capabilities, "capabilities", cls.__qualname__),
            slots=_checked_slots(slots, cls.__qualname__),
            version=str(version),
            resources=_resources(resources, cls.__qualname__),
        )
        marked: Any = cls
        marked.__podium_agent__ = definition
        return cls

    return decorate(type) if isinstance(type, _type) else decorate


@overload
def task(function: _Function, /) -> _Function: ...
@overload
def task(
    *, name: str | None = None, cpu: bool = False, capabilities: Iterable[str] = ()
) -> Callable[[_Function], _Function]: ...
def task(
    function: Any = None, /, *, name: str | None = None, cpu: bool = False, capabilities: Iterable[str] = ()
) -> Any:
    """Make a method or a plain function a task: async ones run on the loop, others in a thread.

    `cpu` runs it in a process of its own: for work that keeps a processor busy or may crash. `name` is what workflows
    call it, by default the function's own name; `"*"` answers to every name that nothing else answers to.
    """

    def decorate(function: _Function) -> _Function:
        if not inspect.isroutine(function) or not hasattr(function, "__qualname__"):
            raise AgentBindingError(f"@task goes on a function or a method, not on {function!r}")
        marked: Any = function
        marked.__podium_task__ = _described(marked, name, cpu, capabilities)
        return function

    return decorate if function is None else decorate(function)


def function_agent(type: str, functions: Iterable[Callable[..., Any]], slots: int = FUNCTION_SLOTS) -> AgentDefinition:
    """Return an agent made of plain functions that are decorated with `@task`."""
    described: dict[str, TaskFunction] = {}
    for function in functions:
        one = task_of(function)
        if one is None:
            raise AgentBindingError(f"{function!r} is not decorated with @task")
        _add(described, one, f"agent {type}")
    if not described:
        raise AgentBindingError(f"agent {type} has no task: decorate at least one function with @task")
    return AgentDefinition(type=type, factory=None, functions=described, slots=slots)


def definition_of(cls: Any) -> AgentDefinition | None:
    """Return what `@agent` has described, or None for anything else (a subclass must be decorated itself)."""
    described = vars(cls).get("__podium_agent__") if isinstance(cls, _type) else None
    return described if isinstance(described, AgentDefinition) else None


def task_of(function: Any) -> TaskFunction | None:
    """Return what `@task` has described, or None; a wrapper around a task (`functools.wraps`) is the task."""
    described = getattr(function, "__podium_task__", None)
    if not isinstance(described, TaskFunction):
        return None
    if described.function is function:
        return described
    return _described(function, described.name, described.kind is Kind.CPU, described.capabilities)


_type = type  # the decorator's first parameter has this name too


def _described(function: Callable[..., Any], name: str | None, cpu: bool, capabilities: Iterable[str]) -> TaskFunction:
    """Return the description of a function, or refuse what can't be a task."""
    shown = f"@task on {function.__qualname__}"
    if isinstance(function, (staticmethod, classmethod)):
        raise AgentBindingError(f"{shown}: static and class methods can't be tasks; use a method or a plain function")
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise AgentBindingError(f"{shown}: a generator can't be a task; return the values, and say progress()")
    is_async = inspect.iscoroutinefunction(function)
    if cpu and is_async:
        raise AgentBindingError(f"{shown}: cpu=True needs a plain `def`; an async function runs on the event loop")
    if cpu and "<locals>" in function.__qualname__:
        raise AgentBindingError(f"{shown}: cpu=True needs a function that another process can import by its name")
    parameters, keywords, is_method = _parameters_of(function, shown)
    return TaskFunction(
        name=_checked_name(name if name is not None else function.__name__, shown),
        function=function,
        kind=Kind.CPU if cpu else Kind.ASYNC if is_async else Kind.SYNC,
        parameters=parameters,
        keywords=keywords,
        is_method=is_method,
        capabilities=_names(capabilities, "capabilities", function.__qualname__),
    )


def _parameters_of(function: Callable[..., Any], shown: str) -> tuple[tuple[Parameter, ...], str | None, bool]:
    parameters = list(inspect.signature(function).parameters.values())
    owner = function.__qualname__.rpartition(".")[0]
    is_method = bool(owner) and not owner.endswith("<locals>")
    if is_method:
        if not parameters:
            raise AgentBindingError(f"{shown}: a method takes at least `self`")
        parameters = parameters[1:]
    keywords = None
    described = []
    for parameter in parameters:
        match parameter.kind:
            case inspect.Parameter.VAR_POSITIONAL:
                raise AgentBindingError(f"{shown}: *{parameter.name} isn't supported; arguments are given by name")
            case inspect.Parameter.POSITIONAL_ONLY:
                raise AgentBindingError(
                    f"{shown}: {parameter.name} is positional-only, but arguments are given by name; leave out the `/`"
                )
            case inspect.Parameter.VAR_KEYWORD:
                keywords = parameter.name
            case _:
                required = parameter.default is inspect.Parameter.empty
                described.append(Parameter(parameter.name, required, None if required else parameter.default))
    return tuple(described), keywords, is_method


def _methods_of(cls: type) -> dict[str, TaskFunction]:
    """Return the tasks of a class and its parents; a method that a subclass overrides is the subclass's."""
    functions: dict[str, TaskFunction] = {}
    for attribute in dict.fromkeys(name for parent in reversed(cls.__mro__) for name in vars(parent)):
        value = inspect.getattr_static(cls, attribute)
        if isinstance(value, (staticmethod, classmethod)) and task_of(value.__func__):
            raise AgentBindingError(f"{cls.__qualname__}.{attribute}: static and class methods can't be tasks")
        described = task_of(value)
        if described is not None:
            _add(functions, described, f"agent {cls.__qualname__}")
    if not functions:
        raise AgentBindingError(f"agent {cls.__qualname__} has no task: decorate at least one method with @task")
    return functions


def _add(functions: dict[str, TaskFunction], described: TaskFunction, owner: str) -> None:
    other = functions.get(described.name)
    if other is not None:
        raise AgentBindingError(
            f"{owner} has two tasks named {described.name!r}: "
            f"{other.function.__qualname__} and {described.function.__qualname__}"
        )
    functions[described.name] = described


def _checked_name(name: Any, shown: str) -> str:
    if not isinstance(name, str) or not name.strip() or any(character.isspace() for character in name):
        raise AgentBindingError(f"{shown}: {name!r} can't be a name; expected text without spaces")
    return name


def _checked_slots(slots: Any, shown: str) -> int:
    if not isinstance(slots, int) or isinstance(slots, bool) or slots < 1:
        raise AgentBindingError(f"agent {shown}: slots is {slots!r}; expected a whole number of at least 1")
    return slots


def _names(names: Iterable[str], what: str, shown: str) -> tuple[str, ...]:
    if isinstance(names, str):
        raise AgentBindingError(f'{shown}: {what} is the text {names!r}; expected a list of names, like ["{names}"]')
    return tuple(_checked_name(name, f"{what} of {shown}") for name in names)


def _resources(resources: ResourceRequirements | Mapping[str, Any] | None, shown: str) -> ResourceRequirements:
    if resources is None or isinstance(resources, ResourceRequirements):
        return resources or ResourceRequirements()
    known = ResourceRequirements.__struct_fields__
    unknown = [name for name in resources if name not in known]
    if unknown:
        raise AgentBindingError(f"agent {shown}: unknown resources {', '.join(unknown)}; known are {', '.join(known)}")
    try:
        return msgspec.convert(dict(resources), ResourceRequirements)
    except msgspec.ValidationError as error:
        raise AgentBindingError(f"agent {shown}: resources: {error}") from error
