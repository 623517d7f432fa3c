"""Agents that need no code of one's own: `noop`, `echo`, `sleep`, `fail` and `shell`, each for any function name."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Annotated

from msgspec import Meta, Raw, Struct

from podium.agents.sdk import Context, agent, task
from podium.exceptions import AgentError, NonRetryableError

OUTPUT_LIMIT = 64 * 1024  # bytes of each stream that are kept: the last ones
MESSAGE_LIMIT = 2_000  # characters of them in an error
TERM_SECONDS = 2.0


@agent("noop", slots=1000)
class Noop:
    """Takes anything, does nothing, returns null."""

    @task(name="*")
    async def nothing(self, /, **arguments: Raw) -> None:
        """Do nothing."""


@agent("echo", slots=1000)
class Echo:
    """Returns its arguments."""

    @task(name="*")
    async def echo(self, /, **arguments: Raw) -> dict[str, Raw]:
        """Return the arguments as they came."""
        return arguments


@agent("sleep", slots=1000)
class Sleep:
    """Waits."""

    @task(name="*")
    async def sleep(self, seconds: Annotated[float, Meta(ge=0)] = 1.0) -> float:
        """Wait so many seconds and return them."""
        await asyncio.sleep(seconds)
        return seconds


@agent("fail", slots=1000)
class Fail:
    """Fails on purpose."""

    @task(name="*")
    async def fail(
        self,
        context: Context,
        message: str = "failed on purpose",
        times: int | None = None,
        retryable: bool = True,
    ) -> int:
        """Raise with this message, in the first `times` attempts or always; then return the attempt's number."""
        if times is None or context.attempt <= times:
            raise (AgentError if retryable else NonRetryableError)(message)
        return context.attempt


class Output(Struct, frozen=True):
    """What a command left: its exit code and the ends of what it wrote."""

    exit_code: int
    stdout: str
    stderr: str
    left_out_bytes: int = 0


@agent("shell", slots=8)
class Shell:
    """Runs programs. There is no shell: the command is a list of arguments, and nothing in it is expanded."""

    @task(name="*")
    async def run(
        self,
        context: Context,
        command: Annotated[list[str], Meta(min_length=1)],
        stdin: str = "",
        cwd: str | None = None,
        env: dict[str, str] | None = None,
        check: bool = True,
    ) -> Output:
        """Run a program to its end; a non-zero exit code fails the attempt unless `check` is false."""
        environment = {**os.environ, **context.env, **(env or {}), "PODIUM_IDEMPOTENCY_KEY": context.idempotency_key}
        try:
            process = await _started(command, cwd, environment)
        except (OSError, ValueError) as error:
            raise NonRetryableError(f"{command[0]} could not be started: {error}") from error
        try:
            stdout, stderr, _ = await asyncio.gather(
                _tail(process.stdout), _tail(process.stderr), _feed(process.stdin, stdin.encode())
            )
            code = await process.wait()
        finally:
            await _end_group(process)
        output = Output(code, stdout.text(), stderr.text(), stdout.left_out + stderr.left_out)
        if check and code != 0:
            why = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
            raise AgentError(f"{command[0]} {why}: {_last(output.stderr or output.stdout)}")
        return output


def _last(text: str) -> str:
    """Return the end of what was written; the mark of a cut tells that more stood before it."""
    text = text.strip()
    return text if len(text) <= MESSAGE_LIMIT else f"…{text[-MESSAGE_LIMIT:]}"


async def _started(command: list[str], cwd: str | None, env: dict[str, str]) -> asyncio.subprocess.Process:
    """Start the program; a cancel that comes meanwhile ends it with all that it has started already."""
    starting = asyncio.create_task(
        asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd=cwd,
            env=env,
            start_new_session=True,
        ),
        name=f"starts {command[0]}",
    )
    try:
        return await asyncio.shield(starting)
    except asyncio.CancelledError:
        await asyncio.wait([starting])
        if starting.exception() is None:
            await _end_group(starting.result())
        raise


class _Tail:
    """The last bytes of a stream."""

    def __init__(self) -> None:
        self.kept = bytearray()
        self.left_out = 0

    def add(self, part: bytes) -> None:
        self.kept += part
        if len(self.kept) > OUTPUT_LIMIT:
            over = len(self.kept) - OUTPUT_LIMIT
            del self.kept[:over]
            self.left_out += over

    def begin_with_a_line(self) -> None:
        """Drop what is left of a line that was cut, if others follow: the end of a secret can't be told from a text."""
        line = self.kept.find(b"\n") + 1
        if self.left_out and 0 < line < len(self.kept):
            del self.kept[:line]
            self.left_out += line

    def text(self) -> str:
        return self.kept.decode("utf-8", "replace")


async def _tail(stream: asyncio.StreamReader | None) -> _Tail:
    tail = _Tail()
    while stream is not None and (part := await stream.read(1 << 16)):
        tail.add(part)
    tail.begin_with_a_line()
    return tail


async def _feed(stream: asyncio.StreamWriter | None, text: bytes) -> None:
    if stream is None:
        return
    try:
        stream.write(text)
        await stream.drain()
    except (BrokenPipeError, ConnectionResetError):
        return  # the program doesn't read it all; that is its affair
    finally:
        stream.close()


async def _end_group(process: asyncio.subprocess.Process) -> None:
    """End the program and all that it has started: asked first, killed when that takes too long or is cancelled."""
    try:
        if process.returncode is None and _signal_group(process.pid, signal.SIGTERM):
            async with asyncio.timeout(TERM_SECONDS):
                await process.wait()
    except TimeoutError:
        pass
    finally:
        if _signal_group(process.pid, signal.SIGKILL):
            await process.wait()


def _signal_group(group: int, number: int) -> bool:
    """Send a signal to a process group; returns whether there still is one."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True
