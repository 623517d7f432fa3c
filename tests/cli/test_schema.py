"""`podium schema`: where it writes, and what it says."""

from __future__ import annotations

import json

from podium.workflow.yaml.reference import language_reference
from podium.workflow.yaml.schema import workflow_schema


def test_without_a_file_it_goes_to_standard_output(here):
    assert json.loads(here("schema")) == workflow_schema()
    assert here.json("schema") == workflow_schema()


def test_the_file_and_the_line_that_names_it(here):
    out = here("schema", "-o", "podium.schema.json")
    assert "# yaml-language-server: $schema=podium.schema.json" in out
    assert json.loads((here.folder / "podium.schema.json").read_text(encoding="utf-8")) == workflow_schema()
    assert here.json("schema", "-o", "again.json")["file"] == "again.json"
    assert all(len(line) <= 80 for line in out.splitlines())


def test_a_file_that_cannot_be_written_is_named(here):
    assert "--output no/such/folder.json can't be written: No such file" in here.refused(
        "schema", "-o", "no/such/folder.json"
    )
    (here.folder / "taken").mkdir()
    assert "--output taken can't be written" in here.refused("schema", "-o", "taken")
    assert [path.name for path in here.folder.iterdir() if path.name.endswith(".new")] == []


def test_the_reference_is_a_page_for_people(here):
    assert here("schema", "--reference").strip() == language_reference().strip()
    assert here.json("schema", "--reference")["markdown"] == language_reference()
    assert "an example of each" in here("schema", "--reference", "-o", "language.md")
    assert (here.folder / "language.md").read_text(encoding="utf-8") == language_reference()
    assert here.json("schema", "--reference", "-o", "again.md") == {"file": "again.md"}
