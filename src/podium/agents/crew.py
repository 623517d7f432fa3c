"""The crew of a process: finds the code behind each agent type that workflows want, and has the agents that are wanted.

Where code can't be found, it remembers why, so that whoever asks why a task waits can be told.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from podium.exceptions import AgentBindingError, PodiumError
from podium.telemetry.logs import get_logger
from podium.workflow.model import ResourceRequirements, Workflow

if TYPE_CHECKING:
    from podium.agents.local import LocalAgents
    from podium.agents.sdk import AgentDefinition

ANY_TYPE = "*"  # of an agent definition that stands for every type without other code; of a task, that any will do
OWN = "podium_"  # begins the types of the orchestrator's own agents, which are had without being asked for
FUNCTIONS = "functions"  # the type under which plain functions are had before a workflow names one for them
_log = get_logger("podium.agents")


class Crew:
    """Agent types by the code behind them. It can bind without agents: a guest's process has none."""

    def __init__(
        self,
        specs: Iterable[str] = (),
        definitions: Iterable[AgentDefinition] = (),
        configured: Mapping[str, str] | None = None,
        *,
        elsewhere: bool = False,
    ) -> None:
        """`specs` come first, `definitions` are at hand as objects, `configured` is podium.yaml's type to spec.

        `elsewhere`: agents come over a bus too, so that only what was named here (or recorded with an execution) is
        had here, and a type without code is no mistake.
        """
        self._elsewhere = elsewhere
        self._specs = tuple(specs)
        self._configured = dict(configured or {})
        self._definitions = {definition.type: definition for definition in definitions}
        self._bound: dict[str, str] = {}  # what loads each again
        self._missing: dict[str, str] = {}  # types whose code can't be loaded here, and why
        self._hiring: set[asyncio.Task[None]] = set()
        self._agents: LocalAgents | None = None
        self.lives_elsewhere: Callable[[str], bool] = lambda agent_type: False  # types that need no code here

    def lead(self, agents: LocalAgents) -> None:
        """From now on agents are had, in this process."""
        self._agents = agents

    def bind(self, workflow: Workflow, recorded: Mapping[str, str] | None = None) -> dict[str, str]:
        """Find the code behind each agent type of a workflow; return what loads each again.

        `recorded` bindings, an execution's, come behind this process' own. Raises AgentBindingError.
        """
        return self._bind(workflow, workflow.agent_counts(), recorded)

    def _bind(
        self, workflow: Workflow, counts: Mapping[str, int], recorded: Mapping[str, str] | None
    ) -> dict[str, str]:
        from podium.agents.binding import resolve, resolve_here

        types = [t for t in counts if t != ANY_TYPE and not t.startswith(OWN)]
        wanted = [t for t in types if t not in self._bound]
        was_recorded = recorded is not None
        functions, recorded = self._definitions.get(ANY_TYPE), recorded or {}
        if functions is not None:
            same = [t for t in wanted if recorded.get(t) == functions.spec]
            self._definitions.update({t: functions.bound(t, functions.spec) for t in same})
        unknown = [t for t in wanted if t not in self._definitions]
        configured = {**recorded, **self._configured}
        if self._elsewhere:
            found = resolve_here(unknown, self._specs, configured)
        else:
            unknown = [t for t in unknown if not self.lives_elsewhere(t)]
            if not all(t in recorded for t in unknown) and was_recorded:
                functions = None  # such a type lived elsewhere: what stands for any other one isn't it
            found = resolve(unknown, self._specs, configured, functions) if unknown else {}
        self._definitions.update({t: definition for t, (_, definition) in found.items()})
        self._check_capabilities(workflow)
        self._bound.update({t: self._definitions[t].spec for t in wanted if t in self._definitions})
        return {t: self._bound[t] for t in types if self._bound.get(t)}

    def _check_capabilities(self, workflow: Workflow) -> None:
        """Raise AgentBindingError where a role asks for what its agent's code says it can't do."""
        for role in workflow.agents.values():
            definition = self._definitions.get(role.type) if role.type != ANY_TYPE else None
            able = definition.all_capabilities if definition is not None else ()
            missing = [name for name in role.capabilities if name not in able]
            if definition is not None and able and missing:
                raise AgentBindingError(
                    f"the role {role.name} asks for {', '.join(missing)}; {definition.spec or role.type} can do "
                    f"{', '.join(able)}"
                )

    async def staff(self, workflow: Workflow, recorded: Mapping[str, str] | None = None) -> dict[str, str]:
        """Have the agents that a workflow wants, where this process has agents; return its bindings."""
        counts = workflow.agent_counts()  # once: it looks at each task, and each submission comes by here
        bound = self._bind(workflow, counts, recorded)
        if self._agents is not None:
            if ANY_TYPE in counts:
                await self.hire()  # one of them may be the one
            self._agents.bind(self._definitions)
            for agent_type, count in counts.items():
                if agent_type == ANY_TYPE or agent_type not in self._definitions:
                    continue
                roles = [group for group in workflow.agents.values() if group.type == agent_type]
                resources = roles[0].resources if roles else ResourceRequirements()
                capabilities = tuple(dict.fromkeys(name for role in roles for name in role.capabilities))
                await self._agents.ensure(agent_type, count, resources, capabilities)
        return bound

    async def hire(self, more: Iterable[AgentDefinition] = ()) -> None:
        """Have one agent of each kind that was named here, without waiting for a workflow that wants it, and one
        more of each of `more`. Raises AgentBindingError.
        """
        from podium.agents.binding import load_here

        if self._agents is None:
            return
        named = {**load_here(self._specs), **self._definitions}
        for definition in named.values():
            await self._hire_one(definition, 1)
        for definition in more:
            await self._hire_one(definition, None)

    async def _hire_one(self, definition: AgentDefinition, count: int | None) -> None:
        """Have so many agents of a definition, or one more than there are."""
        assert self._agents is not None
        if definition.type == ANY_TYPE:
            definition = definition.bound(FUNCTIONS, definition.spec)
        known = self._definitions.setdefault(definition.type, definition)
        if known.functions != definition.functions:
            raise AgentBindingError(
                f"agent type {definition.type!r} has other code already: {known.spec}; give this one another type"
            )
        self._agents.bind(self._definitions)
        await self._agents.hire(definition.type, count)

    def staff_soon(self, execution: str, workflow: Workflow, recorded: Mapping[str, str]) -> None:
        """Have the agents of an execution that somebody else started, as soon as the loop comes to it."""
        hiring = asyncio.get_running_loop().create_task(
            self._staff_or_remember(execution, workflow, recorded), name=f"podium-staff-{execution}"
        )
        self._hiring.add(hiring)
        hiring.add_done_callback(self._hiring.discard)

    async def _staff_or_remember(self, execution: str, workflow: Workflow, recorded: Mapping[str, str]) -> None:
        try:
            await self.staff(workflow, recorded)
        except PodiumError as error:
            self._missing.update({t: str(error) for t in workflow.agent_counts() if t not in self._bound})
            _log.warning("agents are missing", execution=execution, error=str(error))

    def why_missing(self, reason: str) -> str:
        """Return why the agent type that a reason names has no code here; empty if it has."""
        return next((error for agent_type, error in self._missing.items() if f"type {agent_type} " in f"{reason} "), "")

    async def dismiss(self) -> None:
        """Stop having agents. Safe twice."""
        hiring = list(self._hiring)
        for task in hiring:
            task.cancel()
        await asyncio.gather(*hiring, return_exceptions=True)
