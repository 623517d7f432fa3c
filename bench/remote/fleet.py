"""An orchestrator as `podium up` starts it, whose fleet only beats, in another process (`bench.remote.beating`):
`python -m bench.remote.fleet FOLDER AGENTS SECONDS` prints its own share of a processor and its memory as JSON.
"""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

import msgspec
from msgspec import Struct

from bench.fan_out_process import peak_mb
from bench.remote.listener import Listened
from bench.remote.orchestrator import orchestrating
from bench.remote.processes import processes, said
from podium.service.service import Service

INTERVAL_SECONDS = 30.0


class Share(Struct, frozen=True):
    """What the orchestrator took of the machine while its fleet did nothing but live."""

    percent_of_a_core: float
    peak_mb: float
    bare_percent: float  # what bare nats-py takes to hear the same at the same time
    beating: int  # agents that were heard of in the last one and a half intervals, with what they measured


async def measured(folder: Path, agents: int, seconds: float) -> Share:
    """Have the agents register, then look at what this process takes for so long."""
    async with orchestrating(folder, agents=0) as service:
        fleet = processes(["bench.remote.beating", service.url, str(agents), str(INTERVAL_SECONDS)])
        listener = processes(["bench.remote.listener", service.url, str(seconds)])
        bare = (await asyncio.to_thread(listener.__enter__))[0]
        await asyncio.to_thread(fleet.__enter__)
        try:
            if len(service.link.registry) != agents:
                raise RuntimeError(f"{len(service.link.registry)} of {agents} agents are registered")
            used, begin = time.process_time(), time.perf_counter()
            await asyncio.sleep(seconds)
            taken, passed = time.process_time() - used, time.perf_counter() - begin
            listened = msgspec.json.decode(await asyncio.to_thread(said, bare), type=Listened)
            return Share(100 * taken / passed, peak_mb(), listened.percent_of_a_core, _beating(service))
        finally:
            await asyncio.to_thread(listener.__exit__, None, None, None)
            await asyncio.to_thread(fleet.__exit__, None, None, None)


def _beating(service: Service) -> int:
    infos = service.link.registry.infos(service.now_us())
    return sum(1 for i in infos if i.metrics and i.heartbeat_age_seconds < 1.5 * INTERVAL_SECONDS)


if __name__ == "__main__":
    found = asyncio.run(measured(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))
    sys.stdout.buffer.write(msgspec.json.encode(found))
