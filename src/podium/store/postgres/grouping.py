"""Group commit for what callers write one by one: whatever comes in during a statement goes into the next one together.

Each caller is answered for its own item. A caller that is cancelled doesn't stop what was begun.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from podium.exceptions import StoreError, StoreUnavailableError

Item = TypeVar("Item")
Answer = TypeVar("Answer")
MOST_TOGETHER = 1_000


class Grouped(Generic[Item, Answer]):
    """Hands items to `write`, many at a time; it returns an answer for each."""

    def __init__(self, name: str, write: Callable[[Sequence[Item]], Awaitable[Sequence[Answer]]]) -> None:
        self._name = name
        self._write = write
        self._waiting: list[tuple[Item, asyncio.Future[Answer]]] = []
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    async def add(self, item: Item) -> Answer:
        """Return the answer for an item once it is written. Raises what `write` raises."""
        if self._closed:
            raise StoreUnavailableError("the store is closed")
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Answer] = loop.create_future()
        self._waiting.append((item, answer))
        if self._task is None:
            self._task = loop.create_task(self._write_all(), name=f"podium-postgres-{self._name}")
        return await answer

    async def close(self) -> None:
        """Finish what was begun, take nothing more. Safe twice."""
        self._closed = True
        if self._task is not None:
            await asyncio.wait([self._task])

    async def _write_all(self) -> None:
        try:
            while self._waiting:
                together, self._waiting = self._waiting[:MOST_TOGETHER], self._waiting[MOST_TOGETHER:]
                try:
                    await self._write_together(together)
                finally:
                    for _, answer in together:
                        answer.cancel()  # nothing, where it is answered
        finally:
            self._task = None
            for _, abandoned in self._waiting:
                abandoned.cancel()
            self._waiting.clear()

    async def _write_together(self, together: Sequence[tuple[Item, asyncio.Future[Answer]]]) -> None:
        try:
            answers = await self._write([item for item, _ in together])
        except StoreUnavailableError as error:
            for _, answer in together:
                if not answer.done():
                    answer.set_exception(error)
            return
        except StoreError as error:
            if len(together) > 1:  # something about one of them, which the others must not suffer for
                for each in together:
                    await self._write_together([each])
            elif not together[0][1].done():
                together[0][1].set_exception(error)
            return
        for (_, answer), found in zip(together, answers, strict=True):
            if not answer.done():
                answer.set_result(found)
