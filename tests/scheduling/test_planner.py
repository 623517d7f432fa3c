"""A schedule says who does what when, on the agents and resources that there are."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podium.exceptions import InvalidInputError, WorkflowInvalidError
from podium.scheduling.planner import schedule
from podium.workflow.model import (
    AgentGroup,
    FailureAction,
    OnFailure,
    ResourceRequirements,
    Task,
    Workflow,
    WorkflowConfig,
)
from tests.workflow.test_graph import FIGURES, acyclic, read_trace


def workflow_of(*tasks: Task, **more) -> Workflow:
    return Workflow(name="w", tasks=tasks, **more)


def timed(task_id: str, seconds: float, *dependencies: str, **more) -> Task:
    return Task(id=task_id, estimated_duration=seconds, dependencies=dependencies, **more)


def check(workflow: Workflow, found, agents: int | None, one_at_a_time: bool = True) -> None:
    ends: dict[str, float] = {}
    for slot in found.slots:
        ends[slot.task] = max(ends.get(slot.task, 0.0), slot.end)
    for slot in found.slots:
        needs = workflow.task(slot.task).dependencies
        assert all(slot.start >= ends[needed] - 1e-6 for needed in needs if needed in ends)
        assert 0 <= slot.agent < found.agents
    for agent in range(found.agents) if one_at_a_time else ():
        own = sorted((slot.start, slot.end) for slot in found.slots if slot.agent == agent)
        assert all(one[1] <= other[0] + 1e-6 for one, other in pairwise(own))
    assert agents is None or found.agents == agents
    assert found.lower_bound_seconds <= found.makespan_seconds + 1e-6
    assert found.makespan_seconds == max((slot.end for slot in found.slots), default=0.0)


@settings(deadline=None)
@given(acyclic(), st.data())
def test_any_graph_is_scheduled_on_any_number_of_agents(drawn, data):
    ids, dependencies = drawn
    durations = {task: data.draw(st.sampled_from([0, 0.1, 0.3, 1, 2.5])) for task in ids}
    workflow = workflow_of(*(timed(task, durations[task], *dependencies[task]) for task in ids))
    for agents in (1, 2, None):
        found = schedule(workflow, agents)
        check(workflow, found, agents)
        assert sorted(slot.path for slot in found.slots) == sorted(ids)
        if agents == 1:
            assert found.makespan_seconds == pytest.approx(sum(durations.values()))
        if agents is None:
            assert found.makespan_seconds == pytest.approx(found.lower_bound_seconds)


def test_agents_do_one_task_at_a_time_and_the_longest_path_goes_first():
    workflow = workflow_of(timed("short", 1), timed("long", 5), timed("after", 4, "long"), timed("other", 1))
    found = schedule(workflow, 2)
    assert [(slot.path, slot.agent, slot.start) for slot in found.slots] == [
        ("long", 0, 0.0),
        ("short", 1, 0.0),
        ("other", 1, 1.0),
        ("after", 1, 5.0),
    ]
    assert (found.makespan_seconds, found.lower_bound_seconds, found.work_seconds) == (9, 9, 11)
    assert found.utilisation == {"agents": pytest.approx(11 / 18)}
    assert found.chain == ("long", "after")


def test_an_agents_resources_are_never_overdrawn():
    heavy = ResourceRequirements(cpu_cores=2, memory_mb=3_000)
    workflow = workflow_of(*(timed(f"t{n}", 10, resources=heavy) for n in range(4)))
    assert schedule(workflow, 4).makespan_seconds == 10
    assert schedule(workflow, 2).makespan_seconds == 20
    assert schedule(workflow, 2, {"cpu": 4}).makespan_seconds == 10
    assert schedule(workflow, 2, {"cpu": 3}).makespan_seconds == 20
    assert schedule(workflow, 1, {"cpu": 8, "memory_mb": 5_000}).makespan_seconds == 40
    found = schedule(workflow, None, {"cpu": 4})
    assert (found.makespan_seconds, found.agents, found.capacity) == (10, 2, {"cpu_cores": 4})
    assert found.utilisation == {"cpu": 1.0}
    assert found.rows() == (["agent 1", "", "agent 2", ""], [0, 1, 2, 3])


def test_what_says_nothing_takes_a_core_of_an_agent_that_has_some():
    workflow = workflow_of(*(timed(f"t{n}", 10) for n in range(4)))
    assert schedule(workflow, 1, {"memory": 16_000}).makespan_seconds == 40
    assert schedule(workflow, 1, {"cpu": 4}).makespan_seconds == 10
    assert schedule(workflow, 1, {"cpu": 0.5}).makespan_seconds == 40


@settings(deadline=None)
@given(acyclic(), st.data())
def test_tasks_lie_on_agents_that_have_room_for_them(drawn, data):
    ids, dependencies = drawn
    cores = {task: data.draw(st.integers(0, 3)) for task in ids}
    workflow = workflow_of(
        *(timed(task, 1 + n % 3, *dependencies[task], resources=ResourceRequirements(cpu_cores=cores[task]))
          for n, task in enumerate(ids))
    )  # fmt: skip
    found = schedule(workflow, 2, {"cpu": 3})
    check(workflow, found, 2, one_at_a_time=False)
    for slot in found.slots:
        at_once = [o for o in found.slots if o.agent == slot.agent and o.start <= slot.start < o.end]
        assert sum(cores[other.task] or 1 for other in at_once) <= 3
    names, rows = found.rows()
    for at, (slot, row) in enumerate(zip(found.slots, rows, strict=True)):
        assert names[row] in ("", f"agent {slot.agent + 1}")
        for other, its_row in zip(found.slots[:at], rows[:at], strict=True):
            assert row != its_row or other.end <= slot.start or slot.end <= other.start


def test_what_needs_more_than_there_is_is_refused_by_name():
    workflow = workflow_of(timed("big", 1, resources=ResourceRequirements(cpu_cores=8, gpu_count=1)))
    assert schedule(workflow).makespan_seconds == 1
    with pytest.raises(InvalidInputError, match="'big' needs 8 cpu_cores, and an agent has 4"):
        schedule(workflow, 2, {"cpu": 4})
    with pytest.raises(InvalidInputError, match="'big' needs 1 gpu_count, and an agent has 0"):
        schedule(workflow, 2, {"cpu": 8})
    for agents in (0, 10_001):
        with pytest.raises(InvalidInputError, match="1 to 10,000 agents"):
            schedule(workflow, agents)


def test_instances_are_scheduled_one_by_one_within_their_limit():
    workflow = workflow_of(
        timed("all", 2, for_each=[1, 2, 3, 4], max_parallel=2),
        timed("none", 9, for_each=[]),
        timed("some", 1, for_each="${input.l}"),
        timed("each", 3, parallel=True, agent="crew"),
        timed("last", 1, "all", "none", "some", "each"),
        agents={"crew": AgentGroup(name="crew", type="noop", count=3)},
    )
    found = schedule(workflow, 8)
    check(workflow, found, 8)
    paths = [slot.path for slot in found.slots]
    assert sorted(paths) == sorted(
        [*(f"all[{n}]" for n in range(4)), *(f"each[{n}]" for n in range(3)), "some", "last"]
    )
    assert found.makespan_seconds == 5
    assert schedule(workflow, 1).makespan_seconds == 4 * 2 + 1 + 3 * 3 + 1


def test_the_workflows_own_limit_bounds_all():
    workflow = workflow_of(*(timed(f"t{n}", 1) for n in range(6)), config=WorkflowConfig(max_parallel_tasks=2))
    found = schedule(workflow, 6)
    assert (found.makespan_seconds, found.lower_bound_seconds) == (3, 3)


def test_a_fallback_is_not_scheduled():
    workflow = workflow_of(timed("a", 1, on_failure=OnFailure(FailureAction.FALLBACK, "spare")), timed("spare", 9))
    assert [slot.path for slot in schedule(workflow, 1).slots] == ["a"]


def test_durations_may_be_given():
    workflow = workflow_of(timed("a", 1), timed("b", 1, "a"))
    assert schedule(workflow, 1, durations={"a": 7}).makespan_seconds == 8


def test_nothing_takes_no_time():
    found = schedule(workflow_of())
    assert (found.slots, found.makespan_seconds, found.agents, found.chain) == ((), 0, 0, ())
    assert found.utilisation == {"agents": 0}


def test_a_cycle_is_named():
    with pytest.raises(WorkflowInvalidError, match="a -> b -> a"):
        schedule(workflow_of(timed("a", 1, "b"), timed("b", 1, "a")))


def test_it_is_one_json_object():
    found = schedule(workflow_of(timed("a", 1), timed("b", 2)), 1, {"memory": 2}).to_dict()
    assert json.loads(json.dumps(found)) == found
    assert found["makespan_seconds"] == 3
    assert found["tasks"][0] == {"task": "b", "agent": "agent-1", "start_seconds": 0.0, "end_seconds": 2.0}


@pytest.mark.parametrize("name", FIGURES)
def test_real_workflows_take_little_longer_than_they_must(name):
    dependencies, runtimes = read_trace(name)
    workflow = workflow_of(*(Task(id=task, dependencies=tuple(before)) for task, before in dependencies.items()))
    for agents in (4, 16, None):
        found = schedule(workflow, agents, durations=runtimes)
        check(workflow, found, agents)
        assert found.lower_bound_seconds >= max(FIGURES[name][4], FIGURES[name][5] / (agents or 10**9)) - 0.051
        assert found.makespan_seconds <= 1.5 * found.lower_bound_seconds
        chain = list(found.chain)
        assert found.makespan_seconds == pytest.approx(sum(runtimes[task] for task in chain), rel=1e-6)
