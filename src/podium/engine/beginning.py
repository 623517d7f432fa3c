"""Where a reader of the log begins that never read before: at what is committed from then on, said once for all."""

from __future__ import annotations

import asyncio

from podium.store.protocol import Store

LOOKS = 50  # for whoever sets the places; then it is dead
LOOK_SECONDS = 0.1


async def begin_now(store: Store, name: str) -> None:
    """Set a reader's cursors to the end of each shard, the first time ever.

    Of several processes that begin at once, one sets them and the others wait: who set them again would pass over what
    the others have begun with.
    """
    begun, beginning = f"{name}.begun", f"{name}.beginning"
    if await store.cursor(begun, 0):
        return
    if not await store.put_model(beginning, 0, 1, ()):
        for _ in range(LOOKS):
            if await store.cursor(begun, 0):
                return
            await asyncio.sleep(LOOK_SECONDS)
    for row in await store.shards():
        await store.save_cursor(name, row.shard, row.position)
    await store.save_cursor(begun, 0, 1)
