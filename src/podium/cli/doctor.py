"""`podium doctor` and `podium version`: what is installed here, how the database stands, and what survives what."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from podium.cli.manners import Manners

if TYPE_CHECKING:
    from podium.cli.durability import Durability
    from podium.settings import Settings
    from podium.store.postgres.server import Server


def version(manners: Manners) -> int:
    """Say which Podium this is."""
    from podium.cli.printing import installed_version, print_json, say

    if manners.json:
        print_json({"podium": installed_version(), "python": platform.python_version()})
    else:
        say(f"podium {installed_version()}")
    return 0


def doctor(manners: Manners) -> int:
    """Say how Podium stands here: Python, SQLite, the database and who runs it, and what survives what."""
    import sqlite3

    from podium.cli.durability import as_document, report_lines
    from podium.cli.printing import cut, installed_version, print_json, say, width

    settings = manners.settings()
    report = _durability(settings)
    facts: dict[str, Any] = {
        "podium": installed_version(),
        "python": f"{platform.python_version()} ({sys.executable})",
        "sqlite": sqlite3.sqlite_version,
        "processors": os.cpu_count(),
        "database": settings.shown_database,
        **({} if settings.on_postgres else {"synchronous": settings.synchronous}),
        **_state(manners, settings),
    }
    if manners.json:
        print_json({**facts, "durability": as_document(report)})
    else:
        for name, fact in facts.items():
            say(cut(f"{name:14}  {fact}", width()))
        say()
        say("\n".join(report_lines(report, width())))
    return 0


def _durability(settings: Settings) -> Durability:
    """Return what store and bus promise; a bus that was named is somebody's; else the orchestrator here is asked."""
    import msgspec

    from podium.bus.transport import Promises
    from podium.cli.carrier import promises_of
    from podium.cli.durability import durability
    from podium.cli.reaching import ask_orchestrator
    from podium.cli.sessions import finish
    from podium.exceptions import StoreError
    from podium.settings import bus_url

    url, server = bus_url(settings), _server(settings)
    try:
        answer = None if url else finish(ask_orchestrator(settings, {"op": "promises"}))
    except StoreError:  # `state` says why
        answer = None
    if answer is not None and "promises" in answer:
        return durability(settings, msgspec.convert(answer["promises"], Promises), server=server)
    promises, error = finish(promises_of(settings, url))
    return durability(settings, promises, foreign=not url.startswith("memory:"), bus_error=error, server=server)


def _server(settings: Settings) -> Server | None:
    """Return what the PostgreSQL server says of itself; None where there is none, or it can't be asked."""
    from podium.cli.sessions import finish
    from podium.exceptions import StoreError

    if not settings.on_postgres:
        return None
    from podium.store.postgres.server import server_at

    try:
        return finish(server_at(settings.database))
    except StoreError:
        return None


def _state(manners: Manners, settings: Settings) -> dict[str, Any]:
    from podium.cli.sessions import database_exists, finish, looking
    from podium.exceptions import PodiumError
    from podium.workflow.model import FINAL_EXECUTION, ExecutionStatus

    if not database_exists(settings):
        folder = Path(settings.database).absolute().parent
        near = next(parent for parent in (folder, *folder.parents) if parent.exists())
        writable = os.access(near, os.W_OK)
        return {"state": "not made yet" if writable else f"not made yet, and {near} can't be written"}

    size = _size(settings)

    async def look() -> dict[str, Any]:
        async with looking(manners) as podium:
            unfinished = [str(status) for status in ExecutionStatus if status not in FINAL_EXECUTION]
            rows = await podium.store.executions(settings.tenant, unfinished, limit=1_000)
            owner = await podium.who_runs()
            return {"state": f"readable{size}", "owner": owner or "nobody", "unfinished": len(rows)}

    try:
        return finish(look())
    except PodiumError as error:
        return {"state": str(error)}


def _size(settings: Settings) -> str:
    """Return the database's size in words, as far as it is known."""
    if not settings.on_postgres:
        return f", {Path(settings.database).stat().st_size / 1e6:.1f} MB"
    server = _server(settings)
    return f", {server.bytes / 1e6:.1f} MB" if server is not None else ""
