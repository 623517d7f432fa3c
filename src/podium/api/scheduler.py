"""The `TaskScheduler` of document 002: tasks are scheduled, and whoever does them fetches, completes or fails them.

It is the one engine seen from the other side. What is fetched is an attempt like any other, with its time-out, its
retries and its history; the queue is placement's, and everything is on disk before a call returns.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct

from podium.agents.context import Context
from podium.agents.sdk import ANY_FUNCTION, function_agent
from podium.agents.sdk import task as make_task
from podium.api.allocated import ResourceAllocation, allocations_in
from podium.api.lending import WithOrchestrator
from podium.api.scheduled import fetched_type, task_in, workflow_of
from podium.api.tasks import task_result
from podium.engine import events as ev
from podium.exceptions import AgentError, EngineStoppedError, InvalidInputError, NotTheOwnerError, TaskNotFoundError
from podium.ids import execution_id_for
from podium.service.submissions import TASK
from podium.workflow.graph import DependencyGraph
from podium.workflow.model import Constraint, Task, TaskResult, TaskStatus

if TYPE_CHECKING:
    from podium.app import Podium
    from podium.engine.runtime import Engine

IN_HAND = 10_000  # tasks of one agent type that are fetched and not done
LOOK_SECONDS = 0.25  # between looks, should a commit be missed
_ENDS = (ev.TaskCompleted, ev.AttemptFailed, ev.AttemptReturned, ev.TaskFailed, ev.TaskCancelled)


class ScheduledTask(Struct, frozen=True, kw_only=True):
    """A task that is in the store."""

    task: Task
    execution_id: str
    status: TaskStatus
    scheduled_at: datetime
    constraints: tuple[Constraint, ...] = ()

    @property
    def task_id(self) -> str:
        """The task's id."""
        return self.task.id


class _InHand:
    """A task that was fetched."""

    def __init__(self, task: Task, context: Context, ended: asyncio.Future[Any]) -> None:
        self.task = task
        self.attempt = context.attempt_id
        self.number = context.attempt
        self.ended = ended
        self.handed_out = False

    def hand_out(self) -> Task:
        """Return the task: somebody does it from now on."""
        self.handed_out = True
        return self.task


class TaskScheduler(WithOrchestrator):
    """Schedules tasks for whoever fetches them. Use `async with TaskScheduler() as scheduler`, or `close` it.

    Without an orchestrator it has one of its own, in memory; with one, tasks last as long as its store does.
    """

    def __init__(self, *about: Any, **more: Any) -> None:
        super().__init__(*about, **more)
        self._agents: dict[str, str] = {}  # the agent that stands for who fetches, by agent type
        self._in_hand: dict[str, _InHand] = {}  # by execution
        self._arrived: dict[str, asyncio.Event] = {}  # by attempt: who fetches waits for it
        self._fetching = asyncio.Lock()

    # --- document 002 ------------------------------------------------------------------------------------------

    async def schedule_task(self, task: Task, constraints: list[Constraint] | None = None) -> ScheduledTask:
        """Have a task wait for whoever fetches it; when this returns, it is in the store.

        It waits first for its `dependencies`, ids of tasks that were scheduled before: all must succeed, and their
        results come as `dependencyResults` in its payload, in that order. The same id with the same task is scheduled
        once, however often. Raises InvalidInputError, WorkflowInvalidError; ConflictError when its id stands for
        another task.
        """
        podium, engine = await self._engine()
        if task.id in task.dependencies:
            raise InvalidInputError(f"the task '{task.id}' depends on itself")
        tenant = podium.settings.tenant
        waits_for = [execution_id_for(tenant, needed) for needed in task.dependencies]
        workflow = workflow_of(task, constraints or (), waits_for)
        await self._stand_for(task.agent_type, podium, engine)
        execution = await podium.submit(
            workflow, task.payload, submission_id=task.id, submission=task.id, priority=task.priority
        )
        state = (await podium.follower(execution)).state
        return ScheduledTask(
            task=task,
            execution_id=execution,
            status=state.tasks[TASK].status if TASK in state.tasks else TaskStatus.PENDING,
            scheduled_at=datetime.fromtimestamp(state.created_us / 1e6, UTC),
            constraints=tuple(constraints or ()),
        )

    async def get_next_task(self, agent_capabilities: list[str], wait_seconds: float = 0.0) -> Task | None:
        """Return the most urgent task for one of these agent types, or for any; None if none comes in so long.

        Its payload has its arguments. From now on its time-out counts, and it is the caller's until it is completed or
        failed; what a process that ends had in hand is fetched again.
        """
        _, engine = await self._engine()
        loop = asyncio.get_running_loop()
        until = loop.time() + wait_seconds
        while (found := await self._next(agent_capabilities)) is None and (left := until - loop.time()) > 0:
            await _either(engine.watchers.next_commit(), asyncio.sleep(min(left, LOOK_SECONDS)))
        if found is None:
            await asyncio.sleep(0)  # who asks again and again lets others come to it
        return found

    async def _next(self, agent_capabilities: list[str]) -> Task | None:
        podium, engine = await self._engine()
        types = list(dict.fromkeys([*agent_capabilities, ""]))
        async with self._fetching:
            for held in self._in_hand.values():
                if not held.handed_out and held.task.agent_type in types:  # its fetcher went away in the middle
                    return held.hand_out()
            for agent_type in types:
                await self._stand_for(agent_type, podium, engine)
            waiting = {fetched_type(agent_type): agent_type for agent_type in types}
            while (first := engine.staffing.placement.first_waiting(waiting)) is not None:
                found = await self._fetch(engine, self._agents[waiting.pop(first)])
                if found is not None:
                    return found
        return None

    async def complete_task(self, task_id: str, result: TaskResult | Any) -> None:
        """Record a fetched task's result: a TaskResult, or the result itself; one that tells of a failure fails it.

        When this returns, it is on disk. Raises TaskNotFoundError if the task isn't in hand (any more: its time may
        have run out, or it was cancelled).
        """
        if not isinstance(result, TaskResult):
            await self._end(task_id, lambda ended: ended.set_result(result))
        elif result.status is TaskStatus.COMPLETED:
            await self._end(task_id, lambda ended: ended.set_result(result.result))
        else:
            await self.fail_task(task_id, AgentError(result.error or f"the task is {result.status}"))

    async def fail_task(self, task_id: str, error: Exception) -> None:
        """Record that a fetched task failed; it is fetched again if it has retries left, unless the error forbids it.

        Raises TaskNotFoundError as `complete_task` does.
        """
        await self._end(task_id, lambda ended: ended.set_exception(error))

    def analyze_dependencies(self, tasks: Iterable[Task]) -> DependencyGraph:
        """Return the graph of tasks: order, stages, critical path and more.

        Raises WorkflowInvalidError for a cycle, which it names, repeated ids and dependencies that aren't among them.
        """
        graph = DependencyGraph.of_tasks(tasks)
        graph.topological_order()
        return graph

    # --- more --------------------------------------------------------------------------------------------------

    async def task_result(self, task_id: str) -> TaskResult:
        """Wait for a scheduled task's end and return how it ended. Raises ExecutionNotFoundError."""
        podium = (await self._engine())[0]
        return task_result(task_id, await podium.result(execution_id_for(podium.settings.tenant, task_id)))

    async def allocation(self, task_id: str) -> ResourceAllocation | None:
        """Return what a scheduled task holds; None unless it is in somebody's hand. Raises ExecutionNotFoundError."""
        podium = (await self._engine())[0]
        execution = execution_id_for(podium.settings.tenant, task_id)
        held = [one for one in allocations_in((await podium.follower(execution)).state) if one.task_id == TASK]
        return msgspec.structs.replace(held[-1], task_id=task_id) if held else None

    async def close(self) -> None:
        """Give back what is in hand, for others to fetch, and shut its own orchestrator down. Safe twice."""
        async with self._fetching:
            agents, self._agents = self._agents, {}
            with suppress(EngineStoppedError):  # its lender was quicker
                if (here := self._orchestrator.podium.agents) is not None:
                    for agent_id in agents.values():
                        await here.dismiss(agent_id)
        await super().close()

    # --- inside ------------------------------------------------------------------------------------------------

    async def _engine(self) -> tuple[Podium, Engine]:
        await self.start()
        podium = self._orchestrator.podium
        engine = podium.engine
        if engine is None or not engine.leads:
            raise NotTheOwnerError("another process places the tasks of this store; schedule and fetch them there")
        return podium, engine

    async def _stand_for(self, agent_type: str, podium: Podium, engine: Engine) -> None:
        """Have an agent for who fetches tasks of a type: tasks wait for it, and it gets none unasked."""
        if agent_type in self._agents:
            return
        assert podium.agents is not None  # this process has the engine

        @make_task(name=ANY_FUNCTION)
        async def fetched(podium_context: Context, **arguments: Any) -> Any:
            return await self._hold(podium, podium_context, arguments)

        definition = function_agent(fetched_type(agent_type), [fetched], slots=IN_HAND)
        host = await podium.agents.add(definition)
        engine.staffing.placement.set_apart(host.agent_id)  # at once, before anything can be placed
        self._agents[agent_type] = host.agent_id

    async def _fetch(self, engine: Engine, agent_id: str) -> Task | None:
        """Have one task given to the agent that stands for who fetches, and return it once that is on disk."""
        placement = engine.staffing.placement
        before = placement.attempts_with(agent_id)
        placement.admit_one(agent_id)
        try:
            await engine.turned()
        finally:
            placement.leave(agent_id)
        for attempt in placement.attempts_with(agent_id) - before:
            arrived = self._arrived.setdefault(attempt, asyncio.Event())
            try:
                while not (arrived.is_set() or self._has(attempt)) and attempt in placement.attempts_with(agent_id):
                    await _either(arrived.wait(), engine.watchers.next_commit(), asyncio.sleep(LOOK_SECONDS))
            finally:
                del self._arrived[attempt]
            if (held := self._has(attempt)) is not None:
                return held.hand_out()
        return None

    def _has(self, attempt: str) -> _InHand | None:
        return next((held for held in self._in_hand.values() if held.attempt == attempt), None)

    async def _hold(self, podium: Podium, context: Context, arguments: dict[str, Any]) -> Any:
        """Be the attempt: wait until whoever fetched it says how it ended."""
        row = await podium.store.execution(context.execution)
        assert row is not None
        task = task_in(await podium.workflow_of(row), arguments)
        held = _InHand(task, context, asyncio.get_running_loop().create_future())
        self._in_hand[context.execution] = held
        try:
            if context.attempt_id in self._arrived:
                self._arrived[context.attempt_id].set()
            return await held.ended
        finally:
            if self._in_hand.get(context.execution) is held:
                del self._in_hand[context.execution]

    async def _end(self, task_id: str, end: Callable[[asyncio.Future[Any]], None]) -> None:
        podium, engine = await self._engine()
        execution = execution_id_for(podium.settings.tenant, task_id)
        held = self._in_hand.get(execution)
        if held is None or held.ended.done():
            raise TaskNotFoundError(f"the task '{task_id}' isn't in hand: it wasn't fetched here, or it has ended")
        with engine.watch(execution) as watch:
            end(held.ended)
            while (news := await watch.next()) is not None:
                if any(isinstance(event, _ENDS) and _is_of(event, held.number) for event in news.events):
                    return


def _is_of(event: Any, number: int) -> bool:
    return event.task == TASK and getattr(event, "number", number) == number


async def _either(*waits: Any) -> None:
    """Return when one of them has come, and let the others go."""
    tasks = [asyncio.ensure_future(one) for one in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for one in tasks:
            one.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
