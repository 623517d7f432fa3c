"""The fleet as text: who needs a look comes first, and a circuit breaker that isn't closed is said."""

from __future__ import annotations

from typing import Any

from podium.cli.fleetview import agents_table


def row(agent_id: str, state: str = "idle", **about: Any) -> dict[str, Any]:
    usual = {
        "health": 1.0,
        "held": 0,
        "slots": 1,
        "type": "w",
        "version": "1",
        "last_heartbeat_seconds": 1.0,
        "capabilities": [],
    }
    return {"agent_id": agent_id, "state": state, **usual, **about}


def test_agents_that_are_left_alone_come_first_and_say_so():
    shown = agents_table(
        [row("a"), row("b", circuit="closed"), row("c", circuit="open"), row("d", "busy", circuit="half_open")]
    )
    lines = shown.splitlines()[1:]
    assert [line.split()[0] for line in lines] == ["c", "d", "a", "b"]
    assert "idle, breaker open" in lines[0]
    assert "busy, breaker half open" in lines[1]
    assert "breaker" not in lines[3]
