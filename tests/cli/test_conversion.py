"""What a command is given of the command line is what typer would give it, converted or taken as it is."""

from __future__ import annotations

from typing import Annotated, Any

import pytest
import typer
from typer.main import get_command

from podium.cli.conversion import take_texts_as_they_are

Given = dict[str, Any] | str


def given_by(arguments: list[str], quick: bool) -> Given:
    """Return what a command is given, or what is said of the arguments."""
    app = typer.Typer(add_completion=False)
    group = typer.Typer()
    app.add_typer(group, name="group")
    found: dict[str, Any] = {}

    @group.command("one")
    def one(
        files: Annotated[list[str], typer.Argument()],
        name: Annotated[str | None, typer.Option("--name")] = None,
        words: Annotated[list[str] | None, typer.Option("--word")] = None,
        numbers: Annotated[list[int] | None, typer.Option("--number")] = None,
        limit: Annotated[int, typer.Option("--limit", min=1, max=9)] = 5,
        speed: Annotated[float | None, typer.Option("--speed")] = None,
        every: Annotated[bool, typer.Option("--every")] = False,
    ) -> None:
        found.update(locals())

    command = get_command(app)
    if quick:
        take_texts_as_they_are(command)
    try:
        command(["group", "one", *arguments], standalone_mode=False)
    except Exception as error:  # noqa: BLE001 - whatever it is, it must be the same
        return f"{type(error).__name__}: {error}"
    return {name: value for name, value in found.items() if name != "found"}


@pytest.mark.parametrize(
    "arguments",
    [
        ["a"], ["a", "b", "--name", "n"], [], ["a", "--word", "x", "--word", "é y"], ["a", "--limit", "3", "--every"],
        ["a", "--limit", "x"], ["a", "--limit", "10"], ["a", "--number", "1", "--number", "2"], ["a", "--number", "x"],
        ["a", "--speed", "1.5"], ["a", "--speed", "fast"], ["a", "--name", ""], ["\udcff"], ["a", "--name", "\udcff"],
        ["a", "--name"], ["a", "--nam", "n"],
    ],
)  # fmt: skip
def test_a_command_is_given_what_typer_would_give_it(arguments: list[str]) -> None:
    assert given_by(arguments, quick=True) == given_by(arguments, quick=False)
