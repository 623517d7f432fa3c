"""Plays a user's own task functions on virtual time: async ones as tasks of the loop, plain and cpu ones inline.

What threads and processes would add is left out on purpose: a run has to be the same each time. `time.sleep` in a plain
function takes virtual time instead of real time. Every call is noted in `Repeats`.
"""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from msgspec import Raw

from podium.agents.context import Context
from podium.agents.errors import UnknownFunctionError, describe_error
from podium.agents.sdk import AgentDefinition, Kind, TaskFunction
from podium.clock import Clock, seconds_to_us
from podium.fleet import messages as msg
from podium.testing.repeats import Call, How, Repeats

Tell = Callable[[str], None]
End = Raw | msg.ErrorInfo


class Performer:
    """The code behind the agent types of one simulated run."""

    def __init__(self, definitions: Mapping[str, AgentDefinition], clock: Clock, repeats: Repeats, tell: Tell) -> None:
        self.definitions = definitions
        self._clock = clock
        self._repeats = repeats
        self._tell = tell

    def stage(self, agent_type: str) -> Stage:
        """Return where one agent's life is played: it has an instance of its own."""
        return Stage(self.definitions[agent_type], self)

    async def perform(
        self, function: TaskFunction, run: Callable[..., Any], given: msg.Assignment, outlet: Outlet
    ) -> End:
        """Call the code and return its result, or its error."""
        arguments = bytes(given.arguments)
        call = Call(given.task, function.shown, given.idempotency_key, arguments, given.attempt)
        self._repeats.began(call)
        try:
            named = function.call.arguments(given.arguments, given.lenient)
            if function.call.context is not None:
                named[function.call.context] = self._context(given, outlet)
            if function.kind is Kind.ASYNC:
                value = await run(**named)
            else:
                slept: list[float] = []
                with _virtual_sleep(slept):
                    value = run(**named)
                await asyncio.sleep(sum(slept))
            result = function.call.result(value)
        except asyncio.CancelledError:
            self._repeats.ended(call, How.INTERRUPTED)
            raise
        except (GeneratorExit, KeyboardInterrupt):
            raise
        except BaseException as error:  # noqa: BLE001 - whatever a task raises is its failure
            described = describe_error(error, 1)
            self._repeats.ended(call, How.RAISED, f"{described.type}: {described.message}")
            return described
        self._repeats.ended(call, How.RETURNED, bytes(result).decode(errors="replace"))
        return result

    def _context(self, given: msg.Assignment, outlet: Outlet) -> Context:
        timeout = given.timeout_seconds
        return Context(
            outlet, self._clock, attempt_id=given.attempt, attempt=given.number, execution=given.execution,
            task=given.task, function=given.function, idempotency_key=given.idempotency_key,
            deadline_us=None if timeout is None else self._clock.now_us() + seconds_to_us(timeout),
            checkpoint=given.checkpoint if bytes(given.checkpoint) != b"null" else None,
            env=dict(given.env),
        )  # fmt: skip


class Stage:
    """One incarnation of an agent: its instance, made when the first task needs it."""

    def __init__(self, definition: AgentDefinition, performer: Performer) -> None:
        self._definition = definition
        self._performer = performer
        self._instance: Any = None

    async def perform(self, given: msg.Assignment, say: Callable[[msg.FromAgent], None]) -> End:
        """Do a task and return its result, or its error."""
        function = self._definition.function(given.function)
        if function is None:
            names = ", ".join(self._definition.functions)
            return describe_error(UnknownFunctionError(f"there is no function {given.function!r}; it has {names}"))
        outlet = Outlet(given, say, self._performer._tell)
        return await self._performer.perform(function, await self._bound(function), given, outlet)

    async def _bound(self, function: TaskFunction) -> Callable[..., Any]:
        factory = self._definition.factory
        if factory is None or not function.is_method:
            return function.function
        if self._instance is None:
            self._instance = factory()
            start = getattr(self._instance, "start", None)
            begun = start() if callable(start) else None
            if inspect.isawaitable(begun):
                await begun
        bound: Callable[..., Any] = function.function.__get__(self._instance)
        return bound


class Outlet:
    """Where a simulated task's context says things."""

    def __init__(self, given: msg.Assignment, say: Callable[[msg.FromAgent], None], tell: Tell) -> None:
        self._given = given
        self._say = say
        self._tell = tell
        self._saved = self._published = 0

    def progress(self, fraction: float, message: str) -> None:
        """Say how far the attempt is."""
        self._say(msg.Progress(self._given.agent, self._given.attempt, fraction, message))

    def save(self, checkpoint: Raw) -> None:
        """Keep a checkpoint for the next attempt."""
        self._saved += 1
        self._say(msg.Saved(self._given.agent, self._given.attempt, self._saved, checkpoint))

    def publish(self, value: Raw) -> None:
        """Show a value as the execution's status."""
        self._published += 1
        self._say(msg.Published(self._given.agent, self._given.attempt, self._published, value))

    def log(self, level: str, text: str) -> None:
        """Put a line of the attempt's log into the transcript."""
        self._tell(f"{self._given.task} logs {level}: {text}")


@contextmanager
def _virtual_sleep(slept: list[float]) -> Iterator[None]:
    """Let `time.sleep` take no real time, and note how long it would have taken."""
    real = time.sleep
    time.sleep = lambda seconds: slept.append(float(seconds))
    try:
        yield
    finally:
        time.sleep = real
