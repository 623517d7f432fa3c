"""The child process that cpu functions run in: `python -m podium.agents.worker FD`, started by `processes.py` only.

The main thread runs one job after the other; a second thread reads the socket, so that a cancel reaches a task that
computes, and the process ends when its host is gone.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
import socket
import sys
import threading
import time
from queue import SimpleQueue
from typing import Any

from msgspec import Raw

from podium.agents.context import Context, current_outlet
from podium.agents.errors import describe_error
from podium.agents.frames import (
    HEADER,
    Began,
    Flag,
    FromWorker,
    Job,
    Kept,
    Logged,
    Raised,
    Returned,
    Shown,
    Source,
    Went,
    decode_to_worker,
    frame,
    raw,
)
from podium.agents.importing import function_at
from podium.agents.logs import capture_logging
from podium.agents.sdk import AgentDefinition, TaskFunction
from podium.clock import SystemClock, seconds_to_us
from podium.exceptions import TaskCancelledError

HOST_GONE = 70  # exit code of a child whose host ended while it was busy

logger = logging.getLogger(__name__)


class Worker:
    """Runs jobs from a socket; a job's outlet."""

    def __init__(self, link: socket.socket) -> None:
        self._link = link
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._writing = threading.Lock()
        self._clock = SystemClock()
        self._instances: dict[tuple[str, str], Any] = {}
        self._context: Context | None = None
        self._flag: Flag | None = None
        self._busy = False

    def serve(self) -> None:
        """Run jobs until the link breaks."""
        threading.Thread(target=self._read, name="link", daemon=True).start()
        capture_logging()
        while (job := self._jobs.get()) is not None:
            self._send(Began())
            end = self._run(job)
            self._context = None
            self._busy = False
            self._send(end)

    def progress(self, fraction: float, message: str) -> None:
        """Hand the task's progress to the host."""
        self._send(Went(fraction, message))

    def save(self, checkpoint: Raw) -> None:
        """Hand the task's checkpoint to the host."""
        self._send(Kept(bytes(checkpoint)))

    def publish(self, value: Raw) -> None:
        """Hand what the execution shows as its status to the host."""
        self._send(Shown(bytes(value)))

    def log(self, level: str, text: str) -> None:
        """Hand a log line to the host."""
        self._send(Logged(level, text))

    def _run(self, job: Job) -> Returned | Raised:
        current_outlet.set(self)
        try:
            for entry in reversed(job.path):
                if entry not in sys.path:
                    sys.path.insert(0, entry)
            _set(job.env)
            definition, described = function_at(job.source)
            arguments = described.call.arguments(Raw(job.arguments), job.lenient)
            if described.call.context is not None:
                arguments[described.call.context] = self._make_context(job)
            run = self._bound(job.source, definition, described)
            return Returned(bytes(described.call.result(run(**arguments))))
        except BaseException as error:  # noqa: BLE001 - whatever a task raises is its failure, SystemExit too
            return Raised(describe_error(error, 1), isinstance(error, TaskCancelledError))
        finally:
            current_outlet.set(None)

    def _make_context(self, job: Job) -> Context:
        remaining = job.remaining_seconds
        self._context = Context(
            self,
            self._clock,
            attempt_id=job.attempt,
            attempt=job.number,
            execution=job.execution,
            task=job.task,
            function=job.function,
            idempotency_key=job.idempotency_key,
            deadline_us=None if remaining is None else self._clock.now_us() + seconds_to_us(remaining),
            checkpoint=raw(job.checkpoint),
            env=job.env,
        )
        self._show_cancel()
        return self._context

    def _bound(self, source: Source, definition: AgentDefinition | None, described: TaskFunction) -> Any:
        """Return the function, or the method of this process's own instance of the agent."""
        if definition is None or definition.factory is None:
            return described.function
        key = (source.module, source.name)
        if key not in self._instances:
            instance = definition.factory()
            hook = getattr(instance, "start", None)
            outcome = hook() if callable(hook) else None
            if inspect.isawaitable(outcome):
                asyncio.run(_awaited(outcome))
            self._instances[key] = instance
        return described.function.__get__(self._instances[key])

    def _show_cancel(self) -> None:
        context, flag = self._context, self._flag
        if context is not None and flag is not None and flag.attempt == context.attempt_id:
            context.cancel_reason = flag.reason
            context.cancelled = True

    def _read(self) -> None:
        try:
            while True:
                (length,) = HEADER.unpack(self._exactly(HEADER.size))
                match decode_to_worker(self._exactly(length)):
                    case Job() as job:
                        self._busy = True
                        self._jobs.put(job)
                    case Flag() as flag:
                        self._flag = flag
                        self._show_cancel()
        except (EOFError, OSError):
            if self._busy:
                os._exit(HOST_GONE)
            self._jobs.put(None)

    def _exactly(self, length: int) -> bytes:
        parts = []
        while length:
            part = self._link.recv(min(length, 1 << 20))
            if not part:
                raise EOFError
            parts.append(part)
            length -= len(part)
        return b"".join(parts)

    def _send(self, message: FromWorker) -> None:
        encoded = frame(message)
        try:
            with self._writing:
                self._link.sendall(encoded)
        except OSError:
            os._exit(HOST_GONE)


def _set(env: dict[str, str]) -> None:
    """Set the variables of this process's attempts, which are the same for all of them."""
    os.environ.update(env)
    if "TZ" in env:
        time.tzset()


async def _awaited(outcome: Any) -> None:
    await outcome


def main() -> None:
    """Serve the socket whose number is the first argument."""
    Worker(socket.socket(fileno=int(sys.argv[1]))).serve()


if __name__ == "__main__":
    main()
