"""The schema's revisions: alembic knows their order and writes the SQL, asyncpg executes it in one transaction.

A replica never migrates by itself, so that version N and N+1 can run side by side: `podium migrate` does, and a store
that is opened on an older schema says so. Two migrations at once wait for each other; one that can't have its locks
lets running replicas go on and tries again.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from importlib.resources import files
from io import StringIO
from pathlib import Path
from typing import Any

from podium.exceptions import (
    InvalidInputError,
    MissingExtraError,
    SchemaTooNewError,
    SchemaTooOldError,
    StoreUnavailableError,
)
from podium.store.named_sql import named_blocks
from podium.store.postgres.connection import Address, Connection, asyncpg, state_of, translated
from podium.store.postgres.sessions import ended

HEAD = "0002"  # what this Podium needs; a test holds it against the newest file
_FOLDER = Path(str(files("podium.store"))) / "migrations" / "postgres"
_SQL = named_blocks("postgres.sql")
_LOCK_TIMEOUT = "2s"  # for each lock; whoever asks for the table meanwhile waits behind us
_TRIES = 15
_PAUSE_SECONDS = 1.0
_LOCKED = "55P03"


async def upgrade(url: str, revision: str = "head") -> str:
    """Bring the schema up to a revision, making it if there is none; return the revision it has then.

    Raises StoreUnavailableError, and InvalidInputError for a revision that there isn't. Nothing is changed then.
    """
    return await _move(url, revision, lambda commands: commands.upgrade)


async def downgrade(url: str, revision: str) -> str:
    """Take the schema back to a revision, `base` for nothing at all; return the revision, empty for none.

    Raises like `upgrade`.
    """
    return await _move(url, revision, lambda commands: commands.downgrade)


async def current(url: str) -> str:
    """Return the schema's revision, empty where there is none. Raises StoreUnavailableError."""
    address = Address(url, "podium migrate")
    connection = await address.connect()
    try:
        with translated(address):
            return await _revision(connection)
    finally:
        await ended(connection)


async def check_schema(address: Address) -> str:
    """Return the name of the schema that the tables are in, if this Podium can use them.

    A newer one is accepted as long as it says that this Podium's revision is enough. Raises SchemaTooOldError,
    which says what to do, for none or an older one, SchemaTooNewError, and StoreUnavailableError.
    """
    connection = await address.connect()
    try:
        with translated(address):
            schema, made = await connection.fetchrow(_SQL["schema"])
            found, oldest = await connection.fetchrow(_SQL["revision"]) if made else ("", "")
    finally:
        await ended(connection)
    if schema is None:
        raise StoreUnavailableError(f"{address}: the search_path names no schema that is there; create it, or mend it")
    if not found:
        raise SchemaTooOldError(
            f"{address}: Podium's tables aren't there; make them with: podium migrate --database URL"
        )
    if found < HEAD:
        raise SchemaTooOldError(
            f"{address}: the schema is at revision {found}, this Podium needs {HEAD}; bring it up to date with: "
            "podium migrate --database URL"
        )
    if (oldest or "") > HEAD:
        raise SchemaTooNewError(
            f"{address}: the schema is at revision {found}, which needs a Podium that knows revision {oldest}; this "
            f"one knows {HEAD}. Upgrade this installation or use another database; nothing was changed."
        )
    return str(schema)


def execute_file(name: str) -> None:
    """Run a revision's SQL file; for the revisions themselves."""
    from alembic import op

    text = (_FOLDER / "versions" / name).read_text(encoding="utf-8")
    op.execute(re.sub(r"(?<!:):(?=\w)", r"\\:", text))  # SQLAlchemy would take `:name` for a parameter


async def _move(url: str, revision: str, direction: Callable[[Any], Callable[..., None]]) -> str:
    address = Address(url, "podium migrate", statement_timeout_seconds=3_600.0)
    connection = await address.connect(lock_timeout=_LOCK_TIMEOUT)
    try:
        for tries_left in reversed(range(_TRIES)):
            try:
                with translated(address):
                    return await _move_once(connection, revision, direction)
            except StoreUnavailableError as error:
                if state_of(error.__cause__ or error) != _LOCKED or not tries_left:
                    raise
            await asyncio.sleep(_PAUSE_SECONDS)
        raise AssertionError("not reached: the last try returns or raises")
    finally:
        await ended(connection)


async def _move_once(connection: Connection, revision: str, direction: Callable[[Any], Callable[..., None]]) -> str:
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock(hashtext('podium migrate ' || current_schema()))")
        before = await _revision(connection)
        script = await asyncio.to_thread(_written, before, revision, direction)
        if script:
            if not before:  # a way back to nothing leaves it there, and the way up begins with it
                await connection.execute("DROP TABLE IF EXISTS alembic_version")
            await connection.execute(script)
        return await _revision(connection)


async def _revision(connection: Connection) -> str:
    _, made = await connection.fetchrow(_SQL["schema"])
    return (await connection.fetchval("SELECT version_num FROM alembic_version") or "") if made else ""


def _written(before: str, revision: str, direction: Callable[[Any], Callable[..., None]]) -> str:
    """Return the SQL that leads from one revision to another, empty if that is the same one."""
    commands, script, error, config = _alembic()
    try:
        if not revision:
            raise error("it needs a name, such as head or base")
        goal = script.as_revision_number(revision) or "base"
        if goal == (before or "base") or (revision == "head" and _is_newer(before)):
            return ""
        direction(commands)(config, f"{before or 'base'}:{goal}", sql=True)
    except error as problem:
        raise InvalidInputError(
            f"the schema can't be taken from revision {before or 'base'} to {revision}: {problem}"
        ) from problem
    return str(config.output_buffer.getvalue())


def _is_newer(revision: str) -> bool:
    """Whether a newer Podium made this revision: what it has is more than what this one would."""
    return revision > HEAD


def _alembic() -> tuple[Any, Any, type[Exception], Any]:
    asyncpg()
    try:
        from alembic import command
        from alembic.config import Config
        from alembic.script import ScriptDirectory
        from alembic.util import CommandError
    except ImportError as error:
        raise MissingExtraError(
            "migrating a database needs alembic, which isn't installed: pip install 'podium[postgres]'"
        ) from error
    config = Config(output_buffer=StringIO())
    config.set_main_option("script_location", str(_FOLDER).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return command, ScriptDirectory.from_config(config), CommandError, config
