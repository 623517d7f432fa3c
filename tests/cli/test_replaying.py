"""`podium replay` and `podium history --export`."""

from __future__ import annotations

import json

import pytest

from podium.store.protocol import LogRow
from podium.testing import replay_history


def test_what_ran_is_decided_the_same_again(here):
    here("run", "noop.yaml")
    here("run", "fails.yaml", code=1)
    assert "same" in here("replay", "last")
    found = here.json("replay", "--all")
    assert (found["replayed"], found["different"]) == (2, 0)
    assert "2 executions, 0 decided differently" in here("replay", "--all")


def test_an_exported_history_stands_alone(here):
    here("run", "fails.yaml", code=1)
    assert "lines in it.jsonl" in here("history", "last", "--export", "it.jsonl")
    (here.folder / ".podium" / "podium.db").unlink()
    found = here.json("replay", "it.jsonl")
    assert found["executions"][0]["same"]
    assert replay_history("it.jsonl").rows == found["executions"][0]["rows"] > 1


def test_the_first_decision_that_differs_is_named(here):
    here("run", "noop.yaml")
    here("history", "last", "--export", "it.jsonl")
    lines = [json.loads(line) for line in (here.folder / "it.jsonl").read_text().splitlines()]
    head, row = lines[0], next(line for line in lines if line.get("kind") == "succeeded")
    row["events"] = row["events"].replace("execution_completed", "execution_cancelled")
    log_row = LogRow(
        head["shard"], row["position"], head["tenant"], head["execution"], row["sequence"], row["event_count"],
        row["input_id"], row["kind"], row["now_us"], row.get("payload", "").encode(), row["events"].encode(),
    )  # fmt: skip
    row["checksum"] = log_row.computed_checksum()
    here.write("other.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
    out = here("replay", "other.jsonl", code=1)
    assert "DIFFERENT" in out
    assert f"at sequence {row['sequence']}" in out
    assert "execution_cancelled" in out


def test_new_code_that_decides_differently_is_found_in_every_execution(here, monkeypatch):
    here("run", "noop.yaml")
    monkeypatch.setattr("podium.engine.replay.events_in_full", _one_word_more())
    found = here.json("replay", "--all", code=1)
    assert found["different"] == 1


def _one_word_more():
    from podium.engine.codec import events_in_full

    calls = iter(range(1_000_000))

    def changed(events):
        return events_in_full(events) + (b" " if next(calls) % 2 else b"")

    return changed


def test_a_changed_file_is_found_by_its_checksum(here):
    here("run", "noop.yaml")
    here("history", "last", "--export", "it.jsonl")
    text = (here.folder / "it.jsonl").read_text()
    here.write("it.jsonl", text.replace("noop-1", "noop-2"))
    assert "can't be read" in here("replay", "it.jsonl", code=1)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "say what to replay"),
        (["last", "--all"], "say what to replay"),
        (["nowhere.jsonl"], "can't be read"),
        (["noop.yaml"], "is no line of a history"),
    ],
)
def test_bad_input_is_refused(here, arguments, sentence):
    assert sentence in here.refused("replay", *arguments)
