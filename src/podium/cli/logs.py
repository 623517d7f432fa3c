"""`podium logs`: what the attempts of an execution logged, and with `-f` what they go on logging."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Annotated

import typer

from podium.cli.manners import Manners
from podium.cli.resuming import ExecutionId

if TYPE_CHECKING:
    from podium.app import Podium
    from podium.store.logs import KeptLine

_PAGE = 1_000
_LOOK_SECONDS = 0.2
_COLORS = {"warning": "yellow", "error": "red", "critical": "red", "debug": "dim"}


def logs(
    manners: Manners,
    execution: ExecutionId,
    task: Annotated[str | None, typer.Argument(metavar="[TASK]", help="Only this task, with its instances.")] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on until the execution, or the task, ends.")
    ] = False,
    tail: Annotated[int | None, typer.Option("--tail", "-n", min=0, help="Only the last so many lines.")] = None,
) -> int:
    """Show what tasks logged. The last 1,000 lines of each attempt are kept."""
    from podium.cli.printing import complain
    from podium.cli.sessions import finish, found, looking

    async def whole() -> bool:
        async with looking(manners) as podium:
            row = await found(podium, execution)
            await _check_task(podium, row.id, task)
            reader = _Reader(podium, row.id, task)
            lines = deque(reader.new(), maxlen=tail)
            for line in lines:
                _print(line, await reader.attempt_of(line), manners.json, task)
            if follow:
                await _follow(podium, reader, manners)
            return bool(lines) or reader.after > 0

    if not finish(whole()) and not manners.json:
        complain("nothing was logged")
    return 0


class _Reader:
    """Reads on behind the last line it has seen."""

    def __init__(self, podium: Podium, execution: str, task: str | None) -> None:
        from podium.engine.numbering import AttemptNumbers

        self._podium = podium
        self.execution = execution
        self.task = task
        self.after = 0
        self._before = {1: 0}  # the highest number of an attempt before each run
        self._numbers = AttemptNumbers()
        self._read = 0  # of the history

    async def attempt_of(self, line: KeptLine) -> tuple[int, int]:
        """Return in which run a line's attempt was, and which of its task's attempts in it."""
        run = int(line.attempt.removeprefix(f"{line.execution}:").partition(":")[0])
        number = int(line.attempt.rpartition(":")[2])
        if run not in self._before:
            await self._read_on()
        return run, number - self._before.get(run, 0)

    async def _read_on(self) -> None:
        """Read the history as far as it has come since, for where its runs begin."""
        from podium.engine.codec import decode_row

        store = self._podium.store
        while rows := await store.history(self.execution, self._read, _PAGE):
            for row in rows:
                payload = await store.get(row.tenant, row.payload_blob) if row.payload_blob else None
                self._numbers.take(decode_row(row, payload)[1])
                self._before.setdefault(self._numbers.run, self._numbers.before)
            self._read = rows[-1].sequence

    def new(self) -> list[KeptLine]:
        """Return the lines that are new, of the task and its instances."""
        found: list[KeptLine] = []
        while page := self._podium.logs.read(self.execution, None, self.after, _PAGE):
            self.after = page[-1].id
            found += [line for line in page if self._wanted(line.task)]
            if len(page) < _PAGE:
                break
        return found

    def _wanted(self, task: str) -> bool:
        return self.task is None or task == self.task or task.startswith(f"{self.task}[")


async def _follow(podium: Podium, reader: _Reader, manners: Manners) -> None:
    follower = await podium.follower(reader.execution)
    while True:
        await follower.catch_up()
        task = follower.state.tasks.get(reader.task or "")
        ended = follower.state.final or (task is not None and task.final)
        for line in reader.new():
            _print(line, await reader.attempt_of(line), manners.json, reader.task)
        if ended:
            await asyncio.sleep(2 * _LOOK_SECONDS)  # until what was buffered is in the file
            for line in reader.new():
                _print(line, await reader.attempt_of(line), manners.json, reader.task)
            return
        await asyncio.sleep(_LOOK_SECONDS)


async def _check_task(podium: Podium, execution: str, task: str | None) -> None:
    """Raise TaskNotFoundError for a task that the execution doesn't have; an instance may still come."""
    from podium.exceptions import TaskNotFoundError
    from podium.workflow.problems import did_you_mean

    if task is None:
        return
    known = (await podium.follower(execution)).state.definition.tasks
    if task.partition("[")[0] not in known:
        hint = did_you_mean(task, known) or f"`podium status {execution[:13]}` lists its tasks"
        raise TaskNotFoundError(f"the execution has no task {task!r}; {hint}")


def _print(line: KeptLine, attempt: tuple[int, int], json: bool, task: str | None) -> None:
    from podium.cli.printing import painted, print_json, say
    from podium.cli.times import clock_time, iso

    run, number = attempt
    if json:
        fields = {"task": line.task, "run": run, "attempt": number, "level": line.level, "text": line.text}
        print_json({"id": line.id, "at": iso(line.at_us), **fields})
        return
    who = "" if line.task == task else f"{line.task}  "
    level = "" if line.level == "info" else painted(line.level, _COLORS.get(line.level, "")) + "  "
    again = f"(run {run:,}, attempt {number}) " if run > 1 else f"(attempt {number}) " if number > 1 else ""
    text = "\n".join(part if part.isprintable() else _printable(part) for part in line.text.splitlines() or [""])
    say(f"{clock_time(line.at_us)}  {who}{again}{level}{text}")


def _printable(text: str) -> str:
    """Return the text with nothing in it that a terminal would obey."""
    return "".join(c if c.isprintable() or c == "\t" else "�" for c in text)
