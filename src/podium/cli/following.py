"""Following an execution to its end: progress, Ctrl-C, the last words; what `run`, `resume` and `retry` share."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from podium.cli.ending import document_of, ending_text, exit_code_of
from podium.cli.errors import INTERRUPTED
from podium.cli.manners import Manners
from podium.cli.printing import complain, say, wrapped
from podium.cli.progress import Progress, progress_for
from podium.clock import SystemClock
from podium.engine import events as ev
from podium.exceptions import EngineStoppedError

if TYPE_CHECKING:
    from podium.app import Podium
    from podium.engine.following import Follower
    from podium.settings import Settings

STOPPED_EARLY = "ended at once; `podium ps` lists what was begun"
_SHARE = 5  # a look may take this part of the time at most


class StopRequest:
    """Ctrl-C and SIGTERM: the first asks for a stop, the second ends the process at once."""

    def __init__(self) -> None:
        self._asked = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._armed = False
        self._last_words = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._armed:
            for number in (signal.SIGINT, signal.SIGTERM):
                self._loop.remove_signal_handler(number)

    def arm(self, last_words: str) -> None:
        """From now on a signal asks for a stop, and a second one is answered with the last words.

        Before, Ctrl-C is what it is in any Python program. To be called again when there are better last words.
        """
        self._last_words = last_words
        for number in (signal.SIGINT, signal.SIGTERM):
            self._loop.add_signal_handler(number, self._ask)
        self._armed = True

    @property
    def asked(self) -> bool:
        """Whether a stop was asked for."""
        return self._asked.is_set()

    async def wait(self) -> None:
        """Return when a stop is asked for."""
        await self._asked.wait()

    def _ask(self) -> None:
        if self._asked.is_set():
            if sys.stdout.isatty():
                os.write(1, b"\x1b[?25h\n")  # the cursor, which a live table hides
            complain(self._last_words)
            os._exit(INTERRUPTED)
        self._asked.set()


class Outcome:
    """What following led to: an exit code, and the document for `--json`."""

    def __init__(self, code: int, document: dict[str, Any] | None = None) -> None:
        self.code = code
        self.document = document


@contextmanager
def standard_output_kept(json: bool) -> Iterator[None]:
    """With `json`, send whatever tasks print to standard error meanwhile, so that the document stands alone."""
    if not json:
        yield
        return
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)


def announce(execution: str, workflow: str, json: bool) -> None:
    """Say the execution's id before anything else, so that another terminal can use it."""
    line = f"execution {execution} of {workflow}"
    if not json and sys.stdout.isatty():
        say(line)
    else:
        complain(line)


async def follow(podium: Podium, follower: Follower, manners: Manners, stop: StopRequest) -> Outcome:
    """Show an execution's progress from where the follower is to its end, or to a stop, and say how it ended."""
    clock, execution = SystemClock(), follower.state.id
    progress = progress_for(manners.json)

    def heard(event: ev.Event, now_us: int) -> None:
        progress.hear(follower.state, event, now_us)

    async def look(last: bool) -> float:
        begun_us = clock.now_us()
        await follower.catch_up(heard)
        activity = await podium.activity(execution) if progress.wants_activity and not last else {}
        progress.show(follower.state, activity, clock.now_us(), last)
        return (clock.now_us() - begun_us) / 1e6

    stop.arm(wrapped(f"ended at once; `podium resume {execution}` goes on with it"))
    ended = asyncio.create_task(podium.finished(execution), name="podium-cli-ended")
    stopped = asyncio.create_task(stop.wait(), name="podium-cli-stopped")
    try:
        await _look_until(podium, progress, look, ended, stopped)
        await look(last=True)
    finally:
        progress.close()
        for task in (ended, stopped):
            task.cancel()
        await asyncio.wait({ended, stopped})
    if not follower.state.final:
        _say_stopping(podium)
        stopped_at = {"execution_id": execution, "status": str(follower.state.status), "interrupted": True}
        return Outcome(INTERRUPTED, stopped_at if manners.json else None)
    if manners.json:
        return Outcome(exit_code_of(follower.state.status), await document_of(follower))
    say(ending_text(follower.state, await follower.result()))
    _say_others(podium)
    return Outcome(exit_code_of(follower.state.status))


async def _look_until(
    podium: Podium, progress: Progress, look: Any, ended: asyncio.Task[Any], stopped: asyncio.Task[None]
) -> None:
    pause = 0.0
    while True:
        await asyncio.wait({ended, stopped}, timeout=pause, return_when=asyncio.FIRST_COMPLETED)
        if ended.done():
            ended.result()
            return
        if stopped.done():
            return
        if podium.failure is not None:
            raise EngineStoppedError(f"the engine ended: {podium.failure}")
        took = await look(last=False)
        pause = max(progress.pause_seconds, took * _SHARE)


def _say_stopping(podium: Podium) -> None:
    if not podium.owner:
        return
    live = podium.live_attempts
    if live:
        seconds = f"{podium.settings.drain_seconds:g} s"
        complain(wrapped(f"stopping: {_attempts(live)} up to {seconds} to end; Ctrl-C once more ends at once"))


def _say_others(podium: Podium) -> None:
    """Other executions ran here too: say why it takes a moment to end."""
    live = podium.live_attempts
    if live:
        others, seconds = _attempts(live, "of other executions "), podium.settings.drain_seconds
        complain(wrapped(f"before this process ends, {others} up to {seconds:g} s to end"))


def _attempts(live: int, whose: str = "") -> str:
    return f"1 live attempt {whose}has" if live == 1 else f"{live} live attempts {whose}have"


async def others_run(podium: Podium, execution: str) -> str:
    """Return in words who else runs an execution; empty when this process does, and stops."""
    return "" if podium.owner else await podium.who_runs(execution) or "nobody"


def say_how_to_go_on(settings: Settings, execution: str, others: str) -> None:
    """After a stop: say who goes on with the execution, or how a person does."""
    if settings.in_memory:
        complain("stopped; the database was in memory, nothing is kept")
    elif not others:
        complain(wrapped(f"stopped; `podium resume {execution}` goes on with it"))
    else:
        complain(wrapped(f"no longer followed; {others} runs it, `podium status {execution}` tells how far it is"))
