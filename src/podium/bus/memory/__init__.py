"""The transport in memory, and its carrier."""

from podium.bus.memory.carrier import MemoryCarrier, carrier_named
from podium.bus.memory.transport import MemoryTransport

__all__ = ["MemoryCarrier", "MemoryTransport", "carrier_named"]
