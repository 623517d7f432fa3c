"""What deciding costs, counted in operations: per input it doesn't grow with the workflow."""

import pytest

from podium.engine import events as ev
from podium.engine import inputs as inp
from podium.engine.snapshot import encode_state
from podium.workflow.model import FailureAction, OnFailure, RetryPolicy, Task, Workflow, WorkflowConfig
from tests.engine.counting import calls_of
from tests.engine.playing import Play, check_history, error

FEW, MANY = 200, 2_000
SLACK = 1.3


def independent(count: int, **config: int) -> Play:
    tasks = tuple(Task(id=f"t{i}", agent_type="w") for i in range(count))
    play = Play(Workflow(name="w", tasks=tasks, config=WorkflowConfig(**config)))
    play.start()
    return play


def chain(count: int) -> Play:
    tasks = [Task(id="t0", agent_type="w")]
    tasks += [Task(id=f"t{i}", agent_type="w", dependencies=(f"t{i - 1}",)) for i in range(1, count)]
    play = Play(Workflow(name="w", tasks=tuple(tasks)))
    play.start()
    return play


def fan_out(count: int, window: int | None = None) -> Play:
    task = Task(id="each", agent_type="w", for_each=list(range(count)), max_parallel=window)
    play = Play(Workflow(name="w", tasks=(task,)))
    play.start()
    return play


def calls_to_run(play: Play, tasks: list[str]) -> int:
    def work() -> None:
        for task in tasks:
            play.run(task)

    return calls_of(work)


@pytest.mark.parametrize("shape", [independent, chain], ids=["independent", "chain"])
def test_a_task_costs_the_same_in_a_workflow_ten_times_as_large(shape):
    tasks = [f"t{i}" for i in range(100)]
    few, many = calls_to_run(shape(FEW), tasks), calls_to_run(shape(MANY), tasks)
    assert many <= few * SLACK


def test_a_task_costs_the_same_under_a_limit_with_ten_times_as_many_waiting():
    def limited(count: int) -> int:
        return calls_to_run(independent(count, max_parallel_tasks=4), [f"t{i}" for i in range(50)])

    assert limited(MANY) <= limited(FEW) * SLACK


def test_what_waits_for_something_else_costs_the_same_behind_ten_times_as_many_that_want_for_room():
    def waiting(count: int) -> int:
        child = Task(id="child", workflow=Workflow(name="kid", tasks=(Task(id="x", agent_type="w"),)))
        tasks = (*(Task(id=f"t{i}", agent_type="w", retries=99) for i in range(count)), child)
        play = Play(Workflow(name="w", tasks=tasks, config=WorkflowConfig(max_parallel_tasks=1)))
        play.start()
        assert play.state.tasks["child"].child
        play.grant("t0")
        return calls_of(lambda: [play.give(inp.Tick()) for _ in range(50)])

    assert waiting(MANY) <= waiting(FEW) * SLACK


def test_an_instance_costs_the_same_in_a_fan_out_ten_times_as_large():
    instances = [f"each[{i}]" for i in range(100)]
    few, many = calls_to_run(fan_out(FEW, 10), instances), calls_to_run(fan_out(MANY, 10), instances)
    assert many <= few * SLACK


def test_who_waits_for_many_is_told_by_each_once():
    def joined(count: int) -> Play:
        tasks = [Task(id=f"t{i}", agent_type="w") for i in range(count)]
        tasks.append(Task(id="end", agent_type="w", dependencies=tuple(t.id for t in tasks)))
        play = Play(Workflow(name="w", tasks=tuple(tasks)))
        play.start()
        return play

    few = calls_to_run(joined(FEW), [f"t{i}" for i in range(FEW)])
    many = calls_to_run(joined(MANY), [f"t{i}" for i in range(MANY)])
    assert many <= few * (MANY / FEW) * SLACK


def test_a_timer_is_found_without_looking_at_all_of_them():
    def with_pauses(count: int) -> Play:
        policy = RetryPolicy(max_attempts=2, initial_delay_seconds=1_000, max_delay_seconds=1_000, jitter=0)
        tasks = [Task(id=f"t{i}", agent_type="w", retry=policy) for i in range(count)]
        tasks.append(Task(id="soon", agent_type="w", retries=3))
        play = Play(Workflow(name="w", tasks=tuple(tasks)))
        play.start()
        play.grant(*play.ready())
        for task in [*(t.id for t in tasks)]:
            play.fail(task)
        play.now_us += 2_000_000
        return play

    few, many = with_pauses(FEW), with_pauses(MANY)
    assert calls_of(many.tick) <= calls_of(few.tick) * SLACK


def test_a_fan_out_of_ten_thousand_is_one_event_and_its_instances_appear_as_the_window_reaches_them():
    task = Task(id="each", agent_type="w", for_each=list(range(10_000)), max_parallel=8)
    play = Play(Workflow(name="w", tasks=(task,)))
    events = play.start()
    assert [type(e) for e in events] == [ev.ExecutionStarted, ev.FanOutOpened, ev.InstancesReady]
    assert len(play.rows[0][2]) < 1_000, "the list isn't in the log"
    assert (len(play.state.tasks), play.state.total) == (9, 10_001)
    play.grant(*play.ready())
    assert play.succeed("each[3]") == [
        ev.TaskCompleted("each[3]", 1, play.state.tasks["each[3]"].result),
        ev.InstancesReady("each", 8, 9),
    ]


def test_a_fan_out_without_a_limit_of_its_own_has_a_thousand_instances_under_way():
    play = fan_out(10_000)
    assert play.state.in_flight == len(play.ready()) == 1_000
    play.run("each[7]")
    assert play.state.in_flight == 1_000


def test_a_fan_out_of_ten_thousand_runs_to_its_end():
    play = fan_out(10_000, 100)
    for index in range(10_000):
        play.run(f"each[{index}]", index)
    assert str(play.status) == "completed"
    assert play.state.tasks["each"].fan is not None
    assert play.state.tasks["each"].fan.completed == 10_000


def test_an_execution_of_a_hundred_thousand_tasks_starts_and_goes_on():
    play = independent(100_000)
    assert play.state.counts["ready"] == 100_000  # type: ignore[index]
    assert len(play.rows[0][2]) < 1_000_000 + 100_000 * 10
    play.run("t99999")
    assert play.state.unfinished == 99_999
    assert len(encode_state(play.state)) < 20_000_000


def test_a_hundred_thousand_tasks_under_a_limit_start_a_few():
    play = independent(100_000, max_parallel_tasks=5)
    assert len(play.ready()) == 5
    assert calls_of(lambda: play.run("t0")) < 500


def test_a_chain_of_skipped_tasks_doesnt_recurse():
    tasks = [Task(id="t0", agent_type="w", on_failure=OnFailure(FailureAction.CONTINUE))]
    tasks += [Task(id=f"t{i}", agent_type="w", dependencies=(f"t{i - 1}",)) for i in range(1, 5_000)]
    play = Play(Workflow(name="w", tasks=tuple(tasks)))
    play.start()
    play.grant("t0")
    play.give(inp.Failed("t0", 1, error()))
    assert str(play.status) == "completed"
    assert play.state.partial


def test_a_chain_of_fallbacks_may_be_long():
    count = 1_500
    tasks = [
        Task(id=f"t{i}", agent_type="w", on_failure=OnFailure(FailureAction.FALLBACK, f"t{i + 1}"))
        for i in range(count - 1)
    ]
    tasks += [Task(id=f"t{count - 1}", agent_type="w"), Task(id="end", agent_type="w", dependencies=("t0",))]
    play = Play(Workflow(name="w", tasks=tuple(tasks)))
    play.start()
    for i in range(count - 1):
        play.grant(f"t{i}")
        play.give(inp.Failed(f"t{i}", 1, error(retryable=False)))
    play.run(f"t{count - 1}", "at last")
    play.run("end")
    assert str(play.status) == "completed"
    check_history(play)
