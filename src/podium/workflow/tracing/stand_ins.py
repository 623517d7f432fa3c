"""What stands in a traced function's place for the names that it uses: agents' functions, agents, modules, builtins.

The function's code is run with other globals, so that nothing outside of it notices; a decorated function stays what it
was. What the SDK has decorated is known by what it left there (`__podium_task__`, `__podium_agent__`).
"""

from __future__ import annotations

import builtins
import sys
from collections.abc import Callable, Mapping
from pathlib import PurePath
from types import CellType, CodeType, FunctionType, ModuleType
from typing import Any, Final

from podium.workflow.expressions.operations import FUNCTIONS
from podium.workflow.naming import snake_case
from podium.workflow.tracing.recording import Recording
from podium.workflow.tracing.refusals import check_code, refuse
from podium.workflow.tracing.values import Traced, call_of

_OF_KIND: Final = ("isinstance", "issubclass", "type", "hasattr", "callable", "vars", "dir", "id", "print")


class FunctionStandIn:
    """An agent's function: called, it records a task and returns that task's result."""

    def __init__(
        self,
        recording: Recording,
        described: Any,
        agent_type: str,
        origin: Any,
        fields: Mapping[str, Any] | None = None,
    ) -> None:
        self._recording = recording
        self._described = described
        self._agent_type = agent_type
        self._origin = origin  # what an orchestrator is given for it: the agent's class, or the function
        self._fields = dict(fields or {})

    def with_fields(self, fields: Mapping[str, Any]) -> FunctionStandIn:
        """Return the same with more fields for its task."""
        more = {**self._fields, **fields}
        return FunctionStandIn(self._recording, self._described, self._agent_type, self._origin, more)

    def __call__(self, *given: Any, **named: Any) -> Traced:
        """Record a task with these arguments."""
        described = self._described
        name = described.function.__name__ if described.name == "*" else described.name
        function = "" if described.name == "*" else described.name
        if not any(known is self._origin for known in self._recording.called):
            self._recording.called.append(self._origin)
        arguments = self._arguments(given, named)
        return self._recording.call(function, name, self._agent_type, arguments, self._fields)

    def _arguments(self, given: tuple[Any, ...], named: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments by name; refuse those that the function doesn't take, and none where one is needed."""
        described, shown = self._described, self._described.name
        taken = [one for one in described.parameters if one.name != described.call.context]
        names = [one.name for one in taken]
        if len(given) > len(names):
            refuse(
                "argument", f"{shown} takes {len(names)} arguments, not {len(given)}", f"they are {', '.join(names)}"
            )
        arguments = dict(zip(names, given, strict=False))
        for name, value in named.items():
            if name in arguments:
                refuse("argument", f"{shown}: the argument {name} is given twice", "give it once")
            if name not in names and not described.keywords:
                refuse("argument", f"{shown} has no argument {name}", f"it takes {', '.join(names) or 'none'}")
            arguments[name] = value
        missing = [one.name for one in taken if one.required and one.name not in arguments]
        if missing:
            refuse("argument", f"{shown}: missing argument {', '.join(missing)}", "give it a value")
        return arguments


class AgentStandIn:
    """An agent of a class, or the class itself, which makes one when it is called without arguments."""

    def __init__(self, recording: Recording, cls: type, is_class: bool) -> None:
        self._recording = recording
        self._cls = cls
        self._is_class = is_class

    def __call__(self, *given: Any, **named: Any) -> AgentStandIn:
        """Return an agent of this class."""
        if not self._is_class or given or named:
            refuse("traced-agent", f"{self._cls.__qualname__} is made without arguments", "write it with ()")
        return AgentStandIn(self._recording, self._cls, False)

    def __getattr__(self, name: str) -> Any:
        definition = vars(self._cls)["__podium_agent__"]
        found = getattr(self._cls, name, None)
        described = getattr(found, "__podium_task__", None)
        if described is None:
            known = ", ".join(definition.functions)
            message = f"{self._cls.__qualname__}.{name} is no task of the agent"
            refuse("traced-agent", message, f"its tasks are {known}; other code runs within a task")
        if self._is_class:
            message = f"{self._cls.__qualname__}.{name} is called on the class"
            refuse("traced-agent", message, f"write {self._cls.__name__}().{name}(…)")
        return FunctionStandIn(self._recording, described, definition.type, self._cls)


class _ModuleStandIn:
    def __init__(self, names: _Names, module: ModuleType) -> None:
        self._names = names
        self._module = module

    def __getattr__(self, name: str) -> Any:
        if self._module.__name__ == "asyncio" and name == "gather":
            return _gathered
        return self._names.stand_in(getattr(self._module, name))


class _Gathered(list[Any]):
    """What `asyncio.gather` gives: all the results, which nobody has to wait for."""

    def __await__(self) -> Any:
        yield from ()
        return list(self)


def _gathered(*values: Any, **_: Any) -> _Gathered:
    return _Gathered(values)


def standing_in(function: FunctionType, recording: Recording) -> Callable[..., Any]:
    """Return a function with stand-ins for the names that it uses. Raises WorkflowInvalidError."""
    check_code(function.__code__)
    names = _Names(recording, function.__module__)
    return names.function(function)


class _Names:
    """The stand-ins of one tracing, each made once."""

    def __init__(self, recording: Recording, module: str) -> None:
        self._recording = recording
        self._home = module.partition(".")[0]
        self._functions: dict[int, FunctionType] = {}

    def function(self, function: FunctionType) -> FunctionType:
        """Return a function with stand-ins for its globals and for what it has closed over."""
        known = self._functions.get(id(function))
        if known is not None:
            return known
        namespace = dict(function.__globals__)
        namespace["__builtins__"] = {**vars(builtins), **_builtins(self._recording)}
        cells = tuple(CellType() for _ in function.__closure__ or ())
        made = FunctionType(function.__code__, namespace, function.__name__, function.__defaults__, cells or None)
        made.__kwdefaults__ = function.__kwdefaults__
        self._functions[id(function)] = made
        for name in _names_in(function.__code__):
            if name in function.__globals__:
                namespace[name] = self.stand_in(function.__globals__[name])
        for cell, origin in zip(cells, function.__closure__ or (), strict=True):
            try:
                cell.cell_contents = self.stand_in(origin.cell_contents)
            except ValueError:  # empty still, as it is in the function itself
                continue
        return made

    def stand_in(self, value: Any) -> Any:
        """Return what stands for a value; most values stand for themselves."""
        from podium.workflow.tracing.functions import WorkflowFunction

        described = getattr(value, "__podium_task__", None) if not isinstance(value, type) else None
        match value:
            case WorkflowFunction():
                return self.function(value.plain)
            case type() if "__podium_agent__" in vars(value):
                return AgentStandIn(self._recording, value, True)
            case ModuleType():
                return value if _is_ours(value.__name__) else _ModuleStandIn(self, value)
            case _ if described is not None:
                return FunctionStandIn(self._recording, described, module_type(value.__module__), value)
            case FunctionType() if self._is_near(value):
                return self._checked(value)
            case _ if "__podium_agent__" in vars(type(value)):
                return AgentStandIn(self._recording, type(value), False)
            case dict():
                return {key: self.stand_in(part) for key, part in value.items()} if len(value) < 100 else value
            case list():
                return [self.stand_in(part) for part in value] if len(value) < 100 else value
            case _:
                return value

    def _is_near(self, function: FunctionType) -> bool:
        """Whether a function is of the traced one's package: what it calls is traced too."""
        module = function.__module__ or ""
        return module.partition(".")[0] == self._home and not _is_ours(module)

    def _checked(self, function: FunctionType) -> Callable[..., Any]:
        """Return a helper function that is looked at when it first gets a traced value."""
        traced = self.function(function)

        def call(*given: Any, **named: Any) -> Any:
            if self._recording.traced_in((given, named)):
                check_code(function.__code__)
            return traced(*given, **named)

        return call


def _is_ours(module: str) -> bool:
    return module == "podium" or module.startswith("podium.workflow")


def module_type(module: str) -> str:
    """Return the agent type of a module's plain functions, as binding them by the module's name gives it."""
    if module == "__main__":
        file = getattr(sys.modules.get("__main__"), "__file__", None)
        return snake_case(PurePath(file).stem) if file else "functions"
    parts = module.split(".")
    name = parts[-2] if parts[-1] == "__main__" and len(parts) > 1 else parts[-1]
    return snake_case(name.split("_", 3)[-1] if name.startswith("podium_file_") else name)


def _names_in(code: CodeType) -> set[str]:
    names = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            names |= _names_in(constant)
    return names


def _builtins(recording: Recording) -> dict[str, Any]:
    """Return the builtins that the language has too, and those that would say something untrue of a traced value."""
    known = {name: _function(recording, name) for name in FUNCTIONS if name not in ("str", "bool", "int", "float")}
    return known | {name: _of_kind(recording, name) for name in _OF_KIND if name not in ("type", "print")}


def _function(recording: Recording, name: str) -> Callable[..., Any]:
    plain = getattr(builtins, name)

    def call(*given: Any, **named: Any) -> Any:
        is_known = not recording.traced_in((given, named)) or (name == "len" and not isinstance(given[0], Traced))
        if is_known:
            return plain(*given, **named)
        if named:
            refuse("traced-call", f"{name}(…) with {', '.join(named)} of a value that is known only when it runs", "")
        return call_of(name, given, recording)

    return call


def _of_kind(recording: Recording, name: str) -> Callable[..., Any]:
    plain = getattr(builtins, name)

    def call(*given: Any) -> Any:
        if given and isinstance(given[0], Traced):
            refuse("traced-call", f"{name}(…) of a value that is known only when the workflow runs", "ask in a task")
        return plain(*given)

    return call
