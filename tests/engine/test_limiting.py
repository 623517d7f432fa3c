"""Keys of limits as an execution's state gives them, and what the leader is told of attempts that limits count."""

from __future__ import annotations

from typing import Any

import pytest

from podium.engine import inputs as inp
from podium.engine.assignments import assignment_for
from podium.engine.changes import Begun, Ended, Exports, How, Kept, Queued, decode_changes, encode_changes
from podium.engine.circuits import Circuits
from podium.engine.limiting import MAX_KEY, bounds_of
from podium.engine.placing import Placing, enqueue_ready
from podium.exceptions import ExpressionError
from podium.fleet import messages as msg
from podium.scheduling.placement import Bound, Placement
from podium.workflow.model import AgentGroup, ConcurrencyLimit, RateLimit, Task, Workflow
from tests.engine.playing import Play, json_value

SECOND = 1_000_000


def played(task: dict[str, Any], role: dict[str, Any] | None = None, given: Any = None) -> Play:
    agents = {"hand": AgentGroup("hand", "hand", **(role or {}))}
    game = Play(Workflow(name="w", tasks=(Task(id="a", agent="hand", **task),), agents=agents), given=given)
    game.start()
    return game


def bounds(game: Play, path: str = "a") -> tuple[Bound, ...]:
    return bounds_of(game.state, game.state.tasks[path])


@pytest.mark.parametrize(
    ("task", "role", "expected"),
    [
        ({}, {}, ()),
        ({"rate_limit": RateLimit(10)}, {}, (Bound("w/a", 10, SECOND, "t"),)),
        ({}, {"concurrency": ConcurrencyLimit(3)}, (Bound("w/hand", 3, 0, "t"),)),
        ({"concurrency": ConcurrencyLimit(2)}, {"concurrency": ConcurrencyLimit(3)}, (Bound("w/a", 2, 0, "t"),)),
        ({"concurrency": ConcurrencyLimit(2, "mail")}, {}, (Bound("mail", 2, 0, "t"),)),
        ({"rate_limit": RateLimit(1, 0.5, "of ${input.who}")}, {}, (Bound("of 7", 1, SECOND // 2, "t"),)),
        ({"rate_limit": RateLimit(1, 0.5, "${input}")}, {}, (Bound('{"who":7}', 1, SECOND // 2, "t"),)),
        ({"rate_limit": RateLimit(1, 1.0, "${input.nobody}")}, {}, (Bound("w/a", 1, SECOND, "t"),)),
    ],
)
def test_the_limits_of_a_task_are_its_own_or_its_roles_with_the_key_worked_out(task, role, expected):
    assert bounds(played(task, role, {"who": 7})) == expected


def test_each_instance_has_its_own_key():
    game = played({"for_each": ["x", "y"], "concurrency": ConcurrencyLimit(1, "${item}")})
    assert [bounds(game, f"a[{at}]")[0].key for at in range(2)] == ["x", "y"]


def test_a_long_key_is_cut_and_stays_another_one():
    one, other = (
        bounds(played({"concurrency": ConcurrencyLimit(1, "${input}")}, given="k" * 500 + end))[0].key for end in "ab"
    )
    assert one != other
    assert len(one) < MAX_KEY


def test_an_attempt_whose_key_cant_be_worked_out_fails_as_one_without_its_arguments():
    game = played({"rate_limit": RateLimit(1, 1.0, "${input.nobody}"), "payload": {}}, given={"who": 7})
    with pytest.raises(ExpressionError, match="nobody"):
        assignment_for(game.state, game.state.tasks["a"], 1, "agent", 15.0)


def test_what_limits_need_comes_back_from_the_inbox_as_it_was_told():
    game = played({"rate_limit": RateLimit(1)}, {"version": ">=1"})
    exports = Exports()
    enqueue_ready(exports, game.state, ("a",))
    exports.begin("e:1:a:1")
    exports.keep("e:1:a:1", "e", "agent", "1", {}, bounds(game))
    told = [("e", 3, exports.take())]
    assert decode_changes(encode_changes(told)) == told
    queued, begun, kept = told[0][2]
    assert isinstance(queued, Queued)
    assert (queued.bounds, queued.version) == (bounds(game), ">=1")
    assert begun == Begun("e:1:a:1")
    assert isinstance(kept, Kept)
    assert kept.bounds == bounds(game)
    ready = queued.ready_task("e")
    assert (ready.bounds, ready.version) == (bounds(game), ">=1")


def desk() -> Placing:
    placement = Placement()
    placing = Placing(placement, 15 * SECOND, Circuits(placement, lambda: 0))
    placing.register(msg.Registration("agent", "hand", "bus.1", slots=9), lives_here=False)
    return placing


def queued(task: str, *bound: Bound) -> Queued:
    return Queued(task, 1, f"e:1:{task}:1", "hand", 50, 0, {}, (), "", "", bounds=bound)


def test_the_leader_counts_a_rates_time_from_when_it_hears_of_the_commit():
    placing, rate = desk(), Bound("k", 1, SECOND)
    placing.apply([("e", 1, [queued("a", rate), queued("b", rate)])])
    (grant,) = placing.grants(1, 10, 0)
    placing.posted(grant)
    assert placing.grants(1, 10, 9 * SECOND) == []
    placing.apply([("e", 2, [Begun("e:1:a:1")])])
    assert placing.grants(1, 10, 9 * SECOND) == []
    assert placing.next_due_us() == 10 * SECOND
    assert len(placing.grants(1, 10, 10 * SECOND)) == 1


def test_a_grant_that_its_owner_ignored_frees_the_key_at_once():
    placing, rate = desk(), Bound("k", 1, SECOND)
    placing.apply([("e", 1, [queued("a", rate), queued("b", rate)])])
    (grant,) = placing.grants(1, 10, 0)
    placing.posted(grant)
    placing.apply([("e", 2, [Ended("e:1:a:1", How.NOT_BEGUN)])])
    assert len(placing.grants(1, 10, 0)) == 1


def test_a_new_leader_counts_what_is_live_and_what_was_granted_and_not_recorded():
    game = played({"concurrency": ConcurrencyLimit(2, "k"), "for_each": [1, 2, 3]})
    granted = inp.Grant(1, 1, (inp.Granted("a[0]", 1, "agent", "bus.1"),))
    game.give(granted)
    leader = desk()
    leader.adopt(game.state)
    (on_its_way,) = leader.grants(2, 1, 0)
    placing = desk()
    placing.posted(on_its_way)
    placing.adopt(game.state)
    assert placing.grants(3, 10, 0) == []
    assert placing.placement.why(game.state.id, "a[2]").startswith("2 of 2 are at work for the key k")
    game.give(inp.Succeeded("a[0]", 1, json_value(1)))
    placing.apply([(game.state.id, game.state.sequence, [Ended(game.state.attempt_id("a[0]", 1), How.BY_AGENT)])])
    assert len(placing.grants(3, 10, 0)) == 1


def test_who_gives_up_the_lead_forgets_what_it_counted():
    placing = desk()
    placing.apply([("e", 1, [queued("a", Bound("k", 1, SECOND)), queued("b", Bound("k", 1, SECOND))])])
    placing.grants(1, 10, 0)
    placing.forget_all()
    assert len(placing.placement.limits) == 0
    assert placing.next_due_us() is None
