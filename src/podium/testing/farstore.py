"""A replica's way to a store that several share: each statement travels there, is carried out, and its answer travels
back. Each of the three may fail, be late, or outlive the process that asked.

What a statement does happens in no process: who stands still or is gone meanwhile finds it done.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from podium.exceptions import PodiumError, StoreUnavailableError
from podium.store.memory import MemoryStore
from podium.store.protocol import Append, ShardRow
from podium.testing.faults import Fate, told_of
from podium.testing.processes import Process
from podium.testing.torn import FailingParts, Fault

T = TypeVar("T")
PATIENCE_SECONDS = 5.0  # of who asks and hears nothing
LATE_SECONDS = 20.0
_LOUD = ("join", "claim", "release", "leave")


class Weather(Struct):
    """What becomes of the store for all."""

    out_until: float = 0.0


class Way(Struct):
    """What becomes of one replica's way there."""

    to_there: bool = True
    from_there: bool = True


class _Crashed(Exception):
    """Who asked is gone."""


class FarStore(MemoryStore):
    """One replica's handle. `crash` ends its process; `wrote` is told of each append that was committed."""

    def __init__(
        self,
        healthy: MemoryStore,
        fate: Fate,
        weather: Weather,
        process: Process,
        crash: Callable[[str], None],
        wrote: Callable[[Append], None],
    ) -> None:
        super().__init__(healthy._data)
        self._fate = fate
        self._weather = weather
        self._process = process
        self._crash = crash
        self._wrote = wrote
        self._loop = asyncio.get_running_loop()
        self.way = Way()
        self.dead = False
        self.taking_over = False  # so that it may die of it

    # --- statements ----------------------------------------------------------------------------------------------

    async def append(self, batch: Append) -> None:
        """Append, or not, or not quite."""
        await self._ask("append", lambda: self._append(batch))

    async def _append(self, batch: Append) -> None:
        fate = self._fate
        if fate.strikes("crash_before_commit"):
            self._end("before the commit")
        if fate.strikes("crash_during_commit"):
            await self._tear(batch)
        if fate.strikes("outage"):
            self._weather.out_until = self._loop.time() + fate.chance.uniform(0.1, 20)
            raise StoreUnavailableError("simulated: the disk is full")
        if fate.strikes("append_fails"):
            raise StoreUnavailableError("simulated: the append failed")
        await super().append(batch)
        fate.tell(f"{self._process.name}: {told_of(batch)}")
        self._wrote(batch)
        if fate.strikes("crash_after_commit"):
            self._end("after the commit")
        if fate.strikes("append_unknown"):
            raise StoreUnavailableError("simulated: the answer to a commit was lost")

    async def _tear(self, batch: Append) -> None:
        """Die in the middle of a write, at any of its parts: all of an append is there, or nothing."""
        parts = [name for name in ("rows", "executions", "blobs", "inbox", "drained") if getattr(batch, name)]
        part = self._fate.chance.choice(parts) if parts else "rows"
        content = list(getattr(batch, part))
        torn = FailingParts(content, self._fate.chance.randrange(max(len(content), 1)))
        with contextlib.suppress(Fault):
            await super().append(replace(batch, **{part: torn}))
            self._wrote(batch)
        self._end(f"while it wrote {part}")

    async def claim(self, replica: str, fences: Any) -> dict[int, ShardRow]:
        """Claim; who gets what somebody had before may die of that."""
        had = {shard: row.owner for shard, row in self._data.shards.items()}
        claim = super().claim
        got: dict[int, ShardRow] = await self._ask("claim", lambda: claim(replica, fences))
        self._fate.tell(f"{self._process.name}: got {_ranges(got)}")
        if any(had.get(shard) for shard in got) and self._fate.strikes("takeover_dies"):
            self._loop.call_later(
                self._fate.chance.uniform(0, 0.05), self._crash, "while it took over", context=self._process.outside
            )
        return got

    async def changed(self) -> bool:
        """Only a look would tell."""
        return True

    def listen(self, wake: Callable[[str], None]) -> None:
        """Have it told, in its process, what others do, unless that gets lost."""

        def tell(what: str) -> None:
            if self.dead or not self.way.from_there or self._fate.strikes("wakeup_lost"):
                return
            self._loop.call_later(self._fate.chance.uniform(0, 0.01), wake, what, context=self._process.context)

        super().listen(tell)

    # --- the way -------------------------------------------------------------------------------------------------

    async def _ask(self, what: str, work: Callable[[], Awaitable[T]]) -> T:
        """Have a statement carried out, and wait for what comes back."""
        self._open()
        answer: asyncio.Future[T] = self._loop.create_future()
        serving = self._serve(what, work, answer)
        self._loop.create_task(serving, name=f"store-{self._process.name}-{what}", context=self._process.outside.copy())
        return await answer

    async def _serve(self, what: str, work: Callable[[], Awaitable[T]], answer: asyncio.Future[T]) -> None:
        fate = self._fate
        await self._travel()
        if self.dead and fate.chance.random() < 0.5:
            return
        if fate.strikes("crash_anywhere"):
            self._crash(what)
            return
        if not self.way.to_there or (self._loop.time() < self._weather.out_until and not fate.calm):
            await self._give_up(what, answer)
            return
        if fate.strikes("statement_late"):
            await self._give_up(what, answer)
            await asyncio.sleep(fate.chance.uniform(0, LATE_SECONDS))
        error: BaseException | None = None
        found: Any = None
        try:
            found = await work()
        except _Crashed:
            return
        except (PodiumError, KeyError, ValueError) as problem:
            error = problem
        if not self.way.from_there or fate.strikes("answer_lost"):
            await self._give_up(f"the answer to {what}", answer)
        await self._travel()
        if self.dead or answer.done():
            return
        if error is not None:
            answer.set_exception(error)
        else:
            answer.set_result(found)

    async def _travel(self) -> None:
        await asyncio.sleep(self._fate.chance.uniform(0.01, 3.0) if self._fate.strikes("slow_store") else 0)

    async def _give_up(self, what: str, answer: asyncio.Future[Any]) -> None:
        """Wait as long as who asks has patience; then it hears nothing."""
        await asyncio.sleep(self._fate.chance.uniform(0.1, 1) * PATIENCE_SECONDS)
        if not self.dead and not answer.done():
            self._fate.tell(f"{self._process.name} lost: {what}")
            answer.set_exception(StoreUnavailableError(f"simulated: nothing was heard of {what}"))

    def _end(self, where: str) -> None:
        self._crash(where)
        raise _Crashed


def _ranges(shards: Any) -> str:
    return f"{len(shards)} shards{', placement' if 64 in shards else ''}"


def _reaching(name: str) -> Any:
    method: Callable[..., Awaitable[Any]] = getattr(MemoryStore, name)

    async def reach(self: FarStore, *arguments: Any, **named: Any) -> Any:
        if name in _LOUD:
            self._fate.tell(f"{self._process.name}: {name}")
        return await self._ask(name, lambda: method(self, *arguments, **named))

    reach.__name__ = name
    reach.__doc__ = f"Do what a memory store's `{name}` does, if it can be reached."
    return reach


_REACHED: Sequence[str] = (
    "load", "recorded", "post", "inbox", "due", "active", "put_snapshot", "get", "put", "execution", "executions",
    "history", "shards", "join", "renew", "release", "leave", "cluster",
)  # fmt: skip
for _name in _REACHED:
    setattr(FarStore, _name, _reaching(_name))
