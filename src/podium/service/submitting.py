"""How a single task is taken: the one way of the door on the bus, of the API, and of whatever follows.

It checks, bounds and hands over; the submission is on disk when it returns.
"""

from __future__ import annotations

import asyncio

from msgspec import Struct

from podium.app import Podium
from podium.exceptions import QueueFullError
from podium.fleet import wire
from podium.ids import SHARDS
from podium.service.submissions import submission_of
from podium.workflow.model import TaskStatus

RETRY_AFTER_SECONDS = 1.0
COUNT_SECONDS = 1.0


class SubmissionLimits(Struct, frozen=True):
    """What may be asked for."""

    max_queued_tasks: int = 10_000
    max_task_seconds: float = 3_600.0


class Submitting:
    """Takes single tasks for one application."""

    def __init__(self, podium: Podium, limits: SubmissionLimits = SubmissionLimits()) -> None:
        self._podium = podium
        self._limits = limits
        self._under_way = 0
        self._counted = 0  # tasks that wait, as far as a replica can tell that doesn't place them
        self._counted_at = float("-inf")

    async def submit(self, said: wire.TaskSubmissionMessage) -> str:
        """Take a task and return its id: the client's own, or the execution's.

        Raises QueueFullError, InvalidInputError that names the field, ConflictError when its id stands for something
        else.
        """
        waiting, most = max(self._waiting(), self._under_way), self._limits.max_queued_tasks
        if waiting >= most:
            raise QueueFullError(
                f"{waiting:,} tasks wait already (max_queued_tasks); try again later", RETRY_AFTER_SECONDS
            )
        submission = submission_of(said, self._podium.settings.tenant, self._limits.max_task_seconds)
        self._under_way += 1
        try:
            execution = await self._podium.submit(
                submission.workflow,
                submission.given,
                submission_id=submission.submission_id,
                priority=submission.priority,
                preferred_agent=submission.preferred_agent,
                submission=submission.submission_id or "",
                notify=submission.notify,
            )
        finally:
            self._under_way -= 1
        return submission.submission_id or execution

    def _waiting(self) -> int:
        """Return how many tasks wait for an agent. The replica that places knows; another one reckons by its share of
        the executions, and looks only now and then.
        """
        engine = self._podium.engine
        if engine is None or engine.leads:
            return self._podium.queued
        now = asyncio.get_running_loop().time()
        if now - self._counted_at >= COUNT_SECONDS:
            ready = sum(state.counts[TaskStatus.READY] for state in engine.residency.states.values())
            ours = sum(shard < SHARDS for shard in engine.owned)
            self._counted, self._counted_at = ready * SHARDS // max(ours, 1), now
        return self._counted
