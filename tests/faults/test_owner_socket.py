"""The owner's socket behind a bad line: a guest's command still goes by the inbox within its poll, and nothing hangs.

The proxy takes the place of the owner's socket: guests find it where they look for the owner.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import wraps
from pathlib import Path
from typing import Any

import pytest

from podium.store.calling import CALL_SECONDS, OwnerSocket, call_owner
from podium.store.ownership import socket_path
from podium.testing.proxy import FaultProxy, unix
from tests.cli.support import Running, Shell, eventually

WAKE_SECONDS = 4.0  # a guest's start, the owner's poll, an answer; below the time of a call without an answer


def asynchronous(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    @wraps(test)
    def run(*given: object, **named: object) -> None:
        async def bounded() -> None:
            async with asyncio.timeout(90):
                await test(*given, **named)

        asyncio.run(bounded())

    return run


@asynccontextmanager
async def between(folder: Path) -> AsyncIterator[FaultProxy]:
    """Put a proxy between the owner of this folder's database and its guests."""
    path = socket_path(folder / ".podium" / "podium.db")
    await asyncio.to_thread(eventually, path.exists, "the owner's socket")
    behind = path.with_name(path.stem + "-b")
    os.rename(path, behind)
    try:
        async with FaultProxy(unix(behind), unix(path)) as proxy:
            yield proxy
    finally:
        behind.unlink(missing_ok=True)


async def called(shell: Shell, *arguments: str) -> tuple[Running, float]:
    """Run a command to its end beside the proxy; return it and how long it took."""
    begun = time.monotonic()
    running = await asyncio.to_thread(shell, *arguments)
    return running, time.monotonic() - begun


FAULTS: dict[str, Callable[[FaultProxy], None]] = {
    "half-open": FaultProxy.half_open,
    "answers lost": lambda proxy: proxy.lose("to_client"),
    "questions lost": lambda proxy: proxy.lose("to_target"),
    "a byte a second": lambda proxy: proxy.throttle(1.0),
}
RARER = ("questions lost", "a byte a second")


@pytest.mark.parametrize(
    "fault", [pytest.param(name, marks=pytest.mark.slow if name in RARER else ()) for name in FAULTS]
)
@asynchronous
async def test_a_pause_comes_through_by_the_inbox_and_explain_by_the_store(shell, fault):
    run = shell.held()
    async with between(shell.folder) as proxy:
        FAULTS[fault](proxy)
        paused, took = await called(shell, "pause", run.id, "--reason", "lunch")
        assert paused.out[1].startswith("pausing: 1 of 3 done")
        assert proxy.accepted
        assert took < WAKE_SECONDS, f"the pause took {took:.1f} s"
        explained, took = await called(shell, "explain", run.id)
        assert took < CALL_SECONDS + WAKE_SECONDS
        text = " ".join(" ".join(explained.out).split())
        assert "held (running)" in text
        assert "Traceback" not in text
        proxy.heal()
        shell.open_gate()
        resumed, _ = await called(shell, "resume", run.id)
        assert "resumed" in resumed.out[1] or "it runs already" in resumed.out[1]
        assert await asyncio.to_thread(run.wait) == 0


@asynchronous
async def test_a_line_that_is_cut_again_and_again_only_costs_time(shell):
    run = shell.held()
    async with between(shell.folder) as proxy:
        proxy.delay(0.05, 0.1)

        async def cut() -> None:
            while True:
                await asyncio.sleep(0.02)
                proxy.reset() if proxy.accepted % 2 else proxy.finish()

        cutting = asyncio.create_task(cut())
        try:
            for command in ("explain", "status", "pause"):
                done, took = await called(shell, command, run.id)
                assert took < CALL_SECONDS + WAKE_SECONDS
                assert done.err == []
        finally:
            cutting.cancel()
        assert proxy.accepted >= 3
    shell.open_gate()
    await asyncio.to_thread(eventually, lambda: shell.status(run.id) == "paused", "the pause")


@asynccontextmanager
async def answering(path: Path, answer: bytes) -> AsyncIterator[None]:
    """Answer the first question so, then end the connection."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(answer)
        writer.close()

    server = await asyncio.start_unix_server(serve, str(path))
    try:
        yield
    finally:
        server.close()


@pytest.mark.parametrize(
    "answer", [b'{"headline": "it ru', b"\xff\xfe\n", b"[1]\n", b"", b'"text"\n', b"{" * 100_000 + b"\n"]
)
@asynchronous
async def test_half_an_answer_or_none_counts_as_no_answer(tmp_path, answer):
    async with answering(tmp_path / "s", answer):
        assert await call_owner(tmp_path / "s", {"op": "explain"}) is None


@asynchronous
async def test_an_answer_larger_than_the_limit_counts_as_no_answer(tmp_path, monkeypatch):
    monkeypatch.setattr("podium.store.calling.MAX_LINE", 1_000)
    async with answering(tmp_path / "s", b'{"a": "' + b"x" * 10_000 + b'"}\n'):
        assert await call_owner(tmp_path / "s", {"op": "explain"}) is None


@asynchronous
async def test_the_owner_survives_guests_that_say_nonsense_nothing_or_half(tmp_path):
    async def answer(asked: dict[str, Any]) -> dict[str, Any]:
        return {"asked": asked["n"], "long": "x" * 1_000_000}

    socket = OwnerSocket(tmp_path / "s", answer)
    await socket.open()
    writers = []
    for said in (b"", b'{"n"', b"nonsense\n", b'{"other": 1}\n', b"\0" * 100_000 + b"\n", b'{"n": 1}\n' * 50):
        _, writer = await asyncio.open_unix_connection(str(tmp_path / "s"))
        writer.write(said)
        writers.append(writer)
    for writer in writers[:2]:
        writer.close()
    found = await call_owner(tmp_path / "s", {"n": 7})
    assert found is not None
    assert found["asked"] == 7
    async with asyncio.timeout(5):
        await socket.close()  # some still read nothing of what they asked for
    for writer in writers:
        writer.close()


@asynchronous
async def test_a_stopped_owner_doesnt_hang_a_guest_that_only_looks(shell):
    import signal

    run = shell.held()
    run.send(signal.SIGSTOP)
    try:
        explained, took = await called(shell, "explain", run.id)
        assert took < CALL_SECONDS + WAKE_SECONDS
        assert explained.err == []
        assert json.loads("\n".join((await called(shell, "ps", "--json"))[0].out))[0]["status"] == "running"
    finally:
        run.send(signal.SIGCONT)
    shell.open_gate()
    assert await asyncio.to_thread(run.wait) == 0
