"""Which part of what all replicas hear is for one of them. Pure.

Heartbeats and states go to every replica, since each keeps the agents and the leases of its own executions. What is
an input, or a line of a log, is only one's to take.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from podium.fleet import messages as msg

_INPUTS = (msg.Refused, msg.HandedBack, msg.Succeeded, msg.Failed)
_OF_ONE = (*_INPUTS, msg.Saved, msg.Published, msg.LogLine)


class Audience:
    """One replica's share. By itself it takes everything."""

    def __init__(
        self,
        leads: Callable[[], bool] = lambda: True,
        owns: Callable[[str], bool] = lambda execution: True,
        reaches: Callable[[], bool] = lambda: True,
        *,
        alone: bool = True,
    ) -> None:
        """`leads` says whether this replica decides about the fleet now, `owns` whether an execution is its own;
        `reaches` whether it could have a result recorded now; `alone` that there is never another one.
        """
        self.leads = leads
        self.reaches = reaches
        self.alone = alone
        self._owns = owns

    def share(self, messages: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return those of the messages that this replica is to take."""
        if not any(isinstance(message, _OF_ONE) for message in messages):
            return messages
        return tuple(message for message in messages if self._is_for_us(message))

    def _is_for_us(self, message: Any) -> bool:
        if isinstance(message, msg.LogLine):
            return self._owns(message.execution)
        if not isinstance(message, _OF_ONE) or self._owns(message.attempt.partition(":")[0]):
            return True
        # The owner may just have died: the leader passes it on, and its id makes a second time harmless. A checkpoint
        # has no such id where its agent doesn't number them.
        return isinstance(message, _INPUTS) and self.leads()
