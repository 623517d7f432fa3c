"""What the functions of the registered agents take and give, by agent type: what a workflow is held against.

Agents that say the same are one offer. It only looks; agents of this process and agents elsewhere are treated alike.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from msgspec import Raw

from podium.agents.signatures import schemas_text

if TYPE_CHECKING:
    from podium.app import Podium
    from podium.fleet.descriptor import AgentDescriptor

MAX_TYPES: Final = 10_000
MAX_BYTES: Final = 8 << 20  # of an answer
MAX_OFFERS: Final = 65  # of one type; the reader makes nothing of so many

Offered = tuple[tuple[str, ...], bytes]


class Offers:
    """The different offers of each agent type, and how many agents make each."""

    def __init__(self, wanted: Iterable[str] | None = None) -> None:
        """Of the `wanted` types, or of all."""
        self._wanted = None if wanted is None else frozenset(wanted)
        self._found: dict[str, dict[Offered, int]] = {}

    def add(self, agent_type: str, functions: Iterable[str], text: bytes) -> None:
        """Count what an agent offers."""
        if self._wanted is not None and agent_type not in self._wanted:
            return
        if agent_type not in self._found and len(self._found) >= MAX_TYPES:
            return
        offers, offer = self._found.setdefault(agent_type, {}), (tuple(functions), text)
        if offer in offers or len(offers) < MAX_OFFERS:
            offers[offer] = offers.get(offer, 0) + 1

    def listed(self) -> dict[str, list[dict[str, Any]]]:
        """Return the offers by type, as far as they find room in one answer."""
        room = MAX_BYTES
        found: dict[str, list[dict[str, Any]]] = {}
        for agent_type, offers in sorted(self._found.items()):
            room -= sum(len(text) + sum(map(len, functions)) + 200 for functions, text in offers)
            if room < 0:
                break
            found[agent_type] = [
                {"agents": count, "functions": functions, "schemas": Raw(text or b"{}")}
                for (functions, text), count in offers.items()
            ]
        return found


def offers_of(podium: Podium, elsewhere: Iterable[AgentDescriptor], wanted: Iterable[str] | None) -> Offers:
    """Return what the agents elsewhere and those of this process offer."""
    found = Offers(wanted)
    for descriptor in elsewhere:
        found.add(descriptor.agent_type, descriptor.functions, descriptor.schemas_text)
    hosts = podium.agents.hosts if podium.agents is not None else {}
    texts: dict[int, bytes] = {}  # by definition, which many agents share
    for agent_id, host in hosts.items():
        if agent_id.startswith("podium_"):
            continue
        definition = host.definition
        if id(definition) not in texts:
            texts[id(definition)] = schemas_text(definition)
        found.add(definition.type, definition.function_names, texts[id(definition)])
    return found
