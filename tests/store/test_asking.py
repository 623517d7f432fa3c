"""Asking a replica through the database: questions and answers in parts, over lost connections, within bounds."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from typing import Any

import pytest

from podium.store.postgres.asking import MAX_PARTS, PART_BYTES, Calls
from podium.store.postgres.connection import Address
from podium.testing.bus_tools import eventually
from podium.testing.postgresserver import PostgresServer, postgres_server
from podium.testing.proxy import FaultProxy, tcp

pytestmark = pytest.mark.xdist_group("postgres-asking")


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with postgres_server() as server:
        yield server


class Ends:
    """Both ends of a call, `asking` and `answering`, each with a connection of its own."""

    def __init__(self, server: PostgresServer) -> None:
        self.server = Address(server.url())
        self.asking = Calls(self.server)
        self.answering = Calls(self.server)

    async def __aenter__(self) -> Ends:
        return self

    async def __aexit__(self, *error: object) -> None:
        for each in (self.asking, self.answering):
            await each.close()


async def echo(asked: dict[str, Any]) -> dict[str, Any]:
    return {"heard": asked}


def test_a_replica_is_asked_and_answers(server):
    async def scenario() -> None:
        async with Ends(server) as ends:
            await ends.answering.answer_as("r1", echo)
            assert await ends.asking.ask("r1", {"op": "wörds", "number": 1}) == {"heard": {"op": "wörds", "number": 1}}
            many = await asyncio.gather(*(ends.asking.ask("r1", {"number": number}) for number in range(40)))
            assert many == [{"heard": {"number": number}} for number in range(40)]

    asyncio.run(scenario())


def test_a_replica_that_joined_anew_answers_under_its_new_id_alone(server):
    async def scenario() -> None:
        async with Ends(server) as ends:
            await ends.answering.answer_as("r1", echo)
            await ends.answering.answer_as("r2", echo)
            assert await ends.asking.ask("r2", {}) == {"heard": {}}
            assert await ends.asking.ask("r1", {}, 0.2) is None

    asyncio.run(scenario())


def test_messages_far_beyond_a_payload_of_notify_arrive_whole(server):
    async def large(asked: dict[str, Any]) -> dict[str, Any]:
        return {"rows": [f"{asked['seed'] * (number + 1):x}" for number in range(150_000)]}

    async def scenario() -> None:
        async with Ends(server) as ends:
            await ends.answering.answer_as("r1", large)
            seed = 0x9E3779B97F4A7C15F39CC0605CEDC834
            answer = await ends.asking.ask("r1", {"seed": seed, "padding": ["x"] * 50_000}, 30)
            assert answer is not None
            assert len(answer["rows"]) == 150_000

    asyncio.run(scenario())


def test_nobody_answers_for_a_replica_that_is_not_there(server):
    async def scenario() -> None:
        async with Ends(server) as ends:
            assert await ends.asking.ask("gone", {"op": "fleet"}, 0.2) is None

    asyncio.run(scenario())


def test_a_replica_is_heard_again_after_its_connection_was_lost(server):
    async def scenario() -> None:
        async with Ends(server) as ends:
            await ends.answering.answer_as("r1", echo)
            assert await ends.asking.ask("r1", {}) == {"heard": {}}
            await asyncio.to_thread(server.terminate_backends)

            async with asyncio.timeout(30):
                while await ends.asking.ask("r1", {}, 0.5) is None:
                    pass

    asyncio.run(scenario())


def test_a_replica_whose_connection_has_fallen_silent_makes_another_one(server):
    async def scenario() -> None:
        async with FaultProxy(tcp(server.port)) as line, Ends(server) as ends:
            through = Address(server.url().replace(f":{server.port}/", f":{line.port}/"))
            answering = Calls(through, look_seconds=0.1)
            await answering.answer_as("r1", echo)
            line.lose("to_client")
            assert await ends.asking.ask("r1", {}, 0.2) is None
            await eventually(lambda: line.accepted > 1)
            line.heal()

            async def heard() -> bool:
                return await ends.asking.ask("r1", {}, 0.2) == {"heard": {}}

            await eventually(heard)
            await answering.close()

    asyncio.run(scenario())


def test_an_answer_beyond_the_bound_is_not_sent_and_the_replica_goes_on(server):
    async def answer(asked: dict[str, Any]) -> dict[str, Any]:
        return {"bytes": random.Random(1).randbytes(PART_BYTES * MAX_PARTS).hex()} if asked.get("much") else {}

    async def scenario() -> None:
        async with Ends(server) as ends:
            await ends.answering.answer_as("r1", answer)
            assert await ends.asking.ask("r1", {"much": True}, 3) is None
            assert await ends.asking.ask("r1", {}) == {}

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "payload",
    [
        "",
        "q",
        "q a b 0 1 %",
        "q a b 0 1 AAAA",
        "q a b x 1 AAAA",
        "q a b 1 1 AAAA",
        "q a b 0 2000000000 AAAA",
        "z a b 0 1 eA==",
    ],
)
def test_what_strangers_notify_is_passed_over(server, payload):
    async def scenario() -> None:
        async with Ends(server) as ends:
            await ends.answering.answer_as("r1", echo)
            stranger = await ends.server.connect()
            await stranger.execute("SELECT pg_notify('podium_calls_r1', $1)", payload)
            await stranger.close()
            assert await ends.asking.ask("r1", {}) == {"heard": {}}

    asyncio.run(scenario())
