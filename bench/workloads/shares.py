"""W5: the parts alone, so that each one's share of a step is seen: the rules, the engine without a disk, the store.

The rules are `step` and the encoding of inputs and events; the engine without a disk is W1 on the store in memory,
agents and all; the store alone appends batches that were made before: two rows and one moved execution a step.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from bench.figures import Figure, Setup, Size, Workload
from bench.flows import AGENT, chain
from bench.limits import PAYLOAD, acknowledged_steps
from bench.workloads.durable_steps import ROWS_A_STEP, podium_seconds
from podium.engine import inputs as inp
from podium.engine.codec import encode_events, encode_input
from podium.engine.definition import Definition
from podium.engine.state import State
from podium.engine.step import step
from podium.engine.values import NULL
from podium.store.protocol import Append
from podium.store.sqlite import SqliteStore
from podium.testing.scribe import EPOCH_US, Scribe

STORE, BARE = "store alone, SQLite", "bare SQLite, as many rows"


def measure(setup: Setup) -> list[Figure]:
    """Run each part, and the store's limit, in turns."""
    size = setup.size
    steps = size.workflows * size.steps
    rules, memory, store, bare = [], [], [], []
    rows = size.batches * size.executions_a_batch * ROWS_A_STEP
    for run in range(-1, setup.runs):  # the first is the warm-up
        of_rules = _rules_seconds(size)
        in_memory = asyncio.run(podium_seconds(":memory:", size))
        in_store = asyncio.run(_store_seconds(setup.folder / f"store-{run}.db", size))
        path = setup.folder / f"bare-store-{run}.db"
        in_bare = asyncio.run(acknowledged_steps(path, rows // ROWS_A_STEP, size.executions_a_batch, ROWS_A_STEP))
        if run >= 0:
            rules.append(steps / of_rules)
            memory.append(steps / in_memory)
            store.append(rows / in_store)
            bare.append(rows / in_bare)
    return [
        Figure(workload="W5", name="rules alone", unit="steps/s", runs=tuple(rules), better="more"),
        Figure(workload="W5", name="W1 on the store in memory", unit="steps/s", runs=tuple(memory), better="more"),
        Figure(workload="W5", name=STORE, unit="rows/s", runs=tuple(store), better="more", beside=BARE),
        Figure(workload="W5", name=BARE, unit="rows/s", runs=tuple(bare), better="more", is_limit=True),
    ]


def _rules_seconds(size: Size) -> float:
    definition = Definition(chain(size.steps), "0" * 64)
    workflow = definition.workflow
    begin = time.perf_counter()
    for number in range(size.workflows):
        state = State(f"execution-{number:036d}", "default", definition)
        start = inp.Start(workflow.name, workflow.version, definition.digest, number, NULL, {AGENT: "bench.flows:Noop"})
        _decided(state, start)
        for n in range(size.steps):
            _decided(state, inp.Grant(1, n, (inp.Granted(f"step_{n}", 1, f"{AGENT}-1", "incarnation"),)))
            _decided(state, inp.Succeeded(f"step_{n}", 1, NULL))
        if not state.final:
            raise RuntimeError(f"the chain ended as {state.status}; a figure of it would mean nothing")
    return time.perf_counter() - begin


def _decided(state: State, given: inp.Input) -> None:
    decision = step(state, given, EPOCH_US)
    encode_input(given)
    encode_events(decision.events, given)


async def _store_seconds(path: Path, size: Size) -> float:
    store = SqliteStore.open(path)
    scribe = Scribe(store)
    await scribe.take()
    batches = _prepared(scribe, size)
    begin = time.perf_counter()
    for batch in batches:
        await store.append(batch)
    seconds = time.perf_counter() - begin
    await store.close()
    return seconds


def _prepared(scribe: Scribe, size: Size) -> list[Append]:
    """Return batches that follow one another, as an owner would make them for these executions."""
    payload = b'"' + PAYLOAD + b'"'
    executions = [f"execution-{n:036d}" for n in range(size.executions_a_batch)]
    batches = []
    for number in range(size.batches):
        inputs = {execution: [(f"{number}:{n}", 1) for n in range(ROWS_A_STEP)] for execution in executions}
        batch = scribe.batch(inputs, payload=payload)
        scribe.positions.update({row.shard: row.position for row in batch.rows})
        scribe.executions.update({change.row.id: change.row for change in batch.executions})
        batches.append(batch)
    return batches


WORKLOAD = Workload("W5", "shares: each part alone", measure)
