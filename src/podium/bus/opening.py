"""Which transport a URL means: each adapter is imported only when it is asked for."""

from __future__ import annotations

from podium.bus.transport import Heard, Transport
from podium.exceptions import InvalidInputError
from podium.settings import Settings, shown_url


def transport_for(
    url: str,
    settings: Settings | None = None,
    heard: Heard | None = None,
    *,
    sync_seconds: float | None = None,
    name: str = "podium",
) -> Transport:
    """Return the transport that a URL names, not started. Raises InvalidInputError for a scheme that isn't there.

    `memory://NAME` is one carrier of this process, the same for the same name. `sync_seconds` is what is known of the
    carrier's disk: whoever runs an embedded server knows it, clients can't ask. `name` is the connection's, for the
    carrier to show.
    """
    scheme, _, rest = url.partition("://")
    given = settings or Settings()
    if scheme == "memory":
        from podium.bus.memory import MemoryTransport, carrier_named

        return MemoryTransport(carrier_named(rest.strip("/")), heard)
    if scheme in ("nats", "tls"):
        from podium.bus.nats import NatsSettings, NatsTransport
        from podium.bus.nats_credentials import inbox_prefix_for

        return NatsTransport(
            NatsSettings(
                server_url=url,
                connection_timeout_ms=given.connection_timeout_ms,
                reconnect_wait_ms=given.reconnect_wait_ms,
                max_reconnects=given.max_reconnects,
                user=given.nats_user,
                password=given.nats_password,
                token=given.nats_token,
                credentials=given.nats_credentials,
                inbox_prefix=inbox_prefix_for(given.nats_credentials),
                nkey_seed_file=given.nats_nkey_seed,
                tls_ca=given.nats_tls_ca,
                tls_certificate=given.nats_tls_certificate,
                tls_key=given.nats_tls_key,
                name=name,
            ),
            heard,
            sync_seconds=sync_seconds,
        )
    if scheme in ("kafka", "redis"):
        raise InvalidInputError(f"{scheme}:// comes with a later version; now there are memory:// and nats://")
    raise InvalidInputError(f"{shown_url(url)} isn't a bus that this Podium can use; there are memory:// and nats://")
