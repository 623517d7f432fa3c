"""What a task returns to add tasks to its running execution: an `Expansion` instead of a plain result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Raw, Struct

from podium.workflow.model import Task


class Expansion(Struct, frozen=True):
    """Tasks and dependencies to be added to the running graph, and the task's own result.

    `tasks` are `podium.Task`s, or mappings in the words of the YAML language. `dependencies` has tasks that haven't
    begun, or are added here, wait for others besides: `{"report": ["summary"]}`. The task must say `grows: true`.
    """

    tasks: Sequence[Task | Mapping[str, Any]] = ()
    dependencies: Mapping[str, Sequence[str]] = {}
    result: Any = None

    def encoded(self, result: Raw) -> dict[str, Any]:
        """Return what goes over the wire, with the task's result as JSON."""
        from podium.workflow.yaml.additions import written_task  # only who grows a graph needs the language

        tasks = [written_task(task) if isinstance(task, Task) else task for task in self.tasks]
        return {"$expansion": {"tasks": tasks, "dependencies": dict(self.dependencies), "result": result}}


def mentions_expansion(hint: Any) -> bool:
    """Whether a function's hint says that its result may be an expansion."""
    return hint is Expansion or any(mentions_expansion(part) for part in getattr(hint, "__args__", ()))
