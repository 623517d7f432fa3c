"""The link's looks at everybody's silence: who is unhealthy gets nothing, who is lost leaves the fleet.

A look that comes late, or without the bus, says something about us, and is held against nobody.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from podium.bus.transport import Transport
from podium.clock import Clock, seconds_to_us
from podium.fleet import messages as msg
from podium.fleet import wire
from podium.fleet.admission import LinkSettings, Tell
from podium.fleet.audience import Audience
from podium.fleet.registry import ChangeKind, FleetRegistry
from podium.fleet.taking import Taking
from podium.telemetry.logs import get_logger

_log = get_logger("podium.fleet")


class Silence:
    """Acts on what becomes of agents that aren't heard."""

    def __init__(
        self,
        registry: FleetRegistry,
        receiver: msg.Receiver,
        transport: Transport,
        taking: Taking,
        audience: Audience,
        clock: Clock,
        settings: LinkSettings,
        *,
        tell: Tell,
        suspend: Callable[[str], None],
    ) -> None:
        """`suspend` has the engine give an agent nothing until it is heard of."""
        self.looked_us = 0
        self._registry = registry
        self._receiver = receiver
        self._transport = transport
        self._taking = taking
        self._audience = audience
        self._clock = clock
        self._settings = settings
        self._tell = tell
        self._suspend = suspend

    def begin(self) -> None:
        """Silence counts from now on."""
        self.looked_us = self._clock.now_us()

    async def run(self) -> None:
        """Look at everybody's silence now and then; what was lost leaves the fleet."""
        while True:
            await asyncio.sleep(self._settings.check_seconds)
            self.check()

    def check(self) -> None:
        """Act on what has become of agents since the last look."""
        now_us = self._clock.now_us()
        late_us = now_us - self.looked_us - 2 * seconds_to_us(self._settings.check_seconds)
        self.looked_us = now_us
        if late_us > 0 or not self._transport.connected:
            self._registry.excuse(max(late_us, seconds_to_us(self._settings.check_seconds)))
        for change in self._registry.check(now_us):
            agent = change.descriptor.agent_id
            if change.kind is ChangeKind.UNHEALTHY:
                _log.warning("an agent is unhealthy", agent=agent, reason=change.reason)
                self._suspend(agent)
            elif change.kind is ChangeKind.LOST:
                _log.warning("an agent is lost", agent=agent, reason=change.reason)
                self._taking.forget(agent)
                self._receiver.receive(msg.Left(agent, change.descriptor.incarnation))
                if self._audience.leads():
                    self._tell(
                        wire.SystemEventType.AGENT_LOST,
                        {"agentId": agent, "agentType": change.descriptor.agent_type, "reason": change.reason},
                    )
