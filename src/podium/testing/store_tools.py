"""What the conformance suite of stores is written with: the factory it asks for, and ways to open, fail and compare."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import wraps
from hashlib import sha256
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

import pytest

from podium.ids import shard_of
from podium.store.protocol import (
    DEFAULT_TENANT,
    Append,
    Blob,
    Store,
)
from podium.testing.scribe import Scribe, everything
from podium.testing.torn import FailingParts as FailingParts
from podium.testing.torn import Fault as Fault

P = ParamSpec("P")
S = TypeVar("S")

A, B, C = "execution-a", "execution-b", "execution-c"
LIMITED = (DEFAULT_TENANT, "limited")


class StoreFactory(Protocol):
    """How the suite gets its stores."""

    shared: bool  # whether two handles are like two processes to each other, so that `changed` tells of the other

    def fresh(self) -> Store:
        """Return a store with nothing in it."""
        ...

    def reopen(self, store: Store) -> Store:
        """Return another handle on the same data, as a process that starts now would; the first may still be open."""
        ...


def asynchronous(
    test: Callable[Concatenate[S, P], Coroutine[Any, Any, None]],
) -> Callable[Concatenate[S, P], None]:
    """Run an async test in a loop of its own."""

    @wraps(test)
    def run(self: S, /, *args: P.args, **kwargs: P.kwargs) -> None:
        asyncio.run(test(self, *args, **kwargs))

    return run


@asynccontextmanager
async def opened(factory: StoreFactory) -> AsyncIterator[Scribe]:
    """Give a scribe that owns all shards of a fresh store; close the store at the end."""
    store = factory.fresh()
    try:
        scribe = Scribe(store)
        await scribe.take()
        yield scribe
    finally:
        await store.close()


@asynccontextmanager
async def reopened(factory: StoreFactory, store: Store) -> AsyncIterator[Store]:
    """Give another handle on a store; close it at the end."""
    other = factory.reopen(store)
    try:
        yield other
    finally:
        await other.close()


async def refused(error: type[Exception], scribe: Scribe, batch: Append) -> Exception:
    """Check that an append is refused so, and that nothing of it is there; return the error."""
    blobs = [blob.hash for blob in batch.blobs]
    before = await everything(scribe.store, [LIMITED], blobs)
    with pytest.raises(error) as caught:
        await scribe.store.append(batch)
    assert await everything(scribe.store, [LIMITED], blobs) == before
    return caught.value


def blob(content: bytes, tenant: str = DEFAULT_TENANT) -> Blob:
    """Return a blob with its hash."""
    return Blob(tenant, sha256(content).hexdigest(), content)


def on_another_shard(execution: str) -> str:
    """Return an execution's id that lives on another shard."""
    return next(name for name in (f"other-{n}" for n in range(100)) if shard_of(name) != shard_of(execution))
