"""`podium init`: a project that runs at once: a workflow, its agents, a test. What is there already is never touched.

The files are made from the texts beside this module, in `project/`; the schema for editors is that of this version.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Final

import typer

from podium.cli.manners import Manners

_FILES: Final = {
    "workflow.yaml": "workflow.yaml.txt",
    "agents.py": "agents.py.txt",
    "test_workflow.py": "test_workflow.py.txt",
    "podium.yaml": "podium.yaml.txt",
    "README.md": "README.md.txt",
    ".gitignore": "gitignore.txt",
    ".vscode/settings.json": "settings.json.txt",
}
_SCHEMA: Final = "podium.schema.json"
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*", re.ASCII)
_MAX_NAME: Final = 100


def init(
    manners: Manners,
    folder: Annotated[str, typer.Argument(metavar="[FOLDER]", help="Where to. [default: this folder]")] = ".",
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="The workflow's name. [default: the folder's]")
    ] = None,
) -> int:
    """Make a project that runs at once: workflow, agents, test, settings, and the schema for editors.

    Nothing that is there is overwritten: if one of the files is, none is made.
    """
    from podium.cli.printing import print_json, say

    target = Path(folder)
    called = _name(target, name)
    made = _make(target, dict(_contents(called)))
    if manners.json:
        print_json({"name": called, "folder": str(target), "files": made})
        return 0
    for file in made:
        say(str(target / file))
    say()
    if target.resolve() != Path.cwd():
        say(f"cd {folder}")
    say("podium run workflow.yaml    runs it")
    say('pytest                      tests it (pip install "podium[testing]")')
    return 0


def _name(target: Path, given: str | None) -> str:
    """Return the workflow's name. Raises InvalidInputError for a given one that isn't of the form."""
    from podium.exceptions import InvalidInputError

    if given is not None:
        if not _NAME.fullmatch(given) or len(given) > _MAX_NAME:
            shown = given if len(given) <= 40 else f"{given[:39]}…"
            raise InvalidInputError(
                f"--name {shown!r}: letters, digits, _ and - are allowed, at most {_MAX_NAME}, a letter or _ first"
            )
        return given
    tidy = re.sub(r"[^A-Za-z0-9_-]+", "_", target.resolve().name).strip("_-")[:_MAX_NAME]
    return tidy if _NAME.fullmatch(tidy) else f"workflow_{tidy}".rstrip("_")[:_MAX_NAME]


def _contents(name: str) -> Iterator[tuple[str, str]]:
    """Give the files of a project, by path within it."""
    import json

    from podium.workflow.yaml.nodes import resolved
    from podium.workflow.yaml.schema import workflow_schema

    in_yaml = name if isinstance(resolved(name), str) else f'"{name}"'  # a folder may be called true
    texts = Path(__file__).parent / "project"
    for path, text in _FILES.items():
        content = (texts / text).read_text(encoding="utf-8")
        yield path, content.replace("{{name}}", name).replace("{{quoted_name}}", in_yaml)
    yield _SCHEMA, json.dumps(workflow_schema(), indent=2, ensure_ascii=False) + "\n"


def _make(target: Path, contents: Mapping[str, str]) -> list[str]:
    """Write the files into a folder, all or none. Raises InvalidInputError where one is there or can't be written."""
    from podium.exceptions import InvalidInputError

    if there := [path for path in contents if (target / path).exists() or (target / path).is_symlink()]:
        raise InvalidInputError(
            f"{target} has {', '.join(there)} already, and nothing is overwritten; give another folder"
        )
    made: list[Path] = []
    try:
        for path, text in contents.items():
            file = target / path
            file.parent.mkdir(parents=True, exist_ok=True)
            with file.open("x", encoding="utf-8") as opened:  # whoever was quicker keeps what is theirs
                made.append(file)
                opened.write(text)
    except OSError as error:
        for file in made:
            file.unlink(missing_ok=True)
        raise InvalidInputError(f"{target} can't be written: {error.strerror or error}") from error
    return list(contents)
