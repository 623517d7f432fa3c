"""Graphs that grow: what a result may add, what is refused, and that nothing else changes by it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from podium.engine import events as ev
from podium.engine import growing
from podium.engine import inputs as inp
from podium.engine.codec import decode_input
from podium.engine.expansions import MAX_BYTES, without_growth
from podium.engine.grown import GrownDefinition, regrown
from podium.engine.inputs import Growth
from podium.engine.snapshot import decode_state, encode_state
from podium.engine.values import NULL
from podium.workflow.expressions import compiler, templates
from podium.workflow.model import (
    AgentGroup,
    Compensation,
    FailureAction,
    InputParameter,
    OnFailure,
    RetryPolicy,
    Secret,
    Task,
    Workflow,
    WorkflowConfig,
)
from podium.workflow.validation import problems_of
from tests.engine.counting import calls_of
from tests.engine.playing import ID, Play, check_history, check_state
from tests.engine.workflows import draw_input, wind_down, workflows

_QUICK = settings(max_examples=120, deadline=None, report_multiple_bugs=False, suppress_health_check=list(HealthCheck))
_LONG = settings(max_examples=300, deadline=None, report_multiple_bugs=False, suppress_health_check=list(HealthCheck))


def planned(*more: Task, **about: Any) -> Play:
    """A planner that may grow the graph, a report behind it, and a task that runs beside them."""
    tasks = (
        Task(id="plan", agent="team", grows=True, payload={}),
        Task(id="report", agent="team", dependencies=("plan",)),
        Task(id="beside", agent="team"),
        *more,
    )
    group = {"team": AgentGroup("team", "worker", 2), "other": AgentGroup("other", "clerk")}
    play = Play(Workflow(name="w", tasks=tasks, agents=group, **about))
    play.start()
    play.grant("plan")
    return play


def expansion(*tasks: dict[str, Any], result: Any = None, **dependencies: list[str]) -> dict[str, Any]:
    return {"$expansion": {"tasks": list(tasks), "dependencies": dependencies, "result": result}}


def part(name: str, *depends_on: str, **more: Any) -> dict[str, Any]:
    return {"id": name, "agent": "team", "depends_on": list(depends_on), **more}


def whole(play: Play) -> Workflow:
    """Return the graph as it is now, as one workflow."""
    workflow = play.definition.workflow
    specs = tuple(compiled.spec for compiled in play.state.definition.tasks.values())
    return Workflow(name="whole", tasks=specs, agents=workflow.agents, inputs=workflow.inputs)


def refusal_of(play: Play, value: Any, task: str = "plan") -> str:
    """Grow in a way that is refused, and return why."""
    before = list(play.state.definition.tasks)
    events = play.succeed(task, value)
    failed = next(e for e in events if isinstance(e, ev.AttemptFailed))
    assert (failed.error.type, failed.error.retryable, failed.how) == ("GrowthRefused", False, "error")
    assert any(isinstance(e, ev.TaskFailed) and e.task == task for e in events)
    assert list(play.state.definition.tasks) == before
    check_state(play)
    check_history(play)
    return failed.error.message


# --- what grows ------------------------------------------------------------------------------------------------------


def test_added_tasks_run_and_what_waits_for_them_waits():
    play = planned()
    events = play.succeed("plan", expansion(part("a", "plan"), part("b", "a"), result=7, report=["b"]))
    grown_ = next(e for e in events if isinstance(e, ev.GraphGrown))
    assert [task.id for task in grown_.tasks] == ["a", "b"]
    assert grown_.dependencies == {"report": ("b",)}
    assert "a" in play.ready()
    assert play.status_of("report") == "pending"
    play.run("a")
    play.run("b")
    assert "report" in play.ready()
    play.run("report")
    play.run("beside")
    assert str(play.status) == "completed"
    check_state(play)
    check_history(play)


def test_an_expansion_that_adds_nothing_is_a_plain_result():
    play = planned()
    events = play.succeed("plan", expansion(result={"n": 1}))
    assert not any(isinstance(e, ev.GraphGrown) for e in events)
    result = play.state.tasks["plan"].result
    assert result is not None
    assert bytes(result.json) == b'{"n":1}'


def test_only_the_execution_that_grows_is_changed():
    play = planned()
    other = planned()
    play.succeed("plan", expansion(part("a"), report=["a"]))
    assert "a" not in play.definition.tasks
    assert play.definition.tasks["report"].spec.dependencies == ("plan",)
    assert list(play.definition.tasks["plan"].dependents) == ["report"]
    other.succeed("plan", 1)
    assert "report" in other.ready()


def test_added_tasks_grow_in_their_turn():
    play = planned()
    play.succeed("plan", expansion(part("a", grows=True), report=["a"]))
    play.grant("a")
    play.succeed("a", expansion(part("c", "a"), report=["c"]))
    assert isinstance(play.state.definition, GrownDefinition)
    assert play.state.definition.depths == {"a": 1, "c": 2}
    wind_down(play)
    assert play.status_of("c") == "completed"
    check_history(play)


def test_each_policy_works_for_added_tasks():
    play = planned()
    play.succeed(
        "plan",
        expansion(
            part("shaky", retry={"max_attempts": 2, "initial_delay": "1s", "jitter": 0}, priority="high"),
            part("spare"),
            part("doomed", on_failure={"fallback": "spare"}),
            part("never", "plan", when="tasks.plan.result.go"),
            part("after", "never", run_if="all_done", input={"was": "${tasks.never.status}"}),
            part("tolerated", on_failure="continue", timeout="1m"),
            part("each", for_each=[1, 2], max_parallel=1),
            result={"go": False},
        ),
    )
    assert play.state.tasks["shaky"].compiled.priority == 75
    play.grant("shaky")
    play.fail("shaky")
    assert play.status_of("shaky") == "retrying"
    play.grant("doomed")
    play.fail("doomed")
    assert "spare" in play.ready()
    assert play.status_of("never") == "skipped"
    assert "after" in play.ready()
    play.grant("tolerated")
    play.fail("tolerated")
    assert play.status_of("each[0]") == "ready"
    assert "each[1]" not in play.state.tasks
    wind_down(play)
    assert str(play.status) == "completed"
    assert play.state.partial
    check_history(play)


def test_tasks_may_be_written_as_a_mapping_and_waiting_as_dependencies():
    play = planned()
    value = {"$expansion": {"tasks": {"a": {"agent": "team"}, "b": {"agent": "clerk"}}, "dependencies": {"b": ["a"]}}}
    play.succeed("plan", value)
    assert play.state.definition.tasks["b"].spec.dependencies == ("a",)
    assert play.state.definition.tasks["b"].agent_type == "clerk"


def test_instances_give_their_additions_names_of_their_own():
    each = Task(id="each", agent="team", for_each=[5, 6], grows=True, payload={})
    play = planned(each)
    play.grant("each[0]", "each[1]")
    for index in (0, 1):
        play.succeed(
            f"each[{index}]",
            expansion(
                part("draft", for_each="input.items", on_failure={"fallback": "else"}),
                part("else"),
                part("check", "draft", input={"of": "${tasks.draft.result}, ${tasks['draft'].status}"}, when="1 < 2"),
                part("third", "check", when="${tasks.check.result == None}", for_each=["${tasks.check.result}"]),
                report=["check"],
            ),
        )
    tasks = play.state.definition.tasks
    check = tasks["each.1.check"].spec
    assert check.payload == {"of": "${tasks['each.1.draft'].result}, ${tasks['each.1.draft'].status}"}
    assert (check.name, check.function) == ("each.1.check", "check")
    assert tasks["each.0.draft"].fallback == "each.0.else"
    assert tasks["each.0.third"].spec.when == "${tasks['each.0.check'].result == None}"
    assert tasks["report"].spec.dependencies == ("plan", "each.0.check", "each.1.check")
    assert not problems_of(whole(play))
    check_state(play)
    check_history(play)


def test_results_of_added_tasks_are_read_and_are_the_executions():
    play = planned()
    play.succeed("plan", expansion(part("a"), part("b", "a", input={"x": "${tasks.a.result.n}"})))
    play.run("a", {"n": 3})
    assert bytes(_arguments(play, "b")) == b'{"x":3}'
    wind_down(play)
    from podium.engine.assignments import execution_result

    assert set(msgspec.json.decode(execution_result(play.state))) == {"report", "beside", "b"}


def _arguments(play: Play, task: str) -> Any:
    from podium.engine.assignments import arguments_of

    return arguments_of(play.state, play.state.tasks[task])


def test_who_has_grown_before_and_says_the_same_again_adds_nothing():
    play = planned(Task(id="again", agent="team", grows=True))
    play.succeed("plan", expansion(part("a"), report=["a"]))
    task = play.state.tasks["plan"]
    again = without_growth(msgspec.json.encode(expansion(part("a"), report=["a"])))[1]
    assert again is not None
    assert growing.growth_of(play.state, task, 2, again) == []
    other = without_growth(msgspec.json.encode(expansion(part("a", priority=3))))[1]
    assert other is not None
    with pytest.raises(growing.GrowthRefused, match="already"):
        growing.growth_of(play.state, task, 2, other)


def test_who_says_the_same_again_is_understood_though_another_put_something_before_it():
    play = planned(Task(id="more", agent="team", grows=True, payload={}))
    play.succeed("plan", expansion(part("x", "beside")))
    play.run("more", expansion(part("y"), x=["y"]))
    for each in ("beside", "y", "x", "report"):
        play.run(each)
    play.give(inp.Retry(from_task="plan"))
    events = play.run("plan", expansion(part("x", "beside")))
    assert not any(isinstance(e, ev.GraphGrown) for e in events)
    assert play.status_of("plan") == "completed"
    assert play.state.definition.tasks["x"].spec.dependencies == ("beside", "y")
    wind_down(play)
    check_history(play)


def test_what_doesnt_count_is_refused_without_being_read(monkeypatch):
    """An agent whose task may add nothing costs no more than its result does."""

    def read(*_: Any) -> None:
        raise AssertionError("it was read")

    monkeypatch.setattr(growing, "_read_to_decide", read)
    play = planned()
    play.grant("beside")
    growth = Growth(tasks=(Task(id="a", agent="team", when="input.go"),))
    assert growing.texts_wanted(play.state, inp.Succeeded("beside", 1, NULL, growth)) == []
    assert growing.texts_wanted(play.state, inp.Succeeded("plan", 7, NULL, growth)) == []
    assert growing.texts_wanted(play.state, inp.Succeeded("nothing", 1, NULL, growth)) == []
    with pytest.raises(AssertionError):
        growing.texts_wanted(play.state, inp.Succeeded("plan", 1, NULL, growth))


def test_a_superseded_attempt_grows_nothing():
    play = planned()
    play.give(play.begun)
    play.succeed("plan", 1)
    events = play.succeed("plan", expansion(part("a")), number=1)
    assert not any(isinstance(e, ev.GraphGrown) for e in events)


# --- what is refused -------------------------------------------------------------------------------------------------

_REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "cycle among what is added": (expansion(part("a", "b"), part("b", "a")), "tasks wait for each other: a -> b -> a"),
    "cycle by way of what is there": (expansion(part("a", "report"), report=["a"]), "wait for each other"),
    "cycle of what is there": (expansion(beside2=["end"]), "tasks wait for each other: end -> beside2 -> end"),
    "itself": (expansion(part("a", "a")), 'task "a" depends on itself'),
    "unknown dependency": (expansion(part("a", "pan")), 'depends on "pan", which is no task; did you mean "plan"?'),
    "unknown reference": (expansion(part("a", "plan", input={"x": "${tasks.plam.result}"})), 'did you mean "plan"?'),
    "unknown waiting": (expansion(part("a"), reprot=["a"]), 'dependencies has "reprot", which is no task; did you'),
    "unknown to be waited for": (expansion(report=["z"]), 'task "report" is to depend on "z", which is no task'),
    "reads without waiting": (expansion(part("a", input={"x": "${tasks.beside.result}"})), "doesn't wait for it"),
    "id twice": (expansion(part("a"), part("a")), 'two tasks have the id "a"'),
    "id of a task that is there": (expansion(part("beside")), 'there is a task "beside" already'),
    "wrong id": (expansion(part("a b")), "task id"),
    "unknown agent": (expansion({"id": "a", "agent": "taem"}), 'no agent "taem"; did you mean "team"?'),
    "unknown agent type": (expansion({"id": "a", "agent_type": "spy"}), 'the workflow has no agent "spy"; it has'),
    "no agent": (expansion({"id": "a"}), 'task "a" has no agent'),
    "unknown field": (expansion(part("a", inputs={})), 'has no field "inputs"; did you mean "input"?'),
    "wrong kind": (expansion(part("a", priority="urgent")), "priority"),
    "expression": (expansion(part("a", when="1 +")), "expression"),
    "expression in an argument": (expansion(part("a", input={"x": "${1 +}"})), "expression"),
    "fallback that is there": (expansion(part("a", on_failure={"fallback": "beside"})), "isn't added together with it"),
    "unknown fallback": (expansion(part("a", on_failure={"fallback": "b"})), 'falls back to "b", which is no task'),
    "undeclared input": (expansion(part("a", input={"x": "${input.topik}"})), 'did you mean "topic"?'),
    "not a list": ({"$expansion": {"tasks": 3}}, "tasks must be a list of tasks"),
    "not a mapping": ({"$expansion": {"dependencies": ["a"]}}, "dependencies must be a mapping"),
    "list of a number": ({"$expansion": {"dependencies": {"report": 3}}}, "must be a list of texts"),
    "unknown part": ({"$expansion": {"task": []}}, 'an expansion has no field "task"; did you mean "tasks"?'),
    "no object": ({"$expansion": 3}, "the expansion can't be read"),
    "what JSON can't keep": ({"$expansion": {"tasks": [part("a", input={"n": 2**70})]}}, "too large"),
}


@pytest.mark.parametrize("what", _REFUSED)
def test_what_is_wrong_is_refused_by_name(what):
    value, expected = _REFUSED[what]
    more = (
        Task(id="beside2", agent="team", dependencies=("beside",)),
        Task(id="end", agent="team", dependencies=("beside2",)),
    )
    play = planned(*more, inputs=(InputParameter("topic", required=False),))
    assert expected in refusal_of(play, value)


def test_a_task_that_may_not_grow_is_told_so():
    play = planned()
    play.grant("beside")
    assert "grows: true" in refusal_of(play, expansion(part("a")), "beside")


def test_nothing_is_put_before_what_has_begun():
    play = planned()
    assert 'task "beside" is ready already' in refusal_of(play, expansion(part("a"), beside=["a"]))
    play = planned()
    assert 'task "plan" is running already' in refusal_of(play, expansion(part("a"), plan=["a"]))


@pytest.mark.parametrize(
    ("name", "most", "expected"),
    [("MAX_ADDED", 1, "added by one result"), ("MAX_TASKS", 4, "in the execution"), ("MAX_EDGES", 1, "dependencies"),
     ("MAX_DEPTH", 0, "each by a task of the one before")],
)  # fmt: skip
def test_limits_are_kept(monkeypatch, name, most, expected):
    monkeypatch.setattr(growing, name, most)
    value = expansion(part("a", "plan"), part("b", "plan"))
    assert expected in refusal_of(planned(), value)


def test_more_texts_than_stay_compiled_are_refused():
    texts = ["${input.x}"] * growing.MAX_TEXTS
    refused = refusal_of(planned(), expansion(part("a", when="1 > 0", input={"x": texts})))
    assert refused == "there would be 10,001 texts with ${…} added by one result; at most 10,000 are allowed"
    for compile_one in (compiler.compile_expression, templates._compile_text):
        assert (compile_one.cache_info().maxsize or 0) > growing.MAX_TEXTS


def test_an_expansion_without_end_is_refused():
    big = expansion(part("a", input={"x": "y" * MAX_BYTES}))
    assert "bytes; at most 1,048,576 are allowed" in refusal_of(planned(), big)


def test_a_refused_growth_may_be_tolerated():
    play = planned(Task(id="try", agent="team", grows=True, on_failure=OnFailure(FailureAction.CONTINUE),
                        retry=RetryPolicy(max_attempts=5)))  # fmt: skip
    play.grant("try")
    refusal_of(play, expansion(part("a", "nobody")), "try")
    assert play.status_of("try") == "failed"
    play.succeed("plan", 1)
    wind_down(play)
    assert str(play.status) == "completed"


def test_an_object_with_other_keys_is_a_plain_result():
    for text in (b'{"$expansion": 1, "b": 2}', b'{"a": {"$expansion": {}}}', b'"$expansion"', b"[]"):
        assert without_growth(text) == (text, None)


# --- at any time -----------------------------------------------------------------------------------------------------


def test_it_grows_while_it_is_paused_and_while_it_fails():
    play = planned()
    play.grant("beside")
    from podium.engine import inputs as inp

    play.give(inp.Pause())
    play.succeed("plan", expansion(part("a"), report=["a"]))
    check_state(play)
    play.fail("beside")
    play.give(inp.Retry())
    check_state(play)
    wind_down(play)
    assert play.status_of("a") == "completed"
    check_history(play)


def test_a_waiting_task_of_a_full_execution_waits_for_more():
    """It could start but for `max_parallel_tasks`, and then it can't."""
    tasks = (
        Task(id="plan", agent="team", grows=True),
        Task(id="late", agent="team"),
    )
    group = {"team": AgentGroup("team", "worker")}
    play = Play(Workflow(name="w", tasks=tasks, agents=group, config=WorkflowConfig(max_parallel_tasks=1)))
    play.start()
    play.grant("plan")
    play.succeed("plan", expansion(part("a"), late=["a"]))
    assert play.ready() == ["a"]
    check_state(play)
    wind_down(play)
    check_history(play)


def test_a_grown_state_restored_upon_itself_grows_no_further():
    play = planned()
    play.succeed("plan", expansion(part("a"), report=["a"]))
    encoded = encode_state(play.state)
    again = decode_state(ID, "t", play.state.definition, encoded)
    assert encode_state(again) == encoded
    assert regrown(play.state.definition, ()) is play.definition
    assert isinstance(again.definition, GrownDefinition)


def test_growing_costs_what_is_added_not_what_is_there():
    def grown_once(count: int) -> int:
        tasks = (Task(id="plan", agent_type="w", grows=True), *(Task(id=f"t{i}", agent_type="w") for i in range(count)))
        play = Play(Workflow(name="w", tasks=tasks))
        play.start()
        play.run("plan", {"$expansion": {"tasks": [{"id": "a", "agent": "w", "grows": True}]}})  # copies what is shared
        play.grant("a")
        value = {"$expansion": {"tasks": [{"id": f"b{i}", "agent": "w", "depends_on": ["a"]} for i in range(20)]}}
        return calls_of(lambda: play.succeed("a", value))

    assert grown_once(2_000) <= grown_once(200) * 1.3


# --- any sequence ----------------------------------------------------------------------------------------------------


def _check_growths(draw: st.DataObject, most: int) -> None:
    play = Play(draw.draw(workflows()), seed=draw.draw(st.integers(0, 99)), given={"go": True})
    play.start()
    for _ in range(draw.draw(st.integers(0, most))):
        play.give(draw_input(draw, play))
        check_state(play)
        assert not problems_of(whole(play)), "the graph as it is now is a valid workflow"
    check_history(play)
    again = Play(play.definition.workflow)
    for now_us, given_, events in play.rows:
        again.now_us = now_us
        again.give(decode_input(given_))
        assert msgspec.json.decode(again.rows[-1][2]) == msgspec.json.decode(events)
    wind_down(play)
    check_history(play)


@given(st.data())
@_QUICK
def test_any_sequence_of_growths_keeps_the_graph_valid_and_is_replayed_the_same(draw):
    _check_growths(draw, 40)


@pytest.mark.slow
@given(st.data())
@_LONG
def test_any_long_sequence_of_growths_keeps_the_graph_valid_and_is_replayed_the_same(draw):
    _check_growths(draw, 120)


def test_what_is_shared_is_copied_once():
    play = planned()
    shared = play.definition.tasks["plan"]
    play.succeed("plan", expansion(part("a", "plan", grows=True)))
    own = play.state.definition.tasks["plan"]
    assert own is not shared
    assert play.state.tasks["plan"].compiled is own
    play.run("a", expansion(part("b", "plan")))
    assert play.state.definition.tasks["plan"] is own


def test_a_result_cant_ask_for_secrets_whatever_it_was_made_of():
    play = planned(secrets=(Secret("token"),))
    said = refusal_of(play, expansion(part("a", input={"text": "${secret.token}"})))
    assert "task \"a\" asks for secret.token, which only the file's tasks may; a role's env may have it" in said


@pytest.mark.parametrize("more", [{"cache": "k"}, {"compensation": "report"}])
def test_what_is_recorded_of_files_tasks_cant_be_added(more):
    assert "which only the file's tasks have" in refusal_of(planned(), expansion(part("a", **more)))


def test_roles_with_secrets_and_tasks_that_undo_others_dont_keep_a_graph_from_growing():
    undo = Task(id="undo", agent="team", dependencies=("beside",))
    team = AgentGroup("team", "worker", 2, env={"TOKEN": "${secret.token}"})
    tasks = (
        Task(id="plan", agent="team", grows=True, payload={}),
        Task(id="beside", agent="team", compensation=Compensation(task="undo")),
        undo,
    )
    play = Play(Workflow(name="w", tasks=tasks, agents={"team": team}, secrets=(Secret("token"),)))
    play.start()
    play.grant("plan")
    play.succeed("plan", expansion(part("a", "beside")))
    assert play.state.definition.tasks["a"].env == (("TOKEN", "${secret.token}"),)
    play.run("beside")
    play.run("a")
    assert play.status_of("undo") == "skipped"
    assert str(play.status) == "completed"
    check_history(play)
