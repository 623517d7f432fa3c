"""Where in a user's Python a piece of a workflow was written: what is wrong with it is said with file and line."""

from __future__ import annotations

import sys
from pathlib import PurePath

import msgspec
from msgspec import Struct

from podium.workflow.problems import Problem

_OURS = ("podium.workflow.", "podium.api.")


class Place(Struct, frozen=True):
    """A line of a Python file; nothing where it isn't known."""

    file: str = ""
    line: int = 0


def calling_place() -> Place:
    """Return the line outside of Podium that led here."""
    frame = sys._getframe(1)
    while frame is not None:
        name = str(frame.f_globals.get("__name__", ""))
        if not name.startswith(_OURS):
            return Place(PurePath(frame.f_code.co_filename).name, frame.f_lineno)
        if frame.f_back is None:
            break
        frame = frame.f_back
    return Place()


def placed(problem: Problem, place: Place) -> Problem:
    """Return a problem with its place in Python."""
    if not place.line or problem.line:
        return problem
    return msgspec.structs.replace(problem, file=place.file, line=place.line, column=1)
