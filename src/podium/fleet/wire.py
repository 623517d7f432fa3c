"""Document 000's messages: camelCase JSON that agents and clients in any language speak.

Only shapes and their limits are decided here; `translation.py` turns them into what the engine knows. What is read is
read liberally (fields nobody knows are passed over, `messageId` and `timestamp` may be missing, null is a field's
default, a number may come as its text), what is written is whole. `docs/protocol.md` tells of these types, the AsyncAPI
document beside it is made from them.
"""

from __future__ import annotations

import threading
from enum import StrEnum
from functools import cache
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType, field

from podium.bus import names
from podium.exceptions import InvalidInputError

CONTENT_TYPE = "application/json"
PROTOCOL = "podium.v1"  # `registration.protocol` of agents that speak frames after it

# The subjects that all share; `podium.bus.names` has them, and permissions are made of them.
REGISTER, SUBMIT, TASK_STATUS = names.REGISTER, names.SUBMIT, names.TASK_STATUS
SYSTEM_EVENT, HEALTH = names.SYSTEM_EVENT, names.HEALTH

T = TypeVar("T")

Id = Annotated[str, Meta(min_length=1, max_length=1_024)]
Name = Annotated[str, Meta(min_length=1, max_length=256)]
Text = Annotated[str, Meta(max_length=1 << 20)]
Names = Annotated[tuple[Name, ...], Meta(max_length=256)]


def task_subject(agent: str) -> str:
    """Return where an agent hears its assignments."""
    return names.of_agent(agent, "task")


def status_subject(agent: str) -> str:
    """Return where an agent and the orchestrator tell each other how they stand."""
    return names.of_agent(agent, "status")


def result_subject(agent: str) -> str:
    """Return where an agent reports results."""
    return names.of_agent(agent, "result")


def heartbeat_subject(agent: str) -> str:
    """Return where an agent says that it lives."""
    return names.of_agent(agent, "heartbeat")


def completion_subject(task: str) -> str:
    """Return where the end of a submitted task is told to its client."""
    return f"mcp.orchestrator.task.{task}.result"


class NatsMessage(Struct, frozen=True, rename="camel", kw_only=True):
    """What every message has: an id of its own and when it was made, in milliseconds since the epoch."""

    message_id: Annotated[str, Meta(max_length=1_024)] = ""
    timestamp: float = 0  # a whole number where we write it; clocks of agents don't matter


# --- agents ------------------------------------------------------------------------------------------------------


class Resources(Struct, frozen=True, rename="camel", omit_defaults=True):
    """What an agent has to offer."""

    cpu_cores: Annotated[float, Meta(ge=0)] = 0.0
    memory_mb: Annotated[int, Meta(ge=0)] = 0
    disk_mb: Annotated[int, Meta(ge=0)] = 0
    gpu_count: Annotated[int, Meta(ge=0)] = 0


class FunctionSchemas(Struct, frozen=True, rename="camel", omit_defaults=True):
    """What a function takes and gives, as JSON Schemas: of an object with its arguments, and of its result.

    What is left out may be anything.
    """

    input: dict[str, Any] | bool | None = None
    result: dict[str, Any] | bool | None = None


class AgentRegistration(Struct, frozen=True, rename="camel", omit_defaults=True, kw_only=True):
    """Who an agent is and what it can do.

    `agentType` is what workflows name; `taskTypes` are the functions it answers to (none: all). `incarnation` names
    this start of it: another one means that everything the earlier one held is lost; left out, every registration
    that wasn't asked for counts as a start. `renews` agents renew the leases of their tasks in time (15 s) by
    frames; others have 60 s, and any message renews.
    """

    agent_id: Id
    agent_type: Name = "agent"
    capabilities: Names = ()
    version: Name = "1.0"
    max_concurrent_tasks: Annotated[int, Meta(ge=1, le=100_000)] = 1
    task_types: Names = ()
    incarnation: Annotated[str, Meta(max_length=128)] = ""
    location: Annotated[str, Meta(max_length=256)] = ""
    tags: Names = ()
    service_types: Names = ()
    endpoint: Annotated[str, Meta(max_length=1_024)] = ""
    resources: Resources = Resources()
    metadata: dict[str, Any] = {}
    protocol: Annotated[str, Meta(max_length=64)] = ""
    renews: bool = False
    key: Annotated[str, Meta(max_length=256)] = ""  # its public key, and
    signature: Annotated[str, Meta(max_length=512)] = ""  # what it says with it
    schemas: dict[Name, FunctionSchemas] = {}  # of its functions, by name


class AgentRegistrationMessage(NatsMessage, frozen=True, kw_only=True):
    """I am here: to `mcp.agent.register`; with a reply subject it is answered there too."""

    registration: AgentRegistration


class HeartbeatMessage(NatsMessage, frozen=True, kw_only=True, omit_defaults=True):
    """I am alive: to `mcp.agent.{agentId}.heartbeat`, every 30 s."""

    agent_id: str  # the subject's; another name here is refused
    metrics: dict[str, Any] = {}  # numbers from 0 count, whatever else is there is passed over
    incarnation: str = ""


class AgentState(StrEnum):
    """How an agent says it stands."""

    IDLE = "IDLE"
    BUSY = "BUSY"
    DRAINING = "DRAINING"
    STOPPED = "STOPPED"
    ERROR = "ERROR"


class AgentStatus(Struct, frozen=True, rename="camel", omit_defaults=True, kw_only=True):
    """How an agent stands; with a `taskId`, how far it is with that (`progress` 0 to 1), or that it won't do it."""

    agent_id: str = ""
    state: str = ""  # an AgentState; of our notices the registry's word
    task_id: str = ""
    progress: Annotated[float, Meta(ge=0, le=1)] | None = None
    message: Text = ""
    refused: bool = False  # the task of `taskId` goes to another, and no attempt is counted
    checkpoint: Any = UNSET  # remembered for the next attempt at `taskId`, should this one be lost
    last_heartbeat: int | UnsetType = UNSET
    active_tasks: int | UnsetType = UNSET
    health: float | UnsetType = UNSET


class AgentStatusMessage(NatsMessage, frozen=True, kw_only=True, omit_defaults=True):
    """How I stand: to `mcp.agent.{agentId}.status`. With its `incarnation`, one that was replaced can't take leave
    for the one that replaced it.
    """

    status: AgentStatus
    incarnation: Annotated[str, Meta(max_length=128)] = ""


class Notice(StrEnum):
    """What an orchestrator tells an agent on its status subject."""

    REGISTERED = "REGISTERED"
    REGISTRATION_REFUSED = "REGISTRATION_REFUSED"
    REGISTER_AGAIN = "REGISTER_AGAIN"
    RESULT_CONFIRMED = "RESULT_CONFIRMED"
    TASK_CANCELLED = "TASK_CANCELLED"
    DRAIN = "DRAIN"
    ERROR = "ERROR"


class OrchestratorNotice(NatsMessage, frozen=True, kw_only=True, omit_defaults=True):
    """A word of the orchestrator to an agent, on `mcp.agent.{agentId}.status`; `from` tells it from the agent's own."""

    sender: Literal["orchestrator"] = field(name="from")
    notice: Notice
    status: AgentStatus = AgentStatus()
    task_id: str = ""
    accepted: bool | UnsetType = UNSET  # of a result: it counts, or it came too late
    reason: str = ""
    code: int | UnsetType = UNSET
    force: bool = False
    grace_ms: int | UnsetType = UNSET
    heartbeat_interval_ms: int | UnsetType = UNSET
    lease_ms: int | UnsetType = UNSET
    incarnation: str = ""


# --- tasks -------------------------------------------------------------------------------------------------------


class TaskPriority(StrEnum):
    """Priorities by name; as numbers they are 25, 50, 75 and 100."""

    LOW = "LOW"
    NORMAL = "NORMAL"
    HIGH = "HIGH"
    CRITICAL = "CRITICAL"


class SecretReference(Struct, frozen=True, rename="camel", omit_defaults=True):
    """A secret: its value is the variable `env`, or the file `file` of the folder of secrets, where the agent runs.

    With neither, it is the variable `PODIUM_SECRET_NAME`, else the file of its name.
    """

    name: Name
    env: Annotated[str, Meta(max_length=256)] = ""
    file: Annotated[str, Meta(max_length=1_024)] = ""


class SecretPlace(Struct, frozen=True, rename="camel"):
    """Where secrets belong in a task's payload: the path to a text, and the parts it is put together of."""

    path: tuple[str | int, ...]
    parts: tuple[str | SecretReference, ...]


class AgentTask(Struct, frozen=True, rename="camel", omit_defaults=True, kw_only=True):
    """A task as it is submitted, and as it is assigned.

    Submitted: `taskType` is the function that an agent is asked for; `agentType`, `requiredCapabilities` narrow who;
    `dependencies` are ids of tasks submitted earlier, all of which must succeed first. A `taskId` of the client's own
    makes a repeated submission harmless. Assigned: `taskId` is the attempt's, and must be in the result.
    """

    task_id: Annotated[str, Meta(max_length=1_024)] = ""
    task_type: Annotated[str, Meta(max_length=256)] = ""
    agent_type: Annotated[str, Meta(max_length=256)] = ""
    payload: Any = None
    priority: int | str | None = None
    dependencies: Annotated[tuple[Id, ...], Meta(max_length=1_000)] = ()
    required_capabilities: Names = ()
    timeout_ms: Annotated[float, Meta(gt=0)] | None = None
    retries: Annotated[int, Meta(ge=0, le=1_000)] = 0
    # of an assignment
    execution_id: str = ""
    task_name: str = ""
    attempt: int = 0
    idempotency_key: str = ""
    lease_ms: int | None = None
    checkpoint: Any = None
    secrets: Annotated[tuple[SecretPlace, ...], Meta(max_length=1_000)] = ()


class TaskAssignmentMessage(NatsMessage, frozen=True, kw_only=True):
    """Do this: to `mcp.agent.{agentId}.task`. It may come twice: know its `task.taskId`."""

    task: AgentTask


class TaskError(Struct, frozen=True, rename="camel"):
    """Why a task failed. `retryable: false` says that another attempt would not help."""

    message: Text = ""
    type: Annotated[str, Meta(max_length=1_024)] = "TaskError"
    retryable: bool = True
    traceback: Text = ""


class ResultStatus(StrEnum):
    """How a task ended."""

    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    TIMED_OUT = "TIMED_OUT"


class TaskResult(Struct, frozen=True, rename="camel", omit_defaults=True, kw_only=True):
    """How a task ended: with its `result` (any JSON), or with an `error`, in words or as an object."""

    task_id: Id
    status: Literal["COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT"] | None = None  # None: FAILED with an error
    result: Raw = field(default_factory=lambda: Raw(b"null"))  # a default by itself is nothing that a schema can say
    error: TaskError | str | None = None
    agent_id: str = ""
    execution_id: str = ""


class TaskResultMessage(NatsMessage, frozen=True, kw_only=True):
    """The end of a task: an agent's to `mcp.agent.{agentId}.result`, ours to the client of a submission."""

    result: TaskResult


class TaskSubmissionMessage(NatsMessage, frozen=True, kw_only=True, omit_defaults=True):
    """Have this done: to `mcp.orchestrator.task.submit`, with a reply subject for the answer.

    `notifySubject` is where the end is told beside `mcp.orchestrator.task.{taskId}.result`: an inbox of the client's.
    """

    task: AgentTask
    preferred_agent_id: Annotated[str, Meta(max_length=128)] | None = None
    notify_subject: Annotated[str, Meta(max_length=512)] | None = None


class TaskSubmissionResponse(NatsMessage, frozen=True, kw_only=True, omit_defaults=True):
    """The submission is on disk under this id; its end is told on `resultSubject`."""

    task_id: str
    result_subject: str = ""


class TaskStatusRequest(NatsMessage, frozen=True, kw_only=True):
    """How does this task stand? To `mcp.orchestrator.task.status`."""

    task_id: Id


class TaskStatusResponse(NatsMessage, frozen=True, kw_only=True, omit_defaults=True):
    """How a submitted task stands: `status` is an execution's; with the result once it has ended."""

    task_id: str
    status: str
    reason: str = ""  # what it waits for
    result: TaskResult | None = None


class ErrorBody(Struct, frozen=True, rename="camel", omit_defaults=True):
    """What was wrong: a word for programs, a sentence for people; `retryAfterMs` when it may be tried again."""

    code: str
    message: str
    retry_after_ms: int | None = None


class ErrorResponse(NatsMessage, frozen=True, kw_only=True):
    """The answer to what could not be done."""

    error: ErrorBody


# --- the system --------------------------------------------------------------------------------------------------


class SystemEventType(StrEnum):
    """Document 000's system events."""

    ORCHESTRATOR_STARTED = "ORCHESTRATOR_STARTED"
    ORCHESTRATOR_STOPPING = "ORCHESTRATOR_STOPPING"
    AGENT_REGISTERED = "AGENT_REGISTERED"
    AGENT_LOST = "AGENT_LOST"
    TASK_SUBMITTED = "TASK_SUBMITTED"
    TASK_COMPLETED = "TASK_COMPLETED"
    TASK_FAILED = "TASK_FAILED"
    SYSTEM_ERROR = "SYSTEM_ERROR"


class SystemEventMessage(NatsMessage, frozen=True, kw_only=True):
    """Something happened: on `mcp.orchestrator.system.event`, for everybody."""

    event_type: SystemEventType
    payload: Any = None


class SystemStatus(Struct, frozen=True, rename="camel", kw_only=True):
    """The whole at a glance: the answer on `mcp.orchestrator.health`, and said there every 30 s."""

    orchestrator_status: str
    agent_count: int
    active_task_count: int
    queued_task_count: int
    healthy_agent_count: int
    unhealthy_agent_count: int
    agent_statuses: tuple[AgentStatus, ...] = ()


class SystemStatusMessage(NatsMessage, frozen=True, kw_only=True):
    """The system's status with an id and a time."""

    status: SystemStatus


# --- reading -----------------------------------------------------------------------------------------------------

_decoders: dict[tuple[Any, bool], msgspec.json.Decoder[Any]] = {}
_making = threading.Lock()  # one at a time: while a type is looked at for the first time, no other thread may use it
_members = msgspec.json.Decoder(dict[str, Raw])


def decoded(data: bytes, kind: type[T]) -> T:
    """Return a message of this kind. Raises InvalidInputError that says what is wrong with it, and where."""
    try:
        return _decoder(kind).decode(data)
    except msgspec.ValidationError:
        pass  # it may be one that many a serialiser writes: null for what isn't said, numbers as texts
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInputError(f"this is no JSON: {error}") from error
    try:
        return _decoder(kind, strict=False).decode(_without_nulls(data, kind))
    except msgspec.ValidationError as error:
        raise InvalidInputError(f"this is no {kind.__name__}: {error}") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInputError(f"this is no JSON: {error}") from error


def _decoder(kind: type[T], strict: bool = True) -> msgspec.json.Decoder[T]:
    decoder = _decoders.get((kind, strict))
    if decoder is None:
        with _making:
            decoder = _decoders[kind, strict] = msgspec.json.Decoder(kind, strict=strict)
    return decoder


def _without_nulls(text: bytes | Raw, kind: type[Any]) -> bytes:
    """Return an object of this kind without the fields that are null and needn't be there; all else byte for byte."""
    members = _members.decode(text)
    if issubclass(kind, NatsMessage):  # what nobody reads, nobody is refused for
        members.pop("messageId", None)
        members.pop("timestamp", None)
    for each in _fields(kind):  # type: ignore[arg-type]  # a class is hashable; the checker asks for the protocol
        value = members.get(each.encode_name)
        if value is None:
            continue
        if bytes(value) == b"null" and not each.required:
            del members[each.encode_name]
            continue
        inner = _struct_in(each.type)
        if inner is not None and bytes(value).startswith(b"{"):
            members[each.encode_name] = Raw(_without_nulls(value, inner))
    return encoded(members)


@cache
def _fields(kind: type[Any]) -> tuple[msgspec.structs.FieldInfo, ...]:
    return msgspec.structs.fields(kind)


def _struct_in(kind: Any) -> type[Struct] | None:
    """Return the struct that a field holds, also if it may hold something else; not what a mapping has many of."""
    if get_origin(kind) is dict:
        return None
    for each in (kind, *get_args(kind)):
        if isinstance(each, type) and issubclass(each, Struct):
            return each
    return None


encoded = msgspec.json.Encoder().encode
