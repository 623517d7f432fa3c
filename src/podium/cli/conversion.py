"""Values of the command line that are taken as they are: a text, a list of texts, what isn't given, a default.

Typer converts each value by a model of pydantic, even these; importing it is a third of a command's start. Whatever
needs a conversion, such as a number, still gets typer's, with typer's words for what is wrong with it.
"""

from __future__ import annotations

from typing import Any, Final

import typer

_CONVERTER: Final = "_runtime_param"  # where typer (0.29) keeps it, made at the first value; others have none


def take_texts_as_they_are(command: Any, above: typer.Context | None = None) -> None:
    """Have no parameter of a typer's command, or of those below it, ask for a conversion that changes nothing."""
    context = typer.Context(command, parent=above, **command.context_settings)
    for parameter in command.get_params(context):  # `--help` among them
        if hasattr(parameter, _CONVERTER):
            setattr(parameter, _CONVERTER, _AsItIs())
    for below in getattr(command, "commands", {}).values():
        take_texts_as_they_are(below, context)


class _AsItIs:
    """Stands where typer's converter would, until a value needs that one."""

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:
        """Return the value as typer would give it to a command."""
        is_list = param.multiple or param.nargs == -1
        kind = param.type_descriptor.annotation
        if value is None:
            return () if is_list else None
        if is_list and kind == list[str] and isinstance(value, (list, tuple)) and all(map(_is_text, value)):
            return list(value)
        if kind is str and _is_text(value):
            return value
        if kind in (int, float) and type(value) is kind:  # a default
            return value
        setattr(param, _CONVERTER, None)
        return param.get_runtime_param().coerce(value, param=param, ctx=ctx)


def _is_text(value: object) -> bool:
    """Whether a value is a text of whole characters: bytes that are none are typer's to refuse."""
    return isinstance(value, str) and (value.isascii() or not any("\ud800" <= one <= "\udfff" for one in value))
