"""Podium's fixtures for pytest, there as soon as Podium is installed: `podium_clock`, `podium_memory`, `podium_faults`,
`podium_postgres` and `replay_history`.

Nothing of Podium is imported before a test asks for a fixture. `docs/testing.md` shows each.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Iterator
from os import PathLike
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

if TYPE_CHECKING:
    from podium.clock import VirtualClock
    from podium.engine.replay import Replay
    from podium.testing.faults import Faults
    from podium.testing.postgresserver import PostgresServer
    from podium.testing.simulation import Report
    from podium.workflow.model import Workflow, WorkflowResult

T = TypeVar("T")


class VirtualTime:
    """A clock that stands still until it is told to go on, and a loop on which waiting takes no time."""

    def __init__(self) -> None:
        from podium.clock import VirtualClock

        self.clock: VirtualClock = VirtualClock()

    def now_us(self) -> int:
        """Return the virtual time in microseconds since the epoch."""
        return self.clock.now_us()

    def advance(self, seconds: float) -> None:
        """Let so many seconds pass."""
        from podium.clock import seconds_to_us

        self.clock.advance(seconds_to_us(seconds))

    def run(self, work: Coroutine[Any, Any, T], seed: int = 0) -> T:
        """Run a coroutine to its end; what it waits for takes virtual time only. Raises DeadlockError if nothing will
        ever wake it.
        """
        from podium.testing.virtual import run_virtually

        return run_virtually(work, seed, self.clock)


class MemoryPodium:
    """A Podium that keeps nothing: each run has a store in memory of its own, and real agents."""

    def run(
        self,
        workflow: Workflow | str | PathLike[str],
        input: Any = None,
        *,
        agents: Iterable[str | type | Callable[..., Any]] = (),
        timeout_seconds: float | None = None,
    ) -> WorkflowResult:
        """Run a workflow (an object, a file's path or YAML text) to its end; return its result.

        `agents` are specs (`module:Name`), agent classes or task functions.
        """
        from podium.api.running import run

        return run(workflow, input, agents=agents, database=":memory:", timeout_seconds=timeout_seconds)


class FaultPlan:
    """Which faults strike in simulated runs of a workflow: all of them, until it is told otherwise."""

    def __init__(self) -> None:
        self._faults: Faults | None = None

    def only(self, *names: str, **rates: float) -> FaultPlan:
        """Let only these strike: by name as often as usual, or by rate from 0 to 1. Returns the plan itself.

        Raises KeyError for a fault that there isn't.
        """
        from msgspec.structs import replace

        from podium.testing.faults import named_faults

        self._faults = replace(named_faults([*names, *rates]), **rates)
        return self

    def none(self) -> FaultPlan:
        """Let nothing strike. Returns the plan itself."""
        return self.only()

    def simulate(
        self,
        workflow: Workflow | str | PathLike[str],
        input: Any = None,
        *,
        agents: Iterable[str | type | Callable[..., Any]] | None = None,
        seeds: Iterable[int] = range(20),
    ) -> list[Report]:
        """Run a workflow once for each seed and return the reports; a run that isn't sound fails the test.

        Without `agents` they are scripted; with them their own code runs, and what isn't idempotent is found.
        """
        import msgspec

        from podium.api.loading import workflow_from
        from podium.testing.code import code_behind
        from podium.testing.simulation import simulate
        from podium.workflow.inputs import check_input

        loaded = workflow_from(workflow)
        check_input(loaded, input)
        code = code_behind(loaded, agents) if agents is not None else None
        reports = []
        for seed in seeds:
            report = simulate(loaded, seed, self._faults, given=msgspec.json.encode(input), code=code)
            report.check()
            reports.append(report)
        return reports


@pytest.fixture
def podium_clock() -> VirtualTime:
    """Virtual time: `now_us`, `advance`, and `run` for coroutines that wait."""
    return VirtualTime()


@pytest.fixture
def podium_memory() -> MemoryPodium:
    """A Podium in memory: `podium_memory.run(workflow, input, agents=[…])` returns the result."""
    return MemoryPodium()


@pytest.fixture
def podium_faults() -> FaultPlan:
    """A fault plan: `podium_faults.only("agent_dies").simulate(workflow)`."""
    return FaultPlan()


@pytest.fixture(scope="session")
def podium_postgres() -> Iterator[PostgresServer]:
    """A real PostgreSQL server for all tests of the process; without its programs a test is skipped, in CI it fails.

    Make a database for each test: `podium_postgres.create_database("one")` returns its URL.
    """
    from podium.testing.postgresserver import postgres_server

    with postgres_server() as server:
        yield server


@pytest.fixture
def replay_history() -> Callable[[str | PathLike[str]], Replay]:
    """`replay_history(path)`: decides a recorded history again; raises where today's code would decide differently."""
    from podium.testing.histories import replay_history

    return replay_history
