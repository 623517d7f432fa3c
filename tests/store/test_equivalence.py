"""SQLite and memory answer the same to the same operations, errors included, whatever their order."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from msgspec.structs import replace

from podium.exceptions import PodiumError
from podium.store.memory import MemoryStore
from podium.store.protocol import DEFAULT_TENANT, CounterChange, ModelRow, Snapshot, Store
from podium.store.sqlite import SqliteStore
from podium.testing.scribe import ALL_SHARDS, Scribe, everything
from podium.testing.store_tools import blob

NAMES = [f"execution-{number}" for number in range(6)]
INPUTS = [f"i{number}" for number in range(12)]
BLOBS = [blob(bytes([number])) for number in range(4)]
COUNTERS = [(DEFAULT_TENANT, "one"), ("other", "two")]

names = st.sampled_from(NAMES)
inputs = st.dictionaries(
    names,
    st.lists(
        st.tuples(st.sampled_from([f"i{number}" for number in range(12)]), st.integers(1, 3)), min_size=1, max_size=3
    ),
    min_size=1,
    max_size=4,
)
columns = st.fixed_dictionaries(
    {
        "status": st.sampled_from(["RUNNING", "DONE"]),
        "wake_at_us": st.none() | st.integers(0, 5),
        "active": st.booleans(),
        "summary": st.binary(max_size=3),
        "priority": st.integers(0, 100),
        "finished_us": st.none() | st.integers(1, 9),
    }
)
changes = st.lists(
    st.builds(
        lambda at, delta, limit: CounterChange(at[0], at[1], delta, limit),
        st.sampled_from(COUNTERS),
        st.integers(-2, 2),
        st.none() | st.integers(0, 3),
    ),
    max_size=3,
)


class SameAnswers(RuleBasedStateMachine):
    """Does everything to both stores, the one in memory and another."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.folder = tempfile.TemporaryDirectory()
        self.memory = MemoryStore()
        self.other = self.opened()
        self.scribe = Scribe(self.memory)
        self.take("first", ALL_SHARDS[::2])

    def opened(self) -> Store:
        """Open the other store, again if it was open before."""
        return SqliteStore.open(Path(self.folder.name) / "store.db", synchronous="OFF")

    def teardown(self) -> None:
        self.loop.run_until_complete(self.other.close())
        self.loop.close()
        self.folder.cleanup()

    def both(self, use: Callable[[Store], Awaitable[Any]]) -> Any:
        answers = [self.loop.run_until_complete(self.answer(use, store)) for store in (self.memory, self.other)]
        assert answers[0] == answers[1]
        return answers[0]

    @staticmethod
    async def answer(use: Callable[[Store], Awaitable[Any]], store: Store) -> Any:
        try:
            return await use(store)
        except (PodiumError, KeyError, ValueError) as error:
            return type(error), str(error), getattr(error, "executions", None), getattr(error, "inputs", None)

    def take(self, owner: str, shards: Any) -> None:
        self.both(lambda store: store.take(owner, shards, self.scribe.now_us))
        self.learn()

    @rule()
    def learn(self) -> None:
        self.loop.run_until_complete(self.scribe.learn())
        for row in self.loop.run_until_complete(self.memory.shards()):
            self.scribe.fences[row.shard] = row.fence
            self.scribe.positions[row.shard] = row.position

    @rule(shards=st.sets(st.sampled_from(ALL_SHARDS), max_size=64), stale=st.booleans())
    def take_over(self, shards: set[int], stale: bool) -> None:
        self.both(lambda store: store.take("next", sorted(shards), self.scribe.now_us))
        if not stale:
            self.learn()

    @rule(
        given=inputs,
        into=columns,
        counters=changes,
        blobs=st.lists(st.sampled_from(BLOBS), max_size=3),
        posts=st.lists(st.tuples(names, st.sampled_from(["i0", "i1", "p"])), max_size=3),
        drained=st.lists(st.integers(0, 12), max_size=3),
        lag=st.sampled_from([0, 0, 0, 0, 1, 2]),
    )
    def append(self, given: Any, into: Any, counters: Any, blobs: Any, posts: Any, drained: Any, lag: int) -> None:
        if lag == 1:
            self.scribe.executions.pop(next(iter(given)), None)
        batch = self.scribe.batch(
            given,
            columns=into,
            counters=counters,
            blobs=blobs,
            inbox=[self.scribe.post(*post) for post in posts],
            drained=drained,
        )
        if lag == 2:
            batch = replace(batch, rows=[replace(row, position=row.position + 1) for row in batch.rows])
        self.both(lambda store: store.append(batch))
        self.learn()

    @rule(name=names, given=st.sampled_from(["i0", "i1", "p", "q"]), payload=st.binary(max_size=4))
    def post(self, name: str, given: str, payload: bytes) -> None:
        row = self.scribe.post(name, given, payload)
        self.both(lambda store: store.post(row))

    @rule(name=names, sequence=st.integers(1, 12), state=st.binary(max_size=4))
    def put_snapshot(self, name: str, sequence: int, state: bytes) -> None:
        row = self.scribe.executions.get(name)
        ends = [0]
        if row is not None:
            for each in self.loop.run_until_complete(self.memory.history(name)):
                ends.append(ends[-1] + each.event_count)
        at = ends[sequence % len(ends)] or sequence
        self.both(lambda store: store.put_snapshot(Snapshot(name, at, 1, state, self.scribe.now_us)))

    @rule(given=st.sampled_from(BLOBS), age=st.integers(0, 5))
    def put_blob(self, given: Any, age: int) -> None:
        self.both(lambda store: store.put([given], age))

    @rule(kept=st.sets(st.sampled_from(BLOBS).map(lambda each: (each.tenant, each.hash))), age=st.integers(0, 6))
    def sweep(self, kept: set[tuple[str, str]], age: int) -> None:
        self.both(lambda store: store.sweep(kept, age))

    @rule(position=st.integers(-1, 9), shard=st.integers(0, 1))
    def save_cursor(self, position: int, shard: int) -> None:
        self.both(lambda store: store.save_cursor("reader", shard, position))
        self.both(lambda store: store.cursor("reader", shard))

    @rule(
        name=st.sampled_from(["model", "reader"]),
        shard=st.integers(0, 1),
        position=st.integers(-1, 9),
        entries=st.dictionaries(st.sampled_from(["a", "a/1", "a%", "b", "é"]), st.none() | st.binary(max_size=3)),
    )
    def put_model(self, name: str, shard: int, position: int, entries: dict[str, bytes | None]) -> None:
        rows = [ModelRow(key, value) for key, value in entries.items()]
        self.both(lambda store: store.put_model(name, shard, position, rows))
        self.both(lambda store: store.cursor(name, shard))

    @rule(
        name=st.sampled_from(["model", "reader"]),
        shard=st.none() | st.integers(0, 1),
        prefix=st.sampled_from(["", "a", "a%", "é", "z"]),
        limit=st.integers(0, 4),
    )
    def ask_model(self, name: str, shard: int | None, prefix: str, limit: int) -> None:
        self.both(lambda store: store.model(name, prefix, shard, limit))
        self.both(lambda store: store.model(name))

    @rule(name=st.sampled_from(["model", "reader"]), shard=st.integers(0, 1))
    def replace_model(self, name: str, shard: int) -> None:
        by = "model" if name == "reader" else "reader"
        self.both(lambda store: store.replace_model(name, by, shard))
        self.both(lambda store: store.cursor(by, shard))

    @rule(name=st.sampled_from(["model", "reader"]), shard=st.none() | st.integers(0, 1))
    def drop_model(self, name: str, shard: int | None) -> None:
        self.both(lambda store: store.drop_model(name, shard))
        self.both(lambda store: store.cursor(name, shard or 0))

    @rule(tenant=st.sampled_from(["a", "b", DEFAULT_TENANT]))
    def add_tenant(self, tenant: str) -> None:
        self.both(lambda store: store.add_tenant(tenant, 1))

    @rule(
        until=st.integers(-1, 6),
        limit=st.integers(1, 4),
        after=st.integers(0, 8),
        shards=st.lists(st.sampled_from(ALL_SHARDS), max_size=30),
        known=st.sets(st.integers(0, 9)),
    )
    def look_up(self, until: int, limit: int, after: int, shards: list[int], known: set[int]) -> None:
        self.both(lambda store: store.due(shards, until, limit))
        self.both(lambda store: store.active(shards))
        self.both(lambda store: store.inbox(shards, after, limit, known))
        self.both(lambda store: store.unfinished(shards))
        self.both(lambda store: store.listed(shards, f"execution-{after}", limit))
        self.both(lambda store: store.listed(shards, "", limit, unfinished=True))
        self.both(lambda store: store.counted(""))
        self.both(lambda store: store.recorded([(name, f"i{after}") for name in NAMES]))

    @rule(
        tenant=st.none() | st.sampled_from([DEFAULT_TENANT, "other"]),
        statuses=st.sets(st.sampled_from(["RUNNING", "DONE", "?"])).map(sorted),
        prefix=st.sampled_from(["", "execution-", "execution-1", "exec%", "z", "é"]),
        limit=st.integers(0, 4),
        name=names,
        after=st.integers(0, 9),
    )
    def list_executions(
        self, tenant: str | None, statuses: list[str], prefix: str, limit: int, name: str, after: int
    ) -> None:
        self.both(lambda store: store.executions(tenant, statuses, prefix, limit))
        self.both(lambda store: store.executions(tenant, statuses, prefix, limit, self.scribe.now_us - 3_000))
        self.both(lambda store: store.history(name, after, limit))
        self.both(lambda store: store.follow(after, after, limit))

    @rule()
    def reopen(self) -> None:
        self.loop.run_until_complete(self.other.close())
        self.loop.run_until_complete(self.memory.close())
        self.other = self.opened()
        self.memory = self.memory.reopen()
        self.scribe.store = self.memory

    @invariant()
    def the_same_is_there(self) -> None:
        self.both(self.seen)

    @staticmethod
    async def seen(store: Store) -> Any:
        found = await everything(store, COUNTERS, [each.hash for each in BLOBS])
        found["log"].sort(key=lambda row: (row.shard, row.position))  # `mentions` promises every row, and no order
        return found


TestSameAnswers = SameAnswers.TestCase
TestSameAnswers.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)
