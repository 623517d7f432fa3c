"""Settings: one validated object; defaults < podium.yaml < environment (`PODIUM_…`) < arguments.

A wrong name or value is refused with where it came from and what was expected, before anything starts. The names that
the documents give to some variables hold too; `PODIUM_…` wins over them. Secrets are in no repr and in no error.
"""

from __future__ import annotations

import difflib
import itertools
import math
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec import Struct, field

from podium.exceptions import SettingsError

CONFIG_FILE = "podium.yaml"
PREFIX = "PODIUM_"

# The variables of documents 003 and 004, beside `PODIUM_…`; of two that are set the first one holds.
DOCUMENTED_NAMES = {
    "max_concurrent_agents": ("MAX_CONCURRENT_AGENTS", "MAX_AGENTS"),
    "heartbeat_interval_seconds": ("HEARTBEAT_INTERVAL_SECONDS",),
    "health_check_interval_seconds": ("HEALTH_CHECK_INTERVAL_SECONDS",),
    "deregistration_timeout_seconds": ("DEREGISTRATION_TIMEOUT_SECONDS",),
    "message_bus_batch_size": ("MESSAGE_BUS_BATCH_SIZE",),
    "event_retention_hours": ("EVENT_RETENTION_HOURS",),
    "max_concurrent_workflows": ("MAX_CONCURRENT_WORKFLOWS",),
    "workflow_timeout_hours": ("WORKFLOW_TIMEOUT_HOURS",),
    "agent_allocation_timeout_seconds": ("AGENT_ALLOCATION_TIMEOUT_SECONDS",),
    "checkpoint_interval_minutes": ("CHECKPOINT_INTERVAL_MINUTES",),
    "circuit_breaker_failure_threshold": ("CIRCUIT_BREAKER_FAILURE_THRESHOLD",),
    "database": ("DATABASE_URL",),
}
DATABASE_SCHEMES = ("postgresql", "postgres")
BUS_VARIABLES = {"NATS_URL": "nats", "KAFKA_BOOTSTRAP_SERVERS": "kafka", "REDIS_STREAMS_URL": "redis"}
BUS_SCHEMES = ("memory", "nats", "tls", "kafka", "redis", "rediss")
SECRETS = frozenset({"nats_password", "nats_token", "nats_nkey_seed"})

_DAY = 86_400.0
_LIMITS: dict[str, tuple[float, float]] = {  # above the first, at most the second
    "lease_seconds": (0, _DAY),
    "foreign_lease_seconds": (0, _DAY),
    "disconnect_grace_seconds": (0, _DAY),
    "drain_seconds": (0, _DAY),
    "heartbeat_interval_seconds": (0, _DAY),
    "health_check_interval_seconds": (0, _DAY),
    "unhealthy_seconds": (0, 30 * _DAY),
    "deregistration_timeout_seconds": (0, 365 * _DAY),
    "max_concurrent_agents": (0, 10_000_000),
    "max_queued_tasks": (0, 10_000_000),
    "max_task_seconds": (0, 365 * _DAY),
    "max_message_bytes": (1_023, 64 << 20),
    "message_bus_batch_size": (0, 64 << 20),
    "event_retention_hours": (0, 876_000),
    "connection_timeout_ms": (0, 3_600_000),
    "reconnect_wait_ms": (0, 3_600_000),
    "max_reconnects": (-2, 1_000_000_000),
    "circuit_breaker_timeout_seconds": (0, _DAY),
    "webhook_give_up_hours": (0, 8_760),
    "webhook_timeout_seconds": (0, 600),
    "webhook_concurrency": (0, 1_000),
    "webhook_max_body_bytes": (1_023, 64 << 20),
}
_MOST: dict[str, float] = {  # from 0, which means without it, to this
    "max_concurrent_workflows": 10_000_000,
    "workflow_timeout_hours": 876_000,
    "agent_allocation_timeout_seconds": 365 * _DAY,
    "checkpoint_interval_minutes": 525_600,
    "reconcile_seconds": _DAY,
    "circuit_breaker_failure_threshold": 1_000,
}


class Address(Struct, frozen=True):
    """Where something listens. Port 0 takes a free one."""

    host: str
    port: int

    @property
    def loopback(self) -> bool:
        """Whether nobody but this machine can reach it."""
        return is_loopback(self.host)

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Webhook(Struct, frozen=True, forbid_unknown_fields=True):
    """Where the ends of executions are told. Of `secret` and `secret_file` there is one."""

    url: str
    secret: str = ""
    secret_file: str = ""
    events: tuple[Literal["completed", "failed", "cancelled"], ...] = ("completed", "failed", "cancelled")
    workflows: tuple[str, ...] = ()  # none: all

    def __post_init__(self) -> None:
        scheme, found, rest = self.url.partition("://")
        if scheme not in ("https", "http") or not found or not rest.strip("/") or not self.url.isprintable():
            raise ValueError("url of a webhook must be https://host/path, or http://")
        if bool(self.secret.strip()) == bool(self.secret_file.strip()):
            raise ValueError("a webhook needs a secret or a secret_file, and not both")
        if not self.events:
            raise ValueError("events of a webhook must name one at least")

    @property
    def shown(self) -> dict[str, Any]:
        """What may be shown of it."""
        secret = {"secret": "…"} if self.secret else {"secret_file": self.secret_file}
        return {
            "url": shown_url(self.url),
            **secret,
            "events": list(self.events),
            "workflows": list(self.workflows),
        }

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return list(self.shown.items())

    def __repr__(self) -> str:
        return f"Webhook({', '.join(f'{name}={value!r}' for name, value in self.shown.items())})"


class Settings(Struct, frozen=True, forbid_unknown_fields=True):
    """Everything that can be set. Times are in seconds where the name has no other unit."""

    database: str = ".podium/podium.db"  # a SQLite file, or `postgresql://…`; `:memory:` keeps nothing
    synchronous: Literal["FULL", "NORMAL"] = (
        "FULL"  # FULL: a commit survives a power cut; NORMAL: a kill, but maybe not a power cut
    )
    agents: dict[str, str] = field(default_factory=dict)  # agent type -> module:Name
    capacity: dict[str, float] = field(
        default_factory=dict
    )  # what all agents of the process share: cpu_cores, memory_mb …
    lease_seconds: float = 15.0
    foreign_lease_seconds: float = 60.0  # of agents that don't renew; any message of theirs does
    drain_seconds: float = 10.0  # how long a stop waits for live attempts before it hands them back
    tenant: str = "default"
    data: str = ".podium"  # the folder of the embedded server's data; with `database` unsaid that is in it too

    # Where `podium up` listens: HOST:PORT, port 0 takes a free one; empty: not at all.
    http: str = "127.0.0.1:8002"
    metrics: str = "127.0.0.1:8080"
    nats: str = "127.0.0.1:4222"  # the embedded server
    http_allow_unauthenticated: bool = False  # may answer strangers on addresses that other machines reach
    metrics_allow_unauthenticated: bool = False
    nats_authentication: bool = False  # the embedded server knows each agent by its credentials
    secrets_folder: str = "/run/secrets"  # where this process finds the files of secrets

    # The fleet.
    max_concurrent_agents: int = 10_000
    disconnect_grace_seconds: float = 3.0  # for an agent whose connection ended to come back, if a lease isn't shorter
    heartbeat_interval_seconds: float = 30.0
    health_check_interval_seconds: float = 30.0
    unhealthy_seconds: float = 60.0  # without a sign of life
    deregistration_timeout_seconds: float = 300.0  # without a sign of life: lost, and forgotten
    max_queued_tasks: int = 10_000  # submissions beyond are told to come back later
    max_task_seconds: float = 3_600.0  # of submitted tasks that name no limit of their own

    # Executions, in document 004's words; 0: without it.
    max_concurrent_workflows: int = 1_000  # at work at once; further starts wait for room
    workflow_timeout_hours: float = 24.0  # the deadline of those that name none, under `podium up` and `Orchestrator`
    agent_allocation_timeout_seconds: float = 300.0  # for a ready task that no registered agent could ever take
    checkpoint_interval_minutes: float = 5.0  # an execution that goes on for so long gets a snapshot
    circuit_breaker_failure_threshold: int = 5  # failures in a row, after which an agent gets nothing for a while
    circuit_breaker_timeout_seconds: float = 30.0  # that while; then one trial
    reconcile_seconds: float = 60.0  # between looks for what should not be

    # Webhooks: who is told of executions' ends.
    webhooks: tuple[Webhook, ...] = ()
    webhook_give_up_hours: float = 24.0  # after so long nobody tries any more
    webhook_timeout_seconds: float = 10.0  # for the whole of one try
    webhook_concurrency: int = 16  # tries at once of one process
    webhook_max_body_bytes: int = 256 << 10  # a larger result is left out
    webhook_allow_private: bool = False  # addresses of this machine and of private networks may be told

    # The bus.
    bus: str = ""  # a URL; empty: see `bus_url`
    max_message_bytes: int = 1 << 20
    message_bus_batch_size: int = 16_384  # bytes of a frame of many messages
    event_retention_hours: float = 168.0
    connection_timeout_ms: int = 5_000
    reconnect_wait_ms: int = 1_000
    max_reconnects: int = -1  # -1: for ever
    nats_user: str = ""
    nats_password: str = ""
    nats_token: str = ""
    nats_credentials: str = ""  # a `.creds` file
    nats_nkey_seed: str = ""  # a file; hidden all the same, for whoever writes the seed itself
    nats_tls_ca: str = ""  # PEM files
    nats_tls_certificate: str = ""
    nats_tls_key: str = ""

    def __post_init__(self) -> None:
        for name, (above, most) in _LIMITS.items():
            if not above < getattr(self, name) <= most:
                raise ValueError(f"{name} must be above {above:g} and at most {most:.15g}")
        for name, most in _MOST.items():
            if not 0 <= getattr(self, name) <= most:
                raise ValueError(f"{name} must be 0 (without it) or more, at most {most:.15g}")
        if any(not 0 <= amount < math.inf for amount in self.capacity.values()):
            raise ValueError("capacity must be finite amounts, none of them negative")
        for name in ("database", "data", "secrets_folder"):
            if not getattr(self, name).strip():
                raise ValueError(f"{name} must be a path{_OTHER_DATABASES if name == 'database' else ''}")
        if "://" in self.database and not self.on_postgres:
            raise ValueError(f"database must be a path{_OTHER_DATABASES}, not {shown_url(self.database)!r}")
        for name in ("http", "metrics", "nats"):
            address_of(getattr(self, name), name)
        urls = [webhook.url for webhook in self.webhooks]
        if len(set(urls)) < len(urls):
            raise ValueError("webhooks must have different urls: the same one is there twice")
        _check_signs_of_life(self)
        _check_bus(self)

    @property
    def in_memory(self) -> bool:
        """Whether nothing is kept on disk."""
        return self.database == ":memory:"

    @property
    def on_postgres(self) -> bool:
        """Whether the database is on a PostgreSQL server, where several replicas can share it."""
        return self.database.partition("://")[0] in DATABASE_SCHEMES and "://" in self.database

    @property
    def shown_database(self) -> str:
        """The database as it may be shown: a URL without user, password and parameters."""
        return shown_url(self.database) if self.on_postgres else self.database

    @property
    def logs_path(self) -> Path:
        """Where attempts' log lines are kept, beside a database that is a file; on PostgreSQL they are in a table."""
        if self.on_postgres:
            raise ValueError("on PostgreSQL attempts' log lines are in a table")
        return Path(self.database).parent / "logs.db"

    @property
    def nats_folder(self) -> Path:
        """Where the embedded server keeps its streams."""
        return Path(self.data) / "nats"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return list(shown(self).items())

    def __repr__(self) -> str:
        return f"Settings({', '.join(f'{name}={value!r}' for name, value in shown(self).items())})"


def load_settings(
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
    defaults: Mapping[str, Any] | None = None,
    **arguments: Any,
) -> Settings:
    """Return the settings in force in a folder. Arguments that are None say nothing. Raises SettingsError.

    `defaults` hold, instead of the usual ones, for what nobody says.
    """
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    path = (folder or Path.cwd()) / CONFIG_FILE
    if path.is_file():
        values.update(_from_file(path))
        sources.update(dict.fromkeys(values, str(path)))
    for name, source, value in _from_environment(os.environ if environment is None else environment):
        values[name], sources[name] = value, source
    given = {name: value for name, value in arguments.items() if value is not None}
    values.update(given)
    sources.update(dict.fromkeys(given, "an argument"))
    if "database" not in values and isinstance(values.get("data"), str) and values["data"].strip():
        values["database"] = str(Path(values["data"]) / "podium.db")
    values = {**(defaults or {}), **values}
    try:
        return msgspec.convert(values, Settings, strict=False)
    except msgspec.ValidationError as error:
        named = re.search(r"\$\.(\w+)", str(error)) or re.match(r"(\w+)", str(error))
        source = sources.get(named[1], "") if named else ""
        raise SettingsError(f"a setting is wrong: {error}{source and f' (said by {source})'}") from error


def bus_url(settings: Settings, environment: Mapping[str, str] | None = None) -> str:
    """Return the URL of the bus; empty when nothing was said: `podium up` then embeds NATS, others use memory.

    The setting wins (`--bus`, `PODIUM_BUS`, podium.yaml), then the one of the documents' variables that is set.
    Raises SettingsError when two of them are.
    """
    if settings.bus:
        return settings.bus
    given = os.environ if environment is None else environment
    found = {name: given[name].strip() for name in BUS_VARIABLES if given.get(name, "").strip()}
    if len(found) > 1:
        raise SettingsError(
            f"{' and '.join(found)} are both set, and there is one bus: unset all but one, or say which it is with "
            "--bus or PODIUM_BUS"
        )
    for name, value in found.items():
        url = value if "://" in value else f"{BUS_VARIABLES[name]}://{value}"
        if not _is_bus(url):
            raise SettingsError(f"{name} must be {_EXPECTED_BUS}, not {shown_url(url)!r}")
        return url
    return ""


def address_of(text: str, name: str = "the address") -> Address | None:
    """Return HOST:PORT as an address, None of an empty text. Raises ValueError, naming what is wrong."""
    if not text.strip():
        return None
    host, colon, port = text.strip().rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if not colon or not host or not port.isascii() or not port.isdigit() or int(port) > 65_535:
        raise ValueError(f"{name} must be HOST:PORT, for example 127.0.0.1:8002, not {text!r}")
    if ":" in host and not bracketed:
        raise ValueError(f"{name} must have an IPv6 address in brackets, for example [::1]:8002, not {text!r}")
    return Address(host[1:-1] if bracketed else host, int(port))


def refuse_strangers(name: str, address: Address, allowed: bool, setting: str) -> None:
    """Raise SettingsError if other machines reach the address, nobody asks who they are, and that isn't allowed."""
    if not address.loopback and not allowed:
        raise SettingsError(
            f"{name}: {address} is reached by other machines, and nobody would ask who they are; "
            f"listen on 127.0.0.1:{address.port}, or set {setting} (PODIUM_{setting.upper()}=true)"
        )


def is_loopback(host: str) -> bool:
    """Whether a host is this machine only: 127.0.0.0/8, ::1 or localhost."""
    if host.lower().rstrip(".") == "localhost":
        return True
    import ipaddress

    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def shown(settings: Settings) -> dict[str, Any]:
    """Return the settings as they may be shown: without secrets."""
    values = {name: getattr(settings, name) for name in Settings.__struct_fields__}
    hidden = {name: "…" for name in SECRETS if values[name]}
    return {
        **values,
        **hidden,
        "bus": shown_url(settings.bus),
        "database": settings.shown_database,
        "webhooks": [webhook.shown for webhook in settings.webhooks],
    }


def shown_url(url: str) -> str:
    """Return a URL (or several with commas) as it may be shown: without user, password and parameters."""
    parts = re.split(r",(?=\w+://)", url)
    return ",".join(re.sub(r"\?.*", "?…", re.sub(r"^(\w+://)?.*@", r"\1…@", part)) for part in parts)


_OTHER_DATABASES = ", or postgresql://user@host/name, or :memory:"
_EXPECTED_BUS = "a URL such as memory://, nats://127.0.0.1:4222, kafka://… or redis://…"


def _is_bus(url: str) -> bool:
    return all(part.partition("://")[0] in BUS_SCHEMES and "://" in part for part in re.split(r",(?=\w+://)", url))


def _check_signs_of_life(settings: Settings) -> None:
    """What is later must be longer: a heartbeat, then unhealthy, then lost."""
    names = ("heartbeat_interval_seconds", "unhealthy_seconds", "deregistration_timeout_seconds")
    for shorter, longer in itertools.pairwise(names):
        if not getattr(settings, shorter) < getattr(settings, longer):
            raise ValueError(
                f"{longer} ({getattr(settings, longer):g}) must be above {shorter} ({getattr(settings, shorter):g})"
            )


def _check_bus(settings: Settings) -> None:
    if settings.bus and not _is_bus(settings.bus):
        raise ValueError(f"bus must be {_EXPECTED_BUS}, not {shown_url(settings.bus)!r}")
    ways = [
        name for name in ("nats_user", "nats_token", "nats_credentials", "nats_nkey_seed") if getattr(settings, name)
    ]
    if len(ways) > 1:
        raise ValueError(f"{' and '.join(ways)} are several ways to prove who one is; say one")
    if settings.nats_password and not settings.nats_user:
        raise ValueError("nats_password needs a nats_user")
    if bool(settings.nats_tls_certificate) != bool(settings.nats_tls_key):
        raise ValueError("nats_tls_certificate and nats_tls_key go together")


def _from_file(path: Path) -> dict[str, Any]:
    import yaml

    try:
        found = yaml.safe_load(path.read_bytes())
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} can't be read: {' '.join(str(error).split())}") from error
    except yaml.YAMLError as error:
        # Not the error's own text, nor its chain: it quotes the line, which may be the one with the password.
        mark = getattr(error, "problem_mark", None)
        place = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise SettingsError(f"{path} can't be read: it isn't valid YAML{place}") from None
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise SettingsError(f"{path} must hold a mapping of settings, for example `database: .podium/podium.db`")
    known = Settings.__struct_fields__
    for name in found:
        if name not in known:
            close = difflib.get_close_matches(str(name), known, 1)
            hint = f"; did you mean {close[0]}?" if close else f"; there are {', '.join(known)}"
            raise SettingsError(f"{path} has no setting {name!r}{hint}")
    return found


def _from_environment(environment: Mapping[str, str]) -> Iterator[tuple[str, str, Any]]:
    """Yield setting, variable and value. A variable of the documents that is empty says nothing."""
    for name in Settings.__struct_fields__:
        own = PREFIX + name.upper()
        if own in environment:
            yield name, own, _value(name, own, environment[own])
            continue
        other = next((other for other in DOCUMENTED_NAMES.get(name, ()) if environment.get(other, "").strip()), None)
        if other is not None:
            yield name, other, environment[other].strip()


def _value(name: str, source: str, text: str) -> Any:
    if name in ("agents", "capacity"):
        return _pairs(text, source)
    if name == "webhooks":
        try:
            return msgspec.json.decode(text)
        except msgspec.DecodeError:  # its text would quote the secret
            raise SettingsError(f"{source} must be a JSON list of webhooks") from None
    return text


def _pairs(text: str, source: str) -> dict[str, str]:
    """Return `a=1,b=2` as a mapping."""
    pairs = [part.partition("=") for part in text.split(",") if part.strip()]
    if any(not equals or not name.strip() or not value.strip() for name, equals, value in pairs):
        raise SettingsError(f"{source} must be pairs like name=value,name=value, not {text!r}")
    return {name.strip(): value.strip() for name, _, value in pairs}
