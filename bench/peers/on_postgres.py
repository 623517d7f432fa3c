"""The durable peers beside P1: on its server, each run a fresh process and a database of its own.

`Beside` keeps what they did, run by run, so that a ratio is of two runs that followed one another. A peer that can't be
run is named with the reason, and left out from then on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from bench.figures import Figure, Size
from bench.peers.catalogue import ON_POSTGRES, Numbers, Peer
from bench.peers.script import SECONDS
from bench.peers.side_by_side import Failed, answered, version_of

AIM = 20.0


class Beside:
    """What the peers did, beside Podium's runs."""

    def __init__(self, folder: Path, size: Size, say: Callable[[str], None], peers: Sequence[Peer] = ON_POSTGRES):
        self._folder = folder
        self._numbers: Numbers = (size.workflows, size.steps, size.at_once)
        self._say = say
        self._found: dict[str, list[float]] = {}
        self._peers = {peer.name: peer for peer in peers}

    @property
    def left(self) -> list[Peer]:
        """Those who can be run."""
        return list(self._peers.values())

    def run(self, peer: Peer, url: str) -> None:
        """Have a peer do the work of P1 in an empty database."""
        name = peer.name
        try:
            _, answer = answered(peer, "P1", self._numbers, self._folder, {"BENCH_POSTGRES": url})
        except Failed as error:
            self._say(f"  {name}: {error}")
            del self._peers[name]
            self._found.pop(name, None)  # a median of fewer runs than the others' would be another figure
            return
        self._found.setdefault(name, []).append(self._numbers[0] * self._numbers[1] / answer[SECONDS])

    def figures(self, workload: str, podium: Sequence[float]) -> list[Figure]:
        """Return each peer's figure, and Podium's as many times it, run by run."""
        found = []
        for name, runs in self._found.items():
            times = tuple(ours / theirs for ours, theirs in zip(podium, runs, strict=True))
            ratio, theirs = (
                f"durable steps to those of {name} (aim: {AIM:.0f})",
                f"{name} {version_of(self._peers[name])}",
            )
            found += [
                Figure(workload=workload, name=ratio, unit="×", runs=times, better="more"),
                Figure(workload=workload, name=theirs, unit="steps/s", runs=tuple(runs), better="more"),
            ]
        return found
