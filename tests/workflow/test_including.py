"""`include:` and `defaults:`: several files as one workflow, and where each problem of theirs is."""

import pytest

from podium.exceptions import InvalidInputError
from podium.workflow.hashing import content_hash
from podium.workflow.yaml import Opened, check_workflow, dump_workflow, load_workflow
from podium.workflow.yaml.opening import MAX_DEPTH, MAX_FILES

FETCH = """
inputs: {url: string}
agents: {readers: {type: echo, count: 2}}
secrets: [token]
defaults: {agent: readers, timeout: 30s}
tasks:
  - {id: get, input: {url: "${input.url}", token: "${secret.token}"}}
  - id: parse-it
    depends_on: [get]
    when: tasks.get.result.url != ''
    input: {page: "${tasks.get.result}", at: "${tasks['get'].status}"}
"""
MAIN = """
name: main
include: [{file: parts/fetch.yaml, prefix: news_}]
tasks:
  - {id: tell, agent: echo, depends_on: [news_parse-it], input: {page: "${tasks['news_parse-it'].result}"}}
"""
PLAIN = """
name: main
inputs: {url: string}
agents: {readers: {type: echo, count: 2}}
secrets: [token]
tasks:
  - {id: tell, agent_type: echo, depends_on: [news_parse-it], input: {page: "${tasks['news_parse-it'].result}"}}
  - {id: news_get, agent: readers, function: get, timeout: 30s, input: {url: "${input.url}", token: "${secret.token}"}}
  - id: news_parse-it
    agent: readers
    function: parse-it
    timeout: 30s
    depends_on: [news_get]
    when: tasks['news_get'].result.url != ''
    input: {page: "${tasks['news_get'].result}", at: "${tasks['news_get'].status}"}
"""


def opener(files):
    """Open files of a mapping, seen from where they are written."""
    import posixpath

    def open_(path, within):
        name = posixpath.normpath(posixpath.join(posixpath.dirname(within.file), path))
        if name not in files:
            raise InvalidInputError(f"{name} can't be read: No such file or directory")
        return Opened(name, name, files[name].encode())

    return open_


def load(main, /, **files):
    return load_workflow(
        main, "main.yaml", opener({name.replace("__", "/") + ".yaml": text for name, text in files.items()})
    )


def problems(main, /, **files):
    named = {name.replace("__", "/") + ".yaml": text for name, text in files.items()}
    _, found = check_workflow(main, "main.yaml", opener=opener(named))
    return [f"{p.file}:{p.line}: {p.rule}: {p.message}" for p in found]


def test_what_is_included_means_the_same_as_if_it_were_written_out():
    included, plain = load(MAIN.replace("agent: echo", "agent_type: echo"), parts__fetch=FETCH), load_workflow(PLAIN)
    assert included == plain
    assert content_hash(included) == content_hash(plain)
    assert load_workflow(dump_workflow(included)) == included


def test_without_a_prefix_ids_stay_and_a_path_alone_is_enough():
    main = "name: m\ninclude: fetch.yaml\ntasks: [{id: z, agent: readers, depends_on: [get]}]"
    assert [task.id for task in load(main, fetch=FETCH).tasks] == ["z", "get", "parse-it"]


def test_prefixes_of_files_within_files_add_up():
    middle = "include: [{file: fetch.yaml, prefix: b_}]\ntasks: [{id: m, agent: readers, depends_on: [b_get]}]"
    main = "name: m\ninclude: [{file: middle.yaml, prefix: a_}]\n"
    main += "tasks: [{id: z, agent: readers, depends_on: [a_b_get, a_m]}]"
    workflow = load(main, middle=middle, fetch=FETCH)
    assert {task.id: task.dependencies for task in workflow.tasks} == {
        "z": ("a_b_get", "a_m"),
        "a_m": ("a_b_get",),
        "a_b_get": (),
        "a_b_parse-it": ("a_b_get",),
    }


def test_the_same_file_may_be_included_twice_under_two_prefixes():
    main = "name: m\ninclude: [{file: f.yaml, prefix: a_}, {file: f.yaml, prefix: b_}]"
    assert [task.id for task in load(main, f=FETCH).tasks] == ["a_get", "a_parse-it", "b_get", "b_parse-it"]


def test_a_file_may_wait_for_tasks_of_the_one_that_includes_it():
    part = "tasks: [{id: use, agent: echo, depends_on: [prepare], input: {x: '${tasks.prepare.result}'}}]"
    main = "name: m\ninclude: [{file: p.yaml, prefix: a_}]\ntasks: [{id: prepare, agent: echo}]"
    assert load(main, p=part).task("a_use").dependencies == ("prepare",)


def test_what_a_file_says_itself_wins_over_what_it_includes():
    main = MAIN.replace(
        "tasks:", "agents: {readers: {type: noop}, other: {type: echo}}\ninputs: {url: {default: x}}\ntasks:", 1
    )
    workflow = load(main.replace("agent: echo", "agent: other"), parts__fetch=FETCH)
    assert workflow.agents["readers"].type == "noop"
    assert workflow.agents["readers"].count == 1
    assert [(one.name, one.default) for one in workflow.inputs] == [("url", "x")]


def test_two_files_that_say_different_things_of_one_name_are_told_where():
    a = "agents: {r: {type: echo}}\ntasks: [{id: a, agent: r}]"
    b = "# b\nagents: {r: {type: noop}}\ntasks: [{id: b, agent: r}]"
    main = "name: m\ninclude: [a.yaml, b.yaml]"
    assert problems(main, a=a, b=b) == ['b.yaml:2: include-conflict: agents: "r" is another one than in a.yaml:1']
    assert problems(main + "\nagents: {r: {type: echo}}", a=a, b=b) == []
    assert problems(main, a=a, b=a.replace("id: a", "id: b")) == []


def test_problems_are_told_with_the_lines_of_their_own_files():
    part = "tasks:\n  - {id: a, agent: echo, depends_on: [nothing], tineout: 3}\n  - {id: a, agent: echo}\n"
    main = "name: m\n\n\ninclude: p.yaml\ntasks:\n  - {id: z, agent: echo, timeout: 1 parsec}\n"
    assert problems(main, p=part) == [
        'main.yaml:6: wrong-value: tasks[0].timeout: "1 parsec" is not understood: expected a duration such as "30s", '
        '"5m", "1h30m", "250ms", "2d", or a number of seconds',
        'p.yaml:2: unknown-dependency: task "a" depends on "nothing", which is no task',
        'p.yaml:2: unknown-field: tasks[1] has no field "tineout"',
        'p.yaml:3: duplicate-id: two tasks have the id "a": tasks[1] and tasks[2]',
    ]


def test_a_file_that_cant_be_parsed_is_told_with_its_place():
    assert problems("name: m\ninclude: p.yaml\ntasks: [{id: z, agent: echo}]", p="a: 1\na: 2\n")[0] == (
        'p.yaml:2: duplicate-key: the key "a" is given twice, first at line 1, column 1'
    )


@pytest.mark.parametrize(
    ("main", "files", "said"),
    [
        ("include: x.yaml", {}, "main.yaml:2: include: \"x.yaml\" can't be included: x.yaml can't be read"),
        ("include: main.yaml", {"main": "a: 1"}, "include-cycle: \"main.yaml\" can't be included"),
        ("include: a.yaml", {"a": "include: b.yaml", "b": "\ninclude: a.yaml"},
         "b.yaml:2: include-cycle: \"a.yaml\" can't be included: it would include itself: a.yaml → b.yaml → a.yaml"),
        ("include: a.yaml", {"a": "config: {timeout: 3}"}, 'a.yaml:1: include-field: "config" of a file that'),
        ("include: a.yaml", {"a": "taks: []"}, 'a.yaml:1: unknown-field: the workflow has no field "taks"'),
        ("include: [{fil: a.yaml}]", {}, 'unknown-field: include[0] has no field "fil"'),
        ("include: [{prefix: a}]", {}, "missing-field: include[0] names no file"),
        ("include: 3", {}, "wrong-type"),
        ("include: [{file: a.yaml, prefix: 'x y'}]", {"a": "tasks: [{id: t, agent: echo}]"}, "a.yaml:1: id-form"),
        ("include: a.yaml", {"a": "[1]"}, "a.yaml:1: wrong-type"),
    ],
)  # fmt: skip
def test_what_cant_be_included_is_refused_by_name(main, files, said):
    found = problems(f"name: m\n{main}\ntasks: [{{id: z, agent: echo}}]", **files)
    assert any(said in one for one in found), found


def test_a_text_without_a_file_includes_nothing():
    _, found = check_workflow("name: m\ninclude: a.yaml\ntasks: [{id: z, agent: echo}]")
    assert [problem.rule for problem in found] == ["include"]
    assert "this text isn't a file's" in found[0].message


def test_depth_and_number_of_files_are_bounded():
    deep = {f"d{n}": f"include: d{n + 1}.yaml" for n in range(20)}
    (found,) = problems("name: m\ninclude: d0.yaml\ntasks: [{id: z, agent: echo}]", **deep)
    assert f"d{MAX_DEPTH - 2}.yaml:1: include-depth" in found
    bomb = {f"b{n}": f"include: [b{n + 1}.yaml, b{n + 1}.yaml, b{n + 1}.yaml]" for n in range(6)} | {"b6": "x-a: 1"}
    found = problems("name: m\ninclude: b0.yaml\ntasks: [{id: z, agent: echo}]", **bomb)
    assert len(found) == 1
    assert f"at most {MAX_FILES} files" in found[0]


def test_the_size_of_all_that_is_included_is_bounded():
    large = "# " + "x" * (9 << 20) + "\ntasks: [{id: t, agent: echo}]"
    found = problems("name: m\ninclude: [a.yaml, {file: a.yaml, prefix: b}]\ntasks: [{id: z, agent: echo}]", a=large)
    assert [one.split(": ")[1] for one in found] == ["include-size"]


# --- defaults --------------------------------------------------------------------------------------------------------


def test_defaults_are_what_a_task_says_that_doesnt_say_it():
    defaults = "defaults: {agent: echo, retry: {max_attempts: 3}, timeout: 30s, priority: high, idempotent: false}"
    own = "{id: b, agent: noop, retries: 1, timeout: 5s, priority: 3, idempotent: true}"
    workflow = load_workflow(f"name: w\n{defaults}\ntasks:\n  - {{id: a}}\n  - {own}\n")
    a, b = workflow.tasks
    assert (a.agent_type, a.retry_policy.max_attempts, a.timeout, a.priority, a.idempotent) == (
        "echo",
        3,
        30.0,
        75,
        False,
    )
    assert (b.agent_type, b.retry, b.retries, b.timeout, b.priority, b.idempotent) == ("noop", None, 1, 5.0, 3, True)


def test_defaults_change_no_hash():
    written = "name: w\ntasks:\n  - {id: a, agent: echo, retries: 2}\n  - {id: b, agent: echo, retries: 2}\n"
    short = "name: w\ndefaults: {agent: echo, retries: 2}\ntasks: [{id: a}, {id: b}]"
    assert content_hash(load_workflow(short)) == content_hash(load_workflow(written))


def test_what_is_wrong_with_defaults_is_said_once_where_it_stands():
    main = "name: w\ndefaults:\n  timeout: 0\n  agnt: echo\n  retry: {jitter: 0.5}\n"
    main += "tasks:\n  - {id: a, agent: echo}\n  - {id: b, agent: echo}\n"
    assert [one.split(": ", 2)[:2] for one in problems(main)] == [
        ["main.yaml:3", "out-of-range"],
        ["main.yaml:4", "unknown-field"],
        ["main.yaml:5", "missing-field"],
    ]


def test_defaults_hold_for_their_own_file_only():
    main = "name: m\ndefaults: {timeout: 9s}\ninclude: f.yaml\ntasks: [{id: z, agent: readers}]"
    assert {task.id: task.timeout for task in load(main, f=FETCH).tasks} == {"z": 9.0, "get": 30.0, "parse-it": 30.0}


# --- anchors ---------------------------------------------------------------------------------------------------------


def test_anchors_have_a_place_of_their_own_under_x():
    main = """
name: w
x-patient: &patient {retry: {max_attempts: 4}, timeout: 9s}
tasks:
  - {id: a, agent: echo, <<: *patient}
  - {id: b, agent: echo, timeout: 1s, <<: *patient}
"""
    a, b = load_workflow(main).tasks
    assert (a.retry_policy.max_attempts, a.timeout, b.timeout) == (4, 9.0, 1.0)
    assert problems("name: w\ntasks: [{id: a, agent: echo, x-a: 1}]")[0].split(": ")[1] == "unknown-field"
