"""Which code stands behind an agent type, and how it is said that there is none."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from podium.agents.binding import load_binding, resolve
from podium.agents.importing import function_at, source_of
from podium.exceptions import AgentBindingError

SAMPLE = "tests.agents.sample"
FILE = str(Path(__file__).with_name("sample.py"))

AGENT_FILE = """
from podium.agents.sdk import agent, task
import neighbour

@agent("filed")
class Filed:
    @task
    async def work(self) -> str:
        return neighbour.NAME

@task(cpu=True)
def helper() -> int:
    return 7
"""


@pytest.fixture(autouse=True)
def own_path(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)


def write_agents(folder: Path, name: str = "my_agents.py", text: str = AGENT_FILE) -> Path:
    (folder / "neighbour.py").write_text('NAME = "beside"\n')
    path = folder / name
    path.write_text(text)
    return path


def test_a_class_is_named_by_its_module():
    (definition,) = load_binding(f"{SAMPLE}:Calculator")
    assert (definition.type, definition.spec) == ("calculator", f"{SAMPLE}:Calculator")


def test_a_module_gives_its_agents_and_its_functions_as_one_more():
    definitions = load_binding(SAMPLE)
    assert [one.type for one in definitions] == ["calculator", "reader", "sample"]
    functions = definitions[-1]
    assert functions.factory is None
    assert functions.spec == f"{SAMPLE}:*"
    assert "plain" in functions.functions
    assert load_binding(functions.spec)[0].functions.keys() == functions.functions.keys()


def test_one_function_is_an_agent_too():
    (definition,) = load_binding(f"{SAMPLE}:plain")
    assert definition.function_names == ("plain",)


def test_a_file_may_import_its_neighbours_and_is_loaded_once(tmp_path, monkeypatch):
    path = write_agents(tmp_path)
    first = load_binding(f"{path}:Filed")
    again = load_binding("my_agents.py:Filed")
    assert first[0].factory is again[0].factory
    assert first[0].spec == f"{path}:Filed"
    assert [one.type for one in load_binding(str(path))] == ["filed", "my_agents"]


def test_a_file_whose_name_another_module_has_is_still_this_file(tmp_path):
    path = write_agents(tmp_path, "queue.py")
    definitions = load_binding(str(path))
    assert [one.type for one in definitions] == ["filed", "queue"]
    assert load_binding(str(path))[0].factory is definitions[0].factory
    function = definitions[1].functions["helper"]
    source = source_of(definitions[1], function)
    assert source.file == str(path)
    assert function_at(source)[1] is function


def test_a_file_in_a_package_is_the_packages_module():
    (definition,) = load_binding(f"{FILE}:Reader") if not Path(FILE).with_name("__init__.py").exists() else (None,)
    assert definition is None or definition.type == "reader"


def test_a_packages_file_is_imported_by_its_full_name(tmp_path):
    package = tmp_path / "shop_of_tests"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "names.py").write_text('NAME = "n"\n')
    text = AGENT_FILE.replace("import neighbour", "from . import names as neighbour")
    path = write_agents(package, "clerks.py", text)
    definition = load_binding(f"{path}:Filed")[0]
    assert definition.factory is not None
    assert definition.factory.__module__ == "shop_of_tests.clerks"


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("no.such.module:Name", "no module named 'no.such.module'; looked in"),
        ("nowhere/agents.py:Name", "no file nowhere/agents.py"),
        (f"{SAMPLE}:Calculater", "has no Calculater; did you mean Calculator"),
        (f"{SAMPLE}:zzz", "its agents are Calculator, Reader"),
        (f"{SAMPLE}:os", "is no agent; decorate it"),
        ("json", "json has no agent"),
        (":", "names no agent"),
        ("json:", "names no agent"),
        ("a b:c d", "names no agent"),
        ("broken.py", "importing broken.py failed: ZeroDivisionError"),
        ("missing.py", "importing missing failed: No module named 'absent_module_of_a_test'"),
        ("exits", "importing exits failed: SystemExit: 3"),
        ("hints.py", "a type hint can't be resolved"),
    ],
)
def test_what_cannot_be_bound_is_one_sentence(spec, says, tmp_path):
    (tmp_path / "broken.py").write_text("1 / 0\n")
    (tmp_path / "missing.py").write_text("import absent_module_of_a_test\n")
    (tmp_path / "exits.py").write_text("import sys; sys.exit(3)\n")
    (tmp_path / "hints.py").write_text("from podium.agents.sdk import task\n@task\ndef f(x: 'Missing') -> None: ...\n")
    if spec == "broken.py":
        says = "importing broken failed: ZeroDivisionError"
    with pytest.raises(AgentBindingError, match=says):
        load_binding(spec)


def test_explicit_bindings_come_before_configured_ones_and_those_before_the_ready_made():
    found = resolve(
        ["calculator", "researcher", "echo", "noop"],
        [SAMPLE],
        {"researcher": f"{SAMPLE}:Reader", "echo": f"{SAMPLE}:Reader", "calculator": "not.looked:At"},
    )
    assert {type: spec for type, (spec, _) in found.items()} == {
        "calculator": f"{SAMPLE}:Calculator",
        "researcher": f"{SAMPLE}:Reader",
        "echo": f"{SAMPLE}:Reader",
        "noop": "podium.agents.builtin:Noop",
    }
    assert all(definition.type == type for type, (_, definition) in found.items())


def test_what_was_recorded_binds_the_same_again():
    found = resolve(["worker", "calculator"], [SAMPLE])
    recorded = {type: spec for type, (spec, _) in found.items()}
    assert recorded["worker"] == f"{SAMPLE}:*"
    again = resolve(recorded, (), recorded)
    assert again["worker"][1].functions == found["worker"][1].functions
    assert again["worker"][1].type == "worker"


def test_a_type_can_be_given_to_a_spec():
    found = resolve(["searcher"], [f"searcher={SAMPLE}:Reader"])
    assert found["searcher"][1].type == "searcher"
    with pytest.raises(AgentBindingError, match=r"has several agents .* none of type 'searcher'"):
        resolve(["searcher"], [f"searcher={SAMPLE}"])


def test_a_type_bound_twice_is_refused():
    with pytest.raises(AgentBindingError, match="agent type 'reader' is bound twice"):
        resolve(["reader"], [SAMPLE, f"reader={SAMPLE}:Calculator"])


def test_all_types_without_code_are_named_at_once_with_what_is_near():
    with pytest.raises(AgentBindingError) as caught:
        resolve(["nop", "calculater", "zzz"], [f"{SAMPLE}:Calculator"], {"other": "x"})
    text = str(caught.value)
    assert "no code behind agent types 'nop' (did you mean 'noop'?)" in text
    assert "'calculater' (did you mean 'calculator'?)" in text
    assert "'zzz'." not in text
    assert "bound are calculator, echo, fail, noop, other" in text
    assert "--agents" in text


def test_entry_points_are_bound_by_their_name(tmp_path, monkeypatch):
    info = tmp_path / "plugin_of_a_test-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: plugin-of-a-test\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[podium.agents]\nplugged = {SAMPLE}:Reader\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert resolve(["plugged"])["plugged"][0] == f"{SAMPLE}:Reader"


def test_a_function_of_a_script_is_found_by_its_file(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "from podium.agents.importing import function_at, source_of\n"
        "from podium.agents.sdk import function_agent, task\n"
        "@task(cpu=True)\n"
        "def seven() -> int:\n    return 7\n"
        "if __name__ == '__main__':\n"
        "    definition = function_agent('script', [seven])\n"
        "    source = source_of(definition, definition.functions['seven'])\n"
        "    print(function_at(source)[1].function())\n"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("7\n", "")


def test_a_cpu_function_of_an_interactive_session_is_refused():
    code = (
        "from podium.agents.importing import source_of\n"
        "from podium.agents.sdk import function_agent, task\n"
        "@task(cpu=True)\n"
        "def seven() -> int: return 7\n"
        "definition = function_agent('x', [seven])\n"
        "try: source_of(definition, definition.functions['seven'])\n"
        "except Exception as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "put it into a module" in done.stdout
