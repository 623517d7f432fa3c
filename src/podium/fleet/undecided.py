"""Registrations that a replica has heard and doesn't decide on: kept until it hears what the leader says to them. Pure.

Should it come to lead itself, it decides on the latest of them, so that no agent must say it again.
"""

from __future__ import annotations

from collections import OrderedDict

from podium.bus.transport import Delivery
from podium.clock import SECOND
from podium.fleet import wire

KEPT = 20_000
KEPT_US = 10 * SECOND  # an agent repeats itself until it is answered; who doesn't is gone

Said = tuple[Delivery, wire.AgentRegistrationMessage]


class Undecided:
    """Registrations by agent and by the incarnation that they tell, if they do."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, str], tuple[Delivery, wire.AgentRegistrationMessage, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def keep(self, delivery: Delivery, said: wire.AgentRegistrationMessage, now_us: int) -> None:
        """Keep a registration; a repetition takes the place of the one before."""
        given = said.registration
        key = given.agent_id, given.incarnation
        self._kept[key] = delivery, said, now_us
        self._kept.move_to_end(key)
        while len(self._kept) > KEPT:
            self._kept.popitem(last=False)

    def pop(self, agent: str, incarnation: str) -> Said | None:
        """Return the registration that was decided on: of this incarnation, or one that tells none."""
        found = self._kept.pop((agent, incarnation), None) or self._kept.pop((agent, ""), None)
        return found[:2] if found is not None else None

    def all(self, now_us: int) -> list[Said]:
        """Return, once, all that may still be awaited."""
        kept, self._kept = self._kept, OrderedDict()
        return [(delivery, said) for delivery, said, at_us in kept.values() if now_us - at_us < KEPT_US]
