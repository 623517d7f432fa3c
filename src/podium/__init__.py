"""Podium: one engine that registers agents, gives them work and runs workflows durably.

The public names; each is imported when it is first used, so that `import podium` costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from podium.agents.expansion import Expansion
    from podium.agents.sdk import Context, agent, task
    from podium.api.allocated import ResourceAllocation
    from podium.api.config import OrchestratorConfig
    from podium.api.executor import Agent, TaskExecutor
    from podium.api.orchestrator import Orchestrator, WorkflowStatus
    from podium.api.registry import AgentRegistry
    from podium.api.running import run
    from podium.api.scheduler import ScheduledTask, TaskScheduler
    from podium.api.validating import validate
    from podium.bus.message import Message, MessageType, Priority
    from podium.bus.message_bus import MessageBus
    from podium.exceptions import BackpressureError, NonRetryableError, PodiumError, QueueFullError
    from podium.fleet.descriptor import SLA, AgentDescriptor, ServiceType
    from podium.fleet.member import AgentInfo
    from podium.fleet.wire import (
        AgentRegistration,
        AgentTask,
        SystemEventMessage,
        SystemEventType,
        SystemStatus,
        TaskPriority,
    )
    from podium.scheduling.planner import Schedule, schedule
    from podium.workflow.builder import Segment, WorkflowBuilder
    from podium.workflow.graph import DependencyGraph
    from podium.workflow.model import (
        AgentGroup,
        Checkpoint,
        Constraint,
        ConstraintType,
        ContinueAsNew,
        ExecutionStatus,
        OnFailure,
        OrchestrationPattern,
        ParentClose,
        ResourceRequirements,
        RetryPolicy,
        RunIf,
        Task,
        TaskResult,
        TaskStatus,
        TaskType,
        Workflow,
        WorkflowConfig,
        WorkflowResult,
    )
    from podium.workflow.plan import ExecutionPlan, ExecutionStage, plan
    from podium.workflow.schedules.spec import Overlap, ScheduleSpec
    from podium.workflow.tracing import WorkflowFunction, each, using, when, workflow
    from podium.workflow.yaml import dump_workflow, load_workflow

__version__ = "0.1.0"

_HOMES = {
    "podium.agents.expansion": ("Expansion",),
    "podium.agents.sdk": ("Context", "agent", "task"),
    "podium.api.allocated": ("ResourceAllocation",),
    "podium.api.config": ("OrchestratorConfig",),
    "podium.api.executor": ("Agent", "TaskExecutor"),
    "podium.api.orchestrator": ("Orchestrator", "WorkflowStatus"),
    "podium.api.registry": ("AgentRegistry",),
    "podium.api.running": ("run",),
    "podium.api.scheduler": ("ScheduledTask", "TaskScheduler"),
    "podium.api.validating": ("validate",),
    "podium.bus.message": ("Message", "MessageType", "Priority"),
    "podium.bus.message_bus": ("MessageBus",),
    "podium.exceptions": ("BackpressureError", "NonRetryableError", "PodiumError", "QueueFullError"),
    "podium.fleet.descriptor": ("SLA", "AgentDescriptor", "ServiceType"),
    "podium.fleet.member": ("AgentInfo",),
    "podium.fleet.wire": (
        "AgentRegistration", "AgentTask", "SystemEventMessage", "SystemEventType", "SystemStatus", "TaskPriority",
    ),
    "podium.scheduling.planner": ("Schedule", "schedule"),
    "podium.workflow.builder": ("Segment", "WorkflowBuilder"),
    "podium.workflow.graph": ("DependencyGraph",),
    "podium.workflow.model": (
        "AgentGroup", "Checkpoint", "Constraint", "ConstraintType", "ContinueAsNew", "ExecutionStatus",
        "OnFailure", "OrchestrationPattern", "ParentClose", "ResourceRequirements", "RetryPolicy", "RunIf", "Task",
        "TaskResult", "TaskStatus", "TaskType", "Workflow", "WorkflowConfig", "WorkflowResult",
    ),
    "podium.workflow.plan": ("ExecutionPlan", "ExecutionStage", "plan"),
    "podium.workflow.schedules.spec": ("Overlap", "ScheduleSpec"),
    "podium.workflow.tracing": ("WorkflowFunction", "each", "using", "when"),
    "podium.workflow.yaml": ("dump_workflow", "load_workflow"),
}  # fmt: skip
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "SLA",
    "Agent",
    "AgentDescriptor",
    "AgentGroup",
    "AgentInfo",
    "AgentRegistration",
    "AgentRegistry",
    "AgentTask",
    "BackpressureError",
    "Checkpoint",
    "Constraint",
    "ConstraintType",
    "Context",
    "ContinueAsNew",
    "DependencyGraph",
    "ExecutionPlan",
    "ExecutionStage",
    "ExecutionStatus",
    "Expansion",
    "Message",
    "MessageBus",
    "MessageType",
    "NonRetryableError",
    "OnFailure",
    "OrchestrationPattern",
    "Orchestrator",
    "OrchestratorConfig",
    "Overlap",
    "ParentClose",
    "PodiumError",
    "Priority",
    "QueueFullError",
    "ResourceAllocation",
    "ResourceRequirements",
    "RetryPolicy",
    "RunIf",
    "Schedule",
    "ScheduleSpec",
    "ScheduledTask",
    "Segment",
    "ServiceType",
    "SystemEventMessage",
    "SystemEventType",
    "SystemStatus",
    "Task",
    "TaskExecutor",
    "TaskPriority",
    "TaskResult",
    "TaskScheduler",
    "TaskStatus",
    "TaskType",
    "Workflow",
    "WorkflowBuilder",
    "WorkflowConfig",
    "WorkflowFunction",
    "WorkflowResult",
    "WorkflowStatus",
    "agent",
    "dump_workflow",
    "each",
    "load_workflow",
    "plan",
    "run",
    "schedule",
    "task",
    "using",
    "validate",
    "when",
    "workflow",
]


def __getattr__(name: str) -> Any:
    if name == "workflow":  # the package, which is the decorator when it is called
        return import_module("podium.workflow")
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module 'podium' has no attribute {name!r}")
    found = getattr(import_module(home), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME_OF, "workflow"})
