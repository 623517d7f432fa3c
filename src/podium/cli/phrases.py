"""What plans and simulated runs both say: counts, paths of tasks, amounts of resources, each in a few words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

_UNITS = {
    "cpu_cores": "cores", "memory_mb": "MB of memory", "disk_mb": "MB of disk",
    "network_bandwidth_mbps": "Mbit/s", "gpu_count": "GPUs",
}  # fmt: skip


def counted(number: int, one: str, many: str = "") -> str:
    """Return a number with what is counted: "1 task", "2 tasks"."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def path_of(tasks: Sequence[str], shown: int = 12) -> str:
    """Return tasks in their order, those in the middle left out where there are many."""
    if len(tasks) <= shown:
        return " → ".join(tasks)
    half = shown // 2
    return " → ".join((*tasks[:half], f"… {len(tasks) - 2 * half:,} more …", *tasks[-half:]))


def amounts_of(vector: Mapping[str, float]) -> str:
    """Return amounts of resources with their units: "4 cores, 16,384 MB of memory, 2 licences"."""
    return ", ".join(
        f"{round(amount, 6):,.10g} {_UNITS.get(name) or name.removeprefix('custom.')}"
        for name, amount in vector.items()
    )
