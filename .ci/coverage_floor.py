"""Holds the coverage of the suite against the floors of pyproject.toml ([tool.podium.coverage]).

`coverage_floor.py REPORT.json` reads the report of `coverage json`; pure rooms have a higher floor than the whole,
since nothing keeps a pure rule from being tested. Ends with 1 when a floor isn't reached.
"""

import json
import sys
import tomllib
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


def main(report: Path) -> int:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["podium"]["coverage"]
    measured: dict[str, Any] = json.loads(report.read_text(encoding="utf-8"))["files"]
    files = {name: found for name, found in measured.items() if name.startswith("src/podium/")}  # tests make copies
    pure = {
        name: found
        for name, found in files.items()
        if matches(name, settings["pure"]) and not matches(name, settings["shell"])
    }
    reached = [
        reaches("pure rooms", pure, settings["pure_floor"]),
        reaches("the whole", files, settings["whole_floor"]),
    ]
    return 0 if all(reached) else 1


def matches(name: str, globs: list[str]) -> bool:
    return any(fnmatch(name, glob) for glob in globs)


def reaches(what: str, files: dict[str, Any], floor: float) -> bool:
    """Prints the share of statements that ran and, when it is under the floor, where most of the others are."""
    statements: int = sum(found["summary"]["num_statements"] for found in files.values())
    covered: int = sum(found["summary"]["covered_lines"] for found in files.values())
    if not statements:
        print(f"coverage of {what}: nothing to measure yet")
        return True
    share = 100 * covered / statements
    enough = share >= floor
    verdict = "at least" if enough else "LESS THAN"
    print(f"coverage of {what}: {share:.1f} % of {statements} statements, {verdict} the floor of {floor} %")
    if not enough:
        by_missing = sorted(files.items(), key=lambda item: -item[1]["summary"]["missing_lines"])
        for name, found in by_missing[:15]:
            if found["summary"]["missing_lines"]:
                lines = ", ".join(str(line) for line in found["missing_lines"][:12])
                print(f"  {found['summary']['percent_covered']:5.1f} %  {name}: not run: {lines} …")
    return enough


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: coverage_floor.py REPORT.json")
    sys.exit(main(Path(sys.argv[1])))
