"""What agents' functions take and give, from their type hints: JSON Schemas, for checks before anything runs.

A hint that has no schema says nothing, and nothing is checked by it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from pathlib import PurePath
from typing import Any, NoReturn

import msgspec
from msgspec import Raw

from podium.agents.expansion import mentions_expansion
from podium.agents.sdk import AgentDefinition, TaskFunction
from podium.exceptions import AgentBindingError, InvalidInputError
from podium.telemetry.logs import get_logger
from podium.workflow.model import Workflow
from podium.workflow.problems import Problem
from podium.workflow.typed import Signature, type_problems
from podium.workflow.typed.received import known_schemas
from podium.workflow.typed.shapes import OTHERS, UNLIKELY, with_others_unlikely

_log = get_logger("podium.agents")


def signature_of(function: TaskFunction) -> Signature:
    """Return the signature of a function. Raises AgentBindingError for hints that can't be used."""
    call = function.call
    hints = call.hints
    taken = [one for one in function.parameters if one.name in hints and one.name != function.keywords]
    is_unknown = call.returns is NoReturn or mentions_expansion(call.returns)
    return Signature(
        arguments={one.name: _schema(hints[one.name]) for one in taken},
        required=frozenset(one.name for one in taken if one.required),
        others=_schema(hints[function.keywords]) if function.keywords else None,
        result={} if is_unknown else with_others_unlikely(_schema(call.returns, _result_hook)),
    )


def signatures_of(definition: AgentDefinition) -> dict[str, Signature]:
    """Return the signatures of an agent's functions by name."""
    return {name: signature_of(function) for name, function in definition.functions.items()}


def schemas_of(definition: AgentDefinition) -> dict[str, dict[str, Any]]:
    """Return what each function of an agent takes and gives, as JSON Schemas: `{"input": …, "result": …}`."""
    return {
        name: {"input": signature.as_schema(), "result": dict(signature.result)}
        for name, signature in signatures_of(definition).items()
    }


def schemas_text(definition: AgentDefinition) -> bytes:
    """Return an agent's schemas as JSON for its registration; of functions that find no room there, nothing is said."""
    found: dict[str, dict[str, Any]] = {}
    for name, said in schemas_of(definition).items():
        try:
            known_schemas(msgspec.json.encode({**found, name: said}))
        except InvalidInputError as error:
            _log.info(
                "the schemas of a function aren't sent", agent_type=definition.type, function=name, why=str(error)
            )
        else:
            found[name] = said
    return msgspec.json.encode(found) if found else b""


def type_check(
    configured: Mapping[str, str], bindings: Iterable[str] = (), given: Iterable[AgentDefinition] = ()
) -> Callable[[Workflow], list[Problem]]:
    """Return the check of a workflow's tasks against the type hints of its agents' functions, as far as known.

    What is `given` is as for `known_signatures`, and so is what the check raises.
    """

    def check(workflow: Workflow) -> list[Problem]:
        return type_problems(workflow, known_signatures(workflow.agent_counts(), bindings, configured, given)[0])

    return check


def known_signatures(
    types: Iterable[str],
    bindings: Iterable[str] = (),
    configured: Mapping[str, str] | None = None,
    given: Iterable[AgentDefinition] = (),
) -> tuple[dict[str, dict[str, Signature]], dict[str, str]]:
    """Return the signatures of the agent types whose code can be loaded, and why the others' can't.

    The code behind a type is found as when a workflow runs; `given` are agents at hand, one of which may be of type
    `*`. Raises AgentBindingError for `bindings` that can't be loaded: somebody has named them.
    """
    from podium.agents.binding import load_here, resolve

    bindings = tuple(bindings)
    load_here(bindings)
    at_hand = {definition.type: definition for definition in given}
    wanted = [one for one in dict.fromkeys(types) if one != "*"]  # of that, whichever agent is able to
    sought = [one for one in wanted if one not in at_hand]
    unknown: dict[str, str] = {}
    try:
        found = resolve(sought, bindings, configured, at_hand.get("*"))
    except AgentBindingError:  # one by one, then: which of them are there
        found = {}
        for agent_type in sought:
            try:
                found |= resolve([agent_type], bindings, configured, at_hand.get("*"))
            except AgentBindingError as error:
                unknown[agent_type] = str(error)
    behind = {**at_hand, **{agent_type: definition for agent_type, (_, definition) in found.items()}}
    signatures: dict[str, dict[str, Signature]] = {}
    for agent_type in wanted:
        if agent_type not in unknown:
            try:
                signatures[agent_type] = signatures_of(behind[agent_type])
            except AgentBindingError as error:
                unknown[agent_type] = str(error)
    return signatures, unknown


def _schema(hint: Any, hook: Callable[[type], dict[str, Any]] | None = None) -> dict[str, Any]:
    """Return the JSON Schema of a hint; of what has none, that of anything."""
    if hint is Raw or hint is Any:
        return {}
    try:
        return msgspec.json.schema(hint, schema_hook=hook or _argument_hook)
    except Exception:  # noqa: BLE001 - a hint of any library may end here; what it means is then left unchecked
        return {}


def _argument_hook(hint: type) -> dict[str, Any]:
    """Return the schema of what msgspec doesn't know. A model of pydantic's may take anything: it has validators."""
    return {"type": "string"} if inspect.isclass(hint) and issubclass(hint, PurePath) else {}


def _result_hook(hint: type) -> dict[str, Any]:
    """Return the schema of a result that msgspec doesn't know: the fields that a model of pydantic's is dumped with."""
    fields = getattr(hint, "model_fields", None)
    if not isinstance(fields, Mapping) or getattr(hint, "__pydantic_root_model__", False):
        return _argument_hook(hint)
    if not _is_plain_model(hint):
        return {}  # it is dumped, or read, as it says itself
    config = getattr(hint, "model_config", {})
    known = {**fields, **getattr(hint, "model_computed_fields", {})}
    if config.get("serialize_by_alias"):
        names = [_dumped_as(name, field) for name, field in known.items()]
    else:
        names = list(known)
    others = {"additionalProperties": True} if config.get("extra") == "allow" else {OTHERS: UNLIKELY}
    return {"type": "object", "properties": {name: {} for name in names}, **others}


def _is_plain_model(hint: type) -> bool:
    """Return whether a model is dumped field by field and read from a mapping, as pydantic does it by itself."""
    own = (getattr(hint, name, None) for name in ("model_dump", "model_validate", "__get_pydantic_core_schema__"))
    if any(getattr(method, "__module__", None) != "pydantic.main" for method in own):
        return False
    decorators = getattr(hint, "__pydantic_decorators__", None)
    validators = getattr(decorators, "model_validators", {})
    return not (
        getattr(decorators, "model_serializers", None)
        or getattr(decorators, "root_validators", None)
        or any(one.info.mode != "after" for one in validators.values())
    )


def _dumped_as(name: str, field: Any) -> str:
    """Return what a field of a model is called that is dumped by alias."""
    alias = getattr(field, "serialization_alias", None) or getattr(field, "alias", None)
    return alias if isinstance(alias, str) else name
