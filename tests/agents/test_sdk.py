"""What the decorators accept, describe and refuse."""

from __future__ import annotations

import functools
import os
import subprocess
import sys

import pytest

from podium.agents.sdk import Context, Kind, agent, definition_of, function_agent, task, task_of
from podium.exceptions import AgentBindingError
from podium.workflow.model import ResourceRequirements
from podium.workflow.naming import snake_case


def test_a_class_is_described_by_its_tasks_and_stays_what_it_was():
    @agent(capabilities=["search"], slots=3, version="2.1", resources={"cpu_cores": 2})
    class PageReader:
        @task
        async def read(self, url: str, depth: int = 1) -> str:
            return url * depth

        @task(name="count.words", capabilities=["counting"])
        def count(self, context: Context, text: str) -> int:
            return len(text.split())

        def helper(self) -> None: ...

    definition = definition_of(PageReader)
    assert definition is not None
    assert definition.type == "page_reader"
    assert definition.function_names == ("read", "count.words")
    assert definition.all_capabilities == ("search", "counting")
    assert (definition.slots, definition.version) == (3, "2.1")
    assert definition.resources == ResourceRequirements(cpu_cores=2)
    assert definition.functions["read"].kind is Kind.ASYNC
    assert definition.functions["count.words"].kind is Kind.SYNC
    assert PageReader().count(None, "a b") == 2  # type: ignore[arg-type]


def test_a_bare_agent_decorator_and_a_type_both_work():
    @agent
    class One:
        @task
        async def go(self) -> None: ...

    @agent("other")
    class Two(One):
        pass

    class Three(One):
        pass

    one, two = definition_of(One), definition_of(Two)
    assert one is not None
    assert two is not None
    assert (one.type, two.type, two.function_names) == ("one", "other", ("go",))
    assert definition_of(Three) is None
    assert definition_of(7) is None


def test_a_wrapper_around_a_task_is_the_task():
    @task
    def inner(number: int) -> int:
        return number

    @functools.wraps(inner)
    def outer(number: int) -> int:
        return inner(number) + 1

    described = task_of(outer)
    assert described is not None
    assert described.function is outer


def test_functions_make_an_agent_of_32_slots():
    @task
    async def greet() -> None: ...

    definition = function_agent("greeter", [greet])
    assert (definition.slots, definition.factory, definition.function_names) == (32, None, ("greet",))
    assert definition.function("greet") is definition.functions["greet"]
    assert definition.function("other") is None


def test_names_become_snake_case():
    assert [snake_case(name) for name in ("HTTPReader", "PageReader", "Reader2Go")] == [
        "http_reader",
        "page_reader",
        "reader2_go",
    ]


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("@task\ndef f(*numbers): ...", "numbers isn't supported"),
        ("@task\ndef f(number, /): ...", "positional-only"),
        ("@task\ndef f(): yield 1", "generator"),
        ("@task\nasync def f(): yield 1", "generator"),
        ("@task(cpu=True)\nasync def f(): ...", "plain `def`"),
        ("@task(name='two words')\ndef f(): ...", "can't be a name"),
        ("@task(capabilities='search')\ndef f(): ...", "expected a list of names"),
        ("task(7)", "not on 7"),
        ("class C:\n  @task\n  def f(): ...", "at least `self`"),
        ("class C:\n  @task\n  @staticmethod\n  def f(): ...", "static and class methods"),
        ("@agent\nclass C:\n  @staticmethod\n  @task\n  def f(x): ...", "static and class methods"),
        ("@agent\nclass C: ...", "has no task"),
        ("@agent(slots=0)\nclass C:\n  @task\n  def f(self): ...", "at least 1"),
        ("@agent(slots=True)\nclass C:\n  @task\n  def f(self): ...", "at least 1"),
        ("@agent(resources={'cpus': 1})\nclass C:\n  @task\n  def f(self): ...", "unknown resources cpus"),
        ("@agent(resources={'cpu_cores': 'x'})\nclass C:\n  @task\n  def f(self): ...", "resources: Expected"),
        (
            "@agent\nclass C:\n  @task(name='x')\n  def f(self): ...\n  @task(name='x')\n  def g(self): ...",
            "two tasks named 'x': C.f and C.g",
        ),
        ("def outer():\n  @task(cpu=True)\n  def f(): ...\nouter()", "another process can import"),
        ("function_agent('x', [])", "has no task"),
        ("function_agent('x', [print])", "not decorated with @task"),
    ],
)
def test_what_cannot_work_is_refused_at_the_decoration(code, says):
    with pytest.raises(AgentBindingError, match=says):
        exec(code, {"task": task, "agent": agent, "function_agent": function_agent, "__name__": "example"})


def test_the_sdk_imports_nothing_heavy():
    code = "import sys, podium.agents.sdk; print(*(m for m in sys.modules))"
    unmeasured = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=unmeasured)
    modules = set(done.stdout.split())
    assert not modules & {"asyncio", "structlog", "typer", "rich", "subprocess", "numpy", "yaml"}
