"""The rules as transcripts: `tests/transcripts/engine/*.txt` read as documentation, and are compared line by line."""

import os
from pathlib import Path

import pytest

from tests.engine.transcript import replayed

FOLDER = Path(__file__).parent.parent / "transcripts" / "engine"
FILES = sorted(FOLDER.glob("*.txt"))


def test_there_are_transcripts():
    assert len(FILES) >= 25


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_the_rules_write_what_the_transcript_says(file):
    expected = file.read_text(encoding="utf-8")
    found = replayed(expected)
    if os.environ.get("PODIUM_REWRITE"):
        file.write_text(found, encoding="utf-8")
        return
    assert found == expected, "if this is what should happen now, run it again with PODIUM_REWRITE=1"
