"""One process of the long run across its lives: started, killed, held, asked to end, and watched.

Of what it says the last lines are kept, whatever it says. One that ends by itself is written down and started again, as
whoever runs services would.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

LINES_KEPT = 3_000
READY_SECONDS = 90.0
END_SECONDS = 60.0
PAUSE_SECONDS = 1.0  # before one that ended by itself is started again


class Life(Struct):
    """A process from its start to its end: how much memory it had early, and last, in megabytes."""

    pid: int
    began: float
    early_mb: float = 0.0
    last_mb: float = 0.0
    seconds: float = 0.0


class Ended(Struct, frozen=True):
    """An end that nobody asked for, and the last words."""

    name: str
    code: int
    ready: bool
    words: tuple[str, ...]


class Process:
    """A process of this name, now or soon again."""

    def __init__(
        self,
        name: str,
        command: tuple[str, ...],
        folder: Path,
        environment: dict[str, str],
        ended: Callable[[Ended], None],
        *,
        speaks: bool = True,
    ) -> None:
        """`speaks`: it prints a line of JSON once it is there. `ended` hears of ends that nobody asked for."""
        self.name = name
        self.said: deque[str] = deque(maxlen=LINES_KEPT)
        self.lives: list[Life] = []
        self.addresses: dict[str, Any] = {}
        self._command = command
        self._folder = folder
        self._environment = environment
        self._ended = ended
        self._speaks = speaks
        self._process: asyncio.subprocess.Process | None = None
        self._ready = asyncio.Event()
        self._wanted = False
        self._watching: asyncio.Task[None] | None = None

    # --- its life ----------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Start it, and keep it started. It need not be ready when this returns."""
        self._wanted = True
        if self._process is None:
            await self._begin()

    async def ready(self, seconds: float = READY_SECONDS) -> bool:
        """Wait until it says that it is there; False if it doesn't in time."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._ready.wait()
        return self._ready.is_set()

    @property
    def is_ready(self) -> bool:
        """Whether it is there."""
        return self._ready.is_set()

    @property
    def pid(self) -> int | None:
        """Its process now, if there is one."""
        return self._process.pid if self._process is not None and self._process.returncode is None else None

    async def kill(self) -> None:
        """End it with -9; it isn't started again by itself."""
        await self._end(signal.SIGKILL)

    async def terminate(self) -> int | None:
        """Ask it to end; return its exit code, None if it had to be killed after all."""
        return await self._end(signal.SIGTERM)

    def hold(self) -> None:
        """Have it stand still."""
        self._send(signal.SIGSTOP)

    def release(self) -> None:
        """Let it go on."""
        self._send(signal.SIGCONT)

    async def close(self) -> None:
        """End it for good."""
        self._send(signal.SIGCONT)
        await self._end(signal.SIGKILL)

    def _send(self, number: signal.Signals) -> None:
        if self.pid is not None:
            self._note(f"--- {number.name}")
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    async def _begin(self) -> None:
        self._ready.clear()
        process = await asyncio.create_subprocess_exec(
            *self._command,
            cwd=self._folder,
            env=self._environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=1 << 22,
        )
        self._process = process
        self._note(f"--- started as {process.pid}")
        self.lives.append(Life(process.pid, time.monotonic()))
        if not self._speaks:
            self._ready.set()
        self._watching = asyncio.create_task(self._watch(process), name=f"watches-{self.name}")

    async def _end(self, number: signal.Signals) -> int | None:
        self._wanted = False
        process, watching = self._process, self._watching
        if process is None or watching is None:
            return None
        self._send(number)
        done, _ = await asyncio.wait({watching}, timeout=END_SECONDS)
        if done:
            return process.returncode
        self._note("--- it didn't end, and is killed")
        self._send(signal.SIGKILL)
        await asyncio.wait({watching})
        return None

    def last_words(self, most: int = 12) -> tuple[str, ...]:
        """Return what it said last, since its last start."""
        lines = list(self.said)
        begun = max((nth for nth, line in enumerate(lines) if "--- started" in line), default=0)
        return tuple(lines[begun:][-most:])

    # --- what it says ------------------------------------------------------------------------------------------

    async def _watch(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        assert process.stderr is not None
        await asyncio.gather(self._read(process.stdout, self._hear), self._read(process.stderr, self._note))
        code = await process.wait()
        self._note(f"--- ended with {code}")
        was_ready = self._ready.is_set()
        self._process = None
        self._ready.clear()
        if self._wanted:
            self._ended(Ended(self.name, code, was_ready, self.last_words()))
            await asyncio.sleep(PAUSE_SECONDS)
            if self._wanted:
                await self._begin()

    async def _read(self, stream: asyncio.StreamReader, hear: Callable[[str], None]) -> None:
        while True:
            try:
                line = await stream.readline()
            except ValueError:  # above the limit: the rest comes as further lines
                continue
            if not line:
                return
            hear(line.decode(errors="replace").rstrip("\n"))

    def _hear(self, line: str) -> None:
        self._note(line)
        if self._speaks and not self._ready.is_set() and line.startswith("{"):
            with contextlib.suppress(msgspec.DecodeError):
                said = msgspec.json.decode(line, type=dict[str, Any])
                if "error" not in said:
                    self.addresses = said
                    self._ready.set()

    def _note(self, line: str) -> None:
        self.said.append(f"{time.strftime('%H:%M:%S')} {line}")

    # --- its memory --------------------------------------------------------------------------------------------

    def measure(self, early_seconds: float) -> None:
        """Note how much memory it has; until it is so old, that counts as early."""
        if self.pid is None or not self.lives:
            return
        life = self.lives[-1]
        life.last_mb = resident_mb(self.pid) or life.last_mb
        life.seconds = time.monotonic() - life.began
        if life.seconds < early_seconds:
            life.early_mb = life.last_mb


def resident_mb(pid: int) -> float:
    """Return the resident memory of a process in megabytes; 0 if it is gone."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    line = next((line for line in text.splitlines() if line.startswith("VmRSS:")), "VmRSS: 0 kB")
    return int(line.split()[1]) / 1_000


def podium(*arguments: str) -> tuple[str, ...]:
    """Return the command that runs `podium`."""
    return (sys.executable, "-m", "podium", *arguments)
