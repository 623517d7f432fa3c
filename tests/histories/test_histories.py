"""Histories that each release recorded: today's code decides every one of them again, the same, for ever."""

from __future__ import annotations

from pathlib import Path

import pytest

from podium.exceptions import CorruptHistoryError, InvalidInputError
from podium.testing import replay_history

FILES = sorted(Path(__file__).parent.glob("*/*.jsonl"))


@pytest.mark.parametrize("path", FILES, ids=[f"{path.parent.name}/{path.stem}" for path in FILES])
def test_a_recorded_history_is_decided_the_same(path):
    assert replay_history(path).events > 1


def test_there_are_histories_of_this_release():
    assert len([path for path in FILES if path.parent.name == "0.1.0"]) >= 12


def test_a_file_that_was_changed_is_refused(tmp_path):
    changed = tmp_path / "changed.jsonl"
    text = FILES[0].read_text()
    changed.write_text(text.replace("porter-", "portier-"))
    with pytest.raises(CorruptHistoryError, match="checksum"):
        replay_history(changed)


@pytest.mark.parametrize("text", ["", "{}\n", "no json\n", '{"line":"row"}\n'])
def test_what_is_no_history_is_refused(tmp_path, text):
    path = tmp_path / "other.jsonl"
    path.write_text(text)
    with pytest.raises(InvalidInputError):
        replay_history(path)


async def _replayed(path):
    return replay_history(path)


def test_it_can_be_replayed_within_a_running_loop(podium_clock):
    assert podium_clock.run(_replayed(FILES[0])).mismatch is None
