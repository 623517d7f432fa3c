"""One `Podium` is one process' view of one store: what is asked of it, it hands to the part that sees to that.

On a file it is the store's owner if the lock is free: then it runs the engine and the agents of this process; on
PostgreSQL it is one of the replicas that share the executions. Otherwise it is a guest: it reads committed state,
writes inputs to the inbox and awaits the log; a guest that follows a run takes over when nobody else is there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import msgspec

from podium.agents.crew import Crew
from podium.agents.explaining import Explaining
from podium.app.carrier import Carriers
from podium.app.delivering import Delivering
from podium.app.finding import Finding
from podium.app.owning import Owning, Part
from podium.app.schedules import Schedules
from podium.app.steering import Steering
from podium.app.stores import Opened, open_store
from podium.app.submitting import Submitting
from podium.app.telling import Telling
from podium.clock import Clock, SystemClock
from podium.engine import events as ev
from podium.engine import inputs as inp
from podium.engine.explain import Explanation
from podium.engine.following import Follower
from podium.engine.posting import Posting
from podium.engine.runtime import Engine
from podium.engine.steering import Rerun
from podium.exceptions import NotTheOwnerError, PodiumError
from podium.ids import IdSource
from podium.scheduling.placement import Placement
from podium.settings import Settings
from podium.store.owners import FileOwner, NoOwners, Owners
from podium.store.protocol import ExecutionRow, Store
from podium.workflow.model import ExecutionStatus, Workflow, WorkflowResult

if TYPE_CHECKING:
    from podium.agents.local import LocalAgents
    from podium.agents.sdk import AgentDefinition
    from podium.engine.ownership import Ownership, SharedStore
    from podium.engine.readmodels import ReadModels
    from podium.engine.reconciling import Reconciler
    from podium.fleet.messages import Carrier
    from podium.schedules.timekeeper import Timekeeper
    from podium.scheduling.resources import Vector
    from podium.store.logs import AttemptLogs
    from podium.store.ownership import FileLock
    from podium.webhooks.webhooks import Webhooks


class Podium:
    """A store with, in its owner's process, the engine and agents. Use `async with Podium.open(settings)`."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        logs: AttemptLogs,
        *,
        lock: FileLock | None = None,
        owners: Owners | None = None,
        agents: Iterable[str] = (),
        definitions: Iterable[AgentDefinition] = (),
        clock: Clock | None = None,
        ids: IdSource | None = None,
        works: bool = True,
        elsewhere: bool = False,
        may_own: bool = True,
        placement: Callable[[Vector], Placement] = lambda pool: Placement(pool=pool),
        shared: SharedStore | None = None,
        bus: str = "",
        incarnation: str = "",
        agents_are_shared: bool = False,
        sets_deadlines: bool = False,
    ) -> None:
        self.settings = settings
        self.store = store
        clock, owners = clock or SystemClock(), owners or _owners_of(lock, settings)
        ids = ids or IdSource(clock)
        self._owners = owners
        self._shared = shared
        self._crew = Crew(agents, definitions, settings.agents, elsewhere=elsewhere)
        self._carriers = Carriers()
        part = Part(works, elsewhere, may_own, placement, bus, incarnation, agents_are_shared)
        opened = Opened(store, logs, lock=lock, owners=owners, shared=shared)
        self._owning = Owning(
            settings, opened, owners, self._crew, self._carriers, clock, ids, part, answer=self._answer
        )  # fmt: skip
        self.answers = self._owning.answers
        self.before_store_closes = self._owning.before_store_closes
        self._posting = Posting(store, settings.tenant, clock)
        self._delivering = Delivering(settings, store, clock, ids, owners, self._posting, self._owning)
        self._submitting = Submitting(
            settings, store, clock, ids, self._crew, self._owning, self._delivering, sets_deadlines=sets_deadlines
        )
        self._finding = Finding(settings, store, self._owning)
        self._steering = Steering(settings, self._delivering, self._finding)
        self._telling = Telling(store, settings.tenant, clock, self.follower)
        self.schedules = Schedules(store, settings.tenant, ids, self._crew, self._owning, self._wall_us)
        self._explaining = Explaining(
            owners, self._crew, clock,
            engine=lambda: self.engine, agents=lambda: self.agents, follower=self.follower,
        )  # fmt: skip

    @classmethod
    async def open(
        cls,
        settings: Settings,
        *,
        agents: Iterable[str] = (),
        definitions: Iterable[AgentDefinition] = (),
        own: bool = True,
        must_own: bool = False,
        works: bool = True,
        elsewhere: bool = False,
        may_own: bool = True,
        placement: Callable[[Vector], Placement] = lambda pool: Placement(pool=pool),
        bus: str = "",
        incarnation: str = "",
        agents_are_shared: bool = False,
        store: SharedStore | None = None,
        sets_deadlines: bool = False,
    ) -> Self:
        """Open the store, as its owner if that is wanted and possible.

        `agents` are binding specs (`module:Name`), `definitions` agents that are at hand as objects. One that doesn't
        work decides inputs, should it become the owner, but starts no task. `elsewhere`: agents come over a bus, and a
        type without code here is no mistake. One that may not own never becomes the owner. Raises NotTheOwnerError if
        `must_own` and another process has the lock, or the replicas that are there are on another bus.

        Replicas that share a database have a `bus` in common; one that has none must be alone. With `agents_are_shared`
        the agents of this process, which have its `incarnation`, work for all of them. `store` is one that is at hand
        and shared, in place of the settings' database. One that `sets_deadlines` gives the settings' to executions
        that name none.
        """
        at = await open_store(settings, store)
        podium = cls(
            settings, at.store, at.logs, lock=at.lock, owners=at.owners, shared=at.shared, agents=tuple(agents),
            definitions=tuple(definitions), works=works, elsewhere=elsewhere, may_own=may_own, placement=placement,
            bus=bus, incarnation=incarnation, agents_are_shared=agents_are_shared, sets_deadlines=sets_deadlines,
        )  # fmt: skip
        try:
            if own:
                await podium.try_to_own()
            if must_own and not podium.owner:
                raise podium._owning.kept_out or NotTheOwnerError(
                    f"another process owns {settings.shown_database}: {await podium.who_runs() or 'nobody now'}"
                )
        except BaseException:
            await podium.close(0)
            raise
        return podium

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def engine(self) -> Engine | None:
        """The engine, if this process runs executions."""
        return self._owning.engine

    @property
    def agents(self) -> LocalAgents | None:
        """The agents of this process, if it has an engine."""
        return self._owning.agents

    @property
    def ownership(self) -> Ownership | None:
        """Its place among the replicas that share the store, if it has one."""
        return self._owning.ownership

    @property
    def read_models(self) -> ReadModels | None:
        """What follows the log for the store's tables, if this process has an engine."""
        return self._owning.read_models

    @property
    def reconciler(self) -> Reconciler | None:
        """What looks for what should not be, if this process has an engine."""
        return self._owning.reconciler

    @property
    def webhooks(self) -> Webhooks | None:
        """What tells others of ends, if the settings name any and this process has an engine."""
        return self._owning.webhooks

    @property
    def timekeeper(self) -> Timekeeper | None:
        """What fires schedules, if this process has an engine that works."""
        return self._owning.timekeeper

    async def _wall_us(self) -> int:
        if self._shared is not None and self.ownership is None:
            return (await self._shared.cluster()).now_us
        return self._owning.wall_us()

    @property
    def logs(self) -> AttemptLogs:
        """The logs of attempts; a guest only reads them."""
        return self._owning.logs

    @property
    def owner(self) -> bool:
        """Whether this process runs the store's executions."""
        return self.engine is not None

    async def who_runs(self, execution: str | None = None) -> str:
        """Return in words which process runs this execution, or (None) any of the store; empty when none does."""
        found = await self._owners.named(execution)
        return found or ("this process" if self.owner else "")

    @property
    def failure(self) -> BaseException | None:
        """Why this process' engine ended by itself, if it did."""
        return self._owning.failure

    @property
    def live_attempts(self) -> int:
        """How many attempts agents of this process work on."""
        return len(self.engine.staffing.leases) if self.engine is not None else 0

    @property
    def queued(self) -> int:
        """How many ready tasks wait for an agent."""
        return self.engine.staffing.placement.queued() if self.engine is not None else 0

    def link_to(self, carrier: Carrier | None) -> None:
        """From now on, what the engine says to agents that aren't in this process goes there."""
        self._carriers.elsewhere = carrier

    def expect(self, lives_elsewhere: Callable[[str], bool]) -> None:
        """From now on, agent types of which this is true need no code here."""
        self._crew.lives_elsewhere = lives_elsewhere

    async def hire(self, more: Iterable[AgentDefinition] = ()) -> None:
        """Have an agent of each kind that was given, before a workflow wants it, and one more of each of `more`.

        Raises AgentBindingError, AgentError when an agent's own `start` fails.
        """
        await self._crew.hire(more)

    async def try_to_own(self) -> bool:
        """Take the lock if it is free, and start the engine; True if this process is the owner then.

        On PostgreSQL: join the replicas.
        """
        return await self._owning.try_to_own()

    async def try_to_outlive(self) -> bool:
        """As `try_to_own`; a replica without a bus that doesn't renew its lease any more is waited out: it may have
        been killed a moment ago.
        """
        return await self._owning.try_to_outlive()

    # --- executions --------------------------------------------------------------------------------------------

    async def submit(
        self,
        workflow: Workflow,
        given: Any = None,
        *,
        submission_id: str | None = None,
        priority: int | None = None,
        timeout_seconds: float | None = None,
        **more: Any,
    ) -> str:
        """Start an execution and return its id; it is on disk when this returns.

        `more` are further fields of the start: preferred_agent, submission, notify.

        Raises WorkflowInvalidError, InvalidInputError or AgentBindingError before anything is recorded, ConflictError
        when a limit is reached or the `submission_id` stands for something else.
        """
        return await self._submitting.submit(
            workflow,
            given,
            submission_id=submission_id,
            priority=priority,
            timeout_seconds=timeout_seconds,
            **more,
        )

    async def command(self, execution: str, given: inp.Input, input_id: str | None = None) -> list[ev.Event]:
        """Give an execution an input and return what it caused, once that is on disk.

        An `input_id` makes a repetition harmless: of one that is recorded already nothing is returned. Raises
        ConflictError, with the reason, when the execution ignored it.
        """
        return await self._delivering.command(execution, given, input_id)

    async def skip(
        self, execution: str, task: str, *, reason: str = "", by: str = "", input_id: str | None = None, run: int = 0
    ) -> list[ev.Event]:
        """Decide that a task, or an instance (`task[3]`), isn't to be done; return what that caused.

        What depends on it goes by its `run_if`. In an execution that ended without success the others that failed are
        tried again. `run` is which run of a loop is meant; without it, the one that is found now. Raises
        TaskNotFoundError, ConflictError for a task that has ended already, or when another run has begun.
        """
        return await self._steering.skip(execution, task, reason=reason, by=by, input_id=input_id, run=run)

    async def complete(
        self,
        execution: str,
        task: str,
        value: Any,
        *,
        reason: str = "",
        by: str = "",
        input_id: str | None = None,
        run: int = 0,
    ) -> list[ev.Event]:
        """Give the result of a task, or of an instance, in its agent's place; return what that caused.

        Raises as `skip` does, and InvalidInputError for a value that is no JSON.
        """
        return await self._steering.complete(execution, task, value, reason=reason, by=by, input_id=input_id, run=run)

    async def resolve(
        self,
        execution: str,
        task: str,
        decision: str,
        *,
        reason: str = "",
        by: str = "",
        input_id: str | None = None,
        run: int = 0,
    ) -> list[ev.Event]:
        """Decide what becomes of a task that has failed and asks (`on_failure: ask`): `retry`, `skip` or `fail`.

        Raises TaskNotFoundError, ConflictError for a task that asks nothing, or not in this `run` (as of `skip`) any
        more, InvalidInputError for another decision.
        """
        return await self._steering.resolve(execution, task, decision, reason=reason, by=by, input_id=input_id, run=run)

    async def retry(
        self, execution: str, from_task: str = "", *, by: str = "", input_id: str | None = None
    ) -> list[ev.Event]:
        """Have an execution that has ended go on: what failed is tried again, and `from_task` with all behind it.

        Return what that caused. Raises ConflictError for one that hasn't ended, or ended well and no task is named.
        """
        return await self._steering.retry(execution, from_task, by=by, input_id=input_id)

    async def rerun(self, execution: str, from_task: str = "") -> Rerun:
        """Return what `retry` would do. Raises as that does."""
        return await self._steering.rerun(execution, from_task)

    async def signal(self, execution: str, name: str, value: Any = None) -> None:
        """Tell an execution something: the task that waits longest for this signal goes on with its value.

        Where none waits, it is kept for one to come. Returns once that is on disk. Raises ExecutionNotFoundError,
        InvalidInputError, ConflictError when the execution has ended or keeps too many signals already.
        """
        await self.command(execution, await self._telling.signal(name, value))

    async def answer(self, execution: str, task: str, value: Any = None, *, by: str = "", run: int = 0) -> None:
        """Answer what a task asks; returns once that is on disk. `by` is who answers, `run` in which run of a
        loop it was asked (without it, the one that is found now).

        Raises ExecutionNotFoundError, InvalidInputError for an answer that doesn't fit the form, ConflictError when
        somebody was first (it says who, and when), another run has begun, or nobody is asked.
        """
        await self.command(execution, await self._telling.answer(execution, task, value, by, run))

    async def find(self, beginning: str) -> ExecutionRow:
        """Return the execution whose id begins so. Raises ExecutionNotFoundError, also if several do."""
        return await self._finding.find(beginning)

    async def waiting(self, limit: int, prefix: str = "") -> list[ExecutionRow]:
        """Return executions that haven't begun, since as many are at work as may be; the oldest first.

        Their rows are what they would be at the beginning, with the sequence 0; the store has none of them yet.
        """
        return await self._finding.waiting(limit, prefix)

    async def workflow_of(self, row: ExecutionRow) -> Workflow:
        """Return the definition that an execution runs, without its history."""
        return await self._finding.workflow_of(row)

    async def follower(self, execution: str) -> Follower:
        """Return the execution's committed state, to be brought up to date as often as one likes."""
        return await self._finding.follower(execution)

    async def finished(self, execution: str) -> ExecutionStatus:
        """Wait for an execution's end. A guest takes over if the owner goes away before."""
        return await self._finding.finished(execution)

    async def result(self, execution: str) -> WorkflowResult:
        """Wait for an execution's end and return its result."""
        await self.finished(execution)
        return await (await self.follower(execution)).result()

    async def run(self, workflow: Workflow, given: Any = None, **options: Any) -> WorkflowResult:
        """Submit and wait for the result."""
        return await self.result(await self.submit(workflow, given, **options))

    # --- explaining --------------------------------------------------------------------------------------------

    async def explain(self, execution: str) -> tuple[str, list[Explanation]]:
        """Return a sentence about the execution and why each unfinished task waits; another owner is asked."""
        return await self._explaining.explain(execution)

    async def activity(self, execution: str) -> dict[str, dict[str, Any]]:
        """Return what live attempts report by task: agent, fraction (0 to 1) and message. Empty without an owner."""
        return await self._explaining.activity(execution)

    async def wake_owner(self) -> None:
        """Tell the owner that there is something in the inbox. Without an answer it looks by itself soon.

        Replicas on PostgreSQL are woken by the store, as soon as it is written.
        """
        await self._delivering.wake_owner()

    async def ask_owner(self, asked: dict[str, Any], execution: str | None = None) -> dict[str, Any] | None:
        """Ask the process that runs this execution; without one the process that gives tasks to agents, and so knows
        the fleet. None if there is none. Raises StoreError.

        This process is asked too, if it is that one.
        """
        if self.engine is not None and (self.engine.leads if execution is None else self.engine.owns(execution)):
            answer: dict[str, Any] = msgspec.to_builtins(await self._answer(asked))
            return answer
        return await self._owners.ask(asked, execution)

    async def _answer(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Answer another process that asks."""
        try:
            match asked:
                case {"op": "wake"}:
                    if self.engine is not None:
                        self.engine.look_into_inbox()
                    return {}
                case {"op": str(op)} if op in self.answers:
                    return dict(await self.answers[op](asked))
                case _:
                    return await self._explaining.answer(asked) or {"error": "unknown request"}
        except PodiumError as error:
            return {"error": str(error)}

    # --- the end -----------------------------------------------------------------------------------------------

    async def hand_over(self, drain_seconds: float) -> None:
        """Give this replica's shards to the others, if there are any, and let the agents of this process that work for
        all finish what they have. To be called while the bus is still heard, before `close`.
        """
        await self._owning.hand_over(drain_seconds)

    async def close(self, drain_seconds: float | None = None) -> None:
        """Stop: live attempts may finish within the time, what doesn't is handed back. Safe twice.

        The executions are not paused; the next owner goes on with them.
        """
        if self._owning.closed:
            return
        self._owning.closed = True
        if self._shared is None:
            await self._owners.close()
        await self._owning.stop(self.settings.drain_seconds if drain_seconds is None else drain_seconds)
        await self._posting.close()
        await self._owners.close()
        self.logs.close()
        await self.store.close()
        self._owning.let_go()


def _owners_of(lock: FileLock | None, settings: Settings) -> Owners:
    return FileOwner(lock, settings.database) if lock is not None else NoOwners()
