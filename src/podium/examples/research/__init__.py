"""The workflow "multi_agent_research" over local documents: a supervisor, three researchers, a report with citations.

`research.yaml` is the workflow, `Supervisor` and `Researcher` are its agents. They are imported at their first use, so
that the plain modules beside them can be used without the rest of Podium.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from podium.examples.research.agents import Researcher, Supervisor

__all__ = ["Researcher", "Supervisor"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from podium.examples.research import agents

    return getattr(agents, name)
