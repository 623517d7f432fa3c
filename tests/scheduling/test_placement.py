"""Placement: never over capacity, in order, fair to large tasks, never silently stuck; and slots return to zero."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from podium.scheduling.placement import (
    ANY_TYPE,
    LOOK_AHEAD,
    PATIENCE,
    Agent,
    LeastLoaded,
    Placement,
    ReadyTask,
    Slot,
)
from podium.scheduling.resources import NOTHING


def ready(task: str = "t", execution: str = "e", **about) -> ReadyTask:
    fields: dict[str, Any] = {"agent_type": "w", "priority": 50, "ready_us": 0} | about
    return ReadyTask(execution, task, 1, f"{execution}:{task}", **fields)


def agent(
    name: str = "a", slots: int = 1, offered=NOTHING, *, kind: str = "w", incarnation: str = "1", able=()
) -> Agent:
    return Agent(name, kind, incarnation, slots, offered, frozenset(able))


def placed(*agents: Agent, pool=NOTHING) -> Placement:
    placement = Placement(pool=pool)
    for each in agents:
        placement.add_agent(each)
    return placement


def names(slots: list[Slot]) -> list[tuple[str, str]]:
    return [(slot.task, slot.agent) for slot in slots]


# --- order -----------------------------------------------------------------------------------------------------------


def test_priority_goes_before_age_and_age_before_arrival():
    placement = placed(agent(slots=9))
    for task, priority, at in (("late", 50, 2), ("old", 50, 1), ("urgent", 90, 3), ("later", 50, 2)):
        placement.enqueue(ready(task, priority=priority, ready_us=at))
    assert [task for task, _ in names(placement.place())] == ["urgent", "old", "late", "later"]


def test_the_least_loaded_agent_is_chosen_by_its_share_of_slots():
    placement = placed(agent("small", 1), agent("large", 4))
    for index in range(5):
        placement.enqueue(ready(f"t{index}"))
    assert [a for _, a in names(placement.place())] == ["large", "small", "large", "large", "large"]
    assert LeastLoaded().rank(placement.agents["large"]) == 1.0


def test_no_more_than_the_limit_is_granted_and_the_rest_comes_the_next_time():
    placement = placed(agent(slots=9))
    for index in range(5):
        placement.enqueue(ready(f"t{index}"))
    assert [len(placement.place(2)), len(placement.place(2)), len(placement.place(2))] == [2, 2, 1]
    assert placement.place() == []


def test_agents_of_another_type_get_nothing():
    placement = placed(agent(kind="other"))
    placement.enqueue(ready())
    assert placement.place() == []


# --- refusals, drains, incarnations ----------------------------------------------------------------------------------


def test_a_refusal_goes_elsewhere_until_the_agent_is_heard_of_again():
    placement = placed(agent("a"), agent("b"))
    placement.enqueue(ready())
    (slot,) = placement.place()
    placement.release(slot.attempt)
    placement.refuse(slot.agent)
    placement.enqueue(ready("t", ready_us=0))
    (other,) = placement.place()
    assert other.agent != slot.agent
    placement.enqueue(ready("u"))
    assert placement.place() == []
    placement.heard_of(slot.agent)
    assert names(placement.place()) == [("u", slot.agent)]


def test_a_leaving_agent_keeps_what_it_has_and_gets_nothing_new():
    placement = placed(agent(slots=2))
    placement.enqueue(ready("a"))
    placement.place()
    placement.leave("a")
    placement.enqueue(ready("b"))
    assert placement.place() == []
    assert placement.held() == 1
    assert placement.why("e", "b") == "every agent of type w is leaving"


def test_unknown_agents_and_attempts_may_be_named():
    placement = Placement()
    placement.refuse("nobody")
    placement.leave("nobody")
    placement.heard_of("nobody")
    placement.remove_agent("nobody")
    placement.release("nothing")
    placement.withdraw("e", "t")
    placement.withdraw_all("e")
    placement.forget("e")
    assert placement.place() == []


def test_an_agent_that_registers_again_with_more_slots_keeps_what_it_holds():
    placement = placed(agent(slots=1))
    placement.enqueue(ready("a"))
    placement.place()
    placement.add_agent(agent(slots=2))
    placement.enqueue(ready("b"))
    placement.enqueue(ready("c"))
    assert names(placement.place()) == [("b", "a")]
    placement.release("e:a")
    assert names(placement.place()) == [("c", "a")]


def test_a_new_incarnation_begins_with_free_slots():
    placement = placed(agent(slots=1))
    placement.enqueue(ready("a"))
    placement.place()
    placement.add_agent(agent(slots=1, incarnation="2"))
    assert placement.agents["a"].held == 0
    placement.enqueue(ready("b"))
    assert names(placement.place()) == [("b", "a")]
    placement.release("e:a")
    assert placement.agents["a"].held == 1


def test_an_agent_that_is_gone_and_comes_back_counts_what_has_not_been_ended():
    placement = placed(agent(slots=2))
    placement.enqueue(ready("a"))
    placement.place()
    placement.remove_agent("a")
    placement.add_agent(agent(slots=2))
    for task in "bc":
        placement.enqueue(ready(task))
    assert names(placement.place()) == [("b", "a")]
    placement.release("e:a")
    assert names(placement.place()) == [("c", "a")]


def test_an_incarnation_that_comes_back_after_another_one_counts_what_it_holds():
    placement = placed(agent())
    placement.enqueue(ready("a"))
    placement.place()
    for incarnation in "212":
        placement.add_agent(agent(incarnation=incarnation))
        assert placement.agents["a"].held == (1 if incarnation == "1" else 0)
    placement.enqueue(ready("b"))
    placement.place()
    assert placement.held_as("a") == "2"
    placement.release("e:b")
    assert placement.held_as("a") == "1"


def test_what_an_agent_that_is_gone_has_of_the_pool_is_taken_until_that_is_ended():
    placement = placed(agent("a"), pool={"cpu_cores": 1})
    placement.enqueue(ready("a", needs={"cpu_cores": 1}))
    placement.place()
    placement.remove_agent("a")
    placement.add_agent(agent("b"))
    placement.enqueue(ready("b", needs={"cpu_cores": 1}))
    assert placement.place() == []
    placement.release("e:a")
    assert names(placement.place()) == [("b", "b")]


def test_what_was_found_live_counts_once_its_agent_registers():
    placement = Placement()
    placement.hold("e:x", "e", "a", "1")
    placement.add_agent(agent(slots=1))
    placement.enqueue(ready())
    assert placement.place() == []
    placement.release("e:x")
    assert placement.agents["a"].held == 0
    assert names(placement.place()) == [("t", "a")]


def test_an_agent_whose_slots_are_partly_held_after_a_reload_gets_more():
    placement = placed(agent(slots=2))
    placement.enqueue(ready("a"))
    placement.place()
    placement.forget("e")
    placement.hold("e:a", "e", "a", "1")
    placement.enqueue(ready("b"))
    assert names(placement.place()) == [("b", "a")]


def test_a_task_that_is_queued_again_is_queued_once():
    placement = placed(agent(slots=5))
    placement.enqueue(ready("a", priority=10))
    placement.enqueue(ready("a", priority=90))
    assert placement.queued() == placement.queued("w") == 1
    assert len(placement.place()) == 1
    assert placement.queued() == 0


def test_what_is_withdrawn_isnt_placed():
    placement = placed(agent(slots=5))
    for task in "abc":
        placement.enqueue(ready(task, execution="e" if task != "c" else "f"))
    placement.withdraw("e", "a")
    placement.withdraw_all("f")
    assert names(placement.place()) == [("b", "a")]


# --- resources -------------------------------------------------------------------------------------------------------


def test_a_smaller_task_passes_one_that_doesnt_fit_now():
    placement = placed(agent(slots=9, offered={"cpu_cores": 4}))
    placement.enqueue(ready("large", needs={"cpu_cores": 3}))
    placement.enqueue(ready("larger", needs={"cpu_cores": 4}))
    placement.enqueue(ready("small", needs={"cpu_cores": 1}))
    assert [task for task, _ in names(placement.place())] == ["large", "small"]
    assert "cpu_cores 4" in placement.why("e", "larger")


def test_a_large_task_isnt_passed_for_ever():
    placement = placed(agent(slots=50, offered={"cpu_cores": 2}))
    placement.enqueue(ready("first", needs={"cpu_cores": 1}))
    placement.place()
    placement.enqueue(ready("large", needs={"cpu_cores": 2}))
    passed = 0
    for index in range(PATIENCE * 2):
        placement.enqueue(ready(f"t{index}", ready_us=index + 1, needs={"cpu_cores": 1}))
        granted = placement.place()
        passed += len(granted)
        for slot in granted:
            placement.release(slot.attempt)
    assert passed <= PATIENCE
    placement.release("e:first")
    assert placement.place(1)[0].task == "large"


def test_a_task_that_no_agent_could_take_holds_nobody_up():
    placement = placed(agent(slots=1, offered={"cpu_cores": 2}))
    for index in range(LOOK_AHEAD + 5):
        placement.enqueue(ready(f"huge{index}", priority=99, needs={"cpu_cores": 3}))
        placement.enqueue(ready(f"odd{index}", priority=99, capabilities=frozenset({"magic"})))
    for index in range(PATIENCE + 50):
        placement.enqueue(ready(f"t{index}"))
        (slot,) = placement.place()
        assert slot.task == f"t{index}"
        placement.release(slot.attempt)
    assert "cpu_cores 1 short" in placement.why("e", "huge0")
    assert "magic" in placement.why("e", "odd0")
    placement.add_agent(agent("big", slots=500, offered={"cpu_cores": 64}, able=["magic"]))
    assert len(placement.place()) == 2 * (LOOK_AHEAD + 5) - LOOK_AHEAD - 5 + 64 // 3


def test_capabilities_choose_the_agent():
    placement = placed(agent("plain"), agent("able", able=["search", "read"]))
    placement.enqueue(ready(capabilities=frozenset({"search"})))
    assert names(placement.place()) == [("t", "able")]


def test_a_pool_is_shared_by_all_types():
    placement = placed(agent("a", 9), agent("b", 9, kind="v"), pool={"cpu_cores": 2})
    for index in range(3):
        placement.enqueue(ready(f"w{index}", needs={"cpu_cores": 1}))
    assert len(placement.place()) == 2
    placement.enqueue(ready("v", agent_type="v", needs={"cpu_cores": 1}))
    assert placement.place() == []
    assert "the pool is used up" in placement.why("e", "v")
    placement.release("e:w0")
    placement.release("e:w1")
    assert sorted(task for task, _ in names(placement.place())) == ["v", "w2"]
    placement.enqueue(ready("huge", needs={"cpu_cores": 3}))
    assert "the pool is too small: cpu_cores 1 short" in placement.why("e", "huge")


# --- why -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("agents", "about", "expected"),
    [
        ([], {}, "no agent of type w is registered"),
        ([agent()], {"capabilities": frozenset({"x"})}, "none of the 1 agents of type w has the capabilities x"),
        ([agent()], {"needs": {"gpu_count": 1}}, "no agent of type w is large enough: gpu_count 1 short"),
    ],
)
def test_why_says_what_is_missing(agents, about, expected):
    placement = placed(*agents)
    placement.enqueue(ready(**about))
    placement.place()
    assert placement.why("e", "t") == expected


def test_why_counts_who_is_ahead():
    placement = placed(agent())
    for index in range(3):
        placement.enqueue(ready(f"t{index}", ready_us=index))
    placement.place()
    assert placement.why("e", "t1") == "1 of 1 slots of 1 agent of type w are taken"
    assert placement.why("e", "t2") == "1 of 1 slots of 1 agent of type w are taken; 1 task is ahead of it"
    assert placement.why("e", "t0") == placement.why("f", "t") == ""


def test_why_says_that_the_agents_have_refused():
    placement = placed(agent())
    placement.refuse("a")
    placement.enqueue(ready())
    placement.place()
    assert "has refused" in placement.why("e", "t")


# --- no list that grows with use -------------------------------------------------------------------------------------


def of_this_process(placement: Placement, name: str, slots: int, kind: str = "w", incarnation: str = "1") -> None:
    placement.add_agent(Agent(name, kind, incarnation, slots, together=placement.here))


def test_agents_of_one_process_hold_only_so_many_together_and_those_elsewhere_dont_count():
    placement = Placement(most_here=2)
    of_this_process(placement, "a", 5)
    of_this_process(placement, "b", 5)
    for number in range(4):
        placement.enqueue(ready(f"t{number}"))
    assert len(placement.place()) == 2
    assert "max_concurrent_tasks" in placement.why("e", "t3")
    placement.add_agent(agent("far", slots=1))
    assert names(placement.place()) == [("t2", "far")]
    placement.release("e:t0")
    assert [slot.task for slot in placement.place()] == ["t3"]


def test_an_agent_of_the_process_that_tells_something_new_is_counted_once():
    placement = Placement(most_here=1)
    of_this_process(placement, "a", 1)
    placement.enqueue(ready("t0"))
    placement.place()
    of_this_process(placement, "a", 7)
    assert placement.here is not None
    assert placement.here.held == 1
    of_this_process(placement, "a", 7, incarnation="2")
    assert placement.here.held == 0
    assert not placement.here.full


@given(st.lists(st.tuples(st.sampled_from("erau"), st.integers(0, 5), st.sampled_from(["w", "v", ANY_TYPE]))))
def test_what_a_process_holds_is_what_its_agents_hold_and_never_too_much(steps):
    placement = Placement(most_here=3)
    for name, kind in (("a", "w"), ("b", "w"), ("c", "v")):
        of_this_process(placement, name, 2, kind)
    live: list[str] = []
    for number, (step, which, kind) in enumerate(steps):
        match step:
            case "e":
                placement.enqueue(ready(f"t{number}", agent_type=kind))
            case "r" if live:
                placement.release(live.pop(which % len(live)))
            case "a":
                of_this_process(placement, "a", 1 + which)
            case _:
                pass
        live += [slot.attempt for slot in placement.place()]
        here = placement.here
        assert here is not None
        assert here.held == sum(each.held for each in placement.agents.values()) <= 3
        assert len(live) == here.held
    while live:
        placement.release(live.pop())
        live += [slot.attempt for slot in placement.place()]
    assert placement.queued() == 0


def test_lists_dont_grow_with_use():
    placement = placed(agent("a", 2), agent("b", 2))
    for index in range(5_000):
        placement.enqueue(ready(f"t{index}"))
        for slot in placement.place():
            placement.release(slot.attempt)
    for index in range(5_000):
        placement.enqueue(ready(f"huge{index}", needs={"gpu_count": 1}))
        placement.place()
        placement.withdraw("e", f"huge{index}")
    placement.leave("a")
    placement.leave("b")
    for index in range(5_000):
        placement.enqueue(ready(f"u{index}"))
        placement.withdraw("e", f"u{index}")
    for entries in (placement._ranking.lists["w"], placement._queues["w"], placement._impossible.get("w", [])):
        assert len(entries) < 200
    assert not placement._holds


# --- any sequence ----------------------------------------------------------------------------------------------------

_AGENTS = st.sampled_from("abcd")
_TASKS = st.integers(0, 19)
_NEEDS = st.sampled_from([NOTHING, NOTHING, {"cpu_cores": 1.0}, {"cpu_cores": 3.0}, {"gpu_count": 1.0}])


class Placing(RuleBasedStateMachine):
    """Random agents, tasks, results, refusals, reloads; checked against a list of what is held."""

    def __init__(self) -> None:
        super().__init__()
        self.placement = Placement()
        self.held: dict[str, tuple[str, str, dict]] = {}  # attempt -> agent, incarnation, needs
        self.waiting: dict[tuple[str, str], ReadyTask] = {}
        self.lives: list[tuple] = []  # of agents, as they registered
        self.count = 0

    @initialize(limited=st.booleans())
    def begin(self, limited):
        self.placement = Placement(pool={"cpu_cores": 5.0} if limited else NOTHING)

    @rule(name=_AGENTS, slots=st.integers(1, 3), cores=st.sampled_from([None, 2.0, 4.0]), kind=st.sampled_from("vw"))
    def register(self, name, slots, cores, kind):
        offered = NOTHING if cores is None else {"cpu_cores": cores, "gpu_count": 1.0}
        self.lives.append((name, kind, str(len(self.lives)), slots, offered))
        self.placement.add_agent(Agent(*self.lives[-1]))

    @rule(data=st.data())
    def come_back(self, data):
        """An agent is there again as it was, after silence, after its end was told, or after another incarnation."""
        if self.lives:
            self.placement.add_agent(Agent(*data.draw(st.sampled_from(self.lives))))

    @rule(name=_AGENTS)
    def unregister(self, name):
        self.placement.remove_agent(name)

    @rule(
        execution=st.sampled_from("ef"),
        task=_TASKS,
        priority=st.sampled_from([10, 50, 90]),
        needs=_NEEDS,
        kind=st.sampled_from("vw"),
    )
    def queue(self, execution, task, priority, needs, kind):
        self.count += 1
        made = ReadyTask(
            execution, f"t{task}", self.count, f"{execution}:t{task}:{self.count}", kind, priority, self.count, needs
        )
        self.placement.enqueue(made)
        self.waiting[(execution, made.task)] = made

    @rule(execution=st.sampled_from("ef"), task=_TASKS)
    def withdraw(self, execution, task):
        self.placement.withdraw(execution, f"t{task}")
        self.waiting.pop((execution, f"t{task}"), None)

    @rule(limit=st.sampled_from([1, 3, 1_000]))
    def place(self, limit):
        before = {(t.execution, t.task): t for t in self.waiting.values()}
        slots = self.placement.place(limit)
        assert len(slots) <= limit
        for slot in slots:
            task = before.pop((slot.execution, slot.task))
            del self.waiting[(slot.execution, slot.task)]
            chosen = self.placement.agents[slot.agent]
            assert (chosen.type, chosen.incarnation) == (task.agent_type, slot.incarnation)
            assert not chosen.full
            assert not chosen.leaving
            self.held[slot.attempt] = (slot.agent, slot.incarnation, dict(task.needs))
        if len(slots) < limit:
            self._nothing_that_fits_was_left()

    def _nothing_that_fits_was_left(self):
        for task in self.waiting.values():
            if task.needs and self.placement.pool.lacking(task.needs):
                continue
            fits = [
                a.id
                for a in self.placement.agents.values()
                if a.type == task.agent_type and a.open and not a.capacity.lacking(task.needs)
            ]
            assert not fits, f"{task.task} could go to {fits}"

    @rule(data=st.data())
    def finish(self, data):
        if self.held:
            attempt = data.draw(st.sampled_from(sorted(self.held)))
            del self.held[attempt]
            self.placement.release(attempt)
            self.placement.release(attempt)

    @rule(name=_AGENTS)
    def refuse(self, name):
        self.placement.refuse(name)

    @rule(name=_AGENTS)
    def hear(self, name):
        self.placement.heard_of(name)

    @rule(name=_AGENTS)
    def drain(self, name):
        self.placement.leave(name)

    @rule(execution=st.sampled_from("ef"))
    def reload(self, execution):
        """Forget an execution and adopt it again, as after a failed append: nothing is different."""
        before = {a.id: a.held for a in self.placement.agents.values()}
        taken = dict(self.placement.pool.taken)
        self.placement.forget(execution)
        for (owner, _), task in list(self.waiting.items()):
            if owner == execution:
                about = (task.agent_type, task.priority, task.ready_us, task.needs)
                task = ReadyTask(task.execution, task.task, task.number, task.attempt, *about)
                self.waiting[(owner, task.task)] = task
                self.placement.enqueue(task)
        for attempt, (name, incarnation, needs) in self.held.items():
            if attempt.startswith(f"{execution}:"):
                self.placement.hold(attempt, execution, name, incarnation, needs)
        assert {a.id: a.held for a in self.placement.agents.values()} == before
        assert self.placement.pool.taken == taken

    @invariant()
    def nothing_is_over_capacity(self):
        for each in self.placement.agents.values():
            mine = [
                needs
                for name, incarnation, needs in self.held.values()
                if (name, incarnation) == (each.id, each.incarnation)
            ]
            assert each.held == len(mine) <= each.slots
            for resource, offered in each.capacity.offered.items():
                assert sum(n.get(resource, 0.0) for n in mine) <= offered + 1e-6
        assert self.placement.held() == len(self.held)
        pool = self.placement.pool
        for resource, offered in pool.offered.items():
            assert sum(needs.get(resource, 0.0) for _, _, needs in self.held.values()) <= offered + 1e-6

    @invariant()
    def every_queued_task_has_a_reason(self):
        assert self.placement.queued() == len(self.waiting)
        for execution, task in self.waiting:
            assert self.placement.why(execution, task)

    def teardown(self):
        for attempt in list(self.held):
            self.placement.release(attempt)
        assert self.placement.held() == 0
        assert all(a.held == 0 and not a.capacity.taken for a in self.placement.agents.values())
        assert not self.placement.pool.taken


Placing.TestCase.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)
TestAnySequence = Placing.TestCase


class LongPlacing(Placing):
    """The same, longer."""


LongPlacing.TestCase.settings = settings(max_examples=400, stateful_step_count=100, deadline=None)
TestAnyLongSequence = pytest.mark.slow(LongPlacing.TestCase)


@given(st.lists(st.tuples(st.integers(0, 100), st.integers(0, 5)), min_size=1, max_size=60))
@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
def test_tasks_that_fit_go_by_priority_then_age(tasks):
    placement = placed(agent(slots=1))
    for index, (priority, at) in enumerate(tasks):
        placement.enqueue(ready(str(index), priority=priority, ready_us=at))
    order = []
    while slots := placement.place():
        order += [int(s.task) for s in slots]
        for slot in slots:
            placement.release(slot.attempt)
    assert order == sorted(range(len(tasks)), key=lambda i: (-tasks[i][0], tasks[i][1], i))
