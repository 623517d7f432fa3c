"""The orchestrator behind a `TaskScheduler` or a `TaskExecutor`: one that was lent, or one of its own in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, Self

from podium.api.orchestrator import Orchestrator


class WithOrchestrator:
    """Starts its own orchestrator when it is first needed; one that was lent is its lender's to start and to end."""

    def __init__(
        self,
        orchestrator: Orchestrator | None = None,
        *,
        agents: Iterable[str | type | Callable[..., Any]] = (),
    ) -> None:
        """`agents` are those of its own orchestrator; one that is lent has its own. Raises AgentBindingError."""
        self._lent = orchestrator is not None
        self._orchestrator = orchestrator if orchestrator is not None else Orchestrator(agents=agents)
        self._starting = asyncio.Lock()
        self._started = False

    @property
    def orchestrator(self) -> Orchestrator:
        """The orchestrator behind it."""
        return self._orchestrator

    async def start(self) -> None:
        """Start the orchestrator, if it is its own. It is done at the first call too; once more changes nothing."""
        async with self._starting:
            if not self._lent and not self._started:
                await self._orchestrator.start()
            self._started = True

    async def close(self) -> None:
        """Let go of what is in hand, and shut its own orchestrator down. Safe twice."""
        async with self._starting:
            if not self._lent and self._started:
                await self._orchestrator.shutdown()
            self._started = False

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
