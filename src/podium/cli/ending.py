"""How an execution ended or stands, for a person and as the one JSON document of run, status, resume and retry."""

from __future__ import annotations

import os
from itertools import islice
from typing import Any

import msgspec

from podium.cli.printing import painted, width, wrapped
from podium.cli.rows import shown_error
from podium.cli.times import iso, shown_duration
from podium.engine.following import Follower
from podium.engine.state import State
from podium.engine.steering import why_not_continued
from podium.workflow.model import ExecutionStatus, WorkflowResult

FAILED = 1
_RESULT_LINES = 12


def exit_code_of(status: ExecutionStatus) -> int:
    """Return 0 for an execution that completed, 1 for another."""
    return 0 if status is ExecutionStatus.COMPLETED else FAILED


async def document_of(follower: Follower) -> dict[str, Any]:
    """Return everything about an execution as JSON-like values."""
    state, result = follower.state, await follower.result()
    workflow = state.definition.workflow
    return {
        "execution_id": state.id,
        "workflow": workflow.name,
        "version": workflow.version,
        "workflow_id": workflow.id,
        "status": str(state.status),
        "waiting": not state.sequence,
        "schedule": state.schedule or None,
        "run": state.run,
        "created_at": iso(state.created_us),
        "finished_at": iso(state.finished_us),
        "duration_seconds": result.duration_seconds,
        "partial": result.partial,
        "counts": {str(status): count for status, count in state.counts.items() if count},
        "total": state.total,
        "result": result.result,
        "published": await follower.published(),
        "error": result.error,
        "tasks": {
            task.task_id: {
                "status": str(task.status),
                "result": task.result,
                "error": task.error,
                "attempts": task.attempts,
                "agent": state.tasks[task.task_id].agent or None,
                "duration_seconds": task.duration_seconds,
            }
            for task in result.tasks.values()
        },
    }


def ending_text(state: State, result: WorkflowResult) -> str:
    """Return the last words on an execution that has ended: how, what came out, its id, what to do next."""
    took = shown_duration(result.duration_seconds)
    status = str(result.status)
    head = f"{painted(status, 'green' if status == 'completed' else 'red')} in {took}"
    if result.partial and status == "completed":
        head += "; partial: something failed that was allowed to"
    lines = [head]
    error = shown_error(state.error) if state.error else result.error
    if error:
        lines.append(wrapped(f"  error      {error}", indent=" " * 13))
    if status == "cancelled" and state.reason:
        lines.append(wrapped(f"  reason     {state.reason}", indent=" " * 13))
    if status == "completed":
        lines += _result_lines(result.result)
    lines.append(f"  execution  {state.id}")
    if status != "completed":
        stuck = " --from TASK runs that task again" if why_not_continued(state) else " tries again"
        lines.append(f"  next       podium retry {state.id}{stuck}")
    return "\n".join(lines)


def published_text(published: Any) -> str:
    """Return in a line what an execution shows as its status."""
    text = published if isinstance(published, str) else msgspec.json.encode(published).decode()
    return cut_right(f"published: {' '.join(text.split())}")


def _result_lines(result: Any) -> list[str]:
    """Return what came out: a line for each field of an object, a report's path whole."""
    if not isinstance(result, dict):
        return [] if result is None else _json_lines(result)
    if all(value is None for value in result.values()):
        return []
    lines = []
    if isinstance(result.get("report"), str):
        lines.append(f"  report     {_shown_path(result['report'])}")
        result = {name: value for name, value in result.items() if name != "report"}
    for name, value in islice(result.items(), _RESULT_LINES):
        text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
        lines.append(cut_right(f"  {name:10} {' '.join(text[:1_000].split())}"))
    left = len(result) - _RESULT_LINES
    return [*lines, *([f"  … {left:,} more (`podium status last --json` has all)"] if left > 0 else [])]


def _shown_path(path: str) -> str:
    """Return the path from the working directory, where it lies below that."""
    if os.path.isabs(path):
        near = os.path.relpath(path)
        return path if near.startswith("..") else near
    return path


def _json_lines(value: Any) -> list[str]:
    """Return a value as JSON in some lines that fit; what is left out is said."""
    flat = msgspec.json.encode(value).decode()
    if len(flat) <= width() - 13:
        return [f"  result     {flat}"]
    pretty = msgspec.json.format(flat, indent=2).splitlines()
    shown = [cut_right(f"    {line}") for line in pretty[:_RESULT_LINES]]
    left = len(pretty) - _RESULT_LINES
    return [
        "  result",
        *shown,
        *([f"    … {left:,} more lines (`podium status last --json` has all)"] if left > 0 else []),
    ]


def cut_right(line: str) -> str:
    """Return a line with its indentation, cut to the width."""
    room = width()
    return line if len(line) <= room else line[: room - 1] + "…"
