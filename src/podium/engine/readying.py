"""Having ready what deciding about a growth needs, while other inputs are decided: values that its conditions read, and
its texts compiled, which takes a second where a thousand tasks have ten each.

What is made ready here is only sooner at hand: deciding would come to the same without it, and hold up the loop.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from podium.engine import inputs as inp
from podium.engine.arrivals import Arrival
from podium.engine.growing import compile_texts, has_much_to_compile, may_grow, texts_wanted
from podium.engine.intake import Intake
from podium.engine.recovery import Offload, load_texts
from podium.engine.state import State
from podium.exceptions import CorruptHistoryError, PodiumError
from podium.store.protocol import Store


class Readying:
    """Holds back results that add much, until what deciding about them takes is at hand."""

    def __init__(
        self,
        store: Store,
        intake: Intake,
        offload: Offload[Any],
        *,
        spawn: Callable[[Coroutine[Any, Any, Any], str], object],
        reject: Callable[[Arrival, PodiumError], None],
    ) -> None:
        self._store = store
        self._intake = intake
        self._offload = offload
        self._spawn = spawn
        self._reject = reject

    def holds_back(self, arrival: Arrival, state: State) -> bool:
        """Whether something must be had ready first; the input is put back in front once it is."""
        given = arrival.given
        if not isinstance(given, inp.Succeeded) or given.growth is None or not may_grow(state, given):
            return False
        if not arrival.compiled and has_much_to_compile(given.growth):
            work = partial(compile_texts, state.tasks[given.task], given.growth)
            self._spawn(self._compile(arrival, work), f"podium-compile-{state.id}")
            return True
        wanted = [digest for digest in texts_wanted(state, given) if digest not in dict(arrival.blobs)]
        if not wanted:
            return False
        self._spawn(self._fetch(arrival, state, wanted), f"podium-fetch-{state.id}")
        return True

    async def _compile(self, arrival: Arrival, work: Callable[[], None]) -> None:
        await self._offload(work)
        arrival.compiled = True
        self._intake.put_first([arrival])

    async def _fetch(self, arrival: Arrival, state: State, digests: list[str]) -> None:
        try:
            await self._intake.retrying(partial(load_texts, self._store, state, digests))
        except (KeyError, CorruptHistoryError) as error:
            self._reject(arrival, CorruptHistoryError(f"a value that added tasks read can't be had: {error}"))
            return
        state.pinned.update(digests)
        self._intake.put_first([arrival])
