"""A plan is made once for what means the same, and is each asker's own in what the hash doesn't tell."""

from __future__ import annotations

import msgspec
import pytest

from podium.exceptions import WorkflowInvalidError
from podium.workflow import plans as module
from podium.workflow.hashing import content_hash
from podium.workflow.model import Task, Workflow
from podium.workflow.plan import plan
from podium.workflow.plans import Plans


def workflow(**more) -> Workflow:
    tasks = (Task(id="a"), Task(id="b", dependencies=("a",)), Task(id="c", dependencies=("a", "b")))
    return Workflow(name="w", tasks=tasks, **more)


@pytest.fixture
def planned(monkeypatch) -> list[Workflow]:
    """What was really planned."""
    seen: list[Workflow] = []

    def counting(given: Workflow):
        seen.append(given)
        return plan(given)

    monkeypatch.setattr(module, "plan", counting)
    return seen


def test_the_same_object_and_what_means_the_same_are_planned_once(planned):
    plans, one = Plans(), workflow()
    first = plans.get(one)
    assert plans.get(one) is first
    assert plans.get(workflow()) == first == plan(one)
    assert plans.get(workflow(), content_hash(one)) == first
    assert len(planned) == 1


def test_another_definition_is_planned_anew(planned):
    plans = Plans()
    plans.get(workflow())
    assert plans.get(workflow(metadata={"durations": {"a": 9}})).estimated_duration == 11
    assert len(planned) == 2


def test_the_plan_of_an_equal_definition_has_its_own_id_and_tasks(planned):
    plans, one = Plans(), workflow()
    plans.get(one)
    tasks = tuple(msgspec.structs.replace(task, dependencies=task.dependencies[::-1]) for task in one.tasks)
    other = Workflow(name="w", id="another", tasks=tasks)
    assert plans.get(other) == plan(other)
    assert plans.get(other).stages[2].tasks[0] is other.tasks[2]
    assert len(planned) == 1


def test_another_order_of_definition_has_its_own_plan():
    plans, one = Plans(), Workflow(name="w", tasks=(Task(id="a"), Task(id="b")))
    other = Workflow(name="w", tasks=one.tasks[::-1])
    assert content_hash(one) == content_hash(other)
    assert plans.get(one) == plan(one)
    assert plans.get(other) == plan(other)


def test_what_was_asked_for_longest_ago_is_forgotten(planned):
    plans, many = Plans(kept=2), [Workflow(name=f"w{n}", tasks=(Task(id="a"),)) for n in range(3)]
    for one in many:
        plans.get(one)
    plans.get(many[2])
    plans.get(many[0])
    assert planned == [*many, many[0]]


def test_what_cant_be_planned_is_refused_each_time():
    plans, circle = Plans(), Workflow(name="w", tasks=(Task(id="a", dependencies=("a",)),))
    for _ in range(2):
        with pytest.raises(WorkflowInvalidError, match="a -> a"):
            plans.get(circle)
