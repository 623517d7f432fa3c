"""From a `Workflow` to YAML that loads to an equal workflow, in the words of document 004.

What belongs to an execution (`status`, `result`, `checkpoints`, `created_at`) is left out, as the content hash does.
"""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec
import yaml

from podium.ids import workflow_id_for
from podium.workflow.model import FailureAction, InputParameter, OnFailure, Task, Workflow
from podium.workflow.schedules.spec import ScheduleSpec
from podium.workflow.yaml.nodes import resolved

_Dumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)

_NOT_AS_IT_IS: Final = frozenset(
    {"name", "id", "version", "tasks", "inputs", "secrets", "agents", "dependencies", "created_at", "checkpoints"}
    | {"schedule", "continue_as_new"}
)
_FREE: Final = frozenset({"payload", "for_each", "output", "metadata", "form", "publish"})  # 3.0 stays 3.0 there
_LARGEST_TIDY: Final = 2**53
_PLAIN: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*(?: [A-Za-z0-9_./-]+)*", re.ASCII)
_MAX_PLAIN: Final = 80
_WORDS_OF_1_1: Final = frozenset({"y", "n", "yes", "no", "on", "off"})


def dump_workflow(workflow: Workflow) -> str:
    """Return the workflow as YAML; loaded, it is equal, with the same content hash, if the workflow is valid."""
    tree = {"workflow": as_written(workflow)}
    return str(yaml.dump(tree, Dumper=_WorkflowDumper, sort_keys=False, allow_unicode=True, width=1 << 30))


def as_written(workflow: Workflow) -> dict[str, Any]:
    """Return the workflow in the words of the language, as plain lists, mappings and scalars."""
    plain = _said(workflow)
    written: dict[str, Any] = {"name": workflow.name}
    if workflow.id != workflow_id_for(workflow.name):
        written["id"] = workflow.id
    written["version"] = workflow.version
    written.update({name: value for name, value in plain.items() if name not in _NOT_AS_IT_IS})
    if workflow.schedule is not None:
        written["schedule"] = _schedule(workflow.schedule)
    if workflow.continue_as_new is not None:
        written["continue_as_new"] = msgspec.to_builtins(workflow.continue_as_new) or True
    if workflow.inputs:
        written["inputs"] = {parameter.name: _parameter(parameter) for parameter in workflow.inputs}
    if workflow.secrets:
        written["secrets"] = {secret.name: _without_name(secret) for secret in workflow.secrets}
    if workflow.agents:
        written["agents"] = {role: _without_name(group) for role, group in workflow.agents.items()}
    written["tasks"] = [task_block(workflow, task) for task in workflow.tasks]
    return written


def _schedule(spec: ScheduleSpec) -> dict[str, Any]:
    renamed = {"every_seconds": "every", "catch_up_seconds": "catch_up", "jitter_seconds": "jitter"}
    return {renamed.get(name, name): value for name, value in _said(spec).items()}


def _without_name(block: msgspec.Struct) -> dict[str, Any]:
    return {name: value for name, value in _said(block).items() if name != "name"}


def _parameter(parameter: InputParameter) -> dict[str, Any]:
    written: dict[str, Any] = {"type": parameter.type, "required": parameter.required}
    if parameter.default is not None:
        written["default"] = msgspec.to_builtins(parameter.default)
    if parameter.description:
        written["description"] = parameter.description
    if parameter.enum:
        written["enum"] = msgspec.to_builtins(parameter.enum)
    for bound in ("minimum", "maximum"):
        if (value := getattr(parameter, bound)) is not None:
            written[bound] = _tidied(value)
    if parameter.pattern:
        written["pattern"] = parameter.pattern
    return written


def task_block(workflow: Workflow, task: Task) -> dict[str, Any]:
    """Return a task of a workflow as plain values, in the words of the language."""
    plain = _said(task)
    written: dict[str, Any] = {"id": task.id}
    if task.name != task.id:
        written["name"] = task.name
    group = workflow.agents.get(task.agent)
    if task.agent:
        written["agent"] = task.agent
    if task.agent_type and (group is None or group.type != task.agent_type):
        written["agent_type"] = task.agent_type
    for name in ("id", "name", "agent", "agent_type", "status", "result"):
        plain.pop(name, None)
    renamed = {"dependencies": "depends_on", "payload": "input", "wait_for": "for"}
    written.update({renamed.get(name, name): value for name, value in plain.items()})
    if task.workflow is not None:
        written["workflow"] = as_written(task.workflow)
        written.pop("type")
    if task.retry is not None:
        written["retry"] = {"max_attempts": task.retry.max_attempts} | _said(task.retry)
    if task.on_failure != OnFailure():
        written["on_failure"] = _on_failure(task.on_failure)
    if task.compensation is not None:
        undo = _said(task.compensation)
        written["compensation"] = {renamed.get(name, name): value for name, value in undo.items()}
    return written


def _said(block: msgspec.Struct) -> dict[str, Any]:
    """Return what a block says beyond its defaults; whole numbers of seconds and cores without a fraction."""
    plain: dict[str, Any] = msgspec.to_builtins(block)
    said = {name: value if name in _FREE else _tidied(value) for name, value in plain.items()}
    return {name: value for name, value in said.items() if value != {} or name in _FREE}


def _tidied(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _tidied(part) for name, part in value.items()}
    return int(value) if isinstance(value, float) and value.is_integer() and value < _LARGEST_TIDY else value


def _on_failure(on_failure: OnFailure) -> Any:
    if on_failure.action is FailureAction.FALLBACK:
        return {"fallback": on_failure.task}
    return on_failure.action.value


class _WorkflowDumper(_Dumper):  # type: ignore[misc]
    """Quotes each text that either YAML 1.1 or 1.2 would take for something else; writes no anchors."""

    def ignore_aliases(self, data: Any) -> bool:
        """Write equal values out, each in its place."""
        return True


def _write_text(dumper: Any, text: str) -> Any:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if _may_stand_plain(text) else '"')


def _may_stand_plain(text: str) -> bool:
    if len(text) > _MAX_PLAIN or not _PLAIN.fullmatch(text) or text.lower() in _WORDS_OF_1_1:
        return False
    return isinstance(resolved(text), str)


_WorkflowDumper.add_representer(str, _write_text)
