"""Loops as a person sees them: run to their end, looked at, replayed."""

from __future__ import annotations

from tests.cli.conftest import Here

LOOP = """
name: counting
inputs: {n: 1}
continue_as_new: {when: "input.n < 3", input: {n: "${input.n + 1}"}}
output: ${input.n}
tasks:
  - {id: count, agent: echo, input: {n: "${input.n}"}}
"""


def test_a_loop_is_run_to_its_last_run_and_replayed(here: Here) -> None:
    here.write("loop.yaml", LOOP)
    out = here("run", "loop.yaml")
    assert "run 2 begins" in out
    assert "run 3 begins" in out
    document = here.json("status", "last")
    assert (document["run"], document["result"], document["tasks"]["count"]["attempts"]) == (3, 3, 1)
    assert "run completed 2" in here("history", "last")
    second = here("history", "last", "--run", "2").splitlines()
    assert "run started 2" in second[1]
    assert "run completed 2" in second[-1]
    assert len(here("history", "last", "--run", "3", "--limit", "1").splitlines()) == 2
    assert "1/1 of run 3" in here("ps", "--all")
    assert "; run 3 since" in " ".join(here("status", "last").split())
    assert "another one follows as long as input.n < 3" in " ".join(here("plan", "loop.yaml").split())
    here("replay", "last")
    assert "run 3" in here("explain", "last")
    simulated = here.json("run", "loop.yaml", "--simulate")
    assert simulated["makespan_seconds"] == 1.0


def test_what_does_not_fit_is_refused_with_its_line(here: Here) -> None:
    here.write("bad.yaml", LOOP.replace('{n: "${input.n + 1}"}', "{m: 1}"))
    here("validate", "bad.yaml", code=None)
    assert "bad.yaml:4:" in here.out + here.err
    assert 'continue_as_new gives "m"' in here.out + here.err


def test_a_loop_that_cannot_go_on_says_which_retry_helps(here: Here) -> None:
    here.write("loop.yaml", LOOP.replace("input.n < 3", "tasks.count.result > 1"))
    assert "--from TASK runs that task again" in here("run", "loop.yaml", code=None)
    here("retry", "last", code=None)
    assert "it would fail again as it did" in " ".join((here.out + here.err).split())


COUNTED = """
name: counted
inputs: {n: 1}
continue_as_new: {when: "input.n < 2", input: {n: "${input.n + 1}"}}
tasks:
  - {id: again, agent: fail, input: {times: 1}, retries: 1, retry: {initial_delay: 0.01s}}
"""


def test_attempts_count_from_1_in_each_run_wherever_they_are_shown(here: Here) -> None:
    here.write("counted.yaml", COUNTED)
    out = here("run", "counted.yaml")
    assert ", attempt 2\n" in out
    assert "run 2, attempt 1 failed" in out
    assert "run 2, attempt 2\n" in out
    history = here("history", "last")
    assert history.count("attempt granted again#2") == 2
    assert "again#3" not in history
    assert "again#4" not in history
    begins = next(line.split()[0] for line in history.splitlines() if "run started 2" in line)
    assert "again#2" in here("history", "last", "--after", begins)
