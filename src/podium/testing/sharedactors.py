"""Scripted agents that several orchestrators share: all hear what they say, and they live on whatever becomes of those.

A foreign one has no renewals of its own, but whatever it says renews all that it has.
"""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from podium.fleet import messages as msg
from podium.testing.actors import SILENT_SECONDS, Actor


class SharedActor(Actor):
    """An agent elsewhere."""

    def __init__(self, *about: Any, foreign: bool, **more: Any) -> None:
        super().__init__(*about, **more)
        self.foreign = foreign
        self._speechless = False
        self._heard = self._say
        self._say = self._speak

    @property
    def incarnation(self) -> str:
        """The name of its present life."""
        return f"{msg.FOREIGN if self.foreign else msg.REMOTE}{super().incarnation}"

    def come(self) -> None:
        """Start, as a new incarnation."""
        self._speechless = False
        super().come()

    def _speak(self, message: msg.FromAgent) -> None:
        said = self._as_foreign(message) if self.foreign else message
        if said is not None and not self._speechless:
            self._heard(said)

    def _as_foreign(self, message: msg.FromAgent) -> msg.FromAgent | None:
        """Return what document 000's JSON can say of it."""
        match message:
            case msg.Registration():
                return replace(message, renews=False)
            case msg.Renewal():
                return msg.Renewal(message.agent, ())
            case msg.Failed():
                return replace(message, holds_slot=False)
            case msg.HandedBack():
                return msg.Refused(message.agent, message.attempt, "draining")
            case msg.Freed():
                return None
            case _:
                return message

    def _fall_silent(self, attempt: str) -> None:
        """Say nothing more of an attempt; one whose every word renews falls silent as a whole, and dies."""
        super()._fall_silent(attempt)
        if self.foreign:
            self._speechless = True
            self._loop.call_later(SILENT_SECONDS, self._die_as, self._incarnation)

    def _die_as(self, incarnation: int) -> None:
        if self._incarnation == incarnation:
            self._die()
