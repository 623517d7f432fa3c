"""Replay: decide again from the recorded inputs, and find the first decision that today's code would take differently.

The history is left as it is. What is compared is the events, as they would be written today; snapshots aren't used.
"""

from __future__ import annotations

from msgspec import Struct

from podium.engine import events as ev
from podium.engine import inputs as inp
from podium.engine.codec import decode_row, events_in_full
from podium.engine.definition import Definition
from podium.engine.evolve import evolve
from podium.engine.growing import texts_wanted
from podium.engine.recovery import Definitions
from podium.engine.scope import blobs_read
from podium.engine.snapshot import encode_state
from podium.engine.state import State
from podium.engine.step import step
from podium.exceptions import ExecutionNotFoundError, ReplayMismatchError
from podium.store.protocol import LogRow, Store

_PAGE = 1_000


class Mismatch(Struct, frozen=True):
    """The first row that would be decided differently: where, what was recorded, what would be decided (JSON)."""

    sequence: int
    input_id: str
    kind: str
    recorded: str
    decided: str


class Replay(Struct, frozen=True):
    """How the replay of one execution went."""

    execution: str
    rows: int
    events: int
    mismatch: Mismatch | None = None

    def check(self) -> None:
        """Raise ReplayMismatchError if something would be decided differently."""
        if self.mismatch is not None:
            found = self.mismatch
            raise ReplayMismatchError(
                f"{self.execution} at sequence {found.sequence}, input {found.input_id}: "
                f"recorded {found.recorded}, decided now {found.decided}"
            )


async def replay_execution(store: Store, definitions: Definitions, execution: str) -> Replay:
    """Replay one execution from its first row. Raises ExecutionNotFoundError, CorruptHistoryError."""
    row = await store.execution(execution)
    if row is None:
        raise ExecutionNotFoundError(f"there is no execution {execution}")
    replayer = Replayer(execution, row.tenant, await definitions.get(row.tenant, row.definition))
    after = 0
    while rows := await store.history(execution, after, _PAGE):
        for entry in rows:
            payload = await store.get(entry.tenant, entry.payload_blob) if entry.payload_blob else None
            given, recorded = decode_row(entry, payload)
            for digest in replayer.wants(given):
                replayer.know(digest, await store.get(entry.tenant, digest))
            if not replayer.take(entry, given, recorded):
                return replayer.replay
            after = entry.sequence
    replayer.compare_states()
    return replayer.replay


class Replayer:
    """Takes one execution's rows in order: one state is decided anew, another folded from what was recorded."""

    def __init__(self, execution: str, tenant: str, definition: Definition) -> None:
        self._decided = State(execution, tenant, definition)
        self._folded = State(execution, tenant, definition)
        self._rows = self._events = 0
        self._mismatch: Mismatch | None = None

    @property
    def replay(self) -> Replay:
        """How it went so far."""
        return Replay(self._decided.id, self._rows, self._events, self._mismatch)

    def wants(self, given: inp.Input) -> list[str]:
        """Return the blobs that conditions may read once this input is taken."""
        match given:
            case inp.Succeeded(value=value, growth=inp.Growth()):
                own = [] if value.blob is None else [value.blob]
                return [*own, *texts_wanted(self._decided, given)]
            case _:
                return blobs_read(self._decided.definition, given)

    def know(self, digest: str, text: bytes) -> None:
        """Keep a large value that conditions read."""
        self._decided.loaded[digest] = text

    def take(self, row: LogRow, given: inp.Input, recorded: list[ev.Event]) -> bool:
        """Decide the next row again; False when it comes out differently."""
        decided = step(self._decided, given, row.now_us).events
        self._rows += 1
        self._events += len(recorded)
        written, today = events_in_full(recorded), events_in_full(decided)
        if written != today:
            self._mismatch = Mismatch(row.sequence, row.input_id, row.kind, written.decode(), today.decode())
            return False
        for event in recorded:
            evolve(self._folded, event, row.now_us)
        return True

    def compare_states(self) -> None:
        """See that the fold of what was recorded is the state that was decided."""
        folded, decided = encode_state(self._folded), encode_state(self._decided)
        if folded != decided:
            self._mismatch = Mismatch(self._decided.sequence, "", "fold", "another state", "the decided state")
