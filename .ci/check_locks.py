"""Refuses lock files that say where to fetch from, that pin without a hash, or that lack a declared dependency.

Called by `make check`. It looks only at pyproject.toml and requirements/*.txt, never at an index or the environment.
"""

import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parent.parent
ADDRESS = re.compile(
    r"https?:|://|\bfile:|\bgit\+|(^|\s)(-i|-f|-e|--(extra-)?index-url|--find-links|--trusted-host)\b| @ "
)
PIN = re.compile(
    r"^(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^\s;]+)\s*(;[^#]*?)?(?P<hashes>(\s+--hash=sha256:[0-9a-f]{64})+)$"
)

Pins = dict[str, set[Version]]


def main() -> int:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    problems: list[str] = []
    locks = {name: read_lock(ROOT / "requirements" / f"{name}.txt", problems) for name in ("run", "build", "dev")}

    declared = project["project"]
    groups = project["dependency-groups"]
    extras = [text for texts in declared.get("optional-dependencies", {}).values() for text in texts]
    extras = [text for text in extras if Requirement(text).name != declared["name"]]  # an extra that names others
    needs = {
        "run": declared["dependencies"],
        "build": [*project["build-system"]["requires"], *members(groups, "build")],
        "dev": [*declared["dependencies"], *extras, *members(groups, "dev"), *project["build-system"]["requires"]],
    }
    for lock, texts in needs.items():
        for text in texts:
            problems += unmet(Requirement(text), lock, locks[lock])
    for lock in ("run", "build"):
        for name, versions in locks[lock].items():
            if not versions <= locks["dev"].get(name, set()):
                problems.append(f"requirements/{lock}.txt: {name} has another version than in requirements/dev.txt")

    for problem in problems:
        print(problem)
    if problems:
        print("The lock files don't fit. `make lock` makes them anew.")
        return 1
    print(f"lock files: {len(locks['dev'])} packages pinned by hash, {len(locks['run'])} of them to run; no address")
    return 0


def read_lock(path: Path, problems: list[str]) -> Pins:
    """What a lock file pins: the versions of each name (several where platforms differ)."""
    pins: Pins = {}
    if not path.exists():
        problems.append(f"{path.relative_to(ROOT)} is missing")
        return pins
    for number, line in logical_lines(path):
        where = f"{path.relative_to(ROOT)}:{number}"
        if ADDRESS.search(line):
            problems.append(f"{where}: holds an address or says where to fetch from: {line[:80]}")
        elif not (pin := PIN.match(line)):
            problems.append(f"{where}: isn't `name==version` with a sha256 hash: {line[:80]}")
        else:
            pins.setdefault(canonicalize_name(pin["name"]), set()).add(Version(pin["version"]))
    return pins


def logical_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Lines joined over backslashes, each with the number it starts at; a comment is kept only if it has an address."""
    start, parts = 0, []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        text = line.strip()
        if text.startswith("#"):
            if ADDRESS.search(text):
                yield number, text
            continue
        start = start or number
        parts.append(text.removesuffix("\\").strip())
        if not text.endswith("\\"):
            if joined := " ".join(parts).strip():
                yield start, joined
            start, parts = 0, []
    if parts:
        yield start, " ".join(parts)


def members(groups: dict[str, list[str | dict[str, str]]], name: str) -> list[str]:
    """The requirements of a dependency group, those of included groups too."""
    found: list[str] = []
    for entry in groups[name]:
        found += [entry] if isinstance(entry, str) else members(groups, entry["include-group"])
    return found


def unmet(requirement: Requirement, lock: str, pins: Pins) -> list[str]:
    versions = pins.get(canonicalize_name(requirement.name))
    if not versions:
        return [f"pyproject.toml needs {requirement.name}, which requirements/{lock}.txt doesn't pin"]
    return [
        f"requirements/{lock}.txt pins {requirement.name} {version}, pyproject.toml asks for {requirement.specifier}"
        for version in sorted(versions)
        if not requirement.specifier.contains(version, prereleases=True)
    ]


if __name__ == "__main__":
    sys.exit(main())
