"""The language, block by block: what may be written, under which names, and which part of the model it becomes.

Read it as the reference of what this version understands; the names in `later` are refused with a sentence that says
so, because to ignore them would be worse.
"""

from __future__ import annotations

from typing import Any, Final

from podium.workflow.model import (
    NAMED_RETRY_POLICIES,
    CircuitBreaker,
    Constraint,
    ConstraintType,
    ContinueAsNew,
    Coordination,
    Escalation,
    FailureAction,
    FaultTolerance,
    OnFailure,
    OrchestrationPattern,
    ParentClose,
    ResourceRequirements,
    RunIf,
    SagaPattern,
    TaskType,
)
from podium.workflow.problems import Path, quoted, shown_path
from podium.workflow.validation import COORDINATION_TYPES
from podium.workflow.yaml import declarations as d
from podium.workflow.yaml import values as v
from podium.workflow.yaml.fields import Field, Table, read_block
from podium.workflow.yaml.limits import CONCURRENCY, RATE_LIMIT, concurrency, rate_limit
from podium.workflow.yaml.nodes import Mapping, Node, Scalar, Sequence, plain_value
from podium.workflow.yaml.schedule import SCHEDULE, schedule
from podium.workflow.yaml.values import INVALID, Reading

# --- small blocks ----------------------------------------------------------------------------------------------------

RESOURCES: Final = Table(
    (
        Field("cpu_cores", v.cores, 'processor cores: 2, "2 cores", "500m"', also=("cpu",)),
        Field("memory_mb", v.memory, 'memory: a number of megabytes, "4GB", "4GiB"', also=("memory",)),
        Field("disk_mb", v.memory, "disk, written as memory is", also=("disk",)),
        Field("network_bandwidth_mbps", v.integer, "megabits a second", also=("network_bandwidth",)),
        Field("gpu_count", v.integer, "graphics processors", also=("gpu",)),
        Field("custom_resources", v.amounts, "amounts of anything else, by name", also=("custom",)),
    )
)


def resources(reading: Reading, node: Node, path: Path) -> Any:
    """Read an amount of each resource."""
    return ResourceRequirements(**read_block(reading, node, path, RESOURCES))


RETRY: Final = Table(
    (
        Field("max_attempts", v.integer, "tries altogether, the first included", also=("attempts",)),
        Field(
            "initial_delay",
            v.duration,
            "pause before the second attempt",
            also=("initial_delay_seconds",),
            attribute="initial_delay_seconds",
        ),
        Field("multiplier", v.number, "how much longer each pause is than the one before"),
        Field(
            "max_delay",
            v.duration,
            "the longest pause",
            also=("max_delay_seconds",),
            attribute="max_delay_seconds",
        ),
        Field("jitter", v.number, "0 to 1: how far chance may stretch or shorten a pause"),
        Field("non_retryable", v.texts, "types of errors after which another attempt is useless"),
    )
)


def retry(reading: Reading, node: Node, path: Path) -> Any:
    """Read a `retry` block as a mapping of what it says; the task puts it together with policy and retries."""
    if type(node) is Scalar:
        hint = "write retries: …" if isinstance(node.value, int) else "write retry_policy: …"
        return reading.wrong_type("a mapping such as {max_attempts: 3}", node, path, hint)
    return read_block(reading, node, path, RETRY)


def retry_policy(reading: Reading, node: Node, path: Path) -> Any:
    """Read the name of a retry policy."""
    name = v.text(reading, node, path)
    if name is INVALID or name in NAMED_RETRY_POLICIES:
        return name
    hint = reading.problems.suggest(name, NAMED_RETRY_POLICIES) or f"known are {', '.join(NAMED_RETRY_POLICIES)}"
    return reading.wrong_value(f"there is no retry policy {quoted(name)}", node, path, hint)


FAILURE: Final = Table(
    (
        Field("fallback", v.text, "the task that runs in this one's place"),
        Field("action", v.choice(FailureAction, "action"), "fail, continue, ask or fallback"),
        Field("task", v.text, "the task of the action fallback"),
    ),
    later=("compensate", "escalate"),
)


_IN_A_WORD: Final = ("fail", "continue", "ask")


def on_failure(reading: Reading, node: Node, path: Path) -> Any:
    """Read `fail`, `continue`, `ask`, `fallback: TASK` or the same as a mapping."""
    if type(node) is Mapping:
        said = read_block(reading, node, path, FAILURE)
        if "fallback" in said and ("action" in said or "task" in said):
            return reading.wrong_value("fallback says it all; action and task are another way", node, path)
        if "fallback" in said:
            return OnFailure(action=FailureAction.FALLBACK, task=said["fallback"])
        return OnFailure(**said) if said else INVALID
    written = v.text(reading, node, path)
    if written is INVALID:
        return INVALID
    word, _, task = (part.strip() for part in written.partition(":"))
    if word == "fallback" and task:
        return OnFailure(action=FailureAction.FALLBACK, task=task)
    if written in _IN_A_WORD:
        return OnFailure(action=FailureAction(written))
    if word == "fallback":
        return reading.wrong_value("fallback names no task", node, path, "write {fallback: TASK}")
    hint = reading.problems.suggest(written, _IN_A_WORD) or "write fail, continue, ask or {fallback: TASK}"
    return reading.wrong_value(f"there is no action {quoted(written)}", node, path, hint)


ESCALATION: Final = Table(
    (
        Field("after", v.duration, "so long the first one has time to answer"),
        Field("to", v.text, "who is asked then"),
    )
)


def escalation(reading: Reading, node: Node, path: Path) -> Any:
    """Read who is asked instead, and after how long."""
    said = read_block(reading, node, path, ESCALATION)
    if len(said) == 2:
        return Escalation(**said)
    if type(node) is Mapping and not any((*path, field.name) in reading.excused for field in ESCALATION.fields):
        message = f"{shown_path(path)} needs after and to"
        reading.note("missing-field", message, node, path, "write {after: 1h, to: NAME}")
    return INVALID


def for_each(reading: Reading, node: Node, path: Path) -> Any:
    """Read a list, or the expression that gives one."""
    if type(node) is Sequence:
        return plain_value(node)
    if type(node) is Scalar and isinstance(node.value, str):
        return node.value
    return reading.wrong_type("a list or a ${…} reference to one", node, path)


def child_later(reading: Reading, node: Node, path: Path) -> Any:
    """Hand a task's workflow, or the file that it is in, on as it is: the loader reads it as it reads the whole."""
    if type(node) is Mapping and len(node.entries) == 1 and (named := node.get("file") or node.get("path")):
        key = next(key for key, _ in node.entries.values())
        written = named.text if type(named) is Scalar else "PATH"
        message = f"{shown_path(path)} has no field {quoted(key.text)}"
        reading.note("unknown-field", message, key, (*path, key.text), f"write workflow: {written}")
        return INVALID
    if type(node) is Mapping or (type(node) is Scalar and isinstance(node.value, str)):
        return node
    return reading.wrong_type("a workflow (a mapping with name and tasks), or the path of its file", node, path)


# --- tasks and agents ------------------------------------------------------------------------------------------------

TASK: Final = Table(
    (
        Field("id", v.text, "the task's name among the others"),
        Field("name", v.text, "a title for people"),
        Field(
            "type",
            v.choice(TaskType, "type of task", frozenset({"child", "signal", "timer"})),
            "what it spends its time on: compute, io, network, hybrid; or wait, human or workflow, which no agent does",
        ),
        Field("agent", v.text, "a role of `agents`, or an agent type"),
        Field("agent_type", v.text, "an agent type, where no role is meant"),
        Field("function", v.text, "what the agent is asked to do; without it, the task's id"),
        Field("depends_on", v.texts, "tasks that come before", also=("dependencies",), attribute="dependencies"),
        Field("input", v.any_mapping, "arguments, with ${…} in their texts", also=("payload",), attribute="payload"),
        Field("parallel", v.boolean, "one instance for each agent of the role"),
        Field("for_each", for_each, "one instance for each item of a list"),
        Field("max_parallel", v.integer, "at most so many instances at once"),
        Field("when", v.condition, "an expression; if it is false the task is skipped"),
        Field("retry", retry, "when a failed attempt is tried again"),
        Field("retry_policy", retry_policy, f"the same by name: {', '.join(NAMED_RETRY_POLICIES)}"),
        Field("retries", v.integer, "attempts after the first"),
        Field("timeout", v.duration, "the longest that one attempt may take"),
        Field("deadline", v.duration, "the longest that the task may take, retries included"),
        Field("estimated_duration", v.duration, "what one instance is expected to take, for plans and simulations"),
        Field("priority", v.priority, "0 to 100, larger is sooner; or low, normal, high, critical"),
        Field("resources", resources, "what an attempt needs of its agent"),
        Field("on_failure", on_failure, "fail, continue, ask, or {fallback: TASK}"),
        Field("run_if", v.choice(RunIf, "condition"), "all_succeeded, or all_done: whatever became of them"),
        Field("grows", v.boolean, "whether its result may add tasks to the running graph"),
        Field("rate_limit", rate_limit, 'at most so many attempts of a key within a time: "10/s"'),
        Field("concurrency", concurrency, "at most so many attempts of a key at once"),
        Field("signal", v.text, "of type wait: the signal that it waits for; its value is the result"),
        Field("accept", v.condition, "of type wait: an expression over signal.value; other signals are passed over"),
        Field("for", v.duration_or_expression, "of type wait: how long it waits", attribute="wait_for"),
        Field("until", v.text, "of type wait: the time that it waits for, with its zone"),
        Field("execution", v.text, "of type wait: the execution whose end it waits for; its result is the result"),
        Field("form", v.any_mapping, "of type human: a JSON Schema of the answer"),
        Field("assignee", v.text, "of type human: who is asked"),
        Field("escalation", escalation, "of type human: who is asked instead, and after how long"),
        Field("idempotent", v.boolean, "false: it isn't begun again where nobody knows whether it was done"),
        Field("cache", d.cache, "under which key and how long a result may stand for later ones; recorded only"),
        Field("compensation", d.compensation, "what undoes it: a task's id, or a call; recorded only"),
        Field(
            "workflow",
            child_later,
            "a workflow that the task is, or the path of its file: an execution of its own with `input` as its input",
        ),
        Field(
            "parent_close",
            v.choice(ParentClose, "policy"),
            "what becomes of that when this execution ends before it: cancel, terminate, abandon",
            also=("parent_close_policy",),
        ),
    ),
    later=(
        *("capabilities", "children", "compensate", "concurrency_key"),
        *("constraints", "env", "environment", "event", "human", "include"),
        *("output", "outputs", "requires", "schedule", "scheduled_at", "secrets"),
        *("speculative", "steps", "tags", "wait", "wait_for"),
    ),
)

AGENT: Final = Table(
    (
        Field("type", v.text, "the agent type that fills the role", also=("agent_type",)),
        Field("count", v.integer, "how many agents the role has"),
        Field("capabilities", v.texts, "what these agents can do"),
        Field("resources", resources, "what each of them has to offer"),
        Field("version", v.text_as_written, 'which versions of agents may fill it: ">=1.2,<2"'),
        Field("rate_limit", rate_limit, "a rate limit for its tasks that have none of their own"),
        Field("concurrency", concurrency, "likewise, so many attempts at once"),
        Field("env", d.variables, "environment variables of its tasks", also=("environment",)),
    ),
    later=("image", "replicas", "secrets"),
)

_DEFAULTED: Final = frozenset(
    {"type", "agent", "agent_type", "retry", "retry_policy", "retries", "timeout", "deadline", "estimated_duration"}
    | {"priority", "resources", "on_failure", "run_if", "idempotent"}
)
DEFAULTS: Final = Table(field for field in TASK.fields if field.name in _DEFAULTED)
"""What `defaults` may say of the tasks of its file that don't say it themselves."""

INCLUDED: Final = Table(
    (
        Field("file", v.text, "a path seen from the file that it is written in", also=("path",)),
        Field("prefix", v.text, "what the ids of its tasks begin with here"),
    ),
    later=("only", "with", "inputs"),
)


def included_later(reading: Reading, node: Node, path: Path) -> Any:
    """Hand on what is included: `including` has read it before."""
    return node


def defaults_later(reading: Reading, node: Node, path: Path) -> Any:
    """Hand the defaults on: `including` has read them before."""
    return node


# --- the workflow ----------------------------------------------------------------------------------------------------

CONFIG: Final = Table(
    (
        Field("timeout", v.duration, "the longest that an execution may take", also=("deadline",)),
        Field("priority", v.priority, "of tasks that don't say"),
        Field("max_parallel_tasks", v.integer, "at most so many tasks of an execution at once"),
        Field("max_concurrent_executions", v.integer, "at most so many executions at once"),
        Field("max_crashes", v.integer, "a task that kills its worker so often fails for good"),
    ),
    later=("cache", "catch_up", "concurrency", "env", "overlap", "rate_limit", "retention", "retry", "schedule"),
)


def config(reading: Reading, node: Node, path: Path) -> Any:
    """Read the `config` block as a mapping of what it says; the shorthands at the workflow's level come to it."""
    return read_block(reading, node, path, CONFIG)


COORDINATION: Final = Table(
    (
        Field(
            "type",
            v.text,
            "hybrid, event_driven or graph_based",
            among=(*COORDINATION_TYPES, *(kind.replace("_", "-") for kind in COORDINATION_TYPES if "_" in kind)),
        ),
        Field("event_driven", v.texts, "what is coordinated by events"),
        Field("graph_based", v.texts, "what is coordinated by the graph"),
    ),
    later=("channels", "handoff", "max_handoffs", "max_rounds", "max_turns", "supervisor", "topology"),
)
CIRCUIT_BREAKER: Final = Table(
    (
        Field("failure_threshold", v.integer, "so many failures in a row open it"),
        Field("timeout_seconds", v.duration, "so long it stays open", also=("timeout",)),
    )
)
SAGA: Final = Table(
    (
        Field("compensation_enabled", v.boolean, "whether finished tasks can be compensated"),
        Field("rollback_on_failure", v.boolean, "whether a failure compensates them"),
    ),
    later=("compensation_timeout", "compensation_timeout_seconds"),
)


def coordination(reading: Reading, node: Node, path: Path) -> Any:
    """Read the `coordination` block."""
    return Coordination(**read_block(reading, node, path, COORDINATION))


def circuit_breaker(reading: Reading, node: Node, path: Path) -> Any:
    """Read the `circuit_breaker` block."""
    return CircuitBreaker(**read_block(reading, node, path, CIRCUIT_BREAKER))


def saga_pattern(reading: Reading, node: Node, path: Path) -> Any:
    """Read the `saga_pattern` block."""
    return SagaPattern(**read_block(reading, node, path, SAGA))


FAULT_TOLERANCE: Final = Table(
    (
        Field("circuit_breaker", circuit_breaker, "when an agent gets no work for a while"),
        Field("saga_pattern", saga_pattern, "whether finished tasks are compensated", also=("saga",)),
    ),
    later=("bulkhead", "checkpoint", "dead_letter", "health_check", "retry"),
)


def fault_tolerance(reading: Reading, node: Node, path: Path) -> Any:
    """Read the `fault_tolerance` block."""
    return FaultTolerance(**read_block(reading, node, path, FAULT_TOLERANCE))


CONSTRAINT: Final = Table(
    (
        Field("type", v.choice(ConstraintType, "type of constraint"), "max_parallel"),
        Field("value", v.integer, "the limit"),
    )
)


def constraints(reading: Reading, node: Node, path: Path) -> Any:
    """Read a list of {type, value}, or a mapping of type to value."""
    if type(node) is Mapping:
        table = Table(Field(kind.value, v.integer, "the limit") for kind in ConstraintType)
        said = read_block(reading, node, path, table)
        return tuple(Constraint(type=ConstraintType(kind), value=value) for kind, value in said.items())
    if type(node) is not Sequence:
        return reading.wrong_type("a list of {type, value}", node, path)
    read = []
    for at, item in enumerate(node.items):
        said = read_block(reading, item, (*path, at), CONSTRAINT)
        if len(said) == 2:
            read.append(Constraint(**said))
        elif not any((*path, at, field.name) in reading.excused for field in CONSTRAINT.fields):
            message = f"{shown_path((*path, at))} needs a type and a value"
            reading.note("missing-field", message, item, (*path, at), "write {type: max_parallel, value: 4}")
    return tuple(read)


CONTINUE_AS_NEW: Final = Table(
    (
        Field("when", v.condition, "an expression over the run that has ended; if it is false the execution ends"),
        Field("input", v.anything, "the next run's input, a template with ${…}; without it, the same again"),
    )
)


def continue_as_new(reading: Reading, node: Node, path: Path) -> Any:
    """Read `true`, or when an execution goes on as another run and with which input."""
    if type(node) is Scalar and isinstance(node.value, bool):
        return ContinueAsNew() if node.value else None
    return ContinueAsNew(**read_block(reading, node, path, CONTINUE_AS_NEW))


def agents_later(reading: Reading, node: Node, path: Path) -> Any:
    """Hand the roles on as they are: the loader reads them when it knows the rest."""
    return node


def tasks_later(reading: Reading, node: Node, path: Path) -> Any:
    """Hand the tasks on as they are: the loader reads them when it knows the agents."""
    return node


WORKFLOW: Final = Table(
    (
        Field("name", v.text, "the workflow's name; all its versions share it"),
        Field("id", v.text, "a fixed id; without it, one that follows from the name", also=("workflow_id",)),
        Field("version", v.text_as_written, 'the version: "1.0"'),
        Field("description", v.text, "a sentence for people"),
        Field(
            "orchestration_pattern",
            v.choice(OrchestrationPattern, "orchestration pattern", rule="unsupported-pattern"),
            f"one of {', '.join(OrchestrationPattern)}",
        ),
        Field("include", included_later, "other files whose tasks, agents, inputs and secrets are added"),
        Field("inputs", d.inputs, "what an execution is given"),
        Field("secrets", d.secrets, "values by reference, which only agents' processes know"),
        Field("output", v.anything, "what an execution gives, a template with ${…}"),
        Field("publish", v.anything, "what an execution shows of itself at any time, a template with ${…}"),
        Field("continue_as_new", continue_as_new, "that it goes on as another run when its tasks have ended"),
        Field("agents", agents_later, "roles and the agents that fill them"),
        Field("defaults", defaults_later, "what tasks of this file get that don't say it"),
        Field("tasks", tasks_later, "what is to be done"),
        Field("config", config, "how an execution runs"),
        Field("timeout", v.duration, "config.timeout, in short", also=("deadline",)),
        Field("priority", v.priority, "config.priority, in short"),
        Field("coordination", coordination, "document 004's block"),
        Field("fault_tolerance", fault_tolerance, "circuit breaker and saga"),
        Field("constraints", constraints, "limits on the whole execution"),
        Field("metadata", v.any_mapping, "anything else that people want to keep"),
        Field("scheduled_at", v.moment, "not before this time"),
        Field("schedule", schedule, "when the clock starts it, once `podium schedule create` is given the file"),
    ),
    later=(
        *("cache", "compensation", "concurrency", "env", "environment", "extends", "imports"),
        *("on", "on_failure", "parameters", "params", "rate_limit", "retry", "retry_policy", "schedules"),
        *("signals", "tags", "triggers", "variables", "vars"),
    ),
    free=True,
)

_TABLES: Final = (
    *(WORKFLOW, CONFIG, AGENT, TASK, RESOURCES, RETRY, FAILURE, CIRCUIT_BREAKER, FAULT_TOLERANCE),
    *(RATE_LIMIT, CONCURRENCY, INCLUDED, SCHEDULE, CONTINUE_AS_NEW),
    *(d.INPUT, d.CACHE, d.COMPENSATION, d.SECRET),
)
WRITTEN_AS: Final[dict[str, tuple[str, ...]]] = {
    field.target: tuple(name for name in (field.name, *field.also)) for table in _TABLES for field in table.fields
} | {
    "agent_type": ("agent_type", "agent"),
    "retry": ("retry", "retry_policy", "retries"),
    "timeout": ("timeout", "deadline"),
}
"""Under which names an attribute of the model may stand in a file; for the place of a problem."""
