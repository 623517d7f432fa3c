"""nkeys and credentials files of NATS: Ed25519 keys in letters, what they sign, and the text that carries them.

A seed (`SU…`) is the private key and begins with `S` and its role; a public key (`U…`) begins with its role: `O`
operator, `A` account, `U` user. Everything of Podium that reads or writes such a key does it here. Nothing is written
to disk here, and the `repr` of `KeyPair` and `Credentials` shows no secret.
"""

from __future__ import annotations

import base64
import binascii
import re
from enum import IntEnum

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from podium.exceptions import InvalidInputError

_SEED = 18 << 3  # `S`; the role's bits follow, so that it is the second letter
_KEY_BYTES = 32


class Role(IntEnum):
    """What a key is for: the first byte of a public key, which makes its first letter."""

    OPERATOR = 14 << 3
    ACCOUNT = 0
    USER = 20 << 3


class KeyPair:
    """A private key with its role. `KeyPair.create(Role.USER)` makes one, `KeyPair.from_seed(text)` reads one."""

    __slots__ = ("_private", "public", "role")

    def __init__(self, role: Role, private: Ed25519PrivateKey) -> None:
        self.role = role
        self._private = private
        self.public = _text(bytes([role]) + private.public_key().public_bytes_raw())

    @classmethod
    def create(cls, role: Role) -> KeyPair:
        """Return a new key, from the operating system's chance."""
        return cls(role, Ed25519PrivateKey.generate())

    @classmethod
    def from_seed(cls, seed: str) -> KeyPair:
        """Return the key of a seed. Raises InvalidInputError, which doesn't show it."""
        raw = _bytes(seed.strip(), "seed")
        if len(raw) != _KEY_BYTES + 2 or raw[0] & 0xF8 != _SEED:
            raise InvalidInputError("this isn't the seed of an nkey: it would begin with S and have 58 letters")
        return cls(_role((raw[0] & 0x07) << 5 | raw[1] >> 3), Ed25519PrivateKey.from_private_bytes(raw[2:]))

    @property
    def seed(self) -> str:
        """The private key as text: a secret."""
        return _text(bytes([_SEED | self.role >> 5, (self.role & 0x1F) << 3]) + self._private.private_bytes_raw())

    def sign(self, message: bytes) -> bytes:
        """Return the signature, 64 bytes."""
        return self._private.sign(message)

    def answer(self, nonce: str) -> bytes:
        """Return the signature of a server's challenge, in base64, as nats-py's `signature_cb` shall."""
        return base64.b64encode(self.sign(nonce.encode()))

    def __repr__(self) -> str:
        return f"<KeyPair {self.public}>"


def verified(public: str, message: bytes, signature: bytes) -> bool:
    """Whether the owner of this public key has signed this. Raises InvalidInputError if it isn't a public key."""
    raw = _bytes(public, "public key")
    if len(raw) != _KEY_BYTES + 1:
        raise InvalidInputError("this isn't the public key of an nkey: it would have 56 letters")
    _role(raw[0])
    try:
        Ed25519PublicKey.from_public_bytes(raw[1:]).verify(signature, message)
    except InvalidSignature:
        return False
    return True


def is_public_key(text: str, role: Role) -> bool:
    """Whether a text is a public key for that role, checksum and all."""
    try:
        raw = _bytes(text, "public key")
    except InvalidInputError:
        return False
    return len(raw) == _KEY_BYTES + 1 and raw[0] == role


class Credentials:
    """What a client shows to a server: a signed JWT, and the seed that answers the server's challenge.

    nats-py takes both as `connect(user_jwt_cb=credentials.jwt_bytes, signature_cb=credentials.answer)`.
    """

    __slots__ = ("_key", "jwt")

    def __init__(self, jwt: str, key: KeyPair) -> None:
        self.jwt = jwt
        self._key = key

    @property
    def public(self) -> str:
        """The user's public key, `U…`."""
        return self._key.public

    @property
    def seed(self) -> str:
        """The user's private key as text: a secret."""
        return self._key.seed

    def jwt_bytes(self) -> bytearray:
        """Return the JWT as nats-py's `user_jwt_cb` shall."""
        return bytearray(self.jwt.encode())

    def answer(self, nonce: str) -> bytes:
        """Return the signature of a server's challenge, in base64, as nats-py's `signature_cb` shall."""
        return self._key.answer(nonce)

    def text(self) -> str:
        """Return the text of a credentials file, which every NATS client reads: a secret."""
        return _FILE.format(jwt=self.jwt, seed=self.seed)

    def __repr__(self) -> str:
        return f"<Credentials {self.public}>"


def parse_credentials(text: str) -> Credentials:
    """Return what a credentials file (`.creds`) holds. Raises InvalidInputError, which doesn't show it."""
    blocks = {found["name"]: "".join(found["body"].split()) for found in _BLOCK.finditer(text)}
    jwt, seed = blocks.get("NATS USER JWT"), blocks.get("USER NKEY SEED")
    if not jwt or not seed:
        raise InvalidInputError(
            "this isn't a NATS credentials file: it would have a block NATS USER JWT and a block USER NKEY SEED"
        )
    key = KeyPair.from_seed(seed)
    if key.role is not Role.USER:
        raise InvalidInputError(f"the seed in the credentials file is for an {key.role.name.lower()}, not for a user")
    return Credentials(jwt, key)


_BLOCK = re.compile(r"-{3,}BEGIN (?P<name>[A-Z ]+)-{3,}\s(?P<body>.*?)-{3,}END [A-Z ]+-{3,}", re.DOTALL)
_FILE = """\
-----BEGIN NATS USER JWT-----
{jwt}
------END NATS USER JWT------

************************* IMPORTANT *************************
NKEY Seed printed below can be used to sign and prove identity.
NKEYs are sensitive and should be treated as secrets.

-----BEGIN USER NKEY SEED-----
{seed}
------END USER NKEY SEED------

*************************************************************
"""


def _text(raw: bytes) -> str:
    checksum = binascii.crc_hqx(raw, 0).to_bytes(2, "little")
    return base64.b32encode(raw + checksum).decode().rstrip("=")


def _bytes(text: str, what: str) -> bytes:
    try:
        raw = base64.b32decode(text + "=" * (-len(text) % 8))
    except (binascii.Error, ValueError) as error:
        raise InvalidInputError(
            f"this isn't the {what} of an nkey: it has other letters than A to Z, 2 to 7"
        ) from error
    # One key has one text: the bits that the last letter has too many are nought.
    if len(raw) < 3 or _text(raw[:-2]) != text:
        raise InvalidInputError(
            f"this isn't the {what} of an nkey: its checksum is wrong, so a letter is missing or wrong"
        )
    return raw[:-2]


def _role(byte: int) -> Role:
    try:
        return Role(byte)
    except ValueError as error:
        raise InvalidInputError("this nkey is neither an operator's nor an account's nor a user's") from error
