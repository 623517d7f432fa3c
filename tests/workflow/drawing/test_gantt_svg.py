"""The picture of a schedule has a bar a task in its agent's row, at its time."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest

from podium.workflow.drawing import Bar, gantt_svg
from podium.workflow.drawing.svg import fitted, number, seconds_of, width_of

SVG = "{http://www.w3.org/2000/svg}"


def drawn(bars: list[Bar], rows: int) -> ET.Element:
    picture = gantt_svg("title", "facts", bars, [f"agent {row + 1}" for row in range(rows)])
    return ET.fromstring(picture)


def bars_of(picture: ET.Element) -> dict[str, tuple[float, float, float, str]]:
    """Left, width, top and kind by the first line of the tip."""
    return {
        str(tip.text).splitlines()[0]: (
            float(rect.attrib["x"]), float(rect.attrib["width"]), float(rect.attrib["y"]), rect.attrib["class"]
        )
        for rect in picture.iter(f"{SVG}rect")
        if (tip := rect.find(f"{SVG}title")) is not None
    }  # fmt: skip


def test_each_bar_lies_at_its_time_in_its_row():
    picture = drawn([Bar("a", 0, 0, 25), Bar("b", 1, 25, 100, strong=True), Bar("c", 0, 50, 50)], 2)
    bars = bars_of(picture)
    assert (bars["a"][0], bars["a"][1]) == (76, 250)
    assert (bars["b"][0], bars["b"][1], bars["b"][3]) == (326, 750, "strongbar")
    assert bars["c"][1] == 0.6
    assert bars["b"][2] - bars["a"][2] == 22
    said = ["".join(text.itertext()) for text in picture.iter(f"{SVG}text")]
    assert {"title", "facts", "agent 1", "agent 2", "a", "b", "0 s", "10 s", "1 m", "1 m 40 s", "busy", "2"} <= set(
        said
    )
    assert "what held the end up is in the stronger colour" in said


def test_many_rows_are_low_ones_and_short_bars_give_way():
    tall, low = drawn([Bar("a", 199, 0, 1)], 200), drawn([Bar("a", 9, 0, 1)], 10)
    assert float(tall.attrib["height"]) < 200 * 6 + 200
    assert float(low.attrib["height"]) > 10 * 22
    many = [Bar(f"b{n}", 0, n, n + 1) for n in range(20_000)] + [Bar("tiny", 0, 20_000, 20_000.5)]
    picture = drawn(many, 1)
    assert "tiny" not in bars_of(picture)
    assert any("1 short ones aren't drawn" in "".join(text.itertext()) for text in picture.iter(f"{SVG}text"))


def test_nothing_is_a_picture_too():
    assert bars_of(drawn([], 1)) == {}


@pytest.mark.parametrize("seconds", [0.0003, 0.07, 1, 9, 60, 1_000, 5_000, 90_000, 10_000_000])
def test_there_are_about_ten_marks_whatever_it_takes(seconds):
    marks = [path for path in drawn([Bar("a", 0, 0, seconds)], 1).iter(f"{SVG}path") if path.attrib["class"] == "grid"]
    assert 4 <= len(marks) <= 12


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0 s"), (0.0012, "0.0012 s"), (2.5, "2.5 s"), (9.96, "10 s"), (59.6, "1 m"), (61, "1 m 1 s"),
        (3599.7, "1 h"), (7260, "2 h 1 m"),
    ],
)  # fmt: skip
def test_times_have_two_units_at_most(seconds, shown):
    assert seconds_of(seconds) == shown


def test_texts_are_cut_to_what_there_is_room_for():
    assert fitted("short", 100) == "short"
    cut = fitted("NFCORE_AIRRFLOW.SEQUENCE_ASSEMBLY.FASTP", 120)
    assert width_of(cut) <= 120
    assert cut.startswith("N")
    assert cut.endswith("FASTP")
    assert width_of(fitted("日本語の名前がとても長い", 60)) <= 60
    assert fitted("ab", 0) == "…b"


def test_numbers_are_short():
    assert [number(value) for value in (0.0, -0.01, 3.0, 2.55, -1.25, 100.04)] == ["0", "0", "3", "2.5", "-1.2", "100"]
