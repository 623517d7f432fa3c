"""What is told of a definition, and that equal submissions share one."""

import asyncio

from podium import Task, Workflow
from podium.fleet import wire
from podium.ids import workflow_id_for
from podium.service.described import KEPT, Descriptions, described, estimated_seconds
from podium.service.submissions import submission_of

CHAIN = Workflow(
    name="chain",
    tasks=(
        Task(id="first", agent_type="a", timeout=10.0),
        Task(id="second", agent_type="a", timeout=20.4, dependencies=("first",)),
        Task(id="beside", agent_type="a", timeout=5.0),
    ),
)


def _submitted(**fields):
    message = wire.TaskSubmissionMessage(task=wire.AgentTask(task_type="add", **fields))
    return submission_of(message, "default", 60.0)


def test_a_definition_is_told_by_its_id_its_longest_path_and_each_tasks_dependencies():
    told = described(CHAIN)
    assert told.workflow_id == workflow_id_for("chain")
    assert told.estimated_seconds == estimated_seconds(CHAIN) == 30
    assert not told.submitted
    assert told.tasks["second"].dependencies == ("first",)
    assert told.tasks["second"].estimated_seconds == 20
    assert described(_submitted().workflow).submitted


def test_a_definition_is_looked_for_once_while_it_is_in_use_and_not_kept_for_ever():
    asked = []

    async def workflow_of(tenant, definition):
        asked.append(definition)
        return CHAIN

    async def main():
        descriptions = Descriptions(workflow_of)
        for _ in range(3):
            await descriptions.get("default", "used")
        assert asked == ["used"]
        for number in range(KEPT):
            await descriptions.get("default", str(number))
        await descriptions.get("default", "used")
        assert asked.count("used") == 2

    asyncio.run(main())


def test_submissions_that_differ_in_payload_and_id_only_share_one_workflow():
    one, other = _submitted(payload={"x": 1}, task_id="one"), _submitted(payload={"x": 2}, task_id="other")
    assert one.workflow is other.workflow
    assert one.given != other.given
    for fields in ({"agent_type": "b"}, {"retries": 1}, {"timeout_ms": 1_000.0}, {"required_capabilities": ("c",)}):
        assert _submitted(**fields).workflow is not one.workflow
        assert _submitted(**fields).workflow != one.workflow
    assert _submitted(dependencies=("one",)).workflow != one.workflow
