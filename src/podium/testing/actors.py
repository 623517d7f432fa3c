"""Scripted agents: they accept, work for a drawn time, and answer as a good agent does, or as a bad day has it.

An actor keeps to the link's rules as `agents.host` does: it knows copies of an assignment, says a result until it is
confirmed, and renews what it works on. What a task returns depends on its function and its name alone, so that the
oracle knows every result beforehand.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec
from msgspec import Raw

from podium.fleet import messages as msg
from podium.testing.faults import Fate
from podium.testing.ledger import Effect, MemoryLedger
from podium.testing.performing import Performer, Stage
from podium.testing.scripts import Script
from podium.workflow.model import ResourceRequirements

RENEWAL_SECONDS = 5.0
HELLO_SECONDS = 10.0
SILENT_SECONDS = 120.0


class Actor:
    """One scripted agent. `durations` are how long its tasks take, in seconds."""

    durations: tuple[float, ...] = (0.0, 0.01, 0.5, 2.0, 8.0)

    def __init__(
        self,
        agent_id: str,
        agent_type: str,
        slots: int,
        fate: Fate,
        ledger: MemoryLedger,
        say: Callable[[msg.FromAgent], None],
        *,
        script: Script | None = None,
        performer: Performer | None = None,
        capabilities: tuple[str, ...] = (),
        resources: ResourceRequirements = ResourceRequirements(),
        version: str = "1.0",
    ) -> None:
        """It gives what the script says, or what the performer's code does."""
        self.id = agent_id
        self.type = agent_type
        self._slots = slots
        self._fate = fate
        self._ledger = ledger
        self._say = say
        self._script = script or Script()
        self._performer = performer
        self._stage: Stage | None = None
        self._capabilities = capabilities
        self._resources = resources
        self._version = version
        self._loop = asyncio.get_running_loop()
        self._incarnation = 0
        self._here = False
        self._live: dict[str, asyncio.TimerHandle | asyncio.Task[None] | None] = {}
        self._silent: set[str] = set()
        self._ended: set[str] = set()
        self._held: dict[str, msg.FromAgent] = {}
        self._renewing: asyncio.TimerHandle | None = None
        self._greeting: asyncio.TimerHandle | None = None
        self._pressing: asyncio.TimerHandle | None = None

    # --- its life ------------------------------------------------------------------------------------------------

    def come(self) -> None:
        """Start, as a new incarnation."""
        self._incarnation += 1
        self._here = True
        self._stage = self._performer.stage(self.type) if self._performer is not None else None
        self._greet()

    def vanish(self) -> None:
        """Be gone without a word; everything held is lost."""
        self._here = False
        handles = [*self._live.values(), self._renewing, self._greeting, self._pressing]
        for handle in handles:
            if handle is not None:
                handle.cancel()
        self._renewing = self._greeting = self._pressing = None
        for held in (self._live, self._silent, self._ended, self._held):
            held.clear()

    def _come_later(self) -> None:
        self._loop.call_later(self._fate.chance.uniform(0.1, 30), self._come_back)

    def _come_back(self) -> None:
        if not self._here:
            self.come()

    @property
    def here(self) -> bool:
        """Whether its process is there."""
        return self._here

    @property
    def incarnation(self) -> str:
        """The name of its present life."""
        return f"{self.id}#{self._incarnation}"

    def _greet(self) -> None:
        registration = msg.Registration(
            self.id, self.type, self.incarnation, self._capabilities,
            slots=self._slots, resources=self._resources, version=self._version,
        )  # fmt: skip
        self._say(registration)
        self._greeting = self._loop.call_later(HELLO_SECONDS, self._greet)

    def leave(self) -> None:
        """Hand everything back and go; come back later."""
        if not self._here:
            return
        for attempt in list(self._live):
            self._say(msg.HandedBack(self.id, attempt))
        self._say(msg.Left(self.id, self.incarnation))
        self.vanish()
        self._come_later()

    # --- what it is told -----------------------------------------------------------------------------------------

    def deliver(self, message: msg.ToAgent) -> None:
        """Take a message."""
        if not self._here:
            return
        match message:
            case msg.Assignment():
                self._assign(message)
            case msg.Cancel(attempt, _, _):
                self._cancel(attempt)
            case msg.Confirmation(attempt, _):
                self._held.pop(attempt, None)
            case msg.Drain():
                self.leave()

    def _assign(self, assignment: msg.Assignment) -> None:
        attempt = assignment.attempt
        if attempt in self._held:
            self._say(self._held[attempt])
        elif attempt in self._live or attempt in self._ended:
            return
        elif len(self._live) >= self._slots:
            self._say(msg.Refused(self.id, attempt, "full"))
        else:
            self._begin(assignment)

    def _cancel(self, attempt: str) -> None:
        if attempt in self._ended:
            return  # said already; a thread that can't be stopped says when it returns
        if attempt in self._live:
            self._stop(attempt)
        self._report(msg.Failed(self.id, attempt, msg.ErrorInfo("Cancelled", "cancelled"), cancelled=True))

    # --- an attempt ----------------------------------------------------------------------------------------------

    def _begin(self, assignment: msg.Assignment) -> None:
        attempt, fate = assignment.attempt, self._fate
        self._say(msg.Accepted(self.id, attempt))
        self._live[attempt] = None
        if self._renewing is None:
            self._renewing = self._loop.call_later(RENEWAL_SECONDS, self._renew)
        seconds = fate.chance.choice(self.durations) * fate.chance.uniform(0.5, 1.5)
        if fate.strikes("agent_silent"):
            self._fall_silent(attempt)
            return
        if fate.strikes("agent_late"):
            self._silent.add(attempt)
            seconds = assignment.lease_seconds + fate.chance.uniform(0.5, 10)
        timeout = assignment.timeout_seconds
        if timeout is not None and seconds > timeout:
            self._live[attempt] = self._loop.call_later(timeout, self._time_out, attempt)
        else:
            self._live[attempt] = self._loop.call_later(seconds, self._work, assignment)
        if self._stage is None and fate.chance.random() < 0.1:
            self._say(msg.Progress(self.id, attempt, 0.5, "half"))
            self._say(msg.Saved(self.id, attempt, 1, Raw(b'{"at":1}')))

    def _fall_silent(self, attempt: str) -> None:
        """Say nothing more of an attempt, and forget it at last."""
        self._silent.add(attempt)
        self._live[attempt] = self._loop.call_later(SILENT_SECONDS, self._stop, attempt)

    def _work(self, assignment: msg.Assignment) -> None:
        """Do what is to be done: at once by the script, or by code that may take its time."""
        if self._stage is None:
            self._finish(assignment)
        elif self._dies(assignment):
            return
        else:
            name = f"agent-{self.id}-{assignment.attempt}"
            self._live[assignment.attempt] = self._loop.create_task(self._perform(self._stage, assignment), name=name)

    async def _perform(self, stage: Stage, assignment: msg.Assignment) -> None:
        """Have the code do it, within its time, and report what came of it; perhaps die before anybody hears."""
        attempt, fate, timeout = assignment.attempt, self._fate, assignment.timeout_seconds
        lost = fate.strikes("agent_dies")
        if lost and fate.chance.random() < 0.5:
            self._loop.call_later(fate.chance.uniform(0, 2), self._die)
        ends = self._loop.call_later(timeout, self._time_out, attempt) if timeout is not None else None
        try:
            end = await stage.perform(assignment, self._say)
        finally:
            if ends is not None:
                ends.cancel()
        if attempt not in self._live or self._stage is not stage:
            return
        self._live[attempt] = None
        if lost:
            self._die()
            return
        self._finish(assignment, end)

    def _dies(self, assignment: msg.Assignment) -> bool:
        """Whether the agent is gone before it began."""
        if not self._fate.strikes("agent_dies"):
            return False
        self._die()
        return True

    def _die(self) -> None:
        if self._here:
            self.vanish()
            self._come_later()

    def _time_out(self, attempt: str) -> None:
        error = msg.ErrorInfo("TimeoutError", "simulated: out of time")
        if self._fate.strikes("slot_stuck"):
            self._stop(attempt, keeps_slot=True)
            self._report(msg.Failed(self.id, attempt, error, timed_out=True, holds_slot=True))
            self._live[attempt] = self._loop.call_later(self._fate.chance.uniform(1, 20), self._free, attempt)
        else:
            self._stop(attempt)
            self._report(msg.Failed(self.id, attempt, error, timed_out=True))

    def _free(self, attempt: str) -> None:
        self._live.pop(attempt, None)
        held = self._held.get(attempt)
        if isinstance(held, msg.Failed):
            self._held[attempt] = msgspec.structs.replace(held, holds_slot=False)
        self._say(msg.Freed(self.id, attempt))

    def _finish(self, assignment: msg.Assignment, end: Raw | msg.ErrorInfo | None = None) -> None:
        """Report the end: what code gave, or what the script has."""
        attempt, fate, function = assignment.attempt, self._fate, assignment.function
        if end is None and fate.strikes("agent_dies"):
            if fate.chance.random() < 0.5:
                self._effect(assignment, "interrupted")
            self.vanish()
            self._come_later()
            return
        self._stop(attempt)
        if fate.strikes("worker_dies"):
            error = msg.ErrorInfo("WorkerDied", "simulated: the worker died")
            self._report(msg.Failed(self.id, attempt, error, crashed=True))
        elif isinstance(end, msg.ErrorInfo):
            self._effect(assignment, "failed")
            self._report(msg.Failed(self.id, attempt, end))
        elif function.startswith("doomed") or fate.strikes("attempt_fails"):
            self._effect(assignment, "failed")
            self._report(msg.Failed(self.id, attempt, msg.ErrorInfo("SimulatedError", f"{assignment.task} failed")))
        else:
            self._effect(assignment, "succeeded")
            given = end if end is not None else Raw(self._script.result_of(function, assignment.task))
            result = msg.Succeeded(self.id, attempt, given)
            self._report(result)
            if fate.strikes("answers_twice"):
                self._say(result)
        if fate.strikes("agent_leaves"):
            self.leave()

    def _effect(self, assignment: msg.Assignment, outcome: str) -> None:
        self._ledger.record(Effect(assignment.idempotency_key, assignment.attempt, outcome))

    def _stop(self, attempt: str, keeps_slot: bool = False) -> None:
        handle = self._live.pop(attempt, None)
        if handle is not None:
            handle.cancel()
        if keeps_slot:
            self._live[attempt] = None
        self._silent.discard(attempt)
        self._ended.add(attempt)

    # --- what it says again and again ----------------------------------------------------------------------------

    def _report(self, result: msg.Succeeded | msg.Failed) -> None:
        self._ended.add(result.attempt)
        self._held[result.attempt] = result
        self._say(result)
        if self._pressing is None:
            self._pressing = self._loop.call_later(RENEWAL_SECONDS, self._press)

    def _press(self) -> None:
        self._pressing = None
        for held in list(self._held.values()):
            self._say(held)
        if self._held:
            self._pressing = self._loop.call_later(RENEWAL_SECONDS, self._press)

    def _renew(self) -> None:
        self._renewing = None
        attempts = tuple(a for a in dict.fromkeys((*self._live, *self._held)) if a not in self._silent)
        if attempts:
            self._say(msg.Renewal(self.id, attempts))
        if self._live or self._held:
            self._renewing = self._loop.call_later(RENEWAL_SECONDS, self._renew)

    def has_ended(self, attempt: str) -> bool:
        """Whether it has ended an attempt in its present life, recorded or not."""
        return attempt in self._ended

    @property
    def quiet(self) -> bool:
        """Whether nothing runs and nothing is unconfirmed."""
        return not self._live and not self._held
