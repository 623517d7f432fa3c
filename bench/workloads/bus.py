"""B1 to B3: the bus: messages a second from end to end, latency at 100,000 messages a second, requests and answers.

Envelopes of eight fields with a payload of 256 bytes go through the public `publish` and `subscribe`, deduplication on,
from one process to another over a real NATS server. Beside it nats-py alone does the same in frames of 64 positional
arrays; in B3, where it can't share frames, each request on its own. A run that loses a message isn't a run: it raises.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from bench.figures import Figure, Setup, Workload
from podium.bus.nats_server import EmbeddedNats

RATE = 100_000
IN_FLIGHT = 100
CORE, STREAM, MEMORY = "NATS core", "JetStream, acknowledged", "memory, one process"
BARE = {CORE: "nats-py and frames, core", STREAM: "nats-py and frames, JetStream"}
REQUESTS, BARE_REQUESTS = "requests answered, 100 in flight", "nats-py, one message a request"
PERCENTS = (50, 99)
DEADLINE_SECONDS = 120.0

Lines = dict[str, Any]


def measure_throughput(setup: Setup) -> list[Figure]:
    """Run B1: each way in turns with its limit."""
    count = setup.size.latencies * 2_000
    found: dict[str, list[float]] = {}

    async def work() -> None:
        for run in range(-1, setup.runs):  # the first warms up
            for name, durable in ((CORE, False), (STREAM, True)):
                for bare in ("", "bare_"):
                    async with _server(setup.folder) as url:
                        rate = await _rate(f"{bare}consume", f"{bare}publish", url=url, count=count, durable=durable)
                    if run >= 0:
                        found.setdefault(BARE[name] if bare else name, []).append(rate)
            alone = await _alone("memory", url="memory://", count=count)
            if run >= 0:
                found.setdefault(MEMORY, []).append(_per_second(count, alone))

    asyncio.run(work())
    asked = {CORE: 250_000.0, STREAM: 100_000.0, MEMORY: 500_000.0}
    return [
        *(_figure("B1", name, "msg/s", found[name], asked=asked[name], beside=BARE.get(name, "")) for name in asked),
        *(_figure("B1", name, "msg/s", found[name], is_limit=True) for name in BARE.values()),
    ]


def measure_latency(setup: Setup) -> list[Figure]:
    """Run B2: the way of a message at a steady rate, from `publish` until it is taken."""
    count = setup.size.latencies * 600
    found: dict[str, list[float]] = {}

    async def work() -> None:
        for _ in range(setup.runs):
            for name, durable in ((CORE, False), (STREAM, True)):
                for bare in ("", "bare_"):
                    async with _server(setup.folder) as url:
                        ends = await _ends(
                            f"{bare}consume", f"{bare}publish", url=url, count=count, durable=durable, rate=RATE
                        )
                    for percent in PERCENTS:
                        way = f"{BARE[name] if bare else name}, p{percent}"
                        found.setdefault(way, []).append(ends[0][f"p{percent}"])

    asyncio.run(work())
    asked = {(CORE, 50): 2.0, (CORE, 99): 10.0, (STREAM, 50): 5.0, (STREAM, 99): 20.0}
    figures = []
    for (name, percent), most in asked.items():
        own, limit = f"{name}, p{percent}", f"{BARE[name]}, p{percent}"
        figures.append(_figure("B2", own, "ms", found[own], asked=most, beside=limit))
        figures.append(_figure("B2", limit, "ms", found[limit], is_limit=True))
    return figures


def measure_requests(setup: Setup) -> list[Figure]:
    """Run B3: one process asks, another answers."""
    count = setup.size.latencies * 100
    found: dict[str, list[float]] = {REQUESTS: [], BARE_REQUESTS: []}

    async def work() -> None:
        for run in range(-1, setup.runs):
            for name, bare in ((REQUESTS, ""), (BARE_REQUESTS, "bare_")):
                async with _server(setup.folder) as url, _process(f"{bare}respond", url=url, count=0) as responder:
                    await _line(responder)
                    told = await _alone(f"{bare}ask", url=url, count=count, in_flight=IN_FLIGHT)
                if run >= 0:
                    found[name].append(_per_second(count, told))

    asyncio.run(work())
    return [
        _figure("B3", REQUESTS, "req/s", found[REQUESTS], asked=15_000.0, beside=BARE_REQUESTS),
        _figure("B3", BARE_REQUESTS, "req/s", found[BARE_REQUESTS], is_limit=True),
    ]


def _figure(
    workload: str, name: str, unit: str, runs: list[float], asked: float | None = None, beside: str = "",
    is_limit: bool = False,
) -> Figure:  # fmt: skip
    return Figure(
        workload=workload, name=name, unit=unit, runs=tuple(runs), better="less" if unit == "ms" else "more",
        asked=asked, beside=beside, is_limit=is_limit,
    )  # fmt: skip


# --- processes ---------------------------------------------------------------------------------------------------


@asynccontextmanager
async def _server(folder: Path) -> AsyncIterator[str]:
    """A server with an empty store, for one run."""
    server = EmbeddedNats(folder / "nats", port=0)
    await server.start()
    try:
        yield server.url
    finally:
        await server.stop()
        for path in sorted((folder / "nats").rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()


async def _rate(consumer: str, publisher: str, **order: Any) -> float:
    consumed, published = await _ends(consumer, publisher, **order)
    seconds = max(consumed["ended"], published["ended"]) - published["began"]
    return float(order["count"] / seconds)


async def _ends(consumer: str, publisher: str, **order: Any) -> tuple[Lines, Lines]:
    """Run both ends and return what each says last."""
    async with _process(consumer, **order) as consuming:
        await _line(consuming)
        published = await _alone(publisher, **order)
        consumed = await _line(consuming)
    if consumed["lost"]:
        raise RuntimeError(f"{consumed['lost']} of {order['count']} messages never came: {consumer}")
    return consumed, published


async def _alone(role: str, **order: Any) -> Lines:
    async with _process(role, **order) as process:
        told = await _line(process)
    if told.get("lost"):
        raise RuntimeError(f"{told['lost']} of {order['count']} messages never came: {role}")
    return told


@asynccontextmanager
async def _process(role: str, **order: Any) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.bus_process", role, json.dumps(order), stdout=subprocess.PIPE
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _line(process: asyncio.subprocess.Process) -> Lines:
    assert process.stdout is not None
    async with asyncio.timeout(DEADLINE_SECONDS):
        text = await process.stdout.readline()
    if not text:
        raise RuntimeError("a process of the benchmark ended without a word; its complaint is above")
    found: Lines = json.loads(text)
    return found


def _per_second(count: int, told: Lines) -> float:
    return float(count / (told["ended"] - told["began"]))


THROUGHPUT = Workload("B1", "the bus: messages a second, from publish to taken", measure_throughput)
LATENCY = Workload("B2", f"the bus: latency at {RATE:,} messages a second", measure_latency)
ROUND_TRIPS = Workload("B3", "the bus: requests and answers", measure_requests)
