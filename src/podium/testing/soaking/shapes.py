"""The workflows of the long run, and what must come of each. A token of the client's goes through all of them."""

from __future__ import annotations

from typing import Any

from podium.testing.soaking.workers import BIG
from podium.workflow.model import (
    AgentGroup,
    FailureAction,
    OnFailure,
    RetryPolicy,
    Task,
    Workflow,
    WorkflowConfig,
)

AGENT = "soaker"
FOREIGN = "words"
TOKEN = "${input.token}"
PATIENT = RetryPolicy(max_attempts=50, initial_delay_seconds=0.2, max_delay_seconds=2.0)
ONCE = RetryPolicy(max_attempts=1)
CRASHES = 1_000  # agents die all the time: that must not fail a task
WORDS = "the quick brown fox"


def _task(id: str, function: str = "work", *after: str, retry: RetryPolicy = PATIENT, **more: Any) -> Task:
    payload = more.pop("payload", {"token": TOKEN})
    return Task(id=id, agent=AGENT, function=function, dependencies=after, payload=payload, retry=retry, **more)


def _workflow(name: str, *tasks: Task, output: Any = None, **config: Any) -> Workflow:
    agents = {AGENT: AgentGroup(AGENT, AGENT), FOREIGN: AgentGroup(FOREIGN, FOREIGN)}
    return Workflow(
        name=name, agents=agents, tasks=tasks, output=output, config=WorkflowConfig(max_crashes=CRASHES, **config)
    )


CHAIN = _workflow(
    "chain",
    _task("a"),
    _task("b", "work", "a", payload={"token": "${tasks.a.result}", "seconds": 0.2}),
    _task("c", "threaded", "b", payload={"token": "${tasks.b.result}"}),
    _task("d", "work", "c", payload={"token": "${tasks.c.result}"}),
)
FAN = _workflow(
    "fan",
    _task("split", "numbers", payload={"count": "${input.count}"}),
    _task("each", "double", "split", for_each="${tasks.split.result}", payload={"item": "${item}"}, max_parallel=4),
    _task("join", "add", "each", payload={"doubled": "${tasks.each.result}"}),
)
RETRIES = _workflow(
    "retries",
    _task("flaky", "flaky", payload={"token": TOKEN, "failures": 2}),
    _task("after", "work", "flaky", payload={"token": "${tasks.flaky.result}"}),
)
TIMERS = _workflow(
    "timers",
    _task(
        "later", "flaky", payload={"token": TOKEN, "failures": 1},
        retry=RetryPolicy(max_attempts=50, initial_delay_seconds=8.0, max_delay_seconds=8.0),
    ),
    _task("after", "work", "later", payload={"token": "${tasks.later.result}"}),
)  # fmt: skip
LONG = _workflow(
    "long",
    _task("long", payload={"token": TOKEN, "seconds": "${input.seconds}"}),
    _task("after", "work", "long", payload={"token": "${tasks.long.result}"}),
)
SECOND_TRY = _workflow(
    "second_try",
    _task("first"),
    _task("gate", "gate", "first", retry=ONCE),
    _task("last", "work", "gate", payload={"token": "${tasks.gate.result}"}),
)
FALLBACK = _workflow(
    "fallback",
    _task("ask", "gate", retry=ONCE, on_failure=OnFailure(FailureAction.FALLBACK, "guess")),
    _task("guess"),
    _task("tell", "work", "ask", payload={"token": "${tasks.ask.result}"}),
)
LARGE = _workflow(
    "large",
    _task("big", "big"),
    _task("count", "work", "big", payload={"token": TOKEN}),
    output="${tasks.big.result}",
)
ABROAD = _workflow(
    "abroad",
    _task("here"),
    Task(
        id="count", agent=FOREIGN, function="word_count", dependencies=("here",), payload={"text": WORDS},
        retry=PATIENT,
    ),
    _task("home", "work", "count"),
    output="${tasks.count.result.words}",
)  # fmt: skip
PROBE = _workflow("probe", _task("one"))

SHAPES = {w.name: w for w in (CHAIN, FAN, RETRIES, TIMERS, LONG, SECOND_TRY, FALLBACK, LARGE, ABROAD)}


def result_of(shape: str, given: dict[str, Any]) -> Any:
    """Return what an execution that completes must give."""
    match shape:
        case "fan":
            return sum(2 * n for n in range(1, given["count"] + 1))
        case "large":
            token = str(given["token"])
            return (token * (BIG // len(token) + 1))[:BIG]
        case "abroad":
            return len(WORDS.split())
        case _:
            return given["token"]
