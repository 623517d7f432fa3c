"""`podium dev`: again at each save, whatever went wrong before, until Ctrl-C."""

from __future__ import annotations

import signal

from podium.cli.developing import included_files
from tests.cli.support import GATED, NOOP, eventually


def save(shell, name: str, content: str) -> None:
    (shell.folder / name).write_text(content, encoding="utf-8")


def counted(running, text: str) -> int:
    return sum(text in line for line in [*running.out, *running.err])


def until_counted(running, text: str, number: int) -> None:
    eventually(lambda: counted(running, text) >= number, f"{number} times {text!r} in {running.out} {running.err}")


def test_it_runs_again_at_each_save_and_goes_on_after_errors(shell):
    save(shell, "tiny.yaml", NOOP)
    dev = shell.start("dev", "tiny.yaml")
    until_counted(dev, "tiny.yaml ran to its end; it runs again", 1)

    save(shell, "tiny.yaml", "name: tiny\ntasks: 3\n")
    until_counted(dev, "podium dev: tiny.yaml has changed", 1)
    until_counted(dev, "wrong-type", 1)
    until_counted(dev, "tiny.yaml ended with code 2; it runs again", 1)

    (shell.folder / "tiny.yaml").unlink()
    until_counted(dev, "can't be read", 1)

    save(shell, "tiny.yaml", NOOP)
    until_counted(dev, "tiny.yaml ran to its end; it runs again", 2)
    dev.send(signal.SIGINT)
    assert dev.wait() == 0
    assert not (shell.folder / ".podium").exists()


def test_a_save_of_agents_code_stops_the_run_that_goes_on(shell):
    save(shell, "gated.yaml", GATED)
    dev = shell.start("dev", "gated.yaml", "--agents", "ledger.py")
    ledger = shell.folder / "ledger.txt"

    def begun(times: int) -> None:
        eventually(lambda: ledger.exists() and ledger.read_text().count("gate begun") >= times, f"begun {times} times")

    begun(1)
    code = (shell.folder / "ledger.py").read_text(encoding="utf-8")
    save(shell, "ledger.py", code + "\n# changed\n")
    until_counted(dev, "podium dev: ledger.py has changed", 1)
    begun(2)
    dev.send(signal.SIGTERM)
    assert dev.wait() == 0
    assert "gate passed" not in ledger.read_text()


def test_what_is_no_file_is_refused(here):
    assert "none.yaml is no file" in here.refused("dev", "none.yaml")


def test_what_a_workflow_includes_is_watched_as_far_as_it_can_be_read(tmp_path):
    (tmp_path / "main.yaml").write_text("name: m\ninclude: [parts/a.yaml, parts/missing.yaml]\n")
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "a.yaml").write_text("include: ../b.yaml")
    (tmp_path / "b.yaml").write_text("tasks: [")
    assert included_files(tmp_path / "main.yaml") == [tmp_path / "parts" / "a.yaml", tmp_path / "b.yaml"]
    assert included_files(tmp_path / "none.yaml") == []
