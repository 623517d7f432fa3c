"""The workflow and its tasks, as documents 002 and 004 name them: frozen values with a content hash.

A definition never changes; what happens to it lives in an execution. The fields of document 002 that belong to an
execution (`status`, `result`, `checkpoints`, `created_at`) can be shown here, and the hash leaves them out.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec
from msgspec import Struct, field

from podium.ids import workflow_id_for
from podium.workflow.schedules.spec import ScheduleSpec


class TaskType(StrEnum):
    """What a task mostly spends its time on; of `wait` and `human`, what it waits for in place of an agent."""

    COMPUTE = "compute"
    IO = "io"
    NETWORK = "network"
    HYBRID = "hybrid"
    WAIT = "wait"  # no agent does it: it waits for a signal, a time, or another execution's end
    HUMAN = "human"  # no agent does it: a person answers
    WORKFLOW = "workflow"  # no agent does it: it is an execution of its own


class TaskStatus(StrEnum):
    """Where a task of an execution stands; the moves are in `engine/transitions.py`."""

    PENDING = "pending"  # waits for its dependencies
    READY = "ready"  # waits for an agent
    RUNNING = "running"  # has a live attempt
    RETRYING = "retrying"  # waits for its next attempt
    WAITING = "waiting"  # waits for something outside: a signal, a time, a person, another execution
    COMPLETED = "completed"
    FAILED = "failed"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"


class ExecutionStatus(StrEnum):
    """Where an execution stands; the moves are in `engine/transitions.py`."""

    RUNNING = "running"
    PAUSING = "pausing"
    PAUSED = "paused"
    FAILING = "failing"  # a task has failed for good; live attempts settle, nothing starts
    CANCELLING = "cancelling"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


WITHOUT_AGENT = frozenset({TaskType.WAIT, TaskType.HUMAN, TaskType.WORKFLOW})  # types of tasks that no agent does
FINAL_TASK = frozenset({TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.SKIPPED, TaskStatus.CANCELLED})
FINAL_EXECUTION = frozenset({ExecutionStatus.COMPLETED, ExecutionStatus.FAILED, ExecutionStatus.CANCELLED})


class OrchestrationPattern(StrEnum):
    """Document 004's patterns, and `graph` for a plain graph of tasks."""

    SUPERVISOR = "supervisor"
    HIERARCHICAL = "hierarchical"
    HANDOFF = "handoff"
    SWARM = "swarm"
    NETWORK = "network"
    CUSTOM = "custom"
    GRAPH = "graph"


class RunIf(StrEnum):
    """Which ends of its dependencies let a task start."""

    ALL_SUCCEEDED = "all_succeeded"
    ALL_DONE = "all_done"


class FailureAction(StrEnum):
    """What a task's final failure does to the rest."""

    FAIL = "fail"  # the execution fails: live attempts settle, nothing new starts
    CONTINUE = "continue"  # what needs the result is skipped, the rest goes on: a partial result
    FALLBACK = "fallback"  # another task runs in its place, and its result stands for this one's
    ASK = "ask"  # a person decides; until then the rest goes on


class OnFailure(Struct, frozen=True, omit_defaults=True):
    """A `FailureAction`, with the fallback's task id where there is one."""

    action: FailureAction = FailureAction.FAIL
    task: str | None = None


class RetryPolicy(Struct, frozen=True, omit_defaults=True):
    """When a failed attempt is tried again.

    The pause before attempt n + 1 is `initial_delay_seconds * multiplier ** (n - 1)`, at most `max_delay_seconds`,
    times a factor drawn from [1 - jitter, 1 + jitter]. Errors whose type is in `non_retryable` are final at once.
    """

    max_attempts: int = 1
    initial_delay_seconds: float = 1.0
    multiplier: float = 2.0
    max_delay_seconds: float = 60.0
    jitter: float = 0.1
    non_retryable: tuple[str, ...] = ()


NAMED_RETRY_POLICIES: dict[str, RetryPolicy] = {
    "none": RetryPolicy(),
    "fixed": RetryPolicy(max_attempts=3, multiplier=1.0),
    "linear_backoff": RetryPolicy(max_attempts=3, multiplier=1.0, initial_delay_seconds=5.0),
    "exponential_backoff": RetryPolicy(max_attempts=4),
}


class ResourceRequirements(Struct, frozen=True, omit_defaults=True):
    """An amount of each resource (document 002), of a task's need or an agent's capacity."""

    cpu_cores: float = 0.0
    memory_mb: int = 0
    disk_mb: int = 0
    network_bandwidth_mbps: int | None = None
    gpu_count: int | None = None
    custom_resources: dict[str, int] = {}


class ConstraintType(StrEnum):
    """What a constraint limits."""

    MAX_PARALLEL = "max_parallel"  # value: at most so many tasks of the execution ready or running at once


class Constraint(Struct, frozen=True, omit_defaults=True):
    """A limit on the whole execution (document 002)."""

    type: ConstraintType
    value: int


class Checkpoint(Struct, frozen=True, omit_defaults=True):
    """A point that an execution can be recovered from (documents 002 and 004): a snapshot at a sequence."""

    id: str
    execution_id: str
    sequence: int
    created_at: datetime
    size_bytes: int = 0


class WorkflowConfig(Struct, frozen=True, omit_defaults=True):
    """How an execution runs (document 002). Times are in seconds; None is without a limit."""

    timeout: float | None = None  # the execution's deadline
    priority: int = 50  # of tasks that say nothing
    max_parallel_tasks: int | None = None
    max_concurrent_executions: int | None = None
    max_crashes: int = 3  # a task that kills its worker so often fails for good


class RateLimit(Struct, frozen=True, omit_defaults=True):
    """At most so many attempts of one key begin within `per_seconds`, over all executions (in placement).

    `key` is a text with `${…}`; empty, the limit is that of the task, or of the role that says it.
    """

    limit: int
    per_seconds: float = 1.0
    key: str = ""


class ConcurrencyLimit(Struct, frozen=True, omit_defaults=True):
    """At most so many attempts of one key are at work at once, over all executions; `key` as of a `RateLimit`."""

    limit: int
    key: str = ""


class AgentGroup(Struct, frozen=True, omit_defaults=True):
    """A role of the workflow and the agents that fill it (document 004's `agents` block).

    `env` are environment variables of its tasks, by name; a text may have `${secret.NAME}` in it.
    """

    name: str
    type: str
    count: int = 1
    capabilities: tuple[str, ...] = ()
    resources: ResourceRequirements = ResourceRequirements()  # what each agent of the group has to offer
    version: str = ""  # which versions of agents may fill the role, as `workflow.versions` reads it; empty: any
    rate_limit: RateLimit | None = None  # of its tasks together, unless they say their own
    concurrency: ConcurrencyLimit | None = None  # likewise
    env: dict[str, str] = {}


class Secret(Struct, frozen=True, omit_defaults=True):
    """A value that only the process of the agent knows, by reference: `${secret.NAME}`.

    There it is the variable's value, or the file's in the folder of secrets; neither named: the variable
    `PODIUM_SECRET_NAME`, else the file NAME.
    """

    name: str
    env: str = ""
    file: str = ""
    description: str = ""


class CachePolicy(Struct, frozen=True, omit_defaults=True):
    """Under which key a task's result may stand for a later one's, and for how long (None: for ever)."""

    key: str  # a template with `${…}`
    ttl_seconds: float | None = None


class Compensation(Struct, frozen=True, omit_defaults=True):
    """What undoes a finished task: another task of the workflow by id, or a call of its own."""

    task: str | None = None
    agent: str = ""
    agent_type: str = ""
    function: str = ""
    payload: dict[str, Any] | None = None
    timeout: float | None = None


class Coordination(Struct, frozen=True, omit_defaults=True):
    """Document 004's `coordination` block."""

    type: str = "hybrid"
    event_driven: tuple[str, ...] = ()
    graph_based: tuple[str, ...] = ()


class CircuitBreaker(Struct, frozen=True, omit_defaults=True):
    """After so many failures in a row an agent gets no work for a while."""

    failure_threshold: int = 5
    timeout_seconds: float = 30.0


class SagaPattern(Struct, frozen=True, omit_defaults=True):
    """Whether finished tasks are compensated when the execution fails."""

    compensation_enabled: bool = False
    rollback_on_failure: bool = False


class FaultTolerance(Struct, frozen=True, omit_defaults=True):
    """Document 004's `fault_tolerance` block."""

    circuit_breaker: CircuitBreaker | None = None
    saga_pattern: SagaPattern | None = None


class InputParameter(Struct, frozen=True, omit_defaults=True):
    """A declared input of a workflow; without a default it must be given."""

    name: str
    type: str = "any"  # any, string, integer, number, boolean, array, object
    required: bool = True
    default: Any = None
    description: str = ""
    enum: tuple[Any, ...] = ()  # what it may be; empty: anything
    minimum: float | None = None  # of a number; of a text or a list, its length
    maximum: float | None = None
    pattern: str = ""  # found in a text that fits, as `workflow.patterns` understands it; empty: any text fits

    def __post_init__(self) -> None:
        if self.default is not None:
            msgspec.structs.force_setattr(self, "required", False)


class ParentClose(StrEnum):
    """What becomes of a child workflow when its parent ends without it."""

    CANCEL = "cancel"  # it is cancelled, and its live attempts settle
    TERMINATE = "terminate"  # it is cancelled by force
    ABANDON = "abandon"  # it goes on by itself


class Escalation(Struct, frozen=True, omit_defaults=True):
    """Who is asked instead when a person hasn't answered for so long; `after` is in seconds."""

    after: float
    to: str


class Task(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One node of a workflow.

    `payload` holds the task's arguments (`input:` in YAML), with `${…}` references in its texts; None passes the
    workflow's input and each dependency's result under its id. `timeout` is one attempt's, `deadline` the whole
    task's, retries included; both in seconds. `estimated_duration` is what one instance is expected to take, in
    seconds: plans and simulations reckon with it, nothing is limited by it. `for_each` (a list or a `${…}` reference)
    makes an instance for each item, `parallel` one for each agent of the group. The result of a task that `grows` may
    add tasks and dependencies to the running graph. `idempotent` false: an attempt whose outcome nobody knows is not
    begun again. `cache` and `compensation` are recorded.

    Of the type `wait` it has one of `signal` (a name; `accept` is an expression over `signal.value`), `wait_for`
    (seconds), `until` (a time with its zone), `execution` (an id). Of the type `human` it may have `form` (a JSON
    Schema of the answer), `assignee`, `escalation`; `payload` is what the person is shown. `timeout` is the wait's.
    With a `workflow` it is of the type `workflow`, an execution of its own whose input is `payload`; `parent_close`
    says what becomes of that when this one ends before it.
    """

    id: str
    name: str = ""
    type: TaskType = TaskType.HYBRID
    agent_type: str = ""
    agent: str = ""  # the role, a key of `Workflow.agents`; empty when the type stands alone
    function: str = ""  # what the agent is asked to do; empty means the task's id
    payload: dict[str, Any] | None = None
    resources: ResourceRequirements = ResourceRequirements()
    priority: int | None = None  # 0 to 100, larger is sooner; None is the workflow's
    timeout: float | None = None
    deadline: float | None = None
    estimated_duration: float | None = None
    retries: int = 0
    retry: RetryPolicy | None = None  # wins over retries
    dependencies: tuple[str, ...] = ()
    when: str | None = None
    for_each: str | list[Any] | None = None
    parallel: bool = False
    max_parallel: int | None = None
    run_if: RunIf = RunIf.ALL_SUCCEEDED
    on_failure: OnFailure = OnFailure()
    rate_limit: RateLimit | None = None
    concurrency: ConcurrencyLimit | None = None
    status: TaskStatus = TaskStatus.PENDING
    result: Any = None
    grows: bool = False
    signal: str = ""
    accept: str | None = None
    wait_for: float | str | None = None
    until: str | None = None
    execution: str = ""
    form: dict[str, Any] | None = None
    assignee: str = ""
    escalation: Escalation | None = None
    idempotent: bool | None = None
    cache: CachePolicy | None = None
    compensation: Compensation | None = None
    workflow: Workflow | None = None
    parent_close: ParentClose = ParentClose.CANCEL

    def __post_init__(self) -> None:
        if self.workflow is not None and self.type is TaskType.HYBRID:
            msgspec.structs.force_setattr(self, "type", TaskType.WORKFLOW)
        if not self.name:
            msgspec.structs.force_setattr(self, "name", self.id)

    @property
    def retry_policy(self) -> RetryPolicy:
        """The policy in force: the `retry` block, else `retries` + 1 attempts of exponential backoff."""
        return self.retry or RetryPolicy(max_attempts=self.retries + 1)

    @property
    def needs_agent(self) -> bool:
        """Whether an agent does the task."""
        return self.type not in WITHOUT_AGENT

    @property
    def fans_out(self) -> bool:
        """Whether the task becomes several instances."""
        return self.parallel or self.for_each is not None


class ContinueAsNew(Struct, frozen=True, omit_defaults=True):
    """That an execution, when all its tasks have ended, goes on as another run with all of them to do again.

    `when` is an expression over the run that has ended; None: always. `input` is a template over it and gives the next
    run's input; None: it has the same one.
    """

    when: str | None = None
    input: Any = None


class Workflow(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A named, versioned, immutable definition: tasks, dependencies, agents, policies.

    `dependencies` (document 002) and each task's own say the same; given either, both are filled in.
    """

    name: str
    tasks: tuple[Task, ...] = ()
    id: str = ""
    version: str = "1.0"
    orchestration_pattern: OrchestrationPattern = OrchestrationPattern.GRAPH
    agents: dict[str, AgentGroup] = {}
    inputs: tuple[InputParameter, ...] = ()
    output: Any = None  # a template; None is the result of the last task, or of each last task by id
    dependencies: dict[str, tuple[str, ...]] = {}
    config: WorkflowConfig = WorkflowConfig()
    coordination: Coordination | None = None
    fault_tolerance: FaultTolerance | None = None
    metadata: dict[str, Any] = {}
    constraints: tuple[Constraint, ...] = ()
    created_at: datetime | None = None
    scheduled_at: datetime | None = None
    checkpoints: tuple[Checkpoint, ...] = ()
    publish: Any = None  # a template: what an execution shows of itself, at any time
    secrets: tuple[Secret, ...] = ()
    schedule: ScheduleSpec | None = None  # when the clock starts it, for who makes a schedule of it; in no execution
    continue_as_new: ContinueAsNew | None = None  # None: the execution ends with its tasks

    def __post_init__(self) -> None:
        setattr_ = msgspec.structs.force_setattr
        if not self.id:
            setattr_(self, "id", workflow_id_for(self.name))
        given = self.dependencies
        if given:
            setattr_(self, "tasks", tuple(_with_dependencies(task, given.get(task.id, ())) for task in self.tasks))
        unknown = {task_id: tuple(needs) for task_id, needs in given.items()} if given else {}
        known = {task.id: task.dependencies for task in self.tasks if task.dependencies}
        setattr_(self, "dependencies", {**unknown, **known})  # a key that names no task stays, for validation to see

    def task(self, task_id: str) -> Task:
        """Return the task with this id; KeyError if there is none."""
        for task in self.tasks:
            if task.id == task_id:
                return task
        raise KeyError(task_id)

    def agent_type_of(self, task: Task) -> str:
        """Return the type of agent that does a task: its own, its role's, or the role's name taken as a type."""
        group = self.agents.get(task.agent)
        return task.agent_type or (group.type if group is not None else task.agent)

    def agent_counts(self) -> dict[str, int]:
        """Return how many agents of each type the workflow's tasks want, those that may be added included."""
        counts = {self.agent_type_of(task): 1 for task in self.tasks if task.needs_agent}
        for task in self.tasks:
            if task.workflow is not None:
                for kind, count in task.workflow.agent_counts().items():
                    counts[kind] = max(counts.get(kind, 0), count)
        grows = any(task.grows for task in self.tasks)
        for group in self.agents.values():
            if grows:
                counts.setdefault(group.type, 1)
            if group.type in counts:
                counts[group.type] = max(counts[group.type], group.count)
        return counts


def _with_dependencies(task: Task, more: tuple[str, ...] | list[str]) -> Task:
    own = set(task.dependencies)
    missing = tuple(d for d in more if d not in own)
    return msgspec.structs.replace(task, dependencies=(*task.dependencies, *missing)) if missing else task


class TaskResult(Struct, frozen=True, omit_defaults=True):
    """How a task ended (document 002)."""

    task_id: str
    status: TaskStatus
    result: Any = None
    error: str | None = None
    attempts: int = 0
    duration_seconds: float = 0.0


class WorkflowResult(Struct, frozen=True, omit_defaults=True):
    """How an execution ended (document 002). `partial` tells of tasks that failed without failing the whole."""

    execution_id: str
    workflow_id: str
    status: ExecutionStatus
    result: Any = None
    error: str | None = None
    tasks: dict[str, TaskResult] = field(default_factory=dict)
    partial: bool = False
    duration_seconds: float = 0.0
