"""What must hold of all that replicas commit, in the order in which they do: each shard is written by one owner an
epoch, and what is live at once fits into the agents' slots and the pool.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from podium.engine import events as ev
from podium.engine.codec import decode_facts
from podium.engine.definition import Definition
from podium.scheduling.resources import Vector, vector_of
from podium.store.protocol import Append, LogRow

_ENDS = (ev.ExecutionCompleted, ev.ExecutionFailed, ev.ExecutionCancelled)


class Epochs:
    """Follows the commits of one world."""

    # After an append that comes when nobody awaits it any more an agent may be given too much: it refuses that.
    UNSURE = ("statement_late",)

    def __init__(self, definition: Definition, pool: Vector, over: Callable[[str, str], bool]) -> None:
        """`over` says of an agent and an attempt whether the agent has ended it, whatever is recorded."""
        self._over = over
        self.slots: dict[str, int] = {}
        self.over: list[str] = []  # agents that were given more than they can take
        self.over_pool: list[str] = []
        self._needs = {task.id: vector_of(task.resources) for task in definition.workflow.tasks}
        self._pool = pool
        self._owners: dict[int, tuple[int, str]] = {}
        self._live: dict[tuple[str, str, int], tuple[str, str]] = {}
        self._attempts: dict[tuple[str, str, int], str] = {}

    def committed(self, who: str, batch: Append) -> list[str]:
        """Take a committed append; return what is broken by it."""
        broken = []
        for shard, fence in batch.fences.items():
            known, owner = self._owners.get(shard, (0, ""))
            if fence < known or (fence == known and owner != who):
                broken.append(f"I2: {who} wrote to shard {shard} by fence {fence}, {owner} had done so by {known}")
            self._owners[shard] = (fence, who)
        for row in batch.rows:
            for event in decode_facts(row):
                self._follow(row, event)
        self._count(who)
        return broken

    def _follow(self, row: LogRow, event: ev.Event) -> None:
        match event:
            case ev.GraphGrown(tasks=tasks):
                self._needs.update((task.id, vector_of(task.resources)) for task in tasks)
            case ev.AttemptGranted(task, number, agent, incarnation):
                self._live[row.execution, task, number] = agent, incarnation
                self._attempts[row.execution, task, number] = f"{row.execution}:1:{task}:{number}"
            case ev.TaskCompleted(task, number) | ev.AttemptFailed(task, number) | ev.AttemptReturned(task, number):
                self._live.pop((row.execution, task, number), None)
            case _ if isinstance(event, _ENDS):
                for key in [key for key in self._live if key[0] == row.execution]:
                    del self._live[key]
            case _:
                pass

    def _count(self, who: str) -> None:
        busy = {key: holder for key, holder in self._live.items() if not self._over(holder[0], self._attempts[key])}
        for (agent, incarnation), live in Counter(busy.values()).items():
            if live > self.slots.get(agent, live):
                which = " ".join(
                    f"{e[-4:]}:{t}:{n}" for (e, t, n), held in busy.items() if held == (agent, incarnation)
                )
                self.over.append(f"I6: {agent} ({incarnation}) has {which} at once, by a commit of {who}")
        for name, most in self._pool.items():
            used = sum(self._needs[task.partition("[")[0]].get(name, 0.0) for _, task, _ in busy)
            if used > most:
                self.over_pool.append(f"I6: {used:g} {name} of the pool's {most:g} are used, by a commit of {who}")

    def exceeded(self, faults: dict[str, int]) -> list[str]:
        """Return what was exceeded, as far as none of the faults that struck is an excuse.

        That agents go is none: what they had is held until it is ended.
        """
        if any(faults.get(kind) for kind in self.UNSURE):
            return []
        return self.over[:3] + self.over_pool[:3]
