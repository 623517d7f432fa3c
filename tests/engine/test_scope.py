"""What expressions see, what a task is handed, what an execution gives; and large values that must be loaded first."""

from hashlib import sha256

import msgspec
import pytest

from podium.engine import inputs as inp
from podium.engine.assignments import arguments_of, assignment_for, execution_result
from podium.engine.scope import BlobMissing
from podium.engine.values import INLINE_LIMIT, NULL, value_of
from podium.exceptions import ExpressionError
from podium.workflow.model import AgentGroup, FailureAction, InputParameter, OnFailure, Task, Workflow
from tests.engine.playing import Play, error


def play_of(*tasks: Task, given=None, **about) -> Play:
    play = Play(Workflow(name="w", tasks=tasks, **about), given=given)
    play.start()
    return play


def arguments(play: Play, task: str):
    return msgspec.json.decode(bytes(arguments_of(play.state, play.state.tasks[task])))


def large(text: str = "x"):
    value, content = value_of(msgspec.json.encode(text * 5_000))
    assert value.blob is not None
    assert content is not None
    return value, content


# --- values ----------------------------------------------------------------------------------------------------------


def test_a_value_up_to_the_limit_is_kept_inline_and_one_above_it_is_a_blob_by_its_hash():
    inline, content = value_of(b" " * INLINE_LIMIT)
    assert (inline.blob, content) == (None, None)
    kept, content = value_of(b" " * (INLINE_LIMIT + 1))
    assert (kept.size, content) == (INLINE_LIMIT + 1, b" " * (INLINE_LIMIT + 1))
    assert kept.blob == sha256(content or b"").hexdigest()
    assert value_of(b"null") == (NULL, None)


# --- arguments -------------------------------------------------------------------------------------------------------


def test_without_an_input_block_a_task_gets_the_workflows_input_and_its_dependencies_results():
    a, b = Task(id="a", agent_type="w"), Task(id="b", agent_type="w", dependencies=("a",))
    play = play_of(a, b, given={"q": 1})
    play.run("a", [1, 2])
    assert arguments(play, "b") == {"q": 1, "a": [1, 2]}


@pytest.mark.parametrize(("given", "expected"), [(None, {}), (3, {"input": 3}), ([1], {"input": [1]}), ({}, {})])
def test_an_input_that_is_no_object_comes_under_the_name_input(given, expected):
    assert arguments(play_of(Task(id="a", agent_type="w"), given=given), "a") == expected


def test_defaults_of_declared_inputs_are_filled_in():
    inputs = (InputParameter("q"), InputParameter("n", required=False, default=5))
    play = play_of(Task(id="a", agent_type="w"), given={"q": "why"}, inputs=inputs)
    assert arguments(play, "a") == {"q": "why", "n": 5}
    play = play_of(Task(id="a", agent_type="w"), given={"q": "why", "n": 7}, inputs=inputs)
    assert arguments(play, "a") == {"q": "why", "n": 7}


def test_constant_arguments_are_encoded_once():
    play = play_of(Task(id="a", agent_type="w", payload={"n": 1}))
    first = arguments_of(play.state, play.state.tasks["a"])
    assert bytes(first) == b'{"n":1}'


def test_an_instance_is_told_its_item_index_and_shard():
    play = play_of(Task(id="each", agent_type="w", for_each=["x", "y"]))
    assert arguments(play, "each[1]") == {"item": "y", "index": 1, "shard": {"index": 1, "count": 2}}


def test_a_parallel_task_has_a_shard_for_each_agent_of_its_group():
    group = AgentGroup("g", "w", count=2)
    task = Task(id="p", agent="g", parallel=True, payload={"at": "${shard.index}", "of": "${shard.count}"})
    assert arguments(play_of(task, agents={"g": group}), "p[1]") == {"at": 1, "of": 2}


def test_references_that_lead_nowhere_are_expression_errors():
    play = play_of(Task(id="a", agent_type="w", payload={"x": "${input.missing}"}), given={})
    with pytest.raises(ExpressionError, match="missing"):
        arguments(play, "a")


def test_spaces_around_a_for_each_reference_dont_make_it_a_text():
    play = play_of(Task(id="each", agent_type="w", for_each="  ${input.items} "), given={"items": [1]})
    assert play.ready() == ["each[0]"]


def test_a_for_each_reference_may_stand_without_braces():
    play = play_of(Task(id="each", agent_type="w", for_each="input.items"), given={"items": [1, 2]})
    assert play.ready() == ["each[0]", "each[1]"]


def test_the_execution_itself_can_be_referred_to():
    play = play_of(Task(id="a", agent_type="w", payload={"id": "${execution.id}", "w": "${execution.workflow}"}))
    assert arguments(play, "a") == {"id": "e-1", "w": "w"}


def test_a_primary_is_failed_to_its_fallback_and_completed_to_those_who_wait_for_it():
    a = Task(id="a", agent_type="w", on_failure=OnFailure(FailureAction.FALLBACK, "b"))
    b = Task(id="b", agent_type="w", payload={"status": "${tasks.a.status}", "result": "${tasks.a.result}"})
    c = Task(id="c", agent_type="w", dependencies=("a",), payload={"all": "${tasks.a}"})
    play = play_of(a, b, c)
    play.grant("a")
    play.fail("a")
    assert arguments(play, "b") == {"status": "failed", "result": None}
    play.run("b", 7)
    assert arguments(play, "c") == {"all": {"status": "completed", "result": 7, "error": "boom"}}


def test_an_assignment_carries_the_fence_the_key_and_the_checkpoint():
    play = play_of(Task(id="a", agent_type="w", retries=1, timeout=9.0))
    play.grant("a")
    play.give(inp.Saved("a", 1, 1, value_of(b'{"page":3}')[0]))
    play.fail("a", how="crash")
    play.tick(5)
    play.grant("a")
    made = assignment_for(play.state, play.state.tasks["a"], 2, "a", 15.0)
    assert (made.attempt, made.idempotency_key) == ("e-1:1:a:2", "e-1:1:0:a")
    assert (made.timeout_seconds, made.lenient, made.number) == (9.0, True, 2)
    assert made.checkpoint is not None
    assert bytes(made.checkpoint) == b'{"page":3}'


# --- the execution's result ------------------------------------------------------------------------------------------


def test_the_result_is_the_last_tasks_or_each_last_tasks_by_id_or_what_output_says():
    a, b = Task(id="a", agent_type="w"), Task(id="b", agent_type="w")
    play = play_of(a)
    play.run("a", 1)
    assert execution_result(play.state) == b"1"
    play = play_of(a, b)
    play.run("a", 1)
    assert execution_result(play.state) == b'{"a":1,"b":null}'
    play = play_of(a, b, output={"sum": "${tasks.a.result}"})
    play.run("a", 1)
    assert execution_result(play.state) == b'{"sum":1}'


# --- large values ----------------------------------------------------------------------------------------------------


def test_a_large_value_must_be_loaded_before_it_is_passed_on():
    play = play_of(Task(id="a", agent_type="w"), Task(id="b", agent_type="w", dependencies=("a",)))
    value, content = large()
    play.grant("a")
    play.give(inp.Succeeded("a", 1, value))
    with pytest.raises(BlobMissing) as caught:
        arguments(play, "b")
    assert caught.value.digests == (value.blob,)
    play.state.loaded[value.blob or ""] = content
    assert arguments(play, "b") == {"a": "x" * 5_000}


def test_all_large_results_of_instances_are_asked_for_at_once():
    play = play_of(Task(id="each", agent_type="w", for_each=[1, 2, 3]))
    values = [large(text)[0] for text in "ab"]
    play.grant(*play.ready())
    for index, value in enumerate(values):
        play.give(inp.Succeeded(f"each[{index}]", 1, value))
    play.succeed("each[2]", 3)
    with pytest.raises(BlobMissing) as caught:
        execution_result(play.state)
    assert set(caught.value.digests) == {v.blob for v in values}


def test_what_conditions_read_is_known_beforehand():
    tasks = (
        Task(id="a", agent_type="w"),
        Task(id="b", agent_type="w", dependencies=("a",), when="tasks.a.result and input.go"),
        Task(id="c", agent_type="w", dependencies=("a",), payload={"a": "${tasks.a.result}"}),
    )
    assert play_of(*tasks).definition.hot == {"a", ""}


def test_error_and_its_text_are_seen_by_those_who_come_after():
    a = Task(id="a", agent_type="w", on_failure=OnFailure(FailureAction.CONTINUE))
    b = Task(id="b", agent_type="w", dependencies=("a",), run_if="all_done", payload={"e": "${tasks.a.error}"})  # type: ignore[arg-type]
    play = play_of(a, b)
    play.grant("a")
    play.give(inp.Failed("a", 1, error(text="no luck")))
    assert arguments(play, "b") == {"e": "no luck"}
