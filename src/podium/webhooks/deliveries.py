"""What is to be told to whom, what became of it, and when it is tried again. Pure.

A delivery follows from a row of the log, and so does its id: whoever reads the row again makes the same one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from hashlib import sha256
from typing import Literal
from uuid import UUID, uuid5
from zlib import crc32

from msgspec import Struct

from podium.clock import SECOND
from podium.engine import events as ev
from podium.settings import Webhook
from podium.store.protocol import ExecutionRow, LogRow

OUTBOX = "webhooks"  # the read model of what is to be told; its reader's name too
TRIES = "webhooks.tries"  # the one of what became of it; its cursor counts the writes
FIRST_DELAY_SECONDS = 5.0
LONGEST_DELAY_SECONDS = 3_600.0
MOST_ERROR_LETTERS = 300
_DELIVERIES = UUID("6b1f0f5e-52a5-5c0c-9d2b-776562686f6f")
_ENDS: dict[type[ev.Event], Literal["completed", "failed", "cancelled"]] = {
    ev.ExecutionCompleted: "completed",
    ev.ExecutionFailed: "failed",
    ev.ExecutionCancelled: "cancelled",
}


class Delivery(Struct, frozen=True, omit_defaults=True):
    """One end of one execution, to be told to one webhook."""

    id: str
    webhook: str  # its id, see `webhook_id`
    event: str  # completed, failed or cancelled
    execution: str
    tenant: str
    workflow: str
    version: str
    sequence: int  # of the row that ended it
    started_us: int
    ended_us: int
    partial: bool = False

    @property
    def key(self) -> str:
        """What it is kept by: the oldest comes first."""
        return f"{self.ended_us:017d}/{self.id}"


class Tried(Struct, frozen=True, omit_defaults=True):
    """What became of a delivery so far."""

    state: Literal["pending", "delivered", "given up"] = "pending"
    attempts: int = 0
    first_us: int = 0  # when it was tried first, or somebody asked for it anew
    next_us: int = 0  # when it is tried again
    last_us: int = 0
    status: int = 0  # HTTP's, 0 where there was no answer
    error: str = ""

    @property
    def over(self) -> bool:
        """Whether nothing more is tried."""
        return self.state != "pending"


def webhook_id(url: str) -> str:
    """Return what a webhook is known by where its URL, which may hold a secret, isn't kept."""
    return sha256(url.encode()).hexdigest()[:12]


def deliveries(
    row: LogRow, events: Sequence[ev.Event], execution: ExecutionRow, webhooks: Sequence[Webhook]
) -> list[Delivery]:
    """Return what a row of the log has to be told to whom."""
    found = []
    for event in events:
        name = _ENDS.get(type(event))
        if name is None:
            continue
        for webhook in webhooks:
            if name not in webhook.events or (webhook.workflows and execution.workflow not in webhook.workflows):
                continue
            to = webhook_id(webhook.url)
            found.append(
                Delivery(
                    id=str(uuid5(_DELIVERIES, f"{row.execution}:{row.sequence}:{to}")),
                    webhook=to,
                    event=name,
                    execution=row.execution,
                    tenant=row.tenant,
                    workflow=execution.workflow,
                    version=execution.version,
                    sequence=row.sequence,
                    started_us=execution.created_us,
                    ended_us=row.now_us,
                    partial=isinstance(event, ev.ExecutionCompleted) and event.partial,
                )
            )
    return found


def ends_something(events: Sequence[ev.Event]) -> bool:
    """Whether an execution's end is among these events."""
    return any(type(event) in _ENDS for event in events)


def delivered(tried: Tried, now_us: int, status: int) -> Tried:
    """Return what has become of a delivery that was taken."""
    return Tried("delivered", tried.attempts + 1, tried.first_us or now_us, 0, now_us, status)


def failed(
    delivery: Delivery, tried: Tried, now_us: int, error: str, *,
    status: int = 0, retry_after_seconds: float | None = None, final: bool = False, give_up_seconds: float,
) -> Tried:  # fmt: skip
    """Return what has become of a delivery that wasn't taken: it is tried again, or given up."""
    first_us, attempts = tried.first_us or now_us, tried.attempts + 1
    next_us = now_us + round(delay_seconds(delivery.id, attempts, retry_after_seconds) * SECOND)
    over = final or next_us > first_us + give_up_seconds * SECOND
    return Tried(
        "given up" if over else "pending",
        attempts,
        first_us,
        0 if over else next_us,
        now_us,
        status,
        printable(error),
    )


def delay_seconds(delivery: str, attempts: int, retry_after_seconds: float | None = None) -> float:
    """Return how long to wait after so many attempts: doubled each time, up to an hour.

    The jitter takes up to half of it away. It is derived from the delivery, so that many of them don't come together.
    """
    longest = min(LONGEST_DELAY_SECONDS, FIRST_DELAY_SECONDS * 2.0 ** min(attempts - 1, 30))
    jittered = longest * (1.0 - crc32(f"{delivery}:{attempts}".encode()) / 2**33)
    return max(jittered, min(retry_after_seconds or 0.0, LONGEST_DELAY_SECONDS))


def printable(text: str) -> str:
    """Return what somebody else's server or library said, as a line that can be shown."""
    return re.sub(r"[^\x20-\x7e\xa0-\U0010ffff]+", " ", text)[:MOST_ERROR_LETTERS].strip()
