"""The JWTs that a NATS server in operator mode believes: operator, account and user, version 2, signed with nkeys.

Pure but for the keys, which are arguments like the time: the same claims give the same token. The form is that of
NATS's own library (nats-io/jwt): `jti` is the base32 of the SHA-512/256 of the claims without it.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any

import msgspec
from cryptography.hazmat.primitives.hashes import SHA512_256, Hash
from msgspec import Struct

from podium.bus.nkeys import KeyPair, verified
from podium.exceptions import InvalidInputError

_HEADER = b'{"typ":"JWT","alg":"ed25519-nkey"}'
_UNLIMITED = -1


class Permissions(Struct, frozen=True):
    """On which subjects a user may speak and listen; on no others."""

    publish: tuple[str, ...]
    subscribe: tuple[str, ...]


EVERYTHING = Permissions((">",), (">",))  # of its account


def operator_jwt(operator: KeyPair, name: str, system_account: str, issued_s: int) -> str:
    """Return the operator's own token: the root that the server is configured with."""
    return _signed(operator, operator.public, name, issued_s, "operator", {"system_account": system_account})


def account_jwt(
    operator: KeyPair,
    account: str,
    name: str,
    issued_s: int,
    *,
    jetstream: bool,
    revocations: Mapping[str, int] | None = None,
) -> str:
    """Return an account's token, signed by the operator. `revocations` has users' public keys and since when."""
    limits = dict.fromkeys(("subs", "data", "payload", "imports", "exports", "conn"), _UNLIMITED)
    storage = dict.fromkeys(("mem_storage", "disk_storage", "streams", "consumer"), _UNLIMITED if jetstream else 0)
    claims = {
        "limits": {**limits, "leaf": 0, "wildcards": True, **storage},
        "default_permissions": {"pub": {}, "sub": {}},
        "authorization": {},
        **({"revocations": dict(sorted(revocations.items()))} if revocations else {}),
    }
    return _signed(operator, account, name, issued_s, "account", claims)


def user_jwt(
    account: KeyPair, user: str, name: str, permissions: Permissions, issued_s: int, expires_s: int | None = None
) -> str:
    """Return a user's token, signed by its account; the server closes the connection when it expires."""
    claims = {
        "pub": {"allow": list(permissions.publish)},
        "sub": {"allow": list(permissions.subscribe)},
        "subs": _UNLIMITED,
        "data": _UNLIMITED,
        "payload": _UNLIMITED,
        # Neither as a leaf node nor over MQTT, where other rules hold.
        "allowed_connection_types": ["STANDARD", "WEBSOCKET"],
    }
    return _signed(account, user, name, issued_s, "user", claims, expires_s)


def claims_of(token: str) -> dict[str, Any]:
    """Return the claims of a token whose signature is its issuer's. Raises InvalidInputError, which doesn't show it.

    It says nothing about whether the issuer may be believed: compare `iss`.
    """
    try:
        header, claims, signature = token.strip().split(".")
        found = msgspec.json.decode(_decoded(claims), type=dict[str, Any])
        signed = verified(str(found["iss"]), f"{header}.{claims}".encode(), _decoded(signature))
        algorithm = msgspec.json.decode(_decoded(header), type=dict[str, Any]).get("alg")
    except (ValueError, KeyError, InvalidInputError) as error:
        raise InvalidInputError("this isn't a NATS JWT: it would be three parts of base64 with dots between") from error
    if algorithm != "ed25519-nkey" or not signed:
        raise InvalidInputError("the signature of this NATS JWT is wrong: it was changed, or damaged")
    return found


def inbox_prefix_in(token: str) -> str:
    """Return the prefix of the inbox that a user's token allows, `_INBOX_a1`; empty where it names none, or can't be
    read: what a token is worth, its server says.
    """
    try:
        allowed = claims_of(token)["nats"]["sub"]["allow"]
        return next((one.removesuffix(".>") for one in allowed if one.startswith("_INBOX_") and one.endswith(".>")), "")
    except (InvalidInputError, LookupError, TypeError, AttributeError):
        return ""


def _signed(
    signer: KeyPair,
    subject: str,
    name: str,
    issued_s: int,
    kind: str,
    claims: dict[str, Any],
    expires_s: int | None = None,
) -> str:
    body: dict[str, Any] = {"iat": issued_s, "iss": signer.public, "name": name, "sub": subject}
    if expires_s is not None:
        body["exp"] = expires_s
    body["nats"] = {**claims, "type": kind, "version": 2}
    digest = Hash(SHA512_256())
    digest.update(msgspec.json.encode(body))
    body = {"jti": base64.b32encode(digest.finalize()).decode().rstrip("="), **body}
    message = f"{_encoded(_HEADER)}.{_encoded(msgspec.json.encode(body))}"
    return f"{message}.{_encoded(signer.sign(message.encode()))}"


def _encoded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except binascii.Error as error:
        raise ValueError(str(error)) from error
