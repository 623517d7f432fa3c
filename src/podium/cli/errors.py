"""Errors as a person is told them: one sentence on standard error, an exit code, a traceback only with `--debug`."""

from __future__ import annotations

from collections.abc import Sequence

import typer

from podium.cli.printing import complain, print_json, wrapped
from podium.exceptions import InvalidInputError, PodiumError, SchemaTooNewError, SchemaTooOldError
from podium.workflow.problems import problems_in

FAILED = 1
BAD_INPUT = 2
BUG = 70
INTERRUPTED = 130

_UsageError = typer.BadParameter.__mro__[1]
_ClickException = typer.BadParameter.__mro__[2]


def say_error(error: BaseException, given: Sequence[str]) -> int:
    """Say what went wrong and return the exit code for it."""
    options = given[: given.index("--")] if "--" in given else given
    code = _code_of(error)
    if "--debug" in options:
        import traceback

        complain("".join(traceback.format_exception(error)).rstrip())
    if type(error).__name__ == "NoArgsIsHelpError":
        complain(str(error.args[0] if error.args else ""))
        return BAD_INPUT
    sentence, problems = _sentence(error), problems_in(error)
    if "--json" in options:
        print_json({"error": {"type": type(error).__name__, "message": sentence}, "exit_code": code})
    if problems:  # a line each, as `podium validate` lists them
        complain("\n".join(str(problem) for problem in problems))
        from podium.workflow.typed.checking import TYPE_RULES

        sentence = f"the workflow has {len(problems):,} problem{'s' * (len(problems) != 1)}, nothing was started"
        if any(problem.rule in TYPE_RULES for problem in problems) and options[:1] in (["run"], ["submit"]):
            sentence += " (--no-type-check goes on all the same)"
    complain(wrapped(f"error: {sentence}"))
    return code


def _code_of(error: BaseException) -> int:
    if isinstance(error, InvalidInputError | SchemaTooNewError | SchemaTooOldError | _ClickException):
        return BAD_INPUT
    if isinstance(error, PodiumError | OSError):
        return FAILED
    return INTERRUPTED if isinstance(error, typer.Abort) else BUG


def _sentence(error: BaseException) -> str:
    if isinstance(error, _ClickException):
        return _usage_sentence(error)
    if isinstance(error, PodiumError):
        return str(error)
    if isinstance(error, OSError):
        place = f"{error.filename}: " if error.filename else ""
        return f"{place}{error.strerror or error}"
    text = " ".join(str(error).split())[:300]
    return (
        f"{type(error).__name__}{f': {text}' if text else ''}: this is a bug in Podium, please report it; "
        "run again with --debug for the traceback"
    )


def _usage_sentence(error: BaseException) -> str:
    format_message = getattr(error, "format_message", None)
    said = str(format_message() if format_message is not None else error).rstrip(".")
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "podium"
    said = (said[:1].lower() + said[1:]).replace(". Did you mean", "; did you mean").rstrip("?")
    return f"{said}; see `{path} --help`"
