"""Laid out anew, a workflow says the same, keeps each comment at its place, and is left alone the next time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podium.workflow.hashing import content_hash
from podium.workflow.model import Task, Workflow
from podium.workflow.yaml import check_workflow, dump_workflow, load_workflow
from podium.workflow.yaml.formatting import formatted
from tests.docs.snippets import ROOT
from tests.workflow.cpu_time import cpu_seconds

HERE = Path(__file__).parent / "yaml"
FILES = [*sorted((ROOT / "src").rglob("*.yaml")), *sorted((HERE / "good").glob("*.yaml"))]
BAD = sorted((HERE / "bad").glob("*.yaml"))


def laid_out(text: str) -> str:
    written, problems = formatted(text)
    assert problems == []
    assert written is not None
    return written


ODD = """\
# Head of the file.

tasks:   # all of them
# about b
- agent: noop   # who
  id: b


  depends_on: [a,   c]
  input:
      text: |
         block
           more

         end
      # about q
      q: "two
        lines"
      list:
      - 1
      # in the list
      - - x
        - y
      -
        # first
        k: v   # behind
  # below b
# about a
- {agent: noop, id: a, resources: {memory: 4GB,cpu:   2}}  # brackets
- agent: noop
  id: c
  retry: {
    multiplier: 2,  # twice
    max_attempts: 3 }
config:

    # within
    priority: 3
    timeout: 5m
name: w
# the end
"""

EVEN = """\
# Head of the file.

name: w

tasks:  # all of them
  # about b
  - id: b
    agent: noop  # who

    depends_on: [a, c]
    input:
      text: |
         block
           more

         end
      # about q
      q: "two
        lines"
      list:
        - 1
        # in the list
        - - x
          - y
        # first
        - k: v  # behind
    # below b
  # about a
  - {id: a, agent: noop, resources: {cpu: 2, memory: 4GB}}  # brackets
  - id: c
    agent: noop
    retry: {
      multiplier: 2,  # twice
      max_attempts: 3 }
config:
  # within
  timeout: 5m
  priority: 3
# the end
"""


def test_a_schedule_comes_in_the_order_of_its_table():
    text = "name: w\nschedule: {jitter: 5m, tz: UTC, cron: '@daily'}\ntasks: [{id: a, agent: echo}]\n"
    assert "schedule: {cron: '@daily', tz: UTC, jitter: 5m}" in laid_out(text)


def test_order_layout_and_comments():
    assert laid_out(ODD) == EVEN
    assert laid_out(EVEN) == EVEN


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("name: w\r\ntasks: []", "name: w\ntasks: []\n"),
        ("\ufeff---\n# c\nname: w\n...\n", "# c\nname: w\n"),
        ("tasks: []\nworkflow_id: x\nname: w\n", "name: w\nworkflow_id: x\ntasks: []\n"),
        ("workflow:\n    tasks: []\n    name: w # c\n", "workflow:\n  name: w  # c\n  tasks: []\n"),
        ("a: 1\nname: w\n", "name: w\na: 1\n"),
        ("metadata: {b: 1, a: 2}\nname: w\n", "name: w\nmetadata: {b: 1, a: 2}\n"),
        ("name:\n  w\nid:\n", "name: w\nid:\n"),
        ("name:\n  # why\n  w\n", "# why\nname: w\n"),
        ("config: &c # c\n    timeout: 5\nname: w\n", "name: w\nconfig: &c  # c\n  timeout: 5\n"),
        ("tasks:\n- &t\n  agent: x\n  id: a\n", "tasks:\n  - &t\n    id: a\n    agent: x\n"),
        ("tasks:\n  a: {agent: x, <<: {type: io}}\n", "tasks:\n  a: {<<: {type: io}, agent: x}\n"),
        ("{tasks: [], name: w}\n", "{name: w, tasks: []}\n"),
        ("name: w\ntasks:\n-\n-\n", "name: w\ntasks:\n  -\n  -\n"),
        ("output: {a: , b: 1}\n", "output: {a: , b: 1}\n"),
        ("output: [a: 1,  b]\n", "output: [a: 1, b]\n"),
        ("output: |+\n  text\n\n", "output: |+\n  text\n\n"),
        ('"name": w\n', '"name": w\n'),
    ],
)
def test_single_forms(written: str, expected: str) -> None:
    if "|+" in written:
        text, problems = formatted(written)
        assert text == expected or [problem.rule for problem in problems] == ["layout"]
        return
    assert laid_out(written) == expected
    assert laid_out(expected) == expected


def test_where_the_order_would_put_an_alias_above_its_anchor_it_stays():
    text = "tasks:\n  - {id: a, agent: noop, timeout: &t 5m}\ninputs:\n  x: {default: *t}\nname: w\n"
    assert laid_out(text) == text


def test_what_cannot_be_read_is_refused_with_its_place():
    text, problems = formatted("name: w\ntasks: [\n", "w.yaml")
    assert text is None
    assert str(problems[0]).startswith("w.yaml:3:1: syntax")


def test_keys_that_are_written_with_a_question_mark_are_left():
    text, problems = formatted("? name\n: w\n", "w.yaml")
    assert (text, [str(problem) for problem in problems]) == (
        None,
        ['w.yaml: layout: a key after "?" can\'t be laid out anew; the file stays as it is'],
    )


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_each_example_keeps_its_meaning_and_its_comments(file: Path) -> None:
    content = file.read_bytes()
    written = laid_out(content.decode())
    assert load_workflow(written) == load_workflow(content)
    assert written.count("#") == content.decode().count("#")
    assert laid_out(written) == written


@pytest.mark.parametrize("file", BAD, ids=lambda file: file.stem)
def test_bad_files_are_laid_out_or_refused_and_stay_as_bad(file: Path) -> None:
    content = file.read_bytes()
    written, problems = formatted(content, file.name)
    assert (written is None) == bool(problems)
    if written is not None:
        before, after = (sorted(problem.rule for problem in check_workflow(text)[1]) for text in (content, written))
        assert before == after


def test_a_large_file_is_laid_out_within_seconds():
    tasks = tuple(Task(id=f"t{at}", agent="noop", dependencies=(f"t{at - 1}",) if at else ()) for at in range(3_000))
    text = dump_workflow(Workflow(name="large", tasks=tasks))
    assert load_workflow(laid_out(text)) == load_workflow(text)
    assert cpu_seconds(lambda: laid_out(text), times=1) < 1


# --- any layout ------------------------------------------------------------------------------------------------------

SCALARS = st.sampled_from(
    ["plain", "two words", '"quoted: # no comment"', "'it''s'", "5", "1.10", "true", "", "~", "${x}", "a-b", "x#y"]
)  # fmt: skip
COMMENTS = st.sampled_from(["", "", "# one", "#two: {", "#  three - 'x"])
TASK = ["id", "agent", "depends_on", "input", "when", "retry", "resources", "timeout", "nonsense"]


@st.composite
def blocks(draw, depth: int = 0, names: Any = None) -> list[str]:
    """Lines of a mapping or a list in a layout that somebody may have written."""
    names = names or draw(st.sampled_from([TASK, ["x", "y", "z-1"], None] if depth else [["name", "tasks", "config"]]))
    indent = " " * draw(st.sampled_from([2, 3, 4]))
    lines: list[str] = []
    chosen = (
        draw(st.lists(st.sampled_from(names), min_size=1, unique=True)) if names else [""] * draw(st.integers(1, 3))
    )
    for name in chosen:
        lines += [""] * draw(st.integers(0, 2))
        lines += [comment] if (comment := draw(COMMENTS)) else []
        behind = f" {comment}" if (comment := draw(COMMENTS)) else ""
        mark = f"{name}:" if name else "-"
        inner = "tasks" if name == "tasks" else draw(st.sampled_from(["scalar", "flow", "text", "block"]))
        if inner in ("tasks", "block") and depth < 3:
            inside = draw(blocks(depth + 1, TASK if inner == "tasks" else None))
            lines += [f"{mark}{behind}", *(f"{indent}{line}" if line else "" for line in inside)]
        elif inner == "text":
            lines += [f"{mark} |", f"{indent}first", f"{indent}  # second", "", f"{indent}last"]
        elif inner == "flow":
            lines.append(f"{mark}  ['x, y',a ,  {{b: 'c',agent: x,id: y}}]{behind}")
        else:
            lines.append(f"{mark} {draw(SCALARS)}{behind}".rstrip())
    return [*lines, comment] if (comment := draw(COMMENTS)) else lines


@settings(max_examples=300, deadline=None)
@given(blocks())
def test_any_layout_is_made_canonical_at_once_and_says_the_same(lines: list[str]) -> None:
    text = "\n".join(lines) + "\n"
    written = laid_out(text)  # it compares all scalars and all comments itself
    assert laid_out(written) == written
    before, after = check_workflow(text)[0], check_workflow(written)[0]
    assert before == after
    assert before is None or after is None or content_hash(before) == content_hash(after)


WITH_ALL = """\
# head
x-slow: &slow {timeout: 1h}   # an anchor
tasks:
  # about a
  - compensation: {input: {x: 1},   agent: echo}   # undo
    cache:
      ttl: 1h    # long
      key: a
    idempotent: false
    id: a
    <<: *slow
defaults: {timeout: 3, agent: echo}  # for all
agents:
  r:
    env:    # variables
      B: "2"
      A: ${secret.token}
    type: echo
secrets:
  token: {description: x,  env: TOKEN}  # of the API
inputs:
  n: {max: 3,  min: 1, enum: [1, 2], type: integer}
include:
  # parts
  - {prefix: p_, file: part.yaml}
name: w
"""
IN_ORDER = """\
# head
x-slow: &slow {timeout: 1h}  # an anchor
name: w
include:
  # parts
  - {file: part.yaml, prefix: p_}
inputs:
  n: {type: integer, enum: [1, 2], min: 1, max: 3}
secrets:
  token: {env: TOKEN, description: x}  # of the API
agents:
  r:
    type: echo
    env:  # variables
      B: "2"
      A: ${secret.token}
defaults: {agent: echo, timeout: 3}  # for all
tasks:
  # about a
  - <<: *slow
    id: a
    idempotent: false
    cache:
      key: a
      ttl: 1h  # long
    compensation: {agent: echo, input: {x: 1}}  # undo
"""


def test_several_files_secrets_and_what_is_recorded_keep_their_comments_in_order():
    assert laid_out(WITH_ALL) == IN_ORDER
    assert laid_out(IN_ORDER) == IN_ORDER
