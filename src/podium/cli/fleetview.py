"""The fleet and its work as text: what `podium agents`, `podium top` and `podium up` show.

It is given an answer of the orchestrator and the rows of executions, and draws; it asks nobody.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from podium.cli.printing import cut, painted, width
from podium.cli.tables import table
from podium.cli.times import shown_duration
from podium.store.protocol import ExecutionRow

if TYPE_CHECKING:
    from podium.workflow.typed import Signature

AGENT_TITLES = ("AGENT", "STATE", "HEALTH", "LOAD", "TYPE", "VERSION", "SEEN", "CAPABILITIES")
FUNCTION_TITLES = ("TYPE", "AGENTS", "FUNCTION", "TAKES", "GIVES")
EXECUTION_TITLES = ("EXECUTION", "WORKFLOW", "STATE", "TASKS", "AGE")
_CLOSED = "closed"  # the circuit breaker of an agent that gets work
_COLORS = {
    "busy": "cyan",
    "idle": "green",
    "registered": "green",
    "unhealthy": "red",
    "draining": "yellow",
    "lost": "red",
}


def agents_table(agents: Sequence[dict[str, Any]], most: int = 1_000) -> str:
    """Return the agents as a table, those that need a look first."""
    ordered = sorted(agents, key=lambda a: (not _needs_a_look(a), a["agent_id"]))
    rows = [
        (
            agent["agent_id"],
            _shown_state(agent),
            f"{agent['health']:.2f}",
            f"{agent['held']}/{agent['slots']}",
            agent["type"],
            agent["version"],
            f"{shown_duration(agent['last_heartbeat_seconds'])}",
            ", ".join(agent["capabilities"]),
        )
        for agent in ordered[:most]
    ]
    shown = table(AGENT_TITLES, rows, right=frozenset({2, 3, 6}), paint={1: _painted_state})
    left = len(agents) - most
    return f"{shown}\n… and {left:,} more (`podium agents` shows all)" if left > 0 else shown


def functions_table(types: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """Return what functions take and give as a table: a row a function of each offer that agents of a type make."""
    from podium.workflow.typed.received import UNKNOWN, known_schemas

    rows = []
    for agent_type, offers in types.items():
        for offer in offers:
            known = known_schemas(msgspec.json.encode(offer["schemas"])).signatures
            for name in offer["functions"] or known or ("*",):
                signature = known.get(name, UNKNOWN)
                shown = name.replace("*", "(any)")
                rows.append((agent_type, str(offer["agents"]), shown, _taken(signature), _worded(signature.result)))
    return table(FUNCTION_TITLES, rows, right=frozenset({1}))


def _taken(signature: Signature) -> str:
    """Return the arguments of a function in a line: `url: a text, depth?: a whole number, …`."""
    words = [
        f"{name}{'' if name in signature.required else '?'}: {_worded(schema)}"
        for name, schema in signature.arguments.items()
    ]
    return ", ".join([*words, "…"] if signature.others is not None else words) or "nothing"


def _worded(schema: Mapping[str, Any]) -> str:
    from podium.workflow.typed.shapes import kinds, said, shape_of

    shape = shape_of(schema)
    return "anything" if kinds(shape) is None else said(shape)


def executions_table(rows: Sequence[ExecutionRow], now_us: int) -> str:
    """Return executions as a table."""
    shown = []
    for row in rows:
        counts = msgspec.json.decode(row.summary or b"{}")
        done = f"{counts.get('completed', 0):,}/{counts.get('total', 0):,}"
        shown.append((row.id, row.workflow, row.status, done, shown_duration((now_us - row.created_us) / 1e6)))
    return table(EXECUTION_TITLES, shown, gives_way=1, right=frozenset({3, 4}))


def fleet_screen(answer: dict[str, Any], executions: Sequence[ExecutionRow], now_us: int, height: int) -> str:
    """Return the live view: a headline, the agents, the executions that run, cut to the screen."""
    status, lines = answer["status"], []
    addresses = "  ".join(f"{name} {address}" for name, address in answer["addresses"].items())
    lines.append(painted(cut(f"podium  up {shown_duration(answer['up_seconds'])}  {addresses}", width()), "bold"))
    lines.append(
        cut(
            f"agents {status['agentCount']} ({status['healthyAgentCount']} healthy)  "
            f"tasks {status['activeTaskCount']} active, {status['queuedTaskCount']} queued  bus {answer['bus']}",
            width(),
        )
    )
    room = max(height - 8, 4)
    if answer["agents"]:
        lines += ["", agents_table(answer["agents"], max(room * 2 // 3, 3))]
    else:
        lines += ["", "no agents yet; in another terminal: podium agent podium.examples.research:Researcher --count 3"]
    if executions:
        lines += ["", executions_table(executions[: max(room // 3, 2)], now_us)]
    return "\n".join(lines)


def _needs_a_look(agent: dict[str, Any]) -> bool:
    return agent["state"] in ("unhealthy", "lost") or agent.get("circuit", _CLOSED) != _CLOSED


def _shown_state(agent: dict[str, Any]) -> str:
    circuit = agent.get("circuit", _CLOSED)
    return str(agent["state"]) if circuit == _CLOSED else f"{agent['state']}, breaker {circuit.replace('_', ' ')}"


def _painted_state(text: str) -> str:
    return painted(text, "red" if ", breaker " in text else _COLORS.get(text.strip(), ""))
