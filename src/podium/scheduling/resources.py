"""Amounts of resources as vectors, and whether one fits into what is left of another.

Countable devices (GPUs and custom resources) must be offered to be used. Of cores, memory, disk and bandwidth an
agent that says nothing has no limit of its own: it shares the machine's, which a pool's capacity can bound.
"""

from __future__ import annotations

from collections.abc import Mapping

from podium.workflow.model import ResourceRequirements

Vector = Mapping[str, float]
NOTHING: Vector = {}
_MUST_BE_OFFERED = "custom."
_SLACK = 1e-9


def vector_of(resources: ResourceRequirements) -> Vector:
    """Return the amounts above zero by name; custom ones are called `custom.NAME`."""
    found = {
        "cpu_cores": resources.cpu_cores,
        "memory_mb": resources.memory_mb,
        "disk_mb": resources.disk_mb,
        "network_bandwidth_mbps": resources.network_bandwidth_mbps or 0,
        "gpu_count": resources.gpu_count or 0,
    }
    vector: dict[str, float] = {name: amount for name, amount in found.items() if amount > 0}
    vector.update(
        {f"{_MUST_BE_OFFERED}{name}": amount for name, amount in resources.custom_resources.items() if amount > 0}
    )
    return vector


def vector_of_amounts(amounts: Mapping[str, float]) -> Vector:
    """Return amounts by the names of the settings: `cpu`, `memory_mb`, `gpu`; any other name is a custom resource."""
    short = {"cpu": "cpu_cores", "cores": "cpu_cores", "memory": "memory_mb", "disk": "disk_mb", "gpu": "gpu_count"}
    known = {"cpu_cores", "memory_mb", "disk_mb", "network_bandwidth_mbps", "gpu_count"}
    full = {short.get(name, name): amount for name, amount in amounts.items()}
    return {name if name in known else f"{_MUST_BE_OFFERED}{name}": amount for name, amount in full.items()}


class Capacity:
    """What there is of each resource and what is taken of it. Never goes over."""

    def __init__(self, offered: Vector, devices_only_if_offered: bool = True) -> None:
        self.offered = dict(offered)
        self.taken: dict[str, float] = {}
        self._strict = devices_only_if_offered

    def lacking(self, need: Vector) -> dict[str, float]:
        """Return what is missing at the moment, by name; empty when the need fits."""
        missing: dict[str, float] = {}
        for name, amount in need.items():
            offered = self._limit(name)
            if offered is None:
                continue
            short = self.taken.get(name, 0.0) + amount - offered
            if short > _SLACK:
                missing[name] = short
        return missing

    def never_fits(self, need: Vector) -> dict[str, float]:
        """Return what is missing even with nothing taken."""
        limits = {name: self._limit(name) for name in need}
        return {n: a - limit for n, a in need.items() if (limit := limits[n]) is not None and a - limit > _SLACK}

    def take(self, need: Vector) -> None:
        """Take the amounts; the caller has asked `lacking`."""
        for name, amount in need.items():
            self.taken[name] = self.taken.get(name, 0.0) + amount

    def give_back(self, need: Vector) -> None:
        """Give the amounts back; what is all back is forgotten, so that rounding never adds up."""
        for name, amount in need.items():
            left = self.taken.get(name, 0.0) - amount
            if left > _SLACK:
                self.taken[name] = left
            else:
                self.taken.pop(name, None)

    def _limit(self, name: str) -> float | None:
        if name in self.offered:
            return self.offered[name]
        must_be_offered = name == "gpu_count" or name.startswith(_MUST_BE_OFFERED)
        return 0.0 if self._strict and must_be_offered else None
