"""Where schedules are kept: entries of a model in their shards, each change guarded by how often its shard was written.

Whoever changes one, an orchestrator that fires or a person's command, reads it, says what it becomes, and writes that
if nobody has written in between; else it reads again. So each time is decided once, whoever believes that it owns what.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

import msgspec

from podium.exceptions import BackpressureError, CorruptHistoryError, InvalidInputError
from podium.ids import SHARDS, shard_of
from podium.scheduling.schedules import MOST_READ, SCHEDULES, Schedule, decode_schedule
from podium.store.protocol import ModelRow, Store
from podium.telemetry.logs import get_logger

RUNG = "schedules.rung"  # a cursor that moves when somebody else than the owner has changed one
TRIES = 100
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
_log = get_logger("podium.schedules")

Change = Callable[[Schedule | None], Schedule | None]


def check_name(name: str) -> str:
    """Return a schedule's name. Raises InvalidInputError for one that can't be one."""
    if not _NAME.fullmatch(name):
        raise InvalidInputError(
            f"a schedule's name has at most 100 letters, digits, `-`, `_` and `.`, and begins with a letter or digit; "
            f"{name[:80]!r} can't be one"
        )
    return name


def key_of(tenant: str, name: str) -> str:
    """Return the key of a schedule's entry."""
    return f"{tenant}/{name}"


def shard_of_schedule(tenant: str, name: str) -> int:
    """Return the shard whose owner fires it."""
    return shard_of(key_of(tenant, name))


def row_of(schedule: Schedule) -> ModelRow:
    """Return a schedule's entry."""
    return ModelRow(key_of(schedule.tenant, schedule.name), msgspec.json.encode(schedule))


def readable(rows: Iterable[ModelRow]) -> list[Schedule]:
    """Return the schedules of entries; one that can't be read is left out, and said."""
    found = []
    for row in rows:
        try:
            found.append(decode_schedule(row.key, row.value or b""))
        except CorruptHistoryError as error:
            _log.error("a schedule is set aside", schedule=row.key, error=str(error))
    return found


async def read_all(store: Store, tenant: str | None = None) -> list[Schedule]:
    """Return the schedules of a tenant, or of all, in order of name."""
    prefix = "" if tenant is None else f"{tenant}/"
    return readable(await store.model(SCHEDULES, prefix, limit=MOST_READ))


async def read_shard(store: Store, shard: int) -> tuple[int, list[Schedule]]:
    """Return how often a shard's schedules were written, and they themselves: not older than that."""
    writes = await store.cursor(SCHEDULES, shard)
    return writes, readable(await store.model(SCHEDULES, shard=shard, limit=MOST_READ))


async def write_shard(
    store: Store, shard: int, writes: int, schedules: Iterable[Schedule], *, durable: bool = True
) -> bool:
    """Write schedules of one shard; False, and nothing changed, if somebody has written since."""
    rows = [row_of(schedule) for schedule in schedules]
    return await store.put_model(SCHEDULES, shard, writes + 1, rows, before=writes, durable=durable)


async def read_one(store: Store, tenant: str, name: str) -> Schedule | None:
    """Return a schedule; None if there is none of that name. Raises CorruptHistoryError."""
    key, shard = key_of(tenant, name), shard_of_schedule(tenant, name)
    rows = await store.model(SCHEDULES, key, shard, limit=MOST_READ)
    return next((decode_schedule(row.key, row.value or b"") for row in rows if row.key == key), None)


async def change(store: Store, tenant: str, name: str, becomes: Change, now_us: int) -> Schedule | None:
    """Change a schedule, and tell who fires it; return what it has become. `becomes` may be asked several times, and
    may raise; None takes the schedule away.
    """
    key, shard = key_of(tenant, name), shard_of_schedule(tenant, name)
    for _ in range(TRIES):
        writes = await store.cursor(SCHEDULES, shard)
        schedule = becomes(await read_one(store, tenant, name))
        row = ModelRow(key, None) if schedule is None else row_of(schedule)
        if await store.put_model(SCHEDULES, shard, writes + 1, [row], before=writes, durable=True):
            await ring(store, now_us)
            return schedule
    raise BackpressureError(f"the schedule {name} is written too often to be changed now; try again")


async def ring(store: Store, now_us: int) -> None:
    """Let orchestrators know that schedules have changed; only a hint, they look by themselves too."""
    rung = await store.cursor(RUNG, 0)
    await store.save_cursor(RUNG, 0, max(now_us, rung + 1))


def ours(shards: Iterable[int]) -> set[int]:
    """Return those of the shards that may have schedules."""
    return {shard for shard in shards if shard < SHARDS}
