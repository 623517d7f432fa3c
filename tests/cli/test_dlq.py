"""`podium dlq` over a real NATS server."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from podium.bus.message import Message
from podium.bus.message_bus import MessageBus
from podium.testing.natsserver import NatsServer, nats_server


@pytest.fixture
def server(tmp_path) -> Iterator[NatsServer]:
    with nats_server(tmp_path / "nats") as server:
        yield server


@pytest.fixture(autouse=True)
def bus(server, monkeypatch) -> None:
    monkeypatch.setenv("PODIUM_BUS", server.url)


def put(server: NatsServer) -> None:
    """Three letters: bytes, JSON, and a message of a frame."""

    async def work() -> None:
        async with MessageBus(server.url) as bus:
            await bus.dead_letters.put("isn't JSON", "a.b", {"X": "y"}, b"\xff\x00bytes")
            await bus.dead_letters.put("too late", "a.c", {}, b'{"n": 1}')
            subscription = await bus.subscribe("t", group="g").opened()
            await bus.publish(Message(sender_id="me", payload={"n": 2}), "t")
            await subscription.dead_letter(await anext(subscription), "nobody knows it")

    asyncio.run(work())


def test_letters_are_listed_shown_sent_again_and_dropped(here, server):
    assert here("dlq", "list") == "no dead letters\n"
    put(server)
    listed = here.json("dlq", "list")
    assert [(one["id"], one["reason"], one["subject"], one["bytes"]) for one in listed[:2]] == [
        (1, "isn't JSON", "a.b", 7),
        (2, "too late", "a.c", 8),
    ]
    assert "nobody knows it" in here("dlq", "list")
    assert "podium dlq list --after 1" in here("dlq", "list", "--limit", "1")

    shown = here("dlq", "show", "1")
    assert "X: y" in shown
    assert "ff 00 62 79 74 65 73" in shown
    assert here("dlq", "show", "2").endswith('{"n": 1}\n')
    assert '"senderId":"me"' in here("dlq", "show", "3")
    assert here.json("dlq", "show", "1")["data_base64"] == "/wBieXRlcw=="
    assert here.json("dlq", "show", "2")["data"] == '{"n": 1}'
    assert here.json("dlq", "show", "3")["messages"][0]["payload"] == {"n": 2}

    assert here("dlq", "retry", "1") == "1 sent again\n"
    assert here.json("dlq", "drop", "2") == {"dropped": [2]}
    assert [one["id"] for one in here.json("dlq", "list")] == [3]
    assert here.json("dlq", "retry", "--all") == {"sent_again": [3]}
    assert here("dlq", "drop", "--all") == "no dead letters\n"


def test_what_is_not_there_is_said(here):
    assert "there is no dead letter 7" in here.refused("dlq", "show", "7")
    assert "there is no dead letter 7" in here.refused("dlq", "drop", "7")
    assert "or --all" in here.refused("dlq", "retry")
    assert "or --all" in here.refused("dlq", "drop", "1", "--all")
    assert "can't be reached" in here.refused("dlq", "list", "--bus", "nats://127.0.0.1:9", code=1)
