"""Functions that are workflows: what a traced function says is what its YAML says; what can't be said is refused."""

# Much here is wrong on purpose, or right only because results stand for what they will be.
# mypy: disable-error-code="call-arg,attr-defined,index,call-overload,misc,unused-coroutine"

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Struct

import podium
from podium import Context, agent, each, task, using, when
from podium.exceptions import WorkflowInvalidError
from podium.workflow.hashing import content_hash
from podium.workflow.model import InputParameter, Workflow
from podium.workflow.tracing import WorkflowFunction
from podium.workflow.tracing.functions import workflow as decorated
from podium.workflow.yaml import load_workflow

FILE = "test_tracing.py"


class Page(Struct):
    text: str
    links: list[str] = []


@agent("reader", slots=4)
class Reader:
    @task
    async def read(self, url: str, depth: int = 1) -> Page:
        return Page(url * depth, [url])

    @task(name="count.words")
    def count(self, context: Context, text: str) -> int:
        return len(text.split())

    def helper(self) -> int:
        return 3


@task
def split(text: str) -> list[str]:
    return text.split()


@task
def measure(word: str, factor: int = 1) -> int:
    return len(word) * factor


@task
def note(**anything: Any) -> None: ...


@task(name="*")
def whatever(**anything: Any) -> None: ...


reader = Reader()
TOOLS = {"split": split}


def same(function: WorkflowFunction[..., Any], text: str) -> Workflow:
    built, loaded = function.build(), load_workflow(text)
    assert built == loaded
    assert content_hash(built) == content_hash(loaded)
    return built


def test_calls_are_tasks_and_values_are_dependencies():
    @podium.workflow
    def flow(text: str, factor: int = 2):
        words = split(text)
        lengths = measure(each(words), factor=factor)
        return {"total": sum(lengths), "first": words[0]}

    same(
        flow,
        """
name: flow
inputs: {text: string, factor: {type: integer, default: 2}}
tasks:
  - {id: split, agent_type: test_tracing, input: {text: "${input.text}"}}
  - id: measure
    agent_type: test_tracing
    depends_on: [split]
    for_each: ${tasks.split.result}
    input: {word: "${item}", factor: "${input.factor}"}
output: {total: "${sum(tasks.measure.result)}", first: "${tasks.split.result[0]}"}
""",
    )


def test_attributes_items_operators_and_texts_become_expressions():
    @podium.workflow(version="3", config={"timeout": "1m"})
    def flow(url):
        page = Reader().read(url)
        words = reader.count(page.text.strip())
        note(
            text=f"{words} words at {url}: ${{}} {page.links[0]}",
            alone=f"{words}",
            sums=[words + 1, 2 * (words - 1), -words, words % 2, (words + 1) ** 2, 10 // words, 1 / words],
            texts="x" + page.text + "y",
            keys=page["odd-key"]["a"].get("b", 0),
            tail=page.links[1:],
            some={"deep": ("a", page)},
            size=len(page.text),
            top=max(words, 3),
        )

    built = flow.build()
    assert (built.version, built.config.timeout) == ("3", 60)
    assert built.inputs == (InputParameter("url"),)
    read, count, noted = built.tasks
    assert (read.agent_type, read.id, read.payload) == ("reader", "read", {"url": "${input.url}"})
    assert (count.id, count.function, count.payload) == (
        "count.words",
        "",
        {"text": "${tasks.read.result.text.strip()}"},
    )
    words = "tasks['count.words'].result"
    assert noted.dependencies == ("read", "count.words")
    assert noted.payload == {
        "text": f"${{{words}}} words at ${{input.url}}: $${{}} ${{tasks.read.result.links[0]}}",
        "alone": f"${{str({words})}}",
        "sums": [
            f"${{{words} + 1}}",
            f"${{2 * ({words} - 1)}}",
            f"${{-{words}}}",
            f"${{{words} % 2}}",
            f"${{({words} + 1) ** 2}}",
            f"${{10 // {words}}}",
            f"${{1 / {words}}}",
        ],
        "texts": "${('x' + tasks.read.result.text) + 'y'}",
        "keys": "${tasks.read.result['odd-key']['a'].get('b', 0)}",
        "tail": "${tasks.read.result.links[1:]}",
        "some": {"deep": ["a", "${tasks.read.result}"]},
        "size": "${len(tasks.read.result.text)}",
        "top": f"${{max({words}, 3)}}",
    }
    assert built.output is None


def test_conditions_guard_the_tasks_of_their_block():
    @podium.workflow
    def flow(text: str):
        words = split(text)
        with when((len(words) > 1) & ~(words[0] == "no")):
            first = measure(words[0])
            with when("tasks.measure.result >= input.text.count('a')"):
                note(first=first)
        using(note, id="close", run_if="all_done", depends_on=[first, "note"])()

    built = flow.build()
    assert {task.id: (task.when, task.dependencies) for task in built.tasks} == {
        "split": (None, ()),
        "measure": ("(len(tasks.split.result) > 1) and (not (tasks.split.result[0] == 'no'))", ("split",)),
        "note": (
            "((len(tasks.split.result) > 1) and (not (tasks.split.result[0] == 'no'))) and "
            "(tasks.measure.result >= input.text.count('a'))",
            ("split", "measure"),
        ),
        "close": (None, ("measure", "note")),
    }


def test_fields_of_a_task_are_those_of_the_language():
    @podium.workflow(agents={"readers": {"type": "reader", "count": 2}})
    def flow(url: str):
        patient = using(Reader().read, agent="readers", retries=2, timeout="30s")
        first = using(patient, id="first")(url)
        second = patient(first.links[0], depth=2)
        whatever(second=second)
        return second

    same(
        flow,
        """
name: flow
inputs: {url: string}
agents: {readers: {type: reader, count: 2}}
tasks:
  - {id: first, agent: readers, function: read, retries: 2, timeout: 30s, input: {url: "${input.url}"}}
  - id: read
    agent: readers
    retries: 2
    timeout: 30s
    depends_on: [first]
    input: {url: "${tasks.first.result.links[0]}", depth: 2}
  - {id: whatever, agent_type: test_tracing, depends_on: [read], input: {second: "${tasks.read.result}"}}
output: ${tasks.read.result}
""",
    )


def test_plain_python_runs_when_the_function_is_traced():
    def twice(word):
        return measure(word, factor=2)

    @podium.workflow
    def flow(text: str):
        lengths = [twice(part) for part in ("a", "b") if part != "c"]
        tools = TOOLS["split"](json.dumps({"a": 1}))
        if len(lengths) > 1 and isinstance(text, object) is not None:
            note(lengths=lengths, tools=tools)

    with pytest.raises(WorkflowInvalidError, match="traced-is"):
        flow.build()

    @podium.workflow
    def mended(text: str):
        lengths = [twice(part) for part in ("a", "b") if part != "c"]
        tools = TOOLS["split"](json.dumps({"a": 1}))
        if len(lengths) > 1:
            note(lengths=lengths, tools=tools)

    built = mended.build()
    assert [task.id for task in built.tasks] == ["measure", "measure_2", "split", "note"]
    assert built.task("measure_2").function == "measure"
    assert built.task("split").payload == {"text": '{"a": 1}'}
    assert built.task("note").payload["lengths"] == ["${tasks.measure.result}", "${tasks.measure_2.result}"]


def test_a_flow_within_a_flow_and_asynchronous_ones():
    @podium.workflow
    async def inner(url: str):
        page = await Reader().read(url)
        one, two = await asyncio.gather(Reader().read(page.links[0]), Reader().read(page.links[1]))
        return [one, two]

    @podium.workflow
    async def outer(url: str):
        pages = await inner(url)
        note(pages=pages)

    built = outer.build()
    assert [task.id for task in built.tasks] == ["read", "read_2", "read_3", "note"]
    assert built.task("note").dependencies == ("read_2", "read_3")


def test_a_plain_list_is_gone_over_and_an_item_of_it_used_in_texts():
    @podium.workflow
    def flow(greeting: str):
        return measure(f"{greeting} {each(['ann', 'bob']).strip()}")

    (task,) = flow.build().tasks
    assert task.for_each == ["ann", "bob"]
    assert task.payload == {"word": "${input.greeting} ${item.strip()}"}


def test_the_decorated_function_stays_a_function():
    @podium.workflow
    def flow(text: str) -> list[int]:
        """Say how long words are."""
        return [measure(word) for word in split(text)]

    assert flow("a bcd") == [1, 3]
    assert flow.__doc__ == "Say how long words are."
    assert repr(flow).startswith("<workflow ")
    assert callable(decorated)
    assert decorated(name="other")(flow.function).__name__ == "flow"


def test_a_flow_runs_with_the_agents_that_it_calls():
    @podium.workflow
    def flow(text: str):
        words = split(text)
        lengths = measure(each(words))
        page = Reader().read(text)
        return {"total": sum(lengths), "count": Reader().count(page.text)}

    assert set(flow.agents) == {split, measure, Reader}
    ended = podium.run(flow, {"text": "the quick fox"}, database=":memory:")
    assert ended.result == {"total": 11, "count": 3}, ended.error


@settings(deadline=None)
@given(st.text(), st.text())
def test_a_text_comes_to_the_task_as_it_was_written(before, after):
    if {"\ue000", "\ue001"} & {*before, *after}:
        return

    @podium.workflow
    def flow(text):
        note(a=before, b=f"{before}{text}{after}")

    (task,) = flow.build().tasks
    from podium.workflow.expressions import compile_template

    rendered = compile_template(task.payload).render({"input": {"text": "§"}})
    assert rendered == {"a": before, "b": f"{before}§{after}"}


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(0, 7), max_size=3, unique=True), min_size=1, max_size=8), st.integers(0, 3))
def test_any_graph_of_calls_is_that_of_its_yaml_and_of_the_builder(graph, mapped):
    """Task n reads those earlier ones that it draws; every fourth goes over a list, some have a condition."""
    reads = [[before for before in drawn if before < number] for number, drawn in enumerate(graph)]

    @podium.workflow
    def flow(text):
        results: list[Any] = []
        for number, before in enumerate(reads):
            call = using(note, id=f"t{number}", retries=number)
            values = {f"v{one}": results[one].out for one in before}
            if before and number % 4 == mapped:
                with when(results[before[0]] != text):
                    results.append(call(item=each(results[before[0]]), **values))
            else:
                results.append(call(text=f"{number} {text}", **values))

    builder = podium.WorkflowBuilder("flow", inputs={"text": {"type": "any"}})
    for number, before in enumerate(reads):
        fields: dict[str, Any] = {"agent_type": "test_tracing", "function": "note", "retries": number}
        payload: dict[str, Any] = {"text": f"{number} ${{input.text}}"}
        if before and number % 4 == mapped:
            payload = {"item": "${item}"}
            fields["for_each"] = f"${{tasks.t{before[0]}.result}}"
            fields["when"] = f"tasks.t{before[0]}.result != input.text"
        payload |= {f"v{one}": f"${{tasks.t{one}.result.out}}" for one in before}
        waits = [f"t{one}" for one in sorted(before)]
        builder = builder.task(f"t{number}", input=payload, depends_on=waits, **fields)
    digest = content_hash(flow.build())
    assert content_hash(builder.build()) == digest
    assert content_hash(load_workflow(podium.dump_workflow(flow.build()))) == digest


# --- what is refused -------------------------------------------------------------------------------------------------


def _if(text):
    if split(text):
        note()


def _and(text):
    note(x=split(text) and text)


def _or(text):
    note(x=split(text) or text)


def _not(text):
    note(x=not split(text))


def _in(text):
    note(x="a" in split(text))


def _while(text):
    while split(text):
        note()


def _for(text):
    for word in split(text):
        measure(word)


def _comprehension(text):
    return [measure(word) for word in split(text)]


def _unpacking(text):
    first, second = split(text)
    note(x=first, y=second)


def _star(text):
    note(x=[*split(text)])


def _is(text):
    note(x=text is None)


def _is_none(text):
    if text is None:
        note()


def _try(text):
    try:
        split(text)
    except ValueError:
        note()


def _import(text):
    import math

    note(x=math.pi)


def _global(text):
    global TOOLS
    TOOLS = {}


def _match(text):
    match text:
        case {"a": a}:
            note(x=a)


def _yield(text):
    yield split(text)


def _attribute(text):
    page = reader.read(text)
    page.text = "x"


def _item(text):
    words = split(text)
    words[0] = "x"


def _delete(text):
    words = split(text)
    del words[0]


def _call(text):
    split(text).append("x")


def _named(text):
    split(text).get(key="x")


def _format(text):
    note(x=f"{text:>10}")


def _cut(text):
    note(x=f"<{text}>"[2:])


def _upper(text):
    note(x=f"{text}".upper())


def _number(text):
    note(x=int.__add__(1, 1) + ["a"][text])


def _key(text):
    note(x={text: 1})


def _kind(text):
    note(x=isinstance(text, str))


def _object(text):
    note(x=object())


def _class_call(text):
    Reader.read(text)


def _helper(text):
    reader.helper()


def _made(text):
    Reader("x")


def _missing(text):
    measure()


def _unknown(text):
    measure(word=text, speed=3)


def _too_many(text):
    measure(text, 2, 3)


def _twice(text):
    measure(text, word=text)


def _two_lists(text):
    measure(each(split(text)), factor=each([1, 2]))


def _nested(text):
    each(each(split(text)))


def _item_condition(text):
    with when(each(split(text)) == "a"):
        note()


def _two_ways_over(text):
    using(measure, for_each=["a"])(each(split(text)))


def _input_by_using(text):
    using(split, input={"text": "a"})(text)


def _secret(text):
    split("Bearer ${secret.token}")


def _item_returned(text):
    return each(split(text))


def _odd_condition(text):
    with when(3):
        note()


def _bad_condition(text):
    with when("1 +"):
        note()


def _named_builtin(text):
    note(x=sorted(split(text), reverse=True))


REFUSED = [
    (_if, 1, "traced-if: `if` on a value that is known only when the workflow runs; write `with when(condition): …`"),
    (_and, 1, "traced-if: `and` on"),
    (_or, 1, "traced-if: `or` on"),
    (_not, 1, "traced-if: `not` on"),
    (_in, 1, "traced-if: `in` on"),
    (_while, 1, "traced-if: `if` on"),
    (
        _for,
        1,
        "traced-for: `for` over a value that is known only when the workflow runs; call the task with each(list)",
    ),
    (_comprehension, 1, "traced-for: `for` over"),
    (_unpacking, 1, "traced-for: `unpacking` over"),
    (_star, 1, "traced-for: `*` over"),
    (_is, 1, "traced-is: `is` can't be seen when _is is traced"),
    (_is_none, 1, "traced-is: `is` can't be seen"),
    (_try, 3, "traced-try: `try` can't be seen when _try is traced; say on_failure"),
    (_import, 1, "traced-import: `import` can't be seen"),
    (_global, 2, "traced-global"),
    (_match, 2, "traced-match: `match`"),
    (_yield, 0, "traced-yield: _yield is a generator"),
    (_attribute, 2, "traced-change: `.text = …` on a task's result"),
    (_item, 2, "traced-change: `[…] = …`"),
    (_delete, 2, "traced-change: `del`"),
    (_call, 1, "traced-call: `append(…)` can't be called on a value"),
    (_named, 1, "traced-call: `get` takes no named arguments"),
    (_format, 1, "traced-format: the format `>10` in an f-string"),
    (_cut, 1, "traced-text: a text with a value in it"),
    (_upper, 1, "traced-text: a text with a value in it"),
    (_number, 1, "traced-number: a number that is known only when"),
    (_key, 1, "traced-key"),
    (_kind, 1, "traced-call: isinstance(…) of a value"),
    (_object, 1, "traced-value: a object can't be given to a task"),
    (_class_call, 1, "traced-agent: Reader.read is called on the class; write Reader().read(…)"),
    (_helper, 1, "traced-agent: Reader.helper is no task of the agent"),
    (_made, 1, "traced-agent: Reader is made without arguments"),
    (_missing, 1, "argument: measure: missing argument word"),
    (_unknown, 1, "argument: measure has no argument speed; it takes word, factor"),
    (_too_many, 1, "argument: measure takes 2 arguments, not 3"),
    (_twice, 1, "argument: measure: the argument word is given twice"),
    (_two_lists, 1, "traced-each: each(…) of two lists in one task"),
    (_two_ways_over, 1, "traced-each: measure: for_each besides each(…)"),
    (_input_by_using, 1, "argument: split: `input` is given with using(…)"),
    (_secret, 1, "traced-secret: `${secret.…}` in a traced function would be plain text; say it in the `env`"),
    (_nested, 1, "traced-each: each(…) of an item"),
    (_item_condition, 1, "traced-when: a condition is decided once"),
    (_item_returned, None, "traced-each: an item of each(…) is returned"),
    (_odd_condition, 1, "traced-when: a int is no condition"),
    (_bad_condition, 1, "expression: the expression can't be read"),
    (_named_builtin, 1, "traced-call: sorted(…) with reverse"),
]


@pytest.mark.parametrize(("function", "line", "says"), REFUSED, ids=lambda value: getattr(value, "__name__", ""))
def test_what_a_workflow_can_not_say_is_refused_by_name_and_line(function, line, says):
    flow = podium.workflow(function)
    with pytest.raises(WorkflowInvalidError) as refusal:
        flow.build()
    (problem,) = refusal.value.problems
    assert says in f"{problem.rule}: {problem.message}; {problem.hint}"
    assert problem.file == FILE
    if line is not None:
        assert problem.line == function.__code__.co_firstlineno + line


def test_a_condition_by_using_holds_besides_those_around_it():
    @podium.workflow
    def flow(text: str):
        words = split(text)
        with when(len(words) > 1):
            using(note, id="both", when="input.text != 'a b'")()
        using(note, id="own", when=words[0] == "a")()

    agent_type = flow.build().task("split").agent_type
    same(
        flow,
        f"""
name: flow
inputs: {{text: {{type: string}}}}
tasks:
  - {{id: split, agent: {agent_type}, input: {{text: "${{input.text}}"}}}}
  - id: both
    agent: {agent_type}
    function: note
    depends_on: [split]
    when: (len(tasks.split.result) > 1) and (input.text != 'a b')
    input: {{}}
  - id: own
    agent: {agent_type}
    function: note
    depends_on: [split]
    when: tasks.split.result[0] == 'a'
    input: {{}}
""",
    )


def test_a_function_that_calls_itself_is_refused():
    @podium.workflow
    def flow(text: str):
        _without_end(text)

    with pytest.raises(WorkflowInvalidError, match=r"traced-recursion.*flow calls itself without an end"):
        flow.build()


def _without_end(text):
    _without_end(text)


def test_parameters_without_a_name_are_refused():
    @podium.workflow
    def flow(*texts: str): ...

    with pytest.raises(WorkflowInvalidError, match=r"the parameter \*texts of flow"):
        flow.build()


def test_an_await_of_something_else_is_refused():
    class Pause:
        def __await__(self):
            yield

    pause = Pause()

    @podium.workflow
    async def flow(text: str):
        await pause

    with pytest.raises(WorkflowInvalidError, match="traced-await"):
        flow.build()


def test_an_endless_loop_of_tasks_ends(monkeypatch):
    monkeypatch.setattr("podium.workflow.tracing.recording.MAX_TASKS", 10)

    @podium.workflow
    def flow(text: str):
        while True:
            note()

    with pytest.raises(WorkflowInvalidError, match="has recorded 10 tasks and goes on"):
        flow.build()


def test_the_words_have_no_meaning_elsewhere():
    with pytest.raises(WorkflowInvalidError, match=r"each\(…\) has a meaning only in a function that is traced"):
        each([1])
    assert using(split, retries=2) is split
    with pytest.raises(WorkflowInvalidError, match="@workflow goes on a function"):
        podium.workflow(3)
