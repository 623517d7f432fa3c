"""A schedule as it is kept: what it starts and when, how far its times are decided, and what has become of them.

Each firing has a submission id that follows from the schedule's id and the firing's time, and the execution's id
follows from that: so a firing that is repeated is recognised by the store. Pure; `firing` moves a schedule on.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from hashlib import sha256

import msgspec
from msgspec import Struct

from podium.exceptions import CorruptHistoryError
from podium.ids import execution_id_for
from podium.workflow.schedules.recurrence import Recurrence
from podium.workflow.schedules.spec import ScheduleSpec, micros, recurrence_of

SCHEDULES = "schedules"  # the model in which they are kept
MOST_READ = 1_000_000
RECORDS_KEPT = 10
FOLLOWED = 100  # executions of one schedule that are asked about; of more, the newest
MOST_TRIGGERS = 100  # that wait to be taken
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Beginning(Struct, frozen=True, omit_defaults=True):
    """What each firing starts: a stored workflow, with its input."""

    workflow: str
    version: str
    definition: str  # SHA-256 of the stored workflow
    input: str = "null"  # JSON, unless it is kept as a blob
    input_blob: str | None = None
    input_size: int = 0
    bindings: dict[str, str] = {}  # agent type -> what loads its code
    priority: int | None = None
    timeout_seconds: float | None = None


class Firing(Struct, frozen=True, omit_defaults=True):
    """One firing: its time in microseconds; one that a person asked for has a token of its own."""

    time_us: int
    token: str = ""


class Following(Struct, frozen=True, omit_defaults=True):
    """An execution that a firing began, as far as is known without an end."""

    execution: str
    cancelled_by: str = ""  # the input's id by which it is to be cancelled


class Record(Struct, frozen=True, omit_defaults=True):
    """What became of a firing, and when that was decided. Without an `execution` it was left out: `why`."""

    time_us: int
    decided_us: int
    execution: str = ""
    why: str = ""


class Backfill(Struct, frozen=True):
    """Times that are made up for, those after `after_us` up to `until_us`."""

    after_us: int
    until_us: int


class Schedule(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One schedule. Every time up to `decided_us` has been decided, once and for all.

    `begun` are firings that have been decided and whose start may not be in an inbox yet.
    """

    id: str
    tenant: str
    name: str
    spec: ScheduleSpec
    beginning: Beginning
    created_us: int
    decided_us: int
    paused: bool = False
    reason: str = ""
    begun: tuple[Firing, ...] = ()
    following: tuple[Following, ...] = ()
    buffered: Firing | None = None
    triggers: tuple[Firing, ...] = ()
    backfills: tuple[Backfill, ...] = ()
    fired: int = 0
    skipped: int = 0
    missed: int = 0
    records: tuple[Record, ...] = ()

    @property
    def recurrence(self) -> Recurrence:
        """The times at which it fires, but for its end conditions."""
        return recurrence_of(self.spec, self.created_us)

    def submission_of(self, firing: Firing) -> str:
        """Return the submission id of a firing."""
        return f"schedule:{self.id}:{firing.token or written(firing.time_us)}"

    def execution_of(self, firing: Firing) -> str:
        """Return the id of the execution that a firing begins."""
        return execution_id_for(self.tenant, self.submission_of(firing))

    def due_us(self, time_us: int) -> int:
        """Return when a firing is due: its time, and its part of the jitter."""
        jitter_us = self.spec.jitter_us
        if not jitter_us:
            return time_us
        digest = sha256(f"{self.id}/{time_us}".encode()).digest()
        return time_us + int.from_bytes(digest[:8]) % (jitter_us + 1)

    @property
    def left(self) -> int | None:
        """How many executions it may begin yet, None without a bound: what was left out doesn't count."""
        most = self.spec.max_firings
        return None if most is None else max(0, most - (self.fired - self.skipped))

    def next_time_us(self, after_us: int | None = None) -> int | None:
        """Return the first time that isn't decided yet, or after another one; None when nothing more will come."""
        spec, after = self.spec, self.decided_us if after_us is None else after_us
        if self.left == 0:
            return None
        if spec.starts_at is not None:
            after = max(after, micros(spec.starts_at) - 1)
        found = self.recurrence.after(after)
        if found is None or (spec.ends_at is not None and found > micros(spec.ends_at)):
            return None
        return found

    @property
    def busy(self) -> bool:
        """Whether something is to be done for it whatever the time is."""
        return bool(self.begun or self.buffered or self.triggers or self.backfills or self.cancelling)

    @property
    def cancelling(self) -> list[Following]:
        """Its executions that are to be cancelled."""
        return [one for one in self.following if one.cancelled_by]

    @property
    def over(self) -> bool:
        """Whether nothing more will come by itself."""
        return not self.busy and self.next_time_us() is None

    def wake_us(self) -> int | None:
        """Return when there is something to decide next; 0: now and again, until what it waits for has come."""
        if self.busy:
            return 0
        found = None if self.paused else self.next_time_us()
        return None if found is None else self.due_us(found)


def written(time_us: int) -> str:
    """Return a time as ISO 8601 in UTC, to the second where it is one."""
    at = _EPOCH + timedelta(microseconds=time_us)
    return at.isoformat(timespec="auto").replace("+00:00", "Z")


def decode_schedule(key: str, encoded: bytes) -> Schedule:
    """Return the schedule that an entry of the model holds. Raises CorruptHistoryError."""
    try:
        return _decoder.decode(encoded)
    except (msgspec.DecodeError, ValueError) as error:
        raise CorruptHistoryError(f"the schedule {key} can't be read: {error}") from error


_decoder = msgspec.json.Decoder(Schedule)
