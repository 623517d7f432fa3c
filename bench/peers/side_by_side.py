"""Runs Podium and its peers in turns, each run a fresh process in an empty folder, and compares what they found.

A peer that can't be run is named with the reason, and the others go on. A run that took long isn't repeated, and when
the time that the whole may take is up no new one is begun: what there is by then is said, with how many runs it is.
"""

from __future__ import annotations

import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from statistics import median
from typing import Any

from msgspec import Struct

from bench.figures import percentile
from bench.machine import Machine
from bench.peers.catalogue import PEERS, WORKLOADS, Numbers, Peer, work_of
from bench.peers.redis_server import redis_server
from bench.peers.script import LATENCIES, MARK, SECONDS
from bench.printing import number

ROOT = Path(__file__).resolve().parents[2]
PEERS_PYTHON = ROOT / ".venv-peers" / "bin" / "python"
RUN_SECONDS = 120.0  # after which a run is ended
LONG_SECONDS = 12.0  # a run of a peer that takes longer isn't repeated
BEGIN = "<!-- peers: begin (written by `python -m bench --peers --write docs/benchmarks.md`) -->"
END = "<!-- peers: end -->"
MORE_IS_BETTER = "W1"


class Compared(Struct, frozen=True, kw_only=True):
    """What one contender did of one workload: steps a second for W1, else seconds; or why there is nothing."""

    workload: str
    peer: Peer
    numbers: Numbers = ()
    runs: tuple[float, ...] = ()
    missing: str = ""

    @property
    def value(self) -> float:
        """The median of the runs."""
        return median(self.runs)

    @property
    def a_piece(self) -> float:
        """Seconds a step or a task, so that sizes that differ can be compared; of W3 and W4 the seconds."""
        if self.workload == MORE_IS_BETTER:
            return 1 / self.value
        many = self.workload.startswith(("W2", "R1"))
        return self.value / work_of(self.workload, self.numbers) if many else self.value


class Failed(Exception):
    """A run that gave no answer, with why."""


def compare(
    folder: Path, runs: int, seconds: float, say: Callable[[str], None], peers: Sequence[Peer] = PEERS
) -> tuple[list[Compared], dict[str, str]]:
    """Measure everybody in turns; return the figures and each one's version."""
    until = time.monotonic() + seconds
    found: dict[tuple[str, str], list[float]] = {}
    missing: dict[tuple[str, str], str] = {}
    longs: set[tuple[str, str]] = set()
    with ExitStack() as stack:
        redis, no_redis = "", ""
        if any(peer.redis for peer in peers):
            try:
                redis = stack.enter_context(redis_server(folder))
            except (OSError, RuntimeError) as error:
                no_redis = str(error)
        for run in range(runs):
            for workload in WORKLOADS:
                for peer in peers:
                    key = (workload, peer.name)
                    if workload not in peer.sizes or key in missing or key in longs:
                        continue
                    if peer.redis and no_redis:
                        missing[key] = no_redis
                        continue
                    if time.monotonic() > until:
                        missing.update({} if key in found else {key: "the time was up"})
                        continue
                    begin = time.monotonic()
                    try:
                        value = _measured(peer, workload, folder, redis)
                    except Failed as error:
                        missing[key] = str(error)
                        say(f"  {workload:<10} {peer.name:<10} run {run + 1}: {error}")
                        continue
                    found.setdefault(key, []).append(value)
                    say(f"  {workload:<10} {peer.name:<10} run {run + 1}: {_shown(workload, value)}")
                    if not peer.is_podium and time.monotonic() - begin > LONG_SECONDS:
                        longs.add(key)
    compared = [_compared(workload, peer, found, missing) for workload in WORKLOADS for peer in peers]
    return compared, {peer.name: version_of(peer) for peer in peers}


def _compared(
    workload: str, peer: Peer, found: dict[tuple[str, str], list[float]], missing: dict[tuple[str, str], str]
) -> Compared:
    key = (workload, peer.name)
    why = "" if key in found else missing.get(key, "not measured: too slow for this size")
    numbers = peer.sizes.get(workload, ())
    return Compared(workload=workload, peer=peer, numbers=numbers, runs=tuple(found.get(key, ())), missing=why)


def _python(peer: Peer) -> Path:
    return Path(sys.executable) if peer.is_podium else PEERS_PYTHON


def version_of(peer: Peer) -> str:
    """Return the version of a contender that its environment has."""
    script = f"from importlib.metadata import version; print(version({peer.package!r}))"
    try:
        done = subprocess.run([str(_python(peer)), "-c", script], capture_output=True, text=True)
    except OSError:
        return "not installed"
    return done.stdout.strip() if done.returncode == 0 else "not installed"


# --- one run -------------------------------------------------------------------------------------------------------


def _measured(peer: Peer, workload: str, folder: Path, redis: str) -> float:
    """Return steps a second for W1, else seconds. Raises Failed."""
    numbers = peer.sizes[workload]
    until_answer, answer = answered(peer, workload.split()[0], numbers, folder, {"BENCH_REDIS": redis})
    if workload == "W4":
        return until_answer
    if LATENCIES in answer:
        return percentile(sorted(answer[LATENCIES]), 50)
    return work_of(workload, numbers) / answer[SECONDS] if workload == "W1" else float(answer[SECONDS])


def answered(
    peer: Peer, workload: str, numbers: Numbers, folder: Path, servers: Mapping[str, str]
) -> tuple[float, dict[str, Any]]:
    """Run a contender's script in an empty folder; return the seconds until it answered, and the answer.

    `servers` are the variables that say where its servers are. Raises Failed.
    """
    python = _python(peer)
    if not python.exists():
        raise Failed("not run: there is no .venv-peers; `make ready-peers` makes it")
    command = [str(python), "-m", f"bench.peers.{peer.script}", workload, *map(str, numbers)]
    own = Path(tempfile.mkdtemp(prefix=f"{peer.script}-", dir=folder)).resolve()
    try:
        return _answered(command, own, servers)
    finally:
        shutil.rmtree(own, ignore_errors=True)


def _answered(command: list[str], folder: Path, servers: Mapping[str, str]) -> tuple[float, dict[str, Any]]:
    environment = {
        **os.environ, **servers, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'src'}", "HOME": str(folder),
        "DO_NOT_TRACK": "1", "PREFECT_HOME": str(folder / "prefect"), "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_LOGGING_LEVEL": "ERROR", "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "90",
    }  # fmt: skip
    begin = time.perf_counter()
    process = subprocess.Popen(
        command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip
    lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    reader = threading.Thread(target=_read, args=(process, lines), daemon=True)
    reader.start()
    said: list[str] = []
    try:
        while True:
            line = lines.get(timeout=max(begin + RUN_SECONDS - time.perf_counter(), 0.001))
            if line is None:
                raise Failed(f"it ended without an answer: {_why(said)}"[:200])
            if line.startswith(MARK):
                return time.perf_counter() - begin, json.loads(line.removeprefix(MARK))
            said += [line.strip()] if line.strip() else []
    except queue.Empty:
        raise Failed(f"no answer within {RUN_SECONDS:.0f} s") from None
    finally:
        _end(process)
        reader.join()
        if process.stdout is not None:
            process.stdout.close()


def _why(said: list[str]) -> str:
    """Return the last line that looks like an error, or else the last."""
    return next((line for line in reversed(said) if "Error" in line), said[-1] if said else "it said nothing")


def _read(process: subprocess.Popen[str], lines: queue.SimpleQueue[str | None]) -> None:
    for line in process.stdout or ():
        lines.put(line)
    lines.put(None)


def _end(process: subprocess.Popen[str], patience: float = 15.0) -> None:
    """Let a script that has answered end by itself, with its workers; then end what is left of its session."""
    with suppress(subprocess.TimeoutExpired):
        process.wait(patience)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


# --- how it is shown -----------------------------------------------------------------------------------------------


def _shown(workload: str, value: float) -> str:
    if workload == MORE_IS_BETTER:
        return f"{number(value)} steps/s"
    return f"{number(value * 1_000)} ms" if workload == "W3" else f"{number(value)} s"


def times_podium(figure: Compared, figures: Iterable[Compared]) -> float | None:
    """Return how many times Podium's time a contender took, a step or task; above 1 Podium was faster."""
    ours = next((f for f in figures if f.workload == figure.workload and f.peer.is_podium), None)
    if ours is None or not ours.runs or not figure.runs:
        return None
    return figure.a_piece / ours.a_piece


def line(figure: Compared, figures: Sequence[Compared]) -> str:
    """Return a figure as a line."""
    if figure.missing:
        return f"  {figure.peer.name:<12}{figure.missing}"
    times = times_podium(figure, figures)
    compared = f"  {number(times)} × Podium's time" if times is not None and not figure.peer.is_podium else ""
    return f"  {figure.peer.name:<12}{_shown(figure.workload, figure.value):>16}{compared}"


def table(machine: Machine, figures: Sequence[Compared], versions: dict[str, str]) -> str:
    """Return the comparison as the Markdown between the markers."""
    rows = [
        f"Measured {machine.date}, everybody in turns. *Times Podium's* compares the time of one step or task: above 1 "
        "Podium was faster.",
        "",
        "| | who | durable | median | spread | runs | of | times Podium's |",
        "|---|---|---|---|---|---|---|---|",
        *(_row(figure, figures) for figure in figures),
        "",
        "| who | version | what is promised when a step is done |",
        "|---|---|---|",
        *(f"| {peer.name} | {versions.get(peer.name, '')} | {peer.promise} |" for peer in _peers(figures)),
        "",
        "Measured with:",
        "",
        *(f"- {text}" for text in machine.lines()),
    ]
    return "\n".join(rows)


def _peers(figures: Sequence[Compared]) -> list[Peer]:
    return list({figure.peer.name: figure.peer for figure in figures}.values())


def _row(figure: Compared, figures: Sequence[Compared]) -> str:
    peer, workload = figure.peer, figure.workload
    durable = "yes" if peer.durable else "no"
    if figure.missing:
        return f"| {workload} | {peer.name} | {durable} | {figure.missing.replace('|', '/')} | | | | |"
    times = times_podium(figure, figures)
    spread = f"{_shown(workload, min(figure.runs))} – {_shown(workload, max(figure.runs))}"
    name = f"**{peer.name}**" if peer.is_podium else peer.name
    shown = "" if peer.is_podium or times is None else number(times)
    return (
        f"| {workload} | {name} | {durable} | {_shown(workload, figure.value)} | {spread} | {len(figure.runs)} "
        f"| {_of(figure)} | {shown} |"
    )


def _of(figure: Compared) -> str:
    match figure.workload, figure.numbers:
        case "W1", (workflows, length, at_once):
            return f"{workflows} workflows of {length}, {at_once} at a time"
        case "W3", (count,):
            return f"{count} times, p50"
        case _, (count,):
            return f"{count:,} tasks"
        case _:
            return ""
