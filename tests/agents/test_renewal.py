"""Leases are renewed from a thread of their own, blocked loop or not."""

from __future__ import annotations

import asyncio
import threading
from queue import SimpleQueue

from podium.agents.renewal import LoopRenewer, ThreadRenewer, process_renewer
from podium.agents.sdk import Context, task
from podium.fleet.messages import Accepted, Renewal
from tests.agents.support import AWAIT_SECONDS, ManualTimers, hosting


class Ticker:
    """Lets a thread go on when the test says so."""

    def __init__(self) -> None:
        self.ticks: SimpleQueue[bool] = SimpleQueue()
        self.ended = threading.Event()

    def wait(self, seconds: float, ended: threading.Event) -> bool:
        over = self.ticks.get()
        if over:
            self.ended.set()
        return over


class Counted:
    def __init__(self, fails: bool = False) -> None:
        self.fails = fails
        self.renewed = threading.Semaphore(0)
        self.thread = ""

    def renew(self) -> None:
        self.thread = threading.current_thread().name
        self.renewed.release()
        if self.fails:
            raise RuntimeError("no link")


def test_one_thread_renews_all_and_one_that_fails_keeps_no_other_from_it(caplog):
    ticker = Ticker()
    renewer = ThreadRenewer(5.0, ticker.wait)
    broken, sound = Counted(fails=True), Counted()
    renewer.add(broken)
    renewer.add(sound)
    for _ in range(2):
        ticker.ticks.put(False)
        assert broken.renewed.acquire(timeout=AWAIT_SECONDS)
        assert sound.renewed.acquire(timeout=AWAIT_SECONDS)
    assert sound.thread == broken.thread == "podium renewals"
    assert "could not be sent" in caplog.text
    renewer.remove(broken)
    renewer.remove(broken)
    renewer.remove(sound)
    ticker.ticks.put(True)
    assert ticker.ended.wait(AWAIT_SECONDS)


def test_the_thread_comes_back_with_the_next_agent():
    renewer = ThreadRenewer(0.001)
    for _ in range(2):
        counted = Counted()
        renewer.add(counted)
        assert counted.renewed.acquire(timeout=AWAIT_SECONDS)
        renewer.remove(counted)
    assert process_renewer() is process_renewer()


def test_a_blocked_loop_loses_no_lease():
    async def main() -> None:
        ticker = Ticker()
        said = threading.Event()

        @task(name="work")
        async def block(context: Context) -> None:
            ticker.ticks.put(False)
            said.wait(AWAIT_SECONDS)  # blocks the whole loop until the renewal was said

        class Listening:
            def renew(self) -> None:
                said.set()

        renewer = ThreadRenewer(5.0, ticker.wait)
        async with hosting(block, renewer=renewer) as rig:
            renewer.add(Listening())
            rig.give()
            await rig.result()
            assert rig.mailbox.of(Renewal) == [Renewal("agent-1", ("a1",))]
            assert rig.mailbox.of(Accepted)
            assert said.is_set()
            ticker.ticks.put(True)

    asyncio.run(main())


def test_a_simulation_renews_by_the_loops_timers():
    timers = ManualTimers()
    renewer = LoopRenewer(timers)
    counted = Counted()
    renewer.add(counted)
    renewer.add(Counted())
    timers.advance(15.0)
    assert sum(counted.renewed.acquire(blocking=False) for _ in range(9)) == 3
    renewer.remove(counted)
    assert timers.waiting == 1
    renewer.remove(renewer._renewables[0])
    assert timers.waiting == 0
    timers.advance(60.0)


def test_a_thread_that_waits_for_longer_than_a_short_lease_begins_anew_and_renews_in_time():
    waits: SimpleQueue[float] = SimpleQueue()

    def wait(seconds: float, ended: threading.Event) -> bool:
        waits.put(seconds)
        return ended.wait(AWAIT_SECONDS)

    renewer, counted = ThreadRenewer(5.0, wait), Counted()
    renewer.add(counted)
    assert waits.get(timeout=AWAIT_SECONDS) == 5.0
    renewer.keep_up_with(15.0)
    renewer.keep_up_with(3.0)
    assert waits.get(timeout=AWAIT_SECONDS) == 1.0
    renewer.keep_up_with(60.0)
    renewer.remove(counted)
    assert waits.empty()


def test_a_loop_renews_in_time_for_the_shortest_lease():
    timers = ManualTimers()
    renewer, counted = LoopRenewer(timers), Counted()
    renewer.keep_up_with(6.0)
    renewer.add(counted)
    renewer.keep_up_with(3.0)
    timers.advance(2.5)
    assert [counted.renewed.acquire(blocking=False) for _ in range(3)] == [True, True, False]
    renewer.remove(counted)
