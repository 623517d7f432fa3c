"""The peers beside P1: what they answer is compared run by run, and they really do the work on PostgreSQL."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from msgspec.structs import replace

from bench.__main__ import main
from bench.figures import TINY
from bench.peers import on_postgres, side_by_side
from bench.peers.catalogue import ON_POSTGRES
from bench.peers.on_postgres import Beside
from bench.peers.side_by_side import PEERS_PYTHON, ROOT, Failed
from bench.printing import POSTGRES_BEGIN, POSTGRES_END
from podium.testing.postgresserver import PostgresServer

SIZE = replace(TINY, workflows=5, steps=3, at_once=3)
RECORDED = {
    "dbos": "SELECT count(*) FROM dbos.operation_outputs",
    "procrastinate": "SELECT count(*) FROM procrastinate_jobs WHERE status = 'succeeded'",
}
INSTALL_SECONDS = 240


@pytest.fixture(scope="session")
def peers_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The peers' interpreter: that of `make ready-peers`, or else a new one from the same lock file."""
    if PEERS_PYTHON.exists():
        return PEERS_PYTHON
    folder = tmp_path_factory.mktemp("peers") / "venv"
    python, uv = folder / "bin" / "python", str(ROOT / ".venv" / "bin" / "uv")
    lock = str(ROOT / "requirements" / "peers.txt")
    commands = ([uv, "venv", str(folder)], [uv, "pip", "sync", "--python", str(python), "--require-hashes", lock])
    for command in commands:
        done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_SECONDS)
        if done.returncode:
            (pytest.fail if os.environ.get("CI") else pytest.skip)(f"not run: no peers: {done.stderr[-500:]}")
    return python


@pytest.mark.slow
@pytest.mark.xdist_group("postgres")
@pytest.mark.parametrize("peer", ON_POSTGRES, ids=lambda peer: peer.name)
def test_a_peer_does_the_steps_and_they_are_in_the_database(
    peer, peers_python, podium_postgres: PostgresServer, tmp_path, monkeypatch
):
    monkeypatch.setattr(side_by_side, "PEERS_PYTHON", peers_python)
    said: list[str] = []
    beside = Beside(tmp_path, SIZE, said.append, [peer])
    database = f"peer_{peer.script}"
    beside.run(peer, podium_postgres.create_database(database))
    assert said == []
    times, theirs = beside.figures("P1", [100.0])
    assert theirs.value > 0
    assert times.value == pytest.approx(100.0 / theirs.value)
    assert int(podium_postgres.execute(RECORDED[peer.package], database)) >= SIZE.workflows * SIZE.steps
    assert not list(tmp_path.iterdir())
    podium_postgres.drop_database(database)


def test_a_ratio_is_of_runs_that_followed_one_another(tmp_path, monkeypatch):
    seconds = iter([0.15, 0.3])
    monkeypatch.setattr(on_postgres, "answered", lambda *_: (1.0, {"seconds": next(seconds)}))
    beside = Beside(tmp_path, SIZE, print, ON_POSTGRES[:1])
    for _ in range(2):
        beside.run(ON_POSTGRES[0], "postgresql://")
    times, theirs = beside.figures("P1", [1_000.0, 2_000.0])
    assert theirs.runs == pytest.approx((100.0, 50.0))
    assert times.runs == pytest.approx((10.0, 40.0))
    assert times.name == "durable steps to those of DBOS (aim: 20)"


def test_a_peer_that_fails_is_named_with_the_reason_and_left_out(tmp_path, monkeypatch):
    def failing(peer, *_):
        if peer.name == "DBOS":
            raise Failed("it ended without an answer")
        return 1.0, {"seconds": 0.5}

    monkeypatch.setattr(on_postgres, "answered", failing)
    said: list[str] = []
    beside = Beside(tmp_path, SIZE, said.append)
    for peer in beside.left:
        beside.run(peer, "postgresql://")
    assert said == ["  DBOS: it ended without an answer"]
    assert [peer.name for peer in beside.left] == ["Procrastinate", "Procrastinate by locks"]
    assert not any("DBOS" in figure.name for figure in beside.figures("P1", [1.0]))


def test_every_peer_says_what_it_promises_and_has_a_script():
    for peer in ON_POSTGRES:
        assert (ROOT / "bench" / "peers" / f"{peer.script}.py").is_file()
        assert peer.promise
        assert peer.durable


def test_without_their_environment_they_are_refused_at_once(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(side_by_side, "PEERS_PYTHON", tmp_path / "none")
    with pytest.raises(SystemExit):
        main(["P1", "--peers"])
    assert "`make ready-peers` makes it" in capsys.readouterr().err


def test_other_workloads_have_no_peers_there(capsys):
    with pytest.raises(SystemExit):
        main(["P2", "--peers"])
    assert "--peers is for P1" in capsys.readouterr().err


def test_the_page_has_a_place_for_the_figures_of_postgres():
    page = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    assert page.count(POSTGRES_BEGIN) == page.count(POSTGRES_END) == 1
    assert page.index(POSTGRES_BEGIN) < page.index(POSTGRES_END)
