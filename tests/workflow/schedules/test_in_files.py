"""A workflow's own `schedule`: read, checked at its place, written back, and no part of what executions are."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from podium.exceptions import InvalidInputError
from podium.workflow.differences import differences
from podium.workflow.hashing import content_hash, decode_workflow, encode_workflow
from podium.workflow.schedules.spec import Overlap, ScheduleSpec, checked, other_than
from podium.workflow.yaml import Opened, check_workflow, dump_workflow, load_workflow

TASKS = "tasks: [{id: t, agent: echo}]\n"
WHOLE = """
schedule:
  every: 90m
  from: "2030-01-01T00:00:00Z"
  until: "2031-01-01T00:00:00+01:00"
  count: 7
  overlap: Buffer-One
  catch_up: 0s
  catch_up_limit: 3
  jitter: 30s
"""


def with_schedule(said: str) -> str:
    return f"name: w\n{said}\n{TASKS}"


def test_all_that_can_be_said_is_read_and_written_back():
    workflow = load_workflow(with_schedule(WHOLE))
    assert workflow.schedule is not None
    assert workflow.schedule.overlap is Overlap.BUFFER_ONE
    assert (workflow.schedule.every_seconds, workflow.schedule.max_firings) == (5_400, 7)
    assert workflow.schedule.starts_at == datetime(2030, 1, 1, tzinfo=UTC)
    assert "every: 5400" in dump_workflow(workflow)
    assert load_workflow(dump_workflow(workflow)) == workflow


def test_a_text_alone_is_a_cron_expression():
    assert load_workflow(with_schedule('schedule: "@daily"')).schedule == ScheduleSpec(cron="@daily")
    assert load_workflow(with_schedule("schedule:")).schedule is None


@pytest.mark.parametrize(
    ("said", "place", "why"),
    [
        ("schedule: {}", "2:", "one of cron, every and at; you gave none"),
        ("schedule: {every: 1h, cron: '@daily'}", "2:", "you gave more than one"),
        ("schedule: 9 o'clock", "2:", "cron: "),
        ("schedule:\n  cron: 0 9 * *", "3:", "has 4 fields"),
        ("schedule:\n  cron: '@daily'\n  tz: Europe/Zurch", "4:", 'did you mean "Europe/Zurich"?'),
        ("schedule:\n  every: 1h\n  jitter: 2h", "4:", "jitter: 7200 s can't be used"),
        ("schedule:\n  every: 1h\n  overlap: skipp", "4:", 'did you mean "skip"?'),
        ("schedule:\n  every: 1h\n  until: 2030-01-01T00:00:00", "4:", "has no time zone"),
        ("schedule:\n  every: 1h\n  crn: a", "4:", 'did you mean "cron"?'),
        ("schedule: {every: 1h, input: {a: 1}}", "2:", "not in this version"),
        ("schedule: [a]", "2:", "must be a mapping"),
        ("schedule: '@daily'\nscheduled_at: 2030-01-01T00:00:00Z", "3:", "each execution that the clock starts"),
    ],
)
def test_what_is_wrong_is_said_once_with_its_line(said, place, why):
    workflow, (problem,) = check_workflow(with_schedule(said), "w.yaml")
    assert workflow is None
    assert str(problem).startswith(f"w.yaml:{place}"), problem
    assert why in str(problem)


def test_a_child_begins_with_its_parent():
    child = "{name: c, schedule: '@daily', tasks: [{id: t, agent: echo}]}"
    _, (problem,) = check_workflow(f"name: w\ntasks:\n- {{id: t, workflow: {child}}}", "w.yaml")
    assert "a child workflow begins with its parent" in str(problem)


def test_a_child_in_a_file_of_its_own_leaves_its_schedule_to_the_file():
    child = b"name: c\nschedule: '@daily'\ntasks: [{id: t, agent: echo}]"
    text = "name: w\ntasks: [{id: t, workflow: c.yaml}]"
    workflow = load_workflow(text, "w.yaml", opener=lambda path, within: Opened(path, path, child))
    assert workflow.tasks[0].workflow == load_workflow("name: c\ntasks: [{id: t, agent: echo}]")


def test_executions_are_the_same_with_and_without_it():
    plain, scheduled = load_workflow(with_schedule("")), load_workflow(with_schedule(WHOLE))
    assert content_hash(scheduled) == content_hash(plain)
    assert encode_workflow(scheduled) == encode_workflow(plain)
    assert decode_workflow(encode_workflow(scheduled), content_hash(plain)) == plain
    (one,) = differences(plain, scheduled)
    assert (one.field, one.compatible) == ("schedule", True)


def test_what_is_said_besides_the_file_wins():
    of_file = ScheduleSpec(cron="@daily", time_zone="Europe/Zurich", overlap=Overlap.ALLOW)
    assert other_than(of_file, {"jitter_seconds": 5.0}).cron == "@daily"
    every = other_than(of_file, {"every_seconds": 60.0})
    assert checked(every) == ScheduleSpec(every_seconds=60.0, overlap=Overlap.ALLOW)
    with pytest.raises(InvalidInputError, match="you gave none"):
        checked(other_than(None, {}))


def test_what_the_file_says_of_its_own_times_goes_with_them():
    begin, once = datetime(2030, 1, 1, tzinfo=UTC), datetime(2031, 1, 1, tzinfo=UTC)
    of_file = ScheduleSpec(
        every_seconds=600.0, starts_at=begin, ends_at=once, max_firings=3, jitter_seconds=300.0, catch_up_limit=5
    )
    assert checked(other_than(of_file, {"at": once})) == ScheduleSpec(at=once, catch_up_limit=5)
    sooner = checked(other_than(of_file, {"every_seconds": 60.0}))
    assert (sooner.jitter_seconds, sooner.starts_at, sooner.max_firings) == (0.0, begin, 3)
    assert checked(other_than(of_file, {"cron": "@daily", "jitter_seconds": 9.0})).jitter_seconds == 9.0
    with pytest.raises(InvalidInputError, match="are of what recurs"):
        checked(other_than(of_file, {"at": once, "max_firings": 2}))
