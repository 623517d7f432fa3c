"""`podium import wfformat`: the file it writes, what it says, and how it refuses."""

from __future__ import annotations

import json

import pytest

from podium.workflow.yaml import load_workflow
from tests.workflow.wfformat.traces import by_id, text


@pytest.fixture
def trace(here):
    document = by_id(["first", "then"], {"then": ["first"]})
    del document["workflow"]["execution"]["tasks"][0]
    return here.write("trace.json", text(document))


def test_the_file_is_a_workflow_and_is_summed_up(here, trace):
    out = here("import", "wfformat", "trace.json", "-o", "made.yaml")
    assert "made.yaml: 2 tasks, 1 dependency, 0 files" in out
    assert "podium run made.yaml --simulate --agents 8" in out
    assert "1 of 2 tasks have no recorded runtime" in " ".join(here.err.split())
    assert here("validate", "made.yaml")


def test_without_a_file_the_yaml_goes_to_standard_output(here, trace):
    out = here("import", "wfformat", "trace.json")
    assert [task.id for task in load_workflow(out).tasks] == ["first", "then"]


def test_the_document_of_json(here, trace):
    document = json.loads(here("import", "wfformat", "trace.json", "--json", "-o", "made.yaml"))
    assert (document["tasks"], document["dependencies"], document["without_runtime"]) == (2, 1, 1)
    assert (document["work_seconds"], document["critical_path_seconds"]) == (1.0, 2.0)
    assert document["file"] == "made.yaml"
    inside = json.loads(here("import", "wfformat", "trace.json", "--json"))
    assert load_workflow(inside["yaml"]).name == "made"


def test_what_is_wrong_is_said_with_its_place(here):
    here.write("bad.json", text(by_id(["a", "b"], {"a": ["b"], "b": ["a"]})))
    said = here.refused("import", "wfformat", "bad.json", "-o", "made.yaml")
    assert "bad.json: $.workflow.specification.tasks[0]: the tasks depend on each other in a circle" in said
    assert not (here.folder / "made.yaml").exists()
    assert "none.json can't be read" in here.refused("import", "wfformat", "none.json")
    here.write("good.json", text(by_id(["a"], {})))
    said = here.refused("import", "wfformat", "good.json", "-o", "no/such/folder.yaml")
    assert "--output no/such/folder.yaml can't be written" in said


def test_commands_are_left_out_where_the_file_would_be_too_large(here, trace, monkeypatch):
    document = by_id(["a"], {})
    document["workflow"]["execution"]["tasks"][0]["command"] = {"program": "run", "arguments": ["x" * 2_000]}
    here.write("large.json", text(document))
    monkeypatch.setattr("podium.workflow.yaml.decoding.MAX_FILE_BYTES", 1_500)
    here("import", "wfformat", "large.json", "-o", "made.yaml")
    assert "the commands are left out" in " ".join(here.err.split())
    monkeypatch.setattr("podium.workflow.yaml.decoding.MAX_FILE_BYTES", 100)
    assert "at most 100 are read" in here.refused("import", "wfformat", "large.json", "-o", "made.yaml")
