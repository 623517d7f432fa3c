"""Tasks of any type and preferred agents: chosen as a search through all agents chooses, whatever happened before."""

from __future__ import annotations

from itertools import count

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from podium.scheduling.placement import ANY_TYPE, Agent, Placement, ReadyTask
from podium.scheduling.resources import NOTHING


def ready(task: str, kind: str = ANY_TYPE, function: str = "", preferred: str = "", **about) -> ReadyTask:
    return ReadyTask(
        "e", task, 1, f"e:{task}", kind, about.get("priority", 50), about.get("at", 0), about.get("needs", NOTHING),
        frozenset(about.get("capabilities", ())), function, preferred,
    )  # fmt: skip


def agent(name: str, kind: str = "w", slots: int = 1, functions=(), able=(), incarnation: str = "1", offered=NOTHING):
    return Agent(name, kind, incarnation, slots, offered, frozenset(able), frozenset(functions))


def placed(*agents: Agent) -> Placement:
    placement = Placement()
    for each in agents:
        placement.add_agent(each)
    return placement


def names(placement: Placement) -> list[tuple[str, str]]:
    return [(slot.task, slot.agent) for slot in placement.place()]


# --- of any type -----------------------------------------------------------------------------------------------------


def test_a_task_of_any_type_goes_to_whoever_answers_to_its_function():
    placement = placed(agent("a", "x", functions=["read"]), agent("b", "y", functions=["write"]))
    placement.enqueue(ready("t", function="write"))
    assert names(placement) == [("t", "b")]


def test_an_agent_without_functions_answers_to_any():
    placement = placed(agent("a", "x", functions=["read"]), agent("b", "y"))
    placement.enqueue(ready("t", function="sing"))
    assert names(placement) == [("t", "b")]


def test_capabilities_count_for_any_type_too():
    placement = placed(agent("a", able=["cpu"]), agent("b", able=["gpu"]))
    placement.enqueue(ready("t", capabilities=["gpu"]))
    assert names(placement) == [("t", "b")]


def test_agents_that_were_there_before_the_first_task_of_any_type_are_found():
    placement = placed(agent("a", slots=2))
    placement.enqueue(ready("typed", "w"))
    assert names(placement) == [("typed", "a")]
    placement.enqueue(ready("any"))
    assert names(placement) == [("any", "a")]


def test_one_that_nobody_answers_to_holds_nobody_up_and_waits_for_who_does():
    placement = placed(agent("a", functions=["read"]))
    placement.enqueue(ready("odd", function="sing", priority=99))
    placement.enqueue(ready("even", function="read"))
    assert names(placement) == [("even", "a")]
    assert placement.why("e", "odd") == "no agent that answers to sing is registered"
    placement.add_agent(agent("b", "z", functions=["sing"]))
    assert names(placement) == [("odd", "b")]


def test_a_slot_that_comes_back_serves_tasks_of_its_type_and_of_any():
    placement = placed(agent("a"))
    placement.enqueue(ready("first", "w"))
    placement.enqueue(ready("any"))
    assert names(placement) == [("first", "a")]
    assert placement.why("e", "any") == "1 of 1 slots of 1 agent that answers to  are taken"
    placement.release("e:first")
    assert names(placement) == [("any", "a")]


def test_tasks_for_agents_that_are_busy_hold_up_none_for_others():
    placement = placed(agent("reads", functions=["read"]), agent("sings", functions=["sing"], slots=500))
    placement.hold("e:other", "e", "reads", "1")
    for number in range(200):
        placement.enqueue(ready(f"r{number}", function="read", priority=99))
    for number in range(200):
        placement.enqueue(ready(f"s{number}", function="sing"))
        assert names(placement) == [(f"s{number}", "sings")]
    assert placement.queued() == placement.queued(ANY_TYPE) == 200


def test_functions_that_somebody_once_asked_for_leave_nothing_behind():
    placement = placed(agent("a"))
    for number in range(500):
        placement.enqueue(ready(f"t{number}", function=f"f{number}"))
        for slot in placement.place():
            placement.release(slot.attempt)
    for number in range(500):
        placement.enqueue(ready(f"u{number}", function=f"g{number}", capabilities=["none"]))
        placement.place()
        placement.withdraw("e", f"u{number}")
    for kept in (
        placement._queues,
        placement._lengths,
        placement._impossible,
        placement._functions,
        placement._stirred,
    ):
        assert len(kept) < 3


# --- preferred -------------------------------------------------------------------------------------------------------


def test_a_preferred_agent_gets_the_task_though_others_are_less_loaded():
    placement = placed(agent("a", slots=9), agent("b", slots=2))
    placement.enqueue(ready("t0", "w", preferred="b"))
    placement.enqueue(ready("t1", "w", preferred="b"))
    assert names(placement) == [("t0", "b"), ("t1", "b")]


@pytest.mark.parametrize("state", ["full", "leaving", "busy", "of another type", "unable", "gone", "too small"])
def test_another_agent_gets_it_where_the_preferred_one_cant(state):
    preferred = agent("b", "v" if state == "of another type" else "w", able=() if state == "unable" else ["x"])
    placement = placed(agent("a", able=["x"], offered={"cpu_cores": 4}), preferred)
    match state:
        case "full":
            placement.refuse("b")
        case "leaving":
            placement.leave("b")
        case "busy":
            placement.hold("e:other", "e", "b", "1")
        case "gone":
            placement.remove_agent("b")
    needs = {"gpu_count": 0.0, "cpu_cores": 1.0} if state == "too small" else NOTHING
    if state == "too small":
        placement.remove_agent("b")
        placement.add_agent(agent("b", able=["x"], offered={"cpu_cores": 0.5}))
    placement.enqueue(ready("t", "w", preferred="b", capabilities=["x"], needs=needs))
    assert names(placement) == [("t", "a")]


def test_an_agent_that_is_preferred_again_and_again_leaves_no_stale_places_behind():
    placement = placed(agent("a", slots=3), agent("b", slots=3))
    for number in range(3_000):
        placement.enqueue(ready(f"t{number}", "w", preferred="b"))
        for slot in placement.place():
            assert slot.agent == "b"
            placement.release(slot.attempt)
    assert len(placement._ranking.lists["w"]) < 50


# --- any sequence, against a search through all agents ---------------------------------------------------------------

_NAMES = st.sampled_from("abcd")
_KINDS = st.sampled_from("vw")
_FUNCTIONS = st.sampled_from(["read", "write", "sing"])
_ABLE = st.sets(st.sampled_from(["x", "y"]), max_size=2)
_NEEDS = st.sampled_from([NOTHING, NOTHING, {"cpu_cores": 1.0}, {"cpu_cores": 3.0}])


class Choosing(RuleBasedStateMachine):
    """Each grant is compared with what looking at every task and every agent gives."""

    def __init__(self) -> None:
        super().__init__()
        self.placement = Placement()
        self.waiting: dict[str, ReadyTask] = {}
        self.held: dict[str, str] = {}  # attempt -> agent
        self.loads: dict[str, int] = {}
        self.used: dict[str, float] = {}
        self.needs: dict[str, dict[str, float]] = {}
        self.numbers = count(1)

    @rule(
        name=_NAMES, kind=_KINDS, slots=st.integers(1, 3), functions=st.sets(_FUNCTIONS, max_size=2), able=_ABLE,
        cores=st.sampled_from([2.0, 4.0]),
    )  # fmt: skip
    def register(self, name, kind, slots, functions, able, cores):
        incarnation = str(next(self.numbers))
        self._forget(name)
        self.placement.add_agent(agent(name, kind, slots, functions, able, incarnation, {"cpu_cores": cores}))

    @rule(name=_NAMES)
    def unregister(self, name):
        self._forget(name)
        self.placement.remove_agent(name)

    def _forget(self, name):
        self.held = {attempt: holder for attempt, holder in self.held.items() if holder != name}
        self.loads[name], self.used[name] = 0, 0.0

    @rule(
        kind=st.sampled_from(["v", "w", ANY_TYPE, ANY_TYPE]), function=_FUNCTIONS, able=_ABLE, needs=_NEEDS,
        preferred=st.sampled_from(["", "", "a", "b", "nobody"]), priority=st.sampled_from([10, 50, 90]),
    )  # fmt: skip
    def queue(self, kind, function, able, needs, preferred, priority):
        number = next(self.numbers)
        made = ready(
            f"t{number}", kind, function, preferred, priority=priority, at=number, needs=needs, capabilities=able
        )
        self.placement.enqueue(made)
        self.waiting[made.task] = made

    @rule(data=st.data())
    def finish(self, data):
        if self.held:
            attempt = data.draw(st.sampled_from(sorted(self.held)))
            name = self.held.pop(attempt)
            self.loads[name] -= 1
            self.used[name] -= self.needs[attempt].get("cpu_cores", 0.0)
            self.placement.release(attempt)

    @rule(name=_NAMES)
    def refuse(self, name):
        self.placement.refuse(name)

    @rule(name=_NAMES)
    def hear(self, name):
        self.placement.heard_of(name)

    @rule(name=_NAMES)
    def drain(self, name):
        self.placement.leave(name)

    @rule(limit=st.sampled_from([1, 2, 1_000]))
    def place(self, limit):
        slots = self.placement.place(limit)
        for slot in slots:
            task = self.waiting[slot.task]
            assert slot.agent == self._best(task), f"{slot} of {task.task}"
            ahead = [
                other.task
                for other in self.waiting.values()
                if other.queue == task.queue
                and (-other.priority, other.ready_us) < (-task.priority, task.ready_us)
                and self._best(other)
            ]
            assert not ahead, f"{ahead} could have gone before {task.task}"
            del self.waiting[slot.task]
            self.held[slot.attempt], self.needs[slot.attempt] = slot.agent, dict(task.needs)
            self.loads[slot.agent] += 1
            self.used[slot.agent] += task.needs.get("cpu_cores", 0.0)
        if len(slots) < limit:
            left = {task.task: self._best(task) for task in self.waiting.values() if self._best(task)}
            assert not left, f"could go: {left}"

    def _best(self, task: ReadyTask) -> str:
        """Return who should get a task now; empty if nobody can."""
        fit = [each for each in self.placement.agents.values() if self._can(each, task)]
        if any(each.id == task.preferred for each in fit):
            return task.preferred
        return min(fit, key=lambda each: (self.loads[each.id] / each.slots, each.id)).id if fit else ""

    def _can(self, each: Agent, task: ReadyTask) -> bool:
        free = each.capacity.offered["cpu_cores"] - self.used[each.id]
        return (
            (task.agent_type == each.type or task.agent_type == ANY_TYPE)
            and (task.agent_type != ANY_TYPE or not each.functions or task.function in each.functions)
            and task.capabilities <= each.capabilities
            and self.loads[each.id] < each.slots
            and not each.full
            and not each.leaving
            and task.needs.get("cpu_cores", 0.0) <= free + 1e-9
        )

    @invariant()
    def what_is_counted_is_held(self):
        for each in self.placement.agents.values():
            assert each.held == self.loads[each.id] <= each.slots
        assert self.placement.queued() == len(self.waiting)
        for task in self.waiting:
            assert self.placement.why("e", task)


Choosing.TestCase.settings = settings(
    max_examples=120, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
TestAnySequence = Choosing.TestCase


class LongChoosing(Choosing):
    """The same, longer."""


LongChoosing.TestCase.settings = settings(max_examples=400, stateful_step_count=100, deadline=None)
TestAnyLongSequence = pytest.mark.slow(LongChoosing.TestCase)
