"""Who places: the queue, the agents' slots, and the grants that come of them. It belongs to one replica at a time.

Executions bring what has changed to a `Desk`: to this one where their owner places too, else to `Exports`, which goes
to the placing replica through its inbox. Every replica keeps the agents, so that whoever takes over can place at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Protocol

from podium.engine import inputs as inp
from podium.engine.arrivals import Arrival
from podium.engine.changes import Begun, Change, Changes, Ended, Freed, How, Kept, Queued, Withdrawn, WithdrawnAll
from podium.engine.circuits import Circuits
from podium.engine.limiting import bounds_of
from podium.engine.state import State, TaskState, attempt_id, place_of
from podium.fleet import messages as msg
from podium.fleet.breaker import Sign
from podium.scheduling.placement import Agent, Bound, Placement, ReadyTask
from podium.scheduling.resources import Vector, vector_of
from podium.workflow.model import ExecutionStatus, TaskStatus

FREED_KEPT = 10_000


class Desk(Protocol):
    """Takes what changes for placement. An attempt is named by its id."""

    def enqueue(self, ready: ReadyTask) -> None:
        """A task waits for an agent."""
        ...

    def withdraw(self, execution: str, task: str) -> None:
        """A task waits no more."""
        ...

    def withdraw_all(self, execution: str) -> None:
        """Nothing of an execution waits any more."""
        ...

    def end(self, attempt: str, how: How, sign: Sign = Sign.NOTHING, agent: str = "") -> None:
        """An attempt has ended, or its grant came too late: its slot comes back, at once or when its agent says so.

        `sign` is what that says about the agent.
        """
        ...

    def keep(
        self,
        attempt: str,
        execution: str,
        agent: str,
        incarnation: str,
        needs: Vector,
        bounds: tuple[Bound, ...] = (),
    ) -> None:
        """An attempt is live with this agent, whatever another grant of it said."""
        ...

    def begin(self, attempt: str) -> None:
        """The grant of an attempt that a limit counts is decided."""
        ...


class Placing:
    """The queue and the slots of the replica that leads; at the others, only its agents are up to date."""

    def __init__(self, placement: Placement, lease_us: int, circuits: Circuits) -> None:
        """`lease_us`: how long an agent's word about a slot is waited for."""
        self.placement = placement
        self.circuits = circuits
        self._lease_us = lease_us
        self._turn = 0
        self._freed: dict[str, None] = {}  # attempts whose threads have returned, the latest of them
        # slots of attempts that we ended, and until when we wait for their agents' word
        self._lingering: dict[str, int] = {}
        # slots of threads that outlive their attempts, and until when that is believed without another renewal
        self._stuck: dict[str, int] = {}
        # Grants that lie in inboxes, for all we know, by execution and attempt: with agent and incarnation.
        self._posted: dict[str, dict[str, tuple[str, str]]] = {}
        self._promised: dict[str, ReadyTask] = {}  # tasks that aren't queued because of those grants, by attempt
        self._awaited: dict[str, tuple[int, list[Changes]]] = {}  # executions that are being read, and what was told
        self._begun = 0  # readings
        # Executions as they were read: what was told before that sequence says nothing new. With the number of each
        # reading, in their order, so that they can go once everything that was told before it has been taken.
        self._known: dict[str, tuple[int, int]] = {}
        self._readings = 0

    # --- from executions ---------------------------------------------------------------------------------------

    def enqueue(self, ready: ReadyTask) -> None:
        """Queue a task; one that is queued already is replaced. One whose grant is on its way has its slot already."""
        holder = self._posted.get(ready.execution, {}).get(ready.attempt)
        if holder is None:
            self.placement.enqueue(ready)
        else:
            self._promised[ready.attempt] = ready
            self.placement.hold(ready.attempt, ready.execution, *holder, ready.needs, ready.bounds)

    def withdraw(self, execution: str, task: str) -> None:
        """Take a task out of the queue."""
        self.placement.withdraw(execution, task)

    def withdraw_all(self, execution: str) -> None:
        """Take an execution's tasks out of the queue."""
        self.placement.withdraw_all(execution)

    def end(self, attempt: str, how: How, sign: Sign = Sign.NOTHING, agent: str = "") -> None:
        """Give the slot back, unless the agent hasn't said so: a timed-out thread keeps its slot until it returns.

        Of an attempt that ends by our own word the agent's is awaited, but not for ever: what we said may be lost.
        """
        self.circuits.ended(agent, attempt, sign)
        self._arrived(attempt)
        if how is How.ENDED_BY_US:
            self._lingering[attempt] = 0
            return
        self._lingering.pop(attempt, None)
        if how is How.HOLDS_SLOT and attempt not in self._freed:
            self._stuck[attempt] = 0
            return  # decided again after a failed append, its slot may have come back meanwhile
        self.placement.release(attempt, unused=how is How.NOT_BEGUN)

    def begin(self, attempt: str) -> None:
        """Wait for the commit: `begun` says that it is there."""

    def begun(self, attempt: str) -> None:
        """The grant of an attempt is committed: from now on a rate's time counts."""
        self.placement.begin(attempt)

    def _note(self, attempt: str, how: How) -> None:
        """What the end of an attempt says about its agent: this replica hasn't heard it itself, perhaps."""
        holder = self.placement.holder(attempt)
        if holder is None:
            return
        agent, incarnation = holder
        known = self.placement.agents.get(agent)
        if known is None or known.incarnation != incarnation:
            return
        match how:
            case How.LOST | How.REFUSED:
                self.placement.refuse(agent)
            case How.DRAINING:
                self.placement.leave(agent)
            case How.BY_AGENT:
                self.placement.heard_of(agent)
            case _:
                pass

    def keep(
        self,
        attempt: str,
        execution: str,
        agent: str,
        incarnation: str,
        needs: Vector,
        bounds: tuple[Bound, ...] = (),
    ) -> None:
        """Count a live attempt against its agent's slots."""
        self._arrived(attempt)
        if self.placement.holder(attempt) not in (None, (agent, incarnation)):
            self.placement.release(attempt)
        self.placement.hold(attempt, execution, agent, incarnation, needs, bounds, begun=True)
        self.begun(attempt)

    def adopt(self, state: State) -> None:
        """Queue and hold what an execution has ready and live, instead of what was known of it; a reading of it that is
        under way counts no more.
        """
        _, told = self._awaited.pop(state.id, (0, ()))
        self.forget(state.id, unused=partial(_never_began, state))
        self._readings += 1
        self._known.pop(state.id, None)
        self._known[state.id] = (state.sequence, self._readings)
        for posted in list(self._posted.get(state.id, ())):
            self._promised.pop(posted, None)
            run, path, number = place_of(posted)
            past = run < state.run or path not in state.tasks or state.tasks[path].number >= number
            if state.final or past:
                self._arrived(posted)
        enqueue_ready(self, state, (p for p, t in state.tasks.items() if t.status is TaskStatus.READY))
        for task in state.tasks.values():
            for attempt in (task.live or {}).values():
                attempt_id = state.attempt_id(task.path, attempt.number)
                self.placement.hold(
                    attempt_id, state.id, attempt.agent, attempt.incarnation, task.compiled.needs,
                    bounds_of(state, task), begun=True,
                )  # fmt: skip
                self.begun(attempt_id)
        self.apply(told)

    def forget(self, execution: str, unused: Callable[[str], bool] = lambda attempt: False) -> None:
        """Forget what waits and what is live of an execution; slots whose agents' word is awaited stay.

        `unused` says of an attempt whether its grant was surely never committed, so that it counts towards no rate.
        """
        self.placement.withdraw_all(execution)
        for attempt in self.placement.attempts_of(execution):
            if attempt not in self._lingering and attempt not in self._stuck:
                self.placement.release(attempt, unused=unused(attempt))

    def awaits(self, attempt: str) -> bool:
        """Whether the slot of an attempt that has ended is kept until its agent's word."""
        return attempt in self._lingering or attempt in self._stuck

    def posted(self, arrival: Arrival) -> None:
        """A grant is on its way to its execution's owner, by us or by who placed before us: its slots are taken."""
        execution, given = arrival.execution, arrival.given
        if not isinstance(given, inp.Grant):
            return
        for grant in given.grants:
            posted = self._posted.setdefault(execution, {})
            attempt = attempt_id(execution, given.run or 1, grant.task, grant.number)
            posted.setdefault(attempt, (grant.agent, grant.incarnation))
            ready = self.placement.ready_task(execution, grant.task)
            if ready is not None and ready.attempt == attempt:
                self.placement.withdraw(execution, grant.task)
                self.enqueue(ready)

    def _arrived(self, attempt: str) -> None:
        """The grant of an attempt isn't on its way any more."""
        self._promised.pop(attempt, None)
        execution = attempt.partition(":")[0]
        posted = self._posted.get(execution)
        if posted is None:
            return
        posted.pop(attempt, None)
        if not posted:
            del self._posted[execution]

    # --- from other replicas -----------------------------------------------------------------------------------

    def apply(self, told: Iterable[Changes]) -> None:
        """Take what executions of other replicas brought, in the order in which they were committed."""
        for each in told:
            execution, sequence, changes = each
            if execution in self._awaited:
                self._awaited[execution][1].append(each)
                continue
            known, _ = self._known.get(execution, (0, 0))
            if sequence and known:
                if sequence <= known:
                    self._give_back_promised(changes)
                    continue  # it was read with the execution
                del self._known[execution]
            for change in changes:
                self._apply(execution, change)

    def _give_back_promised(self, changes: Iterable[Change]) -> None:
        """An execution that was read doesn't say that a grant was ignored before: it looks as if it were on its way."""
        for change in changes:
            if isinstance(change, Ended) and change.how is How.NOT_BEGUN:
                ready = self._promised.get(change.attempt)
                if ready is not None:
                    self.end(change.attempt, change.how)
                    self.enqueue(ready)

    def _apply(self, execution: str, change: Change) -> None:
        match change:
            case Queued():
                self.enqueue(change.ready_task(execution))
            case Withdrawn(task):
                self.withdraw(execution, task)
            case WithdrawnAll():
                self.withdraw_all(execution)
            case Ended(attempt, how, sign, agent):
                self._note(attempt, how)
                self.end(attempt, how, sign, agent)
            case Kept(attempt, agent, incarnation, needs, bounds):
                self.keep(attempt, execution, agent, incarnation, needs, bounds)
            case Begun(attempt):
                self.begun(attempt)
            case Freed(attempt):
                self.free(attempt)

    @property
    def readings(self) -> int:
        """How many executions have been read so far: asked before a look into the inbox."""
        return self._readings

    def told_all(self, readings: int) -> None:
        """All that had been told when there were so many readings has been taken: they needn't be remembered."""
        while self._known:
            execution = next(iter(self._known))
            if self._known[execution][1] > readings:
                return
            del self._known[execution]

    def await_reading(self, execution: str) -> int:
        """An execution of another replica is being read; what is told of it meanwhile comes after that.

        Return the reading's number: of several the one that was begun last counts.
        """
        _, told = self._awaited.get(execution, (0, []))
        self._begun += 1
        self._awaited[execution] = self._begun, told
        return self._begun

    def awaits_reading(self, execution: str, number: int) -> bool:
        """Whether this reading counts, and hasn't been taken in yet."""
        return self._awaited.get(execution, (0, ()))[0] == number

    def was_read(self, execution: str, number: int, state: State | None) -> None:
        """Take an execution in as it was read (None: there is none), with what was told meanwhile."""
        if not self.awaits_reading(execution, number):
            return
        if state is not None:
            self.adopt(state)
        else:
            self.forget(execution)
            self.needs_no_reading(execution)

    def needs_no_reading(self, execution: str) -> None:
        """What is known of an execution counts, with what was told meanwhile."""
        _, told = self._awaited.pop(execution, (0, ()))
        self.apply(told)

    def forget_all(self) -> None:
        """This replica doesn't lead any more: only its agents stay."""
        self.placement.clear()
        self.circuits.forget_all()
        for waited in (
            self._lingering,
            self._stuck,
            self._freed,
            self._known,
            self._awaited,
            self._posted,
            self._promised,
        ):
            waited.clear()

    # --- from agents -------------------------------------------------------------------------------------------

    def register(self, registration: msg.Registration, lives_here: bool) -> None:
        """Take an agent in, or what it says anew of itself."""
        agent = Agent(
            registration.agent,
            registration.type,
            registration.incarnation,
            max(registration.slots, 1),
            vector_of(registration.resources),
            frozenset(registration.capabilities),
            frozenset(registration.functions),
            self.placement.here if lives_here else None,
            registration.version,
        )
        self.circuits.attach(agent)
        self.placement.add_agent(agent)

    def free(self, attempt: str) -> None:
        """The thread of an attempt that has ended has returned."""
        self._stuck.pop(attempt, None)
        self.placement.release(attempt)
        self._freed[attempt] = None
        if len(self._freed) > FREED_KEPT:
            del self._freed[next(iter(self._freed))]

    def renewed(self, attempts: tuple[str, ...], now_us: int) -> None:
        """An agent is alive, and these have slots there."""
        for attempt in self._stuck.keys() & attempts if self._stuck else ():
            self._stuck[attempt] = now_us + self._lease_us

    def expire(self, now_us: int) -> None:
        """Give back the slots whose agents say nothing of them; try agents again whose circuit breakers say so."""
        self.circuits.look()
        for waited in (self._lingering, self._stuck):
            for attempt, until_us in list(waited.items()):
                if not until_us:
                    waited[attempt] = now_us + self._lease_us
                elif until_us <= now_us:
                    del waited[attempt]
                    self.placement.release(attempt)

    # --- the decision ------------------------------------------------------------------------------------------

    def assume_used(self, until_us: int) -> None:
        """Whoever placed before us may have granted anything up to then: rates count it as used."""
        self.placement.limits.assume_used(until_us)

    def next_due_us(self) -> int | None:
        """Return when a rate has room again that keeps tasks back; None without one."""
        return self.placement.limits.next_due_us()

    def grants(self, fence: int, limit: int, now_us: int) -> list[Arrival]:
        """Return what placement decides now, an input for each execution."""
        found: dict[tuple[str, int], list[inp.Granted]] = {}
        for slot in self.placement.place(limit, now_us):
            run, _, _ = place_of(slot.attempt)
            found.setdefault((slot.execution, run), []).append(
                inp.Granted(slot.task, slot.number, slot.agent, slot.incarnation)
            )
        arrivals = []
        for (execution, run), granted in found.items():
            self._turn += 1
            given = inp.Grant(fence, self._turn, tuple(granted), run)
            arrivals.append(Arrival(execution, f"grant:{fence}:{self._turn}", given))
        return arrivals


def enqueue_ready(desk: Desk, state: State, paths: Iterable[str]) -> None:
    """Queue those of the tasks that are ready, if the execution may start any."""
    if state.status is not ExecutionStatus.RUNNING:
        return
    for path in paths:
        task = state.tasks[path]
        if task.status is TaskStatus.READY:
            desk.enqueue(ready_task(state, task))


def ready_task(state: State, task: TaskState) -> ReadyTask:
    """Return a ready task as placement knows it: with the attempt to come."""
    compiled = task.compiled
    number = task.number + 1
    return ReadyTask(
        state.id,
        task.path,
        number,
        state.attempt_id(task.path, number),
        compiled.agent_type,
        compiled.priority if compiled.priority is not None else state.priority,
        task.ready_us,
        compiled.needs,
        compiled.capabilities,
        compiled.function,
        state.preferred_agent,
        state.definition.circuit,
        bounds_of(state, task) if compiled.bounds else (),
        compiled.version,
    )


def _never_began(state: State, attempt: str) -> bool:
    """Whether an attempt of an execution, as it is committed, was never granted."""
    run, path, number = place_of(attempt)
    task = state.tasks.get(path)
    return run == state.run and task is not None and task.number < number
