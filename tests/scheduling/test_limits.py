"""Limits by key: never more at once, never more within a time, nobody waits behind a full key, and nothing is left."""

from __future__ import annotations

from collections import Counter, deque
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podium.clock import SECOND
from podium.scheduling import limits as limits_module
from podium.scheduling.placement import LOOK_AHEAD, Agent, Bound, Placement, ReadyTask, Slot

THREE = Bound("k", 3)
TEN_A_SECOND = Bound("k", 10, SECOND)
GPU = frozenset({"gpu"})


def ready(task: str, *bounds: Bound, **about: Any) -> ReadyTask:
    fields: dict[str, Any] = {"agent_type": "w", "priority": 50, "ready_us": 0} | about
    return ReadyTask("e", task, 1, f"e:1:{task}:1", bounds=bounds, **fields)


def placed(slots: int = 1_000, *more: Agent) -> Placement:
    placement = Placement()
    for agent in (Agent("a", "w", "1", slots), *more):
        placement.add_agent(agent)
    return placement


def tasks(slots: list[Slot]) -> list[str]:
    return [slot.task for slot in slots]


def begin(placement: Placement, slots: list[Slot]) -> None:
    for slot in slots:
        placement.begin(slot.attempt)


# --- at once ---------------------------------------------------------------------------------------------------------


def test_only_so_many_of_a_key_are_at_work_and_the_next_comes_when_one_ends():
    placement = placed()
    for n in range(5):
        placement.enqueue(ready(f"t{n}", THREE, ready_us=n))
    assert tasks(placement.place()) == ["t0", "t1", "t2"]
    assert placement.place() == []
    placement.release("e:1:t1:1")
    assert tasks(placement.place()) == ["t3"]
    assert placement.queued() == 1


def test_tasks_of_a_full_key_hold_up_no_others():
    placement = placed()
    for n in range(200):
        placement.enqueue(ready(f"k{n}", Bound("k", 1), priority=90))
    placement.enqueue(ready("other", Bound("other", 1)))
    placement.enqueue(ready("free"))
    assert tasks(placement.place()) == ["k0", "other", "free"]


def test_a_key_counts_over_types_and_definitions_each_by_its_own_limit():
    placement = placed(10, Agent("b", "v", "1", 10))
    placement.enqueue(ready("a", Bound("k", 2)))
    placement.enqueue(ready("b", Bound("k", 2), agent_type="v"))
    placement.enqueue(ready("c", Bound("k", 2), agent_type="v"))
    placement.enqueue(ready("d", Bound("k", 3)))
    placement.enqueue(ready("elsewhere", Bound("k", 1, tenant="other")))
    assert sorted(tasks(placement.place())) == ["a", "d", "elsewhere"]
    placement.release("e:1:a:1")
    assert tasks(placement.place()) == ["b"]
    placement.release("e:1:d:1")
    assert tasks(placement.place()) == ["c"]


def test_one_that_was_let_out_for_busy_agents_keeps_no_free_agents_waiting():
    placement = placed(1, Agent("b", "v", "1", 1))
    placement.enqueue(ready("busy"))
    placement.enqueue(ready("holder", Bound("k", 1), agent_type="v"))
    placement.place()
    placement.enqueue(ready("w", Bound("k", 1), priority=90))
    placement.enqueue(ready("v", Bound("k", 1), agent_type="v"))
    placement.release("e:1:busy:1")
    assert placement.place() == []  # the key is full
    placement.enqueue(ready("busy again", priority=100))
    assert tasks(placement.place()) == ["busy again"]
    placement.release("e:1:holder:1")
    assert tasks(placement.place()) == ["v"]


def of_a_gpu(*bounds: Bound) -> Placement:
    """One slot for anything and one with a GPU, both free; the key of `bounds` is held by "first" at the former."""
    placement = placed(1, Agent("gpu", "w", "1", 1, capabilities=GPU))
    placement.enqueue(ready("first", *bounds))
    assert tasks(placement.place()) == ["first"]
    return placement


def test_one_that_was_let_out_for_a_busy_agent_keeps_no_others_of_its_key_and_queue_waiting():
    placement = of_a_gpu(Bound("k", 1))
    placement.enqueue(ready("urgent", Bound("k", 1), capabilities=GPU, priority=90))
    for task in ("c", "d"):
        placement.enqueue(ready(task, Bound("k", 1)))
    assert placement.place() == []
    placement.enqueue(ready("else", capabilities=GPU, priority=99))
    assert tasks(placement.place()) == ["else"]
    placement.release("e:1:first:1")
    assert tasks(placement.place()) == ["c"]
    assert "for the key k: c of e" in placement.why("e", "urgent")
    placement.release("e:1:else:1")
    assert placement.place() == []  # the key is full
    placement.release("e:1:c:1")
    assert tasks(placement.place()) == ["urgent"]  # it has kept its place
    placement.release("e:1:urgent:1")
    assert tasks(placement.place()) == ["d"]
    placement.release("e:1:d:1")
    assert (len(placement.limits), placement.limits.waiting(), placement.queued()) == (0, 0, 0)


def test_one_that_was_let_out_and_that_nobody_could_take_keeps_no_others_of_its_key_waiting():
    placement = of_a_gpu(Bound("k", 1))
    placement.enqueue(ready("urgent", Bound("k", 1), capabilities=GPU, priority=90))
    placement.enqueue(ready("c", Bound("k", 1)))
    assert placement.place() == []
    placement.remove_agent("gpu")
    placement.release("e:1:first:1")
    assert tasks(placement.place()) == ["c"]
    assert [each.task for each in placement.set_aside()] == ["urgent"]


def test_those_that_were_let_out_for_a_busy_agent_hold_up_no_others_however_many_they_are():
    placement = of_a_gpu(Bound("k", 1))
    for n in range(200):
        placement.enqueue(ready(f"g{n}", Bound("k", 1), capabilities=GPU, priority=90, ready_us=n))
    assert placement.place() == []  # the key is full
    placement.enqueue(ready("else", capabilities=GPU, priority=99))
    assert tasks(placement.place()) == ["else"]
    for n in range(90):
        placement.enqueue(ready(f"free{n}"))
    at_work = "first"
    looks = placement.limits.looks
    for n in range(90):
        placement.release(f"e:1:{at_work}:1")
        at_work = f"free{n}"
        assert tasks(placement.place()) == [at_work]
    assert placement.limits.looks - looks < 90 * 2 * LOOK_AHEAD
    placement.release("e:1:else:1")
    assert tasks(placement.place()) == ["g0"]


def test_the_more_urgent_goes_first_though_others_were_kept_back_before():
    placement = placed()
    for n in range(3):
        placement.enqueue(ready(f"t{n}", Bound("k", 1), ready_us=n))
    placement.place()
    placement.enqueue(ready("urgent", Bound("k", 1), priority=90, ready_us=9))
    placement.place()
    order = []
    for at_work in ("t0", "urgent", "t1"):
        placement.release(f"e:1:{at_work}:1")
        order += tasks(placement.place())
    assert order == ["urgent", "t1", "t2"]


def test_what_is_withdrawn_gives_its_place_to_the_next():
    placement = placed(1)
    placement.enqueue(ready("a", Bound("k", 1)))
    placement.place()
    for task in ("b", "c"):
        placement.enqueue(ready(task, Bound("k", 1)))
    placement.add_agent(Agent("z", "w", "1", 1))
    assert placement.place() == []
    placement.leave("z")
    placement.release("e:1:a:1")
    placement.withdraw("e", "b")
    assert tasks(placement.place()) == ["c"]
    placement.release("e:1:c:1")
    assert placement.queued() == 0
    assert len(placement.limits) == 0


def test_what_is_kept_back_of_a_type_without_agents_is_found():
    placement = placed()
    for task in ("a", "b"):
        placement.enqueue(ready(task, Bound("k", 1)))
    placement.place()
    placement.remove_agent("a")
    assert [each.task for each in placement.queued_in("w")] == ["b"]
    assert placement.queues_without_agents() == ["w"]


def test_ten_thousand_that_wait_are_looked_at_once_and_then_only_as_there_is_room():
    placement = placed(100)
    for n in range(10_000):
        placement.enqueue(ready(f"t{n}", Bound(f"of all {n % 2}", 5), TEN_A_SECOND, ready_us=n))
    begin(placement, placement.place(now_us=SECOND))
    looks = placement.limits.looks
    assert looks < 10_100
    for n in range(1, 50):
        granted = placement.place(now_us=(n + 1) * SECOND)
        assert len(granted) <= 10
        begin(placement, granted)
        for attempt in placement.attempts_of("e"):
            placement.release(attempt)
    assert placement.limits.looks - looks < 49 * 60


def test_ten_thousand_keys_that_share_a_rate_are_served_by_those_with_room():
    placement = placed(100_000)
    for n in range(10_000):
        placement.enqueue(ready(f"t{n}", Bound("all", 100, SECOND), Bound(f"customer {n % 5_000}", 1), ready_us=n))
    begin(placement, placement.place(now_us=SECOND))
    assert placement.place(now_us=SECOND) == []
    looks = placement.limits.looks
    for n in range(2, 20):
        granted = placement.place(now_us=n * SECOND)
        assert len(granted) == 100
        begin(placement, granted)
        assert placement.place(now_us=n * SECOND) == []
    assert placement.limits.looks - looks < 18 * 500


# --- within a time ---------------------------------------------------------------------------------------------------


def test_a_rate_lets_so_many_begin_and_says_when_the_next_may():
    placement = placed()
    for n in range(25):
        placement.enqueue(ready(f"t{n}", TEN_A_SECOND, ready_us=n))
    first = placement.place(now_us=5 * SECOND)
    assert len(first) == 10
    assert placement.limits.next_due_us() is None  # nobody knows yet when those begin
    begin(placement, first)
    assert placement.place(now_us=5_300_000) == []
    assert placement.limits.next_due_us() == 6_300_000
    assert placement.place(now_us=6_299_999) == []
    assert len(placement.place(now_us=6_300_000)) == 10


def test_a_grant_counts_without_an_end_until_its_commit_is_heard_of():
    placement = placed()
    for n in range(2):
        placement.enqueue(ready(f"t{n}", Bound("k", 1, SECOND)))
    (slot,) = placement.place(now_us=0)
    assert placement.place(now_us=100 * SECOND) == []
    assert "aren't recorded yet" in placement.why("e", "t1")
    placement.begin(slot.attempt)
    assert placement.place(now_us=100 * SECOND) == []
    assert tasks(placement.place(now_us=101 * SECOND)) == ["t1"]


@pytest.mark.parametrize("unused", [True, False])
def test_a_grant_that_came_too_late_counts_no_more_and_one_that_ended_does(unused):
    placement = placed()
    for n in range(2):
        placement.enqueue(ready(f"t{n}", Bound("k", 1, SECOND)))
    (slot,) = placement.place(now_us=0)
    placement.release(slot.attempt, unused=unused)
    assert bool(placement.place(now_us=0)) is unused


def test_who_takes_over_assumes_that_all_was_used():
    placement = placed()
    placement.limits.assume_used(5 * SECOND)
    placement.enqueue(ready("t", TEN_A_SECOND))
    assert placement.place(now_us=5 * SECOND) == []
    why = placement.why("e", "t", 5_700_000)
    assert why.startswith(
        "it waits for the rate limit k: 10 per 1 s, next in 0.3 s: what began before this process took"
    )
    assert placement.limits.next_due_us() == 6 * SECOND
    assert tasks(placement.place(now_us=6 * SECOND)) == ["t"]


def test_until_it_is_known_what_began_before_nothing_begins():
    placement = placed()
    placement.limits.unsure = True
    placement.enqueue(ready("t", TEN_A_SECOND))
    placement.enqueue(ready("free", THREE))
    assert tasks(placement.place(now_us=9 * SECOND)) == ["free"]
    assert placement.limits.asks
    assert "looked up" in placement.why("e", "t")
    placement.limits.assume_used(SECOND)
    assert tasks(placement.place(now_us=9 * SECOND)) == ["t"]


def test_what_was_found_live_after_a_take_over_counts_at_once_and_towards_no_rate():
    placement = placed()
    placement.hold("e:1:old:1", "e", "a", "1", bounds=(Bound("k", 1), Bound("r", 1, SECOND)), begun=True)
    placement.enqueue(ready("same key", Bound("k", 1)))
    placement.enqueue(ready("same rate", Bound("r", 1, SECOND)))
    assert tasks(placement.place(now_us=0)) == ["same rate"]
    placement.release("e:1:old:1")
    assert tasks(placement.place(now_us=0)) == ["same key"]


def test_too_many_keys_of_rates_keep_further_ones_waiting(monkeypatch):
    monkeypatch.setattr(limits_module, "MOST_KEYS", 2)
    placement = placed()
    for n in range(3):
        placement.enqueue(ready(f"t{n}", Bound(f"k{n}", 1, SECOND)))
    first = placement.place(now_us=0)
    assert len(first) == 2
    assert "keys of rate limits are in use" in placement.why("e", "t2")
    begin(placement, first)
    placement.place(now_us=0)
    assert tasks(placement.place(now_us=SECOND)) == ["t2"]


def test_idle_keys_are_forgotten():
    placement = placed()
    for n in range(500):
        placement.enqueue(ready(f"t{n}", Bound(f"k{n}", 1), Bound(f"r{n}", 1, SECOND)))
    granted = placement.place(now_us=0)
    begin(placement, granted)
    for slot in granted:
        placement.release(slot.attempt)
    assert len(placement.limits) == 500  # the rates
    placement.place(now_us=0)
    placement.place(now_us=2 * SECOND)
    assert len(placement.limits) == 0
    assert placement.limits.next_due_us() is None


def test_a_rate_that_never_rests_remembers_no_more_than_counts():
    placement = placed()
    bound = Bound("k", 5, SECOND)
    for n in range(2_000):
        placement.enqueue(ready(f"t{n}", bound))
        granted = placement.place(now_us=n * SECOND // 4)
        begin(placement, granted)
        for slot in granted:
            placement.release(slot.attempt)
    (gate,) = placement.limits._gates.values()
    assert len(gate.times) < 100


def test_all_is_forgotten_when_another_one_places():
    placement = placed()
    for n in range(3):
        placement.enqueue(ready(f"t{n}", Bound("k", 1), TEN_A_SECOND))
    placement.place(now_us=0)
    placement.clear()
    assert (len(placement.limits), placement.limits.waiting(), placement.queued()) == (0, 0, 0)


# --- why -------------------------------------------------------------------------------------------------------------


def test_why_names_the_holders():
    placement = placed()
    for n in range(6):
        placement.enqueue(ready(f"t{n}", Bound("customer-7", 4)))
    placement.place()
    expected = "4 of 4 are at work for the key customer-7: t0 of e, t1 of e, t2 of e and 1 more"
    assert placement.why("e", "t5") == expected


# --- versions --------------------------------------------------------------------------------------------------------


def test_only_agents_of_a_matching_version_get_the_task():
    placement = Placement()
    placement.add_agent(Agent("old", "writer", "1", 1, version="1.1.0"))
    placement.enqueue(ready("t", agent_type="writer", version=">=1.2,<2"))
    placement.enqueue(ready("any", agent_type="writer"))
    assert tasks(placement.place()) == ["any"]
    assert placement.why("e", "t") == "it waits for writer >=1.2,<2; 1.1.0 is here"
    placement.add_agent(Agent("new", "writer", "1", 1, version="1.3"))
    assert [(slot.task, slot.agent) for slot in placement.place()] == [("t", "new")]


# --- any sequence ----------------------------------------------------------------------------------------------------

BOUNDS = [(), (Bound("a", 1),), (Bound("a", 2, SECOND),), (Bound("b", 2), Bound("a", 3, 2 * SECOND)), (Bound("b", 1),)]
STEPS = st.lists(
    st.tuples(st.sampled_from(["queue", "place", "begin", "release", "unused", "withdraw", "wait"]), st.integers(0, 9)),
    max_size=150,
)


@settings(max_examples=150, deadline=None)
@given(steps=STEPS)
def test_no_limit_is_ever_exceeded_and_nothing_is_stuck(steps):
    placement = Placement()
    for kind in ("w", "v"):
        placement.add_agent(Agent(kind, kind, "1", 3))
        placement.add_agent(Agent(f"{kind} gpu", kind, "1", 1, capabilities=GPU))
    now_us, number = 0, 0
    granted: dict[str, ReadyTask] = {}
    unbegun: set[str] = set()
    queued: dict[str, ReadyTask] = {}
    begun: dict[Bound, deque[int]] = {}

    def place() -> None:
        for slot in placement.place(now_us=now_us):
            granted[slot.attempt] = queued.pop(slot.attempt)
            unbegun.add(slot.attempt)
        counts = Counter(bound for task in granted.values() for bound in task.bounds if not bound.per_us)
        by_key = Counter(bound.key for task in granted.values() for bound in task.bounds if not bound.per_us)
        assert all(by_key[bound.key] <= max(b.limit for b in counts if b.key == bound.key) for bound in counts)

    def start(attempt: str) -> None:
        if attempt in unbegun:
            unbegun.discard(attempt)
            placement.begin(attempt)
            for bound in granted[attempt].bounds:
                if bound.per_us:
                    times = begun.setdefault(bound, deque(maxlen=bound.limit))
                    assert len(times) < bound.limit or now_us - times[0] >= bound.per_us
                    times.append(now_us)

    for step, at in steps:
        match step:
            case "queue":
                number += 1
                about = {"agent_type": "wv"[at % 2], "priority": at * 10, "ready_us": number}
                needs = GPU if number % 3 == 0 else frozenset()
                task = ready(f"t{number}", *BOUNDS[at % 5], capabilities=needs, **about)
                queued[task.attempt] = task
                placement.enqueue(task)
            case "place":
                place()
            case "begin" if granted:
                start(list(granted)[at % len(granted)])
            case "release" if granted:
                attempt = list(granted)[at % len(granted)]
                start(attempt)
                placement.release(attempt)
                del granted[attempt]
            case "unused" if unbegun:
                attempt = sorted(unbegun)[at % len(unbegun)]
                unbegun.discard(attempt)
                placement.release(attempt, unused=True)
                del granted[attempt]
            case "withdraw" if queued:
                task = queued.pop(list(queued)[at % len(queued)])
                placement.withdraw("e", task.task)
            case "wait":
                now_us += at * SECOND // 5
            case _:
                pass
    for _ in range(3 * number + 3):
        now_us += 2 * SECOND
        place()
        for attempt in list(granted):
            start(attempt)
            placement.release(attempt)
            del granted[attempt]
    assert not queued
    placement.place(now_us=now_us)
    placement.place(now_us=now_us + 100 * SECOND)
    assert (len(placement.limits), placement.limits.waiting()) == (0, 0)
