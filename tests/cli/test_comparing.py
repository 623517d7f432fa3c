"""`podium diff`: what it says, in 80 columns, and with which exit code."""

from __future__ import annotations

import pytest

OLD = "name: w\ntasks:\n  - {id: a, agent: noop}\n  - {id: b, agent: noop, depends_on: [a], timeout: 5m}\n"


@pytest.fixture
def versions(here):
    here.write("a.yaml", OLD)

    def later(*changes: tuple[str, str]) -> None:
        text = OLD
        for old, new in changes:
            text = text.replace(old, new)
        here.write("b.yaml", text)

    return later


def test_the_same(here, versions):
    versions(("{id: a, agent: noop}", "{agent: noop, id: a}  # a comment"))
    assert here("diff", "a.yaml", "b.yaml") == "A a.yaml: w 1.0\nB b.yaml: w 1.0\nthey mean the same\n"
    assert here.json("diff", "a.yaml", "b.yaml") == {"equal": True, "compatible": True, "differences": []}


def test_changes_that_running_executions_could_take(here, versions):
    versions(("5m", "6m"), ("name: w", 'name: w\nversion: "2"'))
    out = here("diff", "a.yaml", "b.yaml")
    assert '  ~ version: "1.0" → "2"\n  ~ task b, timeout: 300.0 → 360.0\n' in out
    assert "2 differences; running executions could take all of them" in out
    here("diff", "a.yaml", "b.yaml", "--equal", code=1)


def test_changes_that_they_cannot(here, versions):
    versions(("id: a,", "id: a, function: f, input: {x: " + "long " * 40 + "},"), (", depends_on: [a]", ""))
    out = here("diff", "a.yaml", "b.yaml", code=1)
    assert "running executions can't take:" in out
    assert "- edge a -> b: without an input, b gets the result of each task before it" in " ".join(out.split())
    assert "3 differences; 3 of them running executions can't take" in out
    assert all(len(line) <= 80 for line in out.splitlines())
    document = here.json("diff", "a.yaml", "b.yaml", code=1)
    assert (document["equal"], document["compatible"], len(document["differences"])) == (False, False, 3)


def test_files_that_are_no_workflows_are_refused(here, versions):
    here.write("b.yaml", "name: w\ntasks: 3\n")
    assert "b.yaml:2:8: wrong-type" in here.refused("diff", "a.yaml", "b.yaml")
    assert "none.yaml can't be read" in here.refused("diff", "none.yaml", "a.yaml")
