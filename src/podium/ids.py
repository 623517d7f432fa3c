"""Identifiers from an injected source of chance, so that a simulation makes the same ones each time.

`IdSource` makes UUIDv7 (time-ordered, RFC 9562) and short tokens; `execution_id_for` gives the fixed id of a named
submission. Pure code never makes an identifier: it derives them from the start input's seed and the sequence.
"""

from __future__ import annotations

import random
import uuid
from functools import lru_cache
from zlib import crc32

from podium.clock import Clock, SystemClock

SHARDS = 64
PLACEMENT_SHARD = SHARDS  # who owns it decides which ready task goes to which agent
_NAMESPACE = uuid.UUID("6b1f0f5e-52a5-5c0c-9d2b-706f6469756d")


class IdSource:
    """Makes identifiers and seeds from one clock and one source of chance."""

    def __init__(self, clock: Clock | None = None, chance: random.Random | None = None) -> None:
        self._clock = clock or SystemClock()
        self._chance = chance or random.SystemRandom()

    def uuid7(self) -> str:
        """Return a new UUIDv7: 48 bits of milliseconds, then chance."""
        now_ms = self._clock.now_us() // 1_000
        value = (now_ms & (1 << 48) - 1) << 80 | self._chance.getrandbits(80)
        value = value & ~(0xF << 76) | 0x7 << 76
        value = value & ~(0x3 << 62) | 0x2 << 62
        return str(uuid.UUID(int=value))

    def seed(self) -> int:
        """Return 53 bits of chance (fits a JSON number)."""
        return self._chance.getrandbits(53)

    def token(self) -> str:
        """Return eight letters and digits: an incarnation, a lock's owner."""
        return f"{self._chance.getrandbits(40):08x}"[-8:]


def execution_id_for(tenant: str, submission_id: str) -> str:
    """Return the execution's id for a submission that names itself: UUIDv5 of tenant and name."""
    return str(uuid.uuid5(_namespace_of(tenant), submission_id))


@lru_cache(maxsize=1_024)
def _namespace_of(tenant: str) -> uuid.UUID:
    return uuid.uuid5(_NAMESPACE, f"tenant/{tenant}")


def workflow_id_for(name: str) -> str:
    """Return the workflow's id for a name: UUIDv5, so that all its versions share it."""
    return str(uuid.uuid5(_NAMESPACE, f"workflow/{name}"))


def shard_of(execution_id: str) -> int:
    """Return the shard (0 to 63) that an execution belongs to, fixed for ever."""
    return crc32(execution_id.encode()) % SHARDS
