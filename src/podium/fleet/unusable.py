"""What agents say that can't be used: counted, told, answered where that is awaited, and set aside for people to see.

It keeps nobody from being heard, and costs nobody else anything.
"""

from __future__ import annotations

from typing import Protocol

from podium.bus.transport import Delivery
from podium.exceptions import InvalidInputError
from podium.fleet import messages as msg
from podium.fleet import wire
from podium.fleet.admission import Tell
from podium.fleet.audience import Audience
from podium.fleet.hearing import agent_of, heard_frame, is_frame, unreadable_result
from podium.fleet.receipts import Receipts
from podium.fleet.registry import FleetRegistry
from podium.fleet.speaking import Speaker
from podium.fleet.translation import wire_result
from podium.telemetry.logs import get_logger
from podium.telemetry.metrics import Metrics

_log = get_logger("podium.fleet")


class SetAside(Protocol):
    """Takes what can't be used, for people to look at: dead letters."""

    def __call__(self, reason: str, delivery: Delivery, data: bytes | None) -> None:
        """Keep a message with its reason; `data` is the part of it that is meant (None: all, and it is rejected once
        it is kept). Must not block.
        """
        ...


class Unusable:
    """Deals with messages that can't be read, and with results that can't be recorded."""

    def __init__(
        self,
        registry: FleetRegistry,
        receiver: msg.Receiver,
        speaker: Speaker,
        receipts: Receipts,
        *,
        tell: Tell,
        set_aside: SetAside,
        audience: Audience,
        metrics: Metrics,
    ) -> None:
        self._registry = registry
        self._receiver = receiver
        self._speaker = speaker
        self._receipts = receipts
        self._tell = tell
        self._set_aside = set_aside
        self._audience = audience
        self._metrics = metrics

    async def malformed(self, delivery: Delivery, error: Exception) -> None:
        """A message can't be read, or speaks for somebody else. Of what all replicas hear, the leader sees to it."""
        if not delivery.sequence and not self._audience.leads():
            return
        kind = delivery.subject.rpartition(".")[2]
        self._metrics.counter("podium_malformed_messages_total", kind).inc()
        _log.info("a message can't be used", subject=delivery.subject, error=str(error))
        self._tell(
            wire.SystemEventType.SYSTEM_ERROR,
            {"error": "MALFORMED_MESSAGE", "subject": delivery.subject[:256], "message": str(error)[:1_000]},
        )
        self._set_aside(str(error), delivery, None)
        if not delivery.sequence:
            await self._speaker.answer_error(delivery.reply, "INVALID_MESSAGE", str(error))
        await self._tell_speaker(delivery, kind, str(error))

    async def _tell_speaker(self, delivery: Delivery, kind: str, why: str) -> None:
        """Tell an agent of the fleet that what it said can't be used; a result that can't be ends its attempt."""
        try:
            agent = agent_of(delivery.subject)
        except InvalidInputError:
            return
        if agent not in self._registry:
            return
        lost = unreadable_result(delivery, why) if kind == "result" and not is_frame(delivery) else None
        attempt = lost.attempt if lost is not None else ""
        await self._speaker.notify(agent, wire.Notice.ERROR, code=400, reason=why[:1_000], task_id=attempt)
        if lost is not None:
            self._receiver.receive(lost)  # where the engine is full, the next repetition of the result does it

    def unrecordable(self, agent: str, attempt: str, why: str) -> None:
        """What an agent said of this attempt can't be recorded: set it aside, and let the agent forget it."""
        delivery = self._receipts.of(agent, attempt)
        if delivery is not None:
            self._set_aside(why, delivery, _part_of(delivery, attempt))
            self._receipts.confirm(agent, attempt)
        elif not attempt or agent not in self._registry:
            return
        self._speaker.send(agent, msg.Confirmation(attempt, accepted=False))


def _part_of(delivery: Delivery, attempt: str) -> bytes | None:
    """Return one result of a frame as document 000's JSON; None for what is no frame."""
    if not is_frame(delivery):
        return None
    for message in heard_frame(delivery).messages:
        if isinstance(message, msg.Succeeded | msg.Failed) and message.attempt == attempt:
            return wire.encoded(wire.TaskResultMessage(result=wire_result(message)))
    return None
