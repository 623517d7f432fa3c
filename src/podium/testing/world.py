"""The simulated world: an orchestrator that dies and comes back, agents over a link that loses and doubles, clients.

It runs under faults for a while, becomes calm, and then everything has to come to its end. Each part says what happens
to the transcript, and what it was told to the ledger.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any, TypeVar

import msgspec
from msgspec import Raw

from podium.agents.sdk import AgentDefinition
from podium.clock import SECOND
from podium.engine import inputs as inp
from podium.engine.asking import asking
from podium.engine.codec import decode_row, encode_input
from podium.engine.definition import Definition
from podium.engine.explain import Sources, explain
from podium.engine.recovery import Definitions, inline, restore
from podium.engine.runtime import Engine, EngineSettings
from podium.engine.shards import EVERY_SHARD
from podium.engine.state import State
from podium.engine.values import Value
from podium.exceptions import ConflictError, PodiumError, StoreUnavailableError
from podium.fleet import messages as msg
from podium.ids import IdSource, execution_id_for, shard_of
from podium.scheduling.placement import Placement
from podium.store.memory import MemoryStore
from podium.store.protocol import DEFAULT_TENANT, InboxRow
from podium.testing.actors import Actor
from podium.testing.faults import Fate, Faults, FaultyStore, SimulatedCrash
from podium.testing.ledger import MemoryLedger, Told
from podium.testing.limits import LimitModel
from podium.testing.link import JumpingClock, Link, named
from podium.testing.oracle import Examination, miscounted, unexplained, unreturned
from podium.testing.outside import something_from_outside
from podium.testing.performing import Performer
from podium.testing.repeats import Repeats
from podium.testing.scripts import Script
from podium.testing.virtual import VirtualLoop, first_of
from podium.testing.waits import Witness
from podium.workflow.model import FINAL_EXECUTION, ExecutionStatus, ResourceRequirements, Workflow
from podium.workflow.versions import version_for

T = TypeVar("T")
PATIENCE_SECONDS = 6 * 3_600.0  # of the calm world, within which everything has to end
LOOK_SECONDS = 2.0
EACH_ROW_TASKS = 20  # of larger workflows, waits are looked at once a look of the world
SETTINGS = EngineSettings(
    inbox_poll_seconds=2.0, timer_poll_seconds=10.0, idle_seconds=5.0, snapshot_bytes=3_000, max_batch=20
)


class World:
    """One simulated world."""

    patience_seconds = PATIENCE_SECONDS
    # A clock that is set forward between two lives, or goes on after it stood still, ends a rate's time too soon.
    limit_excuses: tuple[str, ...] = ("clock_jumps", "clock_freezes")
    rest_looks = 20  # ten seconds apart, within which everything is let go in the end

    def __init__(
        self,
        loop: VirtualLoop,
        workflow: Workflow,
        faults: Faults,
        *,
        given: bytes = b'{"n":1}',
        code: Mapping[str, AgentDefinition] | None = None,
        pooled: bool = True,
    ) -> None:
        """`given` is the executions' input, `code` what stands behind the agent types in place of the script.

        `pooled`: now and then what the agents need is to be had from a small pool.
        """
        self.given = given
        self.repeats = Repeats()
        self.script = Script(workflow)
        self._pooled = pooled
        self._performer = Performer(code, loop.clock, self.repeats, self.tell) if code is not None else None
        self.loop = loop
        self.chance = loop.chance
        self.workflow = workflow
        self._has_waits = not all(task.needs_agent for task in workflow.tasks)
        self.transcript: list[tuple[float, str]] = []
        self.broken: list[str] = []
        self.executions: dict[str, str] = {}
        self.fate = Fate(faults, loop.chance, self.tell)
        self.told = Told()
        self.ledger = MemoryLedger()
        self.disk = MemoryStore(clock=loop.clock)
        self._engine: Engine | None = None
        self._store: FaultyStore | None = None
        self._link: Link | None = None
        self._crashed = asyncio.Event()
        self._actors: dict[str, Actor] = {}
        self._agents_live_here = loop.chance.random() < 0.5
        self._inputs = 0
        self._giving = 0  # commands of people that aren't answered yet
        self._watching: list[asyncio.Task[None]] = []
        self._stopping: asyncio.Task[None] | None = None
        self._clock: JumpingClock | None = None
        self._definitions = Definitions(self.disk)
        self.limits = LimitModel(workflow, loop.clock.now_us, self._has_ended)
        self._witnesses: dict[str, Witness] = {}
        self._seen: dict[str, int] = {}  # rows of each execution that its witness has followed

    def tell(self, what: str) -> None:
        """Add a line to the transcript."""
        self.transcript.append((self.loop.time(), what))

    @property
    def appends(self) -> int:
        """How many appends were committed."""
        return sum(1 for _, what in self.transcript if what.startswith("commit "))

    # --- the whole -----------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Run the world to its end and examine what is left."""
        self._make_actors()
        keeper = self.loop.create_task(self._keep_orchestrator(), name="world-orchestrator")
        clients = [self.loop.create_task(self._submit(i), name=f"world-client-{i}") for i in range(self._clients())]
        watch = self.loop.create_task(self._look_around(), name="world-look")
        calm_after = self.chance.uniform(5, 90)
        self.loop.call_later(calm_after, self._become_calm)
        await asyncio.wait(clients)
        for client in clients:
            client.result()
        await asyncio.sleep(max(calm_after - self.loop.time(), 0) + 1)
        ended = await self._all_end()
        watch.cancel()
        await self._stops_end()
        await self._watchers_return(ended)
        if ended:
            await self._come_to_rest()
        else:
            self._tell_why()
        keeper.cancel()
        await self._close()
        self._see_what_is_said()
        await self._examine(ended)

    async def _stops_end(self) -> None:
        """A stop that has begun is carried through."""
        if self._stopping is not None:
            await asyncio.wait({self._stopping})

    async def _close(self) -> None:
        """Clear away what still runs."""
        if self._engine is not None:
            await self._end_tasks()

    def _clients(self) -> int:
        """How many submit: code gets one execution at a time, so that what it finds is only what it left itself."""
        drawn = self.chance.randint(1, 3)
        return drawn if self._performer is None else 1

    def _become_calm(self) -> None:
        self.tell("the world becomes calm")
        self.fate.calm = True

    async def _all_end(self) -> bool:
        """Wait until every execution has ended, with patience; a paused one is resumed."""
        until = self.loop.time() + self.patience_seconds
        pause = LOOK_SECONDS
        while self.loop.time() < until and not self.broken:
            rows = await self.disk.executions(None, limit=1_000)
            ended = all(ExecutionStatus(row.status) in FINAL_EXECUTION for row in rows)
            if ended and not self._giving and not await self.disk.inbox(EVERY_SHARD, 0, 1):
                return True
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, 600)
        return False

    def _tell_why(self) -> None:
        """Put what the engine itself says of its unfinished work into the transcript."""
        engine = self._engine
        if engine is None:
            self.tell("no orchestrator is there")
            return
        self.broken += unexplained(engine, self.loop.clock.now_us())
        for state in engine.residency.states.values():
            for each in explain(state, self.loop.clock.now_us(), Sources(engine.staffing.placement.why)):
                self.tell(f"explain {state.id[-4:]} {each.task} is {each.status}: {each.because}")

    async def _come_to_rest(self) -> None:
        """Give agents and engine the time to let go of everything, and see whether they do."""
        for _ in range(self.rest_looks):
            await asyncio.sleep(10)
            engine = self._engine
            if engine is not None and not unreturned(engine) and all(a.quiet for a in self._actors.values()):
                return
        if self._engine is not None:
            self.broken += unreturned(self._engine)
        self.broken += [f"I6: agent {a.id} holds something still" for a in self._actors.values() if not a.quiet]

    async def _examine(self, ended: bool) -> None:
        rows = await self.disk.executions(None, limit=1_000)
        self.executions = {row.id: row.status for row in rows}
        expected = self.script.expected if self._performer is None else None
        self.broken += self.limits.exceeded(self.fate.counts, self.limit_excuses)
        examination = Examination(self.disk, self.told, self.ledger.effects(), at_rest=ended, expected=expected)
        self.broken += await examination.examine()
        if not ended:
            self.broken.append(
                f"I5: not everything ended within {self.patience_seconds:.0f} calm seconds: {self.executions}"
            )

    # --- the orchestrator ----------------------------------------------------------------------------------------

    async def _keep_orchestrator(self) -> None:
        """Start an orchestrator, and another one whenever it is gone."""
        while True:
            self._crashed.clear()
            await self._start()
            await self._crashed.wait()
            await self._end_tasks()
            await asyncio.sleep(self.chance.choice((0.0, 0.5, 20.0)))

    async def _start(self) -> None:
        off_us = self.chance.choice((-3_600, 3_600, 5)) * SECOND if self.fate.strikes("clock_jumps") else 0
        clock = self._clock = JumpingClock(self.loop.clock, off_us)
        store = self._store = FaultyStore(self.disk, self.fate, self.crash, lambda b: self.limits.committed(b.rows))
        link = self._link = self._make_link()
        settings = msgspec.structs.replace(SETTINGS, agents_end_with_process=self._agents_live_here)
        engine = Engine(
            store, link, clock=clock, ids=IdSource(clock, self.chance), settings=settings,
            placement=Placement(pool=self._pool()), offload=inline,
        )  # fmt: skip
        if self._agents_live_here:
            for actor in self._actors.values():
                actor.vanish()
        self.tell(f"an orchestrator starts{f', its clock off by {off_us // SECOND} s' if off_us else ''}")
        starting = self.loop.create_task(self._started(engine), name="podium-start")
        crashing = self.loop.create_task(self._crashed.wait(), name="podium-crashing")
        await asyncio.wait({starting, crashing}, return_when=asyncio.FIRST_COMPLETED)
        if not starting.done() or not starting.result():
            return
        self._engine = engine
        if self._agents_live_here:
            for actor in self._actors.values():
                actor.come()

    def _pool(self) -> dict[str, float]:
        return {"cpu_cores": 2.0} if self.chance.random() < 0.3 and self._pooled else {}

    async def _started(self, engine: Engine) -> bool:
        try:
            await engine.start()
        except SimulatedCrash:
            return False
        except StoreUnavailableError as error:
            self.tell(f"the start failed: {error}")
            self.crash("the start failed")
            return False
        return True

    def crash(self, where: str) -> None:
        """End the orchestrator's process here and now: nothing of it has any effect from now on."""
        self.tell(f"CRASH {where}")
        if self._store is not None:
            self._store.dead = True
        if self._link is not None:
            self._link.end()
        self._engine = None
        self._crashed.set()

    async def _end_tasks(self) -> None:
        """Clear away what is left of a process."""
        if self._store is not None:
            self._store.dead = True
        if self._link is not None:
            self._link.end()
        while left := [t for t in asyncio.all_tasks() if self._is_orchestrators(t) and not t.done()]:
            for task in sorted(left, key=lambda t: t.get_name()):
                task.cancel()
            await asyncio.wait(left)

    def _is_orchestrators(self, task: asyncio.Task[Any]) -> bool:
        return task.get_name().startswith("podium-")

    async def _stop_in_order(self) -> None:
        engine = self._engine
        if engine is None:
            return
        self.tell("the orchestrator is stopped in good order")
        engine.drain()
        stopping = self.loop.create_task(engine.stop(), name="podium-stop")
        if not await first_of({stopping}, 600):
            self.broken.append("I5: the engine doesn't stop")
        if self._engine is engine:
            self.crash("stopped")

    # --- the link ------------------------------------------------------------------------------------------------

    def _make_link(self) -> Link:
        return Link(self)

    def carry(self, what: str, hand_over: Callable[[], None]) -> None:
        """Bring a message over: late, lost or twice, as it happens."""
        fate = self.fate
        if not what.partition(" -> ")[2].startswith("Freed") and fate.strikes("message_lost"):
            self.tell(f"lost: {what}")
            return
        self.tell(what)
        for _ in range(2 if fate.strikes("message_doubled") else 1):
            delay = fate.chance.uniform(0.5, 60) if fate.strikes("message_late") else fate.chance.uniform(0, 0.005)
            self.loop.call_later(delay, hand_over)

    def deliver(self, agent: str, message: msg.ToAgent) -> None:
        """Hand a message to an agent."""
        self._actors[agent].deliver(message)

    def _hear(self, message: msg.FromAgent) -> None:
        """Take what an agent says to the orchestrator that is there."""
        self.carry(f"{message.agent} -> {named(message)}", lambda: self._receive(message))

    def _receive(self, message: msg.FromAgent) -> None:
        if self._engine is None:
            return
        if not self._engine.receive(message):
            self.loop.call_later(0.05, self._receive, message)

    def _make_actors(self) -> None:
        for kind, count in self.workflow.agent_counts().items():
            roles = [role for role in self.workflow.agents.values() if role.type == kind]
            able = tuple(dict.fromkeys(name for role in roles for name in role.capabilities))
            resources = roles[0].resources if roles else ResourceRequirements()
            version = version_for(",".join(dict.fromkeys(role.version for role in roles if role.version)))
            for number in range(count):
                agent = f"{kind}-{number + 1}"
                slots = self.chance.randint(1, 3)
                actor = self._actors[agent] = self._make_actor(agent, kind, slots, able, resources, version)
                if not self._agents_live_here:
                    actor.come()

    def _has_ended(self, agent: str, attempt: str) -> bool:
        return self._actors[agent].has_ended(attempt)

    def _make_actor(
        self, agent: str, kind: str, slots: int, able: tuple[str, ...], resources: ResourceRequirements, version: str
    ) -> Actor:
        return Actor(
            agent, kind, slots, self.fate, self.ledger, self._hear,
            script=self.script, performer=self._performer, capabilities=able, resources=resources,
            version=version,
        )  # fmt: skip

    # --- clients -------------------------------------------------------------------------------------------------

    async def _ask(self, ask: Callable[[Engine], Awaitable[T]], name: str) -> tuple[bool, T | None]:
        """Ask the orchestrator; False when it isn't known what became of it."""
        engine = self._engine
        if engine is None:
            return False, None
        asking = self.loop.create_task(_awaited(ask(engine)), name=f"podium-asks-{name}")
        asking.add_done_callback(_seen)  # who asked may be gone when the answer comes
        await asyncio.wait({asking})
        if asking.cancelled():
            return False, None
        error = asking.exception()
        if error is None:
            return True, asking.result()
        if not isinstance(error, PodiumError | SimulatedCrash):
            raise error
        self.tell(f"{name} is told: {type(error).__name__}: {error}")
        if isinstance(error, ConflictError):
            return True, None
        return False, None

    async def _submit(self, number: int) -> None:
        """Submit under one id, again and again until it is acknowledged; sometimes twice at once or through the
        inbox.
        """
        await asyncio.sleep(self.chance.choice((0.0, 0.0, 1.0, 10.0)))
        name = f"order-{number}"
        execution = execution_id_for(DEFAULT_TENANT, name)
        while not self.broken:
            copies = 2 if self.chance.random() < 0.2 else 1
            for known, got in await asyncio.gather(*(self._ask_for_start(name) for _ in range(copies))):
                if known:
                    if got is not None:
                        self.tell(f"{name} is acknowledged as {got[-4:]}")
                        if execution not in self.told.executions:
                            watching = self._watch(execution)
                            self._watching.append(self.loop.create_task(watching, name=f"world-watch-{number}"))
                        self.told.executions[execution] = None
                    elif execution not in self.told.executions and await self.disk.execution(execution) is None:
                        continue  # a limit is reached; try again later
            if execution in self.told.executions:
                return
            await asyncio.sleep(self.chance.uniform(0.5, 5))

    async def _ask_for_start(self, name: str) -> tuple[bool, str | None]:
        return await self._ask(lambda e: e.submit(self.workflow, self.given, submission_id=name), name)

    async def _watch(self, execution: str) -> None:
        """Wait for the execution's end as a client does; what is said to have ended must have ended on disk."""
        while True:
            known, status = await self._ask(lambda e: e.finished(execution), "who waits for the end")
            if known and status is not None:
                row = await self.disk.execution(execution)
                counts = self.fate.counts
                retried = bool(counts.get("steering")) or (
                    status is not ExecutionStatus.COMPLETED and bool(counts.get("meddling"))
                )
                if (row is None or row.status != status) and not retried:
                    self.broken.append(f"I3: {execution} was said to be {status}, on disk it is {row and row.status}")
                return
            await asyncio.sleep(1)

    async def _watchers_return(self, ended: bool) -> None:
        """Everybody who waits for an end must hear of it."""
        if ended and self._watching:
            _, left = await asyncio.wait(self._watching, timeout=600)
            self.broken += [f"I5: {task.get_name()} waits for an end that has come" for task in left]
        for task in self._watching:
            task.cancel()

    async def _give(self, execution: str, given: inp.Input) -> None:
        """Give a command through a door or the inbox, and remember what was acknowledged."""
        self._inputs += 1
        input_id = f"person:{self._inputs}"
        if self.chance.random() < 0.3:
            row = InboxRow(
                execution, input_id, DEFAULT_TENANT, shard_of(execution), str(given.__struct_config__.tag),
                encode_input(given), self.loop.clock.now_us(),
            )  # fmt: skip
            self.tell(f"inbox <- {input_id} {type(given).__name__}")
            await self.disk.post(row)
            # What opens an execution again may be refused: there is a limit of concurrent ones.
            if not isinstance(given, inp.Retry | inp.Skip | inp.Complete):
                self.told.inputs[execution, input_id] = None
            if self._engine is not None and self.chance.random() < 0.5:
                self._engine.look_into_inbox()
            return
        self.tell(f"person: {input_id} {type(given).__name__} of {execution[-4:]}")
        self._giving += 1
        known, events = await self._ask(lambda e: e.command(execution, given, input_id), input_id)
        self._giving -= 1
        if known and events is not None:
            self.told.inputs[execution, input_id] = None

    async def _meddle(self) -> None:
        rows = await self.disk.executions(None, limit=1_000)
        if not rows:
            return
        row = self.chance.choice(rows)
        given: inp.Input = self.chance.choice(
            (
                inp.Pause("a person said so"), inp.Resume(), inp.Resume(), inp.Retry(), inp.Retry(),
                inp.Cancel("a person said so", force=self.chance.random() < 0.5),
                inp.Signal("nudge", Value(json=Raw(b"1"))),
            )
        )  # fmt: skip
        if isinstance(given, inp.Cancel) and self.chance.random() < 0.7:
            return
        await self._give(row.id, given)

    async def _speak(self) -> None:
        """Somebody says what a task that no agent does may wait for."""
        rows = await self.disk.executions(None, limit=1_000)
        given = something_from_outside(self.workflow, self.chance)
        if rows and given is not None:
            await self._give(self.chance.choice(rows).id, given)

    async def _steer(self) -> None:
        """Somebody decides about a task of some execution, whether or not that fits."""
        rows = await self.disk.executions(None, limit=1_000)
        if not rows:
            return
        row, task = self.chance.choice(rows), self.chance.choice(self.workflow.tasks)
        path = task.id if self.chance.random() < 0.7 else f"{task.id}[{self.chance.randint(0, 2)}]"
        result = self.script.result_of(task.function or task.id, path) if self.chance.random() < 0.7 else b"[1,2]"
        given: inp.Input = self.chance.choice(
            (
                inp.Skip(path, "a person said so", "somebody"),
                inp.Complete(path, Value(json=Raw(result)), "", "somebody"),
                inp.Retry(task.id, "somebody"),
                inp.Resolve(path, self.chance.choice(("retry", "fail")), "", "somebody"),
            )
        )
        await self._give(row.id, given)

    async def _answer_all(self) -> None:
        """Decide what is asked: once nothing goes wrong any more, a task that is tried again ends, or asks again."""
        for row in await self.disk.executions(None, limit=1_000):
            if ExecutionStatus(row.status) in FINAL_EXECUTION:
                continue
            found = await restore(self.disk, self._definitions, row.id)
            for path in asking(found.state) if found is not None else ():
                decision = self.chance.choice(("retry", "fail"))
                await self._give(row.id, inp.Resolve(path, decision, "", "somebody"))

    async def _resume_all(self) -> None:
        for row in await self.disk.executions(None, (ExecutionStatus.PAUSED,)):
            await self._give(row.id, inp.Resume())

    def _see_what_is_said(self) -> None:
        """Hold what is said of waiting tasks, after each committed row, against the model."""
        data = self.disk._data
        for execution, rows in data.histories.items():
            witness = self._witnesses.get(execution)
            if witness is None:
                row = data.executions[execution]
                witness = self._witnesses[execution] = Witness(
                    State(execution, row.tenant, self._definition_of(row.definition))
                )
            for entry in rows[self._seen.get(execution, 0) :]:
                blob = data.blobs[entry.tenant, entry.payload_blob][0] if entry.payload_blob else None
                witness.take(entry.now_us, decode_row(entry, blob)[1])
                if len(self.workflow.tasks) <= EACH_ROW_TASKS or entry is rows[-1]:
                    self.broken += witness.untrue(entry.now_us)
            self._seen[execution] = len(rows)

    def _definition_of(self, digest: str) -> Definition:
        """Return the workflow's definition, or that of one of its children, by its hash."""
        every = (self._definitions.compile(workflow)[0] for workflow in _with_children(self.workflow))
        return next(definition for definition in every if definition.digest == digest)

    async def _look_around(self) -> None:
        """Look at the world now and then: do what people and machines do to it, and check what must always hold."""
        while True:
            await asyncio.sleep(self.chance.uniform(0.2, 1.8) * LOOK_SECONDS if not self.fate.calm else 30.0)
            if self.fate.calm:
                await self._resume_all()
                if self.fate.faults.steering:
                    await self._answer_all()
            self._see_what_is_said()
            if not self._look_at_processes():
                continue
            if self.fate.strikes("meddling"):
                await self._meddle()
            if self._has_waits:
                await self._speak()
            if self.fate.strikes("steering"):
                await self._steer()
            if self.fate.strikes("stall"):
                self.loop.clock.advance(self.chance.choice((1, 4, 20)) * SECOND)
            clock = self._some_clock()
            if clock is not None and self.fate.strikes("clock_freezes"):
                clock.freeze()
                catches_up = self.chance.random() < 0.5
                self.loop.call_later(self.chance.uniform(0.1, 20), clock.thaw, catches_up)
            if self.fate.strikes("clock_leaps"):
                self.loop.clock.advance(3_600 * SECOND)
            self._strike()
            if self.fate.strikes("stop"):
                self._stopping = self.loop.create_task(self._stop_in_order(), name="world-stop")
                await asyncio.wait({self._stopping})

    def _look_at_processes(self) -> bool:
        """Look at what must always hold of an orchestrator; False when it has just ended by itself."""
        engine = self._engine
        if engine is None:
            return True
        failure = engine.failure
        if failure is not None and not isinstance(failure, SimulatedCrash) and not self._crashed.is_set():
            self.broken.append(f"the engine ended by itself: {failure!r}")
            self.crash("the engine failed")
            self.fate.calm = True
            return False
        self.broken += miscounted(engine)
        return True

    def _some_clock(self) -> JumpingClock | None:
        """Return the clock of an orchestrator."""
        return self._clock

    def _strike(self) -> None:
        """Let happen what else happens in this kind of world."""


async def _awaited(work: Awaitable[T]) -> T:
    return await work


def _seen(asking: asyncio.Task[Any]) -> None:
    if not asking.cancelled():
        asking.exception()


def _with_children(workflow: Workflow) -> Iterator[Workflow]:
    """Yield a workflow and those that its tasks are."""
    yield workflow
    for task in workflow.tasks:
        if task.workflow is not None:
            yield from _with_children(task.workflow)
