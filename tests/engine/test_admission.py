"""How many executions may be at work at once: never more than the limit begin, in their turn, and none is forgotten."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from podium.engine import admission
from podium.engine import inputs as inp
from podium.engine.admission import SINGLE_TASK, Admission, Waiting, counts, waiting_room
from podium.ids import PLACEMENT_SHARD, SHARDS, shard_of
from podium.workflow.model import Task, Workflow
from tests.engine.playing import Play

ONE = Workflow(name="w", tasks=(Task(id="x", agent_type="w"),))


def start(execution: str, priority: int = 50, posted_us: int = 0, row_id: int = 0) -> Waiting:
    return Waiting(execution, priority, posted_us, row_id)


def begun(admitting: Admission) -> list[str]:
    """Whoever begins now, in order."""
    found = []
    while (each := admitting.next()) is not None:
        found.append(each.execution)
    return found


def test_the_most_urgent_begins_first_then_the_oldest():
    admitting = Admission(10)
    for each in (start("late", 50, 2), start("urgent", 90, 3), start("early", 50, 1), start("low", 10, 0)):
        admitting.wait(each)
    assert admitting.ahead_of("late") == 2
    assert admitting.ahead_of("nobody") is None
    assert begun(admitting) == ["urgent", "early", "late", "low"]


def test_what_is_at_work_takes_the_room_and_gives_it_back():
    admitting = Admission(2)
    admitting.take("a")
    assert not admitting.full
    admitting.take("b")
    assert admitting.full
    admitting.wait(start("c"))
    assert begun(admitting) == []
    admitting.gone("a")
    assert admitting.full  # somebody waits already: who comes now is behind them
    assert begun(admitting) == ["c"]
    assert admitting.at_work == 2


def test_an_execution_counts_while_it_is_at_work():
    admitting = Admission(1)
    play = Play(ONE)
    play.start()
    admitting.note(play.state)
    assert admitting.full
    play.give(inp.Pause())
    admitting.note(play.state)  # it waits for a person
    assert not admitting.full
    play.give(inp.Resume())
    admitting.note(play.state)
    assert admitting.full
    play.run("x")
    admitting.note(play.state)
    assert not admitting.full


def test_a_single_task_does_not_count():
    single = Workflow(name="w", tasks=ONE.tasks, metadata={SINGLE_TASK: True})
    assert counts(ONE)
    assert not counts(single)
    admitting = Admission(1)
    play = Play(single)
    play.start()
    admitting.note(play.state)
    assert admitting.at_work == 0


def test_without_a_limit_nobody_waits_and_nothing_is_counted():
    admitting = Admission(0)
    for name in map(str, range(100)):
        admitting.take(name)
    assert not admitting.full
    assert admitting.at_work == 0
    assert admitting.room > 0


@given(st.integers(1, 2_000), st.lists(st.integers(0, 5), min_size=64, max_size=64))
def test_the_shares_of_all_replicas_are_the_limit_and_each_has_a_place_at_least(limit: int, owners: list[int]):
    shares = {}
    for owner in set(owners):
        admitting = Admission(limit)
        admitting.own([shard for shard in range(64) if owners[shard] == owner])
        shares[owner] = admitting.most
        assert not admitting.full
    assert min(shares.values()) >= 1
    assert sum(shares.values()) - limit == sum(1 for owner in shares if quota(limit, owners, owner) == 0)


def quota(limit: int, owners: list[int], owner: int) -> int:
    """How many of the limit's places, spread evenly over the shards, lie in those of an owner."""
    return sum(owners[-(-(place + 1) * 64 // limit) - 1] == owner for place in range(limit))


def test_who_owns_nothing_admits_nobody_and_who_owns_everything_all():
    admitting = Admission(1_000)
    admitting.own([])
    assert admitting.full
    admitting.own(range(64))
    assert admitting.most == 1_000


def test_shards_that_go_take_what_waits_and_works_there_along():
    admitting = Admission(1)
    names = [f"e{number}" for number in range(200)]
    for name in names:
        admitting.wait(start(name))
    (first,) = begun(admitting)
    gone = {shard_of(name) for name in names if shard_of(name) % 2} - {shard_of(first)}
    admitting.disown(gone)
    left = [name for name in names if shard_of(name) not in gone and name != first]
    assert admitting.waiting == len(left)
    assert admitting.at_work == 1
    admitting.gone(first)
    assert admitting.next() is not None
    assert admitting.waiting == len(left) - 1


def test_one_whose_workflow_is_at_its_own_limit_lets_others_go_first():
    admitting = Admission(1)
    admitting.wait(start("limited", 90))
    admitting.wait(start("other", 10))
    limited = admitting.next()
    assert limited is not None
    admitting.put_off(limited)
    assert begun(admitting) == ["other"]
    assert admitting.waiting == 1
    admitting.gone("other")
    assert begun(admitting) == []
    admitting.call_again()
    assert begun(admitting) == ["limited"]


def test_who_is_called_begins_out_of_turn_though_there_is_no_room():
    admitting = Admission(1)
    admitting.take("a")
    admitting.wait(start("b"))
    assert admitting.summon("nobody") is None
    called = admitting.summon("b")
    assert called is not None
    assert called.execution == "b"
    assert (admitting.at_work, admitting.waiting) == (2, 0)
    admitting.gone("a")
    admitting.gone("b")
    assert begun(admitting) == []


def test_memory_is_bounded_whatever_waits(monkeypatch):
    monkeypatch.setattr(admission, "MOST_KNOWN", 10)
    admitting = Admission(1)
    admitting.take("a")
    for number in range(25):
        admitting.wait(start(f"e{number}", row_id=number))
    assert admitting.waiting == 10
    assert admitting.more
    assert admitting.known == list(range(10))
    assert admitting.full


def test_waiting_rooms_are_no_shards():
    rooms = {waiting_room(shard) for shard in range(SHARDS)}
    assert len(rooms) == SHARDS
    assert rooms.isdisjoint(range(PLACEMENT_SHARD + 1))


NAMES = st.sampled_from([f"e{number}" for number in range(12)])


@given(st.integers(1, 4), st.lists(st.tuples(st.sampled_from(["submit", "end", "off", "again"]), NAMES), max_size=80))
def test_never_more_than_the_limit_begin_and_who_was_submitted_begins_once(limit, happened):
    admitting = Admission(limit)
    submitted: set[str] = set()
    at_work: set[str] = set()
    for number, (what, name) in enumerate(happened):
        if what == "submit" and name not in submitted:
            submitted.add(name)
            if admitting.full:
                admitting.wait(start(name, number % 3, number, number))
            else:
                admitting.take(name)
                at_work.add(name)
        elif what == "end" and name in at_work:
            at_work.discard(name)
            admitting.gone(name)
        elif what == "off":
            candidate = admitting.next()
            if candidate is not None:
                admitting.put_off(candidate)
        elif what == "again":
            admitting.call_again()
        for each in begun(admitting):
            assert each not in at_work
            at_work.add(each)
        assert len(at_work) <= limit
        assert admitting.at_work == len(at_work)
    admitting.call_again()
    ended = submitted - at_work - {each for each in submitted if admitting.ahead_of(each) is not None}
    while at_work:
        done = at_work.pop()
        ended.add(done)
        admitting.gone(done)
        at_work.update(begun(admitting))
    assert ended == submitted
    assert not admitting.waiting
