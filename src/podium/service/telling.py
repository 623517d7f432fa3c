"""Two bounded queues to the bus for what is told in passing: system events, and messages that are set aside.

Telling never blocks who tells. Of malformed messages there may be thousands a second: all are counted, some are told.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

from podium.agents.sdk import AgentDefinition
from podium.bus.dead_letters import DeadLetters
from podium.bus.transport import Delivery, Transport
from podium.clock import SECOND, Clock
from podium.exceptions import BackpressureError, MessageBusError, PodiumError
from podium.fleet import wire
from podium.service.listening import SystemEvents
from podium.telemetry.logs import get_logger
from podium.telemetry.metrics import Metrics

MOST_EVENTS = 10_000
MOST_LETTERS = 20_000
LETTERS_AT_ONCE = 64
ERRORS_A_SECOND = 20
PAUSE_SECONDS = 0.2
_JSON_HEADERS = {"Content-Type": wire.CONTENT_TYPE}
_log = get_logger("podium.service")


class Teller:
    """Says system events to everybody, in order. The oldest give way when the bus takes none for long."""

    def __init__(self, transport: Transport, clock: Clock, message_id: Any, events: SystemEvents | None = None) -> None:
        """`events` are those who hear it in this process: of these every one, at once."""
        self._events = events or SystemEvents()
        self._transport = transport
        self._clock = clock
        self._message_id = message_id
        self._waiting: deque[bytes] = deque(maxlen=MOST_EVENTS)
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._second = 0
        self._errors = 0
        self._suppressed = 0

    def tell(self, event: wire.SystemEventType, payload: dict[str, Any]) -> None:
        """Tell an event soon; of errors only so many a second, the next one says how many weren't told."""
        now_us = self._clock.now_us()
        if event is wire.SystemEventType.SYSTEM_ERROR:
            second = now_us // SECOND
            if second != self._second:
                self._second, self._errors = second, 0
            self._errors += 1
            if self._errors > ERRORS_A_SECOND:
                self._suppressed += 1
                return
            if self._suppressed:
                payload = {**payload, "notTold": self._suppressed}
                self._suppressed = 0
        message = wire.SystemEventMessage(
            message_id=self._message_id(), timestamp=now_us // 1_000, event_type=event, payload=payload
        )
        self._events.tell(message)
        self._waiting.append(wire.encoded(message))
        self._idle.clear()
        self._wake.set()

    def arrived(self, agent_id: str, definition: AgentDefinition) -> None:
        """An agent of this process is here now: that is an event like that of any other one."""
        self.tell(
            wire.SystemEventType.AGENT_REGISTERED,
            {
                "agentId": agent_id,
                "agentType": definition.type,
                "capabilities": list(definition.all_capabilities),
                "version": definition.version,
                "restarted": False,
            },
        )

    async def run(self) -> None:
        """Tell what waits, until it is cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                try:
                    await self._transport.publish(wire.SYSTEM_EVENT, self._waiting[0], _JSON_HEADERS)
                except (MessageBusError, BackpressureError):
                    await asyncio.sleep(PAUSE_SECONDS)
                    continue
                except PodiumError as error:
                    _log.warning("an event could not be told", error=str(error))
                self._waiting.popleft()
            self._idle.set()

    async def settled(self) -> None:
        """Return when nothing waits."""
        await self._idle.wait()


class SetAside:
    """Keeps messages that can't be used as dead letters, then has the carrier forget them."""

    def __init__(self, letters: DeadLetters) -> None:
        self._letters = letters
        self._waiting: deque[tuple[str, Delivery, bytes | None]] = deque()
        self._wake = asyncio.Event()
        self.dropped = 0  # there were too many at once

    def __call__(self, reason: str, delivery: Delivery, data: bytes | None = None) -> None:
        """Keep a message; where `data` is given, only that part of it."""
        if len(self._waiting) >= MOST_LETTERS:
            self.dropped += 1
            if data is None:
                delivery.reject()
            return
        self._waiting.append((reason, delivery, data))
        self._wake.set()

    async def run(self) -> None:
        """Keep what waits, until it is cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                some = [self._waiting.popleft() for _ in range(min(len(self._waiting), LETTERS_AT_ONCE))]
                await asyncio.gather(*(self._keep(*each) for each in some))

    async def _keep(self, reason: str, delivery: Delivery, data: bytes | None) -> None:
        message_id = f"{delivery.subject}:{delivery.sequence}:{reason[:40]}" if delivery.sequence else ""
        whole = delivery.data if data is None else data
        headers = dict(delivery.headers) if data is None else {"Content-Type": wire.CONTENT_TYPE}
        while True:
            try:
                await self._letters.put(reason, delivery.subject, headers, whole, message_id=message_id)
            except (MessageBusError, BackpressureError) as error:
                _log.warning("a message could not be set aside yet", subject=delivery.subject, error=str(error))
                await asyncio.sleep(PAUSE_SECONDS)
                continue
            except PodiumError as error:
                self.dropped += 1
                _log.warning("a message could not be set aside", subject=delivery.subject, error=str(error))
            break
        if data is None:
            delivery.reject()


class Malformed:
    """Sees to messages that can't be read: they are counted, told, and set aside."""

    def __init__(self, teller: Teller, set_aside: SetAside, metrics: Metrics) -> None:
        self._teller = teller
        self._set_aside = set_aside
        self._metrics = metrics

    def __call__(self, delivery: Delivery, error: Exception) -> None:
        """See to one."""
        kind = delivery.subject.rpartition(".")[2]
        self._metrics.counter("podium_malformed_messages_total", kind).inc()
        self._teller.tell(
            wire.SystemEventType.SYSTEM_ERROR,
            {"error": "MALFORMED_MESSAGE", "subject": delivery.subject, "message": str(error)[:1_000]},
        )
        self._set_aside(str(error), delivery)
