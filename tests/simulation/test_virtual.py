"""The event loop on virtual time."""

from __future__ import annotations

import asyncio

import pytest

from podium.clock import SECOND
from podium.testing.virtual import (
    DeadlockError,
    EndlessError,
    UnhandledError,
    VirtualLoop,
    first_of,
    run_virtually,
    virtual_loop,
)


def test_a_day_takes_no_time():
    async def sleep_long() -> float:
        await asyncio.sleep(86_400)
        return asyncio.get_running_loop().time()

    assert run_virtually(sleep_long()) == pytest.approx(86_400)


def test_the_clock_moves_with_the_loop():
    async def look() -> int:
        clock = virtual_loop().clock
        before = clock.now_us()
        await asyncio.sleep(1.5)
        return clock.now_us() - before

    assert run_virtually(look()) == 1_500_000


def test_timers_fire_in_order_of_time():
    async def order() -> list[int]:
        fired: list[int] = []
        loop = asyncio.get_running_loop()
        for delay in (3, 1, 2):
            loop.call_later(delay, fired.append, delay)
        await asyncio.sleep(4)
        return fired

    assert run_virtually(order()) == [1, 2, 3]


def test_a_wait_that_never_ends_names_the_task_and_the_place():
    async def wait_for_nobody() -> None:
        await asyncio.create_task(asyncio.Event().wait(), name="the-lonely-one")

    with pytest.raises(DeadlockError, match=r"the-lonely-one at Event\.wait"):
        run_virtually(wait_for_nobody())


def test_going_round_and_round_is_found():
    async def spin() -> None:
        virtual_loop().max_turns = 1_000
        while True:  # noqa: ASYNC110 - that is what is tested
            await asyncio.sleep(0)

    with pytest.raises(EndlessError, match="turned 1001 times"):
        run_virtually(spin())


def test_a_failure_that_nobody_looks_at_is_said():
    async def fail_unseen() -> None:
        asyncio.get_running_loop().call_soon(int, "no number")
        await asyncio.sleep(1)

    with pytest.raises(UnhandledError, match="no number"):
        run_virtually(fail_unseen())


def test_threads_are_refused():
    async def in_thread() -> None:
        await asyncio.to_thread(print)

    with pytest.raises(RuntimeError, match="no threads"):
        run_virtually(in_thread())


def test_the_seed_gives_the_chance():
    async def draw() -> float:
        return virtual_loop().chance.random()

    assert run_virtually(draw(), seed=1) == run_virtually(draw(), seed=1) != run_virtually(draw(), seed=2)


def test_what_is_left_is_cancelled():
    ended: list[str] = []

    async def linger() -> None:
        try:
            await asyncio.sleep(1_000)
        finally:
            ended.append("lingered")

    async def leave() -> None:
        task = asyncio.create_task(linger())
        await asyncio.sleep(1)
        assert not task.done()

    run_virtually(leave())
    assert ended == ["lingered"]


async def three_looks() -> None:
    for _ in range(3):
        await asyncio.sleep(0.1)


def test_who_waits_isnt_out_of_patience_after_a_leap_of_the_clock():
    async def leap() -> bool:
        task = asyncio.create_task(three_looks())
        virtual_loop().call_later(0.05, virtual_loop().clock.advance, 3_600 * SECOND)
        return await first_of({task}, 600)

    assert run_virtually(leap())


def test_who_waits_has_so_much_patience():
    async def wait() -> float:
        task = asyncio.create_task(asyncio.sleep(1_000))
        assert not await first_of({task}, 600)
        return virtual_loop().time()

    assert run_virtually(wait()) == pytest.approx(600)


def test_another_loop_is_refused():
    async def ask() -> VirtualLoop:
        return virtual_loop()

    with pytest.raises(RuntimeError, match="run_virtually"):
        asyncio.run(ask())
