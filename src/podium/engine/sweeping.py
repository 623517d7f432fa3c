"""The sweep of blobs that nothing mentions: what a crash left between a blob and its first mention.

The inbox and the log are read once; their rows name blobs by their hashes. A blob younger than a day is left alone,
whoever mentions it.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable

from podium.clock import SECOND, Clock
from podium.engine.admission import waiting_room
from podium.engine.shards import ALL_SHARDS, EVERY_SHARD
from podium.exceptions import StoreError
from podium.scheduling.schedules import MOST_READ, SCHEDULES, decode_schedule
from podium.store.protocol import Store
from podium.telemetry.logs import get_logger

DAY_SECONDS = 86_400
PAGE = 1_000
_HASH = re.compile(rb'"(?:blob|definition)":"([0-9a-f]{64})"')
_log = get_logger("podium.engine")


async def sweep(store: Store, now_us: int) -> int:
    """Delete the blobs older than a day that no row of the inbox or the log mentions; return how many."""
    mentioned = await _mentioned_by_schedules(store)  # first: what a schedule starts is in the inbox next
    mentioned |= await _mentioned_in_the_inbox(store)  # what leaves it meanwhile was seen here, or is in the log
    async for row in store.mentions():
        if row.payload_blob:
            mentioned.add((row.tenant, row.payload_blob))
            payload = await store.get(row.tenant, row.payload_blob)
        else:
            payload = row.payload
        for text in (payload, row.events):
            mentioned.update((row.tenant, found.decode()) for found in _HASH.findall(text))
    return await store.sweep(mentioned, now_us - DAY_SECONDS * SECOND)


async def _mentioned_in_the_inbox(store: Store) -> set[tuple[str, str]]:
    """Return the blobs of inputs that aren't recorded yet; a start may have waited for room for longer than a day."""
    mentioned: set[tuple[str, str]] = set()
    places, after = [*EVERY_SHARD, *(waiting_room(shard) for shard in ALL_SHARDS)], 0
    while rows := await store.inbox(places, after, PAGE):
        for row in rows:
            mentioned.update((row.tenant, found.decode()) for found in _HASH.findall(row.payload))
        after = rows[-1].id
    return mentioned


async def _mentioned_by_schedules(store: Store) -> set[tuple[str, str]]:
    """Return the blobs of what schedules will start."""
    mentioned: set[tuple[str, str]] = set()
    for row in await store.model(SCHEDULES, limit=MOST_READ):
        schedule = decode_schedule(row.key, row.value or b"")
        beginning = schedule.beginning
        mentioned.add((schedule.tenant, beginning.definition))
        if beginning.input_blob is not None:
            mentioned.add((schedule.tenant, beginning.input_blob))
    return mentioned


async def sweep_daily(store: Store, clock: Clock, wanted: Callable[[], bool] = lambda: True) -> None:
    """Sweep once a day, for ever, when it is wanted then: of several replicas, one does."""
    while True:
        await asyncio.sleep(DAY_SECONDS)
        if not wanted():
            continue
        try:
            swept = await sweep(store, clock.now_us())
        except (StoreError, KeyError) as error:
            _log.warning("no sweep of unmentioned blobs", error=str(error))
        else:
            _log.info("unmentioned blobs swept", blobs=swept)
