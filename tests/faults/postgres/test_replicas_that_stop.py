"""Replicas are killed, held, asked to leave and started anew while agents elsewhere work (faults 1, 2, 4, 5)."""

from __future__ import annotations

import signal
from functools import partial

import pytest

from podium.engine import events as ev
from tests.cli.support import eventually
from tests.faults.bus.support import fan, gated


def gates(replicas, count: int) -> dict[str, str]:
    """Have so many executions held at gates of their own: name and execution."""
    executions = dict(
        zip((f"g{n}" for n in range(count)), replicas.submit_many([gated(f"g{n}") for n in range(count)]), strict=True)
    )
    eventually(lambda: len(replicas.begun()) == count, f"{count} gates: {len(replicas.begun())}")
    return executions


def test_a_killed_replica_s_work_goes_on_elsewhere_and_no_attempt_is_lost(replicas):
    victim, _, _ = replicas.several(3, "first", "second")
    held = gates(replicas, 8)
    replicas.kill(victim)
    for name in list(held)[:4]:  # while some shards have no owner
        replicas.open_gate(name)
    replicas.settled(2)
    for name in list(held)[4:]:
        replicas.open_gate(name)
    assert set(replicas.all_ended([*held.values()]).values()) == {"completed"}
    assert {max(replicas.attempts(each).values()) for each in held.values()} == {1}
    replicas.examine()
    replicas.once()


@pytest.mark.slow
def test_replicas_killed_again_and_again_during_the_recovery_lose_and_double_nothing(replicas):
    replicas.settings["PODIUM_LEASE_SECONDS"] = "15"
    victims = replicas.several(2, "first", "second")
    held = gates(replicas, 6)
    for turn, victim in enumerate(victims):
        replicas.kill(victim)
        replicas.open_gate(f"g{turn}")
    third = replicas.up()
    eventually(lambda: replicas.shards_of(third), "the first shards of the recovery")
    replicas.kill(third)
    fourth = replicas.up()
    replicas.end_leases()
    replicas.settled(1)
    assert fourth.process.poll() is None
    for name in held:
        replicas.open_gate(name)
    assert set(replicas.all_ended([*held.values()]).values()) == {"completed"}
    replicas.examine()
    replicas.once()


def test_a_replica_that_drains_while_its_successor_starts_leaves_nothing_behind(replicas):
    old, _ = replicas.several(2, "first", "second")
    held = gates(replicas, 6)
    before = {replica.id for replica in replicas.picture().replicas}
    old.send(signal.SIGTERM)
    new = replicas.up()
    assert old.wait() == 0, old
    after = replicas.settled(2)
    assert len({replica.id for replica in after.replicas} & before) == 1
    assert replicas.shards_of(new)
    for name in held:
        replicas.open_gate(name)
    assert set(replicas.all_ended([*held.values()]).values()) == {"completed"}
    assert {max(replicas.attempts(each).values()) for each in held.values()} == {1}
    replicas.examine()
    replicas.once()


def test_a_replica_that_was_held_and_goes_on_changes_nothing_of_what_happened_meanwhile(replicas):
    held_up, _ = replicas.several(2, "first")
    held = gates(replicas, 4)
    replicas.hold(held_up)
    for name in held:  # results come while their owner stands still
        replicas.open_gate(name)
    assert set(replicas.all_ended([*held.values()]).values()) == {"completed"}
    sequences = {each: replicas.state(each).sequence for each in held.values()}
    assert set(replicas.attempts(next(iter(held.values()))).values()) == {1}
    held_up.send(signal.SIGCONT)
    replicas.settled(2)
    assert {each: replicas.state(each).sequence for each in held.values()} == sequences
    replicas.examine()
    replicas.once()


@pytest.mark.slow
def test_a_rolling_restart_of_all_replicas_loses_no_attempt(replicas):
    olds = replicas.several(2, "first", "second")
    held = gates(replicas, 4)
    for old in olds:
        replicas.up()
        old.send(signal.SIGTERM)
        assert old.wait() == 0, old
    running = replicas.submit_many([fan(5)] * 10)
    for name in held:
        replicas.open_gate(name)
    assert set(replicas.all_ended([*held.values(), *running]).values()) == {"completed"}
    assert {max(replicas.attempts(each).values()) for each in held.values()} == {1}
    assert not _lost(replicas, [*held.values(), *running])
    replicas.examine()
    replicas.once()


def _lost(replicas, executions: list[str]) -> list[str]:
    return [
        f"{execution} {event.task}"
        for execution in executions
        for event in replicas.events(execution)
        if isinstance(event, ev.AttemptFailed | ev.AttemptReturned)
    ]


def test_an_agent_that_is_started_anew_gives_up_what_it_had_at_once_to_whatever_replica(replicas):
    replicas.settings["PODIUM_LEASE_SECONDS"] = "60"
    replicas.several(2)
    first = replicas.agent("same")
    held = gates(replicas, 4)  # executions of both replicas
    first.send(signal.SIGKILL)
    first.wait()
    replicas.agent("same")
    eventually(lambda: len(replicas.begun()) == 8, f"all once more: {replicas.begun()}")
    for name in held:
        replicas.open_gate(name)
    assert set(replicas.all_ended([*held.values()]).values()) == {"completed"}
    assert [replicas.attempts(each) for each in held.values()] == [{name: 2, "after": 1} for name in held]
    replicas.examine()
    replicas.once()


def _begun(replicas, task: str, times: int) -> bool:
    return len(replicas.begun(task)) == times


def test_a_task_that_kills_its_agents_is_counted_by_all_replicas_together(replicas):
    from tests.faults.bus.support import one

    replicas.settings["PODIUM_LEASE_SECONDS"] = "1"
    replicas.several(2)
    execution = replicas.submit(one("deadly"))
    for number in range(1, 4):
        agent = replicas.agent(f"agent-{number}", wait=False)
        eventually(partial(_begun, replicas, "deadly", number), f"attempt {number}; {agent}")
        assert agent.wait() == -signal.SIGKILL
        if number == 1:
            replicas.kill(replicas.living[0])
    assert replicas.all_ended([execution]) == {execution: "failed"}
    task = replicas.state(execution).tasks["one"]
    assert (task.number, task.crashes) == (3, 3)
    assert task.error.type == "CrashLoop"
    replicas.agent("last")
    replicas.ended(replicas.submit(fan()))
    assert len(replicas.begun("deadly")) == 3
    replicas.examine()
