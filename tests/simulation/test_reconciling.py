"""The reconciler in the simulated world: whatever strikes, nothing that is only on its way is taken for a find."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from podium.engine.ownership import Ownership
from podium.engine.reconciliation import Kind
from podium.engine.reconciling import Reconciler, reconciler_of
from podium.engine.recovery import inline
from podium.engine.runtime import Engine
from podium.testing.simulation import simulate

LOOK_SECONDS = 7.0
CHUNKS, SEEDS, SEEDS_OF_REPLICAS = 4, 12, 5


@pytest.fixture
def reconcilers(monkeypatch: pytest.MonkeyPatch) -> list[Reconciler]:
    """Give every engine that starts a reconciler that looks often; return them all."""
    made: list[Reconciler] = []
    places: dict[Engine, Ownership] = {}
    start, join = Engine.start, Ownership.start

    async def started(engine: Engine) -> None:
        await start(engine)
        reconciler = reconciler_of(
            engine, engine._store, engine._clock, offload=inline, seconds=LOOK_SECONDS,
            ownership=lambda: places.get(engine),
        )  # fmt: skip
        made.append(reconciler)
        await reconciler.start()

    async def joined(ownership: Ownership) -> None:
        places[ownership._engine] = ownership
        await join(ownership)

    monkeypatch.setattr(Engine, "start", started)
    monkeypatch.setattr(Ownership, "start", joined)
    return made


def check(reconcilers: list[Reconciler], seed: int, **options: Any) -> None:
    reconcilers.clear()
    report = simulate(seed=seed, **options)
    assert report.sound, str(report)
    found = sum((Counter(one.finds) for one in reconcilers), Counter[tuple[str, str]]())
    for mended in (
        "yes",
        "no",
    ):  # it is true where the store hears a replica and isn't heard: that lives, and takes none
        del found[Kind.SHARD_WITHOUT_OWNER, mended]
    assert not found, f"{dict(found)}: {report}"
    assert [one.failure for one in reconcilers if one.failure] == []
    assert any(one._turn for one in reconcilers) or report.virtual_seconds < 100


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_nothing_is_found_under_faults(chunk: int, reconcilers: list[Reconciler]) -> None:
    for seed in range(chunk * SEEDS, (chunk + 1) * SEEDS):
        check(reconcilers, seed)


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_nothing_is_found_where_replicas_come_and_go(chunk: int, reconcilers: list[Reconciler]) -> None:
    for seed in range(chunk * SEEDS_OF_REPLICAS, (chunk + 1) * SEEDS_OF_REPLICAS):
        check(reconcilers, seed, replicas=3)


def test_timers_are_no_find_while_the_store_says_nothing_of_an_append(reconcilers: list[Reconciler]) -> None:
    check(reconcilers, 10_298, replicas=3)


@pytest.mark.slow
@pytest.mark.parametrize("chunk", range(8))
def test_nothing_is_found_in_many_worlds(chunk: int, reconcilers: list[Reconciler]) -> None:
    for seed in range(10_000 + chunk * 15, 10_000 + (chunk + 1) * 15):
        check(reconcilers, seed)
        check(reconcilers, seed, replicas=3)
