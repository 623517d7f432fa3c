"""The console script: finds the command's module, calls it, turns what happens into an exit code and a sentence.

Exit codes: 0 done, 1 the execution failed (or Podium could not do it), 2 bad input or usage, 70 a bug, 130 interrupted.
Only the module of the command that was asked for is imported; everything heavy is imported within commands.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import typer

# In the order of the help: what one does first comes first. An entry is a function, or the typer of a group.
COMMANDS = {
    "init": ("podium.cli.projects", "init"),
    "run": ("podium.cli.run", "run"),
    "dev": ("podium.cli.developing", "dev"),
    "up": ("podium.cli.up", "up"),
    "agent": ("podium.cli.agent", "agent"),
    "submit": ("podium.cli.submit", "submit"),
    "ps": ("podium.cli.executions", "ps"),
    "status": ("podium.cli.executions", "status"),
    "explain": ("podium.cli.executions", "explain"),
    "logs": ("podium.cli.logs", "logs"),
    "history": ("podium.cli.history", "history"),
    "pause": ("podium.cli.control", "pause"),
    "resume": ("podium.cli.resuming", "resume"),
    "cancel": ("podium.cli.control", "cancel"),
    "retry": ("podium.cli.resuming", "retry"),
    "skip": ("podium.cli.steering", "skip"),
    "complete": ("podium.cli.steering", "complete"),
    "signal": ("podium.cli.control", "signal"),
    "waiting": ("podium.cli.answering", "waiting"),
    "answer": ("podium.cli.answering", "answer"),
    "validate": ("podium.cli.definitions", "validate"),
    "fmt": ("podium.cli.formatting", "fmt"),
    "diff": ("podium.cli.comparing", "diff"),
    "schema": ("podium.cli.schema", "schema"),
    "plan": ("podium.cli.planning", "plan"),
    "simulate": ("podium.cli.simulating", "simulate"),
    "import": ("podium.cli.importing", "import_group"),
    "replay": ("podium.cli.replaying", "replay"),
    "agents": ("podium.cli.fleet", "agents"),
    "top": ("podium.cli.fleet", "top"),
    "stats": ("podium.cli.readmodels", "stats"),
    "replicas": ("podium.cli.replicas", "replicas"),
    "dlq": ("podium.cli.dlq", "dlq"),
    "example": ("podium.cli.examples", "example"),
    "rebuild": ("podium.cli.readmodels", "rebuild"),
    "reconcile": ("podium.cli.reconciling", "reconcile"),
    "schedule": ("podium.cli.schedule", "schedule"),
    "webhooks": ("podium.cli.webhooks", "webhooks"),
    "migrate": ("podium.cli.migrating", "migrate"),
    "upgrade": ("podium.cli.upgrading", "upgrade"),
    "doctor": ("podium.cli.doctor", "doctor"),
    "version": ("podium.cli.doctor", "version"),
}

# `podium agent SPEC` is a command, `podium agent credentials` a group's.
GROUPS = {"agent": ("podium.cli.agent", "agent_group")}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `podium` with these arguments (default: the process's) and return the exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        code = _main(given)
        sys.stdout.flush()
    except BrokenPipeError:
        _leave_pipe()
        return 0
    return code


def _main(given: list[str]) -> int:
    if given == ["--version"]:
        from podium.cli.printing import installed_version

        print(f"podium {installed_version()}")
        return 0
    try:
        code = _command(given)(given, prog_name="podium", standalone_mode=False)
    except SystemExit as ended:
        if _asks_for_completion(given):
            return ended.code if isinstance(ended.code, int) else 0
        raise BrokenPipeError from None  # typer's answer to a pipe that nobody reads
    except KeyboardInterrupt:
        return 130
    except Exception as error:  # noqa: BLE001 - the last resort: said in a sentence, with a code, and how to see more
        from podium.cli.errors import say_error

        return say_error(error, given)
    return code if isinstance(code, int) else 0


def _command(given: Sequence[str]) -> Any:
    """Return the application as it is called."""
    from typer.main import get_command

    from podium.cli.conversion import take_texts_as_they_are

    command = get_command(application(given))
    take_texts_as_they_are(command)
    return command


def application(given: Sequence[str]) -> typer.Typer:
    """Return the typer application with the command that these arguments call for; with all where none is named."""
    import typer

    from podium.cli.manners import as_command

    app = typer.Typer(
        name="podium",
        add_completion=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        no_args_is_help=True,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    )
    app.callback()(_root)
    first = next((word for word in given if not word.startswith("-")), "")
    words = [word for word in given if not word.startswith("-")]
    for name in (first,) if first in COMMANDS else COMMANDS:
        module, attribute = GROUPS[name] if words[:2] == ["agent", "credentials"] else COMMANDS[name]
        found = getattr(import_module(module), attribute)
        if isinstance(found, typer.Typer):
            app.add_typer(found, name=name)
        else:
            app.command(name)(as_command(found))
    return app


def _root() -> None:
    """Podium runs workflows over agents, durably.

    Begin with `podium example run research`, or `podium run FILE`. `podium COMMAND --help` tells more of each.
    """


def _asks_for_completion(given: Sequence[str]) -> bool:
    """Whether a shell asks what may come next, or somebody for the script that makes it ask."""
    return "_PODIUM_COMPLETE" in os.environ or bool({"--install-completion", "--show-completion"} & {*given[:1]})


def _leave_pipe() -> None:
    """Whoever read our output is gone: say nothing more, at exit neither."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)
