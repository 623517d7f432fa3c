"""Messages come three times, late and out of order; confirmations are lost; what comes can't be read; who listens reads
nothing (faults 12, 13, 21 and 23).
"""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import Iterator
from pathlib import Path

import nats
import pytest

from podium.exceptions import InvalidInputError
from podium.fleet import messages as msg
from podium.fleet.frames import decode_heard
from podium.testing.natsrelay import ALONE, NatsRelay, Passing
from tests.cli.support import eventually
from tests.faults.bus.support import fan, gated

AGENT = "first"


@pytest.fixture
def relay(server, aside) -> Iterator[NatsRelay]:
    """A relay before the server; the fate of messages is the test's."""
    relay = NatsRelay(server.port)
    aside(relay.start())
    yield relay
    aside(relay.stop())


def confirms(passing: Passing) -> bool:
    """Whether a message tells an agent that its results are recorded."""
    if passing.direction != "to_client" or not passing.subject.endswith(".task"):
        return b"RESULT_CONFIRMED" in passing.data
    try:
        return any(isinstance(message, msg.Confirmation) for message in decode_heard(passing.data).messages)
    except InvalidInputError:
        return False


@pytest.mark.parametrize(
    ("late_seconds", "seed"),
    [(5.0, 1), *(pytest.param(late, seed, marks=pytest.mark.slow) for late, seed in ((60.0, 2), (20.0, 3)))],
)
def test_messages_that_come_three_times_late_and_out_of_order_change_nothing(
    ensemble, relay, aside, late_seconds, seed
):
    chance = random.Random(seed)

    def thrice(passing: Passing) -> tuple[float, ...]:
        if passing.direction == "to_target":
            return tuple(ALONE)
        return chance.uniform(0.0, 0.3), chance.uniform(0.0, 1.0), chance.uniform(0.0, late_seconds)

    ensemble.up(bus=relay.url)
    ensemble.agent("first", bus=relay.url)
    ensemble.agent("second", bus=relay.url)
    relay.fate = thrice
    executions = [ensemble.submit(fan(4)) for _ in range(3)]
    ensemble.ended(*executions, seconds=60)
    assert relay.repeated > 100
    aside(asyncio.sleep(late_seconds), late_seconds + 30)  # what is late still comes
    relay.fate = lambda passing: ALONE
    assert [ensemble.result(each, "join") for each in executions] == [20, 20, 20]
    ensemble.examine()


@pytest.mark.parametrize("percent", [20, 100])
@pytest.mark.parametrize("what", ["confirmations", "acknowledgements"])
def test_results_whose_confirmation_is_lost_are_said_again_and_count_once(ensemble, relay, what, percent):
    chance = random.Random(percent)

    def lossy(passing: Passing) -> tuple[float, ...]:
        lost = confirms(passing) if what == "confirmations" else passing.subject.startswith("$JS.ACK.PODIUM_RESULTS")
        return () if lost and chance.random() * 100 < percent else tuple(ALONE)

    ensemble.up(bus=relay.url)
    ensemble.agent("first", bus=relay.url)
    relay.fate = lossy
    executions = [ensemble.submit(fan(4)) for _ in range(5)]
    ensemble.ended(*executions, seconds=60)
    assert relay.lost
    relay.fate = lambda passing: ALONE
    ensemble.ended(ensemble.submit(gated_open(ensemble)))
    assert [ensemble.result(each, "join") for each in executions] == [20] * 5
    ensemble.examine()
    ensemble.once()


def gated_open(ensemble):
    ensemble.open_gate()
    return gated()


MALFORMED = (
    b"", b"\x00\xff\xfe", b"{", b"[]", b"null", b'{"registration": 7}', b'{"result": {"taskId": 3}}', b"[" * 5_000,
    b'{"task": {"payload": 1e999}}', b'{"status": "' + b"x" * 2_000 + b'"}',
)  # fmt: skip
SUBJECTS = {
    "mcp.agent.register": "register",
    "mcp.agent.first.register": "register",
    "mcp.agent.first.result": "result",
    "mcp.agent.stranger.result": "result",
    "mcp.agent.first.status": "status",
    "mcp.agent.first.heartbeat": "heartbeat",
    "mcp.orchestrator.task.submit": "submit",
    "mcp.orchestrator.task.status": "status",
}


@pytest.mark.parametrize("count", [1_000, pytest.param(10_000, marks=pytest.mark.slow)])
def test_malformed_messages_on_every_subject_are_counted_and_set_aside_and_work_goes_on(ensemble, server, aside, count):
    up = ensemble.up(bus=server.url, PODIUM_LEASE_SECONDS="15")
    agent = ensemble.agent(AGENT, bus=server.url)

    async def flood() -> None:
        client = await nats.connect(server.url)
        for number in range(count):
            for subject in SUBJECTS:
                await client.publish(subject, MALFORMED[number % len(MALFORMED)])
            if number % 100 == 0:
                await client.flush()
        await client.flush()
        await client.close()

    flooding = asyncio.run_coroutine_threadsafe(flood(), aside.loop)
    during = ensemble.submit(fan(4))
    ensemble.ended(during, seconds=120)
    flooding.result(300)

    def counted() -> bool:
        busy = ensemble.metric("podium_submissions_refused_total", reason="busy")
        return ensemble.metric("podium_malformed_messages_total") + busy >= len(SUBJECTS) * count

    eventually(counted, "all of them counted", 120)
    assert ensemble.metric("podium_malformed_messages_total") <= len(SUBJECTS) * count
    letters = ensemble.metric("podium_dead_letters_total")
    eventually(lambda: ensemble.metric("podium_dead_letters_total") >= letters > 0, "dead letters")
    assert up.process.poll() is None
    assert agent.process.poll() is None
    assert ensemble.agents[AGENT]["state"] in ("idle", "registered")
    after = ensemble.submit(fan(4))
    ensemble.ended(after)
    assert max(ensemble.attempts(during).values()) == max(ensemble.attempts(after).values()) == 1
    ensemble.examine()
    ensemble.once()


def memory_mb(pid: int) -> float:
    """Return how much memory a process holds."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * 4_096 / (1 << 20)


def test_a_listener_that_reads_nothing_is_cut_off_and_the_others_never_notice(ensemble, server, aside):
    up = ensemble.up(bus=server.url)
    ensemble.agent("first", bus=server.url)
    before = memory_mb(up.process.pid)
    with socket.create_connection(("127.0.0.1", server.port)) as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        slow.sendall(b'CONNECT {"verbose":false,"pedantic":false}\r\nSUB > 1\r\nPING\r\n')
        slow.recv(1)  # and then one byte now and then

        async def flood() -> None:
            client = await nats.connect(server.url)
            for _ in range(160):
                await client.publish("mcp.orchestrator.system.event", b"x" * (1 << 19))
                await client.flush()
            await client.close()

        flooding = asyncio.run_coroutine_threadsafe(flood(), aside.loop)
        executions = [ensemble.submit(fan(4)) for _ in range(3)]
        ensemble.ended(*executions)
        flooding.result(60)
        log = server.folder / "server.log"

        def cut_off() -> bool:
            slow.recv(1)
            return "Slow Consumer" in log.read_text()

        eventually(cut_off, "the end of the slow listener")
    assert memory_mb(up.process.pid) < before + 64
    assert [max(ensemble.attempts(each).values()) for each in executions] == [1, 1, 1]
    ensemble.examine()
    ensemble.once()
