"""One attempt that lives on an agent: what was assigned, where it runs, how it is to end, and what its task says.

The attempt is its task's `Outlet`. It decides one thing: what the orchestrator hears when the task has raised, given
what was asked of the attempt before (a cancel, the end of its time, the agent's leaving).
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from msgspec import Raw, Struct

from podium.agents.arguments import Call
from podium.agents.context import Context
from podium.agents.errors import WorkerDied, cancelled, describe_error, timed_out
from podium.agents.logs import LogRelay
from podium.agents.outbox import Outbox, Timer
from podium.agents.sdk import Kind
from podium.agents.secrets import Given, Secrets
from podium.clock import Clock, seconds_to_us
from podium.exceptions import TaskCancelledError
from podium.fleet.messages import (
    Assignment,
    ErrorInfo,
    Failed,
    HandedBack,
    LogLine,
    LogSink,
    Progress,
    Published,
    Saved,
)

if TYPE_CHECKING:
    from podium.agents.processes import WorkerProcess


class Ending(StrEnum):
    """Why an attempt is to end before its task does."""

    TIMED_OUT = "timed out"
    CANCELLED = "cancelled"
    HANDED_BACK = "handed back"


class StuckAttempt(Struct, frozen=True):
    """An attempt that was reported as ended but whose function hasn't returned: it keeps its slot."""

    agent: str
    attempt: str
    execution: str
    task: str
    kind: Kind
    started_us: int
    why: str


class BoundFunction(Struct, frozen=True):
    """A task function on the agent's instance, ready to be called."""

    name: str
    kind: Kind
    call: Call
    run: Callable[..., Any]


class Voice:
    """How the attempts of one agent are heard, from whatever thread they speak."""

    def __init__(
        self,
        agent: str,
        clock: Clock,
        outbox: Outbox,
        sink: LogSink,
        loop: asyncio.AbstractEventLoop,
        secrets: Secrets | None = None,
    ) -> None:
        self.agent = agent
        self.clock = clock
        self.outbox = outbox
        self.secrets = secrets or Secrets()
        self.lock = threading.Lock()
        self.logs = LogRelay(sink, self.post)
        self._loop = loop
        self._thread = threading.get_ident()

    def at_home(self) -> bool:
        """Whether this is the loop's thread."""
        return threading.get_ident() == self._thread

    def post(self, callback: Callable[..., object], *args: Any) -> None:
        """Call on the loop's thread; after the loop's end nobody is left to hear it."""
        try:
            self._loop.call_soon_threadsafe(callback, *args)
        except RuntimeError:  # closed: a thread has outlived its agent
            return


class LiveAttempt:
    """An attempt from its acceptance until its slot is free."""

    __slots__ = (
        "_given",
        "_newest",
        "_published",
        "_saved",
        "assignment",
        "attempt",
        "bound",
        "context",
        "deadline_us",
        "ending",
        "reason",
        "reported",
        "started",
        "started_us",
        "task",
        "timer",
        "voice",
        "worker",
    )

    def __init__(self, assignment: Assignment, bound: BoundFunction, voice: Voice, started_us: int) -> None:
        self.assignment = assignment
        self.attempt = assignment.attempt
        self.bound = bound
        self.voice = voice
        timeout = assignment.timeout_seconds
        self.deadline_us = None if timeout is None else started_us + seconds_to_us(timeout)
        self.context: Context | None = None
        self.ending: Ending | None = None
        self.reason = ""
        self.reported = False  # the orchestrator has been told of the end, but the slot is still taken
        self.started = False
        self.started_us = started_us
        self.task: asyncio.Task[None] | None = None
        self.timer: Timer | None = None
        self.worker: WorkerProcess | None = None
        self._given: Given | None = None
        self._saved = 0
        self._published = 0
        self._newest: dict[type, Progress | Saved | Published] | None = None

    def given(self) -> Given:
        """Return the arguments and variables with the values of secrets in them; raises SecretError."""
        if self._given is None:
            self._given = self.voice.secrets.given(self.assignment)
        return self._given

    def arguments(self) -> dict[str, Any]:
        """Return what the function is called with, its context included; raises ArgumentError, SecretError."""
        call = self.bound.call
        arguments = call.arguments(self.given().arguments, self.assignment.lenient)
        if call.context is not None:
            arguments[call.context] = self._context()
        return arguments

    def end(self, ending: Ending, reason: str) -> None:
        """Ask the task to end, and remember why; the first reason counts."""
        if self.ending is None:
            self.reason = reason
            self.ending = ending
        self._show_ending()

    def failure(self, error: BaseException) -> Failed | HandedBack:
        """Return what is said of an attempt whose task has raised this."""
        if isinstance(error, asyncio.CancelledError) and self.ending is None:
            text = "the task raised CancelledError, but nobody had cancelled its attempt"
            return self._failed(ErrorInfo("asyncio.CancelledError", text), by_cancel=False)
        by_cancel = isinstance(error, (asyncio.CancelledError, TaskCancelledError, WorkerDied))
        return self._failed(describe_error(error, 1), by_cancel, crashed=isinstance(error, WorkerDied))

    def failure_in_worker(self, error: ErrorInfo, by_cancel: bool) -> Failed | HandedBack:
        """Return what is said of an attempt whose task has raised this in a worker process."""
        return self._failed(error, by_cancel)

    @property
    def knows_secrets(self) -> bool:
        """Whether this process knows values that it has to conceal."""
        return self.voice.secrets.any_known

    def result(self, value: Raw) -> Raw:
        """Return a value as it may be told: without secrets."""
        return self.voice.secrets.conceal_json(value)

    def _failed(self, error: ErrorInfo, by_cancel: bool, crashed: bool = False) -> Failed | HandedBack:
        agent, attempt = self.voice.agent, self.attempt
        conceal = self.voice.secrets.conceal
        error = ErrorInfo(error.type, conceal(error.message), conceal(error.traceback), error.retryable)
        match self.ending:
            case None:
                return Failed(agent, attempt, error, crashed=crashed)
            case Ending.TIMED_OUT:
                return self.time_out()
            case Ending.HANDED_BACK:
                return HandedBack(agent, attempt)
            case Ending.CANCELLED:
                return Failed(agent, attempt, cancelled(self.reason) if by_cancel else error, cancelled=True)

    def time_out(self) -> Failed:
        """Return what is said of an attempt that ran out of its time."""
        return Failed(self.voice.agent, self.attempt, timed_out(self.assignment.timeout_seconds), timed_out=True)

    def stuck(self) -> StuckAttempt:
        """Return the attempt as one that keeps its slot."""
        assignment, kind = self.assignment, self.bound.kind
        why = f"{self.ending or 'ended'}, but its function has not returned"
        return StuckAttempt(
            self.voice.agent, self.attempt, assignment.execution, assignment.task, kind, self.started_us, why
        )

    def progress(self, fraction: float, message: str) -> None:
        """Say how far the attempt is."""
        self._say(Progress(self.voice.agent, self.attempt, fraction, self.conceal(message)))

    def save(self, checkpoint: Raw) -> None:
        """Keep a checkpoint for the next attempt."""
        self._saved += 1
        self._say(Saved(self.voice.agent, self.attempt, self._saved, self.voice.secrets.conceal_json(checkpoint)))

    def conceal(self, text: str) -> str:
        """Return a text without the secrets that this process knows."""
        return self.voice.secrets.conceal(text)

    def publish(self, value: Raw) -> None:
        """Show a value as the execution's status."""
        self._published += 1
        self._say(Published(self.voice.agent, self.attempt, self._published, self.result(value)))

    def log(self, level: str, text: str) -> None:
        """Keep a line of the attempt's log."""
        assignment, voice, text = self.assignment, self.voice, self.conceal(text)
        line = LogLine(assignment.execution, assignment.task, self.attempt, voice.clock.now_us(), level, text)
        voice.logs.write(line, voice.at_home())

    def _say(self, message: Progress | Saved | Published) -> None:
        """Say it now if this is the loop's thread, else soon; of what waits to be said only the newest."""
        if self.voice.at_home():
            if not self.reported:
                self.voice.outbox.say(message)
            return
        with self.voice.lock:
            waiting, self._newest = self._newest, {**(self._newest or {}), type(message): message}
        if waiting is None:
            self.voice.post(self._say_newest)

    def _say_newest(self) -> None:
        with self.voice.lock:
            newest, self._newest = self._newest, None
        for message in (newest or {}).values():
            if not self.reported:
                self.voice.outbox.say(message)

    def _context(self) -> Context:
        assignment = self.assignment
        self.context = Context(
            self,
            self.voice.clock,
            attempt_id=assignment.attempt,
            attempt=assignment.number,
            execution=assignment.execution,
            task=assignment.task,
            function=assignment.function,
            idempotency_key=assignment.idempotency_key,
            deadline_us=self.deadline_us,
            env=self.given().env,
            checkpoint=assignment.checkpoint if bytes(assignment.checkpoint) != b"null" else None,
        )
        self._show_ending()  # it may have been asked to end before its thread came this far
        return self.context

    def _show_ending(self) -> None:
        if self.context is not None and self.ending is not None:
            self.context.cancel_reason = self.reason
            self.context.cancelled = True
