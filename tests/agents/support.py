"""What the tests of agents share: a receiver that collects, timers that move when told to, and a host in one line."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import msgspec
from msgspec import Raw

from podium.agents.host import AgentHost, HostLimits
from podium.agents.sdk import AgentDefinition, definition_of, function_agent
from podium.clock import VirtualClock, seconds_to_us
from podium.fleet.messages import (
    Assignment,
    Confirmation,
    Failed,
    FromAgent,
    LogLine,
    Succeeded,
    ToAgent,
)

Message = TypeVar("Message")
AWAIT_SECONDS = 20.0


def round_trip(message: Any, union: Any) -> None:
    """Assert that a message is the same after a carrier that encodes it."""
    encoded = msgspec.json.encode(message)
    again = msgspec.json.decode(encoded, type=union)
    assert type(again) is type(message)
    assert msgspec.json.encode(again) == encoded


class Mailbox:
    """A receiver that keeps what it is told; every message must survive encoding."""

    def __init__(self, confirm: bool = True) -> None:
        self.messages: list[FromAgent] = []
        self.refused: list[FromAgent] = []
        self.full = False
        self.confirm = confirm
        self.host: AgentHost | None = None
        self._lock = threading.Lock()
        self._arrived: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    def receive(self, message: FromAgent) -> bool:
        round_trip(message, FromAgent)
        if self.full:
            self.refused.append(message)
            return False
        with self._lock:
            self.messages.append(message)
            for loop, event in self._arrived:
                loop.call_soon_threadsafe(event.set)
        if self.confirm and self.host is not None and isinstance(message, (Succeeded, Failed)):
            asyncio.get_running_loop().call_soon(self.host.deliver, Confirmation(message.attempt, True))
        return True

    def of(self, kind: type[Message], attempt: str | None = None) -> list[Message]:
        return [
            message
            for message in self.messages
            if isinstance(message, kind) and (attempt is None or getattr(message, "attempt", None) == attempt)
        ]

    async def first(self, kind: type[Message], attempt: str | None = None, count: int = 1) -> Message:
        """Wait for so many messages of a kind and return the last of them."""
        await self.until(lambda: len(self.of(kind, attempt)) >= count)
        return self.of(kind, attempt)[count - 1]

    async def until(self, holds: Callable[[], object]) -> None:
        event = asyncio.Event()
        entry = (asyncio.get_running_loop(), event)
        self._arrived.append(entry)
        try:
            async with asyncio.timeout(AWAIT_SECONDS):
                while not holds():
                    event.clear()
                    await event.wait()
        finally:
            self._arrived.remove(entry)


class Lines:
    """A log sink that keeps all."""

    def __init__(self) -> None:
        self.lines: list[LogLine] = []

    def write(self, line: LogLine) -> None:
        self.lines.append(line)

    @property
    def texts(self) -> list[str]:
        return [f"{line.level}: {line.text}" for line in self.lines]


class ManualTimer:
    def __init__(self, at: float, callback: Callable[..., object], args: tuple[Any, ...]) -> None:
        self.at = at
        self.callback = callback
        self.args = args
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class ManualTimers:
    """Timers and a clock that move together, when a test says so."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.now = 0.0
        self._timers: list[ManualTimer] = []

    def call_later(self, delay: float, callback: Callable[..., object], *args: Any) -> ManualTimer:
        timer = ManualTimer(self.now + delay, callback, args)
        self._timers.append(timer)
        return timer

    @property
    def waiting(self) -> int:
        return sum(not timer.cancelled for timer in self._timers)

    def advance(self, seconds: float) -> None:
        end = self.now + seconds
        while due := [timer for timer in self._timers if not timer.cancelled and timer.at <= end]:
            timer = min(due, key=lambda one: one.at)
            self._move(timer.at)
            self._timers.remove(timer)
            timer.callback(*timer.args)
        self._move(end)

    def _move(self, to: float) -> None:
        self.clock.advance(max(0, seconds_to_us(to - self.now)))
        self.now = max(self.now, to)


def assignment(attempt: str = "a1", function: str = "work", arguments: object = None, **fields: Any) -> Assignment:
    encoded = Raw(msgspec.json.encode({} if arguments is None else arguments))
    made = Assignment(
        attempt, "agent-1", "execution-1", "default", "task-1", function, encoded, f"key-of-{attempt}", **fields
    )
    round_trip(made, ToAgent)
    return made


class Rig:
    """A started host with its mailbox, log lines and timers."""

    def __init__(self, host: AgentHost, mailbox: Mailbox, lines: Lines, timers: ManualTimers) -> None:
        self.host = host
        self.mailbox = mailbox
        self.lines = lines
        self.timers = timers

    def give(self, attempt: str = "a1", function: str = "work", arguments: object = None, **fields: Any) -> None:
        self.host.deliver(assignment(attempt, function, arguments, **fields))

    async def result(self, attempt: str = "a1") -> Any:
        await self.mailbox.until(
            lambda: self.mailbox.of(Succeeded, attempt) or self.mailbox.of(Failed, attempt),
        )
        failed = self.mailbox.of(Failed, attempt)
        assert not failed, failed
        return msgspec.json.decode(self.mailbox.of(Succeeded, attempt)[0].value)

    async def failure(self, attempt: str = "a1") -> Failed:
        return await self.mailbox.first(Failed, attempt)

    async def settle(self) -> None:
        """Let the loop do all that is ready."""
        for _ in range(20):
            await asyncio.sleep(0)


@asynccontextmanager
async def hosting(
    agent: Any, *, confirm: bool = True, limits: HostLimits | None = None, slots: int = 32, **fields: Any
) -> AsyncIterator[Rig]:
    """Start a host of a decorated class, a decorated function or a definition, and see it to its end."""
    mailbox, lines, timers = Mailbox(confirm), Lines(), ManualTimers()
    definition = agent if isinstance(agent, AgentDefinition) else definition_of(agent)
    if definition is None:
        definition = function_agent("functions", agent if isinstance(agent, list) else [agent], slots)
    given = {"timers": timers, "clock": timers.clock, "limits": limits or HostLimits(), **fields}
    host = AgentHost(definition, "agent-1", "first", mailbox, logs=lines, **given)
    mailbox.host = host
    await host.start()
    rig = Rig(host, mailbox, lines, timers)
    try:
        yield rig
    finally:
        stopping = asyncio.create_task(host.stop())
        while not stopping.done():
            timers.advance(1.0)
            await asyncio.sleep(0)
        await stopping
