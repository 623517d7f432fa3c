"""What the leader is told: in order, once, and nothing is remembered longer than it can matter."""

from podium.engine.changes import Ended, Exports, How, Queued, Withdrawn, decode_changes, encode_changes
from podium.engine.circuits import Circuits
from podium.engine.placing import Placing, enqueue_ready
from podium.fleet import messages as msg
from podium.scheduling.placement import Placement
from tests.engine.playing import Play
from tests.runtime.support import ONE


def placing():
    placement = Placement()
    return Placing(placement, 15_000_000, Circuits(placement, lambda: 0))


def queued(task="a", number=1):
    return Queued(task, number, f"e:1:{task}:{number}", "hand", 50, 0, {}, (), "", "")


def test_what_was_told_before_an_execution_was_read_says_nothing_new():
    game = Play(ONE)
    game.start()
    desk = placing()
    desk.adopt(game.state)
    execution, sequence = game.state.id, game.state.sequence
    desk.apply([(execution, sequence, [Withdrawn("a")])])
    assert desk.placement.queued() == 1
    desk.apply([(execution, sequence + 1, [Withdrawn("a")])])
    assert desk.placement.queued() == 0


def test_readings_are_forgotten_once_all_that_was_told_before_has_been_taken():
    game = Play(ONE)
    game.start()
    desk = placing()
    desk.adopt(game.state)
    before = desk.readings
    desk.adopt(game.state)
    desk.told_all(before)
    assert desk._known
    desk.told_all(desk.readings)
    assert not desk._known


def test_changes_come_back_from_the_inbox_as_they_were_told():
    told = [("e", 3, [queued(), Ended("e:1:a:1", How.LOST), Withdrawn("a")])]
    assert decode_changes(encode_changes(told)) == told


def test_an_attempt_that_is_lost_elsewhere_keeps_work_from_its_agent_until_it_is_heard_of():
    desk = placing()
    desk.register(msg.Registration("agent", "hand", "bus.1", slots=1), lives_here=False)
    desk.apply([("e", 1, [queued()])])
    (grant,) = desk.grants(1, 10, 0)
    assert grant.execution == "e"
    desk.apply([("e", 2, [Ended("e:1:a:1", How.LOST), queued(number=2)])])
    assert desk.grants(1, 10, 0) == []
    desk.placement.heard_of("agent")
    assert len(desk.grants(1, 10, 0)) == 1


def test_a_grant_that_was_ignored_before_its_execution_was_read_gives_the_task_back_to_the_queue():
    game = Play(ONE)
    game.start()
    desk, state = placing(), game.state
    desk.register(msg.Registration("agent", "hand", "bus.1", slots=1), lives_here=False)
    desk.apply([(state.id, state.sequence, [queued_of(state)])])
    (grant,) = desk.grants(1, 10, 0)
    desk.posted(grant)
    reading = desk.await_reading(state.id)
    told = (state.id, state.sequence, [Ended(state.attempt_id("a", 1), How.NOT_BEGUN)])
    desk.was_read(state.id, reading, state)
    assert desk.grants(2, 10, 0) == []  # for all that is known, the grant is on its way
    desk.apply([told])
    assert len(desk.grants(2, 10, 0)) == 1


def test_a_grant_that_was_recorded_is_not_given_back_by_what_is_told_of_it_later():
    game = Play(ONE)
    game.start()
    desk, state = placing(), game.state
    desk.register(msg.Registration("agent", "hand", "bus.1", slots=2), lives_here=False)
    desk.apply([(state.id, state.sequence, [queued_of(state)])])
    (grant,) = desk.grants(1, 10, 0)
    desk.posted(grant)
    game.grant("a", agent="agent")
    desk.adopt(state)
    desk.apply([(state.id, state.sequence, [Ended(state.attempt_id("a", 2), How.NOT_BEGUN)])])
    assert desk.grants(2, 10, 0) == []
    assert desk.placement.attempts_of(state.id) == [state.attempt_id("a", 1)]
    assert not desk._promised


def test_an_agent_that_comes_back_has_the_slots_taken_of_attempts_whose_owners_do_not_know_that_it_was_gone():
    desk = placing()
    back = msg.Registration("agent", "hand", "bus.1", slots=1)
    desk.register(back, lives_here=False)
    desk.apply([("e", 1, [queued()])])
    assert len(desk.grants(1, 10, 0)) == 1
    desk.placement.remove_agent("agent")
    desk.register(back, lives_here=False)
    desk.apply([("f", 1, [Queued("a", 1, "f:1:a:1", "hand", 50, 0, {}, (), "", "")])])
    assert desk.grants(1, 10, 0) == []
    desk.apply([("e", 2, [Ended("e:1:a:1", How.LOST)])])
    desk.placement.heard_of("agent")
    assert len(desk.grants(1, 10, 0)) == 1


def test_of_several_readings_of_an_execution_the_one_that_was_begun_last_counts():
    game = Play(ONE)
    game.start()
    desk, state = placing(), game.state
    first, last = desk.await_reading(state.id), desk.await_reading(state.id)
    desk.was_read(state.id, first, None)
    assert desk.awaits_reading(state.id, last)
    desk.was_read(state.id, last, state)
    desk.was_read(state.id, first, None)
    assert desk.placement.queued() == 1


def test_an_execution_that_comes_into_memory_while_it_is_read_is_placed_from_there_with_what_was_told_meanwhile():
    game = Play(ONE)
    game.start()
    desk, state = placing(), game.state
    reading = desk.await_reading(state.id)
    desk.apply([(state.id, state.sequence + 1, [Withdrawn("a")])])
    desk.adopt(state)
    assert desk.placement.queued() == 0
    desk.was_read(state.id, reading, state)
    assert desk.placement.queued() == 0
    assert not desk.awaits_reading(state.id, reading)


def queued_of(state):
    """The first task, as its execution's owner tells it."""
    exports = Exports()
    enqueue_ready(exports, state, ["a"])
    (change,) = exports.take()
    return change
