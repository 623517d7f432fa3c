"""What the tests of the runtime share: an engine on virtual time, a store that fails on demand, agents
played by hand.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, TypeVar

import msgspec
from msgspec import Raw

from podium.engine.recovery import inline
from podium.engine.runtime import Engine, EngineSettings
from podium.exceptions import StoreUnavailableError
from podium.fleet import messages as msg
from podium.ids import IdSource
from podium.store.memory import MemoryStore
from podium.store.protocol import Append
from podium.testing.oracle import Examination, unreturned
from podium.testing.virtual import run_virtually, virtual_loop
from podium.workflow.model import AgentGroup, ExecutionStatus, Task, Workflow

T = TypeVar("T")


def virtual(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run a coroutine test on virtual time."""

    @wraps(test)
    def run(*arguments: Any, **named: Any) -> None:
        run_virtually(test(*arguments, **named))

    return run


def workflow(*tasks: Task, **options: Any) -> Workflow:
    kinds = {task.agent for task in tasks}
    return Workflow(name=options.pop("name", "w"), tasks=tasks, agents={k: AgentGroup(k, k) for k in kinds}, **options)


ONE = workflow(Task(id="a", agent="hand"))
TWO = workflow(Task(id="a", agent="hand"), Task(id="b", agent="hand", dependencies=("a",)))


class UnreliableStore(MemoryStore):
    """Fails appends as told: `down` before the commit, `lying` after it; `gate` holds them back."""

    def __init__(self, data: Any = None) -> None:
        super().__init__(data)
        self.down = False
        self.lying = 0
        self.appends = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.tickets: asyncio.Semaphore | None = None  # an append takes one, where there are any

    def reopen(self) -> UnreliableStore:
        return UnreliableStore(self._data)

    async def append(self, batch: Append) -> None:
        await asyncio.sleep(0)
        await self.gate.wait()
        if self.tickets is not None:
            await self.tickets.acquire()
        if self.down:
            raise StoreUnavailableError("the disk is full")
        await super().append(batch)
        self.appends += 1
        if self.lying:
            self.lying -= 1
            raise StoreUnavailableError("the answer was lost")


class Hand:
    """An agent played by the test, or by itself once `auto` is set; also the engine's carrier."""

    def __init__(self, auto: bool = False, slots: int = 10, agent: str = "hand-1") -> None:
        self.engine: Engine | None = None
        self.auto = auto
        self.agent = agent
        self.slots = slots
        self.incarnation = 1
        self.told: list[msg.ToAgent] = []

    def send(self, agent: str, message: msg.ToAgent) -> None:
        self.told.append(message)
        if self.auto and isinstance(message, msg.Assignment):
            asyncio.get_running_loop().call_soon(self.succeed, message.attempt)

    def register(self) -> None:
        self.say(msg.Registration(self.agent, "hand", f"i{self.incarnation}", slots=self.slots))

    def say(self, message: msg.FromAgent) -> bool:
        assert self.engine is not None
        return self.engine.receive(message)

    def succeed(self, attempt: str, value: Any = 1) -> None:
        self.say(msg.Succeeded(self.agent, attempt, Raw(msgspec.json.encode(value))))

    def fail(self, attempt: str, text: str = "no", **how: Any) -> None:
        self.say(msg.Failed(self.agent, attempt, msg.ErrorInfo("Error", text), **how))

    def of(self, kind: type[T]) -> list[T]:
        return [message for message in self.told if isinstance(message, kind)]

    async def assigned(self, count: int = 1) -> msg.Assignment:
        """Wait for so many assignments and return the last of them."""
        await until(lambda: len(self.of(msg.Assignment)) >= count)
        return self.of(msg.Assignment)[count - 1]


async def until(holds: Callable[[], object], seconds: float = 3_600) -> None:
    """Wait, in virtual time, until something holds."""
    async with asyncio.timeout(seconds):
        while not holds():  # noqa: ASYNC110 - any condition; the time is virtual
            await asyncio.sleep(0.01)


async def start(
    store: MemoryStore | None = None, hand: Hand | None = None, register: bool = True, **settings: Any
) -> tuple[Engine, Hand, UnreliableStore]:
    """Start an engine with an agent of type `hand`."""
    loop = virtual_loop()
    hand = hand or Hand()
    store = store or UnreliableStore()
    engine = Engine(
        store, hand, clock=loop.clock, ids=IdSource(loop.clock, loop.chance), offload=inline,
        settings=EngineSettings(**settings),
    )  # fmt: skip
    hand.engine = engine
    await engine.start()
    if register:
        hand.register()
    assert isinstance(store, UnreliableStore)
    return engine, hand, store


async def crash(engine: Engine) -> None:
    """End an engine as a kill of its process would: no last word."""
    assert engine._main is not None
    engine._main.cancel()
    await asyncio.wait({engine._main})


async def status(store: MemoryStore, execution: str) -> ExecutionStatus:
    row = await store.execution(execution)
    assert row is not None
    return ExecutionStatus(row.status)


async def sound(store: MemoryStore, engine: Engine | None = None, at_rest: bool = True) -> None:
    """Assert what the oracle says."""
    found = await Examination(store.reopen(), at_rest=at_rest).examine()
    assert found == []
    if engine is not None and at_rest:
        assert unreturned(engine) == []
