"""Who says every five seconds, or as often as leases ask for, that an agent still works: one thread for all agents of a
process.

The thread renews while the event loop is blocked too: a blocked loop is slow, not dead, and taking its work away would
only do it twice. What is really stuck is bounded by its time-out: a host no longer renews an attempt that is a lease
past its own deadline. A process that is stopped (SIGSTOP) or dead renews nothing, and its leases end.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Protocol

from podium.agents.outbox import Timer, Timers

INTERVAL_SECONDS = 5.0
RENEWALS_A_LEASE = 3  # so that two of them may be lost

logger = logging.getLogger(__name__)


class Renewable(Protocol):
    """Says that it is alive; may be called from any thread."""

    def renew(self) -> None:
        """Send one renewal for all attempts."""
        ...


class Renewer(Protocol):
    """Has what was added to it renewed until it is removed."""

    def add(self, renewable: Renewable) -> None:
        """Renew this from now on."""
        ...

    def remove(self, renewable: Renewable) -> None:
        """Renew this no more; removing twice is safe."""
        ...

    def keep_up_with(self, lease_seconds: float) -> None:
        """Renew in time for leases of this length, too. Called from the event loop's thread."""
        ...


class ThreadRenewer:
    """Renews from a daemon thread that lives while there is something to renew.

    `wait` is called with the interval and the event that ends the thread; it returns True when the thread shall end.
    """

    def __init__(
        self,
        interval_seconds: float = INTERVAL_SECONDS,
        wait: Callable[[float, threading.Event], bool] | None = None,
    ) -> None:
        self._interval_seconds = interval_seconds
        self._wait = wait or (lambda seconds, ended: ended.wait(seconds))
        self._renewables: tuple[Renewable, ...] = ()
        self._ended: threading.Event | None = None
        self._lock = threading.Lock()

    def add(self, renewable: Renewable) -> None:
        """Renew this from now on."""
        with self._lock:
            self._renewables += (renewable,)
            if self._ended is None:
                self._begin()

    def remove(self, renewable: Renewable) -> None:
        """Renew this no more; the thread ends with the last one."""
        with self._lock:
            self._renewables = tuple(other for other in self._renewables if other is not renewable)
            if not self._renewables and self._ended is not None:
                self._ended.set()
                self._ended = None

    def keep_up_with(self, lease_seconds: float) -> None:
        """Renew in time for leases of this length, too."""
        seconds = lease_seconds / RENEWALS_A_LEASE
        if seconds >= self._interval_seconds:
            return
        with self._lock:
            self._interval_seconds = seconds
            if self._ended is not None:  # it waits for longer than that
                self._ended.set()
                self._begin()

    def _begin(self) -> None:
        self._ended = threading.Event()
        threading.Thread(target=self._run, args=(self._ended,), name="podium renewals", daemon=True).start()

    def _run(self, ended: threading.Event) -> None:
        while not self._wait(self._interval_seconds, ended) and not ended.is_set():
            renew_all(self._renewables)


class LoopRenewer:
    """Renews by timers of the event loop: for simulations, which have no threads."""

    def __init__(self, timers: Timers, interval_seconds: float = INTERVAL_SECONDS) -> None:
        self._timers = timers
        self._interval_seconds = interval_seconds
        self._renewables: tuple[Renewable, ...] = ()
        self._timer: Timer | None = None

    def add(self, renewable: Renewable) -> None:
        """Renew this from now on."""
        self._renewables += (renewable,)
        if self._timer is None:
            self._timer = self._timers.call_later(self._interval_seconds, self._tick)

    def remove(self, renewable: Renewable) -> None:
        """Renew this no more."""
        self._renewables = tuple(other for other in self._renewables if other is not renewable)
        if not self._renewables and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def keep_up_with(self, lease_seconds: float) -> None:
        """Renew in time for leases of this length, too."""
        seconds = lease_seconds / RENEWALS_A_LEASE
        if seconds >= self._interval_seconds:
            return
        self._interval_seconds = seconds
        if self._timer is not None:
            self._timer.cancel()
            self._timer = self._timers.call_later(seconds, self._tick)

    def _tick(self) -> None:
        renew_all(self._renewables)
        self._timer = self._timers.call_later(self._interval_seconds, self._tick) if self._renewables else None


def renew_all(renewables: tuple[Renewable, ...]) -> None:
    """Renew each; one that fails keeps none of the others from it."""
    for renewable in renewables:
        try:
            renewable.renew()
        except Exception:  # the leases of all others hang on this loop
            logger.exception("a renewal could not be sent")


_process_renewer = ThreadRenewer()


def process_renewer() -> ThreadRenewer:
    """Return the renewer that all agents of this process share."""
    return _process_renewer
