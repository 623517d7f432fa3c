"""Lines to the database on which nothing comes back and nothing says so, as when a firewall forgets a connection."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

import pytest

from podium.exceptions import StoreUnavailableError
from podium.store.postgres import PostgresStore
from podium.store.protocol import FORMAT, Replica
from podium.testing.bus_tools import eventually
from podium.testing.postgresserver import PostgresServer
from podium.testing.proxy import DIRECTIONS, FaultProxy, tcp
from podium.testing.scribe import Scribe
from podium.testing.store_tools import A

LEASE_SECONDS = 2.0
LEASE_US = 2_000_000


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_connections_that_bring_no_answer_to_a_renewal_within_the_lease_are_let_go(
    server: PostgresServer, database: str, direction
):
    async def silent() -> None:
        async with FaultProxy(tcp(server.port)) as line:
            url = server.url(database).replace(f":{server.port}/", f":{line.port}/")
            store = await PostgresStore.open(url)
            await store.join(Replica("one", "one", "nats://one", "1", FORMAT), LEASE_US)
            scribe = Scribe(store)
            await scribe.take()
            await scribe.append({A: [("start", 1)]})
            line.lose(direction)
            appending = asyncio.create_task(scribe.append({A: [("more", 1)]}))
            began = time.monotonic()
            with pytest.raises(StoreUnavailableError):
                await store.renew("one", LEASE_US)
            assert LEASE_SECONDS * 0.9 < time.monotonic() - began < LEASE_SECONDS + 2.0
            line.heal()  # what was lost is lost: the old connections stay silent
            with pytest.raises(StoreUnavailableError):
                async with asyncio.timeout(2.0):
                    await appending
            async with asyncio.timeout(5.0):
                await store.renew("one", LEASE_US)
                await store.shards()
                known = await store.recorded([(A, "more")])
                await scribe.take()
                await scribe.learn()
                await scribe.append({A: [("again", 1)]})
            assert bool(known) is (direction == "to_client")
            await store.close()

    asyncio.run(silent())


def test_a_replica_whose_renewals_have_no_answer_lets_its_lease_end(server: PostgresServer, database: str):
    """They are written all the same, and nobody else could have its shards as long as they were."""

    async def deaf() -> None:
        async with FaultProxy(tcp(server.port)) as line:
            url = server.url(database).replace(f":{server.port}/", f":{line.port}/")
            store, other = await PostgresStore.open(url), await PostgresStore.open(server.url(database))
            for name, each in (("one", store), ("two", other)):
                await each.join(Replica(name, name, "nats://one", "1", FORMAT), LEASE_US)
            line.lose("to_client")

            async def renew() -> None:
                while True:
                    with suppress(StoreUnavailableError):
                        await store.renew("one", LEASE_US)
                    await asyncio.sleep(LEASE_SECONDS / 4)

            async def lives() -> bool:
                cluster = await other.cluster()
                return any(cluster.live(replica) for replica in cluster.replicas if replica.id == "one")

            async def is_dead() -> bool:
                return not await lives()

            renewing = asyncio.create_task(renew())
            await eventually(is_dead)
            line.heal()
            await eventually(lives)
            renewing.cancel()
            await asyncio.wait([renewing])
            await store.close()
            await other.close()

    asyncio.run(deaf())
