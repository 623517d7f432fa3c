"""Read models that the owners of shards keep: each its shards' entries, folded from what commits, written now and then.

Queries add up the entries of all shards. A model can be built anew while it is in use: beside the old one, shard by
shard from the first row, until it has caught up and takes the other's place.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Collection, Iterable, Sequence
from functools import partial

from podium.engine import events as ev
from podium.engine.arrivals import Batch
from podium.engine.codec import decode_facts
from podium.engine.projections import Projection, Row
from podium.engine.statistics import NAME, Group, Opened, Version, opened, total
from podium.exceptions import ConflictError, InvalidInputError, PodiumError, StoreUnavailableError
from podium.ids import SHARDS
from podium.store.protocol import LogRow, ModelRow, Store
from podium.telemetry.logs import get_logger

SAVE_SECONDS = 2.0
PATIENCE_SECONDS = 1.0  # what starts or takes over has more urgent things to do
OPENED_KEPT = 20_000  # executions; of further ones the history is read again
GROUPS_KEPT = 2_000
PAGE = 500
MOST_UNWRITTEN = 20_000  # rows that a query counts by itself
TRIES = 5
_NEW = "new"  # a model that is being built, beside the one in use
_log = get_logger("podium.engine")


class StatisticsModel:
    """The statistics of the shards that its reader follows: what it takes, and where it is."""

    def __init__(self, store: Store, name: str = NAME, *, from_nothing: bool = False) -> None:
        """`from_nothing`: what is stored isn't looked at, so that only what is taken is counted."""
        self._store = store
        self._name = name
        self._from_nothing = from_nothing
        self._opened: OrderedDict[str, Opened] = OrderedDict()
        self._groups: dict[tuple[int, str], Group] = {}
        self._written: dict[int, int] = {}  # the place of each shard that its stored entries belong to
        self.unreadable = 0

    async def begin(self) -> None:
        """Do nothing: it begins with the first row ever."""

    async def at(self, shard: int) -> int:
        """Return the place that was saved with the entries."""
        self._written[shard] = place = await self._store.cursor(self._name, shard)
        return place

    async def take(self, rows: Sequence[Row]) -> None:
        """Count these rows. Nothing is changed before all is at hand that is needed."""
        facts = [(row, decode_facts(row) if events is None else events) for row, events in rows]
        known = await self._knowledge(facts)
        groups = {}
        for key in {(one.shard, one.group) for one in known.values()}:
            groups[key] = self._groups.get(key) or await self._group(*key)
        for row, events in facts:
            one = known.get(row.execution)
            if one is None:
                self.unreadable += 1
            else:
                one.take(row.now_us, events, groups[one.shard, one.group])
        self._groups.update(groups)
        self._opened.update(known)
        for execution, one in known.items():
            if one.ended:
                del self._opened[execution]
            else:
                self._opened.move_to_end(execution)
        while len(self._opened) > OPENED_KEPT:
            self._opened.popitem(last=False)

    async def save(self, shard: int, position: int) -> bool:
        """Write the entries that have changed, and the place: on what was written last, or not at all."""
        groups = {key: group for key, group in self._groups.items() if key[0] == shard and group.changed}
        changed = {key: set(group.changed) for key, group in groups.items()}
        rows = [row for (_, name), group in groups.items() for row in group.changes(name)]
        try:
            before = self._written.get(shard, 0)
            done = await self._store.put_model(self._name, shard, position, rows, before=before)
            if done:
                self._written[shard] = position
            return done
        except BaseException:
            for key, group in groups.items():
                group.changed |= changed[key]
            raise
        finally:
            self._let_go()

    def forget(self, shard: int) -> None:
        """Keep nothing of a shard."""
        self._written.pop(shard, None)
        for key in [key for key in self._groups if key[0] == shard]:
            del self._groups[key]
        for execution in [execution for execution, one in self._opened.items() if one.shard == shard]:
            del self._opened[execution]

    def entries(self) -> list[ModelRow]:
        """Return what was counted and isn't written."""
        return [row for (_, name), group in self._groups.items() for row in group.changes(name)]

    def _let_go(self) -> None:
        """Keep no more counts in memory than have changed lately."""
        if len(self._groups) > GROUPS_KEPT:
            self._groups = {key: group for key, group in self._groups.items() if group.changed}

    async def _group(self, shard: int, name: str) -> Group:
        return Group(() if self._from_nothing else await self._store.model(self._name, name, shard))

    async def _knowledge(self, facts: Sequence[tuple[LogRow, list[ev.Event]]]) -> dict[str, Opened]:
        """Return what must be known of each execution before the first of these rows."""
        known: dict[str, Opened] = {}
        for row, events in facts:
            if row.execution in known:
                continue
            one = self._opened.get(row.execution) or opened(row, events) or await self._from_history(row)
            if one is not None:
                known[row.execution] = one
        return known

    async def _from_history(self, before: LogRow) -> Opened | None:
        """Return what an execution's earlier rows say; None if they can't be read."""
        one, after, aside = None, 0, Group()
        try:
            while after < before.sequence and (rows := await self._store.history(before.execution, after, PAGE)):
                for row in rows:
                    if row.sequence >= before.sequence:
                        return one
                    events = decode_facts(row)
                    one = one or opened(row, events)
                    if one is not None:
                        one.take(row.now_us, events, aside)
                after = rows[-1].sequence
        except StoreUnavailableError:
            raise
        except PodiumError as error:
            _log.error("an execution can't be counted", execution=before.execution, error=str(error))
            return None
        return one


class ReadModels:
    """The read models of one process, over the shards that it owns."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._model = StatisticsModel(store)
        self.readers = {
            NAME: Projection(
                store, NAME, self._model.take, self._model,
                save_seconds=SAVE_SECONDS, patience_seconds=PATIENCE_SECONDS,
            )
        }  # fmt: skip
        self._leaving: set[asyncio.Task[None]] = set()
        self._rebuilding = Rebuilding(store, dict(self.readers))

    def add(self, reader: Projection) -> None:
        """Have another reader follow the same shards; it isn't rebuilt."""
        self.readers[reader.name] = reader

    async def start(self, shards: Iterable[int] = range(SHARDS)) -> None:
        """Follow these shards; `landed` must be told of the engine's commits from now on."""
        for reader in self.readers.values():
            await reader.start(shards)

    async def stop(self) -> None:
        """Write what was counted, and let go. Safe twice."""
        await self._rebuilding.stop()
        await asyncio.gather(*self._leaving, return_exceptions=True)
        for reader in self.readers.values():
            await reader.stop()

    def landed(self, batch: Batch) -> None:
        """Take what was just committed."""
        for reader in self.readers.values():
            reader.landed(batch)

    def moved(self, acquired: Collection[int], released: Collection[int]) -> None:
        """Follow the shards that came, and no more those that went."""
        for reader in self.readers.values():
            if acquired:
                reader.own(acquired)
            if released:
                task = asyncio.get_running_loop().create_task(reader.disown(released), name="podium-disown")
                self._leaving.add(task)
                task.add_done_callback(self._leaving.discard)

    def lag(self) -> dict[str, float]:
        """Return how many rows each reader is behind."""
        return {name: float(reader.lag) for name, reader in self.readers.items()}

    async def answer_rebuild(self, asked: dict[str, object]) -> dict[str, object]:
        """Begin to rebuild shards of ours under a token, or say how far that is."""
        return self._rebuilding.answer(asked)


class Rebuilding:
    """Rebuilds, each known by the token of who asked for it, so that it is begun once however often it is asked."""

    def __init__(self, store: Store, readers: dict[str, Projection]) -> None:
        self._store = store
        self._readers = readers
        self._token = ""
        self._done: dict[int, int] = {}  # shards, with how many rows were read
        self._asked: dict[int, None] = {}
        self._error = ""
        self._task: asyncio.Task[None] | None = None

    def answer(self, asked: dict[str, object]) -> dict[str, object]:
        """Return which shards are done, and which will be."""
        token, name, shards = str(asked.get("token", "")), str(asked.get("model", "")), asked.get("shards")
        reader = self._readers.get(name)
        if reader is None:
            raise InvalidInputError(
                f"there is no read model {name!r} to be rebuilt; there is {', '.join(self._readers)}"
            )
        running = self._task is not None and not self._task.done()
        if token != self._token:
            if running:
                raise ConflictError("it is being rebuilt already")
            self._token, self._done, self._asked, self._error = token, {}, {}, ""
        ours = reader.places
        wanted = [s for s in shards if isinstance(s, int) and s in ours] if isinstance(shards, list) else []
        self._asked.update(dict.fromkeys(s for s in wanted if s not in self._done))
        if self._asked and not running and not self._error:
            self._task = asyncio.get_running_loop().create_task(self._run(name, reader), name="podium-rebuild")
        return {
            "done": {str(s): rows for s, rows in self._done.items()},
            "left": list(self._asked),
            "failed": self._error,
        }

    async def stop(self) -> None:
        """Leave off; what was begun is begun again by who asks again."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _run(self, name: str, reader: Projection) -> None:
        while self._asked:
            shard = next(iter(self._asked))
            try:
                if shard in reader.places:
                    self._done[shard] = await rebuilt(self._store, name, shard, reader)
            except PodiumError as error:
                _log.warning("a read model could not be rebuilt", model=name, shard=shard, error=str(error))
                self._error = str(error)
                return
            self._asked.pop(shard, None)


async def rebuilt(store: Store, name: str, shard: int, reader: Projection | None = None) -> int:
    """Build one shard of a model from its first row and put it in the place of the old; return how many rows it read.

    `reader` is who keeps the model in this process: it stands still for the last rows, and goes on with the new one.
    """
    new = f"{name}.{_NEW}"
    await store.drop_model(new, shard)
    model = StatisticsModel(store, new)
    place = await _caught_up(store, model, shard, 0)
    switch = partial(_switched, store, name, model, shard, place)
    if reader is None:
        return await switch()
    return await reader.begin_again_after(shard, switch)


async def _caught_up(store: Store, model: StatisticsModel, shard: int, place: int) -> int:
    while rows := await store.follow(shard, place, PAGE):
        await model.take([(row, None) for row in rows])
        place = rows[-1].position
        if not await model.save(shard, place):
            raise ConflictError(f"what was rebuilt of shard {shard} is lost, or somebody else rebuilds it: ask again")
        await asyncio.sleep(0)
    return place


async def _switched(store: Store, name: str, model: StatisticsModel, shard: int, place: int) -> int:
    for _ in range(TRIES):
        place = await _caught_up(store, model, shard, place)
        if await store.replace_model(name, f"{name}.{_NEW}", shard):
            return place
    raise ConflictError(f"the log of shard {shard} grows faster than the model {name} can be rebuilt")


async def statistics(store: Store, tenant: str | None = None) -> tuple[list[Version], int]:
    """Return the statistics of all shards, and how many rows aren't in them.

    What isn't written yet is counted here, unless that is too much.
    """
    tries = TRIES
    while True:
        tries -= 1
        places = await _places(store)
        entries = await store.model(NAME, limit=1_000_000)
        late, left = await _unwritten(store, places)
        if not tries or places == await _places(store, list(places)):  # all of it is of one moment
            found = total([*entries, *late])
            return [each for each in found if tenant in (None, each.tenant)], left


async def _places(store: Store, shards: Sequence[int] | None = None) -> dict[int, int]:
    if shards is None:
        shards = [row.shard for row in await store.shards() if row.shard < SHARDS and row.position]
    return {shard: await store.cursor(NAME, shard) for shard in shards}


async def _unwritten(store: Store, places: dict[int, int]) -> tuple[list[ModelRow], int]:
    heads = {row.shard: row.position for row in await store.shards()}
    left = sum(max(0, heads.get(shard, 0) - place) for shard, place in places.items())
    if left > MOST_UNWRITTEN:
        return [], left
    model = StatisticsModel(store, from_nothing=True)
    for shard, place in places.items():
        while rows := await store.follow(shard, place, PAGE):
            await model.take([(row, None) for row in rows])
            place = rows[-1].position
    return model.entries(), 0
