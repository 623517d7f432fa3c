"""Each workload runs, at a size at which its figures mean nothing: none is asserted."""

import json
from pathlib import Path

import pytest

from bench.__main__ import main
from bench.figures import TINY, Figure, Setup, percentile, ratio
from bench.machine import describe
from bench.printing import BEGIN, END, as_json, line, number, rewrite, table
from bench.workloads import WORKLOADS, simulated

PAGE = Path(__file__).parents[2] / "docs" / "benchmarks.md"


def test_the_workloads_have_names_of_their_own():
    names = ["W1", "W2", "W3", "W4", "W5", "F1", "B1", "B2", "B3", "R1", "R2", "R3", "S1", "G1", "V1"]
    names += ["P1", "P2", "P3", "P4", "P5", "P6"]
    assert [workload.name for workload in WORKLOADS] == names


OF_MINUTES = {"P2", "P3", "P6"}  # several replicas have to come together first
TRIED = [pytest.param(w, marks=pytest.mark.slow) if w.name in OF_MINUTES else w for w in WORKLOADS]


@pytest.mark.parametrize("workload", TRIED, ids=lambda workload: workload.name)
def test_a_workload_measures_and_what_it_is_compared_with_is_there(workload, tmp_path):
    figures = workload.measure(Setup(size=TINY, runs=1, folder=tmp_path))
    assert any(not figure.is_limit for figure in figures)
    names = [figure.name for figure in figures]
    assert len(set(names)) == len(names)
    for figure in figures:
        assert figure.workload == workload.name
        assert len(figure.runs) == 1
        assert figure.value > 0 or figure.workload in {"P4", "P5"}  # statements and memory of so few may be none
        assert not figure.beside or ratio(figure, figures) is not None
        assert figure.name in line(figure, figures)


def test_where_the_trace_is_not_at_hand_one_of_its_size_is_made(tmp_path, monkeypatch):
    monkeypatch.setattr(simulated, "TRACE", tmp_path / "none.json")
    figures = simulated.WORKLOAD.measure(Setup(size=TINY, runs=1, folder=tmp_path))
    assert len(simulated.made_trace()["workflow"]["specification"]["tasks"]) == 1_312
    assert len(figures) == 5


def test_the_page_has_a_place_for_the_figures_and_keeps_what_is_around_it(tmp_path):
    copy = tmp_path / "benchmarks.md"
    copy.write_text(PAGE.read_text(encoding="utf-8"), encoding="utf-8")
    rewrite(copy, "the figures")
    before, after = PAGE.read_text(encoding="utf-8").split(BEGIN)[0], PAGE.read_text(encoding="utf-8").split(END)[1]
    assert copy.read_text(encoding="utf-8") == f"{before}{BEGIN}\n\nthe figures\n\n{END}{after}"


def test_a_page_without_a_place_is_refused(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# A page\n", encoding="utf-8")
    with pytest.raises(ValueError, match="no place for the figures"):
        rewrite(page, "the figures")


def test_a_figure_says_whether_it_is_what_is_asked_and_how_it_compares(tmp_path):
    fast = Figure(workload="W", name="ours", unit="s", runs=(1.0, 3.0, 2.0), better="less", asked=1.5, beside="bare")
    bare = Figure(workload="W", name="bare", unit="s", runs=(0.5,), better="less", is_limit=True)
    assert fast.value == 2.0
    assert fast.holds is False
    assert ratio(fast, [fast, bare]) == 4.0
    text = table(describe(tmp_path), 3, [fast, bare])
    assert "| W | ours | at most 1.50 s, **missed** | 2.00 s | 1.00 – 3.00 | bare: 0.500 s | 4.00 |" in text
    every = json.loads(as_json(describe(tmp_path), 3, [fast, bare]))["figures"]
    assert [(figure["name"], figure["median"], figure["ratio"]) for figure in every] == [
        ("ours", 2.0, 4.0),
        ("bare", 0.5, None),
    ]


def test_percentiles_are_values_that_were_measured():
    values = [float(n) for n in range(1, 101)]
    assert [percentile(values, p) for p in (50, 95, 99)] == [50.0, 95.0, 99.0]
    assert percentile([7.0], 99) == 7.0


def test_numbers_are_short_and_thousands_apart():
    assert [number(n) for n in (12345.6, 99.94, 9.5, 0.0123)] == ["12,346", "99.9", "9.50", "0.012"]


@pytest.mark.parametrize(
    "wrong", [["W9"], ["--runs", "2"], ["W1", "--write", "page.md"], ["--quick", "--write", "page.md"]]
)
def test_what_would_mean_nothing_is_refused(wrong, capsys):
    with pytest.raises(SystemExit) as refusal:
        main(wrong)
    assert refusal.value.code == 2
    assert "error:" in capsys.readouterr().err
