"""What is measured meanwhile: memory of each process, and the counters of each replica, which end with its life."""

from __future__ import annotations

import asyncio
import urllib.error
import urllib.request
from collections import Counter
from typing import Any

import msgspec
from msgspec import Struct

from podium.testing.soaking.processes import Process, resident_mb
from podium.testing.soaking.stage import Replica, Stage

LOOK_SECONDS = 5.0
EARLY_SECONDS = 45.0  # until a process is so old, its memory is that of its beginning
ASK_SECONDS = 4.0
COUNTED = ("podium_reconciler_finds_total", "podium_attempts_lost_total", "podium_executions_total")


class Memory(Struct, frozen=True):
    """Of one name: megabytes early in its first life and last, how many lives, and the most that a life grew."""

    name: str
    lives: int
    first_mb: float
    last_mb: float
    longest_life_seconds: float
    longest_life_grew_mb: float


class Watch:
    """Looks every few seconds."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._counters: dict[tuple[str, int], dict[str, float]] = {}  # by replica and life
        self._servers: dict[str, tuple[float, float]] = {}

    async def run(self) -> None:
        """Look until it is cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(LOOK_SECONDS)

    async def look(self) -> None:
        """Look once."""
        for process in self._stage.everyone:
            process.measure(EARLY_SECONDS)
        for name, mb in (("nats", self._nats_mb()), ("postgresql", self._postgres_mb())):
            if mb:
                self._servers[name] = self._servers.get(name, (mb, mb))[0], mb
        await asyncio.gather(*(self._count(replica) for replica in self._stage.replicas))

    def counted(self, name: str) -> float:
        """Return the sum of a counter over all lives of all replicas."""
        return sum(counters.get(name, 0.0) for counters in self._counters.values())

    def counted_by_labels(self, beginning: str) -> dict[str, float]:
        """Return the sums of all counters whose names with labels begin so."""
        found: Counter[str] = Counter()
        for counters in self._counters.values():
            for name, value in counters.items():
                if name.startswith(f"{beginning}{{"):
                    found[name.removeprefix(beginning)] += int(value)
        return dict(found)

    def memory(self) -> list[Memory]:
        """Return what each process had."""
        found = [_memory_of(process) for process in self._stage.everyone if process.lives]
        return found + [Memory(name, 1, first, last, 0.0, 0.0) for name, (first, last) in self._servers.items()]

    async def _count(self, replica: Replica) -> None:
        process = replica.process
        text = await ask(replica, "/metrics")
        if text and process.lives:
            self._counters[replica.name, len(process.lives)] = _parsed(text)

    def _nats_mb(self) -> float:
        pid = self._stage.nats.pid
        return resident_mb(pid) if pid else 0.0

    def _postgres_mb(self) -> float:
        """All backends, without what they share."""
        return sum(_private_mb(pid) for pid in self._stage.postgres.pids)


async def ask(replica: Replica, path: str) -> str:
    """Return what a replica answers, whatever the status; nothing if it doesn't."""
    address = replica.process.addresses.get("http")
    if not replica.process.is_ready or not address:
        return ""
    return await asyncio.to_thread(_asked, f"http://{address}{path}")


async def holds(replica: Replica) -> list[str]:
    """Return what a replica at rest holds still (I6); one that doesn't answer holds something."""
    answer = await ask(replica, "/health")
    try:
        components: dict[str, Any] = msgspec.json.decode(answer)["components"]
    except (msgspec.DecodeError, KeyError, TypeError):
        return [f"{replica.name} doesn't say how it is: {answer[:200]!r}"]
    facts = {name: {**part, **part.get("facts", {})} for name, part in components.items()}
    wanted = (("engine", "live_attempts"), ("engine", "queued_tasks"), ("link", "unconfirmed_results"))
    return [
        f"{replica.name} holds {facts[part][fact]} {fact}"
        for part, fact in wanted
        if facts.get(part, {}).get(fact)
    ]  # fmt: skip


def _asked(url: str) -> str:
    try:
        with urllib.request.urlopen(url, timeout=ASK_SECONDS) as answer:
            return str(answer.read().decode())
    except urllib.error.HTTPError as error:
        with error:
            return str(error.read().decode())
    except OSError:
        return ""


def _parsed(text: str) -> dict[str, float]:
    """Return the counters that are wanted: each with its labels, and their sums by name."""
    found: dict[str, float] = {}
    for line in text.splitlines():
        if not line.startswith(COUNTED):
            continue
        name, _, value = line.rpartition(" ")
        plain = name.partition("{")[0]
        found[plain] = found.get(plain, 0.0) + float(value)
        if plain != name:
            found[name] = float(value)
    return found


def _memory_of(process: Process) -> Memory:
    longest = max(process.lives, key=lambda life: life.seconds)
    return Memory(
        process.name,
        len(process.lives),
        round(process.lives[0].early_mb, 1),
        round(process.lives[-1].last_mb, 1),
        round(longest.seconds, 1),
        round(longest.last_mb - longest.early_mb, 1),
    )


def _private_mb(pid: int) -> float:
    try:
        with open(f"/proc/{pid}/smaps_rollup") as file:
            lines = [line.split() for line in file]
    except OSError:
        return 0.0
    return sum(int(line[1]) for line in lines if line[0].startswith("Private_")) / 1_000
