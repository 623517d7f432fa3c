"""PostgreSQL ends its backends, stops at once, stands still, turns read-only, gives back a flipped bit (14, 15, 18)."""

from __future__ import annotations

import time
from functools import partial

import pytest

from podium.ids import shard_of
from tests.cli.support import eventually
from tests.faults.bus.support import fan
from tests.faults.postgres.test_replicas_that_stop import gates

BACK_SECONDS = 10.0
WRITING_SECONDS = 5.0  # after it takes writes again


def all_complete(replicas, executions: list[str], seconds: float = 60.0) -> None:
    assert set(replicas.all_ended(executions, seconds).values()) == {"completed"}


def test_backends_that_are_ended_at_random_cost_nothing(replicas):
    replicas.several(2, "first", "second")
    executions = replicas.submit_many([fan(6)] * 20)
    ended = 0
    for _ in range(10):  # in the midst of appends: of some of them nobody knows whether they were committed
        ended += replicas.postgres.terminate_backends(replicas.name)
    assert ended >= 10
    all_complete(replicas, executions)
    assert {replicas.result(each, "join") for each in executions} == {42}
    replicas.examine()
    replicas.once()


@pytest.mark.parametrize(
    "how", ["stop_at_once", *(pytest.param(how, marks=pytest.mark.slow) for how in ("stop", "kill"))]
)
@pytest.mark.slow
def test_a_server_that_is_gone_for_longer_than_leases_is_used_again_in_time(replicas, how):
    olds = replicas.several(2, "first", "second")
    held = gates(replicas, 4)
    running = replicas.submit_many([fan(6)] * 10)
    getattr(replicas.postgres, how)()
    until = time.monotonic() + 6.0  # a replica's lease and more
    for name in held:  # results come while nothing can be recorded
        replicas.open_gate(name)
    eventually(lambda: time.monotonic() > until, "the end of the leases")
    replicas.postgres.start()
    since = time.monotonic()
    all_complete(replicas, replicas.submit_many([fan(2)]))
    assert time.monotonic() - since < BACK_SECONDS
    all_complete(replicas, [*held.values(), *running])
    assert {max(replicas.attempts(each).values()) for each in held.values()} == {1}
    assert all(run.process.poll() is None for run in olds)
    replicas.settled(2)
    replicas.examine()
    replicas.once()


def test_a_server_that_stops_at_once_while_shards_are_taken_over_stalls_nothing(replicas):
    victim, _ = replicas.several(2, "first", "second")
    held = gates(replicas, 6)
    fences = {row.shard: row.fence for row in replicas.picture().shards}
    mine = replicas.shards_of(victim)
    replicas.kill(victim)
    replicas.end_leases()

    def begun() -> bool:
        now = {row.shard: row.fence for row in replicas.picture().shards}
        return any(now[shard] > fences[shard] for shard in mine)

    eventually(begun, "the take-over")
    replicas.postgres.stop_at_once()
    replicas.postgres.start()
    for name in held:
        replicas.open_gate(name)
    all_complete(replicas, [*held.values()])
    replicas.settled(1)
    replicas.examine()
    replicas.once()


def test_a_server_that_stands_still_delays_and_loses_nothing(replicas):
    replicas.several(2, "first", "second")
    held = gates(replicas, 4)
    running = replicas.submit_many([fan(6)] * 10)
    replicas.postgres.hold()
    try:
        until = time.monotonic() + 6.0
        for name in held:
            replicas.open_gate(name)
        eventually(lambda: time.monotonic() > until, "the end of the leases")
    finally:
        replicas.postgres.release()
    all_complete(replicas, [*held.values(), *running])
    assert {max(replicas.attempts(each).values()) for each in held.values()} == {1}
    replicas.settled(2)
    replicas.examine()
    replicas.once()


def test_a_server_that_turns_read_only_acknowledges_nothing_and_is_written_to_as_soon_as_it_can_be(replicas, aside):
    replicas.several(2, "first", "second")
    held = gates(replicas, 4)
    replicas.postgres.set_read_only(True)
    try:
        for name in held:
            replicas.open_gate(name)
        eventually(lambda: len(replicas.effects) >= 4, "results that can't be recorded")
        before = {each: replicas.state(each).sequence for each in held.values()}

        async def tried() -> str:
            async with await replicas._guest() as guest:
                try:
                    return await guest.submit(fan(2), submission_id="meanwhile")
                except Exception as error:  # noqa: BLE001 - which one is looked at
                    return type(error).__name__

        assert aside(tried()) == "StoreUnavailableError"
        assert {each: replicas.state(each).sequence for each in held.values()} == before
    finally:
        replicas.postgres.set_read_only(False)
    since = time.monotonic()
    eventually(partial(_goes_on, replicas, before), "what was waiting")
    assert time.monotonic() - since < WRITING_SECONDS
    all_complete(replicas, [*held.values(), *replicas.submit_many([fan(2)])])
    assert {max(replicas.attempts(each).values()) for each in held.values()} == {1}
    replicas.settled(2)
    replicas.examine()
    replicas.once()


def _goes_on(replicas, before: dict[str, int]) -> bool:
    return all(replicas.state(each).sequence > sequence for each, sequence in before.items())


def test_a_flipped_bit_in_a_stored_event_sets_that_execution_alone_aside(replicas):
    victim, _ = replicas.several(2, "first", "second")
    held = gates(replicas, 6)
    mine = [each for each in held.values() if shard_of(each) in replicas.shards_of(victim)]
    assert mine, "an execution of the one that is killed"
    damaged = mine[0]
    flip = "UPDATE log SET events = set_byte(events, 20, get_byte(events, 20) # 4)"
    last = f"(SELECT max(position) FROM log WHERE execution = '{damaged}')"
    replicas.postgres.execute(f"{flip} WHERE execution = '{damaged}' AND position = {last}", replicas.name)
    replicas.kill(victim)
    replicas.settled(1)
    for name in held:
        replicas.open_gate(name)
    sound = [each for each in held.values() if each != damaged]
    all_complete(replicas, sound)
    refused = replicas.shell.start("explain", damaged, **replicas.settings)
    assert refused.wait() != 0
    assert "checksum" in " ".join([*refused.out, *refused.err])
    assert replicas.living[0].process.poll() is None
    replicas.ended(replicas.submit(fan(2)))
