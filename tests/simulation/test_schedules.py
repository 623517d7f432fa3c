"""Workflows on virtual time: the engine's schedule keeps every rule and is the one that is worked out by hand."""

from __future__ import annotations

import asyncio
import random
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from podium.clock import SECOND, VirtualClock
from podium.exceptions import InvalidInputError
from podium.simulation.crew import crew_for
from podium.simulation.running import Moment, simulate
from podium.simulation.schedule import SimulatedRun, task_of
from podium.simulation.virtual import ExactLoop, PacedLoop, run_on
from podium.testing.workflows import random_workflow
from podium.workflow.model import FINAL_EXECUTION, ExecutionStatus, ResourceRequirements, Task, Workflow
from podium.workflow.validation import validate
from podium.workflow.wfformat import read_trace, workflow_of
from podium.workflow.yaml import load_workflow

INSTANCES = Path(__file__).parents[2].parent / "shared" / "data" / "wfinstances"
NAMES = (
    "blast-chameleon-small-001", "soykb-chameleon-20fastq-10ch-001", "airrflow-dirt02-001",
    "1000genome-chameleon-10ch-100k-001", "epigenomics-chameleon-ilmn-2seq-100k-001",
    "montage-chameleon-2mass-04d-001",
)  # fmt: skip


def workflow(*tasks: Task, **more: Any) -> Workflow:
    return validate(Workflow(name="made", tasks=tasks, **more))


def task(name: str, seconds: float | None, *needs: str, cores: float = 0.0, memory: int = 0, **more: Any) -> Task:
    resources = ResourceRequirements(cpu_cores=cores, memory_mb=memory)
    return Task(id=name, agent_type="x", estimated_duration=seconds, dependencies=needs, resources=resources, **more)


def check(run: SimulatedRun, agents: int, cores: float = 0.0, memory: int = 0) -> None:
    """Hold a run against the rules: dependencies, capacities, each task once, the bounds."""
    assert run.succeeded
    tasks = {one.id: one for one in run.crew.workflow.tasks}
    ends = {ran.task: ran.end_seconds for ran in run.ran}
    assert sorted(ends) == sorted(tasks)
    assert len(run.ran) == len(tasks)
    for ran in run.ran:
        assert ran.seconds == pytest.approx(run.durations[ran.task], abs=1e-6)
        for needed in tasks[ran.task].dependencies:
            assert ran.start_seconds >= ends[needed] - 1e-6
    for agent in run.crew.agents:
        _check_never_over([ran for ran in run.ran if ran.agent == agent.id], tasks, cores, memory)
    assert len({ran.agent for ran in run.ran}) <= agents
    assert run.makespan_seconds >= run.lower_bound_seconds - 1e-6
    assert all(0 <= share <= 1 + 1e-9 for share in run.utilisation().values())


def _check_never_over(ran: list[Any], tasks: dict[str, Task], cores: float, memory: int) -> None:
    """At each start, what is in use with it is within the agent's limits."""
    for at in ran:
        if not at.seconds:
            continue
        now = [one for one in ran if one.start_seconds <= at.start_seconds + 1e-7 < one.end_seconds - 1e-7]
        if not cores:
            assert len(now) <= 1
        else:
            assert sum(tasks[one.task].resources.cpu_cores for one in now) <= cores + 1e-6
        assert not memory or sum(tasks[one.task].resources.memory_mb for one in now) <= memory


@st.composite
def graphs(draw: st.DrawFn) -> list[Task]:
    count = draw(st.integers(1, 14))
    made: list[Task] = []
    for at in range(count):
        needs = draw(st.lists(st.integers(0, at - 1), unique=True, max_size=3)) if at else []
        seconds = draw(st.sampled_from([0.0, 0.000001, 0.1, 0.3, 1.0, 2.5, 7.0, 55.957, 3_600.0]))
        cores = draw(st.sampled_from([0.0, 0.5, 1.0, 2.0, 4.0]))
        memory = draw(st.sampled_from([0, 1, 1_000, 4_000]))
        made.append(task(f"t{at}", seconds, *(f"t{one}" for one in needs), cores=cores, memory=memory))
    return made


@given(graphs(), st.integers(1, 5))
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
def test_agents_that_do_one_task_at_a_time_are_never_idle_without_need(tasks: list[Task], agents: int) -> None:
    bare = workflow(*(task(one.id, one.estimated_duration, *one.dependencies) for one in tasks))
    run = simulate(bare, agents)
    check(run, agents)
    # Graham (1969): who never leaves an agent idle while a task is ready is no worse than this.
    most = run.work_seconds / agents + (1 - 1 / agents) * run.critical_path_seconds
    assert run.makespan_seconds <= most + 1e-4
    foreseen = max(run.critical_path_seconds, run.work_seconds / agents)
    assert run.lower_bound_seconds == pytest.approx(foreseen, abs=1e-6)


@given(graphs(), st.integers(1, 4))
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
def test_no_agent_holds_more_than_it_has(tasks: list[Task], agents: int) -> None:
    made = workflow(*tasks)
    run = simulate(made, agents, {"cpu": 4, "memory_mb": 4_000})
    check(run, agents, 4.0, 4_000)
    assert simulate(made, agents, {"cpu": 4, "memory_mb": 4_000}).ran == run.ran  # the same each time
    one_by_one = sum(run.durations.values())
    assert run.makespan_seconds <= one_by_one + 1e-4


@pytest.mark.parametrize("name", NAMES)
def test_recorded_workflows_are_scheduled_within_their_bounds(name: str) -> None:
    path = INSTANCES / f"{name}.json"
    if not path.exists():
        pytest.skip("not run: no ../shared/data")
    trace = read_trace(path.read_bytes(), path.name)
    seconds = [one.runtime_seconds or 0.0 for one in trace.tasks]
    run = simulate(workflow_of(trace), 8)
    assert run.succeeded
    assert run.work_seconds == pytest.approx(sum(seconds), abs=1e-3)
    most = sum(seconds) / 8 + 7 / 8 * run.critical_path_seconds
    assert max(run.critical_path_seconds, sum(seconds) / 8) - 1e-3 <= run.makespan_seconds <= most + 1e-3
    larger = simulate(workflow_of(trace), 8, {"cpu": 4, "memory_mb": 16_384})
    assert larger.succeeded
    assert larger.lower_bound_seconds <= larger.makespan_seconds <= run.makespan_seconds
    assert run.guessed == 0


# --- worked out by hand ----------------------------------------------------------------------------------------------

DIAMOND = (task("a", 2), task("b", 3, "a"), task("c", 5, "a"), task("d", 1, "b", "c"))


@pytest.mark.parametrize(
    ("tasks", "agents", "capacity", "makespan"),
    [
        (DIAMOND, 1, None, 11),
        (DIAMOND, 2, None, 8),
        (DIAMOND, 9, None, 8),
        (DIAMOND, 1, {"cpu": 2}, 8),
        (tuple(task(f"t{at}", 10) for at in range(5)), 2, None, 30),
        (tuple(task(f"t{at}", 10) for at in range(5)), 2, {"cpu": 2}, 20),
        (tuple(task(f"t{at}", 10, cores=2) for at in range(4)), 1, {"cpu": 4}, 20),
        (tuple(task(f"t{at}", 10, cores=3) for at in range(4)), 1, {"cpu": 4}, 40),
        (tuple(task(f"t{at}", 10, cores=0.5) for at in range(8)), 1, {"cpu": 4}, 10),
        (tuple(task(f"t{at}", 10, memory=600) for at in range(4)), 2, {"cpu": 4, "memory_mb": 1_000}, 20),
        (tuple(task(f"t{at}", 10, memory=600) for at in range(4)), 2, {"memory_mb": 1_000}, 20),
        ((task("a", 0.1), task("b", 0.2, "a"), task("c", 0.3, "b")), 1, None, 0.6),
        ((task("a", 0), task("b", 0, "a")), 1, None, 0),
        ((task("a", None), task("b", None, "a")), 4, None, 2),
    ],
)
def test_the_makespan_is_the_one_worked_out_by_hand(
    tasks: tuple[Task, ...], agents: int, capacity: dict[str, float] | None, makespan: float
) -> None:
    run = simulate(workflow(*tasks), agents, capacity)
    assert run.makespan_seconds == pytest.approx(makespan, abs=1e-9)


def test_the_more_important_task_goes_first() -> None:
    run = simulate(workflow(task("low", 1, priority=10), task("high", 1, priority=90), task("mid", 1)), 1)
    assert [ran.task for ran in run.ran] == ["high", "mid", "low"]


def test_utilisation_and_bounds_are_those_of_what_is_offered() -> None:
    run = simulate(workflow(task("a", 10, cores=2, memory=500), task("b", 10, "a")), 1, {"cpu": 4, "memory_mb": 1_000})
    assert run.utilisation() == {"cpu": pytest.approx(30 / 80), "memory": pytest.approx(0.25)}
    assert run.lower_bound_seconds == 20
    wide = simulate(workflow(*(task(f"t{at}", 10, cores=3) for at in range(4))), 1, {"cpu": 4})
    assert (wide.lower_bound_seconds, wide.critical_path_seconds) == (30, 10)
    alone = simulate(workflow(task("a", 0)), 2)
    assert alone.utilisation() == {"agents": 0.0}


def test_what_held_the_end_up_is_a_chain_of_tasks() -> None:
    run = simulate(workflow(*DIAMOND), 2)
    assert [ran.task for ran in run.chain] == ["a", "c", "d"]
    alone = simulate(workflow(*DIAMOND), 1)
    assert [ran.task for ran in alone.chain] == ["a", "b", "c", "d"]
    nothing = simulate(workflow(task("a", 0), task("b", 0, "a"), task("c", 0)), 1)
    assert {ran.task for ran in nothing.chain} <= {"a", "b", "c"}


@given(graphs(), st.integers(1, 3))
@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.too_slow])
def test_in_a_lane_no_two_attempts_meet(tasks: list[Task], agents: int) -> None:
    run = simulate(workflow(*tasks), agents, {"cpu": 4, "memory_mb": 4_000})
    rows, lanes = run.lanes()
    assert [name for name in rows if name] == [agent.id for agent in run.crew.agents]
    last: dict[int, float] = {}
    for ran, row in zip(run.ran, lanes, strict=True):
        owner = next(name for name in reversed(rows[: row + 1]) if name)
        assert owner == ran.agent
        assert last.get(row, 0.0) <= ran.start_seconds + 1e-9
        last[row] = ran.end_seconds


# --- all that a workflow can say -------------------------------------------------------------------------------------


def test_fan_outs_conditions_and_fallbacks_run_as_the_engine_has_them() -> None:
    text = """
    name: all
    inputs: {shop: corner}
    agents:
      readers: {type: reader, count: 3, capabilities: [read]}
    tasks:
      - {id: find, agent: readers, estimated_duration: 1s, input: {shop: "${input.shop}"}}
      - {id: each, agent: readers, depends_on: [find], for_each: "${tasks.find.result.orders}", estimated_duration: 2s}
      - {id: all, agent: readers, depends_on: [each], parallel: true, estimated_duration: 4s}
      - {id: no, agent: readers, depends_on: [find], when: "tasks.find.result.total > 5", estimated_duration: 60s}
      - {id: end, agent: readers, depends_on: [all], on_failure: {fallback: spare}, estimated_duration: 1s}
      - {id: spare, agent: readers, estimated_duration: 60s}
    """
    run = simulate(load_workflow(text), given=b'{"shop":"corner"}')
    assert run.succeeded
    assert run.makespan_seconds == pytest.approx(1 + 2 + 4 + 1)
    assert sorted(ran.task for ran in run.ran) == [
        "all[0]", "all[1]", "all[2]", "each[0]", "each[1]", "each[2]", "end", "find",
    ]  # fmt: skip
    assert run.skipped == ("no", "spare")
    assert {ran.agent for ran in run.ran} == {"reader-1", "reader-2", "reader-3"}


@pytest.mark.parametrize("seed", range(40))
def test_whatever_a_workflow_says_it_comes_to_its_end_within_the_bounds(seed: int) -> None:
    drawn = random_workflow(random.Random(seed))
    for options in ({}, {"agents": 3}, {"agents": 2, "capacity": {"cpu": 4, "memory_mb": 64_000}}):
        run = simulate(drawn, given=b'{"n":1}', **options)
        assert run.status in FINAL_EXECUTION
        assert run.lower_bound_seconds <= run.makespan_seconds + 1e-6
        assert len(run.lanes()[1]) == len(run.ran) == len(run.to_dict()["tasks"])


def test_without_a_number_the_agents_are_those_that_the_workflow_asks_for() -> None:
    text = """
    name: roles
    agents:
      readers: {type: reader, count: 2, resources: {cpu: 2, memory: 4GB}}
    tasks:
      - {id: a, agent: readers, resources: {cpu: 1}, for_each: [1, 2, 3, 4, 5], estimated_duration: 10s}
      - {id: b, agent: readers, depends_on: [a], estimated_duration: 10s}
    """
    run = simulate(load_workflow(text))
    assert run.makespan_seconds == pytest.approx(30)
    assert [(agent.id, agent.slots) for agent in run.crew.agents] == [("reader-1", 2), ("reader-2", 2)]
    assert run.crew.capacity == {"cpu_cores": 2, "memory_mb": 4_000}
    anyone = crew_for(load_workflow(text), 3)
    assert [agent.type for agent in anyone.agents] == ["agent"] * 3


def test_a_task_that_any_type_may_do_has_an_agent_too() -> None:
    text = "name: any\nagents: {all: {type: '*'}}\ntasks:\n  - {id: a, agent: all, function: f}\n"
    assert simulate(load_workflow(text)).succeeded
    assert simulate(load_workflow(text), 2).succeeded


def test_a_task_that_takes_longer_than_it_may_is_timed_out_and_tried_again() -> None:
    late = task("late", 10, timeout=4.0, retries=1)
    run = simulate(workflow(late, task("after", 1, "late")), 1)
    assert run.status is ExecutionStatus.FAILED
    assert [(ran.task, ran.attempt, ran.outcome, round(ran.seconds, 6)) for ran in run.ran] == [
        ("late", 1, "timed out", 4.0),
        ("late", 2, "timed out", 4.0),
    ]
    assert run.ran[1].start_seconds > 4.0  # after the pause of its retry
    assert run.error == "late takes 10 s, and has 4 s"
    assert run.critical_path_seconds == 0


def test_a_deadline_of_the_whole_cancels_what_runs() -> None:
    run = simulate(workflow(task("a", 10), task("b", 10, "a")), 1, timeout_seconds=15.0)
    assert run.status is not ExecutionStatus.COMPLETED
    assert [(ran.task, ran.end_seconds, ran.outcome) for ran in run.ran] == [
        ("a", 10.0, "succeeded"),
        ("b", 15.0, "cancelled"),
    ]


def test_the_document_has_the_whole_schedule() -> None:
    document = simulate(workflow(*DIAMOND), 2).to_dict()
    assert (document["makespan_seconds"], document["lower_bound_seconds"], document["agents"]) == (8, 8, 2)
    assert document["capacity"] == {}
    assert simulate(workflow(*DIAMOND), 2, {"cpu": 4}).to_dict()["capacity"] == {"cpu_cores": 4}
    assert document["tasks"][0] == {
        "task": "a", "attempt": 1, "agent": "agent-1", "start_seconds": 0, "end_seconds": 2, "outcome": "succeeded",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("agents", "capacity", "problem"),
    [
        (0, None, "0 agents can't be simulated; 1 to 10,000 can"),
        (10_001, None, "10,001 agents can't be simulated"),
        (2, {"cpu": 1}, r"no agent is large enough for big \(2 cpu_cores\): raise --capacity \(an agent has 1 cpu"),
        (2, {"cpu": 4, "memory_mb": 100}, r"big \(300 memory_mb\)"),
        (2, {"cpu": 0}, "--capacity cpu: an agent must have something of it, not 0"),
        (2, {"cpu": 4, "licence": 1.5}, "--capacity licence: 1.5 is no whole number"),
    ],
)
def test_a_crew_that_can_never_do_it_is_refused(agents: int, capacity: dict[str, float] | None, problem: str) -> None:
    made = workflow(task("small", 1), task("big", 1, cores=2, memory=300))
    with pytest.raises(InvalidInputError, match=problem):
        simulate(made, agents, capacity)


def test_devices_must_be_offered() -> None:
    made = workflow(Task(id="a", agent_type="x", resources=ResourceRequirements(custom_resources={"licence": 2})))
    with pytest.raises(InvalidInputError, match="no agent is large enough for a"):
        simulate(made, 1)
    assert simulate(made, 1, {"licence": 2}).succeeded


# --- virtual time ----------------------------------------------------------------------------------------------------


def test_at_a_pace_all_is_the_same_and_real_time_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    moments: list[Moment] = []
    run = simulate(workflow(*DIAMOND), 2, speed=10.0, watcher=moments.append)
    assert run.ran == simulate(workflow(*DIAMOND), 2).ran
    assert max(slept) > 0.4  # nobody waits here, so that the last pause is what is left of all 0.8 s
    assert [(moment.seconds, moment.done) for moment in moments] == [(2, 1), (5, 2), (7, 3), (8, 4)]


def test_a_paced_loop_sleeps_for_what_is_left_of_its_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    real = VirtualClock()
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        real.advance(round(seconds * SECOND))

    async def work() -> None:
        await asyncio.sleep(10)
        real.advance(3 * SECOND)  # what is computed takes its time, too
        await asyncio.sleep(10)
        await asyncio.sleep(10)

    monkeypatch.setattr(time, "sleep", sleep)
    run_on(PacedLoop(5.0, real=real), work())
    assert slept == [pytest.approx(2.0), pytest.approx(1.0)]  # the second pause was late already


def test_whole_microseconds_stay_so_on_an_exact_loop() -> None:
    async def work() -> list[float]:
        loop = asyncio.get_running_loop()
        seen = []
        for _ in range(1_000):
            await asyncio.sleep(0.055957)
            seen.append(loop.time())
        return seen

    assert run_on(ExactLoop(), work())[-1] == 55.957


def test_names_of_instances_lead_back_to_their_task() -> None:
    assert (task_of("read[3]"), task_of("read")) == ("read", "read")


@pytest.mark.slow
def test_ten_thousand_tasks_are_scheduled_within_their_bounds() -> None:
    layers = [[f"l{layer}t{at}" for at in range(100)] for layer in range(100)]
    tasks = [
        task(name, 1 + at % 7, *(layers[layer - 1][(at + shift) % 100] for shift in range(3)) if layer else ())
        for layer, names in enumerate(layers)
        for at, name in enumerate(names)
    ]
    run = simulate(workflow(*tasks), 64, {"cpu": 2})
    assert run.succeeded
    assert run.lower_bound_seconds <= run.makespan_seconds <= 2 * run.lower_bound_seconds
