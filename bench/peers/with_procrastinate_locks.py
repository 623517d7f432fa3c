# mypy: ignore-errors
# (the peers are installed in an environment of their own, so their types aren't at hand)
"""Procrastinate by locks: the steps of a workflow are deferred in one batch and share a lock.

That is how its documentation has jobs run one after another: one is taken when the one before it is recorded as done.
Nobody is told when a lock falls free, so the workers look far more often than each five seconds, their default.
"""

from __future__ import annotations

import asyncio

from bench.peers.script import answer
from bench.peers.with_procrastinate import begin_locked, measured

OPTIONS = ("--fetch-job-polling-interval=0.05",)

if __name__ == "__main__":
    answer({"P1": lambda *numbers: asyncio.run(measured(begin_locked, OPTIONS, *numbers))})
