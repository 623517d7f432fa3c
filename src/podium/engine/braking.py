"""What keeps an engine's loop from deciding: it is to end, or to start no more tasks, or shards come and go."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from podium.engine.arrivals import Batches
from podium.engine.intake import Intake
from podium.exceptions import EngineStoppedError


class Brakes:
    """The brakes of one loop: who holds them, and whether it has come to a stand."""

    def __init__(self, intake: Intake, batches: Batches, *, draining: bool) -> None:
        self.opened = False
        self.closing = False  # nothing more is decided, for ever
        self.draining = draining  # no task is given to agents any more
        self.held_back = False  # nothing is decided while shards come and go
        self._intake = intake
        self._batches = batches
        self._quieting = asyncio.Lock()
        self._calm = asyncio.Event()

    def check_open(self) -> None:
        """Raise EngineStoppedError when nothing new is taken."""
        if self.closing or not self.opened:
            raise EngineStoppedError("the engine is stopping and takes nothing new")

    def close(self) -> None:
        """Have nothing more decided."""
        self.closing = True
        self._intake.wake.set()

    def stands(self) -> None:
        """The loop has nothing under way and has ended, or looks whether it may go on."""
        self._calm.set()

    @asynccontextmanager
    async def quiet(self) -> AsyncIterator[None]:
        """Hold decisions back until everything decided is committed; what arrives meanwhile waits in the queue."""
        async with self._quieting:
            self.check_open()
            self.held_back = True
            try:
                await self._become_calm()
                yield
            finally:
                self.held_back = False
                self._intake.wake.set()

    async def _become_calm(self) -> None:
        while True:
            self._calm.clear()
            self._intake.wake.set()
            await self._calm.wait()
            self.check_open()
            if self._batches.empty:  # else something was drained in the last moment
                return
