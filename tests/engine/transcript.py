"""Transcripts: a workflow in YAML, then inputs one a line, each with the events and commands that it causes.

    # What it shows.
    tasks:
      - {id: x, agent_type: worker}

    > start
    execution_started
    tasks_ready x
    = running
    > grant x 1 agent-1
    attempt_granted x 1 agent-1
    ! assign x 1 agent-1
    = running

`wait 5s` lets time pass and gives a tick. `explain`, `result`, `timer` and `arguments x` ask, and change nothing. The
lines are written anew with PODIUM_REWRITE=1; then the difference is read like any other change of behaviour.
"""

from __future__ import annotations

from typing import Any

import msgspec

from podium.engine import events as ev
from podium.engine import inputs as inp
from podium.engine.assignments import arguments_of, execution_result
from podium.engine.children import id_of
from podium.engine.commands import Assign, Command, Stop
from podium.engine.expansions import without_growth
from podium.engine.explain import Sources, explain, headline
from podium.engine.letters import Letter, letters_of
from podium.engine.values import NULL, Value
from podium.fleet.messages import ErrorInfo
from podium.workflow.model import Task
from podium.workflow.units import parse_duration
from podium.workflow.yaml import load_workflow
from tests.engine.playing import BEGIN_US, ID, Play, check_history, check_state, json_value

_QUIET = {"bindings", "seed", "definition", "workflow", "version", "incarnation"}
_HOWS = {"failed": "error", "crashed": "crash", "timed_out": "timeout", "stopped": "cancelled"}


def replayed(text: str) -> str:
    """Return the transcript as the rules write it today."""
    head, *steps = text.split("\n> ")
    play = Play(_workflow(head))
    lines = [head.rstrip(), ""]
    for step in steps:
        body = step.split("\n")
        given = body[0].strip()
        lines += [f"> {given}", *_answers(play, given)]
        comments = [line for line in body[1:] if line.startswith("#")]
        lines += ["", *comments] if comments else []
    return "\n".join(lines) + "\n"


def _workflow(head: str) -> Any:
    source = "\n".join(line for line in head.split("\n") if not line.startswith("#"))
    return load_workflow(source if source.lstrip().startswith("name:") else f"name: demo\n{source}")


def _answers(play: Play, line: str) -> list[str]:
    word, *words = line.split()
    match word:
        case "explain":
            sources = Sources(lambda execution, task: "no agent is free", lambda attempt, now_us: "")
            lines = [f"  {t.task} is {t.status}: {t.because}" for t in explain(play.state, play.now_us, sources)]
            return [f"  {headline(play.state, play.now_us)}", *lines]
        case "result":
            return [f"  {execution_result(play.state).decode()}"]
        case "arguments":
            return [f"  {bytes(arguments_of(play.state, play.state.tasks[words[0]])).decode()}"]
        case "timer":
            due = play.state.next_timer_us()
            return ["  none" if due is None else f"  {_at(due)}"]
        case "wait":
            play.now_us += round((parse_duration(words[0]) if words else 0) * 1_000_000)
    given_ = _input(play, word, words, line)
    decision = play.decide(given_)
    check_state(play)
    check_history(play)
    told = [_event(event) for event in decision.events]
    return [
        *told,
        *(_command(c) for c in decision.commands),
        *(_letter(each) for each in letters_of(play.state, given_, decision.events)),
        f"= {play.state.status}{' (partial)' * play.state.partial}",
    ]


def _input(play: Play, word: str, words: list[str], line: str) -> inp.Input:
    match word:
        case "start":
            start = play.begun
            if words:
                start = msgspec.structs.replace(start, input=_value(" ".join(words)))
            return start
        case "grant":
            triples = [" ".join(words).split()[i : i + 3] for i in range(0, len(words), 3)]
            return inp.Grant(1, len(play.rows), tuple(inp.Granted(t, int(n), a, "i") for t, n, a in triples))
        case "succeeded":
            text = line.split(maxsplit=3)[3] if len(words) > 2 else "null"
            result, growth = without_growth(text.encode())
            return inp.Succeeded(words[0], int(words[1]), _value(result.decode()), growth)
        case "failed" | "crashed" | "timed_out" | "stopped":
            final = "for_good" in words
            words = [w for w in words if w != "for_good"]
            kind = words[2] if len(words) > 2 else "Error"
            text = " ".join(words[3:]) or "boom"
            return inp.Failed(words[0], int(words[1]), ErrorInfo(kind, text, retryable=not final), _HOWS[word])
        case "refused":
            return inp.Refused(words[0], int(words[1]), " ".join(words[2:]))
        case "lost":
            return inp.Lost(words[0], int(words[1]), " ".join(words[2:]))
        case "saved":
            return inp.Saved(words[0], int(words[1]), int(words[2]), _value(line.split(maxsplit=4)[4]))
        case "wait" | "tick":
            return inp.Tick()
        case "pause":
            return inp.Pause(" ".join(words))
        case "resume":
            return inp.Resume()
        case "cancel":
            force = words[:2] == ["by", "force"]
            return inp.Cancel(" ".join(words[2:] if force else words), force)
        case "retry":
            return inp.Retry(words[1], "maren") if words[:1] == ["from"] else inp.Retry()
        case "skip":
            return inp.Skip(words[0], " ".join(words[1:]), "maren")
        case "resolve":
            return inp.Resolve(words[0], words[1], " ".join(words[2:]), "maren")
        case "complete":
            return inp.Complete(words[0], _value(line.split(maxsplit=2)[2]), by="maren")
        case "published":
            return inp.Published(words[0], int(words[1]), int(words[2]), _value(line.split(maxsplit=4)[4]))
        case "answer":
            return inp.Answer(words[0], _value(" ".join(words[2:]) or "null"), words[1])
        case "await":
            return inp.Await(words[0], words[1], int(words[2]), "t")
        case "ended":
            value = _value(" ".join(words[3:])) if len(words) > 3 else None
            failed = ErrorInfo("ValueError", "boom") if words[2] != "completed" else None
            other = words[1]
            if other.startswith("child-"):
                other = id_of(play.state, play.state.tasks[words[0]], int(other.removeprefix("child-")))
            return inp.Ended(words[0], other, words[2], value, failed)
        case "signal":
            return inp.Signal(words[0], _value(line.split(maxsplit=2)[2] if len(words) > 1 else "null"))
        case _:
            raise AssertionError(f"a transcript has no input {word!r}")


def _value(text: str) -> Value:
    return json_value(msgspec.json.decode(text.encode()))


def _event(event: ev.Event) -> str:
    parts = [str(event.__struct_config__.tag)]
    for name in event.__struct_fields__:
        value = getattr(event, name)
        if name in _QUIET or value in (None, "", 0) or (name == "priority" and value == 50):
            continue
        parts.append(_shown(name, value))
    return " ".join(p for p in parts if p)


def _shown(name: str, value: Any) -> str:
    match value:
        case Value():
            return bytes(value.json or b"").decode().replace("null", "", int(value == NULL))
        case ErrorInfo():
            return f"[{value.type}: {value.message}]"
        case True:
            return name
        case tuple():
            return " ".join(each.id if isinstance(each, Task) else each for each in value)
        case dict():
            return " ".join(f"({task} <- {', '.join(more)})" for task, more in value.items())
    if name.endswith("_us"):
        return f"{name.removesuffix('_us')} {_at(value)}"
    if name in ("reason", "how"):
        return f"({value})"
    if name == "by":
        return f"by {value}"
    return f"{name} {value}" if name in ("count", "first", "stop", "failed", "fallback") else str(value)


def _at(at_us: int) -> str:
    return f"+{(at_us - BEGIN_US) / 1e6:g}s"


def _letter(letter: Letter) -> str:
    given = letter.given
    match given:
        case inp.Await(task=task):
            return f"! ask {letter.to} to tell {task} of its end"
        case inp.Ended(task=task, status=status):
            return f"! tell {task} of {letter.to} that this one is {status}"
        case inp.Start(workflow=workflow, timeout_seconds=seconds):
            return f"! begin {workflow}{f' with {seconds:g} s' if seconds is not None else ''} as {letter.to}"
        case inp.Cancel(reason, force):
            return f"! cancel {letter.to}{' by force' * force} ({reason})"
        case _:
            raise AssertionError(f"a letter holds no {type(given).__name__}")


def _command(command: Command) -> str:
    match command:
        case Assign(task, number, agent):
            return f"! assign {task} {number} {agent}"
        case Stop(attempt, agent, reason, force):
            return f"! stop {attempt.removeprefix(ID + ':1:')} at {agent}{' by force' * force} ({reason})"
