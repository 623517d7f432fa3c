"""Who registers, where the carrier shows it: the key that an authority gave to it, in place of what it claims."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from podium.clock import Clock
from podium.fleet.descriptor import AgentDescriptor
from podium.fleet.registry import FleetRegistry


class Registrar(Protocol):
    """Knows to whom credentials were given: `podium.bus.nats_auth.Authority`."""

    def registrant(self, subject: str, agent: str, now_us: int) -> str:
        """Return the key of the agent that registers on a subject. Raises RegistrationConflictError."""
        ...


def identified_by(
    registrar: Registrar, registry: FleetRegistry, clock: Clock
) -> Callable[[str, AgentDescriptor, Any], str]:
    """Return the `identify` of a `FleetLink` on a server with authentication.

    A name has one valid key at a time. So who registers with another one than is known here has been given the name
    since: the one before is cut off, and leaves the fleet at once.
    """

    def identify(subject: str, descriptor: AgentDescriptor, message: Any) -> str:
        agent = descriptor.agent_id
        key = registrar.registrant(subject, agent, clock.now_us())
        known = registry.descriptor(agent)
        if known is not None and known.key != key:
            registry.deregister(agent)
        return key

    return identify
