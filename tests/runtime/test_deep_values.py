"""A value that is nested deeper than any stack, from a log that knew no bound: it ends nobody but its execution."""

from __future__ import annotations

import asyncio

import msgspec
import pytest
from msgspec import Raw

from podium.engine import codec
from podium.engine import inputs as inp
from podium.engine.scope import decoded, encoded
from podium.engine.values import Value
from podium.exceptions import CorruptHistoryError, ExpressionError
from podium.fleet import messages as msg
from podium.workflow.model import ContinueAsNew, ExecutionStatus, Task, TaskType, Workflow
from podium.workflow.nesting import MAX_NESTING
from tests.engine.playing import Play
from tests.runtime.support import crash, start, virtual

DEEP = b"[" * 2_000 + b"]" * 2_000
A = Task(id="a", agent_type="hand")
KID = Workflow(name="kid", tasks=(Task(id="x", agent_type="hand"),))
READERS = {
    "condition": Task(id="b", agent_type="hand", dependencies=("a",), when="len(tasks.a.result) > 0"),
    "items": Task(id="b", agent_type="hand", dependencies=("a",), for_each="${tasks.a.result}"),
    "child": Task(id="b", dependencies=("a",), workflow=KID, payload={"v": "${tasks.a.result}"}),
    "wait": Task(id="b", dependencies=("a",), type=TaskType.WAIT, wait_for="${tasks.a.result[0]}"),
    "signal": Task(id="b", dependencies=("a",), type=TaskType.WAIT, signal="s", accept="len(tasks.a.result) > 0"),
}


@pytest.mark.parametrize("task", READERS.values(), ids=READERS)
def test_what_reads_it_fails_or_waits_on(task):
    play = Play(Workflow(name="w", tasks=(A, task)))
    play.start()
    play.grant("a")
    play.give(inp.Succeeded("a", 1, Value(json=Raw(DEEP))))
    if task.signal:
        play.give(inp.Signal("s", Value(json=Raw(b"1"))))
        assert play.status_of("b") == "waiting"
    else:
        assert play.status is ExecutionStatus.FAILED


def test_a_loop_whose_next_input_holds_it_fails():
    play = Play(Workflow(name="w", tasks=(A,), continue_as_new=ContinueAsNew(input={"v": "${tasks.a.result}"})))
    play.start()
    play.grant("a")
    play.give(inp.Succeeded("a", 1, Value(json=Raw(DEEP))))
    assert play.status is ExecutionStatus.FAILED


def test_what_cannot_be_read_or_written_is_an_error_of_an_expression_or_of_the_history():
    with pytest.raises(ExpressionError, match="can't be read"):
        decoded(DEEP)
    value: list[object] = []
    for _ in range(2_000):
        value = [value]
    with pytest.raises(ExpressionError, match="can't be written"):
        encoded(value)
    row = b'{"input":"succeeded","task":"a","number":1,"value":{"json":' + DEEP + b"}}"
    with pytest.raises(CorruptHistoryError):
        codec.decode_input(row)
    with pytest.raises(CorruptHistoryError):
        codec.decode_events(b"[" + row + b"]", inp.Tick())


@virtual
async def test_an_engine_lives_on_with_it_and_comes_up_again(monkeypatch):
    monkeypatch.setattr("podium.engine.staffing.check_nesting", lambda text, what: None)
    engine, hand, store = await start()
    last = Task(id="b", agent_type="hand", dependencies=("a",), payload={"v": "${tasks.a.result}"})
    execution = await engine.submit(Workflow(name="w", tasks=(A, last)))
    attempt = await hand.assigned()
    large = msgspec.json.encode("x" * 5_000)  # it is kept as a blob
    hand.say(msg.Succeeded(hand.agent, attempt.attempt, Raw(b"[" * 980 + large + b"]" * 980)))
    async with asyncio.timeout(60):
        assert await engine.finished(execution) is ExecutionStatus.FAILED
    await crash(engine)
    again, hand, _ = await start(store.reopen())
    other = await again.submit(Workflow(name="w", tasks=(A,)))
    hand.succeed((await hand.assigned()).attempt)
    async with asyncio.timeout(60):
        assert await again.finished(other) is ExecutionStatus.COMPLETED


@virtual
async def test_a_childs_result_that_its_output_nests_too_deeply_fails_the_task_that_waits_for_it():
    kid = Workflow(name="kid", tasks=(Task(id="x", agent_type="hand"),), output={"got": "${tasks.x.result}"})
    engine, hand, _ = await start()
    execution = await engine.submit(Workflow(name="w", tasks=(Task(id="kid", workflow=kid),)))
    attempt = await hand.assigned()
    hand.say(msg.Succeeded(hand.agent, attempt.attempt, Raw(b"[" * MAX_NESTING + b"]" * MAX_NESTING)))
    async with asyncio.timeout(60):
        assert await engine.finished(execution) is ExecutionStatus.FAILED
    error = (await engine.state_of(execution)).error
    assert error is not None
    assert "its result can't be had: it is nested more than 100 levels deep" in error.message
