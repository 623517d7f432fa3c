"""A trace as values: a recorded (or generated) run of a scientific workflow, in Podium's units."""

from __future__ import annotations

from msgspec import Struct


class TraceFile(Struct, frozen=True):
    """A file that tasks read or write."""

    name: str
    size_bytes: int | None = None


class Machine(Struct, frozen=True, omit_defaults=True):
    """A machine on which the trace was recorded."""

    name: str
    cores: float | None = None
    memory_mb: int | None = None
    speed_mhz: float | None = None


class TraceTask(Struct, frozen=True):
    """A task as it was recorded. `parents` are positions in the trace's list of tasks.

    `id` is what others call it: up to schema 1.4 its name, with its id where several tasks have the name.
    """

    id: str
    name: str
    parents: tuple[int, ...] = ()
    runtime_seconds: float | None = None
    cores: float | None = None
    memory_mb: int | None = None
    priority: int | None = None
    program: str = ""
    arguments: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()


class Trace(Struct, frozen=True):
    """One recorded (or generated) run of a scientific workflow."""

    name: str
    schema: str
    tasks: tuple[TraceTask, ...]
    description: str = ""
    files: tuple[TraceFile, ...] = ()
    machines: tuple[Machine, ...] = ()
    makespan_seconds: float | None = None
    executed_at: str = ""

    @property
    def edge_count(self) -> int:
        """The number of dependencies."""
        return sum(len(task.parents) for task in self.tasks)
