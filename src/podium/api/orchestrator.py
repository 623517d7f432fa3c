"""The `Orchestrator` of documents 000 and 002: agents register, tasks and workflows are submitted, and it is seen how
everything stands. One class over the one engine, in this process alone or with a bus.

Ids of workflows are executions' ids; a workflow's id stands for its newest execution. A task's id is its client's own,
or an execution's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import UTC, datetime
from functools import partial
from os import PathLike
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import msgspec
from msgspec import Struct

from podium.agents.sdk import AgentDefinition, function_agent, task_of
from podium.agents.sdk import task as make_task
from podium.api.agents import definitions_of
from podium.api.allocated import ResourceAllocation, allocations_in
from podium.api.config import OrchestratorConfig
from podium.api.loading import workflow_from
from podium.api.tasks import registration_message, submission_message, task_result
from podium.app import Podium
from podium.engine import inputs as inp
from podium.engine.state import State
from podium.engine.whereabouts import recorded_or_posted
from podium.exceptions import (
    ConflictError,
    EngineStoppedError,
    ExecutionNotFoundError,
    InvalidInputError,
    NotTheOwnerError,
)
from podium.fleet import wire
from podium.service.listening import EventIterator, Hear, SystemEvents
from podium.service.submissions import TASK, execution_of
from podium.service.submitting import SubmissionLimits, Submitting
from podium.settings import Settings, bus_url
from podium.telemetry.logs import get_logger
from podium.workflow.model import ExecutionStatus, TaskResult, TaskStatus, Workflow, WorkflowResult

if TYPE_CHECKING:
    from podium.app.schedules import Schedules
    from podium.bus.transport import Transport
    from podium.fleet.descriptor import AgentDescriptor
    from podium.fleet.member import AgentInfo
    from podium.service.service import Service

__all__ = ["Orchestrator", "OrchestratorConfig", "WorkflowStatus"]

ANSWER_SECONDS = 10.0  # a registration is answered within
_log = get_logger("podium.api")


class WorkflowStatus(Struct, frozen=True, kw_only=True):
    """An execution as it stands: its status, each task's, and how many have ended."""

    workflow_id: str
    execution_id: str
    name: str
    status: ExecutionStatus
    tasks: dict[str, TaskStatus]
    total: int
    completed: int
    failed: int
    started_at: datetime
    finished_at: datetime | None = None
    error: str | None = None
    partial: bool = False
    published: Any = None  # what it shows as its status


class Orchestrator:
    """Runs tasks and workflows on agents. Use `async with Orchestrator(agents=[…]) as orchestrator`, or `start` and
    `shutdown`.
    """

    def __init__(
        self,
        config: OrchestratorConfig | None = None,
        *,
        agents: Iterable[str | type | Callable[..., Any]] = (),
        bus: str | Transport | None = None,
    ) -> None:
        """`agents` are those of this process: specs (`module:Name`), agent classes or task functions. `bus` is how
        others reach it: a URL (`nats://…`), or a transport that isn't started; None is what the settings name, else
        nobody does. Raises AgentBindingError.
        """
        self._config = config or OrchestratorConfig()
        self._agents = definitions_of(agents)
        self._bus = bus
        self._events = SystemEvents()
        self._starting = asyncio.Lock()
        self._podium: Podium | None = None
        self._service: Service | None = None
        self._submitting: Submitting | None = None

    # --- its life ----------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Open the store, connect the bus, and run what is in the store. Once more changes nothing.

        Without a bus, and where another process runs what is in the store, it works through that one: it submits,
        commands and looks, and takes over if that one goes away while it is awaited. Raises NotTheOwnerError with a
        bus, TransportUnavailableError, SettingsError.
        """
        async with self._starting:
            if self._podium is not None:
                return
            settings = self._config.settings()
            service = self._service_of(settings)
            try:
                await service.start()
            except NotTheOwnerError:
                if not service.alone:
                    raise
                specs, definitions = self._agents
                self._podium = await Podium.open(settings, agents=specs, definitions=definitions, sets_deadlines=True)
                limits = SubmissionLimits(settings.max_queued_tasks, settings.max_task_seconds)
                self._submitting = Submitting(self._podium, limits)
            else:
                self._service, self._podium, self._submitting = service, service.podium, service.submitting

    def _service_of(self, settings: Settings) -> Service:
        from podium.bus.memory import MemoryTransport
        from podium.service.service import Service

        url = self._bus if isinstance(self._bus, str) else bus_url(settings) if self._bus is None else ""
        alone = self._bus is None and not url
        specs, definitions = self._agents
        return Service(
            settings,
            agents=specs,
            definitions=definitions,
            url=url,
            transport=MemoryTransport() if alone else None if url else self._transport(),
            alone=alone,
            most_here=self._config.max_concurrent_tasks,
            events=self._events,
        )

    def _transport(self) -> Transport:
        if self._bus is None or isinstance(self._bus, str):
            raise InvalidInputError("bus must be a URL, such as nats://127.0.0.1:4222, a transport, or None")
        return self._bus

    async def shutdown(self, agents: bool = False) -> None:
        """Let live attempts finish, hand back the rest, close the store. Safe twice; the next start goes on.

        Agents of this process end with it. Those elsewhere go on with what they have; with `agents` they are told to
        finish within `drain_seconds`, hand back the rest, and stop.
        """
        service, podium = self._service, self._podium
        self._service = self._podium = self._submitting = None
        if service is not None:
            await service.stop(agents=agents)
        elif podium is not None:
            await podium.close()
        self._events.end()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.shutdown()

    @property
    def podium(self) -> Podium:
        """The store, its engine and the agents of this process. Raises EngineStoppedError before the start."""
        return self._opened()

    # --- agents (document 000) ---------------------------------------------------------------------------------

    async def register_agent(
        self,
        registration: wire.AgentRegistration
        | AgentDescriptor
        | Mapping[str, Any]
        | AgentDefinition
        | type
        | str
        | Callable[..., Any],
    ) -> bool:
        """Take an agent into the fleet; False if it was refused: another key has its name, or the fleet is full.

        An AgentRegistration, an AgentDescriptor or a mapping of a registration's fields stands for an agent that is on
        the bus, as if it had said so itself: it must heartbeat. An agent class, a task function or a spec
        (`module:Name`) becomes one more agent of this process. Raises InvalidInputError, AgentBindingError.
        """
        service = self._serving()
        if isinstance(registration, str | type | AgentDefinition) or callable(registration):
            await service.podium.hire(as_definitions(registration))
            return True
        said = registration_message(registration, service.settings.max_message_bytes)
        return await self._registered(service, said)

    async def _registered(self, service: Service, said: wire.AgentRegistrationMessage) -> bool:
        """Say a registration on the bus, where it is taken as everybody's, and return whether it was."""
        answer = await service.transport.request(
            wire.REGISTER, wire.encoded(said), {"Content-Type": wire.CONTENT_TYPE}, ANSWER_SECONDS
        )
        error = msgspec.json.decode(answer.data, type=_Answer).error
        if error is None:
            return True
        if error.code == "INVALID_MESSAGE":
            raise InvalidInputError(error.message)
        _log.warning("a registration was refused", agent=said.registration.agent_id, reason=error.message)
        return False

    def agents(self) -> list[AgentInfo]:
        """Return how all agents stand: those on the bus by id, then those of this process."""
        reporting = self._serving().reporting
        return [*reporting.infos(), *reporting.local_infos()]

    def get_system_status(self) -> wire.SystemStatus:
        """Return the whole at a glance.

        `orchestrator_status` is RUNNING; STOPPED before the start and after the end; GUEST while another process runs
        what is in the store, which then knows the rest.
        """
        if self._service is not None:
            return self._service.reporting.status()
        return wire.SystemStatus(
            orchestrator_status="STOPPED" if self._podium is None else "RUNNING" if self._podium.owner else "GUEST",
            agent_count=0,
            active_task_count=self._podium.live_attempts if self._podium is not None else 0,
            queued_task_count=self._podium.queued if self._podium is not None else 0,
            healthy_agent_count=0,
            unhealthy_agent_count=0,
        )

    def on_event(self, callback: Hear) -> Callable[[], None]:
        """Have a function called with each system event (a SystemEventMessage); it must not block.

        Can be called before the start, to hear of that too. Returns what ends it.
        """
        return self._events.on_event(callback)

    def events(self) -> EventIterator:
        """Return an async iterator over the system events from now on; it ends with the shutdown."""
        return self._events.listen()

    # --- tasks (document 000) ----------------------------------------------------------------------------------

    async def submit_task(
        self,
        task: wire.AgentTask | Mapping[str, Any] | None = None,
        preferred_agent_id: str | None = None,
        **fields: Any,
    ) -> str:
        """Have a task done and return its id; when this returns, it is in the store.

        `task` is an AgentTask, or a mapping of its fields; or they are given as keywords: `task_type` (the function),
        `payload`, `priority`, `dependencies` (ids of tasks submitted before), `required_capabilities` and so on. With
        a `task_id` of one's own it is started once, however often it is submitted. Raises QueueFullError, which says
        when to try again, InvalidInputError, ConflictError when the id stands for something else.
        """
        podium = self._opened()
        said = submission_message(task, fields, preferred_agent_id, podium.settings.max_message_bytes)
        assert self._submitting is not None
        return await self._submitting.submit(said)

    async def task_result(self, task_id: str) -> TaskResult:
        """Wait for a submitted task's end and return its result, whether it succeeded or not.

        Raises ExecutionNotFoundError.
        """
        podium = self._opened()
        return task_result(task_id, await podium.result(execution_of(podium.settings.tenant, task_id)))

    async def get_task_status(self, task_id: str) -> TaskStatus:
        """Return how a submitted task stands, as committed. Raises ExecutionNotFoundError."""
        podium = self._opened()
        state = (await podium.follower(execution_of(podium.settings.tenant, task_id))).state
        task = state.tasks.get(TASK)
        if task is None:
            raise ExecutionNotFoundError(f"{task_id} is a workflow's execution, not a single task")
        return task.status

    async def cancel_task(self, task_id: str, force: bool = False) -> bool:
        """Cancel a submitted task; by force without waiting for its agent. False if it has ended already."""
        return await self.cancel_workflow(execution_of(self._opened().settings.tenant, task_id), force)

    # --- workflows (document 002) ------------------------------------------------------------------------------

    @property
    def schedules(self) -> Schedules:
        """Workflows that the clock starts: create, all, get, pause, resume, trigger, backfill, delete."""
        return self._opened().schedules

    async def submit_workflow(
        self, workflow: Workflow | str | PathLike[str], input: Any = None, *, id: str | None = None
    ) -> str:
        """Start an execution of a workflow and return its id; when this returns, it is on disk.

        The same `id` with the same workflow and input starts it once, however often it is called. Raises
        WorkflowInvalidError, InvalidInputError or AgentBindingError before anything is recorded.
        """
        return await self._opened().submit(workflow_from(workflow), input, submission_id=id)

    async def execute_workflow(self, workflow_id: str) -> WorkflowResult:
        """Wait for a submitted workflow's end and return its result, whether it succeeded or not."""
        return await self._opened().result(await self._execution(workflow_id))

    async def cancel_workflow(self, workflow_id: str, force: bool = False) -> bool:
        """Cancel an execution; by force without waiting for its attempts. False if it has ended already."""
        return await self._commanded(workflow_id, inp.Cancel("cancelled over the API", force))

    async def pause_workflow(self, workflow_id: str) -> bool:
        """Let nothing new start; returns at once, while live attempts settle. False if it isn't running."""
        return await self._commanded(workflow_id, inp.Pause())

    async def resume_workflow(self, workflow_id: str) -> bool:
        """Let a paused execution go on. False if it isn't paused."""
        return await self._commanded(workflow_id, inp.Resume())

    async def signal_workflow(self, workflow_id: str, name: str, value: Any = None) -> bool:
        """Tell an execution something that a task of it waits for, or will. False if it has ended already."""
        return await self._said(self._opened().signal(await self._execution(workflow_id), name, value))

    async def answer_task(
        self, workflow_id: str, task_id: str, value: Any = None, *, by: str = "", run: int = 0
    ) -> bool:
        """Answer what a task of an execution asks, in this run of a loop (0: the present one).

        False if somebody was first, another run has begun, or nobody is asked.
        Raises InvalidInputError for an answer that doesn't fit the form.
        """
        execution = await self._execution(workflow_id)
        return await self._said(self._opened().answer(execution, task_id, value, by=by, run=run))

    async def _said(self, work: Awaitable[None]) -> bool:
        try:
            await work
        except ConflictError:
            return False
        return True

    async def get_workflow_status(self, workflow_id: str) -> WorkflowStatus:
        """Return an execution's status as committed."""
        follower = await self._opened().follower(await self._execution(workflow_id))
        return _status_of(follower.state, await follower.published())

    async def allocations(self, workflow_id: str) -> list[ResourceAllocation]:
        """Return what an execution's live attempts hold of their agents, as committed, the longest held first."""
        return allocations_in((await self._opened().follower(await self._execution(workflow_id))).state)

    async def _commanded(self, workflow_id: str, given: inp.Input) -> bool:
        try:
            await self._opened().command(await self._execution(workflow_id), given)
        except ConflictError:
            return False
        return True

    async def _execution(self, workflow_id: str) -> str:
        """Return the execution with this id, or the newest one of the workflow with this id."""
        podium = self._opened()
        if await recorded_or_posted(podium.store, workflow_id, partial(podium.store.execution, workflow_id)):
            return workflow_id
        for row in await podium.store.executions(podium.settings.tenant, limit=1_000):
            if (await podium.workflow_of(row)).id == workflow_id:
                return row.id
        raise ExecutionNotFoundError(f"there is no execution or workflow {workflow_id}")

    def _serving(self) -> Service:
        self._opened()
        if self._service is None:
            raise NotTheOwnerError("another process runs what is in this store; ask there for its agents")
        return self._service

    def _opened(self) -> Podium:
        if self._podium is None:
            raise EngineStoppedError("the orchestrator isn't started; use `async with Orchestrator(…)` or call start()")
        return self._podium


class _Answer(Struct):
    """The answer to a registration: a notice, or an error."""

    error: wire.ErrorBody | None = None


def as_definitions(agent: AgentDefinition | type | str | Callable[..., Any]) -> list[AgentDefinition]:
    """Return the agents that are meant, each ready to be had in this process. Raises AgentBindingError."""
    if isinstance(agent, AgentDefinition):
        return [agent]
    if isinstance(agent, str):
        from podium.agents.binding import load_binding

        return load_binding(agent)
    if isinstance(agent, type):
        return definitions_of([agent])[1]
    function = agent if task_of(agent) is not None else make_task(agent)
    _, definitions = definitions_of([function])
    return [function_agent(function.__name__, [function]).bound(function.__name__, definitions[0].spec)]


def _status_of(state: State, published: Any) -> WorkflowStatus:
    return WorkflowStatus(
        workflow_id=state.definition.workflow.id,
        execution_id=state.id,
        name=state.definition.workflow.name,
        status=state.status,
        tasks={task.path: task.status for task in state.tasks.values()},
        total=state.total,
        completed=state.counts[TaskStatus.COMPLETED],
        failed=state.counts[TaskStatus.FAILED],
        started_at=_time(state.created_us),
        finished_at=None if state.finished_us is None else _time(state.finished_us),
        error=f"{state.error.type}: {state.error.message}" if state.error else None,
        partial=state.partial,
        published=published,
    )


def _time(at_us: int) -> datetime:
    return datetime.fromtimestamp(at_us / 1e6, UTC)
