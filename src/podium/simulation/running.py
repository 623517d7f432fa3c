"""One workflow run by the real engine and the real placement, on virtual time, with a store in memory.

Agents accept what they are given and say that it is done when its time is over. Nothing of the workflow's own is run:
results have the shape that its expressions ask for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from math import ceil
from typing import Any

import msgspec
from msgspec import Raw, Struct

from podium.clock import SECOND
from podium.engine.recovery import inline
from podium.engine.runtime import Engine, EngineSettings
from podium.fleet import messages as msg
from podium.simulation.crew import Crew, SimulatedAgent, crew_for
from podium.simulation.schedule import Ran, SimulatedRun, task_of
from podium.simulation.shapes import Shapes
from podium.simulation.virtual import ExactLoop, PacedLoop, VirtualLoop, run_on
from podium.store.memory import MemoryStore
from podium.workflow.model import ExecutionStatus, TaskStatus, Workflow
from podium.workflow.plan import UNIT_SECONDS, known_durations

_FOREVER_SECONDS = 1e11
# Nobody else is there: no inbox to look into, no agent that could fall silent, no process that could die.
_SETTINGS = EngineSettings(
    lease_seconds=_FOREVER_SECONDS,
    foreign_lease_seconds=_FOREVER_SECONDS,
    lease_check_seconds=_FOREVER_SECONDS,
    inbox_poll_seconds=_FOREVER_SECONDS,
    timer_poll_seconds=_FOREVER_SECONDS,
    idle_seconds=_FOREVER_SECONDS,
    snapshot_bytes=1 << 60,
    max_arrivals=10_000_000,
)


class Moment(Struct, frozen=True):
    """How far a simulated run is."""

    seconds: float
    done: int  # attempts that have ended
    running: int


Watcher = Callable[[Moment], None]


def simulate(
    workflow: Workflow,
    agents: int | None = None,
    capacity: Mapping[str, float] | None = None,
    *,
    given: bytes = b"null",
    speed: float | None = None,
    watcher: Watcher | None = None,
    priority: int | None = None,
    timeout_seconds: float | None = None,
) -> SimulatedRun:
    """Run a valid workflow on virtual time: at once, or so many times faster than real time.

    `agents` and `capacity` are as for `crew_for`; `given` is the execution's input, JSON; `watcher` is told of each
    attempt that ends; `priority` and `timeout_seconds` are as of a submission. A task takes what `estimated_duration`
    says, else one second. Raises InvalidInputError for a crew that can't do it.
    """
    crew = crew_for(workflow, agents, capacity)
    known = known_durations(workflow)
    durations = {task.id: _whole_microseconds(known.get(task.id, UNIT_SECONDS)) for task in workflow.tasks}
    loop = ExactLoop() if speed is None else PacedLoop(speed)
    loop.max_turns = 1 << 60  # that it comes to an end is the engine's promise
    stage = _Stage(loop, crew, durations, Shapes(workflow), watcher)
    state = run_on(loop, stage.run(given, priority=priority, timeout_seconds=timeout_seconds))
    return SimulatedRun(
        workflow=workflow,
        crew=crew,
        status=state.status,
        ran=tuple(sorted(stage.ran, key=lambda ran: ran.start_seconds)),
        durations=durations,
        guessed=sum(task.id not in known for task in workflow.tasks),
        error=state.error,
        skipped=state.skipped,
    )


class _End(Struct, frozen=True):
    status: ExecutionStatus
    error: str
    skipped: tuple[str, ...]


class _Stage:
    """The agents of one run; a Carrier for the engine."""

    def __init__(
        self, loop: VirtualLoop, crew: Crew, durations: Mapping[str, float], shapes: Shapes, watcher: Watcher | None
    ) -> None:
        self.ran: list[Ran] = []
        self._loop = loop
        self._crew = crew
        self._durations = durations
        self._shapes = shapes
        self._watcher = watcher
        self._running: dict[str, tuple[asyncio.TimerHandle, msg.Assignment, float]] = {}
        self._engine: Engine | None = None

    async def run(self, given: bytes, **options: Any) -> _End:
        """Run the workflow to its end."""
        engine = self._engine = Engine(
            MemoryStore(clock=self._loop.clock), self, clock=self._loop.clock, settings=_SETTINGS, offload=inline
        )
        await engine.start()
        for agent in self._crew.agents:
            engine.receive(_registration(agent))
        execution = await engine.submit(self._crew.workflow, given, **options)
        status = await engine.finished(execution)
        state = await engine.state_of(execution)
        await engine.stop()
        skipped = tuple(path for path, task in state.tasks.items() if task.status is TaskStatus.SKIPPED)
        return _End(status, state.error.message if state.error is not None else "", skipped)

    # --- the agents ------------------------------------------------------------------------------------------------

    def send(self, agent: str, message: msg.ToAgent) -> None:
        """Take a message of the engine's to an agent."""
        match message:
            case msg.Assignment():
                self._begin(message)
            case msg.Cancel(attempt, _, _):
                self._end(attempt, "cancelled")
            case _:
                pass  # nothing is held until it is confirmed: what is said here is always heard

    def _begin(self, assignment: msg.Assignment) -> None:
        attempt = assignment.attempt
        if attempt in self._running:
            return
        seconds = self._durations[task_of(assignment.task)]
        outcome = "succeeded"
        if assignment.timeout_seconds is not None and assignment.timeout_seconds < seconds:
            seconds, outcome = assignment.timeout_seconds, "timed out"
        handle = self._loop.call_later(seconds, self._end, attempt, outcome)
        self._running[attempt] = (handle, assignment, self._loop.time())
        self._say(msg.Accepted(assignment.agent, attempt))

    def _end(self, attempt: str, outcome: str) -> None:
        found = self._running.pop(attempt, None)
        if found is None:
            return
        handle, assignment, since = found
        handle.cancel()
        now = self._loop.time()
        self.ran.append(Ran(assignment.task, assignment.number, assignment.agent, since, now, outcome))
        self._say(self._result(assignment, outcome))
        if self._watcher is not None:
            self._watcher(Moment(now, len(self.ran), len(self._running)))

    def _result(self, assignment: msg.Assignment, outcome: str) -> msg.FromAgent:
        agent, attempt = assignment.agent, assignment.attempt
        if outcome == "succeeded":
            value = self._shapes.of(assignment.task)
            return msg.Succeeded(agent, attempt, Raw(msgspec.json.encode({} if value is None else value)))
        if outcome == "cancelled":
            return msg.Failed(agent, attempt, msg.ErrorInfo("Cancelled", "cancelled"), cancelled=True)
        takes, may_take = self._durations[task_of(assignment.task)], assignment.timeout_seconds
        text = f"{assignment.task} takes {takes:g} s, and has {may_take:g} s"
        return msg.Failed(agent, attempt, msg.ErrorInfo("TimeoutError", text), timed_out=True)

    def _say(self, message: msg.FromAgent) -> None:
        assert self._engine is not None
        self._engine.receive(message)


def _whole_microseconds(seconds: float) -> float:
    """Return a duration as the virtual clock knows it."""
    return ceil(seconds * SECOND - 1e-3) / SECOND


def _registration(agent: SimulatedAgent) -> msg.Registration:
    return msg.Registration(
        agent.id, agent.type, f"{agent.id}#1", agent.capabilities, slots=agent.slots, resources=agent.resources
    )
