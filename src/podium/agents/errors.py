"""What goes wrong with an attempt, as agents report it: the host's own error types, and `ErrorInfo` of any exception.

An error text may be of any size and its `__str__` may raise: what is reported is cut to a limit that is said, and
always encodable. Called by the host and by the worker process under it.
"""

from __future__ import annotations

import traceback

from podium.agents.context import cut
from podium.exceptions import AgentError, NonRetryableError
from podium.fleet.messages import ErrorInfo

MESSAGE_LIMIT = 8 * 1024
TRACEBACK_LIMIT = 16 * 1024
FRAMES_LIMIT = 40  # the innermost ones
CHAIN_LIMIT = 6  # causes, contexts and members of groups


class ArgumentError(NonRetryableError):
    """The arguments don't fit the function."""


class ResultError(NonRetryableError):
    """The result can't be sent, or isn't what the function's hint promises."""


class UnknownFunctionError(NonRetryableError):
    """The agent has no such function."""


class WorkerDied(AgentError):
    """The worker process under the attempt ended before the attempt did."""


class WorkerUnavailable(AgentError):
    """A worker process for the attempt could not be started."""


_OWN = {
    error: error.__name__ for error in (ArgumentError, ResultError, UnknownFunctionError, WorkerDied, WorkerUnavailable)
}


def describe_error(error: BaseException, skip_frames: int = 0) -> ErrorInfo:
    """Return what an exception says, cut to the limits; `skip_frames` outer frames (the host's) are left out."""
    return ErrorInfo(
        type=error_type(error),
        message=cut(error_text(error), MESSAGE_LIMIT),
        traceback="" if type(error) in _OWN else _traceback(error, skip_frames),
        retryable=not isinstance(error, NonRetryableError),
    )


def error_type(error: BaseException) -> str:
    """Return the type as policies name it: `module.Class`, for builtins and the host's own errors just `Class`."""
    cls = type(error)
    if cls in _OWN:
        return _OWN[cls]
    name = cut(getattr(cls, "__qualname__", cls.__name__), 256)
    return name if cls.__module__ == "builtins" else f"{cls.__module__}.{name}"


def error_text(error: BaseException) -> str:
    """Return the exception's text, even if its `__str__` fails."""
    try:
        text = str(error)
    except BaseException as failure:  # noqa: BLE001 - a user's __str__ may raise anything; the report must still go out
        return f"(its text can't be shown: {type(failure).__name__} in __str__)"
    return text


def timed_out(seconds: float | None) -> ErrorInfo:
    """Return the error of an attempt that ran out of its time."""
    return ErrorInfo(type="TimeoutError", message=f"no result within {seconds or 0:g} s")


def cancelled(reason: str) -> ErrorInfo:
    """Return the error of an attempt that was cancelled."""
    return ErrorInfo(type="TaskCancelledError", message=cut(reason or "cancelled", MESSAGE_LIMIT), retryable=False)


def _traceback(error: BaseException, skip_frames: int) -> str:
    """Return the traceback with its causes, the innermost frames and the error itself last."""
    parts = _parts(error, skip_frames, {id(error)})
    text = "".join(parts)
    if len(text) <= TRACEBACK_LIMIT:
        return cut(text, TRACEBACK_LIMIT)
    kept = text[-TRACEBACK_LIMIT:]
    return cut(f"({len(text) - len(kept):,} characters left out) …{kept}", TRACEBACK_LIMIT + 64)


def _parts(error: BaseException, skip_frames: int, seen: set[int]) -> list[str]:
    parts: list[str] = []
    before = error.__cause__ if error.__cause__ is not None or error.__suppress_context__ else error.__context__
    if before is not None and id(before) not in seen and len(seen) < CHAIN_LIMIT:
        seen.add(id(before))
        parts += _parts(before, 0, seen)
        how = "was the direct cause of" if error.__cause__ is not None else "came before"
        parts.append(f"\nThe exception above {how} the following one:\n\n")
    frames = error.__traceback__
    for _ in range(skip_frames):
        frames = frames.tb_next if frames is not None and frames.tb_next is not None else frames
    if frames is not None:
        parts.append("Traceback (most recent call last):\n")
        parts += (line[:1024] for line in traceback.format_tb(frames, limit=-FRAMES_LIMIT))
    parts.append(f"{error_type(error)}: {cut(error_text(error), MESSAGE_LIMIT // 2)}\n")
    if isinstance(error, BaseExceptionGroup):
        for member in error.exceptions:
            if len(seen) >= CHAIN_LIMIT:
                break
            seen.add(id(member))
            parts.append("  of the group:\n")
            parts += _parts(member, 0, seen)
    return parts
