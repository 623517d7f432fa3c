"""The worker processes that one agent's cpu functions run in: one a slot, started when needed, kept for the next task.

A child is spawned (never forked), leads a session of its own so that a terminal's Ctrl-C doesn't reach it, and talks
over one socket pair; when that breaks it ends. Its death harms the one attempt it ran: the next gets a new child.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Mapping
from types import MappingProxyType

from msgspec import Raw

from podium.agents.attempt import LiveAttempt
from podium.agents.errors import WorkerDied, WorkerUnavailable
from podium.agents.frames import (
    HEADER,
    Began,
    Job,
    Kept,
    Logged,
    Raised,
    Returned,
    Shown,
    ToWorker,
    Went,
    decode_from_worker,
    frame,
)
from podium.agents.importing import source_of
from podium.agents.sdk import AgentDefinition
from podium.clock import SECOND
from podium.fleet.messages import Assignment

END_SECONDS = 1.0  # a child whose socket broke has so long to end by itself


class WorkerProcess:
    """One child process, which runs one attempt at a time."""

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        env: Mapping[str, str],
    ) -> None:
        self.env = env  # what its attempts have beyond the host's own
        self._process = process
        self._reader = reader
        self._writer = writer
        self.alive = True
        self.began = False  # the job that it was given last

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    @property
    def gone(self) -> bool:
        """Whether the child has ended while it had nothing to do."""
        return self._process.returncode is not None or self._reader.at_eof()

    @classmethod
    async def spawn(cls, env: Mapping[str, str] = MappingProxyType({})) -> WorkerProcess:
        """Start a child for attempts with these variables, which it sets itself. Raises WorkerUnavailable.

        It isn't started with them: interpreter and loader would follow them before there is any code of Podium's.
        """
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                process = await asyncio.create_subprocess_exec(
                    sys.executable,
                    "-m",
                    "podium.agents.worker",
                    str(theirs.fileno()),
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=2,  # what a task prints must not mix with the command's own output
                    pass_fds=(theirs.fileno(),),
                    start_new_session=True,
                )
            ours.setblocking(False)
            reader, writer = await asyncio.open_connection(sock=ours)
        except OSError as error:
            ours.close()
            raise WorkerUnavailable(f"no worker process could be started: {error}") from error
        return cls(process, reader, writer, env)

    def say(self, message: ToWorker) -> None:
        """Send a message; to a dead child it is lost."""
        if not self._writer.is_closing():
            self._writer.write(frame(message))

    async def run(self, job: Job, live: LiveAttempt) -> Returned | Raised:
        """Run a job, hand on what it says, and return how it ended. Raises WorkerDied."""
        self.began = False
        self.say(job)
        try:
            while True:
                (length,) = HEADER.unpack(await self._reader.readexactly(HEADER.size))
                match decode_from_worker(await self._reader.readexactly(length)):
                    case Began():
                        self.began = True
                    case Went(fraction, message):
                        live.progress(fraction, message)
                    case Kept(checkpoint):
                        live.save(Raw(checkpoint))
                    case Shown(value):
                        live.publish(Raw(value))
                    case Logged(level, text):
                        live.log(level, text)
                    case Returned() | Raised() as end:
                        return end
        except (asyncio.IncompleteReadError, OSError):
            code = await self.ended()
            raise WorkerDied(f"the worker process {how_it_ended(code)} while it ran the task") from None

    def kill(self) -> None:
        """Kill the child and all that it has started."""
        self.alive = False
        if self._process.returncode is None:
            try:
                os.killpg(self._process.pid, signal.SIGKILL)
            except ProcessLookupError:
                return

    async def ended(self) -> int:
        """Close the link, see the child to its end and return its exit code."""
        self.alive = False
        self._writer.close()
        try:
            async with asyncio.timeout(END_SECONDS):
                return await self._process.wait()
        except TimeoutError:
            self.kill()
            return await self._process.wait()


class Processes:
    """The children of one agent; the caller runs no more attempts at a time than the agent has slots."""

    def __init__(self, definition: AgentDefinition) -> None:
        self._definition = definition
        self._idle: list[WorkerProcess] = []
        self._all: set[WorkerProcess] = set()

    async def run(self, live: LiveAttempt) -> Returned | Raised:
        """Run an attempt in an idle child or a new one; an idle one that turns out to be dead is replaced.

        A child has the variables of its first attempt for good: for other ones there is another child.
        """
        function = self._definition.functions[live.bound.name]
        job = _job(live, self._definition, function.name)
        env = live.given().env
        while (worker := await self._idle_one(env)) is not None:
            try:
                return await self._run_in(worker, job, live)
            except WorkerDied:
                if worker.began or live.ending is not None:
                    raise
        await self._make_room()
        worker = await WorkerProcess.spawn(env)
        self._all.add(worker)
        return await self._run_in(worker, job, live)

    async def _run_in(self, worker: WorkerProcess, job: Job, live: LiveAttempt) -> Returned | Raised:
        live.worker = worker
        try:
            if live.ending is not None:  # asked to end while its child was being started
                worker.kill()
            end = await worker.run(job, live)
            if worker.alive:
                self._idle.append(worker)
            return end
        finally:
            live.worker = None
            if worker not in self._idle:  # dead, killed, or left in the middle of its work
                worker.kill()
                self._all.discard(worker)
                await worker.ended()

    def kill(self) -> None:
        """Kill all children."""
        for worker in self._all:
            worker.kill()

    async def close(self) -> None:
        """End all children: idle ones by closing their link, others were killed before."""
        self._idle.clear()
        for worker in tuple(self._all):
            self._all.discard(worker)
            await worker.ended()

    async def _idle_one(self, env: Mapping[str, str]) -> WorkerProcess | None:
        """Return the idle child with these variables that was busy last."""
        while (worker := next((idle for idle in reversed(self._idle) if idle.env == env), None)) is not None:
            self._idle.remove(worker)
            if not worker.gone:
                return worker
            self._all.discard(worker)
            await worker.ended()
        return None

    async def _make_room(self) -> None:
        """End idle children, the oldest first, while there are as many as the agent has slots."""
        while self._idle and len(self._all) >= self._definition.slots:
            worker = self._idle.pop(0)
            self._all.discard(worker)
            await worker.ended()


def how_it_ended(code: int) -> str:
    """Return an exit code in words."""
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"


def _job(live: LiveAttempt, definition: AgentDefinition, name: str) -> Job:
    assignment: Assignment = live.assignment
    remaining = None
    if live.deadline_us is not None:
        remaining = (live.deadline_us - live.voice.clock.now_us()) / SECOND
    return Job(
        source=source_of(definition, definition.functions[name]),
        path=list(sys.path),
        arguments=bytes(live.given().arguments),
        lenient=assignment.lenient,
        attempt=assignment.attempt,
        number=assignment.number,
        execution=assignment.execution,
        task=assignment.task,
        function=assignment.function,
        idempotency_key=assignment.idempotency_key,
        remaining_seconds=remaining,
        checkpoint=bytes(assignment.checkpoint) or None,
        env=live.given().env,
    )
