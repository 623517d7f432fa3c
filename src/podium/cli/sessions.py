"""Opening the store for a command: to run executions, to move one without running any, or only to look.

Also what every command that names an execution does first: find it by its whole id, a unique beginning, or `last`.
"""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from podium.cli.manners import Manners
from podium.cli.printing import complain, wrapped
from podium.exceptions import ExecutionNotFoundError, InvalidInputError, SettingsError, StoreUnavailableError

if TYPE_CHECKING:
    from podium.app import Podium
    from podium.settings import Settings
    from podium.store.postgres import PostgresStore
    from podium.store.protocol import Cluster, ExecutionRow

LAST = ("last", "-")
NOTHING_YET = "no executions yet; `podium run FILE` starts one"

T = TypeVar("T")


def finish(work: Coroutine[Any, Any, T]) -> T:
    """Run a command's work to its end."""
    return asyncio.run(work)


@asynccontextmanager
async def running(
    manners: Manners, settings: Settings, agents: Sequence[str] = (), own: bool = True
) -> AsyncIterator[Podium]:
    """Open the store to run executions: as its owner, if that is wanted now and there is none."""
    configure_log(manners.debug)
    podium = await _opened(settings, agents=agents, own=own)
    collect_less_often()
    try:
        yield podium
    finally:
        await podium.close()


def collect_less_often() -> None:
    """Let the garbage collector look less often: with 50,000 tasks in memory it took a third of the time.

    This process is Podium's own; an application that uses the Python API keeps its settings.
    """
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


@asynccontextmanager
async def looking(manners: Manners) -> AsyncIterator[Podium]:
    """Open the store to look, or to give an execution a command: no task is begun, whoever the owner is."""
    configure_log(manners.debug)
    settings = manners.settings()
    refuse_missing(settings)
    podium = await _opened(settings, own=False, works=False)
    try:
        yield podium
    finally:
        await podium.close(0)


@asynccontextmanager
async def submitting(manners: Manners, settings: Settings) -> AsyncIterator[Podium]:
    """Open the store to give work to the orchestrator that runs, never to become it."""
    configure_log(manners.debug)
    refuse_missing(settings)
    podium = await _opened(settings, own=False, works=False, elsewhere=True, may_own=False)
    try:
        yield podium
    finally:
        await podium.close(0)


@asynccontextmanager
async def scheduling(manners: Manners, agents: Sequence[str] = (), *, makes: bool = False) -> AsyncIterator[Podium]:
    """Open the store to look after schedules, which nobody needs to run anything for; one that `makes` them makes the
    database too, where there is none.
    """
    configure_log(manners.debug)
    settings = manners.settings()
    if not makes or settings.in_memory:
        refuse_missing(settings)
    podium = await _opened(settings, agents=agents, own=False, works=False, elsewhere=True, may_own=False)
    try:
        yield podium
    finally:
        await podium.close(0)


@asynccontextmanager
async def sharing(settings: Settings, debug: bool = False) -> AsyncIterator[PostgresStore]:
    """Open a store on PostgreSQL alone, to look at the replicas that share it."""
    from podium.store.postgres import PostgresStore

    configure_log(debug)
    store = await PostgresStore.open(settings.database)
    try:
        yield store
    finally:
        await store.close()


async def cluster_of(settings: Settings, debug: bool = False) -> Cluster:
    """Return the replicas and shards of a store on PostgreSQL."""
    async with sharing(settings, debug) as store:
        cluster: Cluster = await store.cluster()
        return cluster


async def _opened(settings: Settings, **options: Any) -> Podium:
    """Open the store. One that can't be opened is bad input: nothing was begun. Raises SettingsError then."""
    from podium.app import Podium

    try:
        return await Podium.open(settings, **options)
    except StoreUnavailableError as error:
        raise SettingsError(f"the database can't be used: {error}") from error


def database_exists(settings: Settings) -> bool:
    """Whether there is a database to look into, as far as can be said without opening it."""
    return settings.on_postgres or (not settings.in_memory and Path(settings.database).exists())


def refuse_missing(settings: Settings) -> None:
    """Raise ExecutionNotFoundError if there is no database to look into; looking makes none."""
    if settings.in_memory:
        raise InvalidInputError("a database in memory is gone with its process; give --database PATH")
    if not database_exists(settings):
        raise ExecutionNotFoundError(f"there is no database {settings.database}; {NOTHING_YET}")


async def found(podium: Podium, given: str) -> ExecutionRow:
    """Return the execution that a person means. Raises ExecutionNotFoundError."""
    if given in LAST:
        newest = await podium.store.executions(podium.settings.tenant, limit=1)
        if not newest:
            raise ExecutionNotFoundError(NOTHING_YET)
        return newest[0]
    if not given.strip():
        raise ExecutionNotFoundError("an execution's id is missing; `podium ps` lists them")
    return await podium.find(given.strip().lower())


def configure_log(debug: bool) -> None:
    """Have Podium's warnings on standard error, a line each; with `debug` all that it logs."""
    logging.root.setLevel(logging.DEBUG if debug else logging.INFO)  # what tasks log, attempts' logs keep
    own = logging.getLogger("podium")
    own.setLevel(logging.DEBUG if debug else logging.WARNING)
    own.propagate = False
    own.handlers = [_StandardError()]


class _StandardError(logging.Handler):
    """Puts log lines on standard error as it is when they are said, so that a live table isn't torn."""

    def emit(self, record: logging.LogRecord) -> None:
        """Say the record in a line."""
        complain(wrapped(f"{record.levelname.lower()}: {record.getMessage().removeprefix('event=')}"))
