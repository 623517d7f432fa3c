"""Registrations that a replica has heard and doesn't decide on, until it hears what the leader says to them. Pure.

Should the replica come to lead itself, it decides on the latest of them, so that no agent must say it again. The two
may arrive in any order, and either of them twice.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TypeVar

from podium.bus.transport import Delivery
from podium.clock import SECOND
from podium.fleet import wire

KEPT = 20_000
KEPT_US = 10 * SECOND  # an agent repeats itself until it is answered; who doesn't is gone
EARLY_US = 2 * SECOND  # so long before the registration its answer may arrive

K = TypeVar("K")
V = TypeVar("V")
Said = tuple[Delivery, wire.AgentRegistrationMessage]


class _Kept:
    """A registration, and whether the leader has answered it."""

    __slots__ = ("answered", "at_us", "said")

    def __init__(self, said: Said, at_us: int) -> None:
        self.said = said
        self.at_us = at_us
        self.answered = False


class Undecided:
    """Registrations by agent and by the incarnation that they tell, if they do."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, str], _Kept] = OrderedDict()
        self._early: OrderedDict[str, tuple[str, int]] = OrderedDict()  # what was said to agents not heard of yet

    def __len__(self) -> int:
        return sum(not kept.answered for kept in self._kept.values())

    def keep(self, delivery: Delivery, said: wire.AgentRegistrationMessage, now_us: int) -> str:
        """Keep a registration; a repetition takes the place of the one before.

        Returns the incarnation as which the leader has taken it in, where that was heard already; else nothing.
        """
        given = said.registration
        agent, own = given.agent_id, given.incarnation
        kept = _put(self._kept, (agent, own), _Kept((delivery, said), now_us))
        incarnation, at_us = self._early.pop(agent, ("", 0))
        if incarnation and now_us - at_us < EARLY_US and own in ("", incarnation):
            kept.answered = True
            return incarnation
        return ""

    def taken_in(self, agent: str, incarnation: str, now_us: int) -> Said | None:
        """The leader has taken in an agent as this incarnation: return the registration that it has answered."""
        kept = self._find(agent, incarnation)
        if kept is None or now_us - kept.at_us >= KEPT_US:
            _put(self._early, agent, (incarnation, now_us))
            return None
        kept.answered = True
        return kept.said

    def refused(self, agent: str, incarnation: str) -> None:
        """The leader has refused it."""
        kept = self._find(agent, incarnation)
        if kept is not None:
            kept.answered = True

    def all(self, now_us: int) -> list[Said]:
        """Return, once, all that may still be awaited."""
        waiting = [kept for kept in self._kept.values() if not kept.answered and now_us - kept.at_us < KEPT_US]
        self._kept.clear()
        self._early.clear()
        return [kept.said for kept in waiting]

    def _find(self, agent: str, incarnation: str) -> _Kept | None:
        return self._kept.get((agent, incarnation)) or self._kept.get((agent, ""))


def _put(among: OrderedDict[K, V], key: K, value: V) -> V:
    among[key] = value
    among.move_to_end(key)
    while len(among) > KEPT:
        among.popitem(last=False)
    return value
