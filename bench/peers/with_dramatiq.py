# mypy: ignore-errors
# (the peers are installed in an environment of their own, so their types aren't at hand)
"""Dramatiq with Redis as broker and result backend, and its defaults: a process a core, 8 threads each; four processes
for R1.
"""

from __future__ import annotations

import os
import subprocess
import sys

import dramatiq
from dramatiq import group, pipeline
from dramatiq.brokers.redis import RedisBroker
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend

from bench.peers.script import SECONDS, answer, one_at_a_time, say, timed, windows

REMOTE_PROCESSES = 4
REDIS = os.environ["BENCH_REDIS"]
WAIT_MS = 300_000
broker = RedisBroker(url=f"{REDIS}/0")
broker.add_middleware(Results(backend=RedisBackend(url=f"{REDIS}/1")))
dramatiq.set_broker(broker)


@dramatiq.actor(store_results=True)
def noop() -> int:
    """Do nothing."""
    return 0


class Worker:
    """The worker processes for as long as the block lasts; they are up when they have done one task."""

    def __init__(self, *options: str) -> None:
        self._options = options

    def __enter__(self) -> None:
        command = [sys.executable, "-m", "dramatiq", "bench.peers.with_dramatiq", *self._options]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        run_one()

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(30)


def run_one() -> None:
    noop.send().get_result(block=True, timeout=WAIT_MS)


def steps(workflows: int, length: int, at_once: int):
    def begin():
        return pipeline(noop.message_with_options(pipe_ignore=True) for _ in range(length)).run()

    def end(running):
        running.get_result(block=True, timeout=WAIT_MS)

    with Worker():
        windows(begin, end, 10, 10)
        return {SECONDS: timed(lambda: windows(begin, end, workflows, at_once))}


def fan_out(count: int, *options: str):
    def run(tasks: int) -> None:
        group(noop.message() for _ in range(tasks)).run().wait(timeout=WAIT_MS)

    with Worker(*options):
        run(20)
        return {SECONDS: timed(lambda: run(count))}


def remote(count: int):
    return fan_out(count, f"--processes={REMOTE_PROCESSES}")


def latency(count: int):
    with Worker():
        return one_at_a_time(run_one, count)


def cold() -> None:
    with Worker():
        say({})  # the task is done; the worker's end isn't counted


if __name__ == "__main__":
    answer({"W1": steps, "W2": fan_out, "W3": latency, "W4": cold, "R1": remote})
