"""Single rules that no transcript shows: tables, codec, snapshots, second attempts, explanations, what is illegal."""

import msgspec
import pytest

from podium.engine import codec
from podium.engine import events as ev
from podium.engine import inputs as inp
from podium.engine.codec import decode_events, decode_input, decode_row, encode_events, encode_input
from podium.engine.commands import Stop
from podium.engine.decide import MAX_INTERRUPTIONS
from podium.engine.evolve import _EVOLVE, evolve
from podium.engine.explain import explain, headline
from podium.engine.scope import items_of
from podium.engine.snapshot import decode_state, encode_state
from podium.engine.state import State
from podium.engine.step import fold
from podium.engine.transitions import (
    ATTEMPT_MOVES,
    EXECUTION_MOVES,
    TASK_MOVES,
    AttemptStatus,
    check_attempt_move,
    check_execution_move,
    check_task_move,
)
from podium.engine.values import Value
from podium.exceptions import CorruptHistoryError, IllegalTransitionError
from podium.store.protocol import LogRow
from podium.workflow.model import (
    FINAL_EXECUTION,
    FINAL_TASK,
    ExecutionStatus,
    FailureAction,
    OnFailure,
    RetryPolicy,
    Task,
    TaskStatus,
    TaskType,
    Workflow,
    WorkflowConfig,
)
from tests.engine.playing import ID, Play, check_history, check_state, error, json_value


def one(**about) -> Play:
    play = Play(Workflow(name="w", tasks=(Task(id="x", agent_type="w", **about),)))
    play.start()
    return play


# --- the tables ------------------------------------------------------------------------------------------------------


def test_every_state_is_in_its_table_and_final_ones_are_left_only_by_a_retry():
    assert set(EXECUTION_MOVES) == set(ExecutionStatus)
    assert set(TASK_MOVES) == set(TaskStatus)
    assert set(ATTEMPT_MOVES) == set(AttemptStatus)
    assert not any(ATTEMPT_MOVES[s] for s in AttemptStatus if s is not AttemptStatus.GRANTED)
    for final in FINAL_EXECUTION:
        assert EXECUTION_MOVES[final] <= {ExecutionStatus.RUNNING}
    for status in FINAL_TASK:
        assert TASK_MOVES[status] <= {TaskStatus.PENDING}


def test_an_illegal_move_raises_and_names_both_states():
    with pytest.raises(IllegalTransitionError, match="completed to paused"):
        check_execution_move(ExecutionStatus.COMPLETED, ExecutionStatus.PAUSED)
    with pytest.raises(IllegalTransitionError, match="task x can't go from completed to ready"):
        check_task_move("x", TaskStatus.COMPLETED, TaskStatus.READY)
    with pytest.raises(IllegalTransitionError, match="attempt e:1:x:1 can't go from lost to succeeded"):
        check_attempt_move("e:1:x:1", AttemptStatus.LOST, AttemptStatus.SUCCEEDED)


def test_an_event_that_doesnt_fit_is_illegal():
    play = one()
    with pytest.raises(IllegalTransitionError, match="isn't live"):
        evolve(play.state, ev.TaskCompleted("x", 1, json_value(1)), play.now_us)
    with pytest.raises(IllegalTransitionError, match="no instances"):
        evolve(play.state, ev.InstancesReady("x", 0, 0), play.now_us)


def test_every_event_can_be_applied_and_every_input_decided():
    assert set(_EVOLVE) == set(ev.Event.__args__)
    from podium.engine.decide import _DECIDE

    assert set(_DECIDE) == set(inp.Input.__args__)


# --- the codec -------------------------------------------------------------------------------------------------------


def test_a_result_is_written_once_and_is_the_same_when_read():
    given = inp.Succeeded("x", 1, json_value({"a": 1}))
    events: list[ev.Event] = [ev.TaskCompleted("x", 1, given.value)]
    encoded = encode_events(events, given)
    assert b'"a"' not in encoded
    assert decode_events(encoded, decode_input(encode_input(given))) == events


def test_a_large_result_stays_a_reference():
    given = inp.Succeeded("x", 1, Value(blob="d" * 64, size=9_999))
    encoded = encode_events([ev.TaskCompleted("x", 1, given.value)], given)
    assert decode_events(encoded, given) == [ev.TaskCompleted("x", 1, given.value)]


def test_a_row_is_read_with_its_payload_or_with_the_blob_that_stands_for_it():
    given = inp.Signal("s", json_value([1]))
    events = encode_events([ev.SignalReceived("s", given.value)], given)
    row = LogRow(0, 1, "t", ID, 1, 1, "i", "signal", 0, encode_input(given), events, None)
    assert decode_row(row) == (given, [ev.SignalReceived("s", given.value)])
    kept = msgspec.structs.replace(row, payload=b"", payload_blob="d")
    assert decode_row(kept, encode_input(given))[0] == given


@pytest.mark.parametrize("text", [b"{", b"[]", b'{"kind":"unheard_of"}', b'{"kind":"succeeded"}'])
def test_an_input_that_cant_be_read_is_a_corrupt_history(text):
    with pytest.raises(CorruptHistoryError, match="an input can't be read"):
        decode_input(text)


@pytest.mark.parametrize("text", [b"[", b'[{"event":"of_tomorrow"}]', b'[{"no":"tag"}]', b"[1]"])
def test_events_that_cant_be_read_are_a_corrupt_history(text):
    with pytest.raises(CorruptHistoryError, match="events can't be read"):
        decode_events(text, inp.Tick())


def test_an_old_event_goes_through_its_upcaster(monkeypatch):
    def lifted(old):
        return {"event": "task_skipped", "task": old["task"], "reason": old["why"]}

    monkeypatch.setitem(codec.UPCASTERS, "task_left_out", lifted)
    text = b'[{"event":"task_left_out","task":"x","why":"so"},{"event":"execution_paused"}]'
    assert decode_events(text, inp.Tick()) == [ev.TaskSkipped("x", "so"), ev.ExecutionPaused()]


# --- snapshots -------------------------------------------------------------------------------------------------------


def test_a_snapshot_that_cant_be_read_is_a_corrupt_history():
    with pytest.raises(CorruptHistoryError, match="the snapshot of e-1"):
        decode_state(ID, "t", one().definition, b"\x93\x01")


def test_a_snapshot_holds_all_that_an_eventful_execution_has():
    tasks = (
        Task(id="a", agent_type="w", timeout=60, deadline=90, retry=RetryPolicy(max_attempts=3)),
        Task(id="each", agent_type="w", for_each=[1, 2, 3], max_parallel=2),
        Task(id="f", agent_type="w", on_failure=OnFailure(FailureAction.FALLBACK, "g")),
        Task(id="g", agent_type="w"),
    )
    play = Play(Workflow(name="w", tasks=tasks, config=WorkflowConfig(timeout=600)))
    play.start()
    play.grant("a", "each[0]", "f")
    play.give(inp.Saved("a", 1, 1, json_value({"page": 1})))
    play.fail("a")
    play.succeed("each[0]", [1])
    play.fail("f")
    play.give(inp.Pause("lunch"))
    check_state(play)
    check_history(play)
    restored = play.restored()
    assert restored.tasks["each[1]"].parent is restored.tasks["each"]
    assert restored.timeout_us == 600_000_000
    assert restored.reason == "lunch"
    assert restored.next_timer_us() == play.state.next_timer_us()


def test_the_fold_of_rows_is_the_state():
    play = one()
    play.run("x", 1)
    rows = [(at, decode_events(events, decode_input(given))) for at, given, events in play.rows]
    assert encode_state(fold(State(ID, "t", play.definition), rows)) == encode_state(play.state)


# --- second attempts of one task -------------------------------------------------------------------------------------


def speculative() -> Play:
    play = one(retries=3)
    play.grant("x")
    evolve(play.state, ev.AttemptGranted("x", 2, "b", "i"), play.now_us)  # nothing decides that yet, a history may
    return play


def test_the_first_result_of_two_attempts_wins_and_the_other_one_is_told_to_stop():
    play = speculative()
    play.succeed("x", "first", number=2)
    assert play.commands == [Stop("e-1:1:x:1", "a", "another attempt was first")]
    assert str(play.status) == "running", "a slot is still held"
    result = play.state.tasks["x"].result
    events = play.succeed("x", "second", number=1)
    assert isinstance(events[0], ev.AttemptFailed)
    assert play.state.tasks["x"].result is result
    assert (str(play.status), play.state.live) == ("completed", 0)
    assert play.state.tasks["x"].error is None


@pytest.mark.parametrize(
    "ending", [inp.Failed("x", 1, error(), "cancelled"), inp.Lost("x", 1, "gone"), inp.Refused("x", 1, "no")]
)
def test_an_attempt_that_was_second_may_end_in_any_way(ending):
    play = speculative()
    play.succeed("x", "first", number=2)
    play.give(ending)
    assert (str(play.status), play.state.live, play.status_of("x")) == ("completed", 0, "completed")


def test_one_of_two_attempts_may_fail_without_a_retry():
    play = speculative()
    assert [type(e) for e in play.fail("x", number=1)] == [ev.AttemptFailed]
    assert play.status_of("x") == "running"
    play.give(inp.Refused("x", 2, "full"))
    assert play.status_of("x") == "ready"


def test_a_graceful_cancellation_stops_both():
    play = speculative()
    play.give(inp.Cancel("enough"))
    assert [c.attempt for c in play.commands] == ["e-1:1:x:1", "e-1:1:x:2"]


# --- counting failures -----------------------------------------------------------------------------------------------


def test_an_attempt_dies_with_its_orchestrator_only_so_often():
    play = one()
    for _ in range(MAX_INTERRUPTIONS):
        assert play.status_of("x") == "ready"
        play.grant("x")
        play.give(inp.Lost("x", play.state.tasks["x"].number, "owner_died"))
        play.tick()
    assert play.status_of("x") == "failed"
    assert play.state.error is not None
    assert play.state.error.type == "CrashLoop"


def test_interruptions_and_refusals_arent_failures_of_the_task():
    play = one(retry=RetryPolicy(max_attempts=2, initial_delay_seconds=0, jitter=0))
    play.grant("x")
    play.give(inp.Lost("x", 1, "owner_died"))
    play.tick()
    play.grant("x")
    play.give(inp.Refused("x", 2, "full"))
    play.grant("x")
    play.fail("x")
    play.tick()
    assert play.status_of("x") == "ready", "the second attempt that counts is still to come"


def test_a_pause_between_attempts_is_spread_by_the_seed_and_bounded():
    policy = RetryPolicy(max_attempts=9, initial_delay_seconds=10, multiplier=10, max_delay_seconds=20, jitter=0.5)
    due = set()
    for seed in range(20):
        play = Play(Workflow(name="w", tasks=(Task(id="x", agent_type="w", retry=policy),)), seed=seed)
        play.start()
        play.grant("x")
        play.fail("x")
        due.add(play.state.tasks["x"].due_us - play.now_us)
    assert len(due) > 10
    assert all(5_000_000 <= d <= 15_000_000 for d in due)


def test_a_thousand_attempts_dont_overflow_the_pause():
    play = one(retry=RetryPolicy(max_attempts=1_000, multiplier=1_000.0, jitter=0))
    for _ in range(200):
        play.grant("x")
        play.fail("x")
        play.tick(60)
    assert play.status_of("x") == "ready"


# --- what inputs may bring -------------------------------------------------------------------------------------------


def test_an_ending_that_nobody_knows_is_an_error():
    play = one()
    play.grant("x")
    failed = play.fail("x", how="melted")[0]
    assert isinstance(failed, ev.AttemptFailed)
    assert failed.how == "error"


def test_a_grant_of_nothing_leaves_a_trace():
    assert one().give(inp.Grant(1, 1, ())) == [ev.InputIgnored("nothing was granted")]


def test_the_start_may_give_a_timeout_and_a_priority_of_its_own():
    workflow = Workflow(name="w", tasks=(Task(id="x", agent_type="w"),), config=WorkflowConfig(timeout=60, priority=75))
    play = Play(workflow, timeout=5)
    play.start()
    assert (play.state.priority, play.state.deadline_us) == (75, play.now_us + 5_000_000)
    play.tick(5)
    assert str(play.status) == "failed"
    play.give(inp.Retry())
    assert play.state.deadline_us == play.now_us + 5_000_000


def test_nothing_is_started_when_an_unmet_deadline_and_other_timers_are_due_together():
    tasks = (Task(id="x", agent_type="w", timeout=1, deadline=1), Task(id="y", agent_type="w", timeout=1, retries=2))
    play = Play(Workflow(name="w", tasks=tasks, config=WorkflowConfig(timeout=2)))
    play.start()
    play.grant("x", "y")
    play.tick(100)
    check_state(play)
    check_history(play)
    assert (str(play.status), play.status_of("x"), play.status_of("y")) == ("failed", "cancelled", "cancelled")


def test_a_tasks_deadline_comes_before_its_attempts_time_out():
    play = one(timeout=1, deadline=1, retries=3, on_failure=OnFailure(FailureAction.CONTINUE))
    play.grant("x")
    play.tick(100)
    assert play.status_of("x") == "failed"


def test_a_fan_outs_deadline_and_its_instances_time_outs_may_fall_together():
    play = one(for_each=[1, 2], timeout=1, deadline=1, retries=3, on_failure=OnFailure(FailureAction.CONTINUE))
    play.grant("x[0]", "x[1]")
    play.tick(100)
    check_state(play)
    assert str(play.status) == "completed"


def test_an_instance_has_no_deadline_of_its_own():
    play = one(for_each=[1], deadline=100, retry=RetryPolicy(max_attempts=5, initial_delay_seconds=10, jitter=0))
    play.grant("x[0]")
    play.fail("x[0]")
    play.tick(10)
    assert play.state.tasks["x[0]"].deadline_us == 0
    assert play.state.next_timer_us() == play.state.tasks["x"].deadline_us


def test_a_list_is_evaluated_once_while_its_instances_run():
    play = Play(
        Workflow(name="w", tasks=(Task(id="x", agent_type="w", for_each="input.items"),)), given={"items": [1, 2]}
    )
    play.start()
    task = play.state.tasks["x"]
    assert items_of(play.state, task) is items_of(play.state, task)
    play.run("x[0]")
    play.run("x[1]")
    assert play.state.items == {}


# --- explanations ----------------------------------------------------------------------------------------------------


def test_without_an_owner_an_explanation_says_so_and_how_to_go_on():
    tasks = (Task(id="a", agent_type="w"), Task(id="b", agent_type="w"), Task(id="c", agent_type="w", retries=1))
    play = Play(Workflow(name="w", tasks=tasks))
    play.start()
    play.grant("a", "c")
    play.fail("c")
    told = {t.task: t.because for t in explain(play.state, play.now_us)}
    assert set(told) == {"a", "b", "c"}
    assert "no process runs the execution" in told["b"]
    assert "when the process that ran it ended" in told["a"]
    assert f"podium resume {ID}" in headline(play.state, play.now_us, owned=False)


def test_many_dependencies_are_cut_short():
    tasks = [Task(id=f"t{i}", agent_type="w") for i in range(8)]
    tasks.append(Task(id="end", agent_type="w", dependencies=tuple(t.id for t in tasks)))
    play = Play(Workflow(name="w", tasks=tuple(tasks)))
    play.start()
    told = {t.task: t.because for t in explain(play.state, play.now_us)}
    assert told["end"] == "it waits for t0, t1, t2, t3, t4 and 3 more"


def test_a_limit_on_the_whole_is_named_as_the_reason():
    tasks = (Task(id="a", agent_type="w"), Task(id="b", agent_type="w"), Task(id="each", agent_type="w", for_each=[1]))
    play = Play(Workflow(name="w", tasks=tasks, config=WorkflowConfig(max_parallel_tasks=1)))
    play.start()
    told = {t.task: t.because for t in explain(play.state, play.now_us)}
    assert told["b"] == "1 tasks are under way, at most 1 may be (max_parallel)"
    assert "at most 1" in told["each"]


def test_a_limit_on_the_whole_keeps_back_only_what_agents_do():
    kid = Workflow(name="kid", tasks=(Task(id="x", agent_type="w"),))
    tasks = (
        Task(id="a", agent_type="w"),
        Task(id="b", agent_type="w"),
        Task(id="child", workflow=kid),
        Task(id="many", workflow=kid, for_each=[1, 2], max_parallel=1),
        Task(id="word", type=TaskType.WAIT, signal="go"),
        Task(id="never", agent_type="w", when="1 > 2"),
        Task(id="c", agent_type="w"),
    )
    play = Play(Workflow(name="w", tasks=tasks, config=WorkflowConfig(max_parallel_tasks=1)))
    play.start()
    found = {path: str(task.status) for path, task in play.state.tasks.items()}
    assert {found[name] for name in ("child", "many", "word", "many[0]")} == {"waiting", "running"}
    assert (found["never"], found["b"], found["c"]) == ("skipped", "pending", "pending")
    told = {t.task: t.because for t in explain(play.state, play.now_us)}
    assert all("(max_parallel)" in told[name] for name in ("b", "c"))
    assert told["many"] == "0 of 2 instances have ended, 1 are under way (at most 1)"
    play.run("a")
    assert play.ready() == ["b"], "those that want for room have it in their turn"
    play.run("b")
    assert play.ready() == ["c"]


def test_what_waits_between_attempts_of_a_failing_execution_isnt_tried_again():
    tasks = (Task(id="a", agent_type="w"), Task(id="b", agent_type="w", retries=1), Task(id="c", agent_type="w"))
    play = Play(Workflow(name="w", tasks=tasks))
    play.start()
    play.grant("a", "b", "c")
    play.fail("b")
    play.fail("a")
    told = {t.task: t.because for t in explain(play.state, play.now_us)}
    assert "it isn't tried again" in told["b"]
    assert "1 live attempt has to" in headline(play.state, play.now_us)


# --- whether its owner must hold it ----------------------------------------------------------------------------------


def test_an_execution_that_only_waits_for_time_or_a_person_needs_no_memory():
    play = one(retries=1)
    assert play.state.active
    play.grant("x")
    assert play.state.active
    play.fail("x")
    assert not play.state.active
    play.give(inp.Pause())
    assert not play.state.active
    play.give(inp.Cancel())
    assert not play.state.active


# --- workflows built with plain texts in place of names ------------------------------------------------------------


def test_a_workflow_with_plain_texts_runs_like_the_one_that_is_read_back_from_the_store():
    tasks = (
        Task(id="a", agent_type="w", on_failure=OnFailure("fallback", "b")),  # type: ignore[arg-type]
        Task(id="b", agent_type="w", on_failure=OnFailure("continue")),  # type: ignore[arg-type]
        Task(id="c", agent_type="w", dependencies=("a",), run_if="all_done"),  # type: ignore[arg-type]
    )
    written = Workflow(name="w", tasks=tasks)
    read = msgspec.json.decode(msgspec.json.encode(written), type=Workflow)
    histories = []
    for workflow in (written, read):
        play = Play(workflow)
        play.start()
        for task in "ab":
            play.grant(task)
            play.fail(task)
        play.run("c")
        assert str(play.status) == "completed"
        histories.append([events for _, _, events in play.rows])
    assert histories[0] == histories[1]
