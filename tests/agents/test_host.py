"""What one agent does with assignments, cancels, time-outs, duplicates and lost messages."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw

from podium.agents.host import HostLimits
from podium.agents.sdk import Context, agent, function_agent, task
from podium.exceptions import AgentError, NonRetryableError
from podium.fleet.messages import (
    Accepted,
    Cancel,
    Confirmation,
    Drain,
    Failed,
    Freed,
    HandedBack,
    Left,
    Progress,
    Refused,
    Registration,
    Renewal,
    Saved,
    Succeeded,
)
from tests.agents.support import AWAIT_SECONDS, Mailbox, Rig, assignment, hosting


class Gate:
    """A task that says that it has begun and ends when it is let go."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.loop = asyncio.get_running_loop()
        self.open = threading.Event()
        self.context: Context | None = None
        self.ended = asyncio.Event()
        self.interrupts = 0

    def agent(self) -> list[Callable[..., Any]]:
        @task(name="thread")
        def in_thread(context: Context, heed: bool = False) -> str:
            self.context = context
            self.loop.call_soon_threadsafe(self.begun.set)
            while not self.open.wait(0.001):
                if heed:
                    context.check_cancelled()
            return "late"

        @task(name="async")
        async def on_loop(context: Context) -> str:
            self.context = context
            self.loop.call_soon_threadsafe(self.begun.set)
            await asyncio.Event().wait()
            return "never"

        @task(name="deaf")
        async def deaf(context: Context) -> str:
            self.loop.call_soon_threadsafe(self.begun.set)
            while True:
                try:
                    await self.ended.wait()
                    return "late"
                except asyncio.CancelledError:
                    self.interrupts += 1

        @task(name="tidy")
        async def tidy(context: Context) -> None:
            self.loop.call_soon_threadsafe(self.begun.set)
            try:
                await asyncio.Event().wait()
            finally:
                await self.ended.wait()

        return [in_thread, on_loop, deaf, tidy]

    async def wait_begun(self) -> None:
        async with asyncio.timeout(AWAIT_SECONDS):
            await self.begun.wait()


@task(name="work")
async def work(context: Context, number: int = 1) -> int:
    return number * 2


@task(name="raise")
async def raise_(kind: str) -> None:
    errors = {
        "value": ValueError("bad value"),
        "final": NonRetryableError("no use"),
        "exit": SystemExit(3),
        "interrupt": KeyboardInterrupt(),
        "cancelled": asyncio.CancelledError(),
    }
    raise errors[kind]


@task(name="raise_in_thread")
def raise_in_thread(kind: str) -> None:
    if kind == "exit":
        sys.exit(3)
    raise KeyboardInterrupt


@task(name="plain")
def plain() -> str:
    return threading.current_thread().name


FUNCTIONS = [work, raise_, raise_in_thread, plain]


def test_an_agent_registers_accepts_and_answers():
    async def main() -> None:
        async with hosting(FUNCTIONS) as rig:
            registration = rig.mailbox.messages[0]
            assert isinstance(registration, Registration)
            assert registration.functions == ("work", "raise", "raise_in_thread", "plain")
            assert not registration.renews
            rig.give(arguments={"number": 21})
            assert rig.mailbox.of(Accepted, "a1")
            assert await rig.result() == 42
            rig.give("a2", "plain")
            assert await rig.result("a2") == "agent-1 thread 1"
            assert rig.host.busy == 0
        assert isinstance(rig.mailbox.messages[-1], Left)

    asyncio.run(main())


@pytest.mark.parametrize(
    ("kind", "type", "retryable"),
    [
        ("value", "ValueError", True),
        ("final", "podium.exceptions.NonRetryableError", False),
        ("exit", "SystemExit", True),
        ("interrupt", "KeyboardInterrupt", True),
        ("cancelled", "asyncio.CancelledError", True),
    ],
)
def test_whatever_an_async_task_raises_is_its_failure_and_nothing_else_ends(kind, type, retryable):
    async def main() -> None:
        async with hosting(FUNCTIONS) as rig:
            rig.give("a1", "raise", {"kind": kind})
            failed = await rig.failure()
            assert (failed.error.type, failed.error.retryable) == (type, retryable)
            assert not failed.cancelled
            rig.give("a2")
            assert await rig.result("a2") == 2

    asyncio.run(main())


@pytest.mark.parametrize(("kind", "type"), [("exit", "SystemExit"), ("interrupt", "KeyboardInterrupt")])
def test_a_thread_that_exits_ends_its_attempt_only(kind, type):
    async def main() -> None:
        async with hosting(FUNCTIONS) as rig:
            rig.give("a1", "raise_in_thread", {"kind": kind})
            assert (await rig.failure()).error.type == type
            rig.give("a2", "plain")
            # The thread that exited may not be idle yet: then there is a second one.
            assert (await rig.result("a2")).startswith("agent-1 thread")

    asyncio.run(main())


def test_a_traceback_begins_in_the_users_code():
    async def main() -> None:
        async with hosting(FUNCTIONS) as rig:
            rig.give("a1", "raise", {"kind": "value"})
            traceback = (await rig.failure()).error.traceback
            assert "test_host.py" in traceback
            assert "podium/agents" not in traceback
            assert traceback.endswith("ValueError: bad value\n")

    asyncio.run(main())


def test_arguments_that_do_not_fit_and_unknown_functions_fail_for_good():
    async def main() -> None:
        async with hosting(FUNCTIONS) as rig:
            rig.give("a1", "work", {"number": "x"})
            rig.give("a2", "wrok")
            rig.give("a3", "work", {"number": 4, "more": 1}, lenient=True)
            bad = await rig.failure("a1")
            unknown = await rig.failure("a2")
            assert (bad.error.type, bad.error.retryable, bad.error.traceback) == ("ArgumentError", False, "")
            assert unknown.error.type == "UnknownFunctionError"
            assert "'wrok'; it has work, raise" in unknown.error.message
            assert await rig.result("a3") == 8

    asyncio.run(main())


def test_beyond_its_slots_it_refuses_and_a_finished_attempt_frees_one():
    async def main() -> None:
        gate = Gate()
        async with hosting(gate.agent(), slots=2) as rig:
            for attempt in ("a1", "a2", "a3"):
                rig.give(attempt, "async")
            assert rig.mailbox.of(Refused) == [Refused("agent-1", "a3", "full")]
            rig.host.deliver(Cancel("a1", "no longer needed"))
            assert (await rig.failure("a1")).cancelled
            rig.give("a4", "async")
            assert rig.mailbox.of(Accepted, "a4")

    asyncio.run(main())


def test_a_copy_of_an_assignment_runs_nothing_and_repeats_the_result():
    async def main() -> None:
        runs = []

        @task(name="work")
        async def once() -> int:
            runs.append(1)
            return len(runs)

        async with hosting(once, confirm=False) as rig:
            rig.give()
            rig.give()
            assert await rig.result() == 1
            rig.give()
            assert len(rig.mailbox.of(Succeeded)) == 2
            rig.host.deliver(Confirmation("a1", accepted=True))
            rig.give()
            await rig.settle()
            assert len(rig.mailbox.of(Succeeded)) == 2
            assert len(rig.mailbox.of(Accepted)) == 1
            assert runs == [1]

    asyncio.run(main())


def test_a_result_is_said_again_until_it_is_confirmed():
    async def main() -> None:
        async with hosting(FUNCTIONS, confirm=False) as rig:
            rig.give()
            await rig.result()
            rig.timers.advance(4.9)
            assert len(rig.mailbox.of(Succeeded)) == 1
            rig.timers.advance(5.2)
            assert len(rig.mailbox.of(Succeeded)) == 2
            rig.timers.advance(15)
            assert len(rig.mailbox.of(Succeeded)) == 5
            rig.host.deliver(Confirmation("a1", accepted=False))
            rig.timers.advance(60)
            assert len(rig.mailbox.of(Succeeded)) == 5
            assert rig.timers.waiting == 0

    asyncio.run(main())


def test_a_full_receiver_gets_everything_later_and_only_the_newest_progress():
    async def main() -> None:
        @task(name="work")
        async def chatty(context: Context) -> None:
            for step in range(50):
                context.progress(step / 49)
                context.checkpoint(step)

        async with hosting(chatty) as rig:
            rig.mailbox.full = True
            rig.give()
            await rig.settle()
            assert rig.host.busy == 0
            rig.timers.advance(0.2)
            assert len(rig.mailbox.messages) == 1
            rig.mailbox.full = False
            rig.timers.advance(0.1)
            assert await rig.result() is None
            assert [type(message) for message in rig.mailbox.messages[1:]] == [Accepted, Progress, Saved, Succeeded]
            assert rig.mailbox.of(Progress)[0].fraction == 1.0
            saved = rig.mailbox.of(Saved)[0]
            assert (saved.number, bytes(saved.checkpoint)) == (50, b"49")

    asyncio.run(main())


def test_with_too_many_unconfirmed_results_nothing_new_is_taken():
    async def main() -> None:
        async with hosting(FUNCTIONS, confirm=False, limits=HostLimits(unconfirmed=2)) as rig:
            for attempt in ("a1", "a2"):
                rig.give(attempt)
                await rig.result(attempt)
            rig.give("a3")
            assert rig.mailbox.of(Refused)[0].reason == "full"
            rig.host.deliver(Confirmation("a1", accepted=True))
            rig.give("a4")
            assert await rig.result("a4") == 2

    asyncio.run(main())


def test_a_timed_out_async_task_is_cancelled_and_frees_its_slot():
    async def main() -> None:
        gate = Gate()
        async with hosting(gate.agent()) as rig:
            rig.give("a1", "async", timeout_seconds=3.0)
            await rig.settle()
            assert gate.context is not None
            assert gate.context.deadline == 3.0
            rig.timers.advance(2.0)
            assert gate.context.deadline == 1.0
            rig.timers.advance(1.1)
            failed = await rig.failure()
            assert failed.timed_out
            assert not failed.holds_slot
            assert failed.error.message == "no result within 3 s"
            assert gate.context.cancelled
            assert rig.host.busy == 0

    asyncio.run(main())


def test_a_timed_out_thread_keeps_its_slot_until_it_really_returns():
    async def main() -> None:
        gate = Gate()
        async with hosting(gate.agent(), slots=1) as rig:
            rig.give("a1", "thread", timeout_seconds=3.0)
            await gate.wait_begun()
            rig.timers.advance(3.0)
            failed = await rig.failure()
            assert failed.timed_out
            assert failed.holds_slot
            (stuck,) = rig.host.stuck
            assert (stuck.attempt, stuck.task) == ("a1", "task-1")
            assert stuck.why == "timed out, but its function has not returned"
            rig.give("a2", "thread")
            assert rig.mailbox.of(Refused, "a2")[0].reason == "full"
            rig.host.deliver(Cancel("a1", "too late", force=True))
            gate.open.set()
            await rig.mailbox.first(Freed, "a1")
            assert rig.host.stuck == ()
            assert not rig.mailbox.of(Succeeded)
            rig.give("a3", "thread")
            assert await rig.result("a3") == "late"

    asyncio.run(main())


def test_a_task_that_ignores_its_cancellation_is_reported_and_keeps_its_slot():
    async def main() -> None:
        gate = Gate()
        async with hosting(gate.agent(), slots=1) as rig:
            rig.give("a1", "deaf", timeout_seconds=3.0)
            await gate.wait_begun()
            rig.timers.advance(3.0)
            await rig.settle()
            assert not rig.mailbox.of(Failed)
            rig.timers.advance(5.0)
            failed = await rig.failure()
            assert failed.timed_out
            assert failed.holds_slot
            gate.open.set()
            gate.ended.set()
            await rig.mailbox.first(Freed, "a1")

    asyncio.run(main())


def test_a_graceful_cancel_lets_a_task_clear_up_and_a_second_one_does_not_disturb_it():
    async def main() -> None:
        gate = Gate()
        async with hosting(gate.agent()) as rig:
            rig.give("a1", "tidy")
            await gate.wait_begun()
            rig.host.deliver(Cancel("a1", "the execution was cancelled"))
            await rig.settle()
            rig.host.deliver(Cancel("a1", "again"))
            await rig.settle()
            assert not rig.mailbox.of(Failed)
            gate.ended.set()
            failed = await rig.failure()
            assert failed.cancelled
            assert failed.error.message == "the execution was cancelled"

    asyncio.run(main())


def test_a_forced_cancel_waits_for_nobody():
    async def main() -> None:
        gate = Gate()
        async with hosting(gate.agent()) as rig:
            rig.give("a1", "deaf")
            await gate.wait_begun()
            rig.host.deliver(Cancel("a1", "stop it"))
            await rig.settle()
            rig.host.deliver(Cancel("a1", "stop it now", force=True))
            await rig.settle()
            rig.timers.advance(0.25)
            failed = await rig.failure()
            assert (failed.cancelled, failed.holds_slot, failed.error.message) == (True, True, "stop it")
            gate.open.set()
            gate.ended.set()
            await rig.mailbox.first(Freed)

    asyncio.run(main())


def test_a_cancelled_thread_sees_it_in_its_context_and_by_force_is_reported_at_once():
    async def main() -> None:
        gate = Gate()
        async with hosting(gate.agent()) as rig:
            rig.give("a1", "thread", {"heed": True})
            await gate.wait_begun()
            rig.host.deliver(Cancel("a1", "enough"))
            failed = await rig.failure()
            assert (failed.cancelled, failed.holds_slot) == (True, False)
            gate.begun.clear()
            rig.give("a2", "thread")
            await gate.wait_begun()
            rig.host.deliver(Cancel("a2", "now", force=True))
            forced = rig.mailbox.of(Failed, "a2")[0]
            assert (forced.cancelled, forced.holds_slot) == (True, True)
            gate.open.set()
            await rig.mailbox.first(Freed, "a2")

    asyncio.run(main())


def test_a_cancel_before_the_first_step_runs_nothing():
    async def main() -> None:
        async with hosting(FUNCTIONS) as rig:
            rig.give()
            rig.host.deliver(Cancel("a1", "changed our mind"))
            assert (await rig.failure()).cancelled
            assert rig.host.busy == 0
            await rig.settle()
            assert not rig.mailbox.of(Succeeded)

    asyncio.run(main())


def test_a_cancel_of_an_attempt_that_never_came_is_answered_and_keeps_it_from_running():
    async def main() -> None:
        async with hosting(FUNCTIONS) as rig:
            rig.host.deliver(Cancel("a9", "its assignment was lost"))
            assert (await rig.failure("a9")).cancelled
            await rig.settle()
            rig.give("a9")
            rig.host.deliver(Cancel("a9", "again"))
            await rig.settle()
            assert not rig.mailbox.of(Accepted)
            assert len(rig.mailbox.of(Failed)) == 1

    asyncio.run(main())


def test_an_error_while_being_cancelled_is_told_with_the_cancel():
    async def main() -> None:
        begun = asyncio.Event()

        @task(name="work")
        async def clumsy() -> None:
            begun.set()
            try:
                await asyncio.Event().wait()
            finally:
                raise ValueError("could not clear up")

        async with hosting(clumsy) as rig:
            rig.give()
            await begun.wait()
            rig.host.deliver(Cancel("a1", "stop"))
            failed = await rig.failure()
            assert failed.cancelled
            assert failed.error.message == "could not clear up"

    asyncio.run(main())


def test_a_draining_agent_finishes_hands_back_the_rest_and_leaves():
    async def main() -> None:
        gate = Gate()
        async with hosting([*gate.agent(), work]) as rig:
            rig.give("a1", "work")
            rig.give("a2", "async")
            rig.give("a3", "thread")
            await gate.wait_begun()
            rig.host.deliver(Drain(grace_seconds=7.0))
            rig.host.deliver(Drain(grace_seconds=9.0))
            await rig.settle()
            rig.give("a4", "work")
            assert rig.mailbox.of(Refused, "a4")[0].reason == "draining"
            assert await rig.result("a1") == 2
            assert not rig.mailbox.of(HandedBack)
            rig.timers.advance(7.0)
            await rig.mailbox.first(Left)
            assert {message.attempt for message in rig.mailbox.of(HandedBack)} == {"a2", "a3"}
            assert isinstance(rig.mailbox.messages[-1], Left)
            gate.open.set()
            rig.give("a5", "work")
            assert rig.mailbox.of(Refused, "a5")[0].reason == "draining"

    asyncio.run(main())


def test_an_idle_agent_drains_at_once_and_stopping_twice_is_safe():
    async def main() -> None:
        hooks = []

        @agent
        class Hooked:
            async def start(self) -> None:
                hooks.append("start")

            def stop(self) -> None:
                hooks.append("stop")
                raise RuntimeError("clumsy")

            @task
            async def work(self) -> None: ...

        async with hosting(Hooked) as rig:
            await rig.host.drain(10.0)
            await rig.host.stop()
            await asyncio.gather(rig.host.stop(), rig.host.drain(1.0))
        assert hooks == ["start", "stop"]
        assert len(rig.mailbox.of(Left)) == 1

    asyncio.run(main())


def test_an_agent_whose_start_fails_says_so():
    async def main() -> None:
        @agent
        class Broken:
            async def start(self) -> None:
                raise FileNotFoundError("no model")

            @task
            async def work(self) -> None: ...

        with pytest.raises(AgentError, match="agent-1 could not start: FileNotFoundError: no model"):
            async with hosting(Broken):
                raise AssertionError

    asyncio.run(main())


def test_an_abandoned_agent_says_nothing_more():
    async def main() -> None:
        gate = Gate()
        async with hosting([*gate.agent(), work]) as rig:
            rig.give("a1", "async")
            rig.give("a2", "work")
            before = len(rig.mailbox.messages)
            rig.host.abandon()
            rig.host.abandon()
            await rig.settle()
            assert len(rig.mailbox.messages) == before

    asyncio.run(main())


def test_a_renewal_names_all_attempts_and_unconfirmed_results_and_what_still_holds_a_slot():
    async def main() -> None:
        gate = Gate()
        async with hosting([*gate.agent(), work], confirm=False) as rig:
            rig.give("a1", "work")
            await rig.result("a1")
            rig.give("a2", "async")
            rig.give("a3", "deaf", timeout_seconds=1.0, lease_seconds=15.0)
            await gate.wait_begun()
            rig.host.renew()
            assert set(rig.mailbox.of(Renewal)[0].attempts) == {"a1", "a2", "a3"}
            rig.timers.advance(6.0)
            await rig.failure("a3")
            rig.host.deliver(Confirmation("a1", accepted=True))
            rig.host.deliver(Confirmation("a3", accepted=True))
            rig.host.renew()
            gate.open.set()
            gate.ended.set()
            assert set(rig.mailbox.of(Renewal)[1].attempts) == {"a2", "a3"}

    asyncio.run(main())


def test_a_blocked_loop_is_renewed_until_a_lease_past_the_attempts_own_time():
    async def main() -> None:
        gate = Gate()
        async with hosting(gate.agent()) as rig:
            rig.give("a1", "async")
            rig.give("a2", "async", timeout_seconds=10.0, lease_seconds=15.0)
            for seconds, expected in ((24, {"a1", "a2"}), (2, {"a1"})):
                rig.timers.clock.advance(seconds * 1_000_000)  # the clock goes on, the loop's timers don't
                rig.host.renew()
                assert set(rig.mailbox.of(Renewal)[-1].attempts) == expected

    asyncio.run(main())


def test_an_idle_agent_says_that_it_lives_at_every_sixth_renewal():
    async def main() -> None:
        async with hosting(FUNCTIONS) as rig:
            for _ in range(12):
                rig.host.renew()
            assert rig.mailbox.of(Renewal) == [Renewal("agent-1", ())] * 2

    asyncio.run(main())


def test_the_context_tells_the_attempt_and_restores_what_an_earlier_one_saved():
    async def main() -> None:
        seen: dict[str, Any] = {}

        @task(name="*")
        async def look(context: Context) -> None:
            seen.update(
                attempt=context.attempt,
                id=context.attempt_id,
                key=context.idempotency_key,
                execution=context.execution,
                task=context.task,
                function=context.function,
                deadline=context.deadline,
                cancelled=context.cancelled,
                before=context.restored,
            )
            context.check_cancelled()
            context.checkpoint([1, 2])
            seen["after"] = context.restored
            context.progress(float("nan"), "x" * 5000)
            context.progress(7)

        async with hosting(look) as rig:
            assert rig.mailbox.of(Registration)[0].functions == ()
            rig.give("a7", "whatever", number=3, checkpoint=Raw(b'{"page": 4}'))
            await rig.result("a7")
            assert seen == {
                "attempt": 3,
                "id": "a7",
                "key": "key-of-a7",
                "execution": "execution-1",
                "task": "task-1",
                "function": "whatever",
                "deadline": None,
                "cancelled": False,
                "before": {"page": 4},
                "after": [1, 2],
            }
            first, second = rig.mailbox.of(Progress)
            assert first.message.endswith("(3,976 characters left out)")
            assert (first.fraction, second.fraction) == (0.0, 1.0)

    asyncio.run(main())


def test_a_thread_may_use_its_context_freely():
    async def main() -> None:
        @task(name="work")
        def talk(context: Context) -> int:
            for step in range(1000):
                context.progress(step / 999)
            context.checkpoint("done")
            context.logger.info("finished", steps=1000)
            logging.getLogger("library").warning("in a %s", "thread")
            return 1

        async with hosting(talk) as rig:
            rig.give()
            await rig.result()
            assert rig.mailbox.of(Progress)[-1].fraction == 1.0
            assert len(rig.mailbox.of(Saved)) == 1
            assert rig.lines.texts == ["info: finished steps=1000", "warning: in a thread"]

    asyncio.run(main())


def test_log_lines_carry_their_attempt_and_logging_inside_a_task_is_captured(caplog):
    async def main() -> None:
        @task(name="work")
        async def log(context: Context) -> None:
            context.logger.debug("d")
            context.logger.info("read", pages=3, title='A "tale"', empty="", path="/a/b")
            context.logger.warning("w" * 9000)
            context.logger.error("e")
            try:
                _ = 1 / 0
            except ZeroDivisionError:
                context.logger.exception("failed")
            logging.getLogger("library").error("from the library %d", 7)

        async with hosting(log) as rig:
            logging.getLogger("library").error("outside of any task")
            rig.give()
            await rig.result()
            texts = rig.lines.texts
            assert texts[:2] == ["debug: d", 'info: read pages=3 title="A \\"tale\\"" empty="" path=/a/b']
            assert texts[2].endswith("(808 characters left out)")
            assert texts[4].startswith("error: failed\nTraceback")
            assert texts[5:] == ["error: from the library 7"]
            line = rig.lines.lines[0]
            assert (line.execution, line.task, line.attempt) == ("execution-1", "task-1", "a1")
            assert line.at_us == rig.timers.clock.now_us()

    asyncio.run(main())


def test_every_method_task_runs_on_the_agents_one_instance():
    async def main() -> None:
        @agent(slots=4)
        class Counter:
            def __init__(self) -> None:
                self.count = 0

            @task
            async def add(self, by: int = 1) -> int:
                self.count += by
                return self.count

            @task
            def read(self) -> int:
                return self.count

        async with hosting(Counter) as rig:
            rig.give("a1", "add", {"by": 5})
            assert await rig.result("a1") == 5
            rig.give("a2", "read")
            assert await rig.result("a2") == 5

    asyncio.run(main())


steps = st.lists(
    st.one_of(
        st.tuples(st.just("give"), st.integers(0, 5), st.sampled_from(["async", "deaf", "work"])),
        st.tuples(st.just("cancel"), st.integers(0, 5), st.booleans()),
        st.tuples(st.just("confirm"), st.integers(0, 5), st.booleans()),
        st.tuples(st.just("advance"), st.floats(0.01, 8), st.none()),
        st.tuples(st.just("full"), st.booleans(), st.none()),
        st.tuples(st.just("release"), st.none(), st.none()),
    ),
    max_size=30,
)


@settings(max_examples=60, deadline=None)
@given(steps)
def test_whatever_happens_each_accepted_attempt_ends_once_and_slots_are_never_exceeded(script):
    """Every message is also encoded and decoded on its way into the mailbox."""

    async def main() -> None:
        gate = Gate()
        async with hosting([*gate.agent(), work], slots=2, confirm=False) as rig:
            await play(rig, gate, script)
            rig.mailbox.full = False
            gate.open.set()
            gate.ended.set()
            rig.timers.advance(20.0)
            await rig.settle()
        ends: dict[str, set[bytes]] = {}
        for message in rig.mailbox.messages:
            if isinstance(message, (Succeeded, Failed, HandedBack)):
                if isinstance(message, Failed):  # said again after its thread's return, it claims no slot any more
                    message = msgspec.structs.replace(message, holds_slot=False)
                ends.setdefault(message.attempt, set()).add(msgspec.json.encode(message))
        accepted = {message.attempt for message in rig.mailbox.of(Accepted)}
        confirmed = {f"a{first}" for step, first, _ in script if step == "confirm"}
        assert accepted <= set(ends) | confirmed
        assert all(len(variants) == 1 for variants in ends.values())
        assert rig.host.busy == 0

    asyncio.run(main())


async def play(rig: Rig, gate: Gate, script: list[tuple[str, object, object]]) -> None:
    for step, first, second in script:
        match step:
            case "give":
                rig.give(f"a{first}", str(second), timeout_seconds=5.0 if second == "deaf" else None)
            case "cancel":
                rig.host.deliver(Cancel(f"a{first}", "why not", force=bool(second)))
            case "confirm":
                rig.host.deliver(Confirmation(f"a{first}", accepted=bool(second)))
            case "advance":
                rig.timers.advance(float(str(first)))
            case "full":
                rig.mailbox.full = bool(first)
            case "release":
                gate.ended.set()
        await rig.settle()
        assert rig.host.busy <= 2


def test_nothing_is_heard_before_the_start():
    async def main() -> None:
        from podium.agents.host import AgentHost
        from podium.clock import VirtualClock
        from tests.agents.support import Lines

        mailbox = Mailbox()
        host = AgentHost(function_agent("f", [work]), "agent-1", "x", mailbox, VirtualClock(), Lines())
        for message in (assignment(), Cancel("a1", "x"), Confirmation("a1", accepted=True), Drain()):
            host.deliver(message)
        await host.stop()
        host.abandon()
        assert mailbox.messages == [Refused("agent-1", "a1", "draining")]

    asyncio.run(main())
