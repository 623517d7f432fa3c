"""What every command takes: `--json`, `--database`, `--no-color`, `--debug`, handed to it as one `Manners`.

A command is a plain function whose first parameter is its `Manners`; `as_command` gives it the four options.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer
from msgspec import Struct

if TYPE_CHECKING:
    from podium.settings import Settings


class Manners(Struct, frozen=True):
    """How a command shall behave."""

    json: bool = False
    database: str | None = None
    no_color: bool = False
    debug: bool = False

    def settings(self, **arguments: Any) -> Settings:
        """Return the settings in force in the working directory. Raises SettingsError."""
        from podium.settings import load_settings

        return load_settings(database=self.database, **arguments)


_OPTIONS = {
    "json": Annotated[bool, typer.Option("--json", help="Print JSON and nothing else on standard output.")],
    "database": Annotated[
        str | None,
        typer.Option("--database", metavar="PATH|URL", help="A file, or postgresql://… [default: .podium/podium.db]"),
    ],
    "no_color": Annotated[bool, typer.Option("--no-color", help="No colours; NO_COLOR=1 says the same.")],
    "debug": Annotated[bool, typer.Option("--debug", help="Show tracebacks and Podium's own log.")],
}


def as_command(function: Callable[..., Any]) -> Callable[..., int]:
    """Return the function as typer takes it: the four options in place of its first parameter."""
    signature = inspect.signature(function, eval_str=True)
    own = list(signature.parameters.values())[1:]
    common = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=getattr(Manners(), name), annotation=annotation)
        for name, annotation in _OPTIONS.items()
    ]

    @functools.wraps(function)
    def command(**values: Any) -> int:
        from podium.cli.printing import set_up_printing

        manners = Manners(**{name: values.pop(name) for name in _OPTIONS})
        set_up_printing(manners.no_color)
        return int(function(manners, **values) or 0)

    keyword = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in own]
    vars(command)["__signature__"] = signature.replace(parameters=[*keyword, *common], return_annotation=int)
    command.__annotations__ = {}
    del vars(command)["__wrapped__"]
    return command
