"""Placement: which ready task goes to which agent next. Pure: it is told what happens and answers with grants.

One queue an agent type, by priority, then age. Slots and resources are never over capacity. Among the agents that fit,
the least loaded one is chosen by an `AgentChoice`, so that richer policies stand behind the same protocol. A task that
doesn't fit lets smaller ones pass, but not for ever: after `PATIENCE` of them its type waits for it. One that no
registered agent could ever take is set aside until another agent comes, and holds nobody up.

A task of `ANY_TYPE` goes to an agent of whatever type that has its capabilities and answers to its function; such
tasks have a queue for each function, so that none waits behind one that other agents answer to. A task's
preferred agent gets it if it is free; otherwise another one does. What a full key of `limits` keeps back is in no
queue meanwhile.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from heapq import heapify, heappop, heappush
from itertools import count

from podium.scheduling import reasons
from podium.scheduling.holds import Hold, Holds
from podium.scheduling.limits import Limits
from podium.scheduling.ranking import AgentChoice, LeastLoaded, Ranking
from podium.scheduling.ready import ANY_TYPE, Bound, Entry, ReadyTask, Slot
from podium.scheduling.resources import NOTHING, Capacity, Vector
from podium.scheduling.slots import Agent, Together

__all__ = [
    "ANY_TYPE",
    "LOOK_AHEAD",
    "PATIENCE",
    "Agent",
    "AgentChoice",
    "Bound",
    "LeastLoaded",
    "Placement",
    "ReadyTask",
    "Slot",
    "Together",
]

PATIENCE = 100  # grants that may pass a task which doesn't fit
LOOK_AHEAD = 64  # tasks that don't fit which are looked past in one go
_FEW = 64  # entries of withdrawn tasks that may lie in a queue


class Placement:
    """The queues and the agents' slots, rebuilt from ready tasks and live attempts after a take-over."""

    def __init__(self, choice: AgentChoice | None = None, pool: Vector = NOTHING, most_here: int | None = None) -> None:
        """`pool` is what all agents share; `most_here` how many attempts those of this process hold at once."""
        self.here = Together(most_here) if most_here is not None else None
        self.agents: dict[str, Agent] = {}
        self._ranking = Ranking(choice or LeastLoaded(), self.agents)
        self.pool = Capacity(pool, devices_only_if_offered=False)
        self._queues: dict[str, list[Entry]] = {}
        self._impossible: dict[str, list[Entry]] = {}  # what no agent that is registered could ever take
        self._lengths: dict[str, int] = {}
        self._ready: dict[str, dict[str, ReadyTask]] = {}  # by execution, by task
        self._holds = Holds()
        self._functions: dict[str, str] = {}  # of tasks of any type that wait: the queue of each
        self._stirred: dict[str, None] = {}  # queues that something has changed for
        self._joined: set[str] = set()  # queues that an agent has come for, since that was last asked
        self._arrivals = count()
        self.limits = Limits(self._queue)

    # --- agents ------------------------------------------------------------------------------------------------

    def add_agent(self, agent: Agent) -> None:
        """Take an agent in, or its new incarnation: what this one holds counts, what an earlier one did no more."""
        known = self.agents.get(agent.id)
        if known is not None and known.incarnation != agent.incarnation:
            self.remove_agent(agent.id)
        self.agents[agent.id] = agent
        if agent.together is not None:
            agent.together.agents[agent.id] = agent
        for hold in self._holds.with_agent(agent.id):
            if hold.incarnation == agent.incarnation:
                hold.count(agent)
        for name in self._queues_of(agent):
            self._joined.add(name)
            for entry in self._impossible.pop(name, ()):
                heappush(self._queues.setdefault(name, []), entry)
        self._offer(agent)

    def remove_agent(self, agent_id: str) -> None:
        """Forget an agent. What it holds is held until that is ended: should it come back, it counts again.

        An attempt's owner may not know that its agent is gone, nor hear of it before the agent is there again.
        """
        gone = self.agents.pop(agent_id, None)
        if gone is None:
            return
        if gone.together is not None:
            gone.together.agents.pop(agent_id, None)
        for hold in self._holds.with_agent(agent_id):
            if hold.counted_by is gone:
                self._count_no_more(hold)
        # What only it could take is found out now, and not at somebody's next word.
        self._stirred.update((name, None) for name in self._queues_of(gone) if self._lengths.get(name))

    def refuse(self, agent_id: str) -> None:
        """An agent said that it is full: nothing goes there until it is heard of again."""
        if agent_id in self.agents:
            self.agents[agent_id].full = True

    def heard_of(self, agent_id: str) -> None:
        """An agent said something: it may be tried again."""
        agent = self.agents.get(agent_id)
        if agent is not None and agent.full:
            agent.full = False
            self._offer(agent)

    def reconsider(self, agent_id: str) -> None:
        """What an agent may be given has changed."""
        agent = self.agents.get(agent_id)
        if agent is not None:
            self._offer(agent)

    def leave(self, agent_id: str) -> None:
        """An agent drains: it keeps what it has and gets nothing new."""
        if agent_id in self.agents:
            self.agents[agent_id].leaving = True

    def set_apart(self, agent_id: str) -> None:
        """An agent stands for somebody who comes for work: it gets nothing unasked, and the process does none of it."""
        agent = self.agents.get(agent_id)
        if agent is not None:
            agent.leaving = True
            if agent.together is not None:
                agent.together.agents.pop(agent_id, None)
                agent.together = None

    def admit_one(self, agent_id: str) -> None:
        """An agent that was set apart may be given one more; whoever asked lets it `leave` again."""
        agent = self.agents.get(agent_id)
        if agent is not None:
            agent.leaving, agent.slots = False, agent.held + 1
            self._offer(agent)

    def attempts_with(self, agent_id: str) -> frozenset[str]:
        """Return the attempts that hold an agent's slots."""
        return frozenset(hold.attempt for hold in self._holds.with_agent(agent_id))

    # --- tasks -------------------------------------------------------------------------------------------------

    def first_waiting(self, agent_types: Iterable[str]) -> str | None:
        """Return for which of these agent types the task waits that comes first; None where none waits."""
        found: tuple[Entry, str] | None = None
        for name in agent_types:
            queue = self._queues.get(name, [])
            while queue and not queue[0][3].queued:
                heappop(queue)
            aside = (entry for entry in self._impossible.get(name, ()) if entry[3].queued)
            first = min((*queue[:1], *aside), default=None)
            if first is not None and (found is None or first < found[0]):
                found = first, name
        return found[1] if found is not None else None

    def enqueue(self, ready: ReadyTask) -> None:
        """Queue a task; one that is queued already is replaced."""
        tasks = self._ready.setdefault(ready.execution, {})
        if ready.task in tasks:
            self._unqueue(tasks[ready.task])
        tasks[ready.task] = ready
        if ready.agent_type == ANY_TYPE:
            self._ranking.rank_for_any_type()
        entry = (-ready.priority, ready.ready_us, next(self._arrivals), ready)
        if ready.agent_type == ANY_TYPE:
            self._functions[ready.function] = ready.queue
        self._lengths[ready.queue] = self._lengths.get(ready.queue, 0) + 1
        self._queue(entry)

    def _queue(self, entry: Entry) -> None:
        queue = entry[3].queue
        heappush(self._queues.setdefault(queue, []), entry)
        self._stirred[queue] = None

    def withdraw(self, execution: str, task: str) -> None:
        """Take a task out of its queue, if it is in one."""
        tasks = self._ready.get(execution, {})
        ready = tasks.pop(task, None)
        if ready is not None:
            self._unqueue(ready)
            if not tasks:
                del self._ready[execution]

    def withdraw_all(self, execution: str) -> None:
        """Take an execution's tasks out of the queues."""
        for ready in self._ready.pop(execution, {}).values():
            self._unqueue(ready)

    def hold(
        self,
        attempt: str,
        execution: str,
        agent_id: str,
        incarnation: str,
        needs: Vector = NOTHING,
        bounds: tuple[Bound, ...] = (),
        *,
        begun: bool = False,
    ) -> None:
        """Count an attempt against an agent's slots: one that was granted, or (`begun`) is found live.

        Another incarnation of the agent doesn't count it; one that isn't registered yet will, when it is.
        """
        if attempt in self._holds:
            return
        hold = Hold(attempt, agent_id, incarnation, execution, needs, bounds)
        self._holds.add(hold)
        if bounds:
            self.limits.take(attempt, bounds, begun)
        self.pool.take(needs)
        agent = self.agents.get(agent_id)
        if agent is not None and agent.incarnation == incarnation:
            hold.count(agent)
            if agent.open:
                self._ranking.enlist(agent)

    def begin(self, attempt: str) -> None:
        """An attempt's grant is committed."""
        hold = self._holds.get(attempt)
        if hold is not None and hold.bounds:
            self.limits.begin(attempt, hold.bounds)

    def release(self, attempt: str, unused: bool = False) -> None:
        """Give an attempt's slot back; `unused`: its grant came too late. Once more changes nothing."""
        hold = self._holds.pop(attempt)
        if hold is None:
            return
        if hold.bounds:
            self.limits.give_back(attempt, hold.bounds, unused)
        if hold.needs:
            self.pool.give_back(hold.needs)
            self._stirred.update(dict.fromkeys(self._queues))
        known = self.agents.get(hold.agent)
        if known is not None and known.circuit is not None:
            known.circuit.released(attempt)
        self._count_no_more(hold)

    def _count_no_more(self, hold: Hold) -> None:
        """Take a slot off what its agent counts, if one does."""
        agent, hold.counted_by = hold.counted_by, None
        if agent is not None:
            agent.held -= 1
            agent.capacity.give_back(hold.needs)
            if self.agents.get(agent.id) is agent:
                self._offer(agent)
            if agent.together is not None:
                self._give_back_together(agent.together)

    def _give_back_together(self, together: Together) -> None:
        """One of what the agents of a process may hold at once is free again: if none was, all are offered anew."""
        was_full, together.held = together.full, together.held - 1
        if was_full and not together.full:
            for agent in together.agents.values():
                self._offer(agent)

    def holder(self, attempt: str) -> tuple[str, str] | None:
        """Return agent and incarnation of the slot that an attempt holds; None if it holds none."""
        hold = self._holds.get(attempt)
        return (hold.agent, hold.incarnation) if hold is not None else None

    def held_as(self, agent_id: str) -> str:
        """Return the incarnation under which an agent holds slots, the latest; empty if it holds none."""
        held = self._holds.latest_with(agent_id)
        return held.incarnation if held is not None else ""

    def ready_task(self, execution: str, task: str) -> ReadyTask | None:
        """Return a task that is queued."""
        return self._ready.get(execution, {}).get(task)

    def ready_tasks_of(self, execution: str) -> list[ReadyTask]:
        """Return an execution's tasks that are queued."""
        return list(self._ready.get(execution, {}).values())

    def attempts_of(self, execution: str) -> list[str]:
        """Return an execution's attempts that hold slots."""
        return self._holds.attempts_of(execution)

    def executions(self) -> set[str]:
        """Return the executions that have tasks queued or slots taken."""
        return {*self._ready, *self._holds.executions()}

    def miscounted(self) -> dict[str, tuple[int, int]]:
        """Return the agents whose count of taken slots is wrong: what they count, and how many are taken."""
        taken = Counter(hold.counted_by.id for hold in self._holds if hold.counted_by is not None)
        return {a.id: (a.held, taken[a.id]) for a in self.agents.values() if a.held != taken[a.id]}

    def recount(self, agent_id: str) -> None:
        """Have an agent count the slots that are taken."""
        if agent_id in self.agents and agent_id in (found := self.miscounted()):
            self.agents[agent_id].held = found[agent_id][1]
            self.reconsider(agent_id)

    def clear(self) -> None:
        """Forget all executions; the agents stay."""
        for execution in self.executions():
            self.forget(execution)
        self.limits.clear()

    def forget(self, execution: str) -> None:
        """Forget an execution: queued tasks and held slots. Who reloads it enqueues and holds again."""
        self.withdraw_all(execution)
        for attempt in self._holds.attempts_of(execution):
            self.release(attempt)

    # --- the decision ------------------------------------------------------------------------------------------

    def place(self, limit: int = 1_000_000, now_us: int = 0) -> list[Slot]:
        """Return up to `limit` grants; their slots are taken under the attempts' ids. Rates go by `now_us`."""
        self.limits.turn(now_us)
        granted: list[Slot] = []
        while self._stirred and len(granted) < limit:
            name = next(iter(self._stirred))
            if not self._place_one_queue(name, granted, limit):
                self._stirred.pop(name, None)
        return granted

    def _place_one_queue(self, name: str, granted: list[Slot], limit: int) -> bool:
        """Grant what can be granted of one queue; True when the limit cut it short."""
        queue = self._queues.get(name)
        if not queue:
            return False
        passed: list[Entry] = []
        letting_pass = 0  # of those: what limits had let out, which hold nobody up either, but there is an end to it
        cut = False
        while queue and len(passed) - letting_pass < LOOK_AHEAD:
            if not queue[0][3].queued:
                heappop(queue)
                continue
            if len(granted) >= limit:
                cut = True
                break
            entry = heappop(queue)
            ready = entry[3]
            agent = self._choose(ready)
            if agent is not None and ready.bounds and not self.limits.admits(ready):
                self._ranking.enlist(agent)
                self.limits.keep_back(entry)
                continue
            if agent is not None:
                granted.append(self._grant(ready, agent))
                for waiting in passed:
                    waiting[3].passed_by += 1
                continue
            if not self._ranking.has_open(ready):
                passed.append(entry)
                break
            if not self._could_ever_fit(ready):
                self._impossible.setdefault(name, []).append(entry)
                self.limits.let_pass(ready)
                continue
            if ready.bounds and not self.limits.admits(ready):
                self.limits.keep_back(entry)
                continue
            passed.append(entry)
            if letting_pass < LOOK_AHEAD:
                self.limits.let_pass(ready)
                letting_pass += ready.lets_pass
            if ready.passed_by >= PATIENCE:
                break
        for entry in passed:
            heappush(queue, entry)
        return cut

    def _grant(self, ready: ReadyTask, agent: Agent) -> Slot:
        tasks = self._ready[ready.execution]
        del tasks[ready.task]
        if not tasks:
            del self._ready[ready.execution]
        self.hold(ready.attempt, ready.execution, agent.id, agent.incarnation, ready.needs, ready.bounds)
        self._unqueue(ready)
        if agent.circuit is not None:
            agent.circuit.granted(ready.attempt, ready.circuit)
        return Slot(ready.execution, ready.task, ready.number, ready.attempt, agent.id, agent.incarnation)

    def _choose(self, ready: ReadyTask) -> Agent | None:
        """Return the best ranked open agent that fits."""
        if ready.needs and self.pool.lacking(ready.needs):
            return None
        preferred = self.agents.get(ready.preferred)
        if preferred is not None and preferred.open and preferred.serves(ready) and preferred.fits(ready):
            return preferred  # its place in the list is stale now, and passed over when it comes up
        return self._ranking.best(ready)

    def _could_ever_fit(self, ready: ReadyTask) -> bool:
        """Whether some registered agent would do, if nothing else ran."""
        return not self.pool.never_fits(ready.needs) and any(
            agent.serves(ready) and agent.suits(ready) and not agent.capacity.never_fits(ready.needs)
            for agent in self.agents.values()
        )

    def _offer(self, agent: Agent) -> None:
        if agent.open:
            self._ranking.enlist(agent)
            for name in self._queues_of(agent):
                if self._lengths.get(name):
                    self._stirred[name] = None

    def _queues_of(self, agent: Agent) -> list[str]:
        """Return the queues whose tasks an agent serves."""
        if not self._functions:
            return [agent.type]
        functions = (f for f in agent.functions if f in self._functions) if agent.functions else self._functions
        return [agent.type, *(self._functions[function] for function in functions)]

    def _unqueue(self, ready: ReadyTask) -> None:
        if not ready.queued:
            return
        ready.queued = False
        if ready.bounds:
            self.limits.leave(ready)
        length = self._lengths[ready.queue] = self._lengths[ready.queue] - 1
        if not length and ready.agent_type == ANY_TYPE:  # functions are whatever clients ask for: none is kept
            self._queues.pop(ready.queue, None)
            self._impossible.pop(ready.queue, None)
            self._stirred.pop(ready.queue, None)
            self._joined.discard(ready.queue)
            del self._lengths[ready.queue], self._functions[ready.function]
            return
        for entries in (self._queues.get(ready.queue), self._impossible.get(ready.queue)):
            if entries is not None and len(entries) > 2 * length + _FEW:
                entries[:] = [entry for entry in entries if entry[3].queued]
                heapify(entries)

    # --- what nobody could take --------------------------------------------------------------------------------

    def set_aside(self) -> Iterator[ReadyTask]:
        """Yield the tasks that no registered agent could ever take, of those that were looked at in their turn."""
        for entries in self._impossible.values():
            yield from (entry[3] for entry in entries if entry[3].queued)

    def queues_without_agents(self) -> list[str]:
        """Return the queues that have tasks, and that no registered agent serves."""
        names = [name for name, length in self._lengths.items() if length]
        if not names:
            return []
        served = {agent.type for agent in self.agents.values()}
        if self._functions:
            anything = any(not agent.functions for agent in self.agents.values())
            answered = {function for agent in self.agents.values() for function in agent.functions}
            served.update(queue for function, queue in self._functions.items() if anything or function in answered)
        return [name for name in names if name not in served]

    def joined(self) -> set[str]:
        """Return the queues that an agent has come for since the last call, though it may have gone again."""
        found, self._joined = self._joined, set()
        return found

    def queued_in(self, queue: str) -> Iterator[ReadyTask]:
        """Yield a queue's tasks, in no order, those that were set aside left out."""
        yield from (entry[3] for entry in self._queues.get(queue, ()) if entry[3].queued)
        yield from self.limits.kept_back_in(queue)

    # --- for people --------------------------------------------------------------------------------------------

    def queued(self, agent_type: str | None = None) -> int:
        """Return how many tasks wait, of one agent type or of all."""
        if agent_type is None:
            return sum(self._lengths.values())
        names = self._functions.values() if agent_type == ANY_TYPE else (agent_type,)
        return sum(self._lengths.get(name, 0) for name in names)

    def held(self) -> int:
        """Return how many slots are taken."""
        return len(self._holds)

    def ahead_of(self, ready: ReadyTask) -> int:
        """Return how many tasks of its queue come before a task."""
        place = (-ready.priority, ready.ready_us)
        return sum(1 for p, at, _, r in self._queues.get(ready.queue, ()) if r.queued and (p, at) < place)

    def why(self, execution: str, task: str, now_us: int = 0) -> str:
        """Return why a ready task hasn't an agent yet; empty if it isn't queued here."""
        ready = self._ready.get(execution, {}).get(task)
        return reasons.why(self, ready, now_us) if ready is not None else ""
