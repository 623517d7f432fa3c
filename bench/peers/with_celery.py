# mypy: ignore-errors
# (the peers are installed in an environment of their own, so their types aren't at hand)
"""Celery with Redis as broker and result backend, and a worker process with its default pool: a child for each core.

For R1 it has four children.
"""

from __future__ import annotations

import os
import subprocess
import sys

from celery import Celery, group
from celery import chain as in_order

from bench.peers.script import SECONDS, answer, one_at_a_time, say, timed, windows

REMOTE_PROCESSES = 4
REDIS = os.environ["BENCH_REDIS"]
app = Celery("bench", broker=f"{REDIS}/0", backend=f"{REDIS}/1")
WAIT_SECONDS = 300


@app.task(name="noop")
def noop() -> None:
    """Do nothing."""


class Worker:
    """A worker for as long as the block lasts; it is up when it has done one task."""

    def __init__(self, *options: str) -> None:
        self._options = options

    def __enter__(self) -> None:
        command = [sys.executable, "-m", "celery", "-A", "bench.peers.with_celery", "worker", "--loglevel=ERROR"]
        command += self._options
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        run_one()

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(30)


def run_one() -> None:
    noop.delay().get(timeout=WAIT_SECONDS)


def steps(workflows: int, length: int, at_once: int):
    def begin():
        return in_order(*(noop.si() for _ in range(length))).apply_async()

    with Worker():
        windows(begin, lambda result: result.get(timeout=WAIT_SECONDS), 10, 10)
        return {
            SECONDS: timed(lambda: windows(begin, lambda r: r.get(timeout=WAIT_SECONDS), workflows, at_once)),
        }


def fan_out(count: int, *options: str):
    with Worker(*options):
        group(noop.si() for _ in range(20)).apply_async().get(timeout=WAIT_SECONDS)
        return {SECONDS: timed(lambda: group(noop.si() for _ in range(count)).apply_async().get(timeout=WAIT_SECONDS))}


def remote(count: int):
    return fan_out(count, f"--concurrency={REMOTE_PROCESSES}")


def latency(count: int):
    with Worker():
        return one_at_a_time(run_one, count)


def cold() -> None:
    with Worker():
        say({})  # the task is done; the worker's end isn't counted


if __name__ == "__main__":
    answer({"W1": steps, "W2": fan_out, "W3": latency, "W4": cold, "R1": remote})
