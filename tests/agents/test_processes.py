"""CPU functions in processes of their own: what their death, their time and their neighbours mean."""

from __future__ import annotations

import asyncio
import os

import pytest

from podium.agents.processes import how_it_ended
from podium.agents.sdk import AgentDefinition, function_agent
from podium.fleet.messages import Cancel, HandedBack, Progress, Published, Saved
from tests.agents import sample
from tests.agents.support import AWAIT_SECONDS, hosting


def cpu_agent(slots: int = 1) -> AgentDefinition:
    names = "worker_pid die explode unsendable speak spin leave_the_link with_child"
    return function_agent("cpu", [getattr(sample, name) for name in names.split()], slots)


async def until_gone(pid: int) -> None:
    """Wait until a process is no more (or a zombie that nobody has waited for)."""
    async with asyncio.timeout(AWAIT_SECONDS):
        while is_alive(pid):  # noqa: ASYNC110 - nobody tells us of a process that isn't our child
            await asyncio.sleep(0)


def is_alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_cpu_tasks_run_in_another_process_which_is_used_again():
    async def main() -> None:
        async with hosting(cpu_agent()) as rig:
            rig.give("a1", "worker_pid")
            first = await rig.result("a1")
            rig.give("a2", "worker_pid")
            assert first == await rig.result("a2")
            assert first != os.getpid()
        await until_gone(first)

    asyncio.run(main())


def test_a_method_runs_on_an_instance_of_its_own_that_was_started():
    async def main() -> None:
        async with hosting(sample.Calculator) as rig:
            rig.give("a1", "double", {"number": 21})
            rig.give("a2", "double", {"number": "x"})
            rig.give("a3", "pid")
            assert await rig.result("a1") == 42
            assert (await rig.failure("a2")).error.type == "ArgumentError"

    asyncio.run(main())


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("exit", "the worker process ended with exit code 3 while it ran the task"),
        ("kill", "the worker process was killed by SIGKILL while it ran the task"),
        ("segfault", "the worker process was killed by SIGSEGV while it ran the task"),
    ],
)
def test_the_death_of_a_worker_fails_its_attempt_and_harms_no_other(how, says):
    async def main() -> None:
        async with hosting(cpu_agent(slots=2)) as rig:
            rig.give("a1", "spin")
            await rig.mailbox.first(Progress, "a1")
            rig.give("a2", "die", {"how": how})
            failed = await rig.failure("a2")
            assert (failed.crashed, failed.error.type, failed.error.message) == (True, "WorkerDied", says)
            assert failed.error.retryable
            assert rig.host.busy == 1
            rig.give("a3", "worker_pid")
            assert await rig.result("a3") > 0
            rig.host.deliver(Cancel("a1", "done"))
            assert (await rig.failure("a1")).cancelled

    asyncio.run(main())


def test_an_idle_worker_that_was_killed_is_replaced():
    async def main() -> None:
        async with hosting(cpu_agent()) as rig:
            rig.give("a1", "worker_pid")
            first = await rig.result("a1")
            os.kill(first, 9)
            await until_gone(first)
            await rig.settle()
            rig.give("a2", "worker_pid")
            assert await rig.result("a2") != first

    asyncio.run(main())


def test_sys_exit_errors_of_any_size_and_results_that_cannot_be_sent_are_failures():
    async def main() -> None:
        async with hosting(cpu_agent()) as rig:
            rig.give("a1", "die", {"how": "sys.exit"})
            assert (await rig.failure("a1")).error.type == "SystemExit"
            rig.give("a2", "explode", {"size": 20_000_000})
            huge = (await rig.failure("a2")).error
            assert huge.type == "ValueError"
            assert len(huge.message) < 9_000
            assert "sample.py" in huge.traceback
            rig.give("a3", "unsendable")
            assert (await rig.failure("a3")).error.type == "ResultError"

    asyncio.run(main())


def test_a_workers_context_speaks_to_the_orchestrator():
    async def main() -> None:
        async with hosting(cpu_agent()) as rig:
            rig.give("a1", "speak", number=4, timeout_seconds=60.0)
            assert await rig.result("a1") == {
                "attempt": 4,
                "key": "key-of-a1",
                "restored": {"page": 7},
                "has_deadline": True,
            }
            assert rig.mailbox.of(Progress)[0].message == "half way"
            assert bytes(rig.mailbox.of(Saved)[0].checkpoint) == b'{"page":7}'
            assert bytes(rig.mailbox.of(Published)[0].value) == b'{"pages":7}'
            assert rig.lines.texts == ["info: read pages=7", "warning: careful"]

    asyncio.run(main())


def test_a_timed_out_worker_is_killed_and_its_slot_is_free():
    async def main() -> None:
        async with hosting(cpu_agent()) as rig:
            rig.give("a1", "spin", {"heed": False}, timeout_seconds=2.0)
            pid = int((await rig.mailbox.first(Progress)).message)
            rig.timers.advance(2.0)
            failed = await rig.failure("a1")
            assert (failed.timed_out, failed.holds_slot, failed.crashed) == (True, False, False)
            assert not is_alive(pid)
            rig.give("a2", "worker_pid")
            assert await rig.result("a2") != pid

    asyncio.run(main())


def test_a_worker_is_cancelled_by_a_flag_and_by_force_with_all_that_it_started():
    async def main() -> None:
        async with hosting(cpu_agent()) as rig:
            rig.give("a1", "spin")
            pid = (await rig.mailbox.first(Progress, "a1")).message
            rig.host.deliver(Cancel("a1", "gently"))
            failed = await rig.failure("a1")
            assert (failed.cancelled, failed.error.message) == (True, "gently")
            rig.give("a2", "worker_pid")
            assert str(await rig.result("a2")) == pid
            rig.give("a3", "with_child")
            child = int((await rig.mailbox.first(Progress, "a3")).message)
            rig.host.deliver(Cancel("a3", "now", force=True))
            assert (await rig.failure("a3")).cancelled
            await until_gone(child)

    asyncio.run(main())


def test_a_cancel_while_its_worker_is_being_started_ends_the_attempt():
    async def main() -> None:
        async with hosting(cpu_agent()) as rig:
            rig.give("a1", "spin", {"heed": False})
            rig.host.deliver(Cancel("a1", "never mind"))
            assert (await rig.failure("a1")).cancelled

    asyncio.run(main())


def test_a_worker_that_has_closed_its_link_fails_its_attempt():
    async def main() -> None:
        async with hosting(cpu_agent()) as rig:
            rig.give("a1", "leave_the_link")
            failed = await rig.failure("a1")
            assert (failed.crashed, failed.error.type) == (True, "WorkerDied")
            assert "exit code 70" in failed.error.message

    asyncio.run(main())


def test_leaving_hands_back_what_a_worker_runs():
    async def main() -> None:
        async with hosting(cpu_agent()) as rig:
            rig.give("a1", "spin", {"heed": False})
            pid = int((await rig.mailbox.first(Progress)).message)
        assert rig.mailbox.of(HandedBack, "a1")
        assert not is_alive(pid)

    asyncio.run(main())


def test_an_abandoned_agent_leaves_no_process_behind():
    async def main() -> None:
        async with hosting(cpu_agent()) as rig:
            rig.give("a1", "spin", {"heed": False})
            pid = int((await rig.mailbox.first(Progress)).message)
            rig.host.abandon()
            await until_gone(pid)

    asyncio.run(main())


def test_exit_codes_are_told_in_words():
    assert [how_it_ended(code) for code in (0, -9, -200)] == [
        "ended with exit code 0",
        "was killed by SIGKILL",
        "was killed by signal 200",
    ]
