"""The simulator: a world in one process on virtual time, in which the real engine, placement and store meet scripted
agents, clients that meddle, and every fault. All that happens follows from one seed.

`simulate(workflow, seed, faults)` runs one world to its end and asks the oracle; a report that isn't `sound` prints as
the seed, what is broken, and a transcript of everything that happened.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from podium.agents.sdk import AgentDefinition
from podium.ids import execution_id_for
from podium.store.memory import MemoryStore
from podium.store.protocol import DEFAULT_TENANT
from podium.testing.busworld import BusWorld
from podium.testing.code import own_folder
from podium.testing.faults import (
    SWARM,
    Faults,
    drawn,
    drawn_bus,
    drawn_replicas,
    drawn_steering,
    has_bus,
    has_replicas,
)
from podium.testing.limits import with_limits
from podium.testing.outside import with_waits
from podium.testing.repeats import NotIdempotent
from podium.testing.replicaworld import ReplicaWorld
from podium.testing.virtual import DeadlockError, EndlessError, UnhandledError, VirtualLoop, run_virtually, virtual_loop
from podium.testing.workflows import random_workflow, with_few_runs, with_questions
from podium.testing.world import World
from podium.workflow.model import Workflow
from podium.workflow.validation import validate

MAX_TURNS = 400_000  # a run takes some ten thousand


class Report(Struct):
    """How one simulated run went."""

    seed: int
    broken: list[str]
    transcript: list[tuple[float, str]]
    executions: dict[str, str]  # with the status that each ended in
    faults: dict[str, int]  # how often each struck
    virtual_seconds: float
    appends: int
    repeats: list[NotIdempotent]  # of tasks whose own code ran
    ran_again: dict[str, int]  # how often such tasks were run again with the same key
    store: MemoryStore
    limited: int = 0  # attempts that a limit by key counted

    @property
    def sound(self) -> bool:
        """Whether every invariant held."""
        return not self.broken and not self.repeats

    @property
    def problems(self) -> list[str]:
        """What is broken, and which tasks aren't idempotent."""
        return [*self.broken, *dict.fromkeys(str(found) for found in self.repeats)]

    def check(self) -> None:
        """Raise AssertionError, with all that happened, unless the run is sound."""
        if not self.sound:
            raise AssertionError(str(self))

    def __str__(self) -> str:
        if self.sound:
            ended = f"{len(self.executions)} executions, {self.virtual_seconds:.0f} virtual seconds"
            return f"seed {self.seed}: sound; {ended}"
        lines = [f"seed {self.seed} breaks:", *(f"  {what}" for what in self.problems), "what happened:"]
        return "\n".join([*lines, *(f"  {at:11.3f}  {what}" for at, what in self.transcript)])


def simulate(
    workflow: Workflow | None = None,
    seed: int = 0,
    faults: Faults | None = None,
    *,
    swarm: Faults = SWARM,
    given: bytes = b'{"n":1}',
    code: Mapping[str, AgentDefinition] | None = None,
    without: Collection[str] = (),
    strikes: int | None = None,
    replicas: int | None = None,
    limits: float = 0.0,
    waits: float = 0.0,
) -> Report:
    """Run one simulated world.

    Without a workflow the run draws one; without faults it draws from `swarm` those that it has (a bus only for
    scripted agents). Of these the kinds in `without` never strike, and no more than `strikes` altogether. `given` is
    the executions' input, JSON. `code` are agents by type whose own functions run, in an empty folder; without it the
    agents are scripted. `limits` is the share of drawn workflows that get limits by key, `waits` that of those
    that get tasks which no agent does. A workflow that continues as new does so twice. Raises WorkflowInvalidError.
    """
    if workflow is not None:
        validate(workflow)
    worlds: list[World] = []

    async def whole() -> None:
        loop = virtual_loop()
        loop.max_turns = MAX_TURNS
        chance = loop.chance
        chosen = faults if faults is not None else drawn(swarm, chance)
        if faults is None and code is None:  # what code does is its own, whatever carries its results
            chosen = drawn_bus(chosen, swarm, random.Random(f"bus {seed}"))
        if faults is None:
            more = swarm if replicas is None else replace(swarm, replicas=1.0)
            chosen = drawn_replicas(chosen, more, random.Random(f"replicas {seed}"))
            chosen = drawn_steering(chosen, swarm, random.Random(f"steering {seed}"))
        own = with_few_runs(workflow) if workflow is not None else random_workflow(chance)
        drawing = random.Random(f"limits {seed}")
        if workflow is None and drawing.random() < limits:
            own = with_limits(own, drawing)
        if workflow is None and chosen.steering:  # somebody is there to be asked
            own = with_questions(own, random.Random(f"questions {seed}"))
        drawing = random.Random(f"waits {seed}")
        if workflow is None and drawing.random() < waits:
            own = with_waits(own, drawing, [execution_id_for(DEFAULT_TENANT, "order-0")])
        options: dict[str, Any] = {"given": given, "code": code, "pooled": workflow is None}
        if replicas is not None or has_replicas(chosen):
            world: World = ReplicaWorld(loop, own, chosen, replicas=replicas, **options)
        elif has_bus(chosen) and "bus" not in without:
            world = BusWorld(loop, own, chosen, **options)
        else:
            world = World(loop, own, chosen, **options)
        world.fate.muted, world.fate.at_most = frozenset(without), strikes
        worlds.append(world)
        with _log_lines(world):
            await world.run()

    broken: list[str] = []
    try:
        with own_folder(code is not None):
            run_virtually(whole(), seed)
    except (DeadlockError, EndlessError, UnhandledError) as error:
        broken.append(f"I5: {type(error).__name__}: {error}")
    world = worlds[0]
    return Report(
        seed=seed,
        broken=[*world.broken, *broken],
        transcript=world.transcript,
        executions=world.executions,
        faults=world.fate.counts,
        virtual_seconds=world.loop.time(),
        appends=world.appends,
        repeats=world.repeats.found,
        ran_again=world.repeats.ran_again(),
        store=world.disk,
        limited=world.limits.counted,
    )


class _IntoTranscript(logging.Handler):
    def __init__(self, world: World) -> None:
        super().__init__()
        self._world = world

    def emit(self, record: logging.LogRecord) -> None:
        said = record.getMessage().partition(" exception=")[0]  # a traceback's paths are this machine's
        self._world.tell(f"log {record.levelname.lower()}: {said}")
        if record.exc_info and record.exc_info[1] is not None and record.levelno >= logging.ERROR:
            self._world.tell(f"  {record.exc_info[1]!r}")


@contextmanager
def _log_lines(world: World) -> Iterator[None]:
    """Put what Podium logs into the transcript instead of where it goes otherwise."""
    logger = logging.getLogger("podium")
    handler = _IntoTranscript(world)
    handler.setLevel(logging.WARNING)
    propagates, logger.propagate = logger.propagate, False
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagates


__all__ = ["Report", "VirtualLoop", "simulate"]
