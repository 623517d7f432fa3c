"""What agents say of themselves: a word of an earlier life, or of an attempt nobody knows, closes none for good."""

import msgspec
import pytest

from podium.engine import inputs as inp
from podium.engine.arrivals import Arrival
from podium.engine.circuits import Circuits
from podium.engine.leases import Leases
from podium.engine.placing import Placing
from podium.engine.staffing import Staffing
from podium.engine.values import NULL
from podium.exceptions import InvalidInputError
from podium.fleet import messages as msg
from podium.scheduling.placement import Placement, ReadyTask
from podium.workflow.model import ConcurrencyLimit, ContinueAsNew, Task, Workflow
from tests.engine.playing import Play

LEASE_US = 15_000_000


@pytest.fixture
def staffing():
    placement = Placement()
    placing = Placing(placement, LEASE_US, Circuits(placement, lambda: 0))
    return Staffing(placing, Leases(LEASE_US), lambda arrival: None)


def come(staffing, incarnation):
    staffing.hear(msg.Registration("agent", "hand", f"{msg.FOREIGN}{incarnation}", slots=2, renews=False), 0)


def granted(staffing, task):
    """The attempts that are granted, once this task waits."""
    staffing.placing.enqueue(ReadyTask("e", task, 1, f"e:1:{task}:1", "hand", 50, 0))
    return [slot.attempt for slot in staffing.placement.place()]


def test_an_agent_that_refuses_since_it_drains_gets_nothing_more(staffing):
    come(staffing, 1)
    (attempt,) = granted(staffing, "a")
    staffing.hear(msg.Refused("agent", attempt, "draining"), 0)
    come(staffing, 1)
    assert granted(staffing, "b") == []
    assert staffing.placement.why("e", "b") == "every agent of type hand is leaving"


def test_a_late_refusal_of_one_that_drained_does_not_close_its_next_life(staffing):
    come(staffing, 1)
    (attempt,) = granted(staffing, "a")
    staffing.hear(msg.Left("agent", f"{msg.FOREIGN}1"), 0)
    come(staffing, 2)
    staffing.hear(msg.Refused("agent", attempt, "draining"), 0)
    come(staffing, 2)
    assert granted(staffing, "b") == ["e:1:b:1"]


def test_after_a_refusal_of_what_is_not_known_an_agent_gets_more_once_it_is_heard_of_again(staffing):
    come(staffing, 2)
    staffing.hear(msg.Refused("agent", "e:1:a:1", "draining"), 0)
    assert granted(staffing, "b") == []
    come(staffing, 2)
    assert granted(staffing, "c") == ["e:1:b:1", "e:1:c:1"]


class Looping:
    """A loop whose task, of a key with room for one attempt, waits for the only agent."""

    def __init__(self, staffing):
        self.staffing, self.placement = staffing, staffing.placement
        task = Task(id="a", agent_type="hand", concurrency=ConcurrencyLimit(1, "one"))
        self.play = Play(Workflow(name="w", tasks=(task,), continue_as_new=ContinueAsNew()))
        staffing.hear(msg.Registration("agent", "hand", "bus.1", slots=1), 0)
        self.take(Arrival(self.play.state.id, "start", self.play.begun))

    def skip(self):
        """Have the next run begin, since the task is skipped."""
        run = self.play.state.run
        self.take(Arrival(self.play.state.id, f"skip:{run}", inp.Skip("a", "no", "ann")))
        self.play.now_us += LEASE_US
        self.take(Arrival(self.play.state.id, f"tick:{run}", inp.Tick()))
        assert self.play.state.run == run + 1

    def take(self, arrival):
        self.staffing.follow(self.play.state, arrival, self.play.give(arrival.given))

    def granted(self):
        return self.staffing.placing.grants(1, 10, self.play.now_us)

    def grant(self):
        for arrival in self.granted():
            self.take(arrival)

    @property
    def held(self):
        return sorted(self.placement.attempts_of(self.play.state.id))


def skipped_at_work(staffing):
    looping = Looping(staffing)
    looping.grant()
    looping.skip()
    return looping


def test_a_grant_that_was_under_way_when_the_next_run_began_gives_its_slot_back(staffing):
    looping = Looping(staffing)
    (first,) = looping.granted()
    staffing.placing.posted(first)
    looping.skip()
    looping.take(first)
    assert looping.held == []
    looping.grant()
    assert looping.held == [f"{looping.play.state.id}:2:a:1"]
    looping.take(first)  # it came twice
    assert looping.held == [f"{looping.play.state.id}:2:a:1"]
    assert looping.play.state.tasks["a"].live is not None


def test_a_grant_under_way_for_an_earlier_run_is_none_for_the_next_ones_task(staffing):
    looping = Looping(staffing)
    (first,) = looping.granted()
    staffing.placing.posted(first)
    looping.skip()
    staffing.placing.adopt(looping.play.state)  # the execution is read, since the placing replica has just begun to
    looping.grant()
    assert looping.held == [f"{looping.play.state.id}:2:a:1"]
    looping.take(first)
    assert looping.held == [f"{looping.play.state.id}:2:a:1"]


@pytest.mark.parametrize("by_the_inbox", [False, True])
@pytest.mark.parametrize("said", ["failed", "succeeded", "handed back"])
def test_a_late_word_of_an_earlier_run_gives_that_attempts_slot_back(staffing, said, by_the_inbox):
    looping = skipped_at_work(staffing)
    first = f"{looping.play.state.id}:1:a:1"
    assert looping.held == [first]
    word = {
        "failed": msg.Failed("agent", first, msg.ErrorInfo("Stopped", ""), cancelled=True),
        "succeeded": msg.Succeeded("agent", first, msgspec.Raw(b"1")),
        "handed back": msg.HandedBack("agent", first),
    }[said]
    heard = staffing.hear(word, 0)
    if by_the_inbox:
        heard = Arrival(heard.execution, heard.input_id, heard.given, inbox_id=1)
    looping.take(heard)
    assert looping.held == []
    looping.grant()
    assert looping.held == [f"{looping.play.state.id}:2:a:2"]


def test_a_thread_of_an_earlier_run_that_goes_on_keeps_its_slot_until_it_has_returned(staffing):
    looping = skipped_at_work(staffing)
    first = f"{looping.play.state.id}:1:a:1"
    heard = staffing.hear(msg.Failed("agent", first, msg.ErrorInfo("Stopped", ""), timed_out=True, holds_slot=True), 0)
    looping.take(heard)
    staffing.placing.expire(0)
    assert staffing.placing.awaits(first)
    assert looping.held == [first]
    staffing.hear(msg.Freed("agent", first), 0)
    assert looping.held == []


@pytest.mark.parametrize(
    ("input_id", "given", "attempt"),
    [
        ("said:1", inp.Succeeded("a", 1, NULL), ""),
        ("succeeded:e:2:a:1", inp.Succeeded("a", 1, NULL), "e:2:a:1"),
        ("saved:e:2:a:1:3", inp.Saved("a", 1, 3, NULL), "e:2:a:1"),
        ("published:e:2:a:1:3", inp.Published("a", 1, 3, NULL), "e:2:a:1"),
    ],
)
def test_an_inputs_id_tells_of_which_attempt_it_is_a_word(input_id, given, attempt):
    assert Arrival("e", input_id, given).spoken_of("a", 1) == attempt


DEEP = msgspec.Raw(b"[" * 101 + b"]" * 101)


def test_a_result_that_is_nested_too_deeply_is_the_attempts_failure_and_is_not_tried_again(staffing):
    arrival = staffing.hear(msg.Succeeded("agent", "e:1:a:1", DEEP), 0)
    assert (arrival.input_id, arrival.blobs) == ("failed:e:1:a:1", ())
    error = msg.ErrorInfo("ResultError", "its result is nested more than 100 levels deep", retryable=False)
    assert arrival.given == inp.Failed("a", 1, error)


@pytest.mark.parametrize(
    "message", [msg.Saved("agent", "e:1:a:1", 1, DEEP), msg.Published("agent", "e:1:a:1", 1, DEEP)]
)
def test_a_checkpoint_or_a_status_that_is_nested_too_deeply_is_dropped(staffing, message):
    with pytest.raises(InvalidInputError, match="levels deep"):
        staffing.hear(message, 0)
