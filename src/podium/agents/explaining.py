"""Why an execution isn't further, and what its live attempts report: said here where it is run here, else asked of the
process that runs it. Why a ready task has no agent, only the replica knows that gives tasks to agents.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from podium.agents.crew import Crew
from podium.agents.local import LocalAgents
from podium.clock import Clock
from podium.engine.explain import Explanation, Sources, explain, headline, why_waiting
from podium.engine.following import Follower
from podium.engine.runtime import Engine
from podium.engine.state import State
from podium.store.owners import Owners
from podium.workflow.model import TaskStatus

MOST_EXPLAINED = 10_000  # ready tasks of an execution about which another replica is asked
NOBODY_PLACES = "no replica gives tasks to agents at the moment; one takes that over within seconds"
ELSEWHERE = "the execution is another replica's"


class Explaining:
    """Answers people of this process, and other processes."""

    def __init__(
        self,
        owners: Owners,
        crew: Crew,
        clock: Clock,
        *,
        engine: Callable[[], Engine | None],
        agents: Callable[[], LocalAgents | None],
        follower: Callable[[str], Awaitable[Follower]],
    ) -> None:
        """`engine` and `agents` are those of this process, if it has any; `follower` follows an execution."""
        self._owners = owners
        self._crew = crew
        self._clock = clock
        self._engine = engine
        self._agents = agents
        self._follower = follower

    async def explain(self, execution: str) -> tuple[str, list[Explanation]]:
        """Return a sentence about the execution and why each unfinished task waits."""
        if self._runs(execution) is None:
            answer = await self._owners.ask({"op": "explain", "execution": execution}, execution)
            if answer is not None and "headline" in answer:
                return answer["headline"], msgspec.convert(answer["tasks"], list[Explanation])
        state = (await self._follower(execution)).state
        now_us, engine = self._clock.now_us(), self._runs(execution)
        if not state.sequence:
            admission = engine.admission if engine is not None else None
            return why_waiting(now_us - state.created_us, admission, execution), []
        sources = await self._sources(engine, state) if engine is not None else None
        owned = sources is not None or bool(await self._owners.named(execution))
        return headline(state, now_us, owned), list(explain(state, now_us, sources))

    async def activity(self, execution: str) -> dict[str, dict[str, Any]]:
        """Return what live attempts report by task: agent, attempt (from 1 in each run), fraction (0 to
        1) and message. Empty without an owner."""
        engine = self._runs(execution)
        if engine is None:
            answer = await self._owners.ask({"op": "activity", "execution": execution}, execution)
            return dict(answer.get("tasks", {})) if answer is not None else {}
        state = engine.residency.states.get(execution)
        return {
            lease.task: {
                "agent": lease.agent,
                "attempt": lease.number if state is None else state.number_in_run(lease.number),
                "fraction": lease.fraction,
                "message": lease.message,
            }
            for lease in engine.staffing.leases.of_execution(execution)
        }

    async def answer(self, asked: dict[str, Any]) -> dict[str, Any] | None:
        """Answer another process; None when that isn't a question of this kind. It is asked no further from here."""
        match asked:
            case {"op": "explain" | "activity", "execution": str(execution)} if self._runs(execution) is None:
                return {"error": ELSEWHERE}
            case {"op": "explain", "execution": str(execution)}:
                said, tasks = await self.explain(execution)
                return {"headline": said, "tasks": msgspec.to_builtins(tasks)}
            case {"op": "activity", "execution": str(execution)}:
                return {"tasks": await self.activity(execution)}
            case {"op": "why", "execution": str(execution), "tasks": list(paths)}:
                return {"why": {path: self._why_ready(execution, path) for path in paths[:MOST_EXPLAINED]}}
            case _:
                return None

    def _runs(self, execution: str) -> Engine | None:
        engine = self._engine()
        return engine if engine is not None and engine.owns(execution) else None

    async def _sources(self, engine: Engine, state: State) -> Sources:
        if engine.leads:
            return Sources(self._why_ready, self._how_live)
        ready = [path for path, task in state.tasks.items() if task.status is TaskStatus.READY][:MOST_EXPLAINED]
        answer = await self._owners.ask({"op": "why", "execution": state.id, "tasks": ready}) if ready else {}
        known = answer.get("why", {}) if answer is not None else dict.fromkeys(ready, NOBODY_PLACES)
        return Sources(lambda execution, task: str(known.get(task, "")), self._how_live)

    def _why_ready(self, execution: str, task: str) -> str:
        """Say why a ready task has no agent, where this process gives tasks to agents."""
        engine, agents, now_us = self._engine(), self._agents(), self._clock.now_us()
        why = engine.staffing.placement.why(execution, task, now_us) if engine is not None else ""
        lacking = self._crew.why_missing(why)
        stuck = {s.attempt for s in agents.stuck} if agents is not None else set()
        if stuck and "slots" in why:
            why += f"; {len(stuck)} of them by timed-out threads that can't be stopped"
        return f"{why}: {lacking}" if lacking else why

    def _how_live(self, attempt: str, now_us: int) -> str:
        """Say how a live attempt of an execution of this process does."""
        engine = self._engine()
        lease = engine.staffing.leases.get(attempt) if engine is not None else None
        if lease is None:
            return ", not sent yet"
        if lease.fraction is None:
            return "" if lease.accepted_us else ", not accepted yet"
        return f", {lease.fraction:.0%} {lease.message}".rstrip()
