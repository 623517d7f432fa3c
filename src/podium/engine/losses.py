"""Attempts that are about to be called lost, where replicas share a store.

What an agent said may have reached another replica, which put it into the inbox and confirmed it, so that the agent
says no more. A wake-up may be lost, so the row may lie there unread when the attempt's lease ends, or its agent goes.
Therefore an attempt is lost only after a look into the inbox that began after that. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Container

from msgspec import Struct

from podium.engine.leases import Lease
from podium.ids import shard_of


class _Doomed(Struct, frozen=True):
    lease: Lease
    reason: str
    look: int  # the last look that had begun


class Losses:
    """Tells of lost attempts, in time."""

    def __init__(self, tell: Callable[[str, Lease, str], None]) -> None:
        """`tell` is called with an attempt's id, its lease and the reason."""
        self._tell = tell
        self._doomed: dict[str, _Doomed] = {}
        self._begun = 0
        # Has the inbox looked into soon; without it nobody else could have heard an agent.
        self.look: Callable[[], None] | None = None
        self.under_way: Callable[[tuple[str, str]], bool] = lambda key: False  # an input, by execution and its id

    def lose(self, attempt: str, lease: Lease, reason: str) -> None:
        """An attempt is lost unless its end lies in the inbox."""
        if self.look is None:
            self._tell(attempt, lease, reason)
            return
        self._doomed[attempt] = _Doomed(lease, reason, self._begun)
        self.look()

    def forget(self, attempt: str) -> None:
        """An attempt has ended otherwise, or is another replica's to look after."""
        self._doomed.pop(attempt, None)

    def disown(self, gone: Callable[[str], bool]) -> None:
        """Executions of which `gone` is true are other replicas' now."""
        for attempt in [attempt for attempt, doomed in self._doomed.items() if gone(doomed.lease.execution)]:
            del self._doomed[attempt]

    def begin_look(self) -> int:
        """A look into the inbox begins; return its number."""
        self._begun += 1
        return self._begun

    def looked(self, number: int) -> None:
        """This look has brought everything that lay there."""
        for attempt, doomed in list(self._doomed.items()):
            if doomed.look < number and not self._has_ended(attempt, doomed.lease.execution):
                del self._doomed[attempt]
                self._tell(attempt, doomed.lease, doomed.reason)

    def remind(self) -> None:
        """Look again for those whose end was under way: nothing may have come of it."""
        if self._doomed and self.look is not None:
            self.look()

    def _has_ended(self, attempt: str, execution: str) -> bool:
        return any(self.under_way((execution, f"{end}:{attempt}")) for end in ("succeeded", "failed"))


def in_shards(shards: Container[int]) -> Callable[[str], bool]:
    """Return whether an execution is of these shards."""
    return lambda execution: shard_of(execution) in shards
