"""How to reach a NATS server: document 000's settings with its defaults, and what authentication and TLS need."""

from __future__ import annotations

from urllib.parse import urlsplit

from msgspec import Struct

from podium.exceptions import SettingsError


class NatsSettings(Struct, frozen=True):
    """Where the server is, and who we are. Paths are of files; secrets never show in its text."""

    server_url: str = "nats://localhost:4222"  # several with commas: one cluster
    connection_timeout_ms: int = 5_000
    reconnect_wait_ms: int = 1_000
    max_reconnects: int = -1  # -1: for ever
    user: str = ""
    password: str = ""
    token: str = ""
    credentials: str = ""  # a .creds file: a JWT and its seed
    nkey_seed_file: str = ""
    tls_ca: str = ""  # with it, or a certificate, or a tls:// address, the connection is TLS
    tls_certificate: str = ""
    tls_key: str = ""
    tls_hostname: str = ""
    name: str = "podium"  # shown by the server's monitoring
    inbox_prefix: str = ""  # of the subjects of answers; empty: what the credentials allow, else _INBOX
    answer_timeout_ms: int = 5_000  # for acknowledgements and the answers of JetStream
    ping_interval_ms: int = 5_000  # a server that stands still is left after three
    replicas: int = 1  # of streams that are made

    def __repr__(self) -> str:
        return f"NatsSettings({self.address})"

    @property
    def servers(self) -> list[str]:
        """The addresses, each with a scheme. Raises SettingsError for one that isn't an address of NATS."""
        return [_checked(url.strip()) for url in self.server_url.split(",") if url.strip()] or [_checked("")]

    @property
    def address(self) -> str:
        """The addresses without user and password, for messages."""
        return ",".join(f"{urlsplit(url).hostname}:{urlsplit(url).port or 4222}" for url in self.servers)


def _checked(url: str) -> str:
    full = url if "://" in url else f"nats://{url}"
    try:
        parts = urlsplit(full)
        good = parts.scheme in ("nats", "tls") and bool(parts.hostname) and (parts.port or 4222) > 0
    except ValueError:
        good = False
    if not good:
        raise SettingsError(f"{_without_secret(url)!r} isn't the address of a NATS server; one is nats://host:4222")
    return full


def _without_secret(url: str) -> str:
    return url.rsplit("@", 1)[-1]
