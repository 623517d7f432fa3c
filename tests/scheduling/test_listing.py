"""List schedules keep every promise, leave nothing waiting that could start, and are near to the best that is known."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from statistics import mean

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podium.scheduling.listing import Jobs, Listing, best_listing, listed
from podium.scheduling.resources import Vector
from tests.workflow.cpu_time import cpu_seconds

PSPLIB = Path(__file__).parents[2].parent / "shared" / "data" / "psplib"


@st.composite
def jobs_of(draw: st.DrawFn) -> Jobs:
    count = draw(st.integers(0, 12))
    offers = {"a": float(draw(st.integers(1, 4))), "b": float(draw(st.integers(1, 4)))}
    numbers = range(count)
    return Jobs(
        takes=[float(draw(st.integers(0, 5))) for _ in numbers],
        before=[tuple(draw(st.sets(st.integers(0, at - 1), max_size=3))) if at else () for at in numbers],
        needs=[
            {
                "a": float(draw(st.integers(0, int(offers["a"])))),
                "b": float(draw(st.integers(0, int(offers["b"])))),
                "together": float(draw(st.integers(0, 2))),
                "unlimited": 7.0,
            }
            for _ in numbers
        ],
        offers=offers,
        machines=draw(st.integers(1, 3)),
        shared={"together": 2.0},
    )


def in_use(jobs: Jobs, found: Listing, at: float, machine: int | None = None) -> dict[str, float]:
    """What is taken just after a time, of a machine or of all that is shared."""
    running = [j for j, start in enumerate(found.starts) if start <= at < start + jobs.takes[j]]
    if machine is None:
        return {name: sum(jobs.needs[job].get(name, 0.0) for job in running) for name in jobs.shared}
    own = [job for job in running if found.machines[job] == machine]
    return {name: sum(jobs.needs[job].get(name, 0.0) for job in own) for name in jobs.offers}


def fits(jobs: Jobs, job: int, used: dict[str, float], limits: Vector) -> bool:
    return all(used[name] + jobs.needs[job].get(name, 0.0) <= amount for name, amount in limits.items())


def check(jobs: Jobs, found: Listing) -> None:
    for job, before in enumerate(jobs.before):
        assert all(found.starts[job] >= found.starts[earlier] + jobs.takes[earlier] for earlier in before)
        assert 0 <= found.machines[job] < jobs.machines
    for at in found.starts:
        assert all(in_use(jobs, found, at)[name] <= amount for name, amount in jobs.shared.items())
        for machine in range(jobs.machines):
            assert all(in_use(jobs, found, at, machine)[name] <= amount for name, amount in jobs.offers.items())


def length(jobs: Jobs, found: Listing) -> float:
    return max((start + takes for start, takes in zip(found.starts, jobs.takes, strict=True)), default=0.0)


@settings(deadline=None)
@given(jobs_of(), st.randoms(use_true_random=False))
def test_dependencies_and_resources_hold_whatever_the_ranks(jobs, chance):
    check(jobs, best_listing(jobs))
    found = listed(jobs, [chance.random() for _ in jobs.takes])
    check(jobs, found)
    starts = found.starts
    for job, start in enumerate(starts):  # nothing waited that could have started
        ready = max((starts[b] + jobs.takes[b] for b in jobs.before[job]), default=0.0)
        for at in {ready, *(s + t for s, t in zip(starts, jobs.takes, strict=True) if ready <= s + t)}:
            if at < start and jobs.takes[job]:
                room = any(
                    fits(jobs, job, in_use(jobs, found, at, machine), jobs.offers) for machine in range(jobs.machines)
                )
                assert not (room and fits(jobs, job, in_use(jobs, found, at), jobs.shared))


@settings(deadline=None)
@given(jobs_of())
def test_it_is_never_worse_than_the_longest_tail_first_and_always_the_same(jobs):
    tails = [0.0] * len(jobs.takes)
    for job in reversed(range(len(tails))):
        later = [other for other, before in enumerate(jobs.before) if job in before]
        tails[job] = jobs.takes[job] + max((tails[other] for other in later), default=0.0)
    found = best_listing(jobs)
    assert length(jobs, found) <= length(jobs, listed(jobs, [-tail for tail in tails]))
    assert length(jobs, found) >= max(tails, default=0.0)
    assert best_listing(jobs) == found


def test_what_doesnt_fit_lets_smaller_ones_pass():
    jobs = Jobs([5.0, 2.0, 1.0], [(), (), ()], [{"a": 1.0}, {"a": 2.0}, {"a": 1.0}], {"a": 2.0})
    assert listed(jobs, [0, 1, 2]) == Listing([0.0, 5.0, 0.0], [0, 0, 0])


def test_what_takes_nothing_and_needs_nothing_costs_nothing():
    jobs = Jobs([0.0, 0.0, 3.0], [(), (0,), (1,)], [{"a": 1.0}, {"a": 1.0}, {}], {"a": 1.0})
    assert best_listing(jobs).starts == [0.0, 0.0, 0.0]
    assert best_listing(Jobs([], [], [], {})) == Listing([], [])


@pytest.mark.parametrize("machines", [1, 16, 10_000])
def test_ten_thousand_jobs_of_a_thousand_kinds_are_scheduled_quickly(machines):
    count = 10_000
    jobs = Jobs(
        takes=[1.0 + at % 7 for at in range(count)],
        before=[(at - 500,) if at >= 500 else () for at in range(count)],
        needs=[{"cores": 1.0, "memory": float(at % 997)} for at in range(count)],
        offers={"cores": 4.0, "memory": 2_000.0},
        machines=machines,
    )
    assert cpu_seconds(lambda: best_listing(jobs), times=1) < 1


# --- PSPLIB: projects whose best schedules are known ------------------------------------------------------------------


def project(path: Path) -> Jobs:
    lines = path.read_text(encoding="utf-8").splitlines()

    def table(title: str, skip: int, count: int) -> list[list[int]]:
        begin = next(at for at, line in enumerate(lines) if line.startswith(title)) + skip
        return [[int(word) for word in line.split()] for line in lines[begin : begin + count]]

    found = re.search(r"jobs \(incl[^:]*:\s*(\d+)", "\n".join(lines))
    assert found
    count = int(found.group(1))
    before: list[list[int]] = [[] for _ in range(count)]
    for at, row in enumerate(table("PRECEDENCE", 2, count)):
        for successor in row[3:]:
            before[successor - 1].append(at)
    requests = table("REQUESTS", 3, count)
    return Jobs(
        takes=[float(row[2]) for row in requests],
        before=before,
        needs=[{str(at): float(amount) for at, amount in enumerate(row[3:])} for row in requests],
        offers={str(at): float(amount) for at, amount in enumerate(table("RESOURCEAVAIL", 2, 1)[0])},
    )


@pytest.mark.parametrize(
    ("family", "at_most"), [("j30", 0.02), ("j60", 0.03), pytest.param("j120", 0.065, marks=pytest.mark.slow)]
)
def test_known_projects_take_little_longer_than_the_best_that_is_known(family, at_most):
    if not PSPLIB.is_dir():
        pytest.skip("not run: no ../shared/data")
    deviations = []
    for row in csv.DictReader((PSPLIB / "optimum.csv").read_text(encoding="utf-8").splitlines()):
        if not row["file"].startswith(f"{family}/"):
            continue
        jobs = project(PSPLIB / row["file"])
        found = best_listing(jobs)
        check(jobs, found)
        takes = length(jobs, found)
        assert takes >= float(row["best_known"] if row["proved_optimal"] == "yes" else row["lower_bound"] or 0)
        deviations.append(takes / float(row["best_known"]) - 1)
    assert mean(deviations) < at_most
