"""A start is quick because little is imported: the lists of modules are guarded here, and the time of a cold run."""

from __future__ import annotations

import subprocess
import sys

import pytest

from podium.cli.main import COMMANDS, main
from tests.cli.support import Shell, environment

HEAVY = (
    "rich", "pygments", "pydantic", "rustworkx", "numpy", "structlog", "yaml", "typer", "msgspec", "asyncio", "sqlite3",
    "multiprocessing", "concurrent", "ssl", "http",
)  # fmt: skip
NOT_FOR_A_RUN = (
    "rich", "pygments", "pydantic", "pydantic_core", "rustworkx", "networkx", "numpy", "structlog", "multiprocessing",
    "http", "nats", "asyncpg", "alembic", "jsonschema", "grpc", "prometheus_client",
)  # fmt: skip


def modules_after(program: str, folder: object = None) -> set[str]:
    """Return the first names of the modules that a fresh interpreter has after a program."""
    shown = f"import sys\n{program}\nsys.stderr.write('MODULES ' + ' '.join(sys.modules))"
    kept = {name: value for name, value in environment().items() if not name.startswith("COVERAGE")}
    found = subprocess.run(
        [sys.executable, "-c", shown], capture_output=True, text=True, check=True, env=kept, cwd=str(folder or ".")
    )
    return {name.partition(".")[0] for name in found.stderr.rpartition("MODULES ")[2].split()}


def test_importing_podium_imports_nothing_heavy() -> None:
    assert not modules_after("import podium") & set(HEAVY)


def test_the_version_imports_nothing_heavy() -> None:
    assert not modules_after("from podium.cli.main import main; main(['--version'])") & set(HEAVY)


def test_a_run_without_a_terminal_imports_no_heavy_library(shell: Shell) -> None:
    program = "from podium.cli.main import main; assert main(['run', 'noop.yaml']) == 0"
    assert modules_after(program, shell.folder) & set(NOT_FOR_A_RUN) == set()


def test_help_validation_and_a_look_import_no_heavy_library(shell: Shell) -> None:
    asked = (
        "main(['--help']), main(['validate', '--help']), main(['validate', 'noop.yaml']), main(['status', 'nobody'])"
    )
    program = f"from podium.cli.main import main; assert ({asked}) == (0, 0, 0, 2)"
    assert modules_after(program, shell.folder) & {*NOT_FOR_A_RUN, "sqlite3"} == set()


def test_the_version_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("podium ")
    assert main(["version"]) == 0
    assert capsys.readouterr().out.startswith("podium ")


def test_help_names_every_command_within_80_columns(shell: Shell) -> None:
    lines = shell("--help").out
    for name in COMMANDS:
        assert any(line.startswith(f"  {name} ") for line in lines), name
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize(
    "command",
    [
        *COMMANDS,
        "example run",
        "example list",
        "example copy",
        "dlq list",
        "dlq retry",
        "import wfformat",
        "upgrade status",
        "webhooks list",
    ],
)
def test_each_command_has_help_and_the_common_options(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*command.split(), "--help"]) == 0
    text = capsys.readouterr().out
    assert "Usage" in text
    if command not in ("example", "dlq", "import", "schedule", "upgrade", "webhooks"):
        assert all(option in text for option in ("--json", "--database", "--no-color", "--debug"))
