"""An independent model of limits by key: what of each key has begun and is at work, told by committed rows alone, in
the order and at the times of their commits. It knows nothing of placement.

Also random limits for random workflows, with keys that the model can read by itself.
"""

from __future__ import annotations

import random
import re
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from msgspec.structs import replace

from podium.engine import events as ev
from podium.engine.codec import decode_facts
from podium.store.protocol import LogRow
from podium.workflow.model import AgentGroup, ConcurrencyLimit, RateLimit, Task, Workflow

SLACK = 0.998  # of a rate's time: clocks of replicas are slewed by half a millisecond a second
_ENDS = (ev.ExecutionCompleted, ev.ExecutionFailed, ev.ExecutionCancelled)
_PLACE = re.compile(r"\$\{(execution\.id|index)\}")
_KEYS = ("", "", "shared", "of ${execution.id}")


def with_limits(workflow: Workflow, chance: random.Random) -> Workflow:
    """Return a workflow some of whose tasks and roles have limits by key."""
    agents = {
        name: replace(role, rate_limit=_rate(chance, ""), concurrency=_concurrency(chance, ""))
        if chance.random() < 0.2
        else role
        for name, role in workflow.agents.items()
    }
    return replace(workflow, tasks=tuple(_limited(task, chance) for task in workflow.tasks), agents=agents)


def _limited(task: Task, chance: random.Random) -> Task:
    keys = (*_KEYS, "part ${index}") if task.for_each is not None else _KEYS
    if chance.random() < 0.4:
        task = replace(task, rate_limit=_rate(chance, chance.choice(keys)))
    if chance.random() < 0.4:
        task = replace(task, concurrency=_concurrency(chance, chance.choice(keys)))
    return task


def _rate(chance: random.Random, key: str) -> RateLimit:
    return RateLimit(chance.randint(1, 4), chance.choice((0.5, 2.0, 10.0)), key)


def _concurrency(chance: random.Random, key: str) -> ConcurrencyLimit:
    return ConcurrencyLimit(chance.randint(1, 3), key)


class LimitModel:
    """Follows the commits of one world, all of one workflow."""

    def __init__(self, workflow: Workflow, now_us: Callable[[], int], over: Callable[[str, str], bool]) -> None:
        """`now_us` is the world's true time; `over` says of an agent and an attempt whether the agent has ended it."""
        self._workflow = workflow
        self._tasks = {task.id: task for task in workflow.tasks}
        self._now_us = now_us
        self._over = over
        self._begun: dict[tuple[str, int, float], deque[int]] = {}
        self._live: dict[str, dict[str, str]] = {}  # by key: attempts, with their agents
        self._keys: dict[str, str] = {}  # of live attempts
        self._new: dict[str, list[tuple[int, str]]] = {}  # by key: limits and attempts of what begins with this commit
        self.broken: list[str] = []
        self.counted = 0  # attempts that a limit counts

    @property
    def limits(self) -> bool:
        """Whether there is anything to follow."""
        limited: list[Task | AgentGroup] = [*self._workflow.tasks, *self._workflow.agents.values()]
        return any(each.rate_limit is not None or each.concurrency is not None for each in limited)

    def committed(self, rows: Iterable[LogRow]) -> None:
        """Take what was committed just now."""
        if not self.limits:
            return
        for row in rows:
            for event in decode_facts(row):
                self._follow(row.execution, event)
        for key, begun in self._new.items():
            self._count_busy(key, sorted(begun))
        self._new.clear()

    def _follow(self, execution: str, event: ev.Event) -> None:
        match event:
            case ev.AttemptGranted(path, number, agent) if agent:
                self._granted(execution, path, number, agent)
            case ev.TaskCompleted(path, number) | ev.AttemptFailed(path, number) | ev.AttemptReturned(path, number):
                self._ended(f"{execution}:1:{path}:{number}")
            case _ if isinstance(event, _ENDS):
                for attempt in [each for each in self._keys if each.startswith(f"{execution}:")]:
                    self._ended(attempt)
            case _:
                pass

    def _ended(self, attempt: str) -> None:
        key = self._keys.pop(attempt, None)
        if key is not None:
            self._live[key].pop(attempt, None)

    def _granted(self, execution: str, path: str, number: int, agent: str) -> None:
        task = self._tasks.get(path.partition("[")[0])
        if task is None:
            return  # it was added by a result; its limits, if it has some, aren't followed
        rate: Any = self._limit_of(task, "rate_limit")
        concurrency: Any = self._limit_of(task, "concurrency")
        self.counted += rate is not None or concurrency is not None
        if rate is not None:
            self._count_begin(self._key(rate.key, task, "rate_limit", execution, path), rate)
        if concurrency is not None:
            key = self._key(concurrency.key, task, "concurrency", execution, path)
            attempt = f"{execution}:1:{path}:{number}"
            self._live.setdefault(key, {})[attempt] = agent
            self._keys[attempt] = key
            self._new.setdefault(key, []).append((concurrency.limit, attempt))

    def _count_busy(self, key: str, begun: list[tuple[int, str]]) -> None:
        """Hold what begins together against its limits, the narrowest first: rows don't say who was granted first."""
        busy = [each for each, holder in self._live[key].items() if not self._over(holder, each)]
        before = len(busy) - sum(attempt in busy for _, attempt in begun)
        for at, (limit, attempt) in enumerate((one for one in begun if one[1] in busy), start=1):
            if before + at > limit:
                self.broken.append(
                    f"I6: {before + at} of {limit} are at work for {key}: {attempt} of {', '.join(busy)}"
                )

    def _count_begin(self, key: str, rate: RateLimit) -> None:
        now_us = self._now_us()
        times = self._begun.setdefault((key, rate.limit, rate.per_seconds), deque(maxlen=rate.limit))
        if len(times) == rate.limit and now_us - times[0] < rate.per_seconds * SLACK * 1e6:
            seconds = (now_us - times[0]) / 1e6
            self.broken.append(f"I6: {rate.limit + 1} of {key} began in {seconds:g} s, {rate.limit} may in {rate}")
        times.append(now_us)

    def _limit_of(self, task: Task, name: str) -> Any:
        role = self._workflow.agents.get(task.agent)
        return getattr(task, name) or (getattr(role, name) if role is not None else None)

    def _key(self, written: str, task: Task, name: str, execution: str, path: str) -> str:
        if not written:
            return task.id if getattr(task, name) is not None else f"role {task.agent}"
        index = path.partition("[")[2].rstrip("]")
        return _PLACE.sub(lambda found: execution if found[1] == "execution.id" else index, written)

    def exceeded(self, faults: dict[str, int], excuses: Iterable[str]) -> list[str]:
        """Return what was exceeded, as far as none of these faults has struck, which no count can know of."""
        return [] if any(faults.get(kind) for kind in excuses) else self.broken[:3]
