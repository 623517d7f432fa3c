"""The long run finds what it must find: a process that ends by itself, an end told twice, rows that are missing."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from podium.testing.natsserver import binary_or_skip
from podium.testing.postgresserver import programs_or_skip
from podium.testing.proxy import FaultProxy, tcp
from podium.testing.soaking import shapes
from podium.testing.soaking.__main__ import main
from podium.testing.soaking.conducting import Soak
from podium.testing.soaking.faults import KINDS, Fault
from podium.testing.soaking.history import History
from podium.testing.soaking.processes import Ended, Process
from podium.testing.soaking.reporting import report
from podium.testing.soaking.sorting import SharedPort, owner_of
from podium.workflow.validation import validate

LIVES = """
import sys, time
print('{"port": 7}', flush=True)
print("a warning", file=sys.stderr, flush=True)
time.sleep(%s)
sys.exit(3)
"""


def process(folder: Path, ended: list[Ended], seconds: float) -> Process:
    command = (sys.executable, "-c", LIVES % seconds)
    return Process("one", command, folder, dict(os.environ), ended.append)


def test_a_process_that_ends_by_itself_is_written_down_with_its_last_words_and_started_again(tmp_path):
    async def lives() -> None:
        ended: list[Ended] = []
        one = process(tmp_path, ended, 0.1)
        await one.start()
        assert await one.ready()
        assert one.addresses == {"port": 7}
        async with asyncio.timeout(30):
            while len(one.lives) < 2:  # noqa: ASYNC110 - the end of a process rings no bell
                await asyncio.sleep(0.01)
        await one.close()
        assert (ended[0].name, ended[0].code, ended[0].ready) == ("one", 3, True)
        assert any("a warning" in line for line in ended[0].words)

    asyncio.run(lives())


def test_one_that_is_killed_is_no_news_and_stays_away_until_it_is_started(tmp_path):
    async def lives() -> None:
        ended: list[Ended] = []
        one = process(tmp_path, ended, 60)
        await one.start()
        assert await one.ready()
        one.hold()
        one.measure(early_seconds=60)
        assert one.lives[0].early_mb > 1
        await one.kill()
        assert one.pid is None
        assert not one.is_ready
        await one.start()
        assert await one.ready()
        await one.close()
        assert ended == []

    asyncio.run(lives())


def test_a_connection_over_a_shared_port_goes_the_line_of_its_process():
    async def sorted_out() -> None:
        answered = await asyncio.start_server(_greet, "127.0.0.1", 0)
        target = tcp(answered.sockets[0].getsockname()[1])
        ours, others = FaultProxy(target), FaultProxy(target)
        port = SharedPort(lambda: {os.getppid(): others, os.getpid(): ours})
        await port.start()
        reader, writer = await asyncio.open_connection("127.0.0.1", port.port)
        assert await reader.readline() == b"hello\n"
        assert (ours.accepted, others.accepted) == (1, 0)
        writer.close()
        await writer.wait_closed()
        await port.stop()
        await ours.stop()
        answered.close()

    asyncio.run(sorted_out())
    with socket.socket() as nobodys:
        nobodys.bind(("127.0.0.1", 0))
        assert owner_of(nobodys.getsockname()[1], {1: FaultProxy(tcp())}) is None


async def _greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"hello\n")
    await writer.drain()
    writer.close()
    await writer.wait_closed()


def test_an_end_that_is_told_otherwise_the_second_time_is_a_find_unless_somebody_retried():
    history = History()
    for execution in ("a", "b"):
        history.acknowledged(execution, "chain")
        history.ended(execution, "failed")
    assert not history.under_way
    history.reopened("a")
    history.ended("a", "completed")
    assert not history.problems
    history.ended("b", "completed")
    assert [problem.kind for problem in history.problems] == ["twice"]


def test_the_workflows_of_the_long_run_are_valid_and_their_results_known():
    for name, workflow in shapes.SHAPES.items():
        validate(workflow)
        assert shapes.result_of(name, {"token": "t", "count": 3}) is not None
    assert len({kind.name for kind in KINDS}) == len(KINDS)


def test_the_report_is_sound_only_without_a_problem_and_names_the_longest_recovery():
    history = History()
    faults = [Fault("kill", "r", 1.0, recovered=seconds) for seconds in (2.0, 7.0)] + [Fault("hold", "r", 2.0)]
    given: tuple[Any, ...] = (faults, Counter(completed=2), 9, Counter({"k": 2, "l": 1}), {}, Counter[str](), [])
    sound = report(7, history, *given)
    assert sound.sound
    assert (sound.effects, sound.effects_again) == (3, 1)
    assert sound.longest_recovery == faults[1]
    history.wrong("lost", "one is missing")
    unsound = report(7, history, *given)
    assert not unsound.sound
    assert "lost 1" in str(unsound)
    assert "one is missing" in str(unsound)


class Sabotaged(Soak):
    """Somebody takes rows out of the database before the oracle looks."""

    async def _examine(self) -> tuple[Counter[str], int, Counter[str]]:
        lost, changed, torn = list(self.history.ends)[:3]
        for sql in (
            f"DELETE FROM executions WHERE id = '{lost}'",
            f"UPDATE executions SET status = 'failed' WHERE id = '{changed}'",
            f"UPDATE log SET now_us = now_us + 1 WHERE execution = '{torn}' AND sequence = 1",
        ):
            await asyncio.to_thread(self.stage.postgres.execute, sql, "soak")
        return await super()._examine()


@pytest.mark.slow
@pytest.mark.parametrize("kind", [Soak, Sabotaged])
def test_a_short_run_is_sound_and_one_whose_rows_somebody_took_away_is_not(tmp_path, kind):
    binary_or_skip()
    programs_or_skip()
    soak = kind(
        tmp_path, seed=1, seconds=20, every_seconds=4, at_once=2, a_second=3, say=lambda text: None, processes=2
    )
    result = asyncio.run(soak.run())
    assert result.sound is (kind is Soak), str(result)
    if kind is Sabotaged:
        assert {"lost", "changed", "torn"} <= set(result.problems)


def test_the_command_line_says_what_it_takes(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert all(option in said for option in ("--minutes", "--seconds", "--seed", "--keep", "--every", "--at-once"))
