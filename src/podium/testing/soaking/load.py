"""The load of the long run: executions of every shape, so many a second and so many at once, each with its end."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from podium.engine import inputs as inp
from podium.engine.values import value_of
from podium.testing.soaking import shapes
from podium.testing.soaking.bus_client import COMPLETED, BusClient
from podium.testing.soaking.clients import Client
from podium.testing.soaking.history import History
from podium.workflow.model import Workflow

MOST_AT_ONCE = 60
MOST_LEDGER = 512 << 20  # bytes; beyond, nothing new is begun

Play = Callable[[str], Awaitable[None]]


class Load:
    """Begins one play after the other until it is told to stop."""

    def __init__(
        self, client: Client, bus: BusClient, history: History, folder: Path, seed: int, a_second: float
    ) -> None:
        self._client = client
        self._bus = bus
        self._history = history
        self._folder = folder
        self._seed = seed
        self._chance = random.Random(f"load {seed}")
        self._pause = 1 / a_second
        self._room = asyncio.Semaphore(MOST_AT_ONCE)
        self._playing: set[asyncio.Task[None]] = set()
        self._number = 0
        self._stopped = False
        self._plays: list[tuple[int, Play]] = [
            (20, self._chain),
            (12, self._fan),
            (8, self._simple(shapes.RETRIES)),
            (6, self._simple(shapes.TIMERS)),
            (6, self._long),
            (6, self._second_try),
            (5, self._simple(shapes.FALLBACK)),
            (5, self._simple(shapes.LARGE)),
            (8, self._simple(shapes.ABROAD)),
            (6, self._cancelled),
            (5, self._paused),
            (12, self._over_the_bus),
        ]

    @property
    def at_once(self) -> int:
        """How many plays are under way."""
        return len(self._playing)

    async def run(self) -> None:
        """Begin plays until `stop`."""
        weights, plays = zip(*self._plays, strict=True)
        while not self._stopped:
            await self._room.acquire()
            if await asyncio.to_thread(self._ledger_is_full):
                return
            (play,) = self._chance.choices(plays, weights)
            self._begin(play)
            await asyncio.sleep(self._chance.expovariate(1.0) * self._pause)

    def stop(self) -> None:
        """Begin nothing more."""
        self._stopped = True
        self._room.release()

    async def ended(self, seconds: float) -> None:
        """Wait so long until all that was begun has ended; what hasn't is stuck."""
        if self._playing:
            await asyncio.wait(self._playing, timeout=seconds)
        left = list(self._playing)
        for execution, (shape, since) in list(self._history.under_way.items()):
            why = await self._client.why(execution)
            waited = self._history.began + self._history.seconds - since
            self._history.wrong("stuck", f"{execution} ({shape}) since {waited:.0f} s: {why}")
        if len(left) > len(self._history.under_way):
            names = ", ".join(task.get_name() for task in left)
            self._history.wrong("stuck", f"{len(left)} clients have no answer: {names}")
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    def _ledger_is_full(self) -> bool:
        path = self._folder / "effects"
        return path.exists() and path.stat().st_size > MOST_LEDGER

    def _begin(self, play: Play) -> None:
        self._number += 1
        name = f"s{self._seed}-{self._number}"
        task = asyncio.create_task(self._play(play, name), name=name)
        self._playing.add(task)
        task.add_done_callback(self._over)

    def _over(self, task: asyncio.Task[None]) -> None:
        self._playing.discard(task)
        self._room.release()

    async def _play(self, play: Play, name: str) -> None:
        try:
            await play(name)
        except Exception as error:  # noqa: BLE001 - whatever a client meets belongs into the report
            self._history.wrong("wrong", f"the client of {name} met {error!r}")

    # --- the plays ---------------------------------------------------------------------------------------------

    def _simple(self, workflow: Workflow) -> Play:
        async def play(name: str) -> None:
            given = {"token": name}
            await self._completes(await self._client.submit(workflow, given, name), workflow, given)

        return play

    async def _chain(self, name: str) -> None:
        given = {"token": name}
        execution = await self._client.submit(shapes.CHAIN, given, name)
        if self._chance.random() < 0.2:
            await self._client.submit_once_more(shapes.CHAIN, given, name, execution)
        for nth in range(self._chance.choice((0, 0, 1, 3))):
            note = inp.Signal("note", value_of(f'"{name} {nth}"'.encode())[0])
            await self._client.command(execution, note, f"{name}-note-{nth}")
        await self._completes(execution, shapes.CHAIN, given)

    async def _fan(self, name: str) -> None:
        given = {"count": self._chance.randint(1, 12)}
        await self._completes(await self._client.submit(shapes.FAN, given, name), shapes.FAN, given)

    async def _long(self, name: str) -> None:
        given = {"token": name, "seconds": self._chance.uniform(1, 15)}
        await self._completes(await self._client.submit(shapes.LONG, given, name), shapes.LONG, given)

    async def _second_try(self, name: str) -> None:
        """An execution that fails, and that a person lets go on once the reason is gone."""
        given = {"token": name}
        execution = await self._client.submit(shapes.SECOND_TRY, given, name)
        self._expect(execution, await self._client.end(execution), "failed")
        gate = self._folder / "gates" / name
        await asyncio.to_thread(gate.touch)
        self._history.reopened(execution)
        refused = await self._client.command(execution, inp.Retry(), f"{name}-retry")
        if refused:
            self._history.wrong("wrong", f"the retry of {execution} was ignored: {refused}")
        await self._completes(execution, shapes.SECOND_TRY, given)
        await asyncio.to_thread(gate.unlink)

    async def _cancelled(self, name: str) -> None:
        given = {"token": name, "seconds": self._chance.uniform(2, 10)}
        execution = await self._client.submit(shapes.LONG, given, name)
        await asyncio.sleep(self._chance.uniform(0, 3))
        force = self._chance.random() < 0.3
        await self._client.command(execution, inp.Cancel("a test", force), f"{name}-cancel")
        self._expect(execution, await self._client.end(execution), "cancelled", "completed")

    async def _paused(self, name: str) -> None:
        given = {"token": name}
        execution = await self._client.submit(shapes.CHAIN, given, name)
        await self._client.command(execution, inp.Pause("a test"), f"{name}-pause")
        await asyncio.sleep(self._chance.uniform(0, 5))
        await self._client.command(execution, inp.Resume(), f"{name}-resume")
        await self._completes(execution, shapes.CHAIN, given)

    async def _over_the_bus(self, name: str) -> None:
        """A single task over the bus. One that was lost with its agents three times may fail for that."""
        abroad = self._chance.random() < 0.4
        payload: dict[str, Any] = {"text": shapes.WORDS} if abroad else {"token": name}
        function, agent = ("word_count", shapes.FOREIGN) if abroad else ("work", shapes.AGENT)
        result = await self._bus.run(name, function, payload, agent)
        crashed = (result.get("error") or {}).get("type") == "CrashLoop"
        wanted = {"words": len(shapes.WORDS.split())} if abroad else name
        if crashed:
            self._history.counts["crash loops over the bus"] += 1
        elif result["status"] != COMPLETED or result.get("result") != wanted:
            self._history.wrong("wrong", f"{name} over the bus ended as {result}")

    async def _completes(self, execution: str, workflow: Workflow, given: dict[str, Any]) -> None:
        await_end = self._client.end_as_users_do if self._chance.random() < 0.1 else self._client.end
        self._expect(execution, await await_end(execution), "completed")
        result, right = await self._client.result(execution), shapes.result_of(workflow.name, given)
        if result != right:
            self._history.wrong("wrong", f"{execution} ({workflow.name}) gave {str(result)[:200]!r}, not {right!r}")

    def _expect(self, execution: str, status: str, *right: str) -> None:
        if status not in right:
            self._history.wrong("wrong", f"{execution} ended as {status}, not as {' or '.join(right)}")
