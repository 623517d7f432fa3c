"""Tasks that no agent does in simulated worlds: workflows that have some, and what people and other executions say.

Each of them has a time-out and is put up with, so that every execution comes to an end whatever is said or lost.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Raw

from podium.engine import inputs as inp
from podium.engine.values import Value
from podium.workflow.model import Escalation, FailureAction, OnFailure, Task, TaskType, Workflow

SIGNALS = ("red", "blue")


def with_waits(workflow: Workflow, chance: random.Random, others: Sequence[str] = ()) -> Workflow:
    """Return a workflow with some tasks more that wait, each behind some of those that there are.

    `others` are executions for whose ends they may wait.
    """
    known = [task.id for task in workflow.tasks if not task.id.endswith("_else")]
    tasks = list(workflow.tasks)
    for number in range(chance.randint(1, 4)):
        needs = tuple(chance.sample(known, min(len(known), chance.choice((0, 1, 1, 2)))))
        name = f"outside{number}"
        tasks.append(
            Task(
                id=name, dependencies=needs, timeout=chance.uniform(5, 90),
                on_failure=OnFailure(FailureAction.CONTINUE), **_awaited(chance, others),
            )
        )  # fmt: skip
        known.append(name)
    return msgspec.structs.replace(workflow, tasks=tuple(tasks))


def _awaited(chance: random.Random, others: Sequence[str]) -> dict[str, Any]:
    kinds: list[dict[str, Any]] = [
        {"type": TaskType.WAIT, "signal": chance.choice(SIGNALS)},
        {"type": TaskType.WAIT, "signal": chance.choice(SIGNALS), "accept": "signal.value.n > 1"},
        {"type": TaskType.WAIT, "wait_for": chance.uniform(1, 60)},
        {"type": TaskType.HUMAN, "form": {"type": "object", "required": ["n"]}},
        {"type": TaskType.HUMAN, "assignee": "ann", "escalation": Escalation(chance.uniform(1, 4), "bob")},
    ]
    kinds += [{"type": TaskType.WAIT, "execution": chance.choice(others)}] * (2 if others else 0)
    return chance.choice(kinds)


def something_from_outside(workflow: Workflow, chance: random.Random) -> inp.Input | None:
    """Return what somebody says that such a task may wait for; None for a workflow that has none."""
    asking = [task for task in workflow.tasks if not task.needs_agent]
    if not asking:
        return None
    value = Value(json=Raw(b'{"n":%d}' % chance.randint(0, 3)))
    if chance.random() < 0.6:
        return inp.Signal(chance.choice(SIGNALS), value)
    return inp.Answer(chance.choice(asking).id, value, chance.choice(("ann", "bob")))
