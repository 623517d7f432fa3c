"""What one agent says to the orchestrator: in order, and results again and again until they are confirmed.

The receiver may be full (it answers False): then messages are kept and said again, of progress and checkpoints only the
newest. A result is held until its Confirmation, however often a carrier loses it. Used on the event loop's thread only.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Protocol

from msgspec.structs import replace

from podium.fleet.messages import Failed, FromAgent, Progress, Receiver, Refused, Succeeded

logger = logging.getLogger(__name__)

Result = Succeeded | Failed


class Timer(Protocol):
    """A call that is to come."""

    def cancel(self) -> None:
        """Don't call."""
        ...


class Timers(Protocol):
    """Calls something later, on the loop's thread: an asyncio event loop is one, a test brings its own."""

    def call_later(self, delay: float, callback: Callable[..., object], *args: Any) -> Timer:
        """Call after so many seconds."""
        ...


class Outbox:
    """Says messages to a receiver; never blocks, never loses a result, and is bounded.

    `retry_seconds` is the pause before a full receiver is tried again, `confirm_seconds` the least time after which an
    unconfirmed result is said again; at most `unsent_limit` messages wait for a full receiver beside the results.
    """

    def __init__(
        self,
        receiver: Receiver,
        timers: Timers,
        *,
        retry_seconds: float = 0.05,
        confirm_seconds: float = 5.0,
        unsent_limit: int = 4_096,
    ) -> None:
        self._receive = receiver.receive
        self._timers = timers
        self._retry_seconds = retry_seconds
        self._confirm_seconds = confirm_seconds
        self._unsent_limit = unsent_limit
        self._unsent: dict[tuple[type, str], FromAgent] = {}
        self._held: dict[str, Result] = {}
        self._overdue: tuple[str, ...] = ()
        self._retry: Timer | None = None
        self._resend: Timer | None = None
        self._closed = False

    @property
    def held(self) -> tuple[str, ...]:
        """The attempts whose results are not confirmed yet; may be asked from any thread."""
        return tuple(self._held)

    @property
    def held_count(self) -> int:
        """How many results are not confirmed yet."""
        return len(self._held)

    def holds(self, attempt: str) -> bool:
        """Whether this attempt's result is not confirmed yet."""
        return attempt in self._held

    def say(self, message: FromAgent) -> None:
        """Say this, or keep it until the receiver has room."""
        if not self._closed and (self._unsent or not self._receive(message)):
            self._keep(message)

    def report(self, result: Result) -> None:
        """Say a result until it is confirmed."""
        if self._closed:
            return
        self._held[result.attempt] = result
        if self._resend is None:
            self._resend = self._timers.call_later(self._confirm_seconds, self._say_overdue)
        self.say(result)

    def confirm(self, attempt: str) -> bool:
        """Forget a result; returns whether it was held."""
        self._unsent.pop((Succeeded, attempt), None)
        self._unsent.pop((Failed, attempt), None)
        return self._held.pop(attempt, None) is not None

    def free(self, attempt: str) -> None:
        """The attempt's slot is free: a result that is said again must not claim it any more."""
        held = self._held.get(attempt)
        if isinstance(held, Failed) and held.holds_slot:
            self._held[attempt] = replace(held, holds_slot=False)

    def repeat(self, attempt: str) -> bool:
        """Say a held result again at once; returns whether it is held."""
        result = self._held.get(attempt)
        if result is not None:
            self.say(result)
        return result is not None

    def close(self) -> None:
        """Say a last time what was not taken, then nothing more."""
        self._say_unsent()
        self.abandon()
        if self._unsent or self._held:
            logger.info("left with %d messages unsent, %d results unconfirmed", len(self._unsent), len(self._held))

    def abandon(self) -> None:
        """Say nothing more, not even what waits."""
        self._closed = True
        for timer in (self._retry, self._resend):
            if timer is not None:
                timer.cancel()

    def _keep(self, message: FromAgent) -> None:
        key = (type(message), getattr(message, "attempt", ""))
        if len(self._unsent) >= self._unsent_limit and isinstance(message, (Refused, Progress)):
            return  # the lease ends by itself, and the next progress says more
        self._unsent[key] = message
        if self._retry is None:
            self._retry = self._timers.call_later(self._retry_seconds, self._retry_unsent)

    def _retry_unsent(self) -> None:
        self._retry = None
        self._say_unsent()
        if self._unsent and not self._closed:
            self._retry = self._timers.call_later(self._retry_seconds, self._retry_unsent)

    def _say_unsent(self) -> None:
        while self._unsent:
            key = next(iter(self._unsent))
            message = self._unsent[key]
            if not self._receive(message):
                return
            if self._unsent.get(key) is message:
                del self._unsent[key]

    def _say_overdue(self) -> None:
        """Say again what was already held at the last look: a result is repeated after one to two intervals."""
        for attempt in self._overdue:
            self.repeat(attempt)
        self._overdue = tuple(self._held)
        self._resend = None
        if self._held and not self._closed:
            self._resend = self._timers.call_later(self._confirm_seconds, self._say_overdue)
