"""Runs the code blocks of README.md, CONTRIBUTING.md and docs/: what the pages say must work.

The blocks of one page share one temporary folder and, for Python, one namespace; they run in the order of the page.
A block that is asked for alone (`pytest -k README.md:42`) first has those before it run.
"""

import os
import re
import shlex
import subprocess
import sys
import sysconfig
import time
import types
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from podium.testing.natsserver import nats_server
from podium.testing.postgresserver import postgres_server
from tests.docs.snippets import (
    CONSOLE,
    PYTHON,
    ROOT,
    YAML,
    Block,
    all_blocks,
    commands,
    is_workflow,
    make_targets,
    program,
)

SECONDS_PER_COMMAND = 180
# What a page may start besides `podium` and `make`: programs that a reader has and that stay in the folder.
PLAIN_PROGRAMS = frozenset({"cat", "echo", "grep", "head", "ls", "mkdir", "python", "python3", "tail"})

# Pages that suppose a database on PostgreSQL and a bus, which the environment names: they get real servers.
SERVED = frozenset({"docs/replicas.md"})

BLOCKS = list(all_blocks())


class Page:
    """A page that is being tried: its folder, its Python namespace, and what became of each block."""

    def __init__(self, blocks: list[Block], folder: Path) -> None:
        self.blocks = blocks
        self.folder = folder
        self.module = types.ModuleType("__main__")
        self.outcomes: dict[int, BaseException | None] = {}
        self.terminals: list[tuple[Block, subprocess.Popen[bytes]]] = []
        self.servers = ExitStack()
        self.environment = environment()

    def try_up_to(self, wanted: Block) -> None:
        """Runs the blocks before the wanted one that haven't run yet, then that one; raises what that one raised."""
        if wanted.page in SERVED and not self.outcomes:
            self.serve()
        for block in self.blocks:
            if block.line > wanted.line:
                break
            if block.line not in self.outcomes:
                self.outcomes[block.line] = self.outcome(block)
        if (error := self.outcomes[wanted.line]) is not None:
            raise error

    def serve(self) -> None:
        """Starts the servers that the page supposes; the page isn't tried where there are none."""
        postgres = self.servers.enter_context(postgres_server())
        bus = self.servers.enter_context(nats_server(self.folder / "nats"))
        self.environment |= {"DATABASE_URL": postgres.url(), "PODIUM_BUS": bus.url}

    def outcome(self, block: Block) -> BaseException | None:
        try:
            with inside(self.folder):
                self.run(block)
        except (Exception, SystemExit, pytest.fail.Exception) as error:  # noqa: BLE001  kept, and raised by its own test
            return error
        return None

    def run(self, block: Block) -> None:
        if block.file:
            path = self.folder / block.file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text, encoding="utf-8")
        if block.reason_not_to_test:
            return
        if block.kind in PYTHON and block.file:
            self.shell(f"python {shlex.quote(block.file)}", block)
        elif block.kind in PYTHON:
            self.execute(block)
        elif block.kind in YAML and is_workflow(block.text):
            self.validate(block)
        elif block.kind in CONSOLE and block.until is not None:
            for command in commands(block):
                self.terminal(command, block.until, block)
        elif block.kind in CONSOLE and not block.file:
            for command in commands(block):
                self.command(command, block)

    def terminal(self, command: str, until: str, block: Block) -> None:
        """Starts a command that goes on, and returns once it has said what it is to say."""
        said = self.folder / f"terminal-{block.line}-{len(self.terminals)}.log"
        with said.open("wb") as output:
            process = subprocess.Popen(
                shlex.split(command),
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        self.terminals.append((block, process))
        waited = 0.0
        while until.encode() not in said.read_bytes():
            if process.poll() is not None or waited > SECONDS_PER_COMMAND:
                pytest.fail(f"{block.id}: `{command}` didn't say {until!r}\n{said.read_text()}")
            time.sleep(0.05)
            waited += 0.05

    def close(self) -> None:
        """Ends the other terminals, the newest first; each must end in good order."""
        with self.servers:
            while self.terminals:
                block, process = self.terminals.pop()
                process.terminate()
                code = process.wait(60)
                assert code == block.exit_code, f"{block.id} ended with {code} at SIGTERM"

    def execute(self, block: Block) -> None:
        """Runs Python as an interactive session would: in a module called `__main__` that lasts for the page."""
        code = compile("\n" * block.line + block.text, str(ROOT / block.page), "exec")
        before = sys.modules["__main__"]
        sys.modules["__main__"] = self.module
        try:
            exec(code, self.module.__dict__)
        finally:
            sys.modules["__main__"] = before

    def validate(self, block: Block) -> None:
        name = block.file or f"block-{block.line}.yaml"
        (self.folder / name).write_text(block.text, encoding="utf-8")
        self.shell(f"podium validate {shlex.quote(name)}", block)

    def command(self, command: str, block: Block) -> None:
        name = program(command)
        if name == "make":
            self.make(command, block)
        elif name == "podium" or name in PLAIN_PROGRAMS:
            self.shell(command, block)
        else:
            pytest.fail(
                f'{block.id}: nothing is known about {name!r}; give the block no-test="why", or make it one of '
                f"podium, make, {', '.join(sorted(PLAIN_PROGRAMS))}"
            )

    def make(self, command: str, block: Block) -> None:
        """`make` would take minutes and call itself; so only the names are checked, and `make help` is run."""
        known = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
        targets = make_targets(command)
        if missing := [target for target in targets if target not in known]:
            pytest.fail(f"{block.id}: `{command}`: the Makefile has no target {', '.join(missing)}")
        if targets in ([], ["help"]):
            self.shell(command, block, folder=ROOT)

    def shell(self, command: str, block: Block, folder: Path | None = None) -> None:
        try:
            done = subprocess.run(
                command,
                shell=True,
                cwd=folder or self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                encoding="utf-8",
                errors="replace",
                timeout=SECONDS_PER_COMMAND,
            )
        except subprocess.TimeoutExpired as late:
            pytest.fail(f"{block.id}: `{command}` wasn't done after {SECONDS_PER_COMMAND} s\n{late.output or ''}")
        if done.returncode != block.exit_code:
            pytest.fail(f"{block.id}: `{command}` ended with {done.returncode}, not {block.exit_code}\n{done.stdout}")


def environment() -> dict[str, str]:
    """What a reader's terminal would hold, with the tested Podium first on the path and no settings of this machine."""
    ours = ("PODIUM_", "DATABASE_URL", "MAKE", "MFLAGS")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    scripts = sysconfig.get_path("scripts")
    # Pages are tried side by side: each orchestrator takes free ports instead of the usual ones.
    ports = {f"PODIUM_{name}": "127.0.0.1:0" for name in ("HTTP", "METRICS", "NATS")}
    return kept | ports | {"PATH": os.pathsep.join([scripts, kept.get("PATH", "")]), "NO_COLOR": "1", "COLUMNS": "80"}


@contextmanager
def inside(folder: Path) -> Iterator[None]:
    """Python blocks see the page's folder as their own: relative paths, and modules written there."""
    before = Path.cwd()
    os.chdir(folder)
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        os.chdir(before)


@pytest.fixture(scope="session")
def opened_pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Page]]:
    pages: dict[str, Page] = {}
    for name in dict.fromkeys(block.page for block in BLOCKS):
        blocks = [block for block in BLOCKS if block.page == name]
        pages[name] = Page(blocks, tmp_path_factory.mktemp(re.sub(r"\W+", "-", name)))
    yield pages
    for page in pages.values():
        page.close()


# One page's blocks belong on one of xdist's processes: they share a folder.
PARAMETERS = [pytest.param(block, id=block.id, marks=pytest.mark.xdist_group(block.page)) for block in BLOCKS]


@pytest.mark.parametrize("block", PARAMETERS)
def test_a_page_says_what_works(block: Block, opened_pages: dict[str, Page]) -> None:
    opened_pages[block.page].try_up_to(block)
    if reason := block.reason_not_to_test:
        pytest.skip(reason)
