"""`python -m bench [NAME …]`: runs the workloads and prints their figures. It tunes nothing: a user gets the same."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bench.figures import FULL, QUICK, Figure, Setup, Workload
from bench.growth import growth
from bench.machine import Machine, describe
from bench.peers import side_by_side
from bench.peers.catalogue import WORKLOADS as PEERS_WORKLOADS
from bench.printing import BEGIN, END, POSTGRES_BEGIN, POSTGRES_END, as_json, line, rewrite, table
from bench.workloads import WORKLOADS, replicas

LEAST_RUNS = 3
PEERS_RUNS = 3
PEERS_SECONDS = 500.0  # after which no run of a peer is begun


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and write what was asked for. A figure that isn't what is asked is named, and is no error."""
    parser = _parser()
    given = parser.parse_args(arguments)
    if given.names == ["growth"] and not given.peers:
        return _growth(given)
    if given.peers and not given.names:
        return _peers(given, parser)
    chosen = [w for w in WORKLOADS if not given.names or w.name in {name.upper() for name in given.names}]
    unknown = [name for name in given.names if name.upper() not in {w.name for w in WORKLOADS}]
    if unknown:
        parser.error(f"no workload {', '.join(unknown)}; there are {', '.join(w.name for w in WORKLOADS)}")
    if given.runs < LEAST_RUNS:
        parser.error(f"--runs must be at least {LEAST_RUNS}: the median of fewer says nothing")
    if given.peers and not any(w.name == replicas.STEPS.name for w in chosen):
        parser.error("--peers is for P1, or without names for the comparison on SQLite")
    if given.peers and not side_by_side.PEERS_PYTHON.exists():
        parser.error("there is no .venv-peers; `make ready-peers` makes it")
    on_postgres = chosen == list(replicas.WORKLOADS)
    if given.write and (given.quick or not (on_postgres or len(chosen) == len(WORKLOADS))):
        parser.error("--write wants all workloads, or P1 to P6, at their full size")

    given.folder.mkdir(parents=True, exist_ok=True)
    machine = describe(given.folder)
    print("\n".join(machine.lines()))
    figures: list[Figure] = []
    for workload in chosen:
        print(f"\n{workload.name}  {workload.title}", flush=True)
        found = _measured(workload, given)
        figures += found
        print("\n".join(line(figure, found) for figure in found), flush=True)
    if given.json:
        given.json.write_bytes(as_json(machine, given.runs, figures))
    if given.write:
        markers = (POSTGRES_BEGIN, POSTGRES_END) if on_postgres else (BEGIN, END)
        rewrite(given.write, table(machine, given.runs, figures), markers)
    missed = [figure for figure in figures if figure.holds is False]
    if missed and not given.quick:
        print(f"\nnot what is asked: {', '.join(f'{f.workload} {f.name}' for f in missed)}")
    return 0


def _peers(given: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    """Podium and its peers in turns: not more than ten minutes."""
    if given.quick:
        parser.error("--peers has sizes of its own")
    folder, machine = _begun(given)
    try:
        figures, versions = side_by_side.compare(folder, min(given.runs, PEERS_RUNS), PEERS_SECONDS, print)
    finally:
        shutil.rmtree(folder)
    for workload, title in PEERS_WORKLOADS.items():
        of_it = [figure for figure in figures if figure.workload == workload]
        print("\n".join([f"\n{workload}  {title}", *(side_by_side.line(figure, of_it) for figure in of_it)]))
    if given.write:
        text = side_by_side.table(machine, figures, versions)
        rewrite(given.write, text, (side_by_side.BEGIN, side_by_side.END))
    return 0


def _growth(given: argparse.Namespace) -> int:
    """Cost by size: tasks of one execution, executions of one process."""
    folder, machine = _begun(given)
    try:
        curves = growth.measure(folder, growth.QUICK_SECONDS if given.quick else growth.FULL_SECONDS, print)
    finally:
        shutil.rmtree(folder)
    print(growth.table(machine, curves))
    if given.write:
        growth.draw_all(given.write.parent / "growth", curves)
        rewrite(given.write, growth.table(machine, curves), (growth.BEGIN, growth.END))
    return 0


def _begun(given: argparse.Namespace) -> tuple[Path, Machine]:
    given.folder.mkdir(parents=True, exist_ok=True)
    machine = describe(given.folder)
    print("\n".join(machine.lines()), flush=True)
    return Path(tempfile.mkdtemp(dir=given.folder)).resolve(), machine


def _measured(workload: Workload, given: argparse.Namespace) -> list[Figure]:
    folder = Path(tempfile.mkdtemp(prefix=f"{workload.name}-", dir=given.folder)).resolve()
    try:
        return workload.measure(
            Setup(size=QUICK if given.quick else FULL, runs=given.runs, folder=folder, peers=given.peers)
        )
    finally:
        shutil.rmtree(folder)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"{', '.join(w.name for w in WORKLOADS)}; default: all; or: growth"
    )
    parser.add_argument(
        "--peers",
        action="store_true",
        help="Podium and its peers side by side (make bench-peers); with P1: those on its PostgreSQL",
    )
    parser.add_argument("--runs", type=int, default=5, help="how often each is repeated after its warm-up (default: 5)")
    parser.add_argument("--quick", action="store_true", help="smaller: to see whether something broke, not for figures")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every run of every figure")
    parser.add_argument("--write", type=Path, metavar="FILE", help="rewrite the table between the markers of a page")
    parser.add_argument(
        "--folder", type=Path, default=Path("reports/bench"), help="where the files are written: on the disk to measure"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
