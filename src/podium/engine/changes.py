"""What changes for placement, as an execution's owner tells the replica that places: small values, MessagePack on the
way. `Exports` gathers them where that is another replica. Pure.
"""

from __future__ import annotations

from enum import IntEnum

import msgspec
from msgspec import Struct

from podium.exceptions import CorruptHistoryError
from podium.fleet.breaker import Sign
from podium.scheduling.ready import Bound, ReadyTask
from podium.scheduling.resources import NOTHING, Vector
from podium.workflow.model import CircuitBreaker

PLACING = "placing"  # the kind of inbox rows that bring changes


class How(IntEnum):
    """How an attempt ended, as far as its slot and its agent are concerned."""

    BY_AGENT = 0  # its agent said so
    ENDED_BY_US = 1  # the agent's word is awaited
    HOLDS_SLOT = 2  # its thread goes on
    LOST = 3  # nothing was heard of its agent
    REFUSED = 4  # its agent is full
    DRAINING = 5  # its agent leaves
    NOT_BEGUN = 6  # the grant came too late


class Queued(Struct, frozen=True, array_like=True, tag=0, gc=False):
    """A task waits for an agent."""

    task: str
    number: int
    attempt: str
    agent_type: str
    priority: int
    ready_us: int
    needs: dict[str, float]
    capabilities: tuple[str, ...]
    function: str
    preferred: str
    circuit: CircuitBreaker | None = None
    bounds: tuple[Bound, ...] = ()
    version: str = ""

    def ready_task(self, execution: str) -> ReadyTask:
        """Return it as placement has it."""
        return ReadyTask(
            execution, self.task, self.number, self.attempt, self.agent_type, self.priority, self.ready_us,
            self.needs or NOTHING, frozenset(self.capabilities), self.function, self.preferred, self.circuit,
            self.bounds, self.version,
        )  # fmt: skip


class Withdrawn(Struct, frozen=True, array_like=True, tag=1, gc=False):
    """A task waits no more."""

    task: str


class WithdrawnAll(Struct, frozen=True, array_like=True, tag=2, gc=False):
    """Nothing of the execution waits any more."""


class Ended(Struct, frozen=True, array_like=True, tag=3, gc=False):
    """An attempt has ended."""

    attempt: str
    how: How
    sign: Sign = Sign.NOTHING
    agent: str = ""


class Kept(Struct, frozen=True, array_like=True, tag=4, gc=False):
    """An attempt is live with this agent, whatever another grant of it said."""

    attempt: str
    agent: str
    incarnation: str
    needs: dict[str, float]
    bounds: tuple[Bound, ...] = ()


class Freed(Struct, frozen=True, array_like=True, tag=5, gc=False):
    """The thread of an attempt that has ended has returned."""

    attempt: str


class Begun(Struct, frozen=True, array_like=True, tag=6, gc=False):
    """The grant of an attempt that a limit counts is committed."""

    attempt: str


Change = Queued | Withdrawn | WithdrawnAll | Ended | Kept | Freed | Begun
Changes = tuple[str, int, list[Change]]  # of an execution, with the sequence at which they were decided (0: at none)

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[list[Changes]] = msgspec.msgpack.Decoder(list[Changes])


def encode_changes(told: list[Changes]) -> bytes:
    """Return changes as they are written to the inbox."""
    return _encoder.encode(told)


def decode_changes(payload: bytes) -> list[Changes]:
    """Return the changes of an inbox row. Raises CorruptHistoryError."""
    try:
        return _decoder.decode(payload)
    except msgspec.DecodeError as error:
        raise CorruptHistoryError(f"changes for placement can't be read: {error}") from error


class Exports:
    """A desk that keeps what it is told, until it is taken to the replica that places."""

    def __init__(self) -> None:
        self._changes: list[Change] = []

    def take(self) -> list[Change]:
        """Return, once, what has gathered."""
        taken, self._changes = self._changes, []
        return taken

    def enqueue(self, ready: ReadyTask) -> None:
        """A task waits for an agent."""
        self._changes.append(
            Queued(
                ready.task, ready.number, ready.attempt, ready.agent_type, ready.priority, ready.ready_us,
                dict(ready.needs), tuple(ready.capabilities), ready.function, ready.preferred, ready.circuit,
                ready.bounds, ready.version,
            )
        )  # fmt: skip

    def withdraw(self, execution: str, task: str) -> None:
        """A task waits no more."""
        self._changes.append(Withdrawn(task))

    def withdraw_all(self, execution: str) -> None:
        """Nothing of the execution waits any more."""
        self._changes.append(WithdrawnAll())

    def end(self, attempt: str, how: How, sign: Sign = Sign.NOTHING, agent: str = "") -> None:
        """An attempt has ended."""
        self._changes.append(Ended(attempt, how, sign, agent))

    def keep(
        self,
        attempt: str,
        execution: str,
        agent: str,
        incarnation: str,
        needs: Vector,
        bounds: tuple[Bound, ...] = (),
    ) -> None:
        """An attempt is live with this agent."""
        self._changes.append(Kept(attempt, agent, incarnation, dict(needs), bounds))

    def begin(self, attempt: str) -> None:
        """The grant of an attempt that a limit counts is decided: its commit takes the word along."""
        self._changes.append(Begun(attempt))
