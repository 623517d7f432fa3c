"""The profile adds up, at a size at which it means nothing."""

from bench.flows import chain, run_one
from bench.profiling import GC, OTHER, PARTS, measure, table


async def _small(podium):
    for _ in range(20):
        await run_one(podium, chain(2))
    return 40


def test_the_parts_of_the_loop_with_the_collector_are_the_whole_of_it(tmp_path):
    shares = measure("small", _small, tmp_path, runs=1)
    assert abs(sum(shares.parts.values()) + shares.gc - shares.loop) < 0.000_1
    assert set(shares.parts) <= {name for name, _ in PARTS} | {OTHER}
    text = table(shares)
    assert text.startswith("small: ")
    assert f"| event loop: {GC} |" in text
