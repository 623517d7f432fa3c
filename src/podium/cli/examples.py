"""`podium example`: the examples that ship with Podium, listed, run, or copied to be changed."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from podium.cli.manners import Manners, as_command
from podium.cli.run import CapacityOption, Input, InputJson, SubmissionId, run

example = typer.Typer(
    help="The examples that ship with Podium: list, run, copy.", no_args_is_help=True, rich_markup_mode=None
)
README = "README.md"  # of an example that is no workflow
_NOT_COPIED = ("__pycache__", "*.pyc", "node_modules")
ExampleName = Annotated[str, typer.Argument(metavar="NAME", help="The example; `podium example list` names them.")]


def list_examples(manners: Manners) -> int:
    """List the examples."""
    from podium.cli.printing import print_json, say
    from podium.cli.tables import table

    found = [(folder.name, _about(folder), str(_first_file(folder))) for folder in _folders()]
    if manners.json:
        print_json([{"name": name, "about": about, "file": file} for name, about, file in found])
    else:
        say(table(("NAME", "WHAT IT DOES"), [row[:2] for row in found]))
    return 0


def run_example(
    manners: Manners,
    name: ExampleName,
    given: Input = None,
    input_json: InputJson = None,
    submission: SubmissionId = None,
    capacity: CapacityOption = None,
) -> int:
    """Run an example, as `podium run` runs a file."""
    from podium.exceptions import InvalidInputError

    folder = _folder(name)
    if not _workflow_of(folder).is_file():
        raise InvalidInputError(
            f"the example {name} is no workflow; `podium example copy {name}` gives it to you, with a README.md"
        )
    file = str(_workflow_of(folder))
    return run(manners, file, given, input_json, None, submission, None, None, capacity)


def copy_example(
    manners: Manners,
    name: ExampleName,
    folder: Annotated[str | None, typer.Argument(metavar="[DIR]", help="Where to; ./NAME without it.")] = None,
) -> int:
    """Copy an example's files into a folder, to change them."""
    from podium.cli.printing import print_json, say
    from podium.exceptions import InvalidInputError

    source, target = _folder(name), Path(folder or name)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise InvalidInputError(f"{target} is there already and isn't an empty folder; give another")
    try:
        shutil.copytree(source, target, ignore=shutil.ignore_patterns(*_NOT_COPIED), dirs_exist_ok=True)
    except OSError as error:
        raise InvalidInputError(f"{target} can't be written: {error}") from error
    file = target / _first_file(source).name
    if manners.json:
        print_json({"name": name, "folder": str(target), "file": str(file)})
    elif file.name == README:
        say(f"copied to {target}; how to run it is said in {file}")
    else:
        say(f"copied to {target}; run it with: podium run {file}")
    return 0


example.command("list")(as_command(list_examples))
example.command("run")(as_command(run_example))
example.command("copy")(as_command(copy_example))


def _folders() -> Iterator[Path]:
    found = find_spec("podium.examples")  # looked at as files: no layer may import the examples
    for root in (found.submodule_search_locations or ()) if found is not None else ():
        for folder in sorted(Path(root).iterdir()):
            if folder.is_dir() and _first_file(folder).is_file():
                yield folder


def _folder(name: str) -> Path:
    from podium.exceptions import InvalidInputError
    from podium.workflow.problems import did_you_mean

    known = {folder.name: folder for folder in _folders()}
    if name not in known:
        hint = did_you_mean(name, known) or f"there are {', '.join(known)}"
        raise InvalidInputError(f"there is no example {name!r}; {hint}")
    return known[name]


def _workflow_of(folder: Path) -> Path:
    return folder / f"{folder.name}.yaml"


def _first_file(folder: Path) -> Path:
    """Return what is read first of an example: its workflow, or what it says of itself."""
    workflow = _workflow_of(folder)
    return workflow if workflow.is_file() else folder / README


def _about(folder: Path) -> str:
    """Return the first sentence of the comment at the head of the example's file; of a README, its title."""
    words = []
    for line in _first_file(folder).read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        words.append(line.lstrip("# "))
    text = " ".join(words)
    return text.partition(". ")[0].rstrip(".")
