"""Inputs that are posted for another process, while the store comes and goes."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest

from podium.engine import inputs as inp
from podium.engine.posting import Posting
from podium.exceptions import StoreUnavailableError
from podium.store.memory import MemoryStore
from podium.testing.virtual import virtual_loop
from tests.runtime.support import ONE, start, virtual


class GoesAway(MemoryStore):
    """Goes away while it is asked for the inbox."""

    away = False

    async def recorded(self, inputs: Any) -> Any:
        self._check_there()
        return await super().recorded(inputs)

    async def inbox(self, *about: Any, **more: Any) -> Any:
        self.away = True
        await asyncio.sleep(1)
        self._check_there()
        return await super().inbox(*about, **more)

    def _check_there(self) -> None:
        if self.away:
            raise StoreUnavailableError("it restarts")


async def _nothing() -> None:
    return None


@virtual
async def test_who_awaits_an_input_hears_once_that_the_store_is_away():
    engine, _, store = await start()
    execution = await engine.submit(ONE)
    await engine.stop()
    unseen: list[dict[str, Any]] = []
    virtual_loop().set_exception_handler(lambda loop, context: unseen.append(context))
    posting = Posting(GoesAway(store._data), "default", virtual_loop().clock)
    posted = await posting.write(execution, "signal:1", inp.Signal("note"))
    with pytest.raises(StoreUnavailableError):
        await posting.recorded(posted, _nothing)
    await posting.close()
    gc.collect()
    await asyncio.sleep(0)
    assert unseen == []
