"""How many executions may be at work at once, and which start comes next when there is room. Pure.

At work is an execution that its owner must hold in memory: with tasks that are ready or running. What waits for timers
or people isn't, and single tasks never count. A start beyond the limit isn't refused: it waits in the store, the most
urgent first, then the oldest. Each replica admits its share, by the shards that it owns.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from heapq import heapify, heappop, heappush

from msgspec import Struct

from podium.engine.state import State
from podium.ids import SHARDS, shard_of
from podium.workflow.model import Workflow

SINGLE_TASK = "submitted"  # in a workflow's metadata: it is a task that was submitted
MOST_KNOWN = (
    10_000  # starts that wait and are kept in memory; further ones are in the store alone, until it is their turn
)
_FEW = 64
_ROOMS = 128  # a start that waits lies in the inbox under its shard's number and this one: nobody takes it from there


def waiting_room(shard: int) -> int:
    """Return where in the inbox the starts of a shard's executions wait."""
    return _ROOMS + shard


def counts(workflow: Workflow) -> bool:
    """Whether a workflow's executions count."""
    return not workflow.metadata.get(SINGLE_TASK)


class Waiting(Struct, frozen=True):
    """A start that waits: where it lies, and its turn."""

    execution: str
    priority: int
    posted_us: int
    row_id: int
    limited: str = ""  # the counter that is known to have kept it back

    @property
    def turn(self) -> tuple[int, int, int]:
        """The smaller, the sooner."""
        return (-self.priority, self.posted_us, self.row_id)


class Admission:
    """The executions of one owner that are at work, and the starts that wait for room."""

    def __init__(self, limit: int) -> None:
        """`limit` is the whole cluster's; 0: none."""
        self._limit = limit
        self._share = limit
        self._at_work: set[str] = set()
        self._waiting: dict[str, Waiting] = {}
        self._turns: list[tuple[tuple[int, int, int], str]] = []
        self._put_off: dict[str, Waiting] = {}  # whose workflow's own limit is reached
        self.more = False  # whether the store may have starts that wait, beside those that are known

    @property
    def most(self) -> int:
        """How many may be at work here; 0: any number."""
        return self._share

    @property
    def at_work(self) -> int:
        """How many are, those that have just been admitted among them."""
        return len(self._at_work)

    @property
    def admitted(self) -> frozenset[str]:
        """Those that are."""
        return frozenset(self._at_work)

    @property
    def waiting(self) -> int:
        """How many starts are known to wait."""
        return len(self._waiting) + len(self._put_off)

    @property
    def somebody_may_begin(self) -> bool:
        """Whether one waits, and there is room."""
        return bool(self._waiting) and bool(self.room)

    @property
    def put_offs(self) -> int:
        """How many of those have been put off."""
        return len(self._put_off)

    @property
    def room(self) -> int:
        """How many more may begin now."""
        return max(self._share - len(self._at_work), 0) if self._limit else MOST_KNOWN

    @property
    def full(self) -> bool:
        """Whether a start that comes now has to wait: there is no room, or others wait for it."""
        return bool(self._limit) and (not self.room or bool(self._waiting) or self.more)

    @property
    def known(self) -> list[int]:
        """The inbox rows of the starts that are known to wait."""
        return [each.row_id for each in (*self._waiting.values(), *self._put_off.values())]

    def own(self, shards: Collection[int]) -> None:
        """These shards are ours now: each has its part of the limit, so that all replicas together have all of it.

        Whoever has a shard has one place at least, since its starts can begin nowhere else.
        """
        places = sum(self._limit * (shard + 1) // SHARDS - self._limit * shard // SHARDS for shard in shards)
        self._share = max(places, min(self._limit, 1)) if shards else 0

    def disown(self, shards: Collection[int]) -> None:
        """These shards are others' now: what is at work or waits there is theirs, too."""
        self._at_work = {execution for execution in self._at_work if shard_of(execution) not in shards}
        for starts in (self._waiting, self._put_off):
            for execution in [each for each in starts if shard_of(each) in shards]:
                del starts[execution]

    # --- who is at work ----------------------------------------------------------------------------------------

    def take(self, execution: str) -> None:
        """An execution begins."""
        if self._limit:
            self._at_work.add(execution)

    def note(self, state: State) -> None:
        """A state was committed: it is at work, or not any more."""
        if not self._limit:
            return
        if state.active and counts(state.definition.workflow):
            self._at_work.add(state.id)
        else:
            self._at_work.discard(state.id)

    def gone(self, execution: str) -> None:
        """It didn't begin after all, or isn't in memory any more."""
        self._at_work.discard(execution)

    # --- who waits ---------------------------------------------------------------------------------------------

    def wait(self, start: Waiting) -> None:
        """A start waits from now on; beyond `MOST_KNOWN` it is left in the store."""
        if start.execution in self._waiting or start.execution in self._put_off:
            return
        if self.waiting >= MOST_KNOWN:
            self.more = True
            return
        self._waiting[start.execution] = start
        heappush(self._turns, (start.turn, start.execution))
        if len(self._turns) > 2 * len(self._waiting) + _FEW:  # those that were called out of their turn are in it still
            self._turns = [(each.turn, each.execution) for each in self._waiting.values()]
            heapify(self._turns)

    def put_off(self, start: Waiting) -> None:
        """It can't begin now for another reason: its workflow's own limit. Others go first."""
        self._at_work.discard(start.execution)
        self._put_off[start.execution] = start

    def call_again(self) -> None:
        """Those that were put off have their turn again."""
        again, self._put_off = self._put_off, {}
        for start in again.values():
            self.wait(start)

    def next(self) -> Waiting | None:
        """Return the start that begins now, if one waits and there is room; it counts from now on."""
        if not self.room:
            return None
        while self._turns:
            _, execution = heappop(self._turns)
            start = self._waiting.pop(execution, None)
            if start is not None:
                self._at_work.add(execution)
                return start
        return None

    def summon(self, execution: str) -> Waiting | None:
        """Return a start that waits, so that it begins out of its turn; None if it isn't known to wait."""
        start = self._waiting.pop(execution, None) or self._put_off.pop(execution, None)
        if start is not None:
            self._at_work.add(execution)
        return start

    def is_put_off(self, execution: str) -> bool:
        """Whether its workflow's own limit keeps it back."""
        return execution in self._put_off

    def ahead_of(self, execution: str) -> int | None:
        """Return how many known starts have their turn before this one; None if it isn't known to wait."""
        start = self._waiting.get(execution) or self._put_off.get(execution)
        return _before(start, self._waiting.values()) if start is not None else None


def _before(start: Waiting, others: Iterable[Waiting]) -> int:
    return sum(other.turn < start.turn for other in others)
