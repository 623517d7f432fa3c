"""Agents as the Python API takes them: specs as text, agent classes and task functions as objects."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import Any

from podium.agents.crew import ANY_TYPE
from podium.agents.sdk import AgentDefinition, definition_of, function_agent, task, task_of
from podium.exceptions import AgentBindingError


def definitions_of(agents: Iterable[str | type | Callable[..., Any]]) -> tuple[list[str], list[AgentDefinition]]:
    """Return the specs and the definitions. Raises AgentBindingError for what is no agent."""
    specs: list[str] = []
    definitions: list[AgentDefinition] = []
    functions: list[Callable[..., Any]] = []
    for agent in agents:
        if isinstance(agent, str):
            specs.append(agent)
        elif isinstance(agent, type):
            definitions.append(_of_class(agent))
        elif callable(agent):
            functions.append(agent if task_of(agent) is not None else task(agent))
        else:
            raise AgentBindingError(f"{agent!r} is no agent: give a spec, an @agent class or a @task function")
    if functions:
        spec = f"{_place_of(functions[0].__module__)}:*"
        definitions.append(function_agent(ANY_TYPE, functions).bound(ANY_TYPE, spec))
    return specs, definitions


def _of_class(cls: type) -> AgentDefinition:
    definition = definition_of(cls)
    if definition is None:
        raise AgentBindingError(f"{cls.__qualname__} is no agent: decorate it with @agent")
    return definition.bound(definition.type, f"{_place_of(cls.__module__)}:{cls.__qualname__}")


def _place_of(module: str) -> str:
    """Return what another process can load the module by: a script's file in place of `__main__`."""
    file = getattr(sys.modules.get(module), "__file__", None)
    return str(file) if module == "__main__" and file else module
