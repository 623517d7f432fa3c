"""The protocol as an AsyncAPI 3 document, made from the messages of `wire.py`. Pure.

`make asyncapi` writes it to `docs/asyncapi.yaml`, and a test holds that file against it. It describes the orchestrator:
what it receives and what it sends. What the fields mean and how the messages follow each other is told in
`docs/protocol.md`.
"""

from __future__ import annotations

from typing import Any

import msgspec
import yaml
from msgspec import Struct

from podium.fleet import wire

VERSION = "1.0.0"  # of the protocol: raised with what a stranger must know of
_AGENT = "the agent's id: 1 to 128 letters, digits, _ and -"
_TASK = "the id of a submitted task"
_ABOUT = """How agents and clients in any language take part in Podium: JSON over core NATS. The orchestrator is
described: it receives what agents and clients send. The flows are told in protocol.md."""

_REPLIES = (wire.TaskSubmissionResponse, wire.TaskStatusResponse, wire.SystemStatusMessage, wire.OrchestratorNotice,
            wire.ErrorResponse)  # fmt: skip


class Channel(Struct, frozen=True):
    """A subject: what is said there to the orchestrator, how that is answered, what the orchestrator says there."""

    name: str
    address: str
    about: str
    receives: type[Struct] | None = None
    answers: tuple[type[Struct], ...] = ()
    sends: type[Struct] | None = None
    event: str = ""  # of document 004: no type of the wire


CHANNELS = (
    Channel("agentRegister", wire.REGISTER, "An agent registers.", wire.AgentRegistrationMessage,
            (wire.OrchestratorNotice, wire.ErrorResponse)),
    Channel("ownRegister", "mcp.agent.{agentId}.register", "The same, where credentials show who it is.",
            wire.AgentRegistrationMessage, (wire.OrchestratorNotice, wire.ErrorResponse)),
    Channel("agentHeartbeat", wire.heartbeat_subject("{agentId}"), "An agent is alive.", wire.HeartbeatMessage),
    Channel("agentTask", wire.task_subject("{agentId}"), "An agent is given a task; it may come twice.",
            sends=wire.TaskAssignmentMessage),
    Channel("agentResult", wire.result_subject("{agentId}"),
            "How a task ended; kept by the stream PODIUM_RESULTS, repeated by the agent until it is confirmed.",
            wire.TaskResultMessage),
    Channel("agentStatus", wire.status_subject("{agentId}"),
            "An agent and the orchestrator tell each other how they stand; `from` tells whose word it is.",
            wire.AgentStatusMessage, sends=wire.OrchestratorNotice),
    Channel("taskSubmit", wire.SUBMIT, "A client submits a task.", wire.TaskSubmissionMessage,
            (wire.TaskSubmissionResponse, wire.ErrorResponse)),
    Channel("taskStatus", wire.TASK_STATUS, "A client asks how a submitted task stands.", wire.TaskStatusRequest,
            (wire.TaskStatusResponse, wire.ErrorResponse)),
    Channel("taskResult", wire.completion_subject("{taskId}"), "How a submitted task ended.",
            sends=wire.TaskResultMessage),
    Channel("systemEvent", wire.SYSTEM_EVENT, "What happens, for everybody.", sends=wire.SystemEventMessage),
    Channel("health", wire.HEALTH, "A request with any body is answered; every 30 s it is told to everybody.",
            wire.NatsMessage, (wire.SystemStatusMessage,), sends=wire.SystemStatusMessage),
    Channel("executionStarted", "podium.event.workflow.execution_started",
            "An execution has started; kept by the stream PODIUM_EVENTS.", event="workflow.execution_started"),
    Channel("taskAssigned", "podium.event.agent.task_assigned",
            "An attempt is an agent's; kept by the stream PODIUM_EVENTS.", event="agent.task_assigned"),
    Channel("checkpointCreated", "podium.event.workflow.checkpoint_created",
            "A checkpoint is on disk; kept by the stream PODIUM_EVENTS.", event="workflow.checkpoint_created"),
)  # fmt: skip

_TEXT, _WHOLE, _OBJECT = {"type": "string"}, {"type": "integer"}, {"type": "object"}
_TEXTS = {"type": "array", "items": _TEXT}
EVENTS: dict[str, dict[str, dict[str, Any]]] = {  # document 004's, by name: their own fields
    "workflow.execution_started": {
        "orchestration_pattern": _TEXT, "estimated_duration": _WHOLE, "allocated_agents": _TEXTS,
    },
    "agent.task_assigned": {
        "agent_id": _TEXT, "task_id": _TEXT, "dependencies": _TEXTS, "estimated_duration": _WHOLE, "attempt": _WHOLE,
    },
    "workflow.checkpoint_created": {
        "checkpoint_id": _TEXT, "state_snapshot": _OBJECT, "recovery_instructions": _OBJECT,
    },
}  # fmt: skip


def document() -> str:
    """Return the AsyncAPI document as YAML."""
    text: str = yaml.safe_dump(described(), sort_keys=False, allow_unicode=True, width=120)
    return "# Made from the code by `make asyncapi`; change src/podium/fleet/wire.py or asyncapi.py instead.\n" + text


def described() -> dict[str, Any]:
    """Return the AsyncAPI document as a value."""
    replies = {kind.__name__: _ref("messages", kind.__name__) for kind in _REPLIES}
    said: dict[str, Any] = {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Podium: agents and clients",
            "version": VERSION,
            "description": " ".join(_ABOUT.split()),
            "license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
        },
        "defaultContentType": wire.CONTENT_TYPE,
        "servers": {
            "embedded": {"host": "127.0.0.1:4222", "protocol": "nats", "description": "The server of `podium up`."}
        },
        "channels": {
            **{channel.name: _channel(channel) for channel in CHANNELS},
            "reply": {"address": None, "description": "The reply subject of a request.", "messages": replies},
        },
        "operations": dict(operation for channel in CHANNELS for operation in _operations(channel)),
        "components": {"messages": _messages(), "schemas": _schemas()},
    }
    found: dict[str, Any] = _unshared(said)
    return found


def _channel(channel: Channel) -> dict[str, Any]:
    names = [kind.__name__ for kind in (channel.receives, channel.sends) if kind is not None]
    if channel.event:
        names.append(channel.event)
    said: dict[str, Any] = {
        "address": channel.address,
        "description": channel.about,
        "messages": {name: _ref("messages", name) for name in names},
    }
    parameters = {
        name: {"description": about}
        for name, about in (("agentId", _AGENT), ("taskId", _TASK))
        if f"{{{name}}}" in channel.address
    }
    return {**said, "parameters": parameters} if parameters else said


def _operations(channel: Channel) -> list[tuple[str, dict[str, Any]]]:
    found = []
    for action, kind in (("receive", channel.receives), ("send", channel.sends)):
        name = kind.__name__ if kind is not None else channel.event if action == "send" else ""
        if not name:
            continue
        operation: dict[str, Any] = {
            "action": action,
            "channel": {"$ref": f"#/channels/{channel.name}"},
            "summary": channel.about,
            "messages": [{"$ref": f"#/channels/{channel.name}/messages/{name}"}],
        }
        if action == "receive" and channel.answers:
            operation["reply"] = {
                "channel": {"$ref": "#/channels/reply"},
                "messages": [{"$ref": f"#/channels/reply/messages/{kind.__name__}"} for kind in channel.answers],
            }
        found.append((f"{action}{channel.name[0].upper()}{channel.name[1:]}", operation))
    return found


def _kinds() -> list[type[Struct]]:
    kinds = [kind for channel in CHANNELS for kind in (channel.receives, channel.sends, *channel.answers) if kind]
    return list(dict.fromkeys(kinds))


def _messages() -> dict[str, Any]:
    names = [kind.__name__ for kind in _kinds()] + list(EVENTS)
    return {name: {"name": name, "payload": {"$ref": f"#/components/schemas/{name}"}} for name in names}


def _schemas() -> dict[str, Any]:
    _, schemas = msgspec.json.schema_components(_kinds(), ref_template="#/components/schemas/{name}")
    for schema in schemas.values():
        if "description" in schema:
            schema["description"] = " ".join(schema["description"].split())
    return {**dict(sorted(schemas.items())), **{name: _event(name, own) for name, own in EVENTS.items()}}


def _event(name: str, own: dict[str, dict[str, Any]]) -> dict[str, Any]:
    properties = {
        "event": {"const": name},
        "workflow_id": _TEXT,
        "execution_id": _TEXT,
        **own,
        "timestamp": {"type": "string", "format": "date-time"},
    }
    return {"title": name, "type": "object", "properties": properties, "required": list(properties)}


def _ref(part: str, name: str) -> dict[str, str]:
    return {"$ref": f"#/components/{part}/{name}"}


def _unshared(value: Any) -> Any:
    """Return a copy in which nothing is there twice as one object: YAML would write anchors."""
    if isinstance(value, dict):
        return {key: _unshared(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_unshared(each) for each in value]
    return value
