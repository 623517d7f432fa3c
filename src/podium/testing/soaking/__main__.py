"""`python -m podium.testing.soaking --minutes 60`: the exit code is 1 when something was lost, twice or stuck."""

from __future__ import annotations

import argparse
import asyncio
import random
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from podium.testing.soaking.conducting import Soak, write


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the long run that the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m podium.testing.soaking", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seconds", type=float, default=None, help="instead of minutes")
    parser.add_argument("--seed", type=int, default=None, help="of the faults and the load; a new one without it")
    parser.add_argument("--every", type=float, default=5.0, help="seconds from fault to fault")
    parser.add_argument("--at-once", type=int, default=4, help="faults at most")
    parser.add_argument("--rate", type=float, default=4.0, help="executions a second")
    parser.add_argument("--report", type=Path, default=None, help="where the report goes as JSON")
    parser.add_argument("--keep", action="store_true", help="keep the folder with everything that was said")
    given = parser.parse_args(arguments)
    seed = given.seed if given.seed is not None else random.SystemRandom().randrange(10**6, 10**9)
    folder = Path(tempfile.mkdtemp(prefix="podium-soak-"))
    seconds = given.minutes * 60 if given.seconds is None else given.seconds
    _say(f"seed {seed}, {seconds:.0f} s, in {folder}")
    soak = Soak(
        folder,
        seed=seed,
        seconds=seconds,
        every_seconds=given.every,
        at_once=given.at_once,
        a_second=given.rate,
        say=_say,
    )
    result = None
    try:
        result = asyncio.run(soak.run())
    finally:
        keep = given.keep or result is None or not result.sound
        _leave(soak, folder, keep)
    if given.report is not None:
        write(result, given.report)
    if keep:
        write(result, folder / "report.json")
        _say(f"everything that was said is in {folder}")
    _say(str(result))
    return 0 if result.sound else 1


def _leave(soak: Soak, folder: Path, keep: bool) -> None:
    """Keep the last words of every process, or nothing."""
    if not keep:
        shutil.rmtree(folder, ignore_errors=True)
        return
    for process in soak.stage.everyone:
        (folder / f"{process.name}.log").write_text("\n".join(process.said) + "\n")


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
