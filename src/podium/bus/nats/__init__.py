"""The transport over NATS: core subjects, and JetStream for streams."""

from podium.bus.nats.settings import NatsSettings
from podium.bus.nats.transport import NatsTransport

__all__ = ["NatsSettings", "NatsTransport"]
