"""The curves are measured and drawn, at sizes at which they mean nothing."""

from xml.etree import ElementTree as ET

import pytest

from bench.growth.growth import KINDS, Kind, draw_all, measure, table
from bench.growth.plot import Line, plot
from bench.machine import describe


@pytest.mark.slow
def test_each_kind_is_measured_and_what_the_time_did_not_reach_is_said(tmp_path):
    kinds = [Kind(kind.name, kind.title, kind.plot, (2, 50_000_000)) for kind in KINDS]
    curves = measure(tmp_path, 60.0, lambda text: None, kinds)
    for curve in curves:
        assert [point.count for point in curve.points] == [2]
        assert curve.left_out == (50_000_000,)
        assert curve.points[0].seconds > 0
        assert curve.points[0].disk_mb > 0
    text = table(describe(tmp_path), curves)
    assert "| tasks one after another | 2 |" in text
    assert "Left out: tasks one after another, 50,000,000: the time didn't reach." in text
    draw_all(tmp_path / "plots", curves)
    assert len(list((tmp_path / "plots").glob("*.svg"))) == 4


def test_a_plot_is_an_image_with_a_line_and_its_name():
    text = plot("µs & more", "tasks", [Line("one <kind>", ((1.0, 5.0), (1_000.0, 50.0)))])
    root = ET.fromstring(text)
    words = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"µs & more", "one <kind>", "1,000"} <= set(words)
    (line,) = root.iter("{http://www.w3.org/2000/svg}polyline")
    first, last = (tuple(map(float, place.split(","))) for place in line.attrib["points"].split())
    assert first[0] < last[0]
    assert first[1] > last[1]  # upward is towards zero


def test_a_size_that_is_refused_is_left_out_with_the_reason(tmp_path):
    (curve,) = measure(tmp_path, 60.0, lambda text: None, [Kind("no such kind", "nothing", "tasks", (1,))])
    assert curve.points == ()
    assert "no such kind" in curve.refused
    assert "Left out: nothing, 1: KeyError: 'no such kind'." in table(describe(tmp_path), [curve])
