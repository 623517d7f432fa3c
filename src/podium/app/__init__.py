"""The composition root: the only place that constructs adapters, and one process' view of one store."""

from podium.app.podium import Podium

__all__ = ["Podium"]
