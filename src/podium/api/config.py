"""`OrchestratorConfig` of documents 000 and 002: what the `Orchestrator` can be told, and the settings that means."""

from __future__ import annotations

import os
from typing import Any

from msgspec import Struct, field

from podium.exceptions import SettingsError
from podium.settings import Settings, load_settings

HEALTH_CHECK_MS = 30_000
AGENT_TIMEOUT_MS = 60_000


def processors() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class OrchestratorConfig(Struct, frozen=True, kw_only=True):
    """Document 000's configuration, and where an orchestrator keeps what it remembers. What is None is the setting's.

    The defaults are the document's: nothing is persisted unless `enable_persistence`, a path, or the setting `database`
    (podium.yaml, `PODIUM_DATABASE`) says so. `podium.run`, the CLI and `podium up` always persist.
    """

    max_concurrent_tasks: int = field(default_factory=processors)  # that agents in this process hold at once
    health_check_interval_ms: float = HEALTH_CHECK_MS
    agent_timeout_ms: float = AGENT_TIMEOUT_MS  # without a sign of life: unhealthy
    enable_persistence: bool = False
    persistence_file_path: str | None = None  # a SQLite file; a path is enough to persist
    database: str | None = None  # the same by the setting's name; `:memory:` keeps nothing
    lease_seconds: float | None = None
    drain_seconds: float | None = None
    max_queue_size: int | None = None  # tasks that wait; more are refused with QueueFullError
    max_message_bytes: int | None = None  # of a submitted task as JSON
    max_task_seconds: float | None = None

    def __post_init__(self) -> None:
        if isinstance(self.max_concurrent_tasks, bool) or self.max_concurrent_tasks < 1:
            raise SettingsError(f"max_concurrent_tasks must be at least 1, not {self.max_concurrent_tasks!r}")
        for name in ("health_check_interval_ms", "agent_timeout_ms"):
            if not getattr(self, name) > 0:
                raise SettingsError(f"{name} must be above 0, not {getattr(self, name)!r}")
        if self.database and self.persistence_file_path and self.database != self.persistence_file_path:
            raise SettingsError(
                f"database is {self.database!r} and persistence_file_path {self.persistence_file_path!r}; "
                "they are two names of one thing, say one"
            )

    def settings(self) -> Settings:
        """Return the settings in force here with this configuration. Raises SettingsError."""
        path = self.database or self.persistence_file_path
        return load_settings(
            defaults={} if self.enable_persistence else {"database": ":memory:"},
            database=str(path) if path else None,
            lease_seconds=self.lease_seconds,
            drain_seconds=self.drain_seconds,
            max_queued_tasks=self.max_queue_size,
            max_message_bytes=self.max_message_bytes,
            max_task_seconds=self.max_task_seconds,
            **self._signs_of_life(),
        )

    def _signs_of_life(self) -> dict[str, Any]:
        """Return the times of heartbeats, where they aren't the usual ones: what is later stays longer."""
        said: dict[str, Any] = {}
        if self.health_check_interval_ms != HEALTH_CHECK_MS:
            said["health_check_interval_seconds"] = self.health_check_interval_ms / 1_000
        if self.agent_timeout_ms != AGENT_TIMEOUT_MS:
            usual, unhealthy = Settings(), self.agent_timeout_ms / 1_000
            said["unhealthy_seconds"] = unhealthy
            if unhealthy <= usual.heartbeat_interval_seconds:
                said["heartbeat_interval_seconds"] = unhealthy / 2
            if unhealthy >= usual.deregistration_timeout_seconds:
                said["deregistration_timeout_seconds"] = unhealthy * 5
        return said
