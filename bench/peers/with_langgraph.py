# mypy: ignore-errors
# (the peers are installed in an environment of their own, so their types aren't at hand)
"""LangGraph with its SQLite checkpointer: `durability="sync"`, a step's state is written before the next starts."""

from __future__ import annotations

import asyncio
import itertools
import operator
import time
from typing import Annotated, TypedDict

from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import Send

from bench.peers.script import LATENCIES, SECONDS, answer, peak_mb

FILE = "langgraph.sqlite"
_threads = itertools.count()


class State(TypedDict):
    done: Annotated[int, operator.add]


async def noop(state: State) -> State:
    return {"done": 1}


def chain(length: int, saver):
    graph = StateGraph(State)
    for number in range(length):
        graph.add_node(f"step_{number}", noop)
        graph.add_edge(f"step_{number - 1}" if number else START, f"step_{number}")
    graph.add_edge(f"step_{length - 1}", END)
    return graph.compile(checkpointer=saver)


def fan(count: int, saver):
    graph = StateGraph(State)
    graph.add_node("noop", noop)
    graph.add_conditional_edges(START, lambda _: [Send("noop", {"done": 0}) for _ in range(count)], ["noop"])
    graph.add_edge("noop", END)
    return graph.compile(checkpointer=saver)


async def run_one(graph, expected: int) -> None:
    config = {"configurable": {"thread_id": str(next(_threads))}, "recursion_limit": 1_000}
    end = await graph.ainvoke({"done": 0}, config, durability="sync")
    if end["done"] != expected:
        raise RuntimeError(f"{end['done']} of {expected} steps were done")


async def _many(graph, workflows: int, length: int, at_once: int) -> float:
    left = iter(range(workflows))

    async def producer() -> None:
        for _ in left:
            await run_one(graph, length)

    begin = time.perf_counter()
    await asyncio.gather(*(producer() for _ in range(at_once)))
    return time.perf_counter() - begin


async def _steps(workflows: int, length: int, at_once: int):
    async with AsyncSqliteSaver.from_conn_string(FILE) as saver:
        graph = chain(length, saver)
        await _many(graph, 5, length, 5)
        return {SECONDS: await _many(graph, workflows, length, at_once)}


async def _fan_out(count: int):
    async with AsyncSqliteSaver.from_conn_string(FILE) as saver:
        await run_one(chain(2, saver), 2)
        graph = fan(count, saver)
        begin = time.perf_counter()
        await run_one(graph, count)
        return {SECONDS: time.perf_counter() - begin, "peak_mb": peak_mb()}


async def _latency(count: int):
    found = []
    async with AsyncSqliteSaver.from_conn_string(FILE) as saver:
        graph = chain(1, saver)
        for number in range(count + 10):
            begin = time.perf_counter()
            await run_one(graph, 1)
            if number >= 10:
                found.append(time.perf_counter() - begin)
    return {LATENCIES: found}


async def _cold():
    async with AsyncSqliteSaver.from_conn_string(FILE) as saver:
        await run_one(chain(1, saver), 1)
    return {}


if __name__ == "__main__":
    answer(
        {
            "W1": lambda *numbers: asyncio.run(_steps(*numbers)),
            "W2": lambda count: asyncio.run(_fan_out(count)),
            "W3": lambda count: asyncio.run(_latency(count)),
            "W4": lambda: asyncio.run(_cold()),
        }
    )
