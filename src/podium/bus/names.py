"""Document 000's subjects, and which names may stand in them. Pure; permissions are made of these."""

from __future__ import annotations

import re

from podium.exceptions import InvalidInputError

REGISTER = "mcp.agent.register"
SUBMIT = "mcp.orchestrator.task.submit"
TASK_STATUS = "mcp.orchestrator.task.status"
TASK_RESULTS = "mcp.orchestrator.task.*.result"
SYSTEM_EVENT = "mcp.orchestrator.system.event"
HEALTH = "mcp.orchestrator.health"

MAX_ID = 128
_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")
_INBOX = re.compile(r"_INBOX_[A-Za-z0-9_-]{1,128}(\.[A-Za-z0-9_-]{1,128}){1,4}")


def check_agent_id(agent: str) -> str:
    """Return the id if it may stand in a subject, and so in a permission. Raises InvalidInputError."""
    if _ID.fullmatch(agent) is None:
        raise InvalidInputError(f"an agent's id has 1 to {MAX_ID} letters, digits, '_' and '-'; {agent[:40]!r} hasn't")
    return agent


def of_agent(agent: str, what: str) -> str:
    """Return a subject of one agent: `task`, `status`, `result`, `heartbeat` or `register`."""
    return f"mcp.agent.{agent}.{what}"


def inbox_of(name: str) -> str:
    """Return the prefix of the subjects on which an agent or client with credentials awaits answers."""
    return f"_INBOX_{name}"


def is_inbox(reply: str) -> bool:
    """Whether a reply subject is the inbox of an agent or client with credentials.

    With authentication on, the orchestrator answers nowhere else: it may publish everywhere, so that an answer to a
    reply subject like `mcp.agent.b.task` would let one agent speak to another through it.
    """
    return _INBOX.fullmatch(reply) is not None
