"""The loop's lag: what blocks the loop is measured."""

import asyncio
import time

import pytest

from podium.telemetry.looplag import LoopLag
from podium.telemetry.metrics import Metrics


async def until(condition) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - nobody tells of it
            await asyncio.sleep(0)


def test_what_holds_up_the_loop_is_measured_and_said(caplog: pytest.LogCaptureFixture) -> None:
    async def trial() -> Metrics:
        metrics = Metrics()
        probe = LoopLag(metrics, interval_seconds=0.01, warn_seconds=0.1)
        probe.start()
        probe.start()
        await until(lambda: metrics.values("podium_event_loop_lag_seconds")[()] >= 1)
        time.sleep(0.2)  # noqa: ASYNC251 - blocks the loop, which is what is to be seen
        await until(lambda: probe.last_seconds > 0.1)
        await probe.stop()
        await probe.stop()
        return metrics

    metrics = asyncio.run(trial())
    assert metrics.histogram("podium_event_loop_lag_seconds").total > 0.1
    assert "the event loop was held up" in caplog.text


def test_nothing_is_measured_after_the_stop() -> None:
    async def trial() -> None:
        metrics = Metrics()
        probe = LoopLag(metrics, interval_seconds=0.001)
        probe.start()
        await probe.stop()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(trial())
