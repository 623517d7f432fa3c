"""Why a ready task hasn't an agent yet, in one sentence for people. It only looks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from podium.scheduling.ready import ANY_TYPE, ReadyTask
from podium.scheduling.resources import Vector
from podium.scheduling.slots import Agent

if TYPE_CHECKING:
    from podium.scheduling.placement import Placement

_SHOWN = 5


def why(placement: Placement, ready: ReadyTask, now_us: int = 0) -> str:
    """Return why a queued task waits; never empty."""
    agents = [a for a in placement.agents.values() if a.serves(ready)]
    if not agents and ready.agent_type == ANY_TYPE:
        return f"no agent that answers to {ready.function} is registered"
    if not agents:
        return f"no agent of type {ready.agent_type} is registered"
    able = [a for a in agents if a.suits(ready)]
    if not able:
        return _why_unsuited(ready, agents)
    if all(a.capacity.never_fits(ready.needs) for a in able):
        short = able[0].capacity.never_fits(ready.needs)
        return f"no agent {_kind(ready)} is large enough: {_amounts(short)} short"
    pool = placement.pool
    if pool.never_fits(ready.needs):
        return f"the pool is too small: {_amounts(pool.never_fits(ready.needs))} short"
    if limit := placement.limits.why(ready, now_us):
        return limit
    lacking = pool.lacking(ready.needs)
    if lacking:
        return f"the pool is used up at the moment: {_amounts(lacking)} short"
    return _why_no_slot(placement, ready, able)


def _why_unsuited(ready: ReadyTask, agents: list[Agent]) -> str:
    able = [a for a in agents if ready.capabilities <= a.capabilities]
    if not able:
        missing = ", ".join(sorted(ready.capabilities))
        return f"none of the {len(agents)} agents {_kind(ready)} has the capabilities {missing}"
    there = sorted({a.version or "one without a version" for a in able})
    more = f" and {len(there) - _SHOWN} more" if len(there) > _SHOWN else ""
    wanted = ready.function if ready.agent_type == ANY_TYPE else ready.agent_type
    verb = "is" if len(there) == 1 else "are"
    return f"it waits for {wanted} {ready.version}; {', '.join(there[:_SHOWN])}{more} {verb} here"


def _why_no_slot(placement: Placement, ready: ReadyTask, able: list[Agent]) -> str:
    ahead, here = placement.ahead_of(ready), placement.here
    slots, held = sum(a.slots for a in able), sum(a.held for a in able)
    agents = "1 agent" if len(able) == 1 else f"{len(able)} agents"
    busy = f"{held} of {slots} slots of {agents} {_kind(ready)} are taken"
    if all(a.leaving for a in able):
        return f"every agent {_kind(ready)} is leaving"
    if here is not None and here.full and all(a.together is here for a in able):
        return f"the agents of this process hold {here.held} tasks, as many as they may (max_concurrent_tasks)"
    off = [a for a in able if a.circuit is not None and not a.circuit.admits(ready.circuit)]
    if off and not any(a.open for a in able if a not in off):
        return f"{_why_off(off[0], ready, len(off))}; {busy}"
    if not any(a.open for a in able) and any(a.full and a.held < a.slots for a in able):
        return f"every agent with a free slot has refused, and hasn't been heard of since; {busy}"
    if any(a.open for a in able) and ready.needs:
        return f"no agent has enough left for it ({_amounts(ready.needs)}); {busy}"
    return f"{busy}; {ahead} {'task is' if ahead == 1 else 'tasks are'} ahead of it" if ahead else busy


def _kind(ready: ReadyTask) -> str:
    return f"that answers to {ready.function}" if ready.agent_type == ANY_TYPE else f"of type {ready.agent_type}"


def _why_off(agent: Agent, ready: ReadyTask, number: int) -> str:
    circuit = agent.circuit
    assert circuit is not None
    others = f", {number - 1} more likewise" if number > 1 else ""
    seconds = circuit.seconds_left(ready.circuit)
    then = f"it is tried again in {seconds:.0f} s" if seconds else "one task is with it, as a trial"
    return (
        f"{circuit.failures} tasks in a row failed at agent {agent.id}, it gets nothing more for now ({then}){others}"
    )


def _amounts(amounts: Vector) -> str:
    return ", ".join(f"{name} {amount:g}" for name, amount in amounts.items())
