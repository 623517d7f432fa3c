"""What a client reads from files to show to a server: right, or an error that names the file and shows no secret."""

from __future__ import annotations

import base64
from pathlib import Path

import msgspec
import pytest

from podium.bus.nats_auth import Authority, Kind
from podium.bus.nats_credentials import inbox_prefix_for, read_credentials, read_seed
from podium.bus.nats_jwt import EVERYTHING, claims_of, user_jwt
from podium.bus.nkeys import Credentials, KeyPair, Role, verified
from podium.clock import SystemClock
from podium.exceptions import SettingsError


@pytest.fixture
def made(tmp_path: Path) -> Credentials:
    now_us = SystemClock().now_us()
    made = Authority.open(tmp_path / "auth", now_us).issue(("a1", "a2"), Kind.AGENT, now_us)
    (tmp_path / "a1.creds").write_text(made.text())
    return made


def test_a_credentials_file_gives_token_key_and_inbox(tmp_path: Path, made: Credentials) -> None:
    path = str(tmp_path / "a1.creds")
    token, seed = read_credentials(path)
    assert (token, seed.public, read_seed(path).public) == (made.jwt, made.public, made.public)
    signature = seed.sign(b"nonce")
    assert verified(made.public, b"nonce", base64.urlsafe_b64decode(signature + b"=" * (-len(signature) % 4)))
    assert inbox_prefix_for(path) == "_INBOX_a1"


def test_the_orchestrators_credentials_keep_the_usual_inbox(tmp_path: Path) -> None:
    now_us = SystemClock().now_us()
    path = tmp_path / "all.creds"
    path.write_text(Authority.open(tmp_path / "auth", now_us).orchestrator(now_us).text())
    assert inbox_prefix_for(str(path)) == "_INBOX"


@pytest.mark.parametrize(
    "nats", [None, {}, {"sub": {}}, {"sub": {"allow": [1]}}, {"sub": {"allow": ["a.>", "_INBOX.>"]}}]
)
def test_a_token_of_another_kind_keeps_the_usual_inbox(tmp_path: Path, nats: object) -> None:
    key = KeyPair.create(Role.USER)
    token = user_jwt(key, key.public, "x", EVERYTHING, 0)
    header, _, signature = token.split(".")
    body = base64.urlsafe_b64encode(msgspec.json.encode({**claims_of(token), "nats": nats})).decode().rstrip("=")
    resigned = base64.urlsafe_b64encode(key.sign(f"{header}.{body}".encode())).decode().rstrip("=")
    for number, other in enumerate((f"{header}.{body}.{resigned}", f"{header}.{body}.{signature}", "opaque")):
        path = tmp_path / f"{number}.creds"
        path.write_text(Credentials(other, key).text())
        assert inbox_prefix_for(str(path)) == "_INBOX"
    assert inbox_prefix_for("") == "_INBOX"


def test_a_file_may_hold_just_a_seed(tmp_path: Path) -> None:
    key = KeyPair.create(Role.USER)
    (tmp_path / "seed").write_text(f"{key.seed}\n")
    assert read_seed(str(tmp_path / "seed")).public == key.public


@pytest.mark.parametrize(
    "content", ["", "SUAWRONG", "-----BEGIN NATS USER JWT-----\nx\n------END NATS USER JWT------\n", "é"]
)
def test_a_wrong_file_is_named_and_not_shown(tmp_path: Path, content: str) -> None:
    path = tmp_path / "wrong"
    path.write_text(content)
    for read in (read_credentials, read_seed):
        with pytest.raises(SettingsError) as raised:
            read(str(path))
        assert str(path) in str(raised.value)
        assert "SUAWRONG" not in str(raised.value)


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="can't be read"):
        read_credentials(str(tmp_path / "none"))
