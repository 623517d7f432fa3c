"""NATS restarts, is killed, loses its state or the last of it, or a stream is deleted (faults 10 and 11)."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time

import nats
import pytest

from podium.fleet.link import RESULTS
from tests.cli.support import eventually
from tests.faults.bus.support import fan, gated

BACK_SECONDS = 10.0


def goes_on(ensemble, since: float) -> None:
    """A run begins and ends within the promised time."""
    execution = ensemble.submit(fan(5))
    ensemble.ended(execution)
    assert time.monotonic() - since < BACK_SECONDS


@pytest.mark.parametrize("forgets", [False, True], ids=["keeps", "forgets"])
def test_an_embedded_server_that_is_killed_comes_back_and_work_goes_on(ensemble, forgets):
    up = ensemble.up()
    ensemble.agent("first")
    execution = ensemble.submit(gated())
    eventually(lambda: ensemble.begun("gate"), "the gate")
    if forgets:
        shutil.rmtree(ensemble.folder / ".podium" / "nats" / "jetstream")
    os.kill(ensemble.server_pid, signal.SIGKILL)
    since = time.monotonic()
    eventually(lambda: json.loads(ensemble.asked("/health"))["components"]["nats"]["facts"]["restarts"] == 1, "it")
    goes_on(ensemble, since)
    ensemble.open_gate()
    ensemble.ended(execution)
    assert ensemble.attempts(execution) == {"gate": 1, "after": 1}
    assert up.process.poll() is None
    ensemble.examine()
    ensemble.once()


@pytest.mark.parametrize("how", ["restart", "kill", "wipe"])
def test_a_server_of_ones_own_that_restarts_is_used_again_in_time(ensemble, server, how):
    ensemble.up(bus=server.url)
    ensemble.agent("first", bus=server.url)
    execution = ensemble.submit(gated())
    eventually(lambda: ensemble.begun("gate"), "the gate")
    if how == "kill":
        server.kill()
        server.start()
    else:
        getattr(server, how)()
    since = time.monotonic()
    goes_on(ensemble, since)
    ensemble.open_gate()
    ensemble.ended(execution)
    assert ensemble.attempts(execution) == {"gate": 1, "after": 1}
    ensemble.examine()
    ensemble.once()


def test_a_bus_that_is_away_for_longer_than_the_leases_costs_no_attempt(ensemble, server):
    ensemble.up(bus=server.url)
    ensemble.agent("first", bus=server.url)
    execution = ensemble.submit(gated())
    eventually(lambda: ensemble.begun("gate"), "the gate")
    server.stop()
    until = time.monotonic() + 3 * 2.0
    eventually(lambda: time.monotonic() > until, "three leases")
    server.start()
    goes_on(ensemble, time.monotonic())
    ensemble.open_gate()
    ensemble.ended(execution)
    assert ensemble.attempts(execution) == {"gate": 1, "after": 1}
    ensemble.examine()
    ensemble.once()


def test_a_broker_that_forgets_the_results_of_the_last_time_is_told_them_again(ensemble, server, tmp_path):
    up = ensemble.up(bus=server.url)
    ensemble.agent("first", bus=server.url)
    before = ensemble.submit(fan())
    ensemble.ended(before)
    server.stop()
    shutil.copytree(server.store, tmp_path / "earlier")
    server.start()
    executions = [ensemble.submit(gated(name)) for name in ("one", "two", "three")]
    eventually(lambda: len(ensemble.begun()) >= 3 + 5, f"three gates: {ensemble.begun()}")
    up.send(signal.SIGSTOP)
    for name in ("one", "two", "three"):
        ensemble.open_gate(name)
    eventually(lambda: len(ensemble.effects) == 5 + 3, "results that nobody takes")
    server.kill()
    shutil.rmtree(server.store)
    shutil.copytree(tmp_path / "earlier", server.store)
    server.start()
    up.send(signal.SIGCONT)
    ensemble.ended(*executions)
    assert all(set(ensemble.attempts(each).values()) == {1} for each in executions)
    ensemble.examine()
    ensemble.once()


@pytest.mark.parametrize("stream", [RESULTS.name, "PODIUM_EVENTS"])
def test_a_stream_that_somebody_deletes_is_made_again_and_the_run_completes(ensemble, server, aside, stream):
    up = ensemble.up(bus=server.url)
    ensemble.agent("first", bus=server.url)
    execution = ensemble.submit(gated())
    eventually(lambda: ensemble.begun("gate"), "the gate")
    if stream == RESULTS.name:  # with the result in it
        up.send(signal.SIGSTOP)
        ensemble.open_gate()
        eventually(lambda: ensemble.effects, "the result")

    async def delete() -> None:
        client = await nats.connect(server.url)
        await client.jetstream().delete_stream(stream)
        await client.close()

    aside(delete())
    up.send(signal.SIGCONT)
    ensemble.open_gate()
    ensemble.ended(execution)
    assert ensemble.attempts(execution) == {"gate": 1, "after": 1}
    ensemble.ended(ensemble.submit(fan()))

    async def there() -> set[str]:
        client = await nats.connect(server.url)
        found = {str(info.config.name) for info in await client.jetstream().streams_info()}
        await client.close()
        return found

    eventually(lambda: stream in aside(there()), f"the stream again: {aside(there())}")
    ensemble.examine()
    ensemble.once()
