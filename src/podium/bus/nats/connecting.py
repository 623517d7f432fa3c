"""Making the connection: options of the client from the settings, and the first connect with its time-out."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from typing import Any

from podium.bus.nats.client import PodiumClient
from podium.bus.nats.settings import NatsSettings
from podium.bus.nats_credentials import inbox_prefix_for, read_credentials, read_seed
from podium.exceptions import BusUnreachableError, SettingsError, TransportUnavailableError

_MAX_PINGS = 2  # without an answer, and the connection counts as dead
_REFUSALS = ("authorization", "authentication", "certificate", "account")

Event = Callable[[], Awaitable[None]]
ErrorEvent = Callable[[Exception], Awaitable[None]]


async def connect(
    settings: NatsSettings, disconnected: Event, reconnected: Event, closed: Event, failed: ErrorEvent
) -> PodiumClient:
    """Return a connected client. Raises BusUnreachableError after the time-out, TransportUnavailableError at once when
    we are refused.
    """
    client = PodiumClient()
    options = _options(settings, client)
    last: list[str] = []
    refused = asyncio.Event()

    async def noted(error: Exception) -> None:
        if refused.is_set():
            return  # what comes of hanging up says less than the refusal
        last[:] = [str(error) or type(error).__name__]
        if any(word in last[0].lower() for word in _REFUSALS) or isinstance(error, ssl.SSLError):
            refused.set()
        if client.is_connected or connecting.done():
            await failed(error)

    async def connect_once() -> None:
        await client.connect(
            disconnected_cb=disconnected, reconnected_cb=reconnected, closed_cb=closed, error_cb=noted, **options
        )

    connecting = asyncio.create_task(connect_once(), name="connect to NATS")
    refusal = asyncio.create_task(refused.wait(), name="refused by NATS")
    try:
        await asyncio.wait(
            {connecting, refusal},
            timeout=settings.connection_timeout_ms / 1_000,
            return_when=asyncio.FIRST_COMPLETED,
        )
        if connecting.done() and connecting.exception() is None:
            return client
    finally:
        refusal.cancel()
        if not connecting.done():
            connecting.cancel()
            await asyncio.wait({connecting}, timeout=1.0)
    if connecting.done() and not refused.is_set() and (error := _error_of(connecting)) is not None:
        last[:] = [str(error) or type(error).__name__]
    await _discard(client)
    why = f": {last[0]}" if last else ""
    if refused.is_set():
        raise TransportUnavailableError(f"NATS at {settings.address} can't be reached{why}")
    raise BusUnreachableError(
        f"NATS at {settings.address} can't be reached within {settings.connection_timeout_ms} ms{why}"
    )


def inbox_prefix(settings: NatsSettings) -> str:
    """Return what the subjects of our answers begin with."""
    if settings.inbox_prefix or not settings.credentials:
        return settings.inbox_prefix or "_INBOX"
    return inbox_prefix_for(settings.credentials)


def _options(settings: NatsSettings, client: PodiumClient) -> dict[str, Any]:
    options: dict[str, Any] = {
        "servers": settings.servers,
        "name": settings.name,
        "connect_timeout": settings.connection_timeout_ms / 1_000,
        "reconnect_time_wait": settings.reconnect_wait_ms / 1_000,
        "max_reconnect_attempts": settings.max_reconnects,
        "ping_interval": settings.ping_interval_ms / 1_000,
        "max_outstanding_pings": _MAX_PINGS,
        "flusher_queue_size": 0,
        "pending_size": 0,  # the transport bounds the buffer itself
        "user": settings.user or None,
        "password": settings.password or None,
        "token": settings.token or None,
    }
    if settings.credentials:
        read_credentials(settings.credentials)  # so that a bad file is said at once
        options["user_jwt_cb"] = lambda: read_credentials(settings.credentials)[0].encode()
        options["signature_cb"] = lambda nonce: read_credentials(settings.credentials)[1].sign(nonce.encode())
    elif settings.nkey_seed_file:
        options["signature_cb"] = lambda nonce: read_seed(settings.nkey_seed_file).sign(nonce.encode())
        client._public_nkey = read_seed(settings.nkey_seed_file).public  # has no option without the package nkeys
    if context := _tls(settings):
        options["tls"] = context
        options["tls_hostname"] = settings.tls_hostname or None
    return options


def _tls(settings: NatsSettings) -> ssl.SSLContext | None:
    wanted = settings.tls_ca or settings.tls_certificate or any(url.startswith("tls://") for url in settings.servers)
    if not wanted:
        return None
    try:
        context = ssl.create_default_context(cafile=settings.tls_ca or None)
        if settings.tls_certificate:
            context.load_cert_chain(settings.tls_certificate, settings.tls_key or None)
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(f"the TLS files for NATS can't be used: {error}") from error
    return context


def _error_of(connecting: asyncio.Task[None]) -> BaseException | None:
    return None if connecting.cancelled() else connecting.exception()


async def _discard(client: PodiumClient) -> None:
    """Close a client that never connected, without its callbacks."""
    client._disconnected_cb = client._closed_cb = None
    await client.end()
