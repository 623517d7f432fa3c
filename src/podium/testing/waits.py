"""An independent model of what each unfinished task waits for, and whether what `explain` says of it is true.

The model knows the workflow's definition and the log's events, and nothing of the engine's state: it counts attempts,
ends and instances by itself. `untrue` holds explanations against it, sentence by sentence.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from podium.engine import events as ev
from podium.engine.definition import Definition
from podium.engine.explain import Explanation, explain
from podium.engine.grown import regrown
from podium.engine.state import State
from podium.engine.step import fold

_ATTEMPT = re.compile(r"(?:run (\S+), )?attempt (\d+) (?:is|was) with (\S+)")
_FAN = re.compile(r"(\d+) of (\d+) instances have ended(?:, (\d+) failed)?, (\d+) are under way")
_WAITS = re.compile(r"it waits for (.+?)(?: and (\d+) more)?$")
_UNDER_WAY = re.compile(r"(\d+) (?:tasks|instances) are under way, at most (\d+) may be")
_ENDED = ("completed", "failed", "skipped", "cancelled")
_MOVING = ("ready", "running", "retrying")
_OF_A_CHILD = ("waiting", "parked", "retrying")  # what its instance does while it is under way


class WaitModel:
    """One execution as its events tell it."""

    def __init__(self, definition: Definition) -> None:
        self._definition = self._ungrown = definition
        self._growths: list[ev.GraphGrown] = []
        self.status = "running"
        self.tasks: dict[str, str] = {}  # a task's or instance's path: what it is doing
        self.live: dict[str, dict[int, str]] = {}  # attempts by number, with their agents
        self.due: dict[str, int] = {}
        self.outside: dict[str, tuple[str, str]] = {}  # what waiting tasks wait for
        self.fans: dict[str, int] = {}
        self.fallbacks: dict[str, str] = {}
        self.run = 1
        self.highest = self.before = 0  # numbers of attempts, up to now and before this run
        self.held = False  # until the time of its beginning
        self.whole = True  # False once a person has retried: what that reopens is the engine's own affair

    def take(self, events: Iterable[ev.Event]) -> None:
        """Follow what was committed."""
        for event in events:
            self._take(event)

    def _take(self, event: ev.Event) -> None:
        match event:
            case ev.TasksReady(tasks):
                self.tasks.update(dict.fromkeys(tasks, "ready"))
            case ev.GraphGrown():
                self._growths.append(event)
                self._definition = regrown(self._ungrown, self._growths)
            case ev.FanOutOpened(task, count):
                self.tasks[task], self.fans[task] = "fan", count
            case ev.InstancesReady(task, first, stop):
                doing = "pending" if self._is_child(task) else "ready"
                self.tasks.update({f"{task}[{index}]": doing for index in range(first, stop)})
            case ev.AttemptGranted(task, number, agent):
                self.tasks[task] = "running"
                self.live.setdefault(task, {})[number] = agent
                self.highest = max(self.highest, number)
            case ev.ChildStarted(task, number):
                self.highest = max(self.highest, number)
            case ev.AttemptReturned(task, number):
                self.live[task].pop(number, None)
                if not self.live[task] and self.tasks[task] not in _ENDED:
                    self.tasks[task] = "ready"
            case ev.AttemptFailed(task, number):
                self.live.get(task, {}).pop(number, None)
            case ev.RetryScheduled(task, due_us):
                self.tasks[task], self.due[task] = "retrying", due_us
            case ev.TaskWaiting(task, awaits, name):
                self.tasks[task], self.outside[task] = "waiting", (awaits, name)
            case ev.TaskEscalated(task, to):
                self.outside[task] = ("person", to)
            case ev.TaskCompleted(task, number):
                self.tasks[task] = "completed"
                self.live.get(task, {}).pop(number, None)
            case ev.FanOutCompleted(task, _):
                self.tasks[task] = "completed"
            case ev.TaskFailed(task, _):
                self.tasks[task] = "failed"
            case ev.TaskParked(task, _):
                self.tasks[task] = "parked"
            case ev.TaskRetried(task):
                self.tasks[task] = "pending"
            case ev.TaskSkipped(task, _):
                self.tasks[task] = "skipped"
            case ev.TaskCancelled(task):
                self.tasks[task] = "cancelled"
            case ev.FallbackStarted(task, fallback):
                self.fallbacks[task] = fallback
            case ev.ExecutionStarted():
                self.held = event.begins_us is not None
            case ev.ExecutionDue():
                self.held = False
            case ev.RunStarted():
                self._begin_anew()
            case ev.ExecutionRetried():
                self.whole = False
            case _:
                pass
        self.status = _STATUS.get(type(event), self.status)

    def _begin_anew(self) -> None:
        self._definition, self._growths = self._ungrown, []
        self.whole = True
        self.run, self.before = self.run + 1, self.highest
        for known in (self.tasks, self.live, self.due, self.outside, self.fans, self.fallbacks):
            known.clear()

    def untrue(self, said: Iterable[Explanation], now_us: int) -> Iterator[str]:
        """Yield what is said and isn't so, and the unfinished tasks of which nothing is said."""
        if not self.whole:
            return
        explained = set()
        for each in said:
            explained.add(each.task)
            why = self._why_untrue(each, now_us)
            if why:
                yield f"{each.task} is said to be {each.status} because {each.because!r}, but {why}"
        if self.status not in _ENDED:
            known = dict.fromkeys(self._definition.tasks, "pending") | self.tasks
            for task, doing in known.items():
                if doing not in _ENDED and task not in explained:
                    yield f"{task} is {doing}, and nothing is said of it"

    def _why_untrue(self, said: Explanation, now_us: int) -> str:
        doing = self.tasks.get(said.task, "pending")
        match doing:
            case "fan":
                return self._wrong_fan(said)
            case "running":
                attempts = {(run, int(number)): agent for run, number, agent in _ATTEMPT.findall(said.because)}
                run = f"{self.run:,}" if self.run > 1 else ""
                live = {(run, n - self.before): agent for n, agent in self.live.get(said.task, {}).items()}
                return "" if attempts == live else f"its live attempts are {live}"
            case "retrying":
                return self._wrong_retry(said, now_us)
            case "ready":
                stopped = self.status != "running"
                blames = said.because.startswith("the execution is ")
                wrong = stopped != blames or (stopped and self.status not in said.because)
                return f"the execution is {self.status}" if wrong else ""
            case "waiting":
                awaits, name = self.outside[said.task]
                told = said.because.startswith("waiting for ") and (awaits == "time" or name in said.because)
                return "" if told and said.status == "waiting" else f"it waits for {awaits} {name}"
            case "parked":
                return "" if "a person " in said.because and said.status == "waiting" else "a person is asked"
            case "pending":
                return self._wrong_wait(said)
            case _:
                return f"it is {doing}"

    def _is_child(self, path: str) -> bool:
        return self._definition.tasks[path.partition("[")[0]].child is not None

    def _instances(self, task: str) -> list[str]:
        return [doing for path, doing in self.tasks.items() if path.startswith(f"{task}[")]

    def _wrong_fan(self, said: Explanation) -> str:
        found = _FAN.search(said.because)
        doing = self._instances(said.task)
        ended, failed = sum(each in _ENDED for each in doing), doing.count("failed")
        moving = sum(each in (_OF_A_CHILD if self._is_child(said.task) else _MOVING) for each in doing)
        true = (ended, self.fans[said.task], failed, moving)
        told = tuple(int(number or 0) for number in found.groups()) if found else ()
        return "" if told == true else f"ended, count, failed, under way are {true}"

    def _wrong_retry(self, said: Explanation, now_us: int) -> str:
        if self.status not in ("running", "pausing", "paused"):
            return "" if f"the execution is {self.status}" in said.because else f"the execution is {self.status}"
        return "" if "the next attempt is due in" in said.because else f"it is due at {self.due[said.task]} ({now_us})"

    def _wrong_wait(self, said: Explanation) -> str:
        primary = self._definition.tasks[said.task.partition("[")[0]].stands_in_for
        because = said.because
        if because == f"it runs only if {primary} fails":
            return "it was started" if self.fallbacks.get(primary or "") == said.task else ""
        if found := _WAITS.fullmatch(because):
            named, more = found[1].split(", "), int(found[2] or 0)
            waits = [d for d in self._definition.tasks[said.task].spec.dependencies if not self._settled(d)]
            right = set(named) <= set(waits) and len(named) + more == len(waits)
            return "" if right else f"it waits for {waits}"
        if found := _UNDER_WAY.match(because):
            not_here = (path in self.fans or self._is_child(path) for path in self.tasks)
            moving = sum(doing in _MOVING for doing, no in zip(self.tasks.values(), not_here, strict=True) if not no)
            true = int(found[1]) >= int(found[2]) and (" instances " in because or int(found[1]) == moving)
            return "" if true else f"{moving} are under way"
        if because.startswith("the execution begins at"):
            return "" if self.held else "it has begun"
        if because == f"the execution is {self.status}; nothing starts":
            return "tasks start" if self.status == "running" else ""
        return "that is no reason"

    def _settled(self, task: str) -> bool:
        while task in self.fallbacks:
            task = self.fallbacks[task]
        doing = self.tasks.get(task, "pending")
        return doing in _ENDED and (doing != "failed" or self._definition.tasks[task].fallback is None)


_STATUS: dict[type, str] = {
    ev.ExecutionPausing: "pausing",
    ev.ExecutionPaused: "paused",
    ev.ExecutionResumed: "running",
    ev.ExecutionFailing: "failing",
    ev.ExecutionFailed: "failed",
    ev.ExecutionCancelling: "cancelling",
    ev.ExecutionCancelled: "cancelled",
    ev.ExecutionCompleted: "completed",
    ev.ExecutionRetried: "running",
}


class Witness:
    """Follows one execution's committed rows, as a state and as a model, and compares what is said with what is so."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._model = WaitModel(state.definition)

    @property
    def sequence(self) -> int:
        """The last event it has seen."""
        return self._state.sequence

    def take(self, now_us: int, events: list[ev.Event]) -> None:
        """Follow a row."""
        fold(self._state, [(now_us, events)])
        self._model.take(events)

    def untrue(self, now_us: int) -> list[str]:
        """Return what is said of this execution and isn't so."""
        said = [] if self._state.final else explain(self._state, now_us)
        return [f"I5: {self._state.id}: {problem}" for problem in self._model.untrue(said, now_us)]
