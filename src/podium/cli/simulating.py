"""`podium simulate`: a user's own workflow on virtual time, many times, under every fault.

It says what broke, with the seed and the smallest run that shows it again; of tasks whose own code runs it names those
that aren't idempotent. The simulator is `podium.testing.simulation`; this module only asks it and prints.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from podium.cli.firing import Firings
from podium.cli.manners import Manners
from podium.cli.run import Agents, Input, InputJson

if TYPE_CHECKING:
    from podium.testing.faults import Faults
    from podium.testing.shrinking import Trial
    from podium.testing.simulation import Report
    from podium.workflow.model import Workflow

RUNS = 100
_LINE_SECONDS = 1.0


def simulate(
    manners: Manners,
    file: Annotated[str, typer.Argument(metavar="FILE", help="The workflow, a YAML file.")],
    seed: Annotated[int | None, typer.Option("--seed", min=0, help="Where to begin. [default: 0]")] = None,
    runs: Annotated[int | None, typer.Option("--runs", min=1, help=f"How many seeds. [default: {RUNS}]")] = None,
    faults: Annotated[str, typer.Option("--faults", metavar="all|none|NAME,…", help="Which faults strike.")] = "all",
    without: Annotated[str | None, typer.Option("--without", metavar="NAME,…", help="Faults that don't.")] = None,
    strikes: Annotated[int | None, typer.Option("--strikes", min=0, help="At most so many strike in a run.")] = None,
    replicas: Annotated[
        int | None,
        typer.Option("--replicas", min=1, max=8, metavar="N", help="So many orchestrators share the store."),
    ] = None,
    agents: Agents = None,
    real: Annotated[bool, typer.Option("--real", help="Run the agents' own code, found as `podium run` does.")] = False,
    given: Input = None,
    input_json: InputJson = None,
    save_test: Annotated[
        str | None, typer.Option("--save-test", metavar="PATH", help="Write a failing run as a pytest test.")
    ] = None,
    transcript: Annotated[bool, typer.Option("--transcript", help="Print what happened, step by step.")] = False,
) -> int:
    """Run a workflow many times on virtual time, with everything going wrong that can.

    Agents die, results are lost, doubled and late, commits have an unknown outcome, clocks jump. Without --agents or
    --real the agents are scripted; with them your own task functions run, and a task that isn't idempotent is named.
    Exit code 1: an invariant is broken, or a task isn't idempotent.
    """
    from podium.cli.printing import print_json

    simulator = _Simulator(manners, file, faults, without, strikes, replicas, agents, real, given, input_json)
    if runs is None:
        runs = 1 if transcript else RUNS
    with _quiet_stdout(manners.json):
        outcome = simulator.run_all(seed or 0, runs, transcript)
        if outcome.failed is not None:
            simulator.make_smaller(outcome)
            if save_test is not None:
                simulator.save(outcome, save_test)
        elif simulator.firings is not None:
            from podium.testing.scheduleworld import simulate_schedule

            simulator.firings.simulate(simulate_schedule, seed or 0, runs, faults=faults != "none")
    if manners.json:
        print_json(outcome.document(simulator, transcript))
    else:
        _print(outcome, simulator, transcript)
        if outcome.failed is None and simulator.firings is not None:
            simulator.firings.say(_quoted(file))
    misfired = simulator.firings is not None and simulator.firings.failed is not None
    return 1 if misfired or outcome.failed is not None else 0


class _Outcome:
    """What the runs came to."""

    def __init__(self) -> None:
        self.runs = 0
        self.executions = 0
        self.faults: Counter[str] = Counter()
        self.ended: Counter[str] = Counter()
        self.ran_again: Counter[str] = Counter()
        self.not_idempotent: dict[str, str] = {}
        self.seconds = 0.0
        self.last: Report | None = None
        self.failed: Report | None = None  # the first that did, then the smallest like it
        self.shown_again = ""
        self.saved = ""

    def add(self, report: Report) -> None:
        self.runs += 1
        self.last = report
        self.executions += len(report.executions)
        self.faults.update(report.faults)
        self.ended.update(report.executions.values())
        self.ran_again.update(report.ran_again)
        for found in report.repeats:
            self.not_idempotent.setdefault(found.task.partition("[")[0], str(found))
        if not report.sound and self.failed is None:
            self.failed = report

    @property
    def rate(self) -> float:
        return self.runs / self.seconds if self.seconds else 0.0

    def document(self, simulator: _Simulator, transcript: bool) -> dict[str, Any]:
        document: dict[str, Any] = {
            "sound": self.failed is None,
            "runs": self.runs,
            "executions": self.executions,
            "ended": dict(self.ended.most_common()),
            "faults": dict(self.faults.most_common()),
            "runs_per_second": round(self.rate, 1),
            "ran_again": dict(self.ran_again.most_common()),
            "not_idempotent": self.not_idempotent,
        }
        if self.failed is not None:
            document["failed"] = {
                "seed": self.failed.seed,
                "broken": self.failed.broken,
                "faults": self.failed.faults,
                "again": self.shown_again,
                "transcript": self.failed.transcript,
            }
        elif transcript and self.last is not None:
            document["transcript"] = self.last.transcript
        if self.saved:
            document["test"] = self.saved
        if self.failed is None and simulator.firings is not None:
            document["schedule"] = simulator.firings.document()
            document["sound"] &= simulator.firings.failed is None
        return document


class _Simulator:
    """What is simulated, and how."""

    def __init__(
        self, manners: Manners, file: str, faults: str, without: str | None, strikes: int | None,
        replicas: int | None, agents: Sequence[str] | None, real: bool, given: Sequence[str] | None,
        input_json: str | None,
    ) -> None:  # fmt: skip
        import msgspec

        from podium.api.loading import workflow_from
        from podium.cli.given import execution_input
        from podium.testing.shrinking import Trial
        from podium.workflow.inputs import check_input
        from podium.workflow.validation import validate

        self._file = file
        self.workflow: Workflow = validate(workflow_from(file))
        value = execution_input(self.workflow, given or (), input_json)
        check_input(self.workflow, value)
        self.given = msgspec.json.encode(value)
        self.agents = list(agents or ()) if agents or real else None
        self.code = _code(self.workflow, self.agents, manners) if self.agents is not None else None
        self.faults = _faults(faults)
        self.replicas = replicas
        self.firings = Firings(self.workflow.schedule) if self.workflow.schedule is not None else None
        self.trial: Trial = Trial(_names(without), strikes)
        self._manners = manners
        self._options = _repeated(
            faults=None if faults == "all" else faults,
            replicas=str(replicas) if replicas else None,
            agents=agents,
            real=real,
            input=given,
            input_json=input_json,
        )

    def run_all(self, first: int, runs: int, transcript: bool) -> _Outcome:
        """Run the seeds in order, until one breaks an invariant; a task that isn't idempotent ends them, too."""
        outcome, began = _Outcome(), time.perf_counter()
        said = began
        for seed in range(first, first + runs):
            outcome.add(self.run(seed, self.trial))
            now = time.perf_counter()
            outcome.seconds = now - began
            if outcome.failed is not None:
                break
            if now - said >= _LINE_SECONDS and not self._manners.json:
                said = now
                _say_progress(outcome, runs)
        return outcome

    def run(self, seed: int, trial: Trial) -> Report:
        """Run one seed."""
        from podium.testing.simulation import simulate as simulated

        return simulated(
            self.workflow, seed, self.faults, given=self.given, code=self.code, without=trial.without,
            strikes=trial.strikes, replicas=self.replicas,
        )  # fmt: skip

    def make_smaller(self, outcome: _Outcome) -> None:
        """Shrink the failing run, and say how it is shown again."""
        from podium.testing.shrinking import shrunk

        failed = outcome.failed
        assert failed is not None
        self.trial, outcome.failed = shrunk(lambda trial: self.run(failed.seed, trial), failed, self.trial)
        words = ["podium simulate", _quoted(self._file), f"--seed {failed.seed}", *self._options]
        if self.trial.without:
            words.append(f"--without {','.join(self.trial.without)}")
        if self.trial.strikes is not None:
            words.append(f"--strikes {self.trial.strikes}")
        outcome.shown_again = " ".join([*words, "--transcript"])

    def save(self, outcome: _Outcome, path: str) -> None:
        """Write the failing run as a test."""
        from podium.exceptions import InvalidInputError
        from podium.testing.savedtest import saved_test

        failed, target = outcome.failed, Path(path)
        assert failed is not None
        text = saved_test(
            target, Path(self._file).read_text(encoding="utf-8"), failed.seed, self.faults, self.trial, self.given,
            self.agents, failed.problems, self.replicas,
        )  # fmt: skip
        try:
            target.write_text(text, encoding="utf-8")
        except OSError as error:
            raise InvalidInputError(f"--save-test {path} can't be written: {error.strerror or error}") from error
        outcome.saved = path


def _code(workflow: Workflow, agents: Sequence[str], manners: Manners) -> Mapping[str, Any]:
    from podium.testing.code import code_behind

    return code_behind(workflow, agents, manners.settings().agents)


def _faults(text: str) -> Faults | None:
    """Return the faults that are asked for; None for all, from which each run draws its own."""
    from podium.testing.faults import NO_FAULTS, named_faults

    if text == "all":
        return None
    return NO_FAULTS if text == "none" else named_faults(_names(text))


def _names(text: str | None) -> tuple[str, ...]:
    """Return names of faults. Raises InvalidInputError for one that there isn't."""
    from podium.exceptions import InvalidInputError
    from podium.testing.faults import Faults
    from podium.workflow.problems import did_you_mean

    names = tuple(name.strip().replace("-", "_") for name in (text or "").split(",") if name.strip())
    for name in names:
        if name not in Faults.__struct_fields__:
            hint = did_you_mean(name, Faults.__struct_fields__) or f"there are {', '.join(Faults.__struct_fields__)}"
            raise InvalidInputError(f"there is no fault {name!r}; {hint}")
    return names


def _repeated(**options: Any) -> list[str]:
    """Return the options that a run is shown again with, as they were given."""
    words = []
    for name, value in options.items():
        shown = f"--{name.replace('_', '-')}"
        if value is True:
            words.append(shown)
        elif isinstance(value, str):
            words.append(f"{shown} {_quoted(value)}")
        elif value:
            words += [f"{shown} {_quoted(each)}" for each in value]
    return words


def _quoted(text: str) -> str:
    import shlex

    return shlex.quote(text)


@contextmanager
def _quiet_stdout(wanted: bool) -> Iterator[None]:
    """Keep what tasks print out of the JSON."""
    kept = sys.stdout
    if wanted:
        sys.stdout = sys.stderr
    try:
        yield
    finally:
        sys.stdout = kept


# --- what people read ----------------------------------------------------------------------------------------------


def _say_progress(outcome: _Outcome, runs: int) -> None:
    from podium.cli.printing import complain

    strikes = sum(outcome.faults.values())
    complain(f"{outcome.runs:,} of {runs:,} runs, {strikes:,} faults, {outcome.rate:.0f} runs/s, all sound")


def _print(outcome: _Outcome, simulator: _Simulator, transcript: bool) -> None:
    from podium.cli.printing import say, wrapped

    strikes = sum(outcome.faults.values())
    ended = ", ".join(f"{count:,} {status.lower()}" for status, count in outcome.ended.most_common())
    say(f"{outcome.runs:,} runs of {simulator.workflow.name}, {outcome.rate:.0f} a second")
    say(wrapped(f"{outcome.executions:,} executions: {ended or 'none'}"))
    each = ", ".join(f"{kind} {count:,}" for kind, count in outcome.faults.most_common())
    say(wrapped(f"{strikes:,} faults struck{': ' + each if each else ''}"))
    if outcome.ran_again:
        again = ", ".join(f"{task} ({count:,} times)" for task, count in outcome.ran_again.most_common())
        say(wrapped(f"run again with the same key, so must be idempotent: {again}"))
    failed = outcome.failed
    if failed is None:
        say("sound: every invariant held" + (", every task that ran again was idempotent" if simulator.code else ""))
        if transcript and outcome.last is not None:
            _print_transcript(outcome.last)
        return
    _print_failed(failed, outcome)


def _print_failed(failed: Report, outcome: _Outcome) -> None:
    from podium.cli.printing import painted, say, wrapped

    words = "an invariant is broken" if failed.broken else "a task isn't idempotent"
    say(painted(f"seed {failed.seed}: {words}", "red"))
    for problem in failed.problems:
        say(wrapped(f"  {problem}", "    "))
    kinds = ", ".join(f"{kind} {count}" for kind, count in failed.faults.items()) or "no fault at all"
    say(wrapped(f"smallest run that shows it: {kinds}"))
    _print_transcript(failed)
    say(f"show it again:\n  {outcome.shown_again}")
    if outcome.saved:
        say(f"as a test: {outcome.saved}; run it with: pytest {outcome.saved}")


def _print_transcript(report: Report) -> None:
    from podium.cli.printing import cut, say, width

    say("what happened, by virtual seconds:")
    for at, what in report.transcript:
        say(cut(f"{at:11.3f}  {what}", width()))
