"""The ready-made agents: bound without a flag, for any function name."""

from __future__ import annotations

import asyncio
import os
import signal

from podium.agents import builtin
from podium.agents.binding import resolve
from podium.agents.sdk import AgentDefinition
from podium.fleet.messages import Cancel, Registration
from tests.agents.support import AWAIT_SECONDS, Rig, hosting


def ready(type: str) -> AgentDefinition:
    return resolve([type])[type][1]


def shell(*command: str, **more: object) -> dict[str, object]:
    return {"command": list(command), **more}


def test_noop_takes_anything_by_any_name_and_returns_null():
    async def main() -> None:
        async with hosting(ready("noop")) as rig:
            registration = rig.mailbox.of(Registration)[0]
            assert (registration.functions, registration.slots) == ((), 1000)
            rig.give("a1", "whatever", {"x": [1, 2]})
            rig.give("a2", "task.of any name")
            assert await rig.result("a1") is None
            assert await rig.result("a2") is None

    asyncio.run(main())


def test_echo_returns_its_arguments():
    async def main() -> None:
        async with hosting(ready("echo")) as rig:
            rig.give("a1", "say", {"x": [1, {"y": None}], "self": "mine", "context": 1})
            assert await rig.result("a1") == {"x": [1, {"y": None}], "self": "mine", "context": 1}

    asyncio.run(main())


def test_sleep_waits_and_can_be_cancelled():
    async def main() -> None:
        async with hosting(ready("sleep")) as rig:
            rig.give("a1", "nap", {"seconds": 0})
            rig.give("a2", "nap", {"seconds": 600})
            rig.give("a3", "nap", {"seconds": -1})
            assert await rig.result("a1") == 0
            rig.host.deliver(Cancel("a2", "wake up"))
            assert (await rig.failure("a2")).cancelled
            assert (await rig.failure("a3")).error.type == "ArgumentError"

    asyncio.run(main())


def test_fail_fails_so_many_times():
    async def main() -> None:
        async with hosting(ready("fail")) as rig:
            rig.give("a1", "f", {"message": "boom"}, number=9)
            rig.give("a2", "f", {"times": 2}, number=2)
            rig.give("a3", "f", {"times": 2}, number=3)
            rig.give("a4", "f", {"retryable": False})
            assert (await rig.failure("a1")).error.message == "boom"
            assert (await rig.failure("a2")).error.retryable
            assert await rig.result("a3") == 3
            assert not (await rig.failure("a4")).error.retryable

    asyncio.run(main())


def test_shell_runs_an_argument_vector_and_expands_nothing():
    async def main() -> None:
        async with hosting(ready("shell")) as rig:
            rig.give("a1", "run", shell("echo", "$HOME; ls *"))
            assert await rig.result("a1") == {
                "exit_code": 0,
                "stdout": "$HOME; ls *\n",
                "stderr": "",
                "left_out_bytes": 0,
            }
            rig.give("a2", "run", shell("cat", stdin="given"))
            assert (await rig.result("a2"))["stdout"] == "given"
            rig.give("a3", "run", shell("sh", "-c", "echo $X $PODIUM_IDEMPOTENCY_KEY; pwd", env={"X": "y"}, cwd="/"))
            assert (await rig.result("a3"))["stdout"] == "y key-of-a3\n/\n"
            rig.give("a4", "run", shell("true", stdin="x" * 1_000_000))
            assert (await rig.result("a4"))["exit_code"] == 0

    asyncio.run(main())


def test_shell_tells_how_a_command_failed():
    async def main() -> None:
        async with hosting(ready("shell")) as rig:
            rig.give("a1", "run", shell("sh", "-c", "echo bad >&2; exit 3"))
            assert (await rig.failure("a1")).error.message == "sh ended with exit code 3: bad"
            rig.give("a2", "run", shell("sh", "-c", "exit 3", check=False))
            assert (await rig.result("a2"))["exit_code"] == 3
            rig.give("a3", "run", shell("sh", "-c", "kill -9 $$"))
            assert "was killed by SIGKILL" in (await rig.failure("a3")).error.message
            rig.give("a4", "run", shell("no-such-program-anywhere"))
            missing = (await rig.failure("a4")).error
            assert "could not be started" in missing.message
            assert not missing.retryable
            rig.give("a5", "run", shell())
            assert (await rig.failure("a5")).error.type == "ArgumentError"
            rig.give("a6", "run", {"command": "ls -l"})
            assert (await rig.failure("a6")).error.type == "ArgumentError"

    asyncio.run(main())


def test_shell_keeps_the_end_of_a_flood():
    async def main() -> None:
        async with hosting(ready("shell")) as rig:
            rig.give("a1", "run", shell("sh", "-c", "head -c 1000000 /dev/zero | tr '\\0' x; echo end"))
            output = await rig.result("a1")
            assert len(output["stdout"]) == builtin.OUTPUT_LIMIT
            assert output["stdout"].endswith("x" * 100 + "end\n")
            assert output["left_out_bytes"] == 1_000_004 - builtin.OUTPUT_LIMIT

    asyncio.run(main())


def test_a_cancelled_or_timed_out_command_is_killed_as_a_group(tmp_path):
    async def main() -> None:
        async with hosting(ready("shell")) as rig:
            for attempt, trap in (("a1", ""), ("a2", "trap '' TERM; ")):
                pids = tmp_path / attempt
                os.mkfifo(pids)
                text = f"{trap}sleep 600 & echo $! $$ > {pids}; wait; sleep 600"
                rig.give(attempt, "run", shell("sh", "-c", text), timeout_seconds=3.0)
                child, leader = await read_fifo(pids)
                await end(rig, attempt)
                for pid in (child, leader):
                    await until_gone(pid)

    asyncio.run(main())


async def read_fifo(path: object) -> tuple[int, int]:
    def read() -> str:
        with open(str(path)) as file:
            return file.read()

    child, leader = (await asyncio.to_thread(read)).split()
    return int(child), int(leader)


async def end(rig: Rig, attempt: str) -> None:
    if attempt == "a1":
        rig.timers.advance(3.0)
        assert (await rig.failure(attempt)).timed_out
    else:
        rig.host.deliver(Cancel(attempt, "stop"))
        await rig.settle()
        rig.host.deliver(Cancel(attempt, "stop now", force=True))
        assert (await rig.failure(attempt)).cancelled


async def until_gone(pid: int) -> None:
    async with asyncio.timeout(AWAIT_SECONDS):
        while is_running(pid):  # noqa: ASYNC110 - nobody tells us of a process that isn't our child
            await asyncio.sleep(0)


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, signal.SIGCONT)
    except ProcessLookupError:
        return False
    with open(f"/proc/{pid}/stat") as stat:
        return stat.read().rpartition(")")[2].split()[0] != "Z"
