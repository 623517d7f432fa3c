"""A plan foresees stages, the critical path, work and resources, and says where its durations come from."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.exceptions import WorkflowInvalidError
from podium.workflow.model import (
    AgentGroup,
    Constraint,
    ConstraintType,
    FailureAction,
    OnFailure,
    ResourceRequirements,
    Task,
    Workflow,
    WorkflowConfig,
)
from podium.workflow.plan import Estimates, ExecutionPlan, ExecutionStage, plan
from tests.workflow.cpu_time import cpu_seconds
from tests.workflow.test_graph import FIGURES, acyclic, read_trace

RESEARCH = Workflow(
    name="multi_agent_research",
    agents={
        "supervisor": AgentGroup(name="supervisor", type="supervisor_agent"),
        "researchers": AgentGroup(name="researchers", type="research_agent", count=3),
    },
    tasks=(
        Task(id="decompose", agent="supervisor"),
        Task(id="research", agent="researchers", dependencies=("decompose",), parallel=True),
        Task(id="synthesize", agent="supervisor", dependencies=("research",)),
    ),
)


def workflow_of(*tasks: Task, **more: Any) -> Workflow:
    return Workflow(name="w", tasks=tasks, **more)


def test_the_plan_of_document_004s_research():
    found = plan(RESEARCH)
    assert [[task.id for task in stage.tasks] for stage in found.stages] == [
        ["decompose"],
        ["research"],
        ["synthesize"],
    ]
    assert [stage.stage_number for stage in found.stages] == [1, 2, 3]
    assert [stage.max_parallelism for stage in found.stages] == [1, 3, 1]
    assert found.workflow_id == RESEARCH.id
    assert found.critical_path == ("decompose", "research", "synthesize")
    assert (found.estimated_duration, found.work_seconds, found.estimates) == (3, 5, Estimates.UNIT)
    assert found.parallelism_factor == pytest.approx(5 / 3)
    assert found.instances == {"research": 3}


def test_what_is_printed_is_one_json_object_with_the_promised_keys():
    printed = plan(RESEARCH, {"research": 10}).to_dict()
    assert json.loads(json.dumps(printed)) == printed
    assert printed == {
        "workflow_id": RESEARCH.id,
        "tasks": 3,
        "edges": 2,
        "depth": 3,
        "critical_path": ["decompose", "research", "synthesize"],
        "critical_path_seconds": 12.0,
        "work_seconds": 32.0,
        "parallelism_factor": 32 / 12,
        "estimates": "partly given",
        "stages": [
            {"stage_number": 1, "tasks": ["decompose"], "max_parallelism": 1, "estimated_duration": 1.0},
            {"stage_number": 2, "tasks": ["research"], "max_parallelism": 3, "estimated_duration": 10.0},
            {"stage_number": 3, "tasks": ["synthesize"], "max_parallelism": 1, "estimated_duration": 1.0},
        ],
        "durations": {"decompose": 1.0, "research": 10.0, "synthesize": 1.0},
        "slack_seconds": {"decompose": 0.0, "research": 0.0, "synthesize": 0.0},
        "instances": {"research": 3},
        "fallbacks": [],
        "resources": {},
    }


def test_document_002s_fields_are_all_there():
    assert {"workflow_id", "stages", "critical_path", "estimated_duration", "parallelism_factor"} < set(
        ExecutionPlan.__struct_fields__
    )
    assert set(plan(RESEARCH).stages[0].__struct_fields__) == {
        "stage_number",
        "tasks",
        "max_parallelism",
        "estimated_duration",
    }


@given(acyclic(), st.data())
def test_work_path_and_stages_hold_together(drawn, data):
    ids, dependencies = drawn
    durations = {task: data.draw(st.integers(0, 9)) for task in ids}
    found = plan(workflow_of(*(Task(id=task, dependencies=tuple(dependencies[task])) for task in ids)), durations)
    assert found.work_seconds == sum(durations.values())
    assert found.estimated_duration == sum(durations[task] for task in found.critical_path)
    assert found.estimated_duration <= sum(stage.estimated_duration for stage in found.stages)
    assert sorted(task.id for stage in found.stages for task in stage.tasks) == sorted(ids)
    if found.estimated_duration:
        assert found.parallelism_factor == found.work_seconds / found.estimated_duration
        assert 1 <= found.parallelism_factor <= len(ids)


def test_durations_are_the_arguments_or_the_metadatas_or_a_second():
    told = workflow_of(Task(id="a"), Task(id="b"), metadata={"durations": {"a": "5m", "b": 2}})
    assert plan(told).durations == {"a": 300, "b": 2}
    assert plan(told).estimates is Estimates.GIVEN
    assert plan(told, {"a": 7}).durations == {"a": 7, "b": 1}
    estimated = workflow_of(
        Task(id="a", estimated_duration=3.5), Task(id="b"), metadata={"durations": {"a": 9, "b": 2}}
    )
    assert plan(estimated).durations == {"a": 3.5, "b": 2}
    assert plan(told, {"a": 7}).estimates is Estimates.PARTLY_GIVEN
    assert plan(told, {}).estimates is Estimates.UNIT
    assert plan(workflow_of(Task(id="a"), metadata={"durations": "soon"})).estimates is Estimates.UNIT


def test_durations_that_are_none_are_refused():
    with pytest.raises(WorkflowInvalidError, match=r"metadata\.durations.*such as \"30s\""):
        plan(workflow_of(Task(id="a"), metadata={"durations": {"a": "soon"}}))
    for seconds in (-1, float("nan"), float("inf")):
        with pytest.raises(WorkflowInvalidError, match="duration of the task 'a'"):
            plan(workflow_of(Task(id="a")), {"a": seconds})


def test_fan_outs_count_their_instances_where_they_are_known():
    found = plan(
        workflow_of(
            Task(id="listed", for_each=[1, 2, 3, 4, 5], max_parallel=2),
            Task(id="none", for_each=[]),
            Task(id="later", for_each="${input.l}"),
            Task(id="alone", parallel=True),
        )
    )
    assert found.instances == {"listed": 5, "none": 0, "later": None, "alone": None}
    assert found.durations == {"listed": 3, "none": 0, "later": 1, "alone": 1}
    assert found.work_seconds == 7
    assert found.stages[0].max_parallelism == 2 + 1 + 1 + 1
    printed = found.to_dict()
    assert printed["instances"]["later"] == "dynamic"
    assert printed["stages"][0]["dynamic"] == ["later", "alone"]


def test_a_fallback_takes_no_time_until_it_is_needed():
    found = plan(
        workflow_of(
            Task(id="a", on_failure=OnFailure(FailureAction.FALLBACK, "spare")), Task(id="spare"), Task(id="b")
        ),
        {"spare": 100},
    )
    assert found.fallbacks == ("spare",)
    assert (found.work_seconds, found.estimated_duration) == (2, 1)


def test_limits_of_the_whole_bound_each_stage():
    tasks = [Task(id=f"t{n}") for n in range(9)]
    assert plan(workflow_of(*tasks)).stages[0].max_parallelism == 9
    assert plan(workflow_of(*tasks, config=WorkflowConfig(max_parallel_tasks=4))).stages[0].max_parallelism == 4
    limit = Constraint(ConstraintType.MAX_PARALLEL, 3)
    assert plan(workflow_of(*tasks, constraints=(limit,))).stages[0].max_parallelism == 3


def test_the_peak_of_each_resource_is_what_runs_at_once():
    big = ResourceRequirements(cpu_cores=2, memory_mb=4000, disk_mb=10, gpu_count=1, custom_resources={"licence": 1})
    small = ResourceRequirements(cpu_cores=0.5, memory_mb=500, network_bandwidth_mbps=100)
    found = plan(
        workflow_of(
            Task(id="a", resources=big),
            Task(id="b", resources=big, dependencies=("a",)),
            Task(id="c", resources=small, for_each=[1, 2, 3], max_parallel=2),
            Task(id="d", dependencies=("a",)),
        ),
        {"a": 0.1, "b": 0.2, "c": 0.2, "d": 5},
    )
    assert found.resource_requirements == ResourceRequirements(
        cpu_cores=3,
        memory_mb=5000,
        disk_mb=10,
        gpu_count=1,
        network_bandwidth_mbps=200,
        custom_resources={"licence": 1},
    )


def test_a_plan_of_nothing_is_empty():
    found = plan(Workflow(name="w"))
    assert (found.depth, found.estimated_duration, found.parallelism_factor, found.work_seconds) == (0, 0, 0, 0)
    assert plan(workflow_of(Task(id="a")), {"a": 0}).parallelism_factor == 1


def test_a_cycle_is_named():
    with pytest.raises(WorkflowInvalidError, match="a -> b -> a"):
        plan(workflow_of(Task(id="a", dependencies=("b",)), Task(id="b", dependencies=("a",))))


@pytest.mark.parametrize("name", FIGURES)
def test_plans_of_real_workflows_have_their_known_figures(name):
    dependencies, runtimes = read_trace(name)
    tasks = [Task(id=task, dependencies=tuple(before)) for task, before in dependencies.items()]
    printed = plan(workflow_of(*tasks), runtimes).to_dict()
    count, edges, depth, widest, path_seconds, work_seconds = FIGURES[name]
    assert (printed["tasks"], printed["edges"], printed["depth"]) == (count, edges, depth)
    assert max(stage["max_parallelism"] for stage in printed["stages"]) == widest
    assert printed["critical_path_seconds"] == pytest.approx(path_seconds, abs=0.051)
    assert printed["work_seconds"] == pytest.approx(work_seconds, abs=0.051)
    assert printed["estimates"] == "given"


def test_document_002s_plan_can_be_made_of_its_own_fields_alone():
    stage = ExecutionStage(stage_number=1, tasks=(Task(id="a"),), max_parallelism=1, estimated_duration=3)
    found = ExecutionPlan(
        workflow_id="w",
        stages=(stage,),
        critical_path=("a",),
        estimated_duration=3,
        parallelism_factor=1.0,
        resource_requirements=ResourceRequirements(cpu_cores=2),
    )
    assert found.depth == 1
    assert found.to_dict()["resources"] == {"cpu_cores": 2}


def test_networkx_gets_what_the_plan_knows_of_each_task():
    graph = plan(RESEARCH, {"research": 10}).to_networkx()
    assert graph.nodes["research"] == {"stage": 2, "duration": 10.0, "slack": 0.0, "critical": True}
    assert list(graph.edges) == [("decompose", "research"), ("research", "synthesize")]


def test_a_thousand_tasks_are_planned_quickly():
    tasks = tuple(
        Task(
            id=f"t{n}",
            resources=ResourceRequirements(cpu_cores=1),
            dependencies=tuple(f"t{n - back}" for back in (1, 3, 10, 40, 90) if back <= n),
        )
        for n in range(1_000)
    )
    workflow = msgspec.structs.replace(workflow_of(), tasks=tasks)

    assert cpu_seconds(lambda: plan(workflow)) < 0.025
