"""Files that workflows include: of their own project, and of nowhere else."""

from __future__ import annotations

import os

import pytest

from podium.api.including import ProjectFiles
from podium.api.loading import workflow_from
from podium.exceptions import InvalidInputError, WorkflowInvalidError
from podium.workflow.yaml import Opened

PART = "tasks: [{id: part, agent: echo}]\n"


def write(folder, **files):
    for name, text in files.items():
        path = folder / f"{name.replace('__', '/')}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def including(path: str) -> str:
    return f"name: m\ninclude: {path!r}\ntasks: [{{id: z, agent: echo}}]\n"


def test_a_path_leads_from_the_file_that_it_is_written_in(tmp_path):
    write(tmp_path, podium="", flows__main=including("parts/a.yaml"), flows__parts__a="include: ../../common/c.yaml")
    write(tmp_path, common__c=PART)
    assert [task.id for task in workflow_from(tmp_path / "flows" / "main.yaml").tasks] == ["z", "part"]


def test_problems_call_files_as_seen_from_where_one_stands(tmp_path, monkeypatch):
    write(tmp_path, flows__main=including("./parts/a.yaml"), flows__parts__a="tasks: [{id: a}]")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(WorkflowInvalidError) as caught:
        workflow_from("flows/main.yaml")
    assert str(caught.value).startswith("flows/parts/a.yaml:1:")


def test_what_was_opened_is_known(tmp_path):
    write(tmp_path, a=PART)
    files = ProjectFiles(tmp_path / "main.yaml")
    opened = files("a.yaml", Opened("main.yaml", str(tmp_path / "main.yaml"), b""))
    assert opened.content == PART.encode()
    assert files.opened == [tmp_path / "a.yaml"]


@pytest.mark.parametrize("path", ["../outside.yaml", "sub/../../outside.yaml", "link.yaml", "linked/x.yaml"])
def test_a_path_that_leads_out_of_the_project_is_refused_also_by_a_link(tmp_path, path):
    project = tmp_path / "project"
    write(tmp_path, outside=PART, elsewhere__x=PART)
    write(project, main=including(path), sub__x=PART)
    (project / "link.yaml").symlink_to("../outside.yaml")
    (project / "linked").symlink_to("../elsewhere")
    with pytest.raises(WorkflowInvalidError, match="isn't in the project's folder project"):
        workflow_from(project / "main.yaml")


@pytest.mark.parametrize("path", ["/etc/passwd", "~/x.yaml", "https://example.org/x.yaml", "a\\b.yaml", " "])
def test_what_is_no_relative_path_is_refused(tmp_path, path):
    with pytest.raises(InvalidInputError, match="path"):
        ProjectFiles(tmp_path / "main.yaml")(path, Opened("main.yaml", str(tmp_path / "main.yaml"), b""))


def test_what_is_no_file_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "folder.yaml").mkdir()
    for name in ("pipe.yaml", "folder.yaml"):
        write(tmp_path, main=including(name))
        with pytest.raises(WorkflowInvalidError, match="it is no file"):
            workflow_from(tmp_path / "main.yaml")
    write(tmp_path, main=including("missing.yaml"))
    with pytest.raises(WorkflowInvalidError, match=r"missing.yaml can't be read: No such file"):
        workflow_from(tmp_path / "main.yaml")


def test_behind_a_linked_folder_a_path_leads_from_where_the_file_really_is(tmp_path, monkeypatch):
    write(tmp_path, main=including("ln/x.yaml"), b__deep__x="include: ../y.yaml", b__y="include: z.yaml")
    write(tmp_path, b__z="include: main.yaml", b__main=PART, z="tasks: [{id: wrong, agent: echo}]")
    (tmp_path / "ln").symlink_to("b/deep")
    monkeypatch.chdir(tmp_path)
    assert [task.id for task in workflow_from("main.yaml").tasks] == ["z", "part"]
    write(tmp_path, b__main="tasks: [{id: part}]")
    with pytest.raises(WorkflowInvalidError, match=r"^ln/\.\./main\.yaml:1:"):
        workflow_from("main.yaml")


def test_a_cycle_through_a_link_is_told_at_once(tmp_path, monkeypatch):
    write(tmp_path, main=including("ln/a.yaml"), b__a="include: ../main.yaml")
    (tmp_path / "ln").symlink_to("b")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(WorkflowInvalidError, match=r"main\.yaml → ln/a\.yaml → main\.yaml"):
        workflow_from("main.yaml")


def test_a_cycle_is_told_from_the_first_file_on(tmp_path, monkeypatch):
    write(tmp_path, main=including("a.yaml"), a="include: ./main.yaml")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(WorkflowInvalidError, match=r"main.yaml → a.yaml → main.yaml"):
        workflow_from("main.yaml")


def test_the_nearest_file_is_named_where_there_is_none(tmp_path):
    write(tmp_path, flows__packing=PART, main="name: m\ntasks: [{id: a, workflow: flows/packng.yaml}]\n")
    with pytest.raises(
        WorkflowInvalidError, match=r'packng.yaml can\'t be read: .*; did you mean "flows/packing.yaml"'
    ):
        workflow_from(tmp_path / "main.yaml")


@pytest.mark.parametrize("path", ["a\nb\x1b[2Jc.yaml", "x/" * 2_500 + "y.yaml"], ids=["lines", "long"])
def test_a_path_that_cant_be_opened_stays_within_its_line(tmp_path, path):
    with pytest.raises(InvalidInputError, match="can't be read") as refused:
        ProjectFiles(tmp_path / "main.yaml")(path, Opened("main.yaml", str(tmp_path / "main.yaml"), b""))
    assert str(refused.value).isprintable()
    assert len(str(refused.value)) < 400


def test_a_file_whose_name_has_two_lines_is_called_by_one(tmp_path):
    (tmp_path / "a\nb.yaml").write_text(PART)
    opened = ProjectFiles(tmp_path / "main.yaml")("a\nb.yaml", Opened("main.yaml", str(tmp_path / "main.yaml"), b""))
    assert opened.file == r"a\nb.yaml"
