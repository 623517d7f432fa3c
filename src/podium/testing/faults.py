"""What may go wrong in a simulated world, how often, and the store through which it does.

A probability is of one occasion: an append, a message, an attempt. `SWARM` draws for each run which faults it has at
all, so that rare ones aren't drowned by frequent ones.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from podium.exceptions import StoreUnavailableError
from podium.store.memory import MemoryStore
from podium.store.protocol import Append
from podium.testing.torn import FailingParts, Fault

T = TypeVar("T")


class SimulatedCrash(BaseException):
    """The orchestrator's process is gone, here and now."""


class Faults(Struct, frozen=True):
    """How often each fault happens, from 0 to 1, while the world isn't calm."""

    crash_before_commit: float = 0.0
    crash_after_commit: float = 0.0
    crash_after_send: float = 0.0
    crash_anywhere: float = 0.0  # at any other call of the store: while loading, at a take-over
    stop: float = 0.0  # at each look of the world: a stop in good order, then a start
    append_fails: float = 0.0
    append_unknown: float = 0.0  # committed, and reported as failed
    outage: float = 0.0  # at an append: nothing can be read or written for a while
    slow_store: float = 0.0
    message_lost: float = 0.0
    message_doubled: float = 0.0
    message_late: float = 0.0
    attempt_fails: float = 0.0
    worker_dies: float = 0.0  # and is reported by its agent
    agent_dies: float = 0.0  # with all that it holds, and comes back
    agent_silent: float = 0.0  # neither renews nor answers
    agent_late: float = 0.0  # answers after its lease has ended
    agent_leaves: float = 0.0
    answers_twice: float = 0.0
    slot_stuck: float = 0.0  # a thread that outlives its attempt
    clock_jumps: float = 0.0  # at a start
    stall: float = 0.0  # at each look of the world: the process stands still
    meddling: float = 0.0  # at each look of the world: somebody pauses, resumes, cancels, retries, signals
    crash_during_commit: float = 0.0  # in the middle of a write: nothing of it may be there
    clock_freezes: float = 0.0  # at each look of the world: for a while every time is the same
    clock_leaps: float = 0.0  # at each look of the world: an hour has passed
    steering: float = 0.0  # at each look of the world: somebody skips or completes a task, or has one run again
    # of worlds whose agents are elsewhere, behind a bus; each of these makes a world one of them
    bus: float = 0.0  # drawn once for each world
    bus_restarts: float = 0.0  # at each look: it is away for a while, and what was under way is lost
    bus_forgets: float = 0.0  # at each look: its streams and consumers, or the last messages that it kept
    bus_cut: float = 0.0  # at each look: one of its connections is gone for a while
    redelivered: float = 0.0  # a stream's message comes again though it has arrived
    ack_lost: float = 0.0  # an acknowledgement to a stream
    acks_stop: float = 0.0  # at each look: for a while no acknowledgement arrives
    agent_restarts: float = 0.0  # at each look: an agent's process is killed and is there again at once
    agent_stands: float = 0.0  # at each look: an agent's process stands still for two minutes, then goes on
    agent_replaced: float = 0.0  # while it stands still: another process takes its name
    # of worlds with several orchestrators that share the store; each of these makes a world one of them
    replicas: float = 0.0  # drawn once for each world
    replica_stands: float = 0.0  # at each look: one stands still for up to two minutes, then goes on
    replica_rolls: float = 0.0  # at each look: one of the same name starts while it is stopped in good order
    replica_storm: float = 0.0  # at each look: several come and leave within the minute
    takeover_dies: float = 0.0  # while it takes over what somebody else had
    store_cut: float = 0.0  # at each look: one doesn't reach the store for a while, or doesn't hear its answers
    statement_late: float = 0.0  # reported as failed, and carried out thereafter
    answer_lost: float = 0.0  # of a statement that was carried out
    wakeup_lost: float = 0.0  # what the store tells of what others did
    bus_parts: float = (
        0.0  # at each look: one and some agents don't hear each other for a while, or one of them doesn't
    )


NO_FAULTS = Faults()
SWARM = Faults(
    crash_before_commit=0.03,
    crash_after_commit=0.03,
    crash_after_send=0.02,
    crash_anywhere=0.005,
    stop=0.02,
    append_fails=0.05,
    append_unknown=0.05,
    outage=0.01,
    slow_store=0.1,
    message_lost=0.1,
    message_doubled=0.1,
    message_late=0.1,
    attempt_fails=0.15,
    worker_dies=0.04,
    agent_dies=0.04,
    agent_silent=0.03,
    agent_late=0.03,
    agent_leaves=0.02,
    answers_twice=0.1,
    slot_stuck=0.5,
    clock_jumps=0.2,
    stall=0.02,
    meddling=0.05,
    crash_during_commit=0.02,
    clock_freezes=0.03,
    clock_leaps=0.003,
    steering=0.05,
    bus=0.15,
    bus_restarts=0.02,
    bus_forgets=0.02,
    bus_cut=0.04,
    redelivered=0.1,
    ack_lost=0.2,
    acks_stop=0.02,
    agent_restarts=0.03,
    agent_stands=0.02,
    agent_replaced=0.5,
    replica_stands=0.03,
    replica_rolls=0.03,
    replica_storm=0.01,
    takeover_dies=0.15,
    store_cut=0.03,
    statement_late=0.01,
    answer_lost=0.02,
    wakeup_lost=0.3,
    bus_parts=0.03,
)
_KINDS = Faults.__struct_fields__
BUS_KINDS = _KINDS[_KINDS.index("bus") : _KINDS.index("replicas")]
REPLICA_KINDS = _KINDS[_KINDS.index("replicas") :]
BUS_SWARM = replace(SWARM, bus=1.0, replicas=0.0, steering=0.0)  # every world has a bus
REPLICA_SWARM = replace(SWARM, bus=0.0, replicas=1.0, steering=0.0)  # every world has several orchestrators
STEERING_SWARM = replace(SWARM, steering=0.4)  # where people are there, they decide much
FIRST_SWARM = replace(  # whose seeds are kept
    SWARM,
    crash_during_commit=0.0,
    clock_freezes=0.0,
    clock_leaps=0.0,
    steering=0.0,
    **dict.fromkeys((*BUS_KINDS, *REPLICA_KINDS), 0.0),
)


def drawn(faults: Faults, chance: random.Random) -> Faults:
    """Return the faults of one run: each kind that may be there is there or isn't. Those of a bus or of replicas, and
    steering, never are.
    """
    rates = msgspec.structs.asdict(faults).items()
    apart = (*BUS_KINDS, *REPLICA_KINDS, "steering")
    return Faults(**{kind: rate for kind, rate in rates if kind not in apart and rate and chance.random() < 0.5})


def drawn_bus(chosen: Faults, faults: Faults, chance: random.Random) -> Faults:
    """Return a run's faults with those of its bus, if it has one.

    They have a `chance` of their own, so that runs without a bus stay what they were before there was one.
    """
    return _drawn_too(chosen, faults, chance, BUS_KINDS)


def drawn_replicas(chosen: Faults, faults: Faults, chance: random.Random) -> Faults:
    """Return a run's faults with those of its replicas, if it has several; likewise."""
    return _drawn_too(chosen, faults, chance, REPLICA_KINDS)


def drawn_steering(chosen: Faults, faults: Faults, chance: random.Random) -> Faults:
    """Return a run's faults with people who decide about tasks, if it has some; likewise."""
    return replace(chosen, steering=faults.steering) if faults.steering and chance.random() < 0.5 else chosen


def _drawn_too(chosen: Faults, faults: Faults, chance: random.Random, kinds: Sequence[str]) -> Faults:
    if not chance.random() < getattr(faults, kinds[0]):
        return chosen
    rates = {kind: getattr(faults, kind) for kind in kinds}
    return replace(chosen, **{kind: rate for kind, rate in rates.items() if kind == kinds[0] or chance.random() < 0.5})


def has_bus(faults: Faults) -> bool:
    """Whether the agents of a run with these faults are behind a bus."""
    return any(getattr(faults, kind) for kind in BUS_KINDS)


def has_replicas(faults: Faults) -> bool:
    """Whether several orchestrators share the store in a run with these faults."""
    return any(getattr(faults, kind) for kind in REPLICA_KINDS)


def named_faults(names: Sequence[str]) -> Faults:
    """Return the faults of these names, as often as `SWARM` has them. Raises KeyError for another name."""
    if unknown := [name for name in names if name not in Faults.__struct_fields__]:
        raise KeyError(unknown[0])
    return Faults(**{name: getattr(SWARM, name) for name in names})


class Fate(Struct):
    """Decides what happens: the faults in force, the chance they are drawn from, and what to tell the transcript."""

    faults: Faults
    chance: random.Random
    tell: Callable[[str], None]
    calm: bool = False
    counts: dict[str, int] = {}
    muted: frozenset[str] = frozenset()  # kinds that are drawn, but never strike: the rest of the run stays as it was
    at_most: int | None = None  # so many faults strike, and no more
    struck: int = 0

    def strikes(self, kind: str) -> bool:
        """Whether a fault happens on this occasion."""
        rate: float = getattr(self.faults, kind)
        if self.calm or not rate or self.chance.random() >= rate:
            return False
        if kind in self.muted or (self.at_most is not None and self.struck >= self.at_most):
            return False
        self.struck += 1
        self.counts[kind] = self.counts.get(kind, 0) + 1
        self.tell(f"FAULT {kind}")
        return True


class FaultyStore(MemoryStore):
    """One process' handle on a memory store: slow, failing, and dead after a crash."""

    def __init__(
        self,
        healthy: MemoryStore,
        fate: Fate,
        crash: Callable[[str], None],
        wrote: Callable[[Append], None] = lambda batch: None,
    ) -> None:
        super().__init__(healthy._data)
        self._wrote = wrote
        self._fate = fate
        self._crash = crash
        self.dead = False
        self._out_until = 0.0
        self._inbox_seen = 0

    async def append(self, batch: Append) -> None:
        """Append, or not, or not quite."""
        await self._reach("append")
        fate = self._fate
        await self._end_if(fate.strikes("crash_before_commit"), "before the commit")
        if fate.strikes("crash_during_commit"):
            await self._tear(batch)
        if fate.strikes("outage"):
            self._out_until = asyncio.get_running_loop().time() + fate.chance.uniform(0.1, 20)
            raise StoreUnavailableError("simulated: the disk is full")
        if fate.strikes("append_fails"):
            raise StoreUnavailableError("simulated: the append failed")
        await super().append(batch)
        fate.tell(told_of(batch))
        self._wrote(batch)
        await self._end_if(fate.strikes("crash_after_commit"), "after the commit")
        if fate.strikes("append_unknown"):
            raise StoreUnavailableError("simulated: the answer to a commit was lost")
        await self._reach("append's answer")

    async def _tear(self, batch: Append) -> None:
        """Die in the middle of a write, at any of its parts; the memory store keeps all of an append or nothing."""
        parts = [name for name in ("rows", "executions", "blobs", "inbox", "drained") if getattr(batch, name)]
        part = self._fate.chance.choice(parts) if parts else "rows"
        content = list(getattr(batch, part))
        torn = FailingParts(content, self._fate.chance.randrange(max(len(content), 1)))
        with contextlib.suppress(Fault):
            await super().append(replace(batch, **{part: torn}))
            self._wrote(batch)
        await self._end_if(True, f"while it wrote {part}")

    async def changed(self) -> bool:
        """Return whether another handle has posted to the inbox, as a file would tell."""
        seen, self._inbox_seen = self._inbox_seen, self._data.last_inbox_id
        return seen != self._inbox_seen

    async def _reach(self, what: str) -> None:
        """Take the time that a call takes, unless it can't be made at all."""
        fate = self._fate
        loop = asyncio.get_running_loop()
        await asyncio.sleep(fate.chance.uniform(0.01, 3.0) if fate.strikes("slow_store") else 0)
        if self.dead:
            await loop.create_future()  # the process is gone, and nothing comes back to it
        await self._end_if(fate.strikes("crash_anywhere"), what)
        if loop.time() < self._out_until and not fate.calm:
            raise StoreUnavailableError("simulated: the store doesn't answer")

    async def _end_if(self, struck: bool, where: str) -> None:
        if struck:
            self._crash(where)
            await asyncio.get_running_loop().create_future()


def told_of(batch: Append) -> str:
    """Return an append in a few words."""
    rows = " ".join(
        f"{row.execution[-4:]}:{row.input_id.replace(row.execution, '~')}@{row.sequence}" for row in batch.rows
    )
    return f"commit {rows or 'drained ' + repr(list(batch.drained))}"


def _reaching(name: str) -> Any:
    method: Callable[..., Awaitable[Any]] = getattr(MemoryStore, name)

    async def reach(self: FaultyStore, *arguments: Any, **named: Any) -> Any:
        await self._reach(name)
        return await method(self, *arguments, **named)

    reach.__name__ = name
    reach.__doc__ = f"Do what a memory store's `{name}` does, if it can be reached."
    return reach


_REACHED: Sequence[str] = (
    "take", "load", "recorded", "post", "inbox", "due", "active", "put_snapshot", "get", "put", "execution",
    "executions", "history", "shards",
)  # fmt: skip
for _name in _REACHED:
    setattr(FaultyStore, _name, _reaching(_name))
