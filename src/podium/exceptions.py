"""Every exception of Podium, in one place: what happened, what was expected, what to do.

The docstring of a class is its default message. Adapters translate their library's errors into these once,
at the edge; nothing else in Podium raises a library's own exception at a user.
"""

from __future__ import annotations

import inspect
from typing import Any


class PodiumError(Exception):
    """Podium could not do what was asked."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or inspect.cleandoc(self.__doc__ or type(self).__name__))

    def __str__(self) -> str:
        return str(self.args[0])


# --- bad input: the caller can mend it (CLI exit code 2) ---------------------------------------------------------


class InvalidInputError(PodiumError):
    """The input was refused; nothing was recorded."""


class WorkflowSyntaxError(InvalidInputError):
    """The workflow definition can't be parsed."""

    problems: tuple[Any, ...] = ()  # of `podium.workflow.problems.Problem`


class WorkflowInvalidError(InvalidInputError):
    """The workflow definition parses, but is invalid."""

    problems: tuple[Any, ...] = ()  # of `podium.workflow.problems.Problem`


class ExpressionError(InvalidInputError):
    """The expression can't be used."""


class ExecutionNotFoundError(InvalidInputError):
    """No such execution."""


class ScheduleNotFoundError(InvalidInputError):
    """No schedule has this name."""


class TaskNotFoundError(InvalidInputError):
    """No such task in this execution."""


class ConflictError(InvalidInputError):
    """The command doesn't fit the execution's present state."""


class AgentBindingError(InvalidInputError):
    """An agent type has no code behind it; bind it with --agents module:Name, in podium.yaml or by an entry point."""


class SettingsError(InvalidInputError):
    """A setting is invalid."""


class MissingExtraError(InvalidInputError):
    """This needs an extra of the package that isn't installed."""


class PayloadTooLargeError(InvalidInputError):
    """The payload is larger than the limit."""


# --- the engine --------------------------------------------------------------------------------------------------


class ExecutionFailedError(PodiumError):
    """The execution ended without success."""


class IllegalTransitionError(PodiumError):
    """A state machine was asked for a move that its table doesn't have: a bug in Podium, please report it."""


class ReplayMismatchError(PodiumError):
    """The recorded history and today's code decide differently."""


class BackpressureError(PodiumError):
    """A bounded queue is full; try again later."""

    def __init__(self, message: str | None = None, retry_after_seconds: float | None = None) -> None:
        """`retry_after_seconds` is when it may be tried again, where that is known."""
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class QueueFullError(BackpressureError):
    """Too many tasks wait already; try again later."""


class ShardMovedError(PodiumError):
    """The execution is another replica's to decide; its inbox takes inputs for it."""


class EngineStoppedError(PodiumError):
    """The engine has stopped or is draining; nothing new is accepted."""


# --- agents ------------------------------------------------------------------------------------------------------


class AgentError(PodiumError):
    """An agent could not do its task."""


class NonRetryableError(AgentError):
    """Raise this (or a subclass) in a task to say that another attempt would not help."""


class SecretError(NonRetryableError):
    """A secret that the task needs isn't known where its agent runs, or can't be used."""


class TaskCancelledError(AgentError):
    """The attempt was cancelled; raised inside a task that asks its context."""


# --- the store ---------------------------------------------------------------------------------------------------


class StoreError(PodiumError):
    """The store could not do what was asked."""


class StoreUnavailableError(StoreError):
    """The store can't be written at the moment (disk full, I/O error, read-only); nothing was acknowledged."""


class UnstorableError(StoreError):
    """What is to be written can't be kept by this store, whoever tries it and however often."""


class SchemaTooOldError(StoreUnavailableError):
    """The database's tables aren't those of this version of Podium; `podium migrate` makes them, and loses nothing."""


class SchemaTooNewError(StoreError):
    """The database was written by a newer Podium; upgrade this installation or use another database."""


class NotTheOwnerError(StoreError):
    """Another process owns this database."""


class FenceLostError(StoreError):
    """Another owner has taken the shard; this process must stop writing to it."""


class SequenceConflictError(StoreError):
    """An execution has moved on since it was read."""

    def __init__(self, executions: tuple[str, ...], message: str | None = None) -> None:
        super().__init__(message or f"moved on since they were read: {', '.join(executions)}")
        self.executions = executions


class DuplicateInputError(StoreError):
    """An input with this id is already recorded for the execution."""

    def __init__(self, inputs: tuple[tuple[str, str], ...], message: str | None = None) -> None:
        super().__init__(message or f"already recorded: {', '.join(f'{e} {i}' for e, i in inputs)}")
        self.inputs = inputs


class LimitReachedError(StoreError):
    """A concurrency limit is reached."""


class CorruptHistoryError(StoreError):
    """A stored row doesn't match its checksum; the execution is set aside, others are not touched."""


class NotSupported(PodiumError):
    """This adapter can't do that."""


# --- the bus -----------------------------------------------------------------------------------------------------


class MessageBusError(PodiumError):
    """The message bus could not do what was asked."""


class TransportUnavailableError(MessageBusError):
    """The carrier of messages can't be reached, or doesn't answer."""


class BusUnreachableError(TransportUnavailableError):
    """Nobody answers where the bus should be; it may be started yet."""


class TransportClosedError(MessageBusError):
    """The transport has been stopped."""


class RequestTimeoutError(MessageBusError):
    """No answer came within the time."""


class MalformedMessageError(InvalidInputError):
    """The bytes of a message can't be read."""


class DeadLetterNotFoundError(InvalidInputError):
    """No such dead letter."""


# --- the fleet ---------------------------------------------------------------------------------------------------


class RegistryError(PodiumError):
    """The agent registry could not do what was asked."""


class AgentNotFoundError(InvalidInputError):
    """No such agent is registered."""


class RegistrationConflictError(ConflictError):
    """An agent of this name is registered with another key."""


# --- webhooks ----------------------------------------------------------------------------------------------------


class WebhookError(PodiumError):
    """A webhook could not be told; it is tried again."""
