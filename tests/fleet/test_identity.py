"""With authentication on, an agent is whom its subject shows, and who is given a name has it at once."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from podium.bus.nats_auth import ISSUED_FILE, Authority, Issued, Kind
from podium.bus.private import write_private
from podium.clock import VirtualClock
from podium.exceptions import RegistrationConflictError
from podium.fleet.descriptor import AgentDescriptor
from podium.fleet.identity import identified_by
from podium.fleet.registry import FleetRegistry, Outcome

SUBJECT = "mcp.agent.a.register"


def test_the_key_is_the_authoritys_and_not_what_the_agent_says(tmp_path: Path) -> None:
    clock, registry = VirtualClock(), FleetRegistry()
    authority = Authority.open(tmp_path / "auth", clock.now_us())
    key = authority.issue(("a",), Kind.AGENT, clock.now_us()).public
    identify = identified_by(authority, registry, clock)
    assert identify(SUBJECT, AgentDescriptor("a", key="claimed"), None) == key
    with pytest.raises(RegistrationConflictError):
        identify("mcp.agent.register", AgentDescriptor("a", key=key), None)
    with pytest.raises(RegistrationConflictError):
        identify("mcp.agent.b.register", AgentDescriptor("a", key=key), None)


def test_a_claim_disturbs_nobody_who_is_registered(tmp_path: Path) -> None:
    clock, registry = VirtualClock(), FleetRegistry()
    authority = Authority.open(tmp_path / "auth", clock.now_us())
    authority.issue(("a",), Kind.AGENT, clock.now_us())
    identify = identified_by(authority, registry, clock)
    first = AgentDescriptor("a", incarnation="one", key=identify(SUBJECT, AgentDescriptor("a"), None))
    registry.register(first, clock.now_us())
    with pytest.raises(RegistrationConflictError):
        identify("mcp.agent.register", AgentDescriptor("a", incarnation="two"), None)
    assert registry.descriptor("a") == first


def test_who_replaces_a_key_has_the_name_at_once(tmp_path: Path) -> None:
    clock, registry = VirtualClock(), FleetRegistry()
    authority = Authority.open(tmp_path / "auth", clock.now_us())
    identify = identified_by(authority, registry, clock)
    for incarnation in ("one", "two"):
        key = authority.issue(("a",), Kind.AGENT, clock.now_us(), replace=True).public
        said = AgentDescriptor("a", incarnation=incarnation)
        known = AgentDescriptor("a", incarnation=incarnation, key=identify(SUBJECT, said, None))
        assert known.key == key
        assert registry.register(known, clock.now_us()).outcome is Outcome.NEW
        assert registry.descriptor("a") == known


def test_ten_thousand_agents_register_one_by_one(tmp_path: Path) -> None:
    clock, registry = VirtualClock(), FleetRegistry()
    folder = tmp_path / "auth"
    authority = Authority.open(folder, clock.now_us())
    issued = tuple(Issued((f"a-{number}",), f"U{number}", Kind.AGENT, 0) for number in range(10_000))
    write_private(folder / ISSUED_FILE, msgspec.json.encode(issued))
    identify = identified_by(authority, registry, clock)
    for number in range(10_000):
        assert identify(f"mcp.agent.a-{number}.register", AgentDescriptor(f"a-{number}"), None) == f"U{number}"
