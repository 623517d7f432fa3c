"""Orders, stages, paths and cycles of a graph, against definitions of them, a second library, and real traces."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import networkx as nx
import pytest
import rustworkx
from hypothesis import given
from hypothesis import strategies as st

from podium.exceptions import MissingExtraError, WorkflowInvalidError
from podium.workflow.graph import DependencyGraph, shown_cycle
from podium.workflow.model import Task, Workflow
from tests.workflow.cpu_time import cpu_seconds

TRACES = Path(__file__).parents[2].parent / "shared" / "data" / "wfinstances"


def graph_of(**dependencies: str) -> DependencyGraph:
    return DependencyGraph(list(dependencies), {task: needs.split() for task, needs in dependencies.items()})


DIAMOND = graph_of(a="", b="a", c="a", d="b c", e="d", z="")


@st.composite
def acyclic(draw: st.DrawFn) -> tuple[list[str], dict[str, list[str]]]:
    """Draw ids in any order of definition, and edges along a hidden order."""
    count = draw(st.integers(0, 14))
    hidden = draw(st.permutations([f"t{n}" for n in range(count)]))
    dependencies = {
        task: draw(st.lists(st.sampled_from(hidden[:at]), max_size=4, unique=True)) if at else []
        for at, task in enumerate(hidden)
    }
    return [f"t{n}" for n in range(count)], dependencies


@st.composite
def any_graph(draw: st.DrawFn) -> tuple[list[str], dict[str, list[str]]]:
    ids = [f"t{n}" for n in range(draw(st.integers(1, 8)))]
    return ids, {task: draw(st.lists(st.sampled_from(ids), max_size=3, unique=True)) for task in ids}


def library_graph(ids: list[str], dependencies: dict[str, list[str]]) -> Any:
    graph: Any = rustworkx.PyDiGraph()
    graph.add_nodes_from(ids)
    graph.add_edges_from_no_data(
        [(ids.index(before), ids.index(task)) for task in ids for before in dependencies[task]]
    )
    return graph


@given(acyclic())
def test_the_order_respects_dependencies_and_else_the_definition(drawn):
    ids, dependencies = drawn
    order = DependencyGraph(ids, dependencies).topological_order()
    expected = rustworkx.lexicographical_topological_sort(library_graph(ids, dependencies), key=lambda i: f"{i:>5}")
    assert order == expected


@given(acyclic())
def test_a_task_is_in_the_first_stage_that_its_dependencies_allow(drawn):
    ids, dependencies = drawn
    graph = DependencyGraph(ids, dependencies)
    stages = graph.stages()
    stage = {task: number for number, tasks in enumerate(stages) for task in tasks}
    assert sorted(stage) == sorted(ids)
    assert all(stage[task] == max((stage[before] + 1 for before in dependencies[task]), default=0) for task in ids)
    assert all(tasks == sorted(tasks, key=ids.index) for tasks in stages)
    assert graph.depth == len(stages)


@given(acyclic())
def test_ancestors_and_descendants_are_all_that_is_reached(drawn):
    ids, dependencies = drawn
    graph = DependencyGraph(ids, dependencies)
    library = library_graph(ids, dependencies)
    for at, task in enumerate(ids):
        assert graph.ancestors(task) == {ids[n] for n in rustworkx.ancestors(library, at)}
        assert graph.descendants(task) == {ids[n] for n in rustworkx.descendants(library, at)}
        assert set(graph.dependencies(task)) == set(dependencies[task])
        assert all(task in dependencies[after] for after in graph.dependents(task))


@given(acyclic(), st.data())
def test_the_critical_path_is_the_longest_and_delays_on_it_count(drawn, data):
    ids, dependencies = drawn
    graph = DependencyGraph(ids, dependencies)
    durations = {task: data.draw(st.integers(0, 9)) for task in ids}
    path = graph.critical_path(durations)
    seconds = graph.timing(durations).seconds
    longest: dict[str, int] = {}
    for task in graph.topological_order():
        longest[task] = durations[task] + max((longest[before] for before in dependencies[task]), default=0)
    assert seconds == max(longest.values(), default=0) == sum(durations[task] for task in path)
    assert all(before in dependencies[task] for before, task in pairwise(path))
    for task, slack in graph.slack(durations).items():
        assert graph.timing({**durations, task: durations[task] + slack}).seconds == seconds
        assert graph.timing({**durations, task: durations[task] + slack + 1}).seconds == seconds + 1
    assert all(graph.slack(durations)[task] == 0 for task in path)


@given(any_graph())
def test_a_cycle_is_found_exactly_when_there_is_one_and_each_step_is_an_edge(drawn):
    ids, dependencies = drawn
    graph = DependencyGraph(ids, dependencies)
    cycle = graph.cycle()
    if rustworkx.is_directed_acyclic_graph(library_graph(ids, dependencies)):
        assert cycle is None
        assert len(graph.topological_order()) == len(ids)
        return
    assert cycle is not None
    assert cycle[0] == cycle[-1]
    assert len(set(cycle)) == len(cycle) - 1
    assert all(before in dependencies[task] for before, task in pairwise(cycle))
    for ask in (graph.topological_order, graph.stages, graph.parallel_paths, graph.critical_path, graph.slack):
        with pytest.raises(WorkflowInvalidError, match="in a circle"):
            ask()


@given(acyclic())
def test_parallel_paths_cut_the_graph_at_its_forks_and_joins(drawn):
    ids, dependencies = drawn
    graph = DependencyGraph(ids, dependencies)
    paths = graph.parallel_paths()
    assert sorted(task for path in paths for task in path) == sorted(ids)
    for path in paths:
        assert all(
            graph.dependents(one) == (other,) and graph.dependencies(other) == (one,) for one, other in pairwise(path)
        )
        before = graph.dependencies(path[0])
        assert len(before) != 1 or len(graph.dependents(before[0])) != 1


def test_a_diamond():
    assert len(DIAMOND) == 6
    assert DIAMOND.edge_count == 5
    assert DIAMOND.topological_order() == ["a", "b", "c", "d", "e", "z"]
    assert DIAMOND.stages() == [["a", "z"], ["b", "c"], ["d"], ["e"]]
    assert DIAMOND.parallel_paths() == [["a"], ["b"], ["c"], ["d", "e"], ["z"]]
    assert DIAMOND.critical_path() == ["a", "b", "d", "e"]
    assert DIAMOND.critical_path({"c": 3}) == ["a", "c", "d", "e"]
    assert DIAMOND.slack({"c": 3}) == {"a": 0, "b": 2, "c": 0, "d": 0, "e": 0, "z": 5}


def test_nothing_has_no_stages():
    graph = DependencyGraph.of(Workflow(name="empty"))
    assert (graph.topological_order(), graph.stages(), graph.critical_path(), graph.depth) == ([], [], [], 0)


def test_a_dependency_given_twice_is_one_edge():
    assert graph_of(a="", b="a a").edge_count == 1


def test_a_cycle_is_named_in_the_order_of_work():
    graph = graph_of(start="", a="c start", b="a", c="b", after="c")
    assert graph.cycle() == ["a", "b", "c", "a"]
    with pytest.raises(WorkflowInvalidError, match="a -> b -> c -> a"):
        graph.topological_order()
    assert graph_of(a="a").cycle() == ["a", "a"]


def test_a_long_cycle_is_cut_in_its_middle():
    count = 5_000
    graph = DependencyGraph([f"t{n}" for n in range(count)], {f"t{n}": [f"t{(n - 1) % count}"] for n in range(count)})
    cycle = graph.cycle()
    assert cycle is not None
    assert len(cycle) == count + 1
    assert shown_cycle(cycle) == "t0 -> t1 -> t2 -> t3 -> t4 -> … 4991 more … -> t4996 -> t4997 -> t4998 -> t4999 -> t0"


def test_what_is_not_there_is_named():
    with pytest.raises(WorkflowInvalidError, match="'b' depends on 'nope', which isn't there"):
        DependencyGraph.of(Workflow(name="w", tasks=(Task(id="a"), Task(id="b", dependencies=("nope",)))))
    with pytest.raises(WorkflowInvalidError, match="'a' is used twice"):
        DependencyGraph.of(Workflow(name="w", tasks=(Task(id="b"), Task(id="a"), Task(id="a"))))
    with pytest.raises(KeyError):
        DIAMOND.ancestors("nope")


def test_a_long_chain_needs_no_recursion():
    count = 50_000
    graph = DependencyGraph([f"t{n}" for n in range(count)], {f"t{n}": [f"t{n - 1}"] for n in range(1, count)})
    assert graph.depth == count
    assert len(graph.critical_path()) == count
    assert len(graph.ancestors(f"t{count - 1}")) == count - 1
    assert len(graph.parallel_paths()) == 1


def test_a_hundred_thousand_tasks_are_ordered_and_staged_quickly():
    ids = [f"t{n}" for n in range(100_000)]
    dependencies = {f"t{n}": [f"t{n - back}" for back in (1, 10, 100, 500, 900) if back <= n] for n in range(100_000)}

    def order_and_stages() -> None:
        graph = DependencyGraph(ids, dependencies)
        graph.topological_order()
        graph.stages()

    assert cpu_seconds(order_and_stages) < 2


def test_planning_imports_no_graph_library():
    code = (
        "import sys, podium.workflow.plan; print([m for m in ('rustworkx', 'networkx', 'numpy') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_networkx_is_for_those_who_have_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "networkx", None)
    with pytest.raises(MissingExtraError, match="pip install networkx"):
        DIAMOND.to_networkx()


def test_networkx_gets_an_edge_from_each_dependency():
    graph = DIAMOND.to_networkx()
    assert list(graph.nodes) == ["a", "b", "c", "d", "e", "z"]
    assert list(graph.edges) == DIAMOND.edges == [("a", "b"), ("a", "c"), ("b", "d"), ("c", "d"), ("d", "e")]


@given(acyclic(), st.data())
def test_networkx_finds_the_same_stages_longest_paths_and_cycles(drawn, data):
    ids, dependencies = drawn
    graph = DependencyGraph(ids, dependencies)
    known = graph.to_networkx()
    assert [sorted(stage) for stage in nx.topological_generations(known)] == [sorted(s) for s in graph.stages()]
    durations = {task: data.draw(st.integers(0, 9)) for task in ids}
    for before, after in known.edges:
        known.edges[before, after]["weight"] = durations[before]
    lengths = [nx.dag_longest_path_length(known.subgraph({*graph.ancestors(task), task})) for task in ids]
    longest = max((length + durations[task] for length, task in zip(lengths, ids, strict=True)), default=0)
    assert graph.timing(durations).seconds == longest


@given(any_graph())
def test_a_graph_has_a_cycle_where_networkx_finds_one(drawn):
    ids, dependencies = drawn
    graph = DependencyGraph(ids, dependencies)
    assert (graph.cycle() is None) == nx.is_directed_acyclic_graph(graph.to_networkx())


# --- other graphs ----------------------------------------------------------------------------------------------------


@given(acyclic())
def test_the_reduction_is_networkxs_and_keeps_all_ancestors(drawn):
    ids, dependencies = drawn
    graph = DependencyGraph(ids, dependencies)
    reduced = graph.transitive_reduction()
    assert reduced.ids == graph.ids
    assert set(reduced.edges) == set(nx.transitive_reduction(graph.to_networkx()).edges)
    assert [edge for edge in graph.edges if edge in set(reduced.edges)] == reduced.edges
    assert all(reduced.ancestors(task) == graph.ancestors(task) for task in ids)
    assert reduced.stages() == graph.stages()
    assert reduced.transitive_reduction().edges == reduced.edges


def test_a_large_graph_is_reduced_quickly():
    count = 20_000
    graph = DependencyGraph(
        [f"t{n}" for n in range(count)],
        {f"t{n}": [f"t{n - back}" for back in (1, 2, 7, 90) if back <= n] for n in range(count)},
    )
    assert cpu_seconds(graph.transitive_reduction, times=1) < 1
    assert graph.transitive_reduction().edge_count == count - 1


def test_a_graph_that_grows_is_a_new_one():
    grown = DIAMOND.extended({"x": ["b"], "y": ["x", "z"]}, {"d": ["x"], "y": ["a"]})
    assert grown.ids == (*DIAMOND.ids, "x", "y")
    assert set(grown.edges) - set(DIAMOND.edges) == {("b", "x"), ("x", "y"), ("z", "y"), ("x", "d"), ("a", "y")}
    assert grown.stages() == [["a", "z"], ["b", "c"], ["x"], ["d", "y"], ["e"]]
    assert "x" in grown
    assert "x" not in DIAMOND
    assert DIAMOND.extended().edges == DIAMOND.edges


@pytest.mark.parametrize(
    ("tasks", "dependencies", "says"),
    [
        ({"x": ["e"]}, {"a": ["x"]}, "in a circle: a -> b -> d -> e -> x -> a"),
        ({"x": ["x"]}, {}, "in a circle: x -> x"),
        ({}, {"b": ["d"]}, "in a circle: b -> d -> b"),
        ({"a": []}, {}, "'a' is used twice"),
        ({"x": ["nope"]}, {}, "'x' depends on 'nope'"),
        ({}, {"a": ["nope"]}, "'a' depends on 'nope'"),
        ({}, {"nope": ["a"]}, "'nope', which shall get dependencies, isn't there"),
    ],
)
def test_what_cant_be_put_into_a_graph_is_refused_by_name(tasks, dependencies, says):
    with pytest.raises(WorkflowInvalidError, match=says):
        DIAMOND.extended(tasks, dependencies)


@given(acyclic(), st.data())
def test_a_graph_may_be_built_piece_by_piece(drawn, data):
    ids, dependencies = drawn
    graph = DependencyGraph(ids, {})
    for task in data.draw(st.permutations(ids)):
        graph = graph.extended(dependencies={task: dependencies[task]})
    assert graph.edges == DependencyGraph(ids, dependencies).edges


# --- real workflows: the figures are those of the traces' README -----------------------------------------------------

FIGURES = {
    "blast-chameleon-small-001": (43, 120, 3, 40, 10.4, 382.9),
    "soykb-chameleon-20fastq-10ch-001": (176, 374, 11, 100, 5357.9, 33279.7),
    "airrflow-dirt02-001": (212, 327, 25, 16, 438.1, 3329.9),
    "1000genome-chameleon-10ch-100k-001": (260, 380, 3, 140, 293.6, 16032.4),
    "epigenomics-chameleon-ilmn-2seq-100k-001": (263, 324, 9, 64, 183.9, 5182.9),
    "montage-chameleon-2mass-04d-001": (1312, 3540, 8, 936, 37.7, 3022.5),
}


def read_trace(name: str) -> tuple[dict[str, list[str]], dict[str, float]]:
    """Return a trace's dependencies and runtimes by task id."""
    if not TRACES.is_dir():
        pytest.skip("not run: no ../shared/data")
    workflow = json.loads((TRACES / f"{name}.json").read_text(encoding="utf-8"))["workflow"]
    dependencies = {task["id"]: task["parents"] for task in workflow["specification"]["tasks"]}
    return dependencies, {task["id"]: task["runtimeInSeconds"] for task in workflow["execution"]["tasks"]}


@pytest.mark.parametrize("name", FIGURES)
def test_real_workflows_have_their_known_figures(name):
    dependencies, runtimes = read_trace(name)
    graph = DependencyGraph(list(dependencies), dependencies)
    timing = graph.timing(runtimes)
    found = (len(graph), graph.edge_count, graph.depth, max(map(len, graph.stages())))
    assert found == FIGURES[name][:4]
    assert timing.seconds == pytest.approx(FIGURES[name][4], abs=0.051)
    assert sum(timing.durations) == pytest.approx(FIGURES[name][5], abs=0.051)
    slack = graph.slack(runtimes)
    assert all(slack[task] == 0 for task in timing.critical_path)
