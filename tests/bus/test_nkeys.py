"""nkeys, JWTs and credentials files, by themselves: what is written is read back, what was changed is refused."""

from __future__ import annotations

import base64

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.bus.nats_jwt import EVERYTHING, claims_of, user_jwt
from podium.bus.nkeys import Credentials, KeyPair, Role, is_public_key, parse_credentials, verified
from podium.exceptions import InvalidInputError

# A seed, and what the package nkeys of PyPI makes of it: the public key, the signature of b"podium" in base64.
FOREIGN = (
    "SUAHGFOVDGM7NTPZ7K7QTCEIFYB5G34OFGGTNKIW4HT6M6LEMQK4CIARHQ",
    "UCEBK4KIBDQXOYDFGYG5OFYP6D6WEVXQJYB63ICIBMPXXCXLNBP3RKRA",
    "bhOa4b9gP+rjVsGHkIL34H0Iw4ipKPKBnwe+X3FC/TER+zOhpjrlQQFTsVoBSat6NY4+3D1xCtyzYox7zHpNCA==",
)

roles = st.sampled_from(Role)


@given(roles, st.binary(max_size=100))
def test_a_seed_gives_the_same_key_again(role: Role, message: bytes) -> None:
    key = KeyPair.create(role)
    again = KeyPair.from_seed(key.seed)
    assert (again.public, again.role, again.seed) == (key.public, role, key.seed)
    assert verified(key.public, message, again.sign(message))
    assert not verified(key.public, message + b"!", again.sign(message))
    assert is_public_key(key.public, role)
    assert (len(key.public), len(key.seed)) == (56, 58)
    assert key.public[0] == role.name[0] == key.seed[1]


def test_another_implementation_agrees() -> None:
    seed, public, signature = FOREIGN
    key = KeyPair.from_seed(seed)
    assert key.public == public
    assert key.sign(b"podium") == base64.b64decode(signature)


@given(st.integers(0, 57), st.sampled_from("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"))
def test_one_wrong_letter_in_a_seed_is_found(place: int, letter: str) -> None:
    seed = FOREIGN[0]
    wrong = seed[:place] + letter + seed[place + 1 :]
    if wrong == seed:
        return
    with pytest.raises(InvalidInputError) as raised:
        KeyPair.from_seed(wrong)
    assert wrong not in str(raised.value)


@pytest.mark.parametrize("text", ["", "S", "sua", "not a seed", "é" * 58, FOREIGN[1], FOREIGN[0][:-1], FOREIGN[0] * 2])
def test_what_is_no_seed_is_refused(text: str) -> None:
    with pytest.raises(InvalidInputError):
        KeyPair.from_seed(text)


def test_a_seed_is_no_public_key_and_roles_are_told_apart() -> None:
    assert not is_public_key(FOREIGN[0], Role.USER)
    assert not is_public_key(FOREIGN[1], Role.ACCOUNT)
    with pytest.raises(InvalidInputError):
        verified(FOREIGN[0], b"", b"")


def test_no_secret_is_shown() -> None:
    account, user = KeyPair.create(Role.ACCOUNT), KeyPair.create(Role.USER)
    credentials = Credentials(user_jwt(account, user.public, "a1", EVERYTHING, 0), user)
    for shown in (repr(user), repr(credentials), str(credentials)):
        assert user.seed not in shown
        assert user.public in shown


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_credentials_file_is_read_back(end: str) -> None:
    account, user = KeyPair.create(Role.ACCOUNT), KeyPair.create(Role.USER)
    token = user_jwt(account, user.public, "a1", EVERYTHING, 1_700_000_000)
    written = Credentials(token, user).text().replace("\n", end)
    read = parse_credentials(written)
    assert (read.jwt, read.public) == (token, user.public)
    assert verified(user.public, b"nonce", base64.b64decode(read.answer("nonce")))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-----BEGIN NATS USER JWT-----\nabc\n------END NATS USER JWT------\n",
        "-----BEGIN USER NKEY SEED-----\nSUA\n------END USER NKEY SEED------\n",
    ],
)
def test_half_a_credentials_file_is_refused(text: str) -> None:
    with pytest.raises(InvalidInputError, match="credentials file"):
        parse_credentials(text)


def test_an_accounts_seed_in_a_credentials_file_is_refused() -> None:
    account = KeyPair.create(Role.ACCOUNT)
    token = user_jwt(account, account.public, "a1", EVERYTHING, 0)
    with pytest.raises(InvalidInputError, match="for an account"):
        parse_credentials(Credentials(token, account).text())


def test_the_same_claims_give_the_same_token() -> None:
    account, user = KeyPair.create(Role.ACCOUNT), KeyPair.create(Role.USER)
    token = user_jwt(account, user.public, "a1", EVERYTHING, 5, 9)
    assert token == user_jwt(account, user.public, "a1", EVERYTHING, 5, 9)
    claims = claims_of(token)
    assert (claims["sub"], claims["iss"], claims["iat"], claims["exp"]) == (user.public, account.public, 5, 9)
    assert claims["jti"] != claims_of(user_jwt(account, user.public, "a2", EVERYTHING, 5, 9))["jti"]


def test_a_changed_token_is_refused() -> None:
    account, user = KeyPair.create(Role.ACCOUNT), KeyPair.create(Role.USER)
    header, _, signature = user_jwt(account, user.public, "a1", EVERYTHING, 5).split(".")
    claims = {**claims_of(user_jwt(account, user.public, "a1", EVERYTHING, 5)), "name": "a2"}
    changed = base64.urlsafe_b64encode(msgspec.json.encode(claims)).decode().rstrip("=")
    for token in (f"{header}.{changed}.{signature}", "a.b", "a.b.c", "é.b.c", ""):
        with pytest.raises(InvalidInputError):
            claims_of(token)


def test_no_other_algorithm_is_believed() -> None:
    account, user = KeyPair.create(Role.ACCOUNT), KeyPair.create(Role.USER)
    _, claims, _ = user_jwt(account, user.public, "a1", EVERYTHING, 5).split(".")
    header = base64.urlsafe_b64encode(b'{"typ":"JWT","alg":"none"}').decode().rstrip("=")
    signature = base64.urlsafe_b64encode(account.sign(f"{header}.{claims}".encode())).decode().rstrip("=")
    with pytest.raises(InvalidInputError):
        claims_of(f"{header}.{claims}.{signature}")
