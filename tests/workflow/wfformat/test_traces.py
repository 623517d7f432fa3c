"""A trace of any schema becomes the same workflow; what is wrong with one is said with its JSON path."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podium.exceptions import WorkflowInvalidError, WorkflowSyntaxError
from podium.workflow.expressions.templates import compile_template
from podium.workflow.model import Workflow
from podium.workflow.plan import plan
from podium.workflow.wfformat import read_trace, workflow_of
from podium.workflow.yaml import dump_workflow, load_workflow
from tests.workflow.wfformat.traces import by_id, by_name, text

INSTANCES = Path(__file__).parents[3].parent / "shared" / "data" / "wfinstances"
# From its README: tasks, edges, depth, seconds of the critical path, seconds of all tasks.
RECORDED = {
    "blast-chameleon-small-001": (43, 120, 3, 10.4, 382.9),
    "soykb-chameleon-20fastq-10ch-001": (176, 374, 11, 5357.9, 33279.7),
    "airrflow-dirt02-001": (212, 327, 25, 438.1, 3329.9),
    "1000genome-chameleon-10ch-100k-001": (260, 380, 3, 293.6, 16032.4),
    "epigenomics-chameleon-ilmn-2seq-100k-001": (263, 324, 9, 183.9, 5182.9),
    "montage-chameleon-2mass-04d-001": (1312, 3540, 8, 37.7, 3022.5),
}
DIAMOND = {"b": ["a"], "c": ["a"], "d": ["b", "c"]}
NAMES = st.text(st.characters(min_codepoint=32, exclude_characters="\x7f"), min_size=1, max_size=12)


def imported(document: dict[str, Any]) -> Workflow:
    return workflow_of(read_trace(text(document), "trace.json"))


@pytest.mark.parametrize("name", RECORDED)
def test_a_recorded_workflow_is_read_whole(name: str) -> None:
    path = INSTANCES / f"{name}.json"
    if not path.exists():
        pytest.skip("not run: no ../shared/data")
    trace = read_trace(path.read_bytes(), path.name)
    workflow = workflow_of(trace)
    foreseen = plan(workflow)
    tasks, edges, depth, critical, work = RECORDED[name]
    assert (foreseen.task_count, foreseen.edge_count, foreseen.depth) == (tasks, edges, depth)
    assert foreseen.estimated_duration == pytest.approx(critical, abs=0.06)
    assert foreseen.work_seconds == pytest.approx(work, abs=0.06)
    assert [task.id for task in workflow.tasks] == [task.id for task in trace.tasks]
    sizes = workflow.metadata["wfformat"]["files"]
    for task in workflow.tasks:
        assert task.payload is not None
        for file in (*task.payload.get("input_files", ()), *task.payload.get("output_files", ())):
            assert file in sizes
    assert load_workflow(dump_workflow(workflow)) == workflow


@st.composite
def graphs(draw: st.DrawFn) -> tuple[list[str], dict[str, list[str]]]:
    names = draw(st.lists(NAMES, unique=True, min_size=1, max_size=8))
    parents = {
        name: draw(st.lists(st.sampled_from(names[:at]), unique=True)) if at else [] for at, name in enumerate(names)
    }
    return names, parents


@given(graphs())
@settings(deadline=None, max_examples=60)
def test_every_schema_and_either_side_says_the_same(graph: tuple[list[str], dict[str, list[str]]]) -> None:
    names, parents = graph
    old = [imported(by_name(names, parents, sides=sides)) for sides in ("both", "parents", "children")]
    new = [imported(by_id(names, parents, schema=schema)) for schema in ("1.5", "1.6")]
    for workflow in (*old, *new):
        ids = [task.id for task in workflow.tasks]
        assert len(set(ids)) == len(names)
        found = {task.id: set(task.dependencies) for task in workflow.tasks}
        id_of = dict(zip(names, ids, strict=True))
        assert found == {id_of[name]: {id_of[parent] for parent in parents[name]} for name in names}
        assert [task.estimated_duration for task in workflow.tasks] == [float(at) for at in range(len(names))]
        assert load_workflow(dump_workflow(workflow)) == workflow


@given(st.text(max_size=30), st.lists(st.text(max_size=10), max_size=3), NAMES)
@settings(deadline=None, max_examples=60)
def test_commands_and_files_stand_for_themselves(program: str, arguments: list[str], file: str) -> None:
    document = by_id(["a"], {})
    document["workflow"]["specification"]["tasks"][0]["inputFiles"] = [file]
    document["workflow"]["execution"]["tasks"][0]["command"] = {"program": program, "arguments": arguments}
    workflow = imported(document)
    given_to_agent = compile_template(workflow.tasks[0].payload).render({})
    assert given_to_agent["input_files"] == [file]
    clean = [argument.encode("utf-8", "replace").decode() for argument in arguments]
    assert given_to_agent.get("arguments", []) == clean
    assert load_workflow(dump_workflow(workflow)) == workflow


def test_halves_of_characters_are_replaced_wherever_they_are() -> None:
    document = by_id(["a\ud800"], {})
    document["description"] = "half \udfff"
    document["workflow"]["execution"]["tasks"][0]["command"] = {"program": "p", "arguments": ["\ud83d\ude00 \ud800"]}
    document["workflow"]["specification"]["files"] = [{"id": "\ud801", "sizeInBytes": 3}]
    workflow = imported(document)
    assert workflow.tasks[0].payload == {"program": "p", "arguments": ["\U0001f600 \ufffd"], "trace_id": "a\ufffd"}
    assert workflow.metadata["wfformat"]["files"] == {"\ufffd": 3}
    assert load_workflow(dump_workflow(workflow)) == workflow


def test_expressions_in_a_command_are_no_expressions() -> None:
    document = by_id(["a"], {})
    document["workflow"]["execution"]["tasks"][0]["command"] = {"program": "run", "arguments": ["${HOME} $${x} ${"]}
    payload = imported(document).tasks[0].payload
    assert compile_template(payload).render({})["arguments"] == ["${HOME} $${x} ${"]


def test_what_a_task_took_and_needs_is_kept() -> None:
    document = by_id(["a"], {})
    specification, execution = document["workflow"]["specification"], document["workflow"]["execution"]
    specification["tasks"][0] |= {"inputFiles": ["in.txt"], "outputFiles": ["out.txt", "out.txt"]}
    specification["files"] = [{"id": "in.txt", "sizeInBytes": 12}, {"id": "out.txt", "sizeInBytes": 7}]
    execution["tasks"][0] |= {
        "runtimeInSeconds": 55.957, "coreCount": 1.5, "memoryInBytes": 14_640_001, "priority": 20,
        "command": {"program": "mProject", "arguments": ["-X", "a.fits"]}, "avgCPU": 96.2,
    }  # fmt: skip
    execution |= {"machines": [
        {"nodeName": "n1", "cpu": {"coreCount": 48, "speedInMHz": 2100}, "memoryInBytes": 8e9},
        {"nodeName": "n2", "cpu": {"speedInMHz": float("nan")}},
        {"system": "linux"},
    ]}  # fmt: skip
    workflow = imported(document)
    (task,) = workflow.tasks
    assert (task.name, task.function, task.estimated_duration, task.priority) == ("program 0", "mProject", 55.957, 20)
    assert (task.resources.cpu_cores, task.resources.memory_mb) == (1.5, 15)
    assert task.payload == {
        "program": "mProject",
        "arguments": ["-X", "a.fits"],
        "input_files": ["in.txt"],
        "output_files": ["out.txt"],
    }
    about = workflow.metadata["wfformat"]
    assert about["files"] == {"in.txt": 12, "out.txt": 7}
    assert about["machines"] == [
        {"name": "n1", "cores": 48.0, "memory_mb": 8000, "speed_mhz": 2100},
        {"name": "n2"},
    ]


def test_schema_1_4_keeps_the_same_under_its_own_names() -> None:
    files = [
        {"link": "input", "name": "in.txt", "sizeInBytes": 12},
        {"link": "output", "name": "out.txt", "sizeInBytes": 7},
    ]
    more = {"cores": 2, "memory": 2500, "files": files, "runtimeInSeconds": 1.5, "command": {"program": "sort"}}
    document = by_name(["sort_ID1"], {}, tasks=[more])
    document["workflow"]["machines"] = [{"nodeName": "n1", "cpu": {"count": 8, "speed": 1200}}]
    (task,) = imported(document).tasks
    assert (task.id, task.function, task.estimated_duration) == ("sort_ID1", "sort", 1.5)
    assert (task.resources.cpu_cores, task.resources.memory_mb) == (2, 3)  # 2,500 kilobytes
    assert task.payload == {"program": "sort", "input_files": ["in.txt"], "output_files": ["out.txt"]}
    assert imported(document).metadata["wfformat"] == {
        "schema": "1.4", "executed_at": "2026-11-25T10:00:00Z", "makespan_seconds": 9.0,
        "machines": [{"name": "n1", "cores": 8.0, "speed_mhz": 1200}], "files": {"in.txt": 12, "out.txt": 7},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("said", "megabytes"),
    [
        ({"memoryInBytes": 1}, 1),
        ({"memoryInBytes": 3e6, "memory": 1}, 3),
        ({"memory": 4096}, 5),
        ({"memory": "4096"}, 5),
        ({"memory": "2 GB"}, 2000),
        ({"memoryInBytes": "1GiB"}, 1074),
        ({"memoryInBytes": 0}, 0),
        ({"memoryInBytes": None}, 0),
        ({}, 0),
    ],
)
def test_memory_is_understood_in_each_unit(said: dict[str, Any], megabytes: int) -> None:
    assert imported(by_name(["a"], {}, tasks=[said])).tasks[0].resources.memory_mb == megabytes


def test_a_task_without_a_runtime_has_no_estimate() -> None:
    document = by_id(["a", "b"], {})
    del document["workflow"]["execution"]["tasks"][1]
    document["workflow"]["execution"]["tasks"][0]["runtimeInSeconds"] = None
    assert [task.estimated_duration for task in imported(document).tasks] == [None, None]
    assert "resources" not in dump_workflow(imported(document))  # what isn't said isn't written
    del document["workflow"]["execution"]
    assert len(imported(document).tasks) == 2


def test_names_that_no_id_can_have_stay_the_titles() -> None:
    names = ["a b", "a_b", "ä/ö", "-x", "." * 3, "n" * 250, "a  b", "x\ny"]
    workflow = imported(by_name(names, {}))
    ids = [task.id for task in workflow.tasks]
    assert ids[1] == "a_b"  # what can be kept is kept
    assert len(set(ids)) == len(names)
    assert [task.name for task in workflow.tasks][:5] == names[:5]
    assert workflow.tasks[5].payload == {"trace_id": "n" * 250}


def test_names_that_several_tasks_have_are_told_apart_by_their_ids() -> None:
    workflow = imported(by_name(["blast", "blast", "cat"], {}, tasks=[{}, {}, {"parents": ["ID0000000", "ID0000001"]}]))
    assert [task.id for task in workflow.tasks] == ["blast_ID0000000", "blast_ID0000001", "cat"]
    assert workflow.tasks[2].dependencies == ("blast_ID0000000", "blast_ID0000001")
    assert [task.name for task in workflow.tasks] == ["blast", "blast", "cat"]


def nextflow() -> dict[str, Any]:
    """Two samples through two steps, as the recorder of Nextflow names them, and what looks at all of them."""

    def files(inputs: list[str], outputs: list[str]) -> list[dict[str, Any]]:
        told = [("input", name) for name in inputs] + [("output", name) for name in outputs]
        return [
            {"link": link, "name": "reads.fq", "path": f"/{name}/", "sizeInBytes": len(name)} for link, name in told
        ]

    names = ["trim", "trim", "align", "align", "report"]
    ways = [("s1", "t1"), ("s2", "t2"), ("t1", "a1"), ("t2", "a2"), ("none", "r")]
    more = [{"files": files([before], [after])} for before, after in ways]
    document = by_name(names, {"align": ["trim"], "report": ["align"]}, tasks=more)
    for task, children in zip(document["workflow"]["tasks"], ["align", "align", "report", "report", ""], strict=True):
        task["children"] = [children] if children else []
    return document


def test_of_several_tasks_with_a_name_those_are_meant_whose_files_say_so_else_all() -> None:
    workflow = imported(nextflow())
    t1, t2, a1, a2, report = workflow.tasks
    assert (a1.dependencies, a2.dependencies) == ((t1.id,), (t2.id,))
    assert set(report.dependencies) == {a1.id, a2.id}  # it shares no file with either
    assert t1.payload == {"input_files": ["/s1/reads.fq"], "output_files": ["/t1/reads.fq"]}
    assert workflow.metadata["wfformat"]["files"]["/t2/reads.fq"] == 2


def test_a_task_that_names_its_own_name_means_the_others() -> None:
    document = by_name(["a", "a"], {})
    document["workflow"]["tasks"][1]["parents"] = ["a"]
    first, second = imported(document).tasks
    assert (first.dependencies, second.dependencies) == ((), (first.id,))


def test_traces_before_1_4_are_read_too() -> None:
    document = by_name(["a", "b"], {"b": ["a"]})
    document["schemaVersion"] = "1.2"
    document["workflow"]["jobs"] = [
        {"name": "a", "runtime": 2.0, "files": [{"link": "output", "name": "f", "size": 3}]},
        {"name": "b", "runtime": 3.0, "parents": ["a"]},
    ]
    del document["workflow"]["tasks"]
    workflow = imported(document)
    assert [task.estimated_duration for task in workflow.tasks] == [2.0, 3.0]
    assert workflow.tasks[1].dependencies == ("a",)
    assert workflow.metadata["wfformat"]["files"] == {"f": 3}


# --- what is wrong ---------------------------------------------------------------------------------------------------


def refused(document: Any) -> str:
    with pytest.raises(WorkflowInvalidError) as caught:
        read_trace(text(document), "trace.json")
    return str(caught.value)


def changed(*path: str | int, to: Any, of: dict[str, Any] | None = None) -> dict[str, Any]:
    document: Any = of or by_id(["a", "b", "c", "d"], DIAMOND)
    at = document
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = to
    return document


SPECIFIED = ("workflow", "specification", "tasks")
RECORDS = ("workflow", "execution", "tasks")


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        ([], "$: expected an object, found a list"),
        ({}, "$: workflow is missing"),
        ({"workflow": []}, "$.workflow: expected an object, found a list"),
        ({"workflow": {}}, "$.workflow: tasks is missing"),
        ({"workflow": {"tasks": []}}, "$.workflow: there are no tasks"),
        ({"workflow": {"tasks": 3}}, "$.workflow.tasks: expected a list, found 3"),
        ({"workflow": {"tasks": [7]}}, "$.workflow.tasks[0]: expected an object, found 7"),
        ({"workflow": {"tasks": [{"runtime": 1}]}}, "$.workflow.tasks[0]: name is missing"),
        (changed("schemaVersion", to="2.0"), "$.schemaVersion: the schema '2.0' isn't known; known are 1.0, 1.1"),
        (changed("schemaVersion", to="1.6", of=by_name(["a"], {})), "$.workflow: specification is missing"),
        (changed(*SPECIFIED, 2, to="x"), "$.workflow.specification.tasks[2]: expected an object, found 'x'"),
        (changed(*SPECIFIED, 1, "id", to=""), "tasks[1].id: expected a text that isn't empty, found ''"),
        (changed(*SPECIFIED, 1, "id", to=5), "$.workflow.specification.tasks[1].id: expected a text, found 5"),
        (
            changed(*SPECIFIED, 1, "id", to="a"),
            "$.workflow.specification.tasks[1].id: the id 'a' is that of $.workflow.specification.tasks[0] already",
        ),
        (
            changed(*SPECIFIED, 3, "parents", to=["b", "z"]),
            "$.workflow.specification.tasks[3].parents[1]: there is no task 'z'",
        ),
        (changed(*SPECIFIED, 3, "parents", to="b"), "$.workflow.specification.tasks[3].parents: expected a list"),
        (changed(*SPECIFIED, 0, "children", to=[["b"]]), "tasks[0].children[0]: expected a text, found a list"),
        (
            changed(*SPECIFIED, 0, "parents", to=["d"]),
            "$.workflow.specification.tasks[0]: the tasks depend on each other in a circle: a -> b -> d -> a",
        ),
        (changed(*SPECIFIED, 0, "parents", to=["a"]), "depend on each other in a circle: a -> a"),
        (changed(*SPECIFIED, 0, "inputFiles", to=[3]), "tasks[0].inputFiles[0]: expected a text, found 3"),
        (changed(*RECORDS, 1, "id", to="z"), "execution.tasks[1]: the specification has no task 'z'"),
        (changed(*RECORDS, 1, "id", to="a"), "execution.tasks[1].id: the task 'a' is recorded at $.workflow.execution"),
        (
            changed(*RECORDS, 2, "runtimeInSeconds", to=-1.5),
            "$.workflow.execution.tasks[2].runtimeInSeconds: -1.5 is negative",
        ),
        (changed(*RECORDS, 2, "runtimeInSeconds", to=float("nan")), "tasks[2].runtimeInSeconds: nan is not understood"),
        (changed(*RECORDS, 2, "runtimeInSeconds", to="long"), '.runtimeInSeconds: "long" is not understood'),
        (changed(*RECORDS, 2, "runtimeInSeconds", to=1e12), ".runtimeInSeconds: 1000000000000.0 is too large"),
        (changed(*RECORDS, 0, "coreCount", to="many"), '.coreCount: "many" is not understood'),
        (changed(*RECORDS, 0, "memoryInBytes", to=-5), ".memoryInBytes: -5 is negative"),
        (changed(*RECORDS, 0, "memoryInBytes", to=True), ".memoryInBytes: True is not understood"),
        (
            changed("workflow", "specification", "files", to=[{"id": "f", "sizeInBytes": "x"}]),
            "$.workflow.specification.files[0].sizeInBytes: expected a number of bytes, found 'x'",
        ),
        (
            changed("workflow", "tasks", 0, "files", to=[{"link": "input"}], of=by_name(["a"], {})),
            "$.workflow.tasks[0].files[0]: name is missing: expected a text",
        ),
    ],
)
def test_a_problem_is_said_with_its_place(document: Any, problem: str) -> None:
    said = refused(document)
    assert said.startswith("trace.json: $")
    assert problem in said


def test_all_problems_are_said_at_once_and_many_are_counted() -> None:
    two = changed(*SPECIFIED, 3, "parents", to=["y", "z"])
    assert refused(two).count("there is no task") == 2
    many = changed(*SPECIFIED, 3, "parents", to=[f"z{at}" for at in range(50)])
    assert refused(many).endswith("… and 30 more problems")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ('{"workflow": ', "trace.json:1:14: this is no JSON"),
        (b"\xff\xfe{}", "trace.json: the byte 0 isn't UTF-8"),
        ("[" * 100_000, "trace.json: it is nested too deeply"),
        ("1" * 5_000, "trace.json: it can't be read"),
    ],
)
def test_what_is_no_json_is_refused_with_its_place(content: str | bytes, problem: str) -> None:
    with pytest.raises(WorkflowSyntaxError, match=problem.replace("(", r"\(")):
        read_trace(content, "trace.json")


def test_a_byte_order_mark_is_no_hindrance() -> None:
    assert read_trace(b"\xef\xbb\xbf" + text(by_id(["a"], {})).encode()).schema == "1.5"
