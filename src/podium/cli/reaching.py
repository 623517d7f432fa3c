"""How a command finds the orchestrator and the bus: through the owner's socket on this machine, through the database
that replicas share, or by the settings.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from podium.exceptions import InvalidInputError, SettingsError, StoreError, StoreUnavailableError

if TYPE_CHECKING:
    from podium.settings import Settings
    from podium.workflow.typed import Signature

NOBODY = "no orchestrator runs on {database}; start one with `podium up`"


async def ask_orchestrator(settings: Settings, asked: dict[str, Any]) -> dict[str, Any] | None:
    """Ask the process that runs the executions of this database; None if there is none, or it can't answer that.

    Of replicas on PostgreSQL the one that gives tasks to agents is asked. Raises StoreError when that can't be reached.
    """
    from podium.cli.sessions import database_exists

    if not database_exists(settings):
        return None
    answer = await (_asked_replicas if settings.on_postgres else _asked_owner)(settings, asked)
    return answer if answer is not None and "error" not in answer else None


async def _asked_owner(settings: Settings, asked: dict[str, Any]) -> dict[str, Any] | None:
    from podium.store.owners import FileOwner
    from podium.store.ownership import FileLock

    try:
        return await FileOwner(FileLock(settings.database), settings.database).ask(asked)
    except (StoreError, OSError):
        return None


async def _asked_replicas(settings: Settings, asked: dict[str, Any]) -> dict[str, Any] | None:
    from podium.cli.sessions import sharing
    from podium.store.postgres.owners import ReplicaOwners

    async with sharing(settings) as store:
        owners = ReplicaOwners.at(settings.database, store)
        try:
            return await owners.ask(asked)
        finally:
            await owners.close()


def fleet_types(settings: Settings, types: Iterable[str]) -> dict[str, dict[str, Signature]] | None:
    """Return what the functions of the agents that are registered now take and give, by those of the types of which
    something is known; None when no orchestrator answers that.
    """
    from podium.cli.sessions import finish
    from podium.workflow.typed.received import signatures_offered

    answer = finish(ask_orchestrator(settings, {"op": "schemas", "types": list(types)}))
    if answer is None:
        return None
    found: dict[str, dict[str, Signature]] = {}
    for agent_type, offers in answer["types"].items():
        try:
            known = signatures_offered((tuple(one["functions"]), _text_of(one["schemas"])) for one in offers)
        except InvalidInputError:
            continue  # an orchestrator of another version takes what this one doesn't understand
        if known is not None:
            found[agent_type] = known
    return found


def _text_of(schemas: dict[str, Any]) -> bytes:
    import msgspec

    return msgspec.json.encode(schemas) if schemas else b""


async def bus_for(settings: Settings) -> str:
    """Return the URL of the bus: as the settings say, else that of the orchestrator that runs here, else the default
    address of an embedded server. Raises SettingsError.
    """
    from podium.settings import bus_url

    said = bus_url(settings)
    if said:
        return said
    answer = await ask_orchestrator(settings, {"op": "fleet"})
    if answer is None:
        return f"nats://{settings.nats}"
    embedded, bus = answer["addresses"].get("nats"), str(answer["bus"])
    if embedded is None and ("://" not in bus or "…" in bus):
        raise SettingsError("the orchestrator's bus has a password or token in its address; name it with --bus")
    return bus if embedded is None else f"nats://{embedded}"


def with_credentials(settings: Settings, file: str | None = None) -> Settings:
    """Return the settings with credentials: those given, else, where the embedded server asks for some, our own."""
    from msgspec.structs import replace

    if file is not None:
        return replace(
            settings, nats_credentials=file, nats_user="", nats_password="", nats_token="", nats_nkey_seed=""
        )
    if settings.nats_authentication and not settings.nats_credentials:
        from podium.bus.nats_auth import ORCHESTRATOR_FILE, authority_folder

        own = authority_folder(settings.data) / ORCHESTRATOR_FILE
        if own.exists():
            return replace(settings, nats_credentials=str(own))
    return settings


def refuse_unowned(settings: Settings, owned: bool) -> None:
    """Raise StoreUnavailableError when no orchestrator runs."""
    if not owned:
        raise StoreUnavailableError(NOBODY.format(database=settings.shown_database))
