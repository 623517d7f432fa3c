"""The conformance suite of a transport: every promise of `podium.bus.transport`, as tests that any adapter can take.

An adapter's own tests say how to make transports and what to do to their carrier, and inherit the rest:

    class TestMyTransport(TransportConformance):
        @pytest.fixture
        def carrier(self, my_server):
            return MyCarrier(my_server)

where `MyCarrier` is a `CarrierUnderTest`. Nothing here knows an adapter; names are new in each test, so that all can
share one server. `podium.testing.natsserver` runs a real NATS.
"""

from __future__ import annotations

from podium.testing.bus_faults import EndingConformance, OutageConformance
from podium.testing.bus_streams import ConsumingConformance, KeepingConformance
from podium.testing.bus_subjects import SubjectConformance
from podium.testing.bus_tools import CarrierUnderTest

__all__ = ["CarrierUnderTest", "TransportConformance"]


class TransportConformance(
    SubjectConformance,
    KeepingConformance,
    ConsumingConformance,
    OutageConformance,
    EndingConformance,
):
    """All of it."""
