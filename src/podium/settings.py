"""Settings: one validated object; defaults < podium.yaml < environment (`PODIUM_…`) < arguments.

A wrong name or value is refused with where it came from and what was expected, before anything starts.
"""

from __future__ import annotations

import difflib
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec import Struct, field

from podium.exceptions import SettingsError

CONFIG_FILE = "podium.yaml"
PREFIX = "PODIUM_"


class Settings(Struct, frozen=True, forbid_unknown_fields=True):
    """Everything that can be set. Times are in seconds."""

    database: str = ".podium/podium.db"  # a SQLite file; `:memory:` keeps nothing
    synchronous: Literal["FULL", "NORMAL"] = (
        "FULL"  # FULL: a commit survives a power cut; NORMAL: a kill, but maybe not a power cut
    )
    agents: dict[str, str] = field(default_factory=dict)  # agent type -> module:Name
    capacity: dict[str, float] = field(
        default_factory=dict
    )  # what all agents of the process share: cpu_cores, memory_mb …
    lease_seconds: float = 15.0
    drain_seconds: float = 10.0  # how long a stop waits for live attempts before it hands them back
    tenant: str = "default"

    def __post_init__(self) -> None:
        for name in ("lease_seconds", "drain_seconds"):
            if not 0 < getattr(self, name) <= 86_400:
                raise ValueError(f"{name} must be above 0 and at most 86400")
        if any(not 0 <= amount < math.inf for amount in self.capacity.values()):
            raise ValueError("capacity must be finite amounts, none of them negative")
        if not self.database.strip():
            raise ValueError("database must be a path, or :memory:")

    @property
    def in_memory(self) -> bool:
        """Whether nothing is kept on disk."""
        return self.database == ":memory:"

    @property
    def logs_path(self) -> Path:
        """Where attempts' log lines are kept, beside the database."""
        return Path(self.database).parent / "logs.db"


def load_settings(
    folder: Path | None = None, environment: Mapping[str, str] | None = None, **arguments: Any
) -> Settings:
    """Return the settings in force in a folder. Arguments that are None say nothing. Raises SettingsError."""
    values: dict[str, Any] = {}
    path = (folder or Path.cwd()) / CONFIG_FILE
    if path.is_file():
        values.update(_from_file(path))
    values.update(_from_environment(os.environ if environment is None else environment))
    values.update({name: value for name, value in arguments.items() if value is not None})
    try:
        return msgspec.convert(values, Settings, strict=False)
    except msgspec.ValidationError as error:
        raise SettingsError(f"a setting is wrong: {error}") from error


def _from_file(path: Path) -> dict[str, Any]:
    import yaml

    try:
        found = yaml.safe_load(path.read_bytes())
    except (yaml.YAMLError, OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} can't be read: {' '.join(str(error).split())}") from error
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise SettingsError(f"{path} must hold a mapping of settings, for example `database: .podium/podium.db`")
    known = Settings.__struct_fields__
    for name in found:
        if name not in known:
            close = difflib.get_close_matches(str(name), known, 1)
            hint = f"; did you mean {close[0]}?" if close else f"; there are {', '.join(known)}"
            raise SettingsError(f"{path} has no setting {name!r}{hint}")
    return found


def _from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name in Settings.__struct_fields__:
        text = environment.get(PREFIX + name.upper())
        if text is None:
            continue
        values[name] = _pairs(text, PREFIX + name.upper()) if name in ("agents", "capacity") else text
    return values


def _pairs(text: str, source: str) -> dict[str, str]:
    """Return `a=1,b=2` as a mapping."""
    pairs = [part.partition("=") for part in text.split(",") if part.strip()]
    if any(not equals or not name.strip() or not value.strip() for name, equals, value in pairs):
        raise SettingsError(f"{source} must be pairs like name=value,name=value, not {text!r}")
    return {name.strip(): value.strip() for name, _, value in pairs}
