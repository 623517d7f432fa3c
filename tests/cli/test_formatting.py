"""`podium fmt`: which files it writes, what it says, and with which exit code."""

from __future__ import annotations

import io
import sys

ODD = "tasks: [{agent: noop,id: a}]   # c\nname: w\n"
EVEN = "name: w\ntasks: [{id: a, agent: noop}]  # c\n"


def test_files_are_laid_out_anew_and_the_second_time_left_alone(here):
    here.write("odd.yaml", ODD)
    here.write("even.yaml", EVEN)
    (here.folder / "odd.yaml").chmod(0o640)
    assert here("fmt", "odd.yaml", "even.yaml") == "odd.yaml: laid out anew\n1 file of 2 laid out anew\n"
    assert (here.folder / "odd.yaml").read_text(encoding="utf-8") == EVEN
    assert (here.folder / "odd.yaml").stat().st_mode & 0o777 == 0o640
    before = (here.folder / "odd.yaml").stat().st_mtime_ns
    assert here("fmt", "odd.yaml") == "0 files of 1 laid out anew\n"
    assert (here.folder / "odd.yaml").stat().st_mtime_ns == before
    assert list(here.folder.glob(".*.new")) == []


def test_check_writes_nothing_and_ends_with_1(here):
    here.write("odd.yaml", ODD)
    assert "odd.yaml: would be laid out anew" in here("fmt", "--check", "odd.yaml", code=1)
    assert (here.folder / "odd.yaml").read_text(encoding="utf-8") == ODD
    assert here.json("fmt", "--check", "odd.yaml", code=1) == {"changed": ["odd.yaml"], "files": 1, "problems": []}
    here("fmt", "odd.yaml")
    assert "0 files" in here("fmt", "--check", "odd.yaml")


def test_what_cannot_be_read_is_said_and_the_others_are_laid_out(here):
    here.write("odd.yaml", ODD)
    here.write("bad.yaml", "name: [\n")
    said = here.refused("fmt", "bad.yaml", "odd.yaml", "none.yaml")
    assert "bad.yaml:2:1: syntax" in said
    assert "none.yaml: unreadable: the file can't be read: No such file" in said
    assert (here.folder / "odd.yaml").read_text(encoding="utf-8") == EVEN
    assert (here.folder / "bad.yaml").read_text(encoding="utf-8") == "name: [\n"


def test_a_link_stays_one(here):
    here.write("odd.yaml", ODD)
    (here.folder / "link.yaml").symlink_to("odd.yaml")
    here("fmt", "link.yaml")
    assert (here.folder / "link.yaml").is_symlink()
    assert (here.folder / "odd.yaml").read_text(encoding="utf-8") == EVEN


def test_standard_input_goes_to_standard_output(here, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(ODD.encode())))
    assert here("fmt", "-") == EVEN
