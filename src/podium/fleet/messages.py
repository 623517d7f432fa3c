"""The messages between an orchestrator and its agents: plain values that any carrier can take.

In one process they are handed over as they are; a bus encodes them. Nothing but these crosses the link, so that another
carrier changes nothing else. `attempt` is the fence: an orchestrator ignores what is said of attempts it doesn't know.
"""

from __future__ import annotations

from typing import Protocol

from msgspec import Raw, Struct

from podium.workflow.model import ResourceRequirements

# How the incarnation begins of an agent that outlives the orchestrator's process: one that renews leases, and one
# whose every message does.
REMOTE = "bus."
FOREIGN = "ext."


class ErrorInfo(Struct, frozen=True, omit_defaults=True):
    """Why something failed: the error's type, its text and, for people, its traceback; each cut to its limit."""

    type: str
    message: str
    traceback: str = ""
    retryable: bool = True


class SecretReference(Struct, frozen=True, omit_defaults=True):
    """A secret, and where its value is found: in this variable, in this file; neither said: where its name leads."""

    name: str
    env: str = ""
    file: str = ""


class SecretPlace(Struct, frozen=True):
    """A text with secrets in it: the path to it, and the parts that it is put together of.

    The path begins with `input` (then the keys and indices in the arguments) or with `env` (then a variable's name).
    """

    path: tuple[str | int, ...]
    parts: tuple[str | SecretReference, ...]


# --- to an agent -------------------------------------------------------------------------------------------------


class Assignment(Struct, frozen=True, omit_defaults=True, tag_field="kind", tag="assignment"):
    """Do this. `arguments` is a JSON object; `timeout_seconds` counts from the acceptance.

    `lenient` arguments (a task without `input:`) may hold more than the function takes; the rest is left out. Where
    `secrets` leads, arguments and variables say `${secret.NAME}`: nobody but the agent's process puts the value in.
    """

    attempt: str
    agent: str
    execution: str
    tenant: str
    task: str  # with the instance: `research[2]`
    function: str
    arguments: Raw
    idempotency_key: str
    number: int = 1
    lenient: bool = False
    timeout_seconds: float | None = None
    lease_seconds: float = 15.0
    checkpoint: Raw = Raw(b"null")  # what the attempt before saved last
    env: tuple[tuple[str, str], ...] = ()  # environment variables of the task
    secrets: tuple[SecretPlace, ...] = ()


class Cancel(Struct, frozen=True, omit_defaults=True, tag_field="kind", tag="cancel"):
    """Stop this attempt: gracefully (the task sees `context.cancelled` or CancelledError), or at once by force."""

    attempt: str
    reason: str
    force: bool = False


class Confirmation(Struct, frozen=True, tag_field="kind", tag="confirmation"):
    """The result of this attempt is recorded (or known to be late); forget it."""

    attempt: str
    accepted: bool


class Drain(Struct, frozen=True, tag_field="kind", tag="drain"):
    """Take nothing new; finish or hand back within the grace, then leave."""

    grace_seconds: float = 10.0


ToAgent = Assignment | Cancel | Confirmation | Drain


# --- from an agent -----------------------------------------------------------------------------------------------


class Registration(Struct, frozen=True, omit_defaults=True, tag_field="kind", tag="registration"):
    """I am here. Another incarnation of the same agent means that everything the earlier one held is lost."""

    agent: str
    type: str
    incarnation: str
    capabilities: tuple[str, ...] = ()
    functions: tuple[str, ...] = ()  # empty: any
    slots: int = 1
    resources: ResourceRequirements = ResourceRequirements()
    version: str = "1.0"
    renews: bool = True  # False: a lease of 60 s, renewed by any message


class Accepted(Struct, frozen=True, tag_field="kind", tag="accepted"):
    """I have begun."""

    agent: str
    attempt: str


class Refused(Struct, frozen=True, tag_field="kind", tag="refused"):
    """I won't: full, draining. Costs no attempt."""

    agent: str
    attempt: str
    reason: str


class Progress(Struct, frozen=True, tag_field="kind", tag="progress"):
    """How far I am (0 to 1), in words; kept in memory for people to see."""

    agent: str
    attempt: str
    fraction: float
    message: str = ""


class Saved(Struct, frozen=True, tag_field="kind", tag="saved"):
    """Remember this for the next attempt, should this one be lost."""

    agent: str
    attempt: str
    number: int
    checkpoint: Raw


class Published(Struct, frozen=True, tag_field="kind", tag="published"):
    """Show this as the execution's status from now on; `number` counts those of the attempt, `value` is JSON."""

    agent: str
    attempt: str
    number: int
    value: Raw


class Renewal(Struct, frozen=True, tag_field="kind", tag="renewal"):
    """I am alive, and all of these still have a slot here: whether they work, or their thread can't be stopped."""

    agent: str
    attempts: tuple[str, ...]


class Succeeded(Struct, frozen=True, tag_field="kind", tag="succeeded"):
    """Done; `value` is JSON."""

    agent: str
    attempt: str
    value: Raw


class Failed(Struct, frozen=True, tag_field="kind", tag="failed"):
    """The attempt raised, or ran out of its time on the agent's own clock (`timed_out`), or was cancelled."""

    agent: str
    attempt: str
    error: ErrorInfo
    timed_out: bool = False
    cancelled: bool = False
    crashed: bool = False  # the worker process under it died
    holds_slot: bool = False  # its thread can't be stopped; a `Freed` follows when it returns


class Freed(Struct, frozen=True, tag_field="kind", tag="freed"):
    """The thread of an attempt that was reported as ended has returned; its slot is free again."""

    agent: str
    attempt: str


class HandedBack(Struct, frozen=True, tag_field="kind", tag="handed_back"):
    """I am leaving and haven't finished this; give it to another. Costs no attempt."""

    agent: str
    attempt: str


class Leaving(Struct, frozen=True, tag_field="kind", tag="leaving"):
    """I take nothing new; what I have I finish or hand back."""

    agent: str


class Left(Struct, frozen=True, tag_field="kind", tag="left"):
    """I am gone; whatever I held is lost."""

    agent: str
    incarnation: str


FromAgent = (
    Registration
    | Accepted
    | Refused
    | Progress
    | Saved
    | Published
    | Renewal
    | Succeeded
    | Failed
    | Freed
    | HandedBack
    | Leaving
    | Left
)


class Carrier(Protocol):
    """Takes messages to agents. `send` never blocks or fails: what can't be delivered is lost, and a lease ends."""

    def send(self, agent: str, message: ToAgent) -> None:
        """Give a message to an agent."""
        ...


class Receiver(Protocol):
    """The orchestrator's end: takes what agents say. Never blocks; False when its queue is full (say it again)."""

    def receive(self, message: FromAgent) -> bool:
        """Take a message from an agent."""
        ...


class LogLine(Struct, frozen=True):
    """One line that an attempt logged; kept in a bounded ring outside the event log."""

    execution: str
    task: str
    attempt: str
    at_us: int
    level: str
    text: str


class LogSink(Protocol):
    """Where attempts' log lines go. Never blocks; drops the oldest when it must, and counts them."""

    def write(self, line: LogLine) -> None:
        """Keep a line."""
        ...
