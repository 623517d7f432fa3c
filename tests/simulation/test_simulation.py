"""The simulated world, seed by seed. A seed that breaks prints what broke and a transcript of all that happened."""

from __future__ import annotations

import random
from typing import Any

import pytest
from msgspec.structs import replace

from podium.testing.faults import BUS_KINDS, FIRST_SWARM, NO_FAULTS, REPLICA_KINDS, STEERING_SWARM, Faults
from podium.testing.simulation import simulate
from podium.testing.workflows import random_workflow
from podium.workflow.model import (
    AgentGroup,
    ContinueAsNew,
    FailureAction,
    OnFailure,
    ParentClose,
    RetryPolicy,
    RunIf,
    Task,
    Workflow,
)
from podium.workflow.validation import validate

QUICK_CHUNKS, QUICK = 8, 25
SLOW_CHUNKS, SLOW = 8, 150
SLOW_FROM = 100_000


@pytest.mark.parametrize("chunk", range(QUICK_CHUNKS))
def test_every_invariant_holds_under_faults(chunk):
    for seed in range(chunk * QUICK, (chunk + 1) * QUICK):
        report = simulate(seed=seed)
        assert report.sound, str(report)


@pytest.mark.slow
@pytest.mark.parametrize("chunk", range(SLOW_CHUNKS))
def test_every_invariant_holds_under_faults_of_many_seeds(chunk):
    for seed in range(SLOW_FROM + chunk * SLOW, SLOW_FROM + (chunk + 1) * SLOW):
        report = simulate(seed=seed)
        assert report.sound, str(report)


def test_the_same_seed_is_the_same_run():
    first, second = simulate(seed=7), simulate(seed=7)
    assert first.transcript == second.transcript
    assert first.faults == second.faults


def test_another_seed_is_another_run():
    assert simulate(seed=7).transcript != simulate(seed=8).transcript


def test_without_faults_everything_is_sound_and_nothing_strikes():
    for seed in range(20):
        report = simulate(seed=seed, faults=NO_FAULTS)
        assert report.sound, str(report)
        assert report.faults == {}


def test_ones_own_workflow_is_simulated():
    workflow = Workflow(
        name="mine",
        agents={kind: AgentGroup(kind, kind) for kind in ("porter", "clerk")},
        tasks=(
            Task(id="fetch", agent="porter", retry=RetryPolicy(max_attempts=3)),
            Task(id="rescue", agent="porter", function="big"),
            Task(id="doom", agent="clerk", function="doomed", on_failure=OnFailure(FailureAction.FALLBACK, "rescue")),
            Task(id="report", agent="clerk", dependencies=("fetch", "doom"), for_each=[1, 2, 3]),
        ),
    )
    report = simulate(workflow, seed=3, faults=Faults(crash_after_commit=0.2))
    assert report.sound, str(report)
    assert report.executions


def test_every_fault_strikes_somewhere():
    counts: dict[str, int] = {}
    for seed in range(150):
        for kind, times in simulate(seed=seed).faults.items():
            counts[kind] = counts.get(kind, 0) + times
    never = set(Faults.__struct_fields__) - set(counts) - {*BUS_KINDS, *REPLICA_KINDS}  # in test_bus, test_replicas
    assert not never


def test_drawn_workflows_are_valid():
    chance = random.Random(1)
    for _ in range(200):
        validate(random_workflow(chance))


# --- seeds that once broke, each with what it found; see docs/robustness.md -----------------------------------------

FOUND = {
    0: "an agent's slots went below zero after a take-over",
    30: "a slot was held for ever after its Cancel was lost",
    70: "an agent that had refused was never tried again",
    85: "the engine ended over a fallback's large result that a condition reads",
    127: "an agent that had refused was never tried again",
    269: "messages to an engine that stops were lost in an ended task group",
    314: "an input in the inbox was overlooked after the store had been away",
    10221: "a blob that a condition reads went away with an assignment that had loaded it, too",
    16268: "an execution put out of memory while its append was in doubt was loaded twice",
    995: "a stop turned round and round over a due timer",
    1000835: "a failed append was never looked at when its engine had ended",
    103074: "a stop that the end of the run cut short",
}


@pytest.mark.parametrize("seed", FOUND, ids=[f"{seed}: {what}" for seed, what in FOUND.items()])
def test_what_a_seed_found_stays_mended(seed):
    report = simulate(seed=seed, swarm=FIRST_SWARM)
    assert report.sound, str(report)


def test_graphs_that_grow_are_sound_under_faults():
    workflow = Workflow(
        name="grows",
        agents={kind: AgentGroup(kind, kind, 2) for kind in ("porter", "clerk")},
        tasks=(
            Task(id="plan", agent="porter", function="growing3", grows=True, retry=RetryPolicy(max_attempts=3)),
            Task(id="each", agent="clerk", function="growing2", for_each=[1, 2], grows=True, dependencies=("plan",),
                 retry=RetryPolicy(max_attempts=3), on_failure=OnFailure(FailureAction.CONTINUE)),
            Task(id="report", agent="clerk", dependencies=("plan", "each")),
        ),
    )  # fmt: skip
    grew = 0
    for seed in range(40):
        report = simulate(validate(workflow), seed=seed)
        assert report.sound, str(report)
        grew += "each.1.each_part0" in str(report.transcript)
    assert grew > 20


def test_child_workflows_are_sound_under_faults():
    agents = {kind: AgentGroup(kind, kind, 2) for kind in ("porter", "clerk")}
    inner = Workflow(name="inner", agents=agents, tasks=(Task(id="deep", agent="clerk", function="big"),))
    part = Workflow(
        name="part",
        agents=agents,
        tasks=(Task(id="a", agent="porter"), Task(id="b", dependencies=("a",), workflow=inner)),
    )
    doomed = Workflow(name="lost", agents=agents, tasks=(Task(id="doomed", agent="clerk", function="doomed"),))
    workflow = Workflow(
        name="parent",
        agents=agents,
        tasks=(
            Task(id="first", agent="porter"),
            Task(id="sub", dependencies=("first",), workflow=part, retry=RetryPolicy(max_attempts=3)),
            Task(id="lost", workflow=doomed, retry=RetryPolicy(max_attempts=2), parent_close=ParentClose.TERMINATE,
                 on_failure=OnFailure(FailureAction.CONTINUE)),
            Task(id="report", agent="clerk", dependencies=("sub", "lost"), run_if=RunIf.ALL_DONE),
        ),
    )  # fmt: skip
    ended = 0
    for seed in range(40):
        report = simulate(validate(workflow), seed=seed)
        assert report.sound, str(report)
        ended += ":sub:1" in str(report.transcript)
    assert ended > 20


def test_children_of_the_items_of_a_list_are_sound_under_faults():
    agents = {kind: AgentGroup(kind, kind, 2) for kind in ("porter", "clerk")}
    part = Workflow(name="part", agents=agents, tasks=(Task(id="a", agent="porter", function="big"),))
    doomed = Workflow(name="lost", agents=agents, tasks=(Task(id="doomed", agent="clerk", function="doomed"),))
    each: dict[str, Any] = {"for_each": "${tasks.list.result}", "payload": {"n": "${item}"}, "dependencies": ("list",)}
    workflow = Workflow(
        name="parent",
        agents=agents,
        tasks=(
            Task(id="list", agent="porter", function="biglist3"),
            Task(id="parts", workflow=part, max_parallel=2, retry=RetryPolicy(max_attempts=3), **each),
            Task(id="lost", workflow=doomed, on_failure=OnFailure(FailureAction.CONTINUE), **each),
            Task(id="report", agent="clerk", dependencies=("parts", "lost"), run_if=RunIf.ALL_DONE),
        ),
    )
    reports = [simulate(validate(workflow), seed=seed) for seed in range(2)]
    reports += [
        simulate(validate(workflow), seed=seed, swarm=STEERING_SWARM) for seed in range(5)
    ]  # skipped, completed
    assert [str(report) for report in reports if not report.sound] == []
    assert any(":parts[2]:1" in str(report.transcript) for report in reports)


def test_loops_are_sound_under_faults():
    drawn = random_workflow(random.Random(11))
    workflow = replace(drawn, continue_as_new=ContinueAsNew("execution.run < 3", {"n": "${execution.run}"}))
    runs = 0
    for seed in range(20):
        report = simulate(validate(workflow), seed=seed)
        assert report.sound, str(report)
        runs += sum(row.run for row in report.store._data.executions.values())
    assert runs > 60
