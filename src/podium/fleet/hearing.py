"""What agents elsewhere say, made into the engine's messages: from frames of Podium's own, from document 000's JSON.

Pure but for what it is handed. An agent is who its subject says; a message that can't be read, or that speaks for
somebody else, is an InvalidInputError.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec
from msgspec import Raw, Struct

from podium.bus.names import check_agent_id
from podium.bus.transport import Delivery
from podium.exceptions import InvalidInputError
from podium.fleet import messages as msg
from podium.fleet import wire
from podium.fleet.frames import CONTENT_TYPE, decode_spoken
from podium.fleet.translation import result_from, said_in
from podium.store.keys import check_key

MOST_MEASURED = 1e300
LATEST_US = 1 << 62  # of a log line, in microseconds
MOST_LEVEL_LETTERS = 64

_raw = msgspec.json.Decoder(Raw)


class Heard(Struct, frozen=True):
    """What one message of the carrier said. `incarnation` is empty where the agent doesn't tell."""

    agent: str
    incarnation: str
    messages: tuple[Any, ...]  # FromAgent and LogLine
    metrics: dict[str, float] = {}
    is_frame: bool = False


def agent_of(subject: str) -> str:
    """Return the agent that a subject `mcp.agent.{id}.…` belongs to. Raises InvalidInputError."""
    parts = subject.split(".")
    if len(parts) < 4:
        raise InvalidInputError(f"{subject[:200]!r} names no agent")
    check_agent_id(parts[2])
    return parts[2]


def content_type(delivery: Delivery) -> str:
    """Return what a message says that it is; JSON where it says nothing."""
    for name, value in delivery.headers.items():
        if name.lower() == "content-type":
            return value.partition(";")[0].strip().lower()
    return wire.CONTENT_TYPE


def is_frame(delivery: Delivery) -> bool:
    """Whether a message is a frame of one of Podium's processes."""
    return bool(delivery.headers) and content_type(delivery) == CONTENT_TYPE


def heard_frame(delivery: Delivery) -> Heard:
    """Return what a frame says. Raises InvalidInputError; nothing of it counts then."""
    agent = agent_of(delivery.subject)
    frame = decode_spoken(delivery.data)
    for message in frame.messages:
        speaker = message.agent if not isinstance(message, msg.LogLine) else agent
        if speaker != agent:
            raise InvalidInputError(f"agent {agent} can't speak for agent {speaker[:128]!r}")
        if isinstance(message, msg.Succeeded):
            _check_json(message.value)
        elif isinstance(message, msg.Saved):
            _check_json(message.checkpoint)
        elif isinstance(message, msg.Published):
            _check_json(message.value)
        elif isinstance(message, msg.LogLine):
            _check_line(message)
    return Heard(agent, msg.REMOTE + frame.speaker, frame.messages, is_frame=True)


def heard_result(delivery: Delivery) -> Heard:
    """Return the result that a message of document 000 brings."""
    agent = agent_of(delivery.subject)
    said = wire.decoded(delivery.data, wire.TaskResultMessage)
    try:
        msgspec.json.decode(said.result.result)  # what is nobody's to read later is refused now
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInputError(f"the result is no JSON that can be read: {error}") from error
    return Heard(agent, "", (result_from(agent, said.result),))


def heard_heartbeat(delivery: Delivery) -> Heard:
    """Return a heartbeat with what the agent measured."""
    agent = agent_of(delivery.subject)
    said = wire.decoded(delivery.data, wire.HeartbeatMessage)
    if said.agent_id != agent:
        raise InvalidInputError(f"agent {agent} can't send the heartbeat of agent {said.agent_id[:128]!r}")
    metrics = {name: float(value) for name, value in said.metrics.items() if _is_measure(value)}
    return Heard(agent, said.incarnation, (msg.Renewal(agent, ()),), metrics)


def _is_measure(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= MOST_MEASURED


_ATTEMPT = re.compile(rb'"taskId"\s*:\s*"([^"\\\x00-\x1f]{1,1024})"')


def unreadable_result(delivery: Delivery, why: str) -> msg.Failed | None:
    """Return the failure that a result of document 000 is which can't be read; None where it doesn't say of what.

    Without it the attempt would hang until its time is over: its agent thinks that it is done.
    """
    named = set(_ATTEMPT.findall(delivery.data))  # what can't be parsed can still be looked through
    if len(named) != 1:
        return None
    agent, attempt = agent_of(delivery.subject), named.pop().decode(errors="replace")
    return msg.Failed(agent, attempt, msg.ErrorInfo("InvalidResult", f"its agent's result can't be used: {why}"))


class _Sender(Struct):
    """Only who speaks: an orchestrator's own notices come back on the subjects that it listens to."""

    sender: str = msgspec.field(name="from", default="")


_sender = msgspec.json.Decoder(_Sender)


def is_notice(delivery: Delivery) -> bool:
    """Whether what is said on a status subject is an orchestrator's word to the agent. Raises InvalidInputError."""
    if b'"from"' not in delivery.data:
        return False
    try:
        return _sender.decode(delivery.data).sender == "orchestrator"
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInputError(f"this is no JSON: {error}") from error


def heard_notice(delivery: Delivery) -> wire.OrchestratorNotice | None:
    """Return a notice that is about a registration; None for any other one."""
    if b'"REGIST' not in delivery.data:
        return None
    return wire.decoded(delivery.data, wire.OrchestratorNotice)


def heard_status(delivery: Delivery, saved: int) -> Heard:
    """Return what an agent's status message says."""
    agent = agent_of(delivery.subject)
    message = wire.decoded(delivery.data, wire.AgentStatusMessage)
    said = message.status
    messages: list[msg.FromAgent] = said_in(agent, said, saved)
    if said.state.upper() == wire.AgentState.STOPPED and not said.task_id:
        messages.append(msg.Left(agent, ""))
    return Heard(agent, message.incarnation, tuple(messages or (msg.Renewal(agent, ()),)))


def _check_line(line: msg.LogLine) -> None:
    """One line that can't be kept would take all that are written with it along."""
    for what, text in (("execution", line.execution), ("task", line.task), ("attempt", line.attempt)):
        check_key(f"a log line's {what}", text)
    if not 0 <= line.at_us <= LATEST_US or len(line.level) > MOST_LEVEL_LETTERS:
        raise InvalidInputError(f"a log line of the attempt {line.attempt[:100]} has an impossible time or level")


def _check_json(text: Raw) -> None:
    try:
        _raw.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInputError(f"a value is no JSON: {error}") from error
