"""A replica that is stopped ends, whatever its store does; the others go on with what it had."""

from __future__ import annotations

import asyncio

from podium.exceptions import StoreUnavailableError
from podium.testing.virtual import virtual_loop
from tests.runtime.replicas import Cluster
from tests.runtime.support import ONE, sound, until, virtual


async def _silent() -> list[object]:
    raise StoreUnavailableError("the line is gone")


@virtual
async def test_a_replica_whose_store_goes_away_while_it_drains_ends_and_the_others_take_over(monkeypatch):
    async with Cluster() as cluster:
        one = await cluster.start()
        await cluster.balanced()
        two = await cluster.start()
        await cluster.balanced()
        member = cluster.join("hand-1", working=False)
        execution = await one.engine.submit(ONE)
        await until(lambda: member.live)
        one.store.down = True
        monkeypatch.setattr(one.store, "shards", _silent)
        member.finish_all()  # what it says is to be recorded, whatever happens
        await until(lambda: one.engine._batches.flying is not None)
        began = virtual_loop().time()
        async with asyncio.timeout(60):
            await cluster.stop(one)
        assert virtual_loop().time() - began < 10
        await cluster.balanced()
        assert two.engine.owns(execution)
        await cluster.ended([execution])
        await sound(cluster.store)
