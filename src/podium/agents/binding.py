"""Which code stands behind an agent type: from `--agents`, podium.yaml, entry points or the ready-made agents.

A spec is `package.module:Name`, `package.module` (all its agents) or `path/to/file.py:Name`; `module:*` means the
plain `@task` functions of a module as one agent. What can't be bound is refused before anything starts, all at once.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from importlib import metadata
from types import ModuleType

from podium.agents.importing import import_file, import_module
from podium.agents.sdk import AgentDefinition, definition_of, function_agent, task_of
from podium.exceptions import AgentBindingError
from podium.workflow.naming import snake_case

ENTRY_POINT_GROUP = "podium.agents"
BUILTIN_SPEC = "podium.agents.builtin"
FUNCTIONS = "*"

Bound = tuple[str, AgentDefinition]  # the spec that loads it again, and what it is


def load_binding(spec: str) -> list[AgentDefinition]:
    """Return the agents that a spec names; each carries the exact spec that loads it again.

    An agent of plain functions has its module's last name as its type, until it is bound to another. Raises
    AgentBindingError if there is no such module or name, or no agent in it.
    """
    place, name = _split(spec)
    module = import_file(place) if _is_file(place) else import_module(place)
    exact = str(module.__file__) if _is_file(place) else place
    if name == FUNCTIONS:
        definitions = list(_function_agent(module, exact))
    elif name:
        definitions = [_named(module, exact, name)]
    else:
        definitions = [*_classes(module, exact), *_function_agent(module, exact)]
    if not definitions:
        raise AgentBindingError(f"{spec} has no agent; decorate a class with @agent or functions with @task")
    for definition in definitions:
        for function in definition.functions.values():
            _ = function.call  # hints that can't be used are said now, not at the first task
    return definitions


def resolve(
    types: Iterable[str],
    bindings: Iterable[str] = (),
    configured: Mapping[str, str] | None = None,
    given: AgentDefinition | None = None,
) -> dict[str, Bound]:
    """Return the code behind each type, by spec and definition.

    `bindings` come first: specs, or `type=spec` to bind under another type. Then `configured` (podium.yaml: type to
    spec), the entry points of installed packages, the ready-made agents; last, an agent of plain functions that was
    given in `bindings` without a type, or as `given`, stands for all types nothing else stands for. Raises
    AgentBindingError that names every type without code.
    """
    wanted = list(dict.fromkeys(types))
    explicit, functions = _explicit(bindings)
    if given is not None:
        functions.append(given)
    found: dict[str, AgentDefinition] = {}
    seen = set(explicit)
    for type in wanted:
        if type in explicit:
            found[type] = explicit[type]
        elif configured is not None and type in configured:
            found[type] = _as(type, configured[type])
    seen.update(configured or ())
    for source in (_entry_points, _builtin):
        missing = [type for type in wanted if type not in found]
        if missing:
            known = source(missing)
            seen.update(known)
            found.update({type: known[type]() for type in missing if type in known})
    missing = [type for type in wanted if type not in found]
    if len(functions) == 1:
        found.update({type: functions[0].bound(type, functions[0].spec) for type in missing})
    elif missing:
        raise AgentBindingError(_nothing_behind(missing, seen))
    return {type: (found[type].spec, found[type]) for type in wanted}


def resolve_here(
    types: Iterable[str], bindings: Iterable[str] = (), configured: Mapping[str, str] | None = None
) -> dict[str, Bound]:
    """Return the code behind those of the types that `bindings` or `configured` name; the others live elsewhere."""
    explicit, functions = _explicit(bindings)
    found: dict[str, AgentDefinition] = {}
    for type in dict.fromkeys(types):
        named = [definition for definition in functions if definition.type == type]
        if type in explicit:
            found[type] = explicit[type]
        elif named:
            found[type] = named[0]
        elif configured and configured.get(type):
            found[type] = _as(type, configured[type])
    return {type: (definition.spec, definition) for type, definition in found.items()}


def load_here(bindings: Iterable[str]) -> dict[str, AgentDefinition]:
    """Return all agents that `--agents` names, by type. Raises AgentBindingError."""
    return _explicit(bindings)[0]


def _explicit(bindings: Iterable[str]) -> tuple[dict[str, AgentDefinition], list[AgentDefinition]]:
    """Return what `--agents` binds by type, and its agents of functions that were given no type."""
    explicit: dict[str, AgentDefinition] = {}
    untyped = []
    for binding in bindings:
        type, equals, spec = binding.partition("=")
        if equals:
            definitions = [_as(type.strip(), spec.strip())]
        else:
            definitions = load_binding(binding)
            untyped += [definition for definition in definitions if definition.factory is None]
        for definition in definitions:
            other = explicit.setdefault(definition.type, definition)
            if other.spec != definition.spec:
                raise AgentBindingError(
                    f"agent type {definition.type!r} is bound twice: to {other.spec} and to {definition.spec}; "
                    f"give one another type, as in other={definition.spec}"
                )
    return explicit, untyped


def _as(type: str, spec: str) -> AgentDefinition:
    """Return the one agent of a spec under this type; of several the one that has the type already."""
    definitions = load_binding(spec)
    chosen = [one for one in definitions if one.type == type] or definitions
    if len(chosen) > 1:
        names = ", ".join(one.spec for one in chosen)
        raise AgentBindingError(f"{spec} has several agents ({names}), none of type {type!r}; say which is meant")
    return chosen[0].bound(type, chosen[0].spec)


_Known = Mapping[str, "_Load"]


class _Load:
    """An agent that is loaded when it is called for."""

    def __init__(self, type: str, spec: str) -> None:
        self._type = type
        self._spec = spec

    def __call__(self) -> AgentDefinition:
        return _as(self._type, self._spec)


def _entry_points(missing: list[str]) -> _Known:
    return {entry.name: _Load(entry.name, entry.value) for entry in metadata.entry_points(group=ENTRY_POINT_GROUP)}


def _builtin(missing: list[str]) -> _Known:
    return {one.type: _Load(one.type, one.spec) for one in load_binding(BUILTIN_SPEC)}


def _split(spec: str) -> tuple[str, str]:
    place, colon, name = spec.rpartition(":")
    if not colon:
        place, name = spec, ""
    if not place.strip() or (colon and not name.strip()) or any(character.isspace() for character in name):
        raise AgentBindingError(f"{spec!r} names no agent; expected module:Name, module or path/to/file.py:Name")
    return place.strip(), name.strip()


def _is_file(place: str) -> bool:
    return place.endswith(".py") or "/" in place


def _named(module: ModuleType, place: str, name: str) -> AgentDefinition:
    found: object = module
    for part in name.split("."):
        found = getattr(found, part, None)
    definition = definition_of(found)
    if definition is not None:
        return definition.bound(definition.type, f"{place}:{name}")
    if task_of(found) is not None and callable(found):
        return function_agent(_module_type(module), [found]).bound(_module_type(module), f"{place}:{name}")
    if found is not None:
        raise AgentBindingError(f"{place}:{name} is no agent; decorate it with @agent (a class) or @task (a function)")
    known = [one.spec.rpartition(":")[2] for one in _classes(module, place)]
    close = difflib.get_close_matches(name, known, 1, 0.5)
    hint = f"did you mean {close[0]}?" if close else f"its agents are {', '.join(known) or 'none'}"
    raise AgentBindingError(f"{place} has no {name}; {hint}")


def _classes(module: ModuleType, place: str) -> Iterator[AgentDefinition]:
    for name, found in vars(module).items():
        definition = definition_of(found)
        if definition is not None and _is_own(found, module) and found.__name__ == name:
            yield definition.bound(definition.type, f"{place}:{name}")


def _function_agent(module: ModuleType, place: str) -> Iterator[AgentDefinition]:
    functions = [one for one in vars(module).values() if task_of(one) is not None and _is_own(one, module)]
    if functions:
        yield function_agent(_module_type(module), functions).bound(_module_type(module), f"{place}:{FUNCTIONS}")


def _is_own(found: object, module: ModuleType) -> bool:
    """Whether this was defined in the module, or in one of the package's own and shown there."""
    home = getattr(found, "__module__", "")
    return home == module.__name__ or home.startswith(f"{module.__name__}.")


def _module_type(module: ModuleType) -> str:
    parts = module.__name__.split(".")
    name = parts[-2] if parts[-1] == "__main__" and len(parts) > 1 else parts[-1]
    if name.startswith("podium_file_"):
        name = name.split("_", 3)[-1]
    return snake_case(name)


def _nothing_behind(missing: list[str], seen: set[str]) -> str:
    known = sorted(seen)
    parts = []
    for type in missing:
        close = difflib.get_close_matches(type, known, 1, 0.6)
        parts.append(f"{type!r} (did you mean {close[0]!r}?)" if close else f"{type!r}")
    return (
        f"no code behind agent type{'s' * (len(missing) > 1)} {', '.join(parts)}; bound are {', '.join(known)}. "
        f"Bind with --agents module:Name (or {missing[0]}=module:Name), in podium.yaml, or by an entry point"
    )
