"""The durability report: what the store and the bus really promise here, and what survives what.

Pure: `podium doctor` and the first lines of `podium up` ask the carrier for its promises and show what this makes of
them. It never says more than was promised to it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from msgspec import Struct

if TYPE_CHECKING:
    from podium.bus.transport import Promises
    from podium.settings import Settings
    from podium.store.postgres.server import Server

FOREIGN_NOTE = (
    "this server isn't Podium's own: that an agent speaks only for itself is up to the permissions that its operator "
    "gives, Podium can't enforce it there; and whose connection ends it tells its system account alone, so that what a "
    "killed agent had waits for the end of its lease, unless our user may hear $SYS.ACCOUNT.*.DISCONNECT"
)


class Kept(Struct, frozen=True):
    """What one of the two keeps. Texts are sentences without a full stop."""

    what: str  # "SQLite at .podium/podium.db, synchronous FULL"
    process_kill: str
    machine_loss: str
    amnesia: str
    replicas: int = 1
    sync_seconds: float | None = 0.0  # 0 is before each acknowledgement, None is unknown or never
    notes: tuple[str, ...] = ()


class Durability(Struct, frozen=True):
    """The whole report."""

    store: Kept
    bus: Kept | None = None  # None: there is none besides this process
    bus_error: str = ""  # why nothing is known of it


def durability(
    settings: Settings,
    promises: Promises | None = None,
    *,
    foreign: bool = False,
    bus_error: str = "",
    server: Server | None = None,
) -> Durability:
    """Return the report for these settings and what the bus's carrier promises.

    `foreign`: the carrier isn't Podium's own, so its permissions aren't either. `server` is what a PostgreSQL server
    says of itself, where the database is on one and that is known.
    """
    bus = None if promises is None else _bus(promises, foreign)
    store = _postgres(settings, server) if settings.on_postgres else _store(settings)
    return Durability(store, bus, bus_error)


def sentences(report: Durability) -> Iterator[tuple[str, str]]:
    """Yield heading and sentence, in the order to read them: what there is, then what survives what."""
    parts = {"store": report.store} | ({"bus": report.bus} if report.bus else {})
    yield "store", report.store.what
    yield "bus", report.bus.what if report.bus else report.bus_error or "none: everything is within one process"
    for heading, field in (
        ("process kill", "process_kill"), ("machine loss", "machine_loss"), ("broker forgets", "amnesia"),
    ):  # fmt: skip
        for name, kept in parts.items():
            said = getattr(kept, field)
            if said:
                yield heading, f"{name}: {said}"
    for kept in parts.values():
        for note in kept.notes:
            yield "note", note


def report_lines(report: Durability, width: int = 80) -> list[str]:
    """Return the report in lines for a terminal; words stay whole."""
    import textwrap

    lines: list[str] = []
    before = ""
    for heading, said in sentences(report):
        shown = heading if heading != before else ""
        before = heading
        lines += textwrap.wrap(
            said, width, initial_indent=f"{shown:14}  ", subsequent_indent=" " * 16,
            break_long_words=False, break_on_hyphens=False,
        )  # fmt: skip
    return lines


def as_document(report: Durability) -> dict[str, Any]:
    """Return the report for `--json`."""
    import msgspec

    found: dict[str, Any] = msgspec.to_builtins(report)
    return found


def _store(settings: Settings) -> Kept:
    if settings.in_memory:
        return Kept(
            "memory, nothing is on disk",
            process_kill="everything is lost, executions with their results; set `database` to a file to keep them",
            machine_loss="everything is lost",
            amnesia="what the bus forgets is said again from the memory of this process, as long as it lives",
            sync_seconds=None,
        )
    full = settings.synchronous == "FULL"
    return Kept(
        f"SQLite at {settings.database}, synchronous {settings.synchronous}",
        process_kill="nothing that was acknowledged is lost: it is in the database before the acknowledgement, and the "
        "next owner goes on from there",
        machine_loss=(
            "a power cut loses nothing that was acknowledged: each commit is synced to the disk first"
            if full
            else "a power cut may lose the last commits, acknowledged ones too, and leaves the database whole; "
            "synchronous FULL would lose none"
        )
        + "; a lost disk loses everything, there is one copy",
        amnesia="it holds all that is needed: what the bus forgets is assigned, confirmed and told again from it",
        sync_seconds=0.0 if full else None,
    )


def _postgres(settings: Settings, server: Server | None) -> Kept:
    kill = (
        "nothing that was acknowledged is lost: it is committed before the acknowledgement, and the other replicas go "
        "on from there within seconds; a kill of the server's processes loses nothing either"
    )
    amnesia = "it holds all that is needed: what the bus forgets is assigned, confirmed and told again from it"
    if server is None:
        return Kept(
            f"PostgreSQL at {settings.shown_database}",
            process_kill=kill,
            machine_loss="not known: the server could not be asked",
            amnesia=amnesia,
            sync_seconds=None,
        )
    if not server.syncs:
        loss = (
            "a power cut of the server loses the last commits, acknowledged ones too"
            + (", and may leave the database damaged: fsync is off" if not server.fsync else "")
            + "; synchronous_commit and fsync on would lose none"
        )
    else:
        loss = "a power cut of the server loses nothing that was acknowledged: each commit is synced to the disk first"
    copies = (
        f"each commit is on a standby's disk, too ({server.standbys})"
        if server.awaits_standbys
        else "a lost disk loses what its standbys or backups don't have: no commit waits for a standby"
    )
    return Kept(
        f"PostgreSQL {server.number} at {settings.shown_database}, synchronous_commit {server.synchronous_commit}"
        + ("" if server.fsync else ", fsync off"),
        process_kill=kill,
        machine_loss=f"{loss}; {copies}",
        amnesia=amnesia,
        replicas=2 if server.awaits_standbys else 1,
        sync_seconds=0.0 if server.syncs else None,
    )


def _bus(promises: Promises, foreign: bool) -> Kept:
    said = any("permission" in note for note in promises.notes)
    synced = {None: "when it syncs is unknown", 0.0: "synced before each acknowledgement"}.get(
        promises.sync_seconds, f"synced every {promises.sync_seconds or 0:g} s"
    )
    copies = "1 replica" if promises.replicas == 1 else f"{promises.replicas} replicas"
    return Kept(
        f"{promises.carrier}; {copies}, {synced}",
        process_kill=promises.process_kill,
        machine_loss=promises.machine_loss,
        amnesia=promises.amnesia,
        replicas=promises.replicas,
        sync_seconds=promises.sync_seconds,
        notes=promises.notes + ((FOREIGN_NOTE,) if foreign and not said else ()),
    )
