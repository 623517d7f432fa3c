"""Where the attempts of one agent run: on the loop, in threads, in worker processes; and how each is interrupted.

Whatever a task raises becomes its failure here, SystemExit and KeyboardInterrupt too. When a function has returned,
`on_end` is called on the loop's thread with what is to be said; nothing here knows of slots or confirmations.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from typing import assert_never

from msgspec import Raw

from podium.agents.attempt import Ending, LiveAttempt
from podium.agents.context import current_outlet
from podium.agents.frames import Flag, Raised, Returned
from podium.agents.processes import Processes
from podium.agents.sdk import AgentDefinition, Kind
from podium.agents.threads import Threads
from podium.fleet.messages import Failed, HandedBack, Succeeded

End = Succeeded | Failed | HandedBack
LARGE = 64 * 1024  # bytes of a result

OnEnd = Callable[[LiveAttempt, End], None]


class Running:
    """Runs attempts of one agent and interrupts them; threads and processes are made when the first needs one."""

    def __init__(self, agent: str, definition: AgentDefinition, loop: asyncio.AbstractEventLoop, on_end: OnEnd) -> None:
        self._agent = agent
        self._definition = definition
        self._loop = loop
        self._on_end = on_end
        self._threads = Threads(agent, definition.slots)
        self._processes = Processes(definition)

    def begin(self, live: LiveAttempt) -> None:
        """Set an attempt going."""
        match live.bound.kind:
            case Kind.ASYNC:
                live.task = self._loop.create_task(self._run_async(live), name=live.attempt)
            case Kind.SYNC:
                context = contextvars.copy_context()
                self._threads.submit(lambda: context.run(self._run_in_thread, live))
            case Kind.CPU:
                live.task = self._loop.create_task(self._run_in_process(live), name=live.attempt)
            case _:
                assert_never(live.bound.kind)

    def interrupt(self, live: LiveAttempt, kill: bool) -> None:
        """Make an attempt end that was told to (`live.end`); a process is only killed if `kill` says so."""
        match live.bound.kind:
            case Kind.ASYNC if live.task is not None:
                live.task.cancel()
                if not live.started:  # cancelled before its first step, the coroutine never runs
                    self._on_end(live, live.failure(asyncio.CancelledError()))
            case Kind.CPU if live.worker is not None:
                if kill:
                    live.worker.kill()
                else:
                    live.worker.say(Flag(live.attempt, live.reason))
            case _:
                return  # a thread can't be interrupted; its context tells it

    async def close(self) -> None:
        """End idle threads and all processes."""
        self._threads.close()
        await self._processes.close()

    def abandon(self) -> None:
        """End all processes at once."""
        self._threads.close()
        self._processes.kill()

    async def _run_async(self, live: LiveAttempt) -> None:
        live.started = True
        current_outlet.set(live)
        end: End
        try:
            bound = live.bound
            value = await bound.run(**live.arguments())
            end = self._success(live, await _tellable(live, bound.call.result(value)))
        except GeneratorExit:
            raise  # the loop is gone: nobody hears a report
        except BaseException as error:  # noqa: BLE001 - whatever a task raises is its failure
            end = live.failure(error)
        self._on_end(live, end)

    def _run_in_thread(self, live: LiveAttempt) -> None:
        current_outlet.set(live)
        end: End
        try:
            end = self._success(live, live.result(live.bound.call.result(live.bound.run(**live.arguments()))))
        except BaseException as error:  # noqa: BLE001 - whatever a task raises is its failure
            end = live.failure(error)
        live.voice.post(self._on_end, live, end)

    async def _run_in_process(self, live: LiveAttempt) -> None:
        live.started = True
        end: End
        try:
            match await self._processes.run(live):
                case Returned(value):
                    end = self._success(live, await _tellable(live, Raw(value)))
                case Raised(error, by_cancel):
                    end = live.failure_in_worker(error, by_cancel)
        except GeneratorExit:
            raise
        except BaseException as error:  # noqa: BLE001 - also that no process could be started
            end = live.failure(error)
        self._on_end(live, end)

    def _success(self, live: LiveAttempt, value: Raw) -> End:
        """What may be told of the result, unless the attempt's time was over before it came."""
        if live.ending is Ending.TIMED_OUT:
            return live.time_out()
        return Succeeded(self._agent, live.attempt, value)


async def _tellable(live: LiveAttempt, value: Raw) -> Raw:
    """Return a result without secrets; a large one is looked through in a thread, as the loop must not wait for it."""
    if live.knows_secrets and len(bytes(value)) > LARGE:
        return await asyncio.to_thread(live.result, value)
    return live.result(value)
