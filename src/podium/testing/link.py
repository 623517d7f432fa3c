"""What stands between one simulated process and its world: its idea of the time, and the carrier of its messages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from podium.clock import VirtualClock
from podium.fleet import messages as msg
from podium.testing.faults import SimulatedCrash

if TYPE_CHECKING:
    from podium.testing.world import World


class JumpingClock:
    """The time that one process believes in: the world's, and how far its own is off."""

    def __init__(self, clock: VirtualClock, off_us: int) -> None:
        self._clock = clock
        self._off_us = off_us
        self._stands_at_us: int | None = None

    def now_us(self) -> int:
        """Return microseconds since the epoch."""
        return self._clock.now_us() + self._off_us if self._stands_at_us is None else self._stands_at_us

    def freeze(self) -> None:
        """Stand still: from now on every answer is the same."""
        self._stands_at_us = self.now_us()

    def thaw(self, catches_up: bool) -> None:
        """Go on: from where the world is meanwhile, or from where it stood."""
        stood_at_us, self._stands_at_us = self._stands_at_us, None
        if stood_at_us is not None and not catches_up:
            self._off_us -= self.now_us() - stood_at_us


class Link:
    """The carrier of one orchestrator's process: it ends with it."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.dead = False

    def end(self) -> None:
        """Nothing leaves any more: the process is gone."""
        self.dead = True

    def send(self, agent: str, message: msg.ToAgent) -> None:
        """Take a message to an agent, perhaps."""
        if self.dead:
            return
        world = self._world
        world.carry(f"{agent} <- {named(message)}", lambda: world.deliver(agent, message))
        if world.fate.strikes("crash_after_send"):
            world.crash("after the command went out")
            raise SimulatedCrash("after the command went out")


def named(message: Any) -> str:
    """Return a message in a few words, for the transcript."""
    attempt = getattr(message, "attempt", "")
    _, _, rest = attempt.partition(":")
    return f"{type(message).__name__} {attempt[:36][-4:] + ':' + rest if attempt else ''}".rstrip()
