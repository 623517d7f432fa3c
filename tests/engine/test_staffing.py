"""What agents say of themselves: a word of an earlier life, or of an attempt nobody knows, closes none for good."""

import pytest

from podium.engine.circuits import Circuits
from podium.engine.leases import Leases
from podium.engine.placing import Placing
from podium.engine.staffing import Staffing
from podium.fleet import messages as msg
from podium.scheduling.placement import Placement, ReadyTask

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
