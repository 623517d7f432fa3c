"""What the conformance suite of transports is written with: the carrier it asks for, ways to connect and to wait."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import wraps
from itertools import count
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from podium.bus.transport import Delivery, Happening, Stream, Subscription, Transport
from podium.exceptions import BackpressureError

P = ParamSpec("P")
S = TypeVar("S")

PATIENCE_SECONDS = 20.0
_numbers = count(1)


class CarrierUnderTest(Protocol):
    """How the suite gets its transports, and does to their carrier what happens to carriers."""

    def transport(self, heard: Callable[[Happening, str], None] | None = None) -> Transport:
        """Return a transport that isn't started. It gives up what the carrier doesn't answer within about a second,
        and comes back within a few after an outage.
        """
        ...

    async def take_down(self) -> None:
        """Make the carrier unreachable; what it has kept stays."""
        ...

    async def bring_up(self) -> None:
        """Make it reachable again."""
        ...

    async def forget(self) -> None:
        """Make it lose all streams and places, and be reachable."""
        ...

    async def lose(self, stream: str) -> None:
        """Make it lose one stream while it is connected."""
        ...


def asynchronous(
    test: Callable[Concatenate[S, P], Coroutine[Any, Any, None]],
) -> Callable[Concatenate[S, P], None]:
    """Run an async test in a loop of its own."""

    @wraps(test)
    def run(self: S, /, *args: P.args, **kwargs: P.kwargs) -> None:
        asyncio.run(test(self, *args, **kwargs))

    return run


def new_name(word: str = "T") -> str:
    """Return a name that no test has had: for a stream, a group, a place, or to begin subjects with."""
    return f"{word}{next(_numbers)}"


def new_stream(**settings: Any) -> Stream:
    """Return a stream with a new name, which keeps `name.>`."""
    name = new_name("STREAM")
    return Stream(name, (f"{name}.>",), **settings)


@asynccontextmanager
async def connected(carrier: CarrierUnderTest, number: int = 2) -> AsyncIterator[tuple[Transport, ...]]:
    """Give started transports; stop them at the end."""
    async with AsyncExitStack() as stack:
        transports = []
        for _ in range(number):
            transport = carrier.transport()
            await transport.start()
            stack.push_async_callback(transport.stop, 0.0)
            transports.append(transport)
        yield tuple(transports)


async def take(subscription: Subscription, number: int, limit: int = 256) -> list[Delivery]:
    """Return so many deliveries, and fail if they don't come."""
    found: list[Delivery] = []
    async with asyncio.timeout(PATIENCE_SECONDS):
        while len(found) < number:
            found += await subscription.next(min(limit, number - len(found)))
    return found


async def take_acknowledged(subscription: Subscription, number: int) -> list[Delivery]:
    """Return so many deliveries, each acknowledged when it comes."""
    found: list[Delivery] = []
    while len(found) < number:
        (delivery,) = await take(subscription, 1)
        delivery.ack()
        found.append(delivery)
    return found


async def nothing_within(subscription: Subscription, seconds: float) -> bool:
    """Tell whether nothing comes for so long: for what only time can show."""
    try:
        async with asyncio.timeout(seconds):
            await subscription.next()
    except TimeoutError:
        return True
    return False


async def eventually(condition: Callable[[], bool | Awaitable[bool]]) -> None:
    """Wait until a condition holds, and fail if it doesn't come to hold."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            held = condition()
            if held if isinstance(held, bool) else await held:
                return
            await asyncio.sleep(0.01)


async def accepted(attempt: Callable[[], Awaitable[object]], most: int) -> int:
    """Do it until BackpressureError says that it is too much; return how often it was taken before, or fail."""
    for number in range(most):
        try:
            await attempt()
        except BackpressureError:
            return number
    raise AssertionError(f"nothing pushed back after {most} times")


def data_of(deliveries: Sequence[Delivery]) -> list[bytes]:
    """Return what deliveries say."""
    return [delivery.data for delivery in deliveries]


class Told:
    """Notes what a transport tells."""

    def __init__(self) -> None:
        self.happenings: list[Happening] = []
        self.details: list[str] = []

    def __call__(self, happening: Happening, details: str) -> None:
        """Note it."""
        self.happenings.append(happening)
        self.details.append(details)

    async def of(self, happening: Happening) -> None:
        """Wait until it is told."""
        await eventually(lambda: happening in self.happenings)
