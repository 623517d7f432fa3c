"""Both transports keep every promise of the protocol, NATS with a real server."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from podium.bus.memory import MemoryCarrier, MemoryTransport
from podium.bus.nats import NatsSettings, NatsTransport
from podium.bus.transport import Heard, Transport
from podium.testing.bus import TransportConformance
from podium.testing.natsserver import NatsServer, nats_server


class _Memory:
    def __init__(self) -> None:
        self._carrier = MemoryCarrier("conformance")

    def transport(self, heard: Heard | None = None) -> Transport:
        return MemoryTransport(self._carrier, heard, timeout_seconds=1.0)

    async def take_down(self) -> None:
        self._carrier.take_down()

    async def bring_up(self) -> None:
        self._carrier.bring_up()

    async def forget(self) -> None:
        self._carrier.forget()

    async def lose(self, stream: str) -> None:
        self._carrier.forget(stream)


class _Nats:
    def __init__(self, server: NatsServer) -> None:
        self._server = server

    def transport(self, heard: Heard | None = None) -> Transport:
        settings = NatsSettings(
            server_url=self._server.url, connection_timeout_ms=1_500, reconnect_wait_ms=100, answer_timeout_ms=1_500
        )
        return NatsTransport(settings, heard)

    async def take_down(self) -> None:
        await asyncio.to_thread(self._server.stop)

    async def bring_up(self) -> None:
        await asyncio.to_thread(self._server.start)

    async def forget(self) -> None:
        await asyncio.to_thread(self._server.wipe)

    async def lose(self, stream: str) -> None:
        transport = self.transport()
        await transport.start()
        await transport.request(f"$JS.API.STREAM.DELETE.{stream}", b"")
        await transport.stop(0.0)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    with nats_server(tmp_path_factory.mktemp("nats")) as server:
        yield server


class TestMemory(TransportConformance):
    @pytest.fixture
    def carrier(self) -> _Memory:
        return _Memory()


class TestNats(TransportConformance):
    @pytest.fixture
    def carrier(self, server: NatsServer) -> _Nats:
        return _Nats(server)
