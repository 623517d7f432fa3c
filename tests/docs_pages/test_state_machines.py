"""`docs/state-machines.md` says and draws all moves that `engine/transitions.py`, `fleet/states.py` and
`fleet/breaker.py` have, and no other.
"""

import re
from collections.abc import Mapping
from enum import StrEnum

import pytest

from podium.engine.decide import MAX_INTERRUPTIONS
from podium.engine.transitions import ATTEMPT_MOVES, EXECUTION_MOVES, TASK_MOVES, AttemptStatus
from podium.fleet.breaker import CIRCUIT_MOVES, CircuitState
from podium.fleet.states import AGENT_MOVES, AgentState
from podium.workflow.model import ExecutionStatus, TaskStatus, WorkflowConfig
from tests.docs_pages.markdown import drawing, page, section, tables

PAGE = page("state-machines.md")
MACHINES = pytest.mark.parametrize(
    ("title", "moves", "first"),
    [
        ("Execution", EXECUTION_MOVES, ExecutionStatus.RUNNING),
        ("Task", TASK_MOVES, TaskStatus.PENDING),
        ("Attempt", ATTEMPT_MOVES, AttemptStatus.GRANTED),
        ("Agent", AGENT_MOVES, AgentState.REGISTERED),
        ("Circuit breaker", CIRCUIT_MOVES, CircuitState.CLOSED),
    ],
)
Moves = Mapping[StrEnum, frozenset[StrEnum]]


@MACHINES
def test_the_table_has_each_move_once_and_says_when(title: str, moves: Moves, first: StrEnum) -> None:
    rows = tables(section(PAGE, title))[0]
    assert sorted((row["from"], row["to"]) for row in rows) == sorted(pairs(moves))
    assert all(row["when"] for row in rows)


@MACHINES
def test_the_drawing_has_the_same_moves_a_beginning_and_its_ends(title: str, moves: Moves, first: StrEnum) -> None:
    arrows = re.findall(r"^\s*(\S+) --> (\S+)$", drawing(section(PAGE, title)), re.MULTILINE)
    ends = [(str(state), "[*]") for state, after in moves.items() if not after]
    assert sorted(arrows) == sorted([("[*]", str(first)), *pairs(moves), *ends])


def test_the_limits_of_the_page_are_those_of_the_code() -> None:
    text = section(PAGE, "Attempt")
    assert f"`max_crashes` of the workflow, {WorkflowConfig().max_crashes} by default" in text
    assert f"| {MAX_INTERRUPTIONS}, a limit of Podium's own |" in text


def pairs(moves: Moves) -> list[tuple[str, str]]:
    return [(str(before), str(after)) for before, follow in moves.items() for after in follow]
