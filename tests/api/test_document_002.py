"""Document 002's snippets, as they are written there: each class has what they name, and they can be put together."""

from __future__ import annotations

import ast
import asyncio
import builtins
import inspect
import typing
from datetime import UTC, datetime, timedelta

import pytest

import podium
from podium import (
    Constraint,
    ConstraintType,
    Orchestrator,
    ResourceRequirements,
    Task,
    TaskExecutor,
    TaskScheduler,
    TaskStatus,
    TaskType,
    Workflow,
    WorkflowBuilder,
    WorkflowConfig,
)
from podium.workflow.hashing import content_hash

SNIPPETS = '''
@dataclass
class Workflow:
    id: str                          # Workflow UUID
    name: str                        # Workflow name
    tasks: List[Task]               # All tasks in workflow
    dependencies: Dict[str, List[str]]  # Task dependency map
    config: WorkflowConfig          # Execution configuration
    metadata: Dict[str, Any]        # Additional properties
    created_at: datetime            # Creation timestamp
    scheduled_at: Optional[datetime] # Scheduled execution time
    constraints: List[Constraint]   # Execution constraints
    checkpoints: List[Checkpoint]   # Recovery checkpoints

@dataclass
class Task:
    id: str                      # Task UUID
    name: str                    # Task name
    type: TaskType              # COMPUTE, IO, NETWORK, HYBRID
    agent_type: str             # Required agent type
    payload: Dict[str, Any]     # Task parameters
    resources: ResourceRequirements  # Required resources
    priority: int               # Execution priority (0-100)
    timeout: Optional[int]      # Timeout in seconds
    retries: int               # Max retry attempts
    dependencies: List[str]     # Task IDs this depends on
    status: TaskStatus         # PENDING, RUNNING, COMPLETED, FAILED
    result: Optional[Any]      # Task result

@dataclass
class ExecutionPlan:
    workflow_id: str
    stages: List[ExecutionStage]    # Parallel execution stages
    critical_path: List[str]        # Critical path task IDs
    estimated_duration: int         # Estimated seconds
    parallelism_factor: float      # Degree of parallelism
    resource_requirements: ResourceRequirements

@dataclass
class ExecutionStage:
    stage_number: int
    tasks: List[Task]              # Tasks to execute in parallel
    max_parallelism: int          # Max concurrent tasks
    estimated_duration: int       # Stage duration estimate

@dataclass
class ResourceRequirements:
    cpu_cores: float              # Required CPU cores
    memory_mb: int               # Required memory in MB
    disk_mb: int                # Required disk in MB
    network_bandwidth_mbps: Optional[int]
    gpu_count: Optional[int]
    custom_resources: Dict[str, int]

@dataclass
class ResourceAllocation:
    allocation_id: str
    task_id: str
    resources: ResourceRequirements
    agent_id: str
    allocated_at: datetime
    expires_at: Optional[datetime]

class Orchestrator:
    async def submit_workflow(
        self,
        workflow: Workflow
    ) -> str:
        """Submit workflow for execution"""

    async def execute_workflow(
        self,
        workflow_id: str
    ) -> WorkflowResult:
        """Execute a submitted workflow"""

    async def cancel_workflow(
        self,
        workflow_id: str,
        force: bool = False
    ) -> bool:
        """Cancel workflow execution"""

    async def get_workflow_status(
        self,
        workflow_id: str
    ) -> WorkflowStatus:
        """Get current workflow status"""

    async def pause_workflow(
        self,
        workflow_id: str
    ) -> bool:
        """Pause workflow execution"""

    async def resume_workflow(
        self,
        workflow_id: str
    ) -> bool:
        """Resume paused workflow"""

class TaskScheduler:
    async def schedule_task(
        self,
        task: Task,
        constraints: Optional[List[Constraint]] = None
    ) -> ScheduledTask:
        """Schedule a task for execution"""

    async def get_next_task(
        self,
        agent_capabilities: List[str]
    ) -> Optional[Task]:
        """Get next task for agent"""

    async def complete_task(
        self,
        task_id: str,
        result: TaskResult
    ) -> None:
        """Mark task as completed"""

    async def fail_task(
        self,
        task_id: str,
        error: Exception
    ) -> None:
        """Mark task as failed"""

    def analyze_dependencies(
        self,
        tasks: List[Task]
    ) -> DependencyGraph:
        """Analyze task dependencies"""

class TaskExecutor:
    async def execute(
        self,
        task: Task,
        agent: Agent
    ) -> TaskResult:
        """Execute task on agent"""

    async def execute_parallel(
        self,
        tasks: List[Task],
        max_workers: int = None
    ) -> List[TaskResult]:
        """Execute tasks in parallel"""

    async def execute_sequential(
        self,
        tasks: List[Task]
    ) -> List[TaskResult]:
        """Execute tasks sequentially"""

    async def execute_with_timeout(
        self,
        task: Task,
        timeout: int
    ) -> TaskResult:
        """Execute with timeout"""
'''
CLASSES = [node for node in ast.parse(SNIPPETS).body if isinstance(node, ast.ClassDef)]


@pytest.mark.parametrize("snippet", CLASSES, ids=lambda node: node.name)
def test_a_class_has_the_fields_and_methods_of_its_snippet(snippet):
    found = getattr(podium, snippet.name)
    for part in snippet.body:
        if isinstance(part, ast.AnnAssign):
            assert isinstance(part.target, ast.Name)
            assert part.target.id in found.__struct_fields__
            continue
        assert isinstance(part, (ast.FunctionDef, ast.AsyncFunctionDef))
        method = getattr(found, part.name)
        assert inspect.iscoroutinefunction(method) == isinstance(part, ast.AsyncFunctionDef)
        parameters = inspect.signature(method).parameters
        given = [argument.arg for argument in part.args.args]
        assert list(parameters)[: len(given)] == given
        others = list(parameters.values())[len(given) :]
        assert all(one.default is not one.empty or one.kind in (one.VAR_KEYWORD, one.VAR_POSITIONAL) for one in others)
        for argument, default in zip(part.args.args[::-1], part.args.defaults[::-1], strict=False):
            assert parameters[argument.arg].default == ast.literal_eval(default)


def test_every_name_of_the_snippets_is_a_public_one():
    elsewhere = {*dir(builtins), *dir(typing), "dataclass", "datetime"}
    said = [
        node.annotation if isinstance(node, ast.arg | ast.AnnAssign) else getattr(node, "returns", None)
        for node in ast.walk(ast.parse(SNIPPETS))
    ]
    named = {part.id for one in said if one is not None for part in ast.walk(one) if isinstance(part, ast.Name)}
    assert {"Agent", "Checkpoint", "ScheduledTask"} <= named
    assert named | {node.name for node in CLASSES} <= elsewhere | set(podium.__all__)


def test_what_a_task_in_hand_holds_is_an_allocation_until_it_ends():
    async def whole() -> None:
        needs = ResourceRequirements(cpu_cores=0.5, memory_mb=64)
        async with TaskScheduler() as scheduler:
            made = await scheduler.schedule_task(Task(id="scan", agent_type="desk", resources=needs, timeout=30))
            assert await scheduler.allocation("scan") is None
            await scheduler.get_next_task(["desk"])
            held = await scheduler.allocation("scan")
            assert held is not None
            assert (held.task_id, held.resources) == ("scan", needs)
            assert held.expires_at == held.allocated_at + timedelta(
                seconds=30.5
            )  # its time-out, and the slack after it
            (same,) = await scheduler.orchestrator.allocations(made.execution_id)
            assert same.allocation_id == held.allocation_id
            assert same.agent_id == held.agent_id
            await scheduler.complete_task("scan", "done")
            assert await scheduler.allocation("scan") is None

    asyncio.run(whole())


def written_as_in_the_document() -> Workflow:
    def task(task_id: str, text: str) -> Task:
        return Task(
            id=task_id,
            name=f"say {text}",
            type=TaskType.COMPUTE,
            agent_type="echo",
            payload={"text": text},
            resources=ResourceRequirements(
                cpu_cores=0.5, memory_mb=64, disk_mb=0, network_bandwidth_mbps=None, gpu_count=None, custom_resources={}
            ),
            priority=60,
            timeout=30,
            retries=1,
            dependencies=[],  # type: ignore[arg-type]  # a list, as the document has it
            status=TaskStatus.PENDING,
            result=None,
        )

    return Workflow(
        id="0f5f332c-f34f-45b6-8000-000000000002",
        name="of document 002",
        tasks=[task("a", "one"), task("b", "${tasks.a.result.text} two")],  # type: ignore[arg-type]
        dependencies={"b": ["a"]},  # type: ignore[dict-item]
        config=WorkflowConfig(),
        metadata={"owner": "somebody"},
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        scheduled_at=None,
        constraints=[Constraint(type=ConstraintType.MAX_PARALLEL, value=2)],  # type: ignore[arg-type]
        checkpoints=[],  # type: ignore[arg-type]
    )


def test_the_models_are_filled_as_the_document_does_and_run_through_each_class():
    async def whole() -> None:
        workflow = written_as_in_the_document()
        orchestrator = Orchestrator()
        await orchestrator.start()
        try:
            workflow_id = await orchestrator.submit_workflow(workflow)
            result = await orchestrator.execute_workflow(workflow_id)
            assert (result.status, result.result) == ("completed", {"text": "one two"})
            assert (await orchestrator.get_workflow_status(workflow_id)).status == "completed"
        finally:
            await orchestrator.shutdown()
        async with TaskExecutor() as executor:
            results = await executor.execute_sequential([workflow.tasks[0]])
            assert [one.result for one in results] == [{"text": "one"}]
        async with TaskScheduler() as scheduler:
            graph = scheduler.analyze_dependencies(list(workflow.tasks))
            assert graph.topological_order() == ["a", "b"]

    asyncio.run(whole())


def test_the_document_s_workflow_is_built_fluently_too():
    workflow = podium.validate(written_as_in_the_document())
    assert content_hash(WorkflowBuilder.of(workflow).build()) == content_hash(workflow)
    plan = podium.plan(workflow)
    assert [[task.id for task in stage.tasks] for stage in plan.stages] == [["a"], ["b"]]
