"""Connections to the server: how they are made, and how its errors are said.

Every error of asyncpg becomes one of `podium.exceptions` here and nowhere else. No password is in any of them: an
address is only ever shown without its user, password and parameters. asyncpg is imported when a connection is made.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit, urlunsplit

from msgspec import Struct

from podium.exceptions import MissingExtraError, StoreError, StoreUnavailableError, UnstorableError
from podium.settings import shown_url

Connection = Any  # asyncpg.Connection; the library has no types
Record = Any

STATEMENTS_CACHED = 512
_LEAST_VERSION = 14

# What the server says by SQLSTATE, in words; of a class by its two characters.
_REASONS = {
    "08": "the connection broke",
    "25006": "it is read-only: a standby, or set so; Podium connects anew until it finds one that can be written",
    "28": "it refuses the login",
    "3D000": "there is no such database; create it with createdb",
    "40": "it gave way to another transaction again and again",
    "42501": "the role may not do that; grant it what docs/postgresql.md lists",
    "53100": "its disk is full",
    "53200": "it has no memory left",
    "53300": "it has no connection left; raise its max_connections or lower the pools'",
    "55P03": "a lock wasn't to be had in time",
    "57014": "the statement took longer than its time-out, and was rolled back",
    "57P01": "the connection was ended by the server",
    "57P02": "the server crashed",
    "57P03": "it is starting or stopping",
    "57P05": "the connection was idle for longer than the server allows",
    "58": "the server's system reports an error",
    "XX": "the server reports an internal error or damaged contents",
}
# Everything here is a look-up by an index; where a table is new, or its statistics are old, the planner can't know.
_LOOK_UPS = {"jit": "off", "enable_seqscan": "off", "enable_hashjoin": "off", "enable_mergejoin": "off"}
SCHEMA_MISSING = frozenset({"42P01", "42883", "3F000"})  # no such table, function, schema
_ODD_URL = (
    "the database's URL can't be read; it is postgresql://USER:PASSWORD@HOST:PORT/NAME?sslmode=…, with special "
    "characters of the password percent-encoded"
)
_OF_THE_DATA = ("22", "54")  # what was given is at fault, or larger than the server can take
GAVE_WAY = frozenset({"40001", "40P01"})  # rolled back for another's sake: may be tried again as it is
READ_ONLY = "25006"


class Address(Struct, frozen=True):
    """Where the database is, and how its connections behave. Times are in seconds."""

    url: str
    application: str = "podium"
    connect_timeout_seconds: float = 10.0
    statement_timeout_seconds: float = 30.0

    def __str__(self) -> str:
        return shown_url(self.url)

    def __repr__(self) -> str:
        return f"Address({shown_url(self.url)!r})"

    async def connect(self, **settings: str) -> Connection:
        """Return a connection; `settings` are the server's, for this session. Raises StoreUnavailableError."""
        url, said = _split(self)
        chosen = {
            "application_name": self.application,
            "default_transaction_isolation": "read committed",
            **_LOOK_UPS,
            "statement_timeout": str(round(self.statement_timeout_seconds * 1_000)),
            **settings,
        }
        with translated(self):
            connection = await asyncpg().connect(
                url,
                timeout=said.pop("connect_timeout", self.connect_timeout_seconds),
                command_timeout=self.statement_timeout_seconds + 2.0,  # for a server that doesn't answer at all
                statement_cache_size=STATEMENTS_CACHED,
                max_cached_statement_lifetime=0,
                server_settings={name: value for name, value in chosen.items() if name not in said},
                **({"target_session_attrs": "read-write"} if said.get("several") else {}),
            )
        try:
            self._check(connection)
        except StoreUnavailableError:
            connection.terminate()
            raise
        return connection

    def _check(self, connection: Connection) -> None:
        version = connection.get_server_version()
        if version.major < _LEAST_VERSION:
            raise StoreUnavailableError(f"{self}: it is PostgreSQL {version.major}; Podium needs {_LEAST_VERSION}")
        encoding = connection.get_settings().server_encoding
        if encoding != "UTF8":
            raise StoreUnavailableError(f"{self}: its encoding is {encoding}; create the database with ENCODING 'UTF8'")


def asyncpg() -> Any:
    """Return the driver. Raises MissingExtraError, which names the extra, where it isn't installed."""
    try:
        import asyncpg
    except ImportError as error:
        raise MissingExtraError(
            "a database on PostgreSQL needs asyncpg, which isn't installed: pip install 'podium[postgres]'"
        ) from error
    return asyncpg


def _split(address: Address) -> tuple[str, dict[str, Any]]:
    """Return the URL as asyncpg takes it, and what its parameters say of what would be set otherwise.

    What libpq knows and asyncpg would take for a setting of the server is taken out. A URL that can't be read is
    refused without a word of it.
    """
    try:
        parts = urlsplit(address.url)
        asked = {name: values[-1] for name, values in parse_qs(parts.query, strict_parsing=bool(parts.query)).items()}
        said: dict[str, Any] = dict(asked)
        if "connect_timeout" in asked:
            said["connect_timeout"] = float(asked.pop("connect_timeout"))
        said["several"] = "," in parts.netloc.rpartition("@")[2] and "target_session_attrs" not in asked
        for name in ("fallback_application_name", "keepalives", "keepalives_idle", "channel_binding"):
            asked.pop(name, None)
        return urlunsplit(parts._replace(query=urlencode(asked))), said
    except ValueError:
        raise StoreUnavailableError(_ODD_URL) from None


def state_of(error: BaseException) -> str:
    """Return the SQLSTATE of a server's error, empty where it is none."""
    return str(getattr(error, "sqlstate", None) or "")


def is_refusal(error: BaseException) -> bool:
    """Whether the statement was refused and the connection is as good as before."""
    state = state_of(error)
    if not state:
        return isinstance(error, asyncpg().DataError)  # refused before it was sent
    return state[:2] not in ("08", "57", "58", "XX") or state == "57014"


def unavailable(address: Address, error: BaseException) -> StoreError:
    """Say in a sentence why the store can't be used."""
    state = state_of(error)
    if state in SCHEMA_MISSING:
        return StoreUnavailableError(
            f"{address}: Podium's tables aren't there ({error}); make them with: podium migrate --database URL"
        )
    reason = _REASONS.get(state) or _REASONS.get(state[:2])
    if reason and state[:2] != "08":
        return StoreUnavailableError(f"{address}: {reason} ({error})")
    if isinstance(error, TimeoutError):
        return StoreUnavailableError(f"{address}: it didn't answer in time; what it was asked may be done or not")
    if isinstance(error, OSError):
        return StoreUnavailableError(
            f"{address}: it can't be reached ({error}); check that PostgreSQL runs there and takes connections"
        )
    if not is_refusal(error):
        return StoreUnavailableError(
            f"{address}: {_REASONS['08']} ({str(error) or type(error).__name__}); what was under way may be done or not"
        )
    if state[:2] in _OF_THE_DATA or not state:
        return UnstorableError(f"{address}: this can't be kept: {error}")
    return StoreError(f"{address}: {error}")


@cache
def _lost_types() -> tuple[type[BaseException], ...]:
    driver = asyncpg()
    return (
        OSError,
        TimeoutError,
        EOFError,
        driver.InterfaceError,
        driver.PostgresConnectionError,
        driver.InternalClientError,
        driver.FatalPostgresError,
    )


@contextmanager
def translated(address: Address) -> Iterator[None]:
    """Turn asyncpg's errors, and the network's, into Podium's."""
    driver = asyncpg()
    try:
        yield
    except driver.ClientConfigurationError as error:
        raise StoreUnavailableError(f"{address}: a part of the URL can't be used: {_without(address, error)}") from None
    except (driver.PostgresError, *_lost_types()) as error:
        raise unavailable(address, error) from error
    except ValueError:  # of asyncpg's own look at the URL, which it quotes
        raise StoreUnavailableError(_ODD_URL) from None


def _without(address: Address, error: BaseException) -> str:
    """Return an error's text without the password, should it quote the URL."""
    text = str(error)
    password = address.url.partition("://")[2].rpartition("@")[0].partition(":")[2]
    return text.replace(password, "…") if password else text
