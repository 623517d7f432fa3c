"""Who does the work of a simulated run: so many agents of a size, and the workflow as they can take it.

Pure. By default they are the agents that the workflow itself asks for; else so many of one kind, which do whatever
there is to do.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from podium.exceptions import InvalidInputError
from podium.scheduling.resources import NOTHING, Capacity, Vector, vector_of, vector_of_amounts
from podium.simulation.shapes import Shapes
from podium.workflow.model import AgentGroup, ResourceRequirements, Task, TaskType, Workflow
from podium.workflow.plan import UNIT_SECONDS, known_durations

ANY_KIND: Final = "agent"
"""The type of agents that do whatever there is to do."""

MAX_AGENTS: Final = 10_000
ONE_CORE: Final = 1.0
"""So much of an agent's cores a task takes that doesn't say how many it needs."""

_MOST_SLOTS: Final = 1_000_000
_NOTHING: Final = ResourceRequirements()
_SHOWN: Final = 5
_SLACK: Final = 1e-9  # of a core, as in placement


class SimulatedAgent(Struct, frozen=True):
    """An agent of a simulated run. One whose cores aren't given does one task at a time."""

    id: str
    type: str
    resources: ResourceRequirements = _NOTHING
    capabilities: tuple[str, ...] = ()
    slots: int = 1  # how many tasks it does at once, if its resources allow it


class Crew(Struct, frozen=True):
    """The agents of a simulated run, and the workflow as it is given to them."""

    agents: tuple[SimulatedAgent, ...]
    workflow: Workflow

    @property
    def capacity(self) -> Vector:
        """What each agent has, by the names of `scheduling.resources`; empty where they aren't alike."""
        sizes = [vector_of(agent.resources) for agent in _unlike(self.agents)]
        return sizes[0] if all(size == sizes[0] for size in sizes) else NOTHING


def crew_for(workflow: Workflow, agents: int | None = None, capacity: Mapping[str, float] | None = None) -> Crew:
    """Return the crew of a valid workflow: `agents` of one kind, or (None) those that the workflow asks for.

    `capacity` is what each agent has, by the settings' names (`cpu`, `memory_mb`, …); without it, what the workflow's
    roles say. Raises InvalidInputError when a task needs more than any agent has.
    """
    if agents is not None and not 1 <= agents <= MAX_AGENTS:
        raise InvalidInputError(f"{agents:,} agents can't be simulated; 1 to {MAX_AGENTS:,} can")
    resources = None if capacity is None else resources_of(capacity)
    kinds = _kinds(workflow) if agents is None else dict.fromkeys(_kinds(workflow), ANY_KIND)
    if agents is None:
        made = _own_agents(workflow, kinds, resources)
    else:
        able = tuple(dict.fromkeys(name for role in workflow.agents.values() for name in role.capabilities))
        made = [SimulatedAgent(f"{ANY_KIND}-{at + 1}", ANY_KIND, resources or _NOTHING, able) for at in range(agents)]
    ready = _given_to(workflow, kinds, made)
    crew = Crew(_with_slots(made, ready), ready)
    _check_fits(crew)
    return crew


def resources_of(capacity: Mapping[str, float]) -> ResourceRequirements:
    """Return amounts by the settings' names as an agent's resources.

    Raises InvalidInputError for nothing of a resource, which would be as if it weren't said, and for part of a device.
    """
    for name, amount in capacity.items():
        if amount <= 0:
            raise InvalidInputError(f"--capacity {name}: an agent must have something of it, not {amount:g}")
    vector = vector_of_amounts(capacity)
    whole = {name: amount for name, amount in vector.items() if name != "cpu_cores"}
    for name, amount in whole.items():
        if not float(amount).is_integer():
            raise InvalidInputError(f"--capacity {name.removeprefix('custom.')}: {amount:g} is no whole number")
    custom = {n.removeprefix("custom."): int(a) for n, a in whole.items() if n.startswith("custom.")}
    named = {name: int(amount) for name, amount in whole.items() if not name.startswith("custom.")}
    return ResourceRequirements(cpu_cores=vector.get("cpu_cores", 0.0), custom_resources=custom, **named)


def _kinds(workflow: Workflow) -> dict[str, str]:
    """Return the agent types of a workflow; a task that any type may do gets a type of its own here."""
    return {kind: ANY_KIND if kind == "*" else kind for kind in workflow.agent_counts()}


def _own_agents(
    workflow: Workflow, kinds: Mapping[str, str], resources: ResourceRequirements | None
) -> list[SimulatedAgent]:
    made = []
    for kind, count in workflow.agent_counts().items():
        roles = [role for role in workflow.agents.values() if role.type == kind]
        able = tuple(dict.fromkeys(name for role in roles for name in role.capabilities))
        own = resources or next((role.resources for role in roles if role.resources != _NOTHING), _NOTHING)
        made += [SimulatedAgent(f"{kinds[kind]}-{at + 1}", kinds[kind], own, able) for at in range(count)]
    return made


def _given_to(workflow: Workflow, kinds: Mapping[str, str], agents: list[SimulatedAgent]) -> Workflow:
    """Return the workflow for these agents: of their types, and with a core for each task that doesn't say."""
    cores: dict[str, float] = {}
    for agent in agents:
        cores[agent.type] = max(cores.get(agent.type, 0.0), agent.resources.cpu_cores)
    roles = {
        name: AgentGroup(
            role.name,
            kinds.get(role.type, role.type),
            role.count,
            role.capabilities,
            rate_limit=role.rate_limit,
            concurrency=role.concurrency,
        )
        for name, role in workflow.agents.items()
    }

    known = known_durations(workflow)
    shapes = Shapes(workflow)

    def given(task: Task) -> Task:
        if task.workflow is not None:  # one that takes as long, with a result of the shape that is read
            takes = Task(id="all", type=TaskType.WAIT, wait_for=known.get(task.id, UNIT_SECONDS))
            return Task(
                id=task.id, name=task.name, for_each=task.for_each, max_parallel=task.max_parallel,
                workflow=Workflow(name=task.workflow.name, tasks=(takes,), output=shapes.of(task.id)),
                dependencies=task.dependencies, when=task.when, run_if=task.run_if, on_failure=task.on_failure,
            )  # fmt: skip
        if not task.needs_agent:  # what comes from outside comes after as long as it is expected to take
            return Task(
                id=task.id, name=task.name, type=TaskType.WAIT, wait_for=known.get(task.id, UNIT_SECONDS),
                dependencies=task.dependencies, when=task.when, run_if=task.run_if, on_failure=task.on_failure,
            )  # fmt: skip
        kind = kinds[workflow.agent_type_of(task)]
        needs = task.resources
        if not needs.cpu_cores and cores.get(kind):
            needs = replace(needs, cpu_cores=min(ONE_CORE, cores[kind]))
        return replace(task, agent_type=kind, resources=needs)

    tasks = tuple(given(task) for task in workflow.tasks)
    return replace(workflow, agents=roles, tasks=tasks, continue_as_new=None)  # one run is what is simulated


def _with_slots(agents: list[SimulatedAgent], workflow: Workflow) -> tuple[SimulatedAgent, ...]:
    """Return the agents with as many slots as their cores have room for the smallest task of their type."""
    smallest: dict[str, float] = {}
    for task in workflow.tasks:
        cores = task.resources.cpu_cores
        smallest[task.agent_type] = min(smallest.get(task.agent_type, cores), cores)

    def slots(agent: SimulatedAgent) -> int:
        cores, least = agent.resources.cpu_cores, smallest.get(agent.type, ONE_CORE)
        return max(1, min(int(cores / least + _SLACK), _MOST_SLOTS)) if cores and least else 1

    return tuple(replace(agent, slots=slots(agent)) for agent in agents)


def _check_fits(crew: Crew) -> None:
    """Refuse what would wait for ever."""
    sizes = [(agent.type, Capacity(vector_of(agent.resources))) for agent in _unlike(crew.agents)]
    misfits = []
    for task in crew.workflow.tasks:
        need = vector_of(task.resources)
        short = [size.never_fits(need) for kind, size in sizes if kind == task.agent_type]
        if need and short and all(short):
            misfits.append(f"{task.id} ({_amounts({name: need[name] for name in short[0]})})")
    if misfits:
        more = f" and {len(misfits) - _SHOWN:,} more" if len(misfits) > _SHOWN else ""
        raise InvalidInputError(
            f"no agent is large enough for {', '.join(misfits[:_SHOWN])}{more}: raise --capacity (an agent has "
            f"{_amounts(vector_of(crew.agents[0].resources)) or 'no devices'})"
        )


def _unlike(agents: tuple[SimulatedAgent, ...]) -> list[SimulatedAgent]:
    """Return one agent of each type and size."""
    found: list[SimulatedAgent] = []
    for agent in agents:
        if not any(agent.type == other.type and agent.resources == other.resources for other in found):
            found.append(agent)
    return found


def _amounts(amounts: Vector) -> str:
    return ", ".join(f"{amount:g} {name}" for name, amount in amounts.items())
