"""`podium fmt`: workflows in the canonical order and layout, comments kept. A file is written whole or not at all."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from podium.cli.manners import Manners
from podium.cli.phrases import counted

if TYPE_CHECKING:
    from podium.workflow.problems import Problem

WOULD_CHANGE = 1
BAD_INPUT = 2


def fmt(
    manners: Manners,
    files: Annotated[list[str], typer.Argument(metavar="FILE…", help="Workflows, YAML files; - is standard input.")],
    check: Annotated[bool, typer.Option("--check", help="Write nothing; exit code 1 if a file would change.")] = False,
) -> int:
    """Put workflows into the canonical order and layout: comments are kept, and what a workflow says stays the same.

    With - the text of standard input goes to standard output.
    """
    from podium.cli.printing import complain, print_json, say, wrapped

    changed: list[str] = []
    problems: list[Problem] = []
    for file in dict.fromkeys(files):
        different, found = _formatted(file, write=not check, show=not manners.json)
        problems += found
        changed += [file] * different
    for problem in problems:
        complain(str(problem))
    if manners.json:
        print_json({"changed": changed, "files": len(set(files)), "problems": [str(problem) for problem in problems]})
    elif "-" not in files:
        verb = "would be laid out anew" if check else "laid out anew"
        for file in changed:
            say(wrapped(f"{file}: {verb}"))
        say(f"{counted(len(changed), 'file')} of {len(set(files)):,} {verb}")
    if problems:
        return BAD_INPUT
    return WOULD_CHANGE if check and changed else 0


def _formatted(file: str, write: bool, show: bool) -> tuple[bool, list[Problem]]:
    """Lay a file out anew; return whether that changes it, and why it can't be done."""
    from podium.cli.written import write_file
    from podium.workflow.problems import Problem
    from podium.workflow.yaml.formatting import formatted

    try:
        content = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        return False, [Problem("unreadable", f"the file can't be read: {reason}", file=file)]
    text, problems = formatted(content, "<stdin>" if file == "-" else file)
    if text is None:
        return False, problems
    different = text.encode("utf-8") != content
    if file == "-" and write and show:
        sys.stdout.write(text)
    elif different and write and file != "-":
        write_file(Path(file), text)
    return different, []
