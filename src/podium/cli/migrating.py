"""`podium migrate`: makes the tables of a database on PostgreSQL, or brings them to another version's form."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from podium.cli.manners import Manners

if TYPE_CHECKING:
    from podium.settings import Settings

NOTHING_TO_DO = "a database file is brought up to date when it is opened: there is nothing to do"
BASE = "base"  # before the first revision: no tables


def migrate(
    manners: Manners,
    to: Annotated[
        str | None, typer.Option("--to", metavar="REVISION", help="Another form than this version's newest.")
    ] = None,
    down: Annotated[
        bool, typer.Option("--down", help="Back to the REVISION, before an earlier version is installed.")
    ] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Change nothing; exit code 1 if there is something to do.")
    ] = False,
) -> int:
    """Bring a database on PostgreSQL up to date; executions may be under way meanwhile.

    Orchestrators of this version and of the one before work with it side by side. A file needs none of this.
    """
    from podium.cli.printing import print_json, say, wrapped
    from podium.cli.sessions import configure_log, finish
    from podium.exceptions import InvalidInputError

    if check and (to or down):
        raise InvalidInputError("--check takes no other option")
    if down and to is None:
        raise InvalidInputError(f"--down needs --to REVISION: where to go back to; `{BASE}` has no tables at all")
    settings = manners.settings()
    if not settings.on_postgres:
        if manners.json:
            print_json({"revision": None, "newest": None, "up_to_date": True})
        else:
            say(wrapped(NOTHING_TO_DO))
        return 0
    configure_log(manners.debug)
    before, now, newest = finish(_migrated(settings, to, down, check))
    if manners.json:
        print_json({"before": before, "revision": now, "newest": newest, "up_to_date": now == newest})
    else:
        say(wrapped(_sentence(settings, before, now, newest, check)))
    return 1 if check and now != newest else 0


async def _migrated(settings: Settings, to: str | None, down: bool, check: bool) -> tuple[str | None, str | None, str]:
    """Do it; return the revision before, the one now (None: no tables), and the newest that this version knows."""
    from podium.store.postgres import migrations

    url, newest = settings.database, migrations.HEAD
    before = await migrations.current(url)
    if check:
        now = before
    elif not down:
        now = await migrations.upgrade(url, to or newest)
    else:
        if to == BASE:
            await _refuse_while_used(settings)
        now = await migrations.downgrade(url, str(to))
    return before or None, now or None, newest


async def _refuse_while_used(settings: Settings) -> None:
    """Raise ConflictError while replicas run: all that they know would be deleted under them."""
    from podium.cli.sessions import sharing
    from podium.exceptions import ConflictError, StoreUnavailableError

    try:
        async with sharing(settings) as store:
            cluster = await store.cluster()
    except StoreUnavailableError:  # there are no tables, or not all of them
        return
    there = [replica.name for replica in cluster.replicas if cluster.live(replica)]
    if there:
        raise ConflictError(f"{', '.join(there)} run on {settings.shown_database}; stop them first")


def _sentence(settings: Settings, before: str | None, now: str | None, newest: str, check: bool) -> str:
    where, form = settings.shown_database, f"at {now}" if now else "without tables"
    if now == newest:
        return f"{where} is up to date ({now})" if before == now else f"{where} is up to date now ({now})"
    if check:
        return f"{where} is {form}; `podium migrate` brings it to {newest}"
    return f"{where} is {form} now; the newest that this version knows is {newest}"
