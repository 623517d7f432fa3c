"""A layered layout of an acyclic graph (Sugiyama, Tagawa and Toda, 1981): which place each node has within its layer.

Lines that pass layers go round the nodes there; nodes are ordered so that few lines cross, and then put near to what
they are connected with. The same graph always gets the same layout.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Collection, Sequence
from itertools import pairwise
from math import inf

from msgspec import Struct

_SWEEPS = 12
_SETTLINGS = 24
_MOST_DUMMIES = 20_000  # beyond, lines go straight through what lies between
_MOST_FOR_CROSSINGS = 60_000  # segments that are counted
_PULL = 8  # how often an edge counts that shall be straight
_STRAIGHT = 8.0  # how much more a passing line's place counts than a node's


class Layout(Struct, frozen=True):
    """Where nodes are across the flow: the middle of each, and each edge's bends, layer by layer between its ends."""

    across: list[float]
    bends: dict[tuple[int, int], list[float]]
    breadth: float


def layout(
    layers: Sequence[Sequence[int]],
    edges: Sequence[tuple[int, int]],
    sizes: Sequence[float],
    gap: float,
    straight: Collection[tuple[int, int]] = (),
) -> Layout:
    """Return places for nodes, which are numbers from 0; an edge leads from a layer to a later one, and is there once.

    `sizes` are the nodes' extents across the flow, `gap` what lies between two of a layer at least; the `straight`
    edges bend less than others.
    """
    found = _Layout(layers, edges, sizes, gap)
    found.order()
    found.settle(straight)
    return found.placed()


class _Layout:
    def __init__(
        self, layers: Sequence[Sequence[int]], edges: Sequence[tuple[int, int]], sizes: Sequence[float], gap: float
    ) -> None:
        self._real = len(sizes)
        self._sizes = list(sizes)
        self._gap = gap
        self._layers = [list(layer) for layer in layers]
        self._level = {node: level for level, layer in enumerate(layers) for node in layer}
        self._before: list[list[int]] = [[] for _ in sizes]
        self._after: list[list[int]] = [[] for _ in sizes]
        self._chains: dict[tuple[int, int], list[int]] = {}
        passed = sum(self._level[later] - self._level[earlier] - 1 for earlier, later in edges)
        for earlier, later in edges:
            self._connect(earlier, later, passed <= _MOST_DUMMIES)
        self._across = [0.0] * len(self._sizes)

    def _connect(self, earlier: int, later: int, round_about: bool) -> None:
        chain: list[int] = []
        if round_about:
            for level in range(self._level[earlier] + 1, self._level[later]):
                dummy = len(self._sizes)
                self._sizes.append(0.0)
                self._before.append([])
                self._after.append([])
                self._layers[level].append(dummy)
                chain.append(dummy)
        self._chains[earlier, later] = chain
        for one, other in zip([earlier, *chain], [*chain, later], strict=True):
            self._after[one].append(other)
            self._before[other].append(one)

    def placed(self) -> Layout:
        """Return the layout as it is now, without stripes that nothing lies in."""
        spans = sorted((at - size / 2, at + size / 2) for at, size in zip(self._across, self._sizes, strict=True))
        starts: list[float] = []  # where each part begins that hangs together, and how far it moves
        shifts: list[float] = []
        end = -inf
        for low, high in spans:
            if low > end + self._gap:
                shifts.append(low if not starts else shifts[-1] + low - end - self._gap)
                starts.append(low)
            end = max(end, high)
        across = [place - shifts[max(bisect_right(starts, place) - 1, 0)] for place in self._across] if starts else []
        bends = {edge: [across[dummy] for dummy in chain] for edge, chain in self._chains.items()}
        return Layout(across[: self._real], bends, end - shifts[-1] if starts else 0.0)

    # --- order -------------------------------------------------------------------------------------------------

    def order(self) -> None:
        """Sweep down and up, each layer by the middle of its neighbours in the one before; keep the best seen."""
        counted = sum(map(len, self._after)) <= _MOST_FOR_CROSSINGS
        best, fewest = [list(layer) for layer in self._layers], self._crossings() if counted else 0
        for sweep in range(_SWEEPS if len(self._layers) > 1 else 0):
            down = sweep % 2 == 0
            places = range(1, len(self._layers)) if down else range(len(self._layers) - 2, -1, -1)
            for level in places:
                self._sort(level, level - 1 if down else level + 1, self._before if down else self._after)
            crossings = self._crossings() if counted else 0
            if crossings < fewest or not counted:
                best, fewest = [list(layer) for layer in self._layers], crossings
            if counted and not fewest:
                break
        self._layers = best

    def _sort(self, level: int, fixed: int, neighbours: list[list[int]]) -> None:
        place = {node: at for at, node in enumerate(self._layers[fixed])}
        own = {node: at for at, node in enumerate(self._layers[level])}
        stretch = max(len(place), 1) / max(len(own), 1)

        def middle(node: int) -> tuple[float, int]:
            found = [place[other] for other in neighbours[node] if other in place]
            return (sum(found) / len(found) if found else own[node] * stretch, own[node])

        self._layers[level].sort(key=middle)

    def _crossings(self) -> int:
        """Return how many pairs of lines cross between neighbouring layers."""
        crossings = 0
        for upper, lower in pairwise(self._layers):
            place = {node: at for at, node in enumerate(lower)}
            seen: list[int] = []
            for node in upper:
                ends = sorted(place[other] for other in self._after[node] if other in place)
                crossings += sum(len(seen) - bisect_left(seen, end + 1) for end in ends)
                for end in ends:
                    insort(seen, end)
        return crossings

    # --- places ------------------------------------------------------------------------------------------------

    def settle(self, straight: Collection[tuple[int, int]]) -> None:
        """Move each layer, in its order, as near to its neighbours as its gaps allow: from one side, then the other."""
        for edge in straight:
            chain = [edge[0], *self._chains.get(edge, ()), edge[1]]
            for one, other in pairwise(chain):
                self._after[one] += [other] * _PULL
                self._before[other] += [one] * _PULL
        for layer in self._layers:
            at = 0.0
            for node in layer:
                self._across[node] = at + self._sizes[node] / 2
                at += self._sizes[node] + self._gap
            for node in layer:
                self._across[node] -= (at - self._gap) / 2
        for turn in range(_SETTLINGS):
            down = turn % 2 == 0
            both = turn >= _SETTLINGS // 2
            for layer in self._layers if down else reversed(self._layers):
                self._draw_near(layer, self._before if down else self._after, self._after if both else None)

    def _draw_near(self, layer: list[int], first: list[list[int]], second: list[list[int]] | None) -> None:
        """Place a layer's nodes by least squares under their order (pooling of adjacent violators)."""
        offset = 0.0
        totals: list[float] = []  # of each block: the wishes, weighted; the weights; the first of its nodes
        weights: list[float] = []
        firsts: list[int] = []
        offsets: list[float] = []
        for at, node in enumerate(layer):
            if at:
                previous = layer[at - 1]
                offset += (self._sizes[previous] + self._sizes[node]) / 2 + self._between(previous, node)
            near = first[node] if second is None else [*first[node], *second[node]]
            wish = sum(self._across[other] for other in near) / len(near) if near else self._across[node]
            weight = (_STRAIGHT if node >= self._real else 1.0) if near else 0.1
            offsets.append(offset)
            totals.append((wish - offset) * weight)
            weights.append(weight)
            firsts.append(at)
            while len(totals) > 1 and totals[-2] / weights[-2] > totals[-1] / weights[-1]:
                total, heavy = totals.pop(), weights.pop()
                firsts.pop()
                totals[-1] += total
                weights[-1] += heavy
        for begin, end, total, weight in zip(firsts, [*firsts[1:], len(layer)], totals, weights, strict=True):
            for at in range(begin, end):
                self._across[layer[at]] = total / weight + offsets[at]

    def _between(self, one: int, other: int) -> float:
        dummies = (one >= self._real) + (other >= self._real)
        return self._gap / 3 if dummies == 2 else self._gap if not dummies else self._gap * 0.7
