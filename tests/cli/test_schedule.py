"""`podium schedule`, while an orchestrator runs and while none does; and a kill -9 in the middle of a firing."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from tests.cli.conftest import Here
from tests.cli.support import Shell, environment, eventually, too_wide

FAR = "2090-01-31T09:00:00Z"
# Dies where a firing is decided and its start isn't in the inbox, where it is and that isn't noted, or before both.
KILLED = """
import os, signal, sys
from podium.cli.main import main
from podium.schedules.timekeeper import Timekeeper
import podium.schedules.timekeeper as timekeeper

let_out, write = Timekeeper._let_out, timekeeper.write_shard

async def killed_letting_out(self, schedules):
    schedules = list(schedules)
    fires = any(one.begun for one in schedules)
    if fires and "before" in sys.argv:
        os.kill(os.getpid(), signal.SIGKILL)
    await let_out(self, schedules)
    if fires and "after" in sys.argv:
        os.kill(os.getpid(), signal.SIGKILL)

async def killed_writing(store, shard, writes, schedules, **more):
    if "undecided" in sys.argv:
        os.kill(os.getpid(), signal.SIGKILL)
    return await write(store, shard, writes, schedules, **more)

Timekeeper._let_out = killed_letting_out
timekeeper.write_shard = killed_writing
main(["run", "gated.yaml", "--agents", "ledger.py"])
"""


def test_it_is_made_and_looked_after_while_nothing_runs(here: Here) -> None:
    assert "no schedules" in here("schedule", "list")
    made = here("schedule", "create", "nightly", "noop.yaml", "--cron", "30 2 * * *", "--tz", "Europe/Zurich")
    assert "nightly is made; it fires next at" in made
    assert "if an orchestrator runs then" in " ".join(made.split())
    here("schedule", "create", "once", "noop.yaml", "--at", FAR)
    often = here.json("schedule", "create", "often", "noop.yaml", "--every", "15m", "--overlap", "buffer-one",
                      "--jitter", "30s", "--catch-up", "0s", "--catch-up-limit", "3", "--count", "5",
                      "--from", "2089-01-01T00:00Z", "--until", FAR)  # fmt: skip
    assert often["spec"] == {
        "every_seconds": 900.0, "overlap": "buffer_one", "jitter_seconds": 30.0, "catch_up_seconds": 0.0,
        "catch_up_limit": 3, "max_firings": 5, "starts_at": "2089-01-01T00:00:00Z", "ends_at": FAR,
    }  # fmt: skip
    listed = here.json("schedule", "list")
    assert [one["name"] for one in listed] == ["nightly", "often", "once"]
    assert listed[2]["next_at"] == "2090-01-31T09:00:00.000Z"
    assert not list(too_wide(here("schedule", "list").splitlines()))
    shown = here.json("schedule", "show", "often")
    assert len(shown["upcoming"]) == 5
    assert shown["firings"] == []
    assert "no orchestrator runs" in here("schedule", "show", "nightly")
    assert "paused" in here("schedule", "pause", "nightly", "--reason", "a holiday")
    assert "paused (a holiday)" in here("schedule", "show", "nightly")
    assert here.json("schedule", "show", "nightly")["upcoming"] == []
    assert "schedule nightly: it is paused (a holiday): it fires nothing until" in " ".join(
        here("explain", "nightly").split()
    )
    assert here.json("explain", "once")["because"][0].startswith("it fires next at 2090-01-31T09:00:00.000Z, in ")
    assert here.json("schedule", "resume", "nightly")["state"] == "active"
    assert "3 times of nightly are made up for, as soon as" in here(
        "schedule", "backfill", "nightly", "--from", "2026-03-01T00:00Z", "--to", "2026-03-03T23:00Z"
    )
    assert "made up for" in here("schedule", "show", "nightly")
    assert here.json("schedule", "delete", "once") == {"name": "once", "deleted": True}
    assert "often is deleted" in here("schedule", "delete", "often")


def test_a_file_may_say_itself_when_it_is_started(here: Here) -> None:
    text = (here.folder / "noop.yaml").read_text()
    (here.folder / "clocked.yaml").write_text(f"{text}\nschedule: {{every: 15m, count: 5, overlap: allow}}\n")
    made = here.json("schedule", "create", "clocked.yaml")
    assert (made["name"], made["spec"]) == ("tiny", {"every_seconds": 900.0, "max_firings": 5, "overlap": "allow"})
    again = here.json(
        "schedule", "create", "tiny", "clocked.yaml", "--replace", "--cron", "@daily", "--overlap", "skip"
    )
    assert again["spec"] == {"cron": "@daily", "max_firings": 5}
    here.write("odd.yaml", text.replace("name: tiny", "name: my tiny!"))
    assert "say another one: podium schedule create NAME FILE" in " ".join(
        here.refused("schedule", "create", "odd.yaml", "--every", "1h").split()
    )
    assert "every 15m, once `podium schedule create`" in " ".join(here("plan", "clocked.yaml").split())


def test_what_was_asked_for_is_started_by_the_next_orchestrator(here: Here, shell: Shell) -> None:
    here("schedule", "create", "hourly", "noop.yaml", "--every", "1h")
    execution = here.json("schedule", "trigger", "hourly")["execution_id"]
    owner = shell.held()
    eventually(lambda: here.json("schedule", "list")[0]["last"] == "completed")
    again = here("schedule", "trigger", "hourly")
    assert "as soon as" not in again
    assert here.json("status", execution)["schedule"] == "hourly"
    assert "by the schedule hourly" in here("status", execution)
    assert "hourly" in here("ps", "--all")
    shown = here("schedule", "show", "hourly")
    assert execution[:20] in shown
    assert "completed" in shown
    shell.open_gate()
    owner.wait()


@pytest.mark.parametrize("when", ["before", "after", "undecided"])
def test_a_kill_in_the_middle_of_a_firing_neither_loses_nor_doubles_it(here: Here, shell: Shell, when: str) -> None:
    here("schedule", "create", "often", "noop.yaml", "--every", "1s", "--count", "1")
    ended = subprocess.run(
        [sys.executable, "-c", KILLED, when], cwd=here.folder, env=environment(), capture_output=True, timeout=60
    )
    assert ended.returncode == -signal.SIGKILL, ended
    owner = shell.held()
    eventually(lambda: here.json("schedule", "list")[0]["last"] == "completed")
    shell.open_gate()
    owner.wait()
    one = here.json("schedule", "show", "often")
    assert (one["state"], one["fired"], one["skipped"], one["missed"]) == ("over", 1, 0, 0)
    tiny = [row for row in here.json("ps", "--all") if row["workflow"] == "tiny"]
    assert [row["execution_id"] for row in tiny] == [one["firings"][0]["execution_id"]]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("--cron", "0 9 * *"), "has 4 fields"),
        (("--cron", "0 9 * * monday"), 'did you mean "mon"?'),
        (("--cron", "@daily", "--every", "1h"), "one of --cron, --every and --at; you gave more than one"),
        ((), "one of --cron, --every and --at; you gave none"),
        (("--every", "1h", "--count", "0"), "--count must be 1"),
        (("--every", "1h", "--until", "2020-01-01T09:00Z"), "would never fire"),
        (("--at", "9999-12-31T23:59:59-12:00"), "years are from 1970 to 2200"),
        (("--cron", "@daily", "--tz", "Europe/Zurch"), "--tz: there is no time zone"),
        (("--at", "tomorrow"), "--at: 'tomorrow' is no time"),
        (("--at", "2090-01-01 09:00"), "has no time zone"),
        (("--at", "2020-01-01T09:00Z"), "has passed already"),
        (("--every", "1h", "--overlap", "skp"), 'did you mean "skip"?'),
        (("--every", "1h", "--catch-up", "soon"), "--catch-up: "),
        (("--every", "1h", "--input", "who"), "KEY=VALUE"),
    ],
)
def test_bad_input_is_refused_and_nothing_is_kept(here: Here, given: tuple[str, ...], said: str) -> None:
    assert said in here.refused("schedule", "create", "x", "noop.yaml", *given)
    assert here.json("schedule", "list") == []


def test_names_are_cut_where_a_line_has_no_room(here: Here) -> None:
    here("schedule", "create", "n" * 100, "noop.yaml", "--every", "1h")
    lines = here("schedule", "list").splitlines()
    assert max(map(len, lines)) <= 80
    assert "nnnnnnnn…" in lines[-1]


def test_a_trigger_is_known_by_its_id_before_it_begins(here: Here) -> None:
    here("schedule", "create", "hourly", "noop.yaml", "--every", "1h")
    execution = here.json("schedule", "trigger", "hourly")["execution_id"]
    assert "its start waits for an orchestrator" in here.refused("status", execution)


def test_a_schedule_that_isnt_there_is_named(here: Here) -> None:
    here("schedule", "create", "nightly", "noop.yaml", "--every", "1h")
    assert 'did you mean "nightly"' in here.refused("schedule", "show", "nightli")
    assert "already" in here.refused("schedule", "create", "nightly", "noop.yaml", "--every", "1h")
    here("schedule", "create", "nightly", "noop.yaml", "--every", "2h", "--replace")
    assert here.json("schedule", "show", "nightly")["spec"]["every_seconds"] == 7_200.0
