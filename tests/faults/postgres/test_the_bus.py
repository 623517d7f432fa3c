"""NATS restarts, forgets, repeats, delays and loses, with several replicas behind it (faults 10 to 13)."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections.abc import Iterator

import nats
import pytest

from podium.fleet.link import RESULTS
from podium.testing.natsrelay import ALONE, NatsRelay, Passing
from tests.cli.support import eventually
from tests.faults.bus.support import fan
from tests.faults.bus.test_messages_that_go_wrong import confirms
from tests.faults.postgres.test_replicas_that_stop import gates

BACK_SECONDS = 10.0


@pytest.fixture
def relay(replicas, aside) -> Iterator[NatsRelay]:
    """A relay before the server, over which all replicas and agents speak; the fate of messages is the test's."""
    relay = NatsRelay(replicas.nats.port)
    aside(relay.start())
    replicas.bus = relay.url
    yield relay
    replicas.shell.close()
    aside(relay.stop())


@pytest.mark.parametrize("how", ["wipe", *(pytest.param(how, marks=pytest.mark.slow) for how in ("restart", "kill"))])
def test_a_server_that_restarts_is_used_again_in_time(replicas, how):
    replicas.several(2, "first", "second")
    held = gates(replicas, 4)
    if how == "kill":
        replicas.nats.kill()
        replicas.nats.start()
    else:
        getattr(replicas.nats, how)()
    since = time.monotonic()
    replicas.all_ended(replicas.submit_many([fan(4)]))
    assert time.monotonic() - since < BACK_SECONDS
    for name in held:
        replicas.open_gate(name)
    assert set(replicas.all_ended([*held.values()]).values()) == {"completed"}
    assert {max(replicas.attempts(each).values()) for each in held.values()} == {1}
    replicas.examine()
    replicas.once()


def test_results_that_a_deleted_stream_held_are_told_again(replicas, aside):
    olds = replicas.several(2, "first", "second")
    held = gates(replicas, 4)
    for run in olds:
        replicas.hold(run)
    for name in held:
        replicas.open_gate(name)
    eventually(lambda: len(replicas.effects) == 4, "results that nobody takes")

    async def delete() -> None:
        client = await nats.connect(replicas.nats.url)
        await client.jetstream().delete_stream(RESULTS.name)
        await client.close()

    aside(delete())
    for run in olds:
        run.send(signal.SIGCONT)
    assert set(replicas.all_ended([*held.values()]).values()) == {"completed"}
    assert {max(replicas.attempts(each).values()) for each in held.values()} == {1}
    replicas.settled(2)
    replicas.examine()
    replicas.once()


@pytest.mark.parametrize(
    ("late_seconds", "seed"), [(3.0, 1), *(pytest.param(late, 2, marks=pytest.mark.slow) for late in (20.0, 60.0))]
)
def test_messages_that_come_three_times_late_and_out_of_order_change_nothing(
    replicas, relay, aside, late_seconds, seed
):
    chance = random.Random(seed)

    def thrice(passing: Passing) -> tuple[float, ...]:
        if passing.direction == "to_target":
            return tuple(ALONE)
        return chance.uniform(0.0, 0.3), chance.uniform(0.0, 1.0), chance.uniform(0.0, late_seconds)

    replicas.several(2, "first", "second")
    relay.fate = thrice
    executions = replicas.submit_many([fan(4)] * 6)
    replicas.all_ended(executions)
    assert relay.repeated > 100
    aside(asyncio.sleep(late_seconds), late_seconds + 30)  # what is late still comes
    relay.fate = lambda passing: ALONE
    assert {replicas.result(each, "join") for each in executions} == {20}
    replicas.examine()


@pytest.mark.parametrize(
    ("what", "percent"),
    [
        ("acknowledgements", 20),
        pytest.param("confirmations", 100, marks=pytest.mark.slow),
        pytest.param("acknowledgements", 100, marks=pytest.mark.slow),
        pytest.param("confirmations", 20, marks=pytest.mark.slow),
    ],
)
def test_results_whose_confirmation_is_lost_are_said_again_and_count_once(replicas, relay, what, percent):
    chance = random.Random(percent)

    def lossy(passing: Passing) -> tuple[float, ...]:
        lost = confirms(passing) if what == "confirmations" else passing.subject.startswith("$JS.ACK.PODIUM_RESULTS")
        return () if lost and chance.random() * 100 < percent else tuple(ALONE)

    replicas.several(2, "first")
    relay.fate = lossy
    executions = replicas.submit_many([fan(4)] * 6)
    replicas.all_ended(executions)
    eventually(lambda: relay.lost, "a loss")
    relay.fate = lambda passing: ALONE
    replicas.all_ended(replicas.submit_many([fan(2)]))
    assert {replicas.result(each, "join") for each in executions} == {20}
    replicas.examine()
    replicas.once()


@pytest.mark.slow
def test_a_bus_that_is_away_for_longer_than_the_leases_costs_no_attempt(replicas):
    replicas.several(2, "first", "second")
    held = gates(replicas, 4)
    replicas.nats.stop()
    until = time.monotonic() + 6.0
    eventually(lambda: time.monotonic() > until, "three leases")
    replicas.nats.start()
    for name in held:
        replicas.open_gate(name)
    assert set(replicas.all_ended([*held.values()]).values()) == {"completed"}
    assert {max(replicas.attempts(each).values()) for each in held.values()} == {1}
    replicas.examine()
    replicas.once()
