"""`podium import`: workflows that others wrote down or recorded, made into files of ours."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from podium.cli.manners import Manners, as_command
from podium.cli.phrases import counted

if TYPE_CHECKING:
    from podium.workflow.model import Workflow
    from podium.workflow.wfformat import Trace

import_group = typer.Typer(
    help="Workflows that others wrote down or recorded, made into files of ours.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


def wfformat(
    manners: Manners,
    trace: Annotated[str, typer.Argument(metavar="TRACE", help="A JSON file of WfCommons; - is standard input.")],
    output: Annotated[
        str | None, typer.Option("--output", "-o", metavar="FILE", help="Where to. [default: standard output]")
    ] = None,
) -> int:
    """Make a workflow of a WfFormat trace: a scientific workflow as WfCommons recorded it, schema 1.4, 1.5 or 1.6.

    Names, dependencies, runtimes, cores, memory, commands and files are kept. `podium plan` shows the workflow,
    `podium run FILE --simulate` replays it.
    """
    from podium.cli.printing import complain, print_json, say, wrapped
    from podium.workflow.wfformat import read_trace

    source = "standard input" if trace == "-" else trace
    found = read_trace(_content(trace), source)
    workflow, text, commands_kept = _written(found, source)
    if output is not None:
        _write(output, text)
    if manners.json:
        print_json(_document(found, workflow, output, text))
    elif output is None:
        sys.stdout.write(text)
    for note in _notes(found, commands_kept):
        complain(wrapped(f"note: {note}"))
    if output is not None and not manners.json:
        say(wrapped(f"{output}: {_summary(found)}"))
        say(f"podium run {output} --simulate --agents 8 replays it; podium plan {output} shows it")
    return 0


import_group.command("wfformat")(as_command(wfformat))


@import_group.callback()
def _group() -> None:
    """Without this, a group of one command would be that command."""


def _content(path: str) -> bytes:
    from podium.exceptions import InvalidInputError

    try:
        return sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
    except (OSError, ValueError) as error:
        raise InvalidInputError(f"{path} can't be read: {getattr(error, 'strerror', None) or error}") from error


def _written(trace: Trace, source: str) -> tuple[Workflow, str, bool]:
    """Return the workflow, its YAML, and whether the commands are in it: they are what a large one can spare."""
    from podium.exceptions import InvalidInputError
    from podium.workflow.wfformat import workflow_of
    from podium.workflow.yaml import dump_workflow
    from podium.workflow.yaml.decoding import MAX_FILE_BYTES

    size = 0
    for commands in (True, False):
        workflow = workflow_of(trace, commands=commands)
        text = dump_workflow(workflow)
        size = len(text.encode())
        if size <= MAX_FILE_BYTES:
            return workflow, text, commands
    raise InvalidInputError(f"{source}: the workflow would have {size:,} bytes; at most {MAX_FILE_BYTES:,} are read")


def _write(path: str, text: str) -> None:
    from podium.exceptions import InvalidInputError

    try:
        Path(path).write_text(text, encoding="utf-8")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InvalidInputError(f"--output {path} can't be written: {reason}") from error


def _document(trace: Trace, workflow: Workflow, output: str | None, text: str) -> dict[str, Any]:
    from podium.workflow.plan import plan

    known = [task.runtime_seconds for task in trace.tasks if task.runtime_seconds is not None]
    return {
        "workflow": workflow.name,
        "schema": trace.schema,
        "tasks": len(trace.tasks),
        "dependencies": trace.edge_count,
        "files": len(trace.files),
        "machines": len(trace.machines),
        "work_seconds": sum(known),
        "critical_path_seconds": plan(workflow).estimated_duration,
        "recorded_makespan_seconds": trace.makespan_seconds,
        "without_runtime": len(trace.tasks) - len(known),
        **({"file": output} if output is not None else {"yaml": text}),
    }


def _summary(trace: Trace) -> str:
    from podium.cli.times import shown_duration

    work = sum(task.runtime_seconds or 0.0 for task in trace.tasks)
    recorded = ""
    if trace.makespan_seconds:  # generated traces have none, or 0
        recorded = f"; it took {shown_duration(trace.makespan_seconds)} when it was recorded"
    counts = (
        counted(len(trace.tasks), "task"),
        counted(trace.edge_count, "dependency", "dependencies"),
        counted(len(trace.files), "file"),
    )
    return f"{', '.join(counts)}, {shown_duration(work)} of work{recorded}"


def _notes(trace: Trace, commands_kept: bool) -> list[str]:
    notes = []
    missing = sum(task.runtime_seconds is None for task in trace.tasks)
    if missing:
        notes.append(f"{missing:,} of {len(trace.tasks):,} tasks have no recorded runtime; plans suppose one second")
    if not commands_kept:
        notes.append("the commands are left out, since with them the file would be too large to be read")
    return notes
