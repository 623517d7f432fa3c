"""`idempotent: false`: an attempt whose outcome nobody knows isn't begun again; all else is tried again as it says."""

import pytest

from podium.engine import inputs as inp
from podium.workflow.model import Compensation, ExecutionStatus, RetryPolicy, Task, TaskStatus, Workflow
from tests.engine.playing import Play, error


def running(idempotent: bool | None) -> Play:
    retry = RetryPolicy(max_attempts=3)
    play = Play(Workflow(name="w", tasks=(Task(id="x", agent_type="w", idempotent=idempotent, retry=retry),)))
    play.start()
    play.grant("x")
    return play


UNKNOWN = [
    inp.Lost("x", 1, "its lease ended"),
    inp.Lost("x", 1, "owner_died"),
    inp.Lost("x", 1, "undelivered"),
    inp.Failed("x", 1, error("WorkerDied"), "crash"),
    inp.Failed("x", 1, error("TimeoutError"), "timeout"),
    inp.Refused("x", 1, inp.HANDED_BACK),
]


@pytest.mark.parametrize("given", UNKNOWN)
def test_an_unknown_outcome_fails_a_task_that_isnt_idempotent(given):
    play = running(idempotent=False)
    play.give(given)
    task = play.state.tasks["x"]
    assert task.status is TaskStatus.FAILED
    assert task.error is not None
    assert task.error.type == "OutcomeUnknown"
    assert "isn't idempotent, so it isn't begun again" in task.error.message
    assert play.state.status is ExecutionStatus.FAILED


@pytest.mark.parametrize("idempotent", [None, True])
@pytest.mark.parametrize("given", UNKNOWN)
def test_it_is_begun_again_otherwise(idempotent, given):
    play = running(idempotent)
    play.give(given)
    assert play.state.tasks["x"].status in (TaskStatus.RETRYING, TaskStatus.READY)


@pytest.mark.parametrize(
    "given", [inp.Failed("x", 1, error("E")), inp.Refused("x", 1, "full"), inp.Refused("x", 1, "draining")]
)
def test_what_is_known_not_to_be_done_is_tried_again(given):
    play = running(idempotent=False)
    play.give(given)
    assert play.state.tasks["x"].status in (TaskStatus.RETRYING, TaskStatus.READY)


def test_a_task_that_undoes_another_one_is_skipped_and_its_result_isnt_the_executions():
    tasks = (
        Task(id="a", agent_type="w", compensation=Compensation(task="u")),
        Task(id="u", agent_type="w", dependencies=("a",)),
    )
    play = Play(Workflow(name="w", tasks=tasks))
    play.start()
    play.run("a", 1)
    assert play.state.tasks["u"].status is TaskStatus.SKIPPED
    assert play.state.tasks["u"].reason == "it compensates a, and isn't called for"
    assert play.state.status is ExecutionStatus.COMPLETED
    assert play.state.definition.last_tasks == ["a"]
