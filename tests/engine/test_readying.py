"""What deciding about a large growth needs is had ready beside the loop, and each text is compiled once."""

from __future__ import annotations

import ast
import asyncio
from collections.abc import Callable, Coroutine
from itertools import count
from typing import Any

import msgspec
import pytest

from podium.engine import growing
from podium.engine import inputs as inp
from podium.engine.arrivals import Arrival
from podium.engine.expansions import without_growth
from podium.engine.intake import Intake
from podium.engine.readying import Readying
from podium.engine.values import NULL
from podium.exceptions import PodiumError
from podium.store.memory import MemoryStore
from podium.workflow.expressions import compiler
from podium.workflow.expressions.reading import read_expression
from podium.workflow.model import Task, Workflow
from tests.engine.playing import ID, Play, check_history

_unlike_all_before = count(1)


def planned(**about: Any) -> Play:
    """A planner that runs and may grow the graph."""
    play = Play(Workflow(name="w", tasks=(Task(id="plan", agent_type="w", grows=True, payload={}, **about),)))
    play.start()
    return play


def growth_of(tasks: int, texts: int) -> dict[str, Any]:
    """Many tasks with many texts, none of which has been compiled before."""
    mark = next(_unlike_all_before)
    return {
        "$expansion": {
            "tasks": [
                {
                    "id": f"t{at}",
                    "agent": "w",
                    "depends_on": ["plan"],
                    "when": f"tasks.plan.result == {mark} + {at}",
                    "input": {f"k{place}": f"${{[{mark}, {at}, {place}]}}" for place in range(texts - 1)},
                }
                for at in range(tasks)
            ]
        }
    }


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The expressions that were parsed, each time that one was."""
    found: list[str] = []

    def noted(source: str) -> ast.expr:
        found.append(source)
        return read_expression(source)

    monkeypatch.setattr(compiler, "read_expression", noted)
    return found


def test_deciding_about_a_growth_parses_each_text_once(parsed: list[str]) -> None:
    play = planned()
    play.grant("plan")
    play.succeed("plan", growth_of(20, 5))
    assert len(parsed) == len(set(parsed)) == 100
    check_history(play)


@pytest.mark.parametrize("for_each", [None, [1, 2]])
def test_what_was_compiled_beside_the_loop_isnt_parsed_by_deciding(
    for_each: list[int] | None, parsed: list[str]
) -> None:
    play = planned(for_each=for_each)
    task = "plan" if for_each is None else "plan[0]"
    play.grant(task)
    value = growth_of(20, 5)
    growth = without_growth(msgspec.json.encode(value))[1]
    assert growth is not None
    growing.compile_texts(play.state.tasks[task], growth)
    assert len(parsed) == 100
    play.succeed(task, value)
    assert len(parsed) == 100
    assert len(play.state.tasks) > 20


class Beside:
    """Stands where the engine has a thread: keeps the work until it is told to do it."""

    def __init__(self) -> None:
        self.asked = 0
        self.may_go_on = asyncio.Event()

    async def __call__(self, work: Callable[[], Any]) -> Any:
        self.asked += 1
        await self.may_go_on.wait()
        return work()


@pytest.mark.parametrize(
    ("tasks", "texts", "task", "waits"),
    [
        (50, 5, "plan", True),
        (20, 5, "plan", False),
        (50, 5, "nobody", False),
        (growing.MAX_ADDED + 1, 1, "plan", False),
    ],
)
def test_only_a_growth_with_many_texts_waits_for_them(
    tasks: int, texts: int, task: str, waits: bool, parsed: list[str]
) -> None:
    async def story() -> None:
        play, beside = planned(), Beside()
        play.grant("plan")
        growth = without_growth(msgspec.json.encode(growth_of(tasks, texts)))[1]
        under_way: list[asyncio.Task[Any]] = []

        def spawn(work: Coroutine[Any, Any, Any], name: str) -> None:
            under_way.append(asyncio.create_task(work, name=name))

        def reject(arrival: Arrival, error: PodiumError) -> None:
            raise error

        store = MemoryStore()
        intake = Intake(store, 10, 1.0, spawn)
        readying = Readying(store, intake, beside, spawn=spawn, reject=reject)
        arrival = Arrival(ID, "succeeded", inp.Succeeded(task, 1, NULL, growth))
        parsed.clear()
        assert readying.holds_back(arrival, play.state) is waits
        if not waits:
            assert (under_way, beside.asked) == ([], 0)
            return
        assert (list(intake.queue), parsed) == ([], [])
        beside.may_go_on.set()
        await asyncio.gather(*under_way)
        assert list(intake.queue) == [arrival]
        assert len(parsed) == tasks * texts
        assert not readying.holds_back(intake.take(), play.state)
        assert beside.asked == 1

    asyncio.run(story())
