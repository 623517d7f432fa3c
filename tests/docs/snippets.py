"""Finds the code blocks of the documentation and says how each is tried.

A block's kind is the first word after the fence; options follow it: `file=NAME` writes the block to that name in the
page's folder first, `exit=N` is the exit code that a command (or a validation) must have, `until="text"` is another
terminal: its command goes on, once it has said that, beside the later blocks, and is ended with SIGTERM at the page's
end; `no-test="reason"` leaves the block alone. Pages are only read here; `test_snippets.py` runs what is found.
"""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FENCE = re.compile(r"^(?P<indent> {0,12})(?P<marks>`{3,}|~{3,})(?P<info>[^`]*)$")
ASSIGNMENT = re.compile(r"^[A-Za-z_][A-Za-z0-9_]*=")
OPTIONS = frozenset({"file", "exit", "no-test", "until"})

PYTHON = frozenset({"python", "py"})
YAML = frozenset({"yaml", "yml"})
CONSOLE = frozenset({"console", "sh", "bash", "shell"})


class UnclearBlock(ValueError):
    """The block can't be read as one of the kinds that are tried."""


@dataclass(frozen=True)
class Block:
    """One fenced code block: where it stands, what its info string says, and its text without the fence's indent."""

    page: str
    line: int
    kind: str
    text: str
    options: dict[str, str] = field(default_factory=dict)

    @property
    def id(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def file(self) -> str | None:
        return self.options.get("file")

    @property
    def exit_code(self) -> int:
        return int(self.options.get("exit", "0"))

    @property
    def until(self) -> str | None:
        return self.options.get("until")

    @property
    def reason_not_to_test(self) -> str | None:
        return self.options.get("no-test")

    @property
    def is_tried(self) -> bool:
        """Whether something can be done with it; a drawing or a fragment of JSON is only read by people."""
        if self.file or self.kind in PYTHON:
            return True
        return (self.kind in YAML and is_workflow(self.text)) or (self.kind in CONSOLE and bool(commands(self)))


def pages(root: Path = ROOT) -> list[Path]:
    """The pages whose blocks are tried."""
    named = [root / "README.md", root / "CONTRIBUTING.md"]
    return [page for page in [*named, *sorted((root / "docs").rglob("*.md"))] if page.is_file()]


def blocks_of(page: str, text: str) -> list[Block]:
    """Every fenced block of a page, in order."""
    found = []
    lines = iter(enumerate(text.splitlines(), 1))
    for number, line in lines:
        if not (fence := FENCE.match(line)):
            continue
        body = []
        for _, inner in lines:
            if re.fullmatch(rf" {{0,12}}{fence['marks'][0]}{{{len(fence['marks'])},}}\s*", inner):
                break
            body.append(inner.removeprefix(fence["indent"]))
        else:
            raise UnclearBlock(f"{page}:{number}: the block has no end")
        found.append(block(page, number, fence["info"], "\n".join(body) + "\n"))
    return found


def block(page: str, line: int, info: str, text: str) -> Block:
    """One block, its info string checked: an option that nobody reads would be a test that nobody runs."""
    try:
        words = shlex.split(info)
    except ValueError as error:
        raise UnclearBlock(f"{page}:{line}: the info string {info!r}: {error}") from None
    kind = words[0] if words else ""
    options = dict(word.partition("=")[::2] for word in words[1:])
    if unknown := options.keys() - OPTIONS:
        raise UnclearBlock(f"{page}:{line}: unknown options {sorted(unknown)}; known are {sorted(OPTIONS)}")
    if "no-test" in options and len(options["no-test"].split()) < 2:
        raise UnclearBlock(f'{page}:{line}: no-test needs its reason: no-test="needs a server"')
    if "exit" in options and not options["exit"].isdecimal():
        raise UnclearBlock(f"{page}:{line}: exit={options['exit']} isn't a number")
    if (name := options.get("file")) is not None and (not name or Path(name).is_absolute() or ".." in Path(name).parts):
        raise UnclearBlock(f"{page}:{line}: file={name} isn't a name inside the page's folder")
    return Block(page, line, kind.lower(), text, options)


def is_workflow(text: str) -> bool:
    """Whether YAML is a whole workflow, not a piece: it opens with `workflow:`, or names itself and has tasks."""
    keys = re.findall(r"^([A-Za-z_]\w*):", text, re.MULTILINE)
    return bool(keys) and (keys[0] == "workflow" or {"name", "tasks"} <= set(keys))


def commands(block: Block) -> list[str]:
    """The command lines of a console block, continued lines joined; where no line has a prompt, every line is one."""
    lines = block.text.splitlines()
    has_prompt = any(line.startswith("$ ") for line in lines) or block.kind == "console"
    found = []
    rest = iter(lines)
    for line in rest:
        if has_prompt and not line.startswith("$ "):
            continue
        command = line.removeprefix("$ ").strip() if has_prompt else line.strip()
        while command.endswith("\\"):
            command = command[:-1].rstrip() + " " + next(rest, "").removeprefix("> ").strip()
        if command and not command.startswith("#"):
            found.append(command)
    return found


def program(command: str) -> str:
    """The program that a command line starts, after any `NAME=value` before it."""
    words = (word for word in shlex.split(command, comments=True) if not ASSIGNMENT.match(word))
    return next(words, "")


def make_targets(command: str) -> list[str]:
    """The targets that a `make …` command line names."""
    words = shlex.split(command, comments=True)
    after = words[words.index("make") + 1 :]
    return [word for word in after if not ASSIGNMENT.match(word) and not word.startswith("-")]


def all_blocks(root: Path = ROOT) -> Iterator[Block]:
    """Every block of every page that is tried or says why it isn't."""
    for page in pages(root):
        name = page.relative_to(root).as_posix()
        for found in blocks_of(name, page.read_text(encoding="utf-8")):
            if found.is_tried or found.reason_not_to_test:
                yield found
