"""What an engine has under way, for who looks whether anything was forgotten, and the nudges that make that good.

Everything here is asked and done between two steps of the loop; nothing is decided.
"""

from __future__ import annotations

from collections.abc import Callable

from podium.engine import inputs as inp
from podium.engine.admission import MOST_KNOWN, Admission
from podium.engine.arrivals import Arrival, Batch
from podium.engine.intake import Intake
from podium.engine.loading import Loader
from podium.engine.residency import Residency
from podium.engine.shards import OwnedShards
from podium.engine.staffing import Staffing
from podium.engine.state import State
from podium.store.protocol import InboxRow


class Inside:
    """One engine's work between arrival and commit."""

    def __init__(
        self,
        shards: OwnedShards,
        residency: Residency,
        intake: Intake,
        loader: Loader,
        staffing: Staffing,
        admission: Admission,
        *,
        batches: Callable[[], tuple[Batch | None, ...]],
        runs: Callable[[], bool],
        in_doubt: Callable[[], bool],
    ) -> None:
        """`batches` are those that aren't committed; `runs` says whether anything is decided at all, `in_doubt` whether
        the store has yet to say what became of an append.
        """
        self.residency = residency
        self.staffing = staffing
        self.admission = admission
        self._shards = shards
        self._intake = intake
        self._loader = loader
        self._batches = batches
        self._runs = runs
        self._in_doubt = in_doubt

    # --- what is under way -------------------------------------------------------------------------------------

    @property
    def runs(self) -> bool:
        """Whether anything is decided."""
        return self._runs()

    @property
    def in_doubt(self) -> bool:
        """Whether everything waits for the store to say what became of an append."""
        return self._in_doubt()

    @property
    def shards(self) -> list[int]:
        """The shards of executions that are ours."""
        return list(self._shards.ours)

    def owns(self, execution: str) -> bool:
        """Whether an execution is ours to decide."""
        return self._shards.owns(execution)

    def state(self, execution: str) -> State | None:
        """Return an execution that is in memory."""
        return self.residency.states.get(execution)

    @property
    def under_way(self) -> set[str]:
        """The executions about which something has arrived, is decided or loaded, and isn't committed."""
        found = {execution for execution, _ in self._intake.known}
        found.update(self.residency.loading)
        for batch in self._batches():
            if batch is not None:
                found.update(batch.touched)
        return found

    def has_taken(self, row: InboxRow) -> bool:
        """Whether an inbox row is read: it will be gone with what follows from it, or is held until that begins."""
        if (row.execution, row.input_id) in self._intake.known or self._loader.holding.has(row):
            return True
        return any(row.id in batch.drained for batch in self._batches() if batch is not None)

    @property
    def behind(self) -> bool:
        """Whether more has arrived than is taken in now."""
        return self._loader.behind

    @property
    def waiting_rows(self) -> set[int] | None:
        """The inbox rows of the starts that are known to wait for room, or have just begun.

        None while so many are known that further ones are left in the store.
        """
        if self.admission.more and self.admission.waiting > MOST_KNOWN // 2:
            return None
        return self._loader.waiting_room.known

    @property
    def takes_over(self) -> bool:
        """Whether executions of shards that have come are being loaded."""
        return self._loader.takes_over

    def fence(self, shard: int) -> int | None:
        """Return by which fence a shard is ours; None if it isn't."""
        return self._shards.fences.get(shard)

    @property
    def committed(self) -> dict[int, tuple[int, int]]:
        """Our shards' fences, and how far we have written them."""
        return {shard: (fence, self._shards.committed[shard]) for shard, fence in self._shards.fences.items()}

    # --- nudges ------------------------------------------------------------------------------------------------

    def wake(self) -> None:
        """Have the engine look whether there is something to do."""
        self._intake.wake.set()

    def bring_in(self, execution: str) -> None:
        """Load an execution into memory, one that was set aside too: its history may be readable again."""
        self.residency.quarantined.pop(execution, None)
        self._loader.load_for(execution, [])

    def put_out(self, execution: str) -> None:
        """Put an execution out of memory, with its leases."""
        self.residency.drop(execution)
        self.staffing.disown(execution)

    def look_at(self, execution: str) -> None:
        """Have a state in memory looked at: its timers, and what its rules have to say."""
        state = self.state(execution)
        if state is not None:
            self._intake.put_once(Arrival(execution, f"tick:{state.sequence + 1}", inp.Tick()))

    def read_rooms(self) -> None:
        """See who waits for room."""
        self._loader.waiting_room.news()

    def read_anew(self, inbox_id: int) -> None:
        """Read an inbox row once more."""
        self._loader.read_anew(inbox_id)
