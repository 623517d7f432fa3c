"""The code behind a workflow's agent types, found as `podium run` finds it, for simulations that run it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from podium.agents.binding import resolve
from podium.agents.crew import ANY_TYPE
from podium.agents.sdk import AgentDefinition
from podium.api.agents import definitions_of
from podium.workflow.model import Workflow


def code_behind(
    workflow: Workflow,
    agents: Iterable[str | type | Callable[..., object]] = (),
    configured: Mapping[str, str] | None = None,
) -> dict[str, AgentDefinition]:
    """Return the agents by type: specs (`module:Name`), agent classes or task functions first, then podium.yaml's
    (`configured`), those of installed packages, the ready-made ones. Raises AgentBindingError.
    """
    specs, definitions = definitions_of(agents)
    found = {definition.type: definition for definition in definitions}
    functions = found.pop(ANY_TYPE, None)
    types = list(workflow.agent_counts())
    missing = [agent_type for agent_type in types if agent_type not in found]
    bound = resolve(missing, specs, configured, functions) if missing else {}
    found.update({agent_type: definition for agent_type, (_, definition) in bound.items()})
    return {agent_type: found[agent_type] for agent_type in types}


@contextmanager
def own_folder(wanted: bool) -> Iterator[None]:
    """Work in an empty folder, so that what code writes in one run isn't there in the next."""
    if not wanted:
        yield
        return
    before = Path.cwd()
    with tempfile.TemporaryDirectory(prefix="podium-simulate-") as folder:
        os.chdir(folder)
        try:
            yield
        finally:
            os.chdir(before)
