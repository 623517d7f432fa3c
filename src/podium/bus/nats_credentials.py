"""The client's side of NATS authentication: files with a seed or a JWT, and the signature that a server asks for.

Files are read at each connection, so that renewed credentials are taken up. What is in them, `nkeys` knows.
"""

from __future__ import annotations

import base64
from pathlib import Path

from podium.bus.nats_jwt import inbox_prefix_in
from podium.bus.nkeys import KeyPair, parse_credentials
from podium.exceptions import InvalidInputError, SettingsError


class Seed:
    """A private key of NATS as a connection needs it: it signs, and knows its public name."""

    def __init__(self, text: str, source: str = "the seed") -> None:
        """`source` says in an error where the text is from; the text itself is never shown."""
        try:
            self._key = KeyPair.from_seed(text)
        except InvalidInputError as error:
            raise SettingsError(f"{source}: {error}") from None

    def __repr__(self) -> str:
        return f"Seed(of {self.public})"

    @property
    def public(self) -> str:
        """Its public key, as NATS writes it: `U…` for a user."""
        return self._key.public

    def sign(self, nonce: bytes) -> bytes:
        """Return the signature in the base64 that CONNECT takes."""
        return base64.urlsafe_b64encode(self._key.sign(nonce)).rstrip(b"=")


def read_seed(path: str) -> Seed:
    """Return the seed of a file that holds just it, or a .creds file's. Raises SettingsError."""
    text = _read(path)
    return read_credentials(path)[1] if "BEGIN" in text else Seed(text, path)


def read_credentials(path: str) -> tuple[str, Seed]:
    """Return JWT and seed of a .creds file. Raises SettingsError."""
    try:
        found = parse_credentials(_read(path))
    except InvalidInputError as error:
        raise SettingsError(f"{path}: {error}") from None
    return found.jwt, Seed(found.seed, path)


def inbox_prefix_for(path: str, default: str = "_INBOX") -> str:
    """Return the prefix of the inboxes that the credentials of a file allow; the default if they say nothing of them,
    or without a file.

    Those of `podium agent credentials a1` allow `_INBOX_a1.>` alone: requests with another inbox are never answered.
    """
    return (inbox_prefix_in(read_credentials(path)[0]) if path else "") or default


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"the credentials in {path} can't be read: {error}") from error
