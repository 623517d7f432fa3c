"""What agents elsewhere say: of a frame that holds what can't be kept, nothing counts."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from podium.exceptions import InvalidInputError
from podium.fleet import messages as msg
from podium.fleet.frames import CONTENT_TYPE, encode_frame
from podium.fleet.hearing import heard_frame

LINE = msg.LogLine("e", "t", "e:1:t:1", 1, "INFO", "said")


def frame(*lines: msg.LogLine) -> Any:
    said = encode_frame("speaker", 1, lines)
    return SimpleNamespace(subject="mcp.agent.a.frame", data=said, headers={"Content-Type": CONTENT_TYPE})


def test_lines_of_logs_are_heard():
    assert heard_frame(frame(LINE)).messages == (LINE,)


@pytest.mark.parametrize(
    "line",
    [
        msg.LogLine("e\0", "t", "e:1:t:1", 1, "INFO", "said"),
        msg.LogLine("e", "t" * 5_000, "e:1:t:1", 1, "INFO", "said"),
        msg.LogLine("e", "t", "e:1:t:" + "1" * 5_000, 1, "INFO", "said"),
        msg.LogLine("e", "t", "e:1:t:1", 1 << 63, "INFO", "said"),
        msg.LogLine("e", "t", "e:1:t:1", -1, "INFO", "said"),
        msg.LogLine("e", "t", "e:1:t:1", 1, "INFO" * 100, "said"),
    ],
    ids=["NUL", "task", "attempt", "too late", "too early", "level"],
)
def test_a_line_that_no_store_keeps_takes_no_others_along(line: msg.LogLine):
    with pytest.raises(InvalidInputError):
        heard_frame(frame(LINE, line))
