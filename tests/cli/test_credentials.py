"""`podium agent credentials`: what it writes lets in whom it says, and it never loses or shows a secret by accident."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
import typer

from podium.bus.nats_auth import Authority, authority_folder
from podium.bus.nats_jwt import claims_of
from podium.bus.nkeys import parse_credentials
from podium.cli.credentials import credentials
from podium.cli.errors import say_error
from podium.cli.manners import as_command
from podium.clock import SystemClock


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PODIUM_NATS_AUTHENTICATION", "true")
    return tmp_path


def run(*arguments: str) -> int:
    """Call the command as `podium` does, and return its exit code."""
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(as_command(credentials))
    try:
        code = app(list(arguments), prog_name="podium agent credentials", standalone_mode=False)
    except Exception as error:  # noqa: BLE001 - turned into its exit code, as the console script does
        return say_error(error, arguments)
    return code if isinstance(code, int) else 0


def authority() -> Authority:
    now_us = SystemClock().now_us()
    return Authority.open(authority_folder(".podium"), now_us)


def test_the_file_is_for_the_owner_alone_and_says_where_to_register(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("a1", "--output", "a1.creds") == 0
    said = capsys.readouterr()
    written = parse_credentials(Path("a1.creds").read_text())
    assert stat.S_IMODE(Path("a1.creds").stat().st_mode) == 0o600
    assert authority().registrant("mcp.agent.a1.register", "a1", SystemClock().now_us()) == written.public
    assert "mcp.agent.a1.register" in said.out
    assert "_INBOX_a1" in said.out
    assert "SEED" not in said.out + said.err
    assert said.err == ""


def test_without_a_file_standard_output_is_the_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("a1") == 0
    said = capsys.readouterr()
    assert parse_credentials(said.out).public in said.err
    assert said.out.startswith("-----BEGIN NATS USER JWT-----")


def test_json_holds_it_all(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("shop", "--client", "--expires", "30d", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    claims = claims_of(parse_credentials(told["credentials"]).jwt)
    assert claims["exp"] - claims["iat"] == 30 * 86_400
    assert (told["kind"], told["names"], told["inbox_prefix"], told["file"]) == (
        "client",
        ["shop"],
        "_INBOX_shop",
        None,
    )
    assert "mcp.orchestrator.task.submit" in told["publish"]
    assert told["expires"]


@pytest.mark.parametrize("name", ["*", ">", "a.b", "", "a\r\nb", "x" * 10_240])
def test_a_bad_id_is_bad_input(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(name) == 2
    assert len(capsys.readouterr().err) < 400
    assert authority().issued() == ()


@pytest.mark.parametrize(
    "options",
    [
        ("--client", "--submits"), ("--revoke", "--replace"), ("--expires", "soon"), ("--expires", "0s"),
        ("--output", "nowhere/a.creds"), ("--output", "."), ("--output", "there.creds"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_issues_nothing(options: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    Path("there.creds").write_text("mine")
    assert run("a1", *options) == 2
    assert authority().issued() == ()
    assert Path("there.creds").read_text() == "mine"


def test_a_second_key_is_refused_until_it_shall_replace_the_first(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("a1", "--output", "a1.creds") == 0
    first = parse_credentials(Path("a1.creds").read_text()).public
    assert run("a1", "--output", "other.creds") == 2
    said = " ".join(capsys.readouterr().err.split())
    assert f"{first}; --replace revokes them" in said
    assert not Path("other.creds").exists()
    assert run("a1", "--output", "a1.creds", "--replace") == 0
    second = parse_credentials(Path("a1.creds").read_text()).public
    assert [one.key for one in authority().issued() if one.revoked_s is None] == [second] != [first]


def test_what_is_revoked_is_free_again(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("a1", "--revoke") == 2
    assert run("a1") == 0
    capsys.readouterr()
    assert run("a1", "--revoke", "--json") == 0
    assert json.loads(capsys.readouterr().out)["revoked"][0]["names"] == ["a1"]
    assert run("a1") == 0


def test_it_says_when_authentication_is_off(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("PODIUM_NATS_AUTHENTICATION")
    assert run("a1", "--output", "a1.creds") == 0
    assert "authentication is off here" in capsys.readouterr().err
