"""The comparison without any peer: what is said of one that can't be run, and that Podium's own script answers."""

import sys
from pathlib import Path

import pytest

from bench.machine import describe
from bench.peers import side_by_side
from bench.peers.catalogue import LARGE_FAN, PEERS, REMOTE, SMALL_FAN, WORKLOADS, Peer
from bench.peers.script import windows
from bench.peers.side_by_side import Compared, compare, line, table, times_podium

TINY = {"W1": (2, 2, 2), SMALL_FAN: (3,), "W3": (2,), "W4": (), REMOTE: (3,)}
PODIUM = Peer(
    name="Podium", script="with_podium", package="podium", promise="all", durable=True, sizes=TINY, is_podium=True
)


def test_podium_answers_and_a_peer_that_is_not_there_is_named_with_the_reason(tmp_path, monkeypatch):
    monkeypatch.setattr(side_by_side, "PEERS_PYTHON", tmp_path / "none")
    absent = Peer(name="Absent", script="with_absent", package="absent", promise="none", durable=False, sizes=TINY)
    figures, versions = compare(tmp_path, 1, 120.0, lambda text: None, (PODIUM, absent))
    ours = {figure.workload: figure for figure in figures if figure.peer.is_podium}
    theirs = {figure.workload: figure for figure in figures if not figure.peer.is_podium}
    assert set(ours) == set(theirs) == set(WORKLOADS)
    for workload in TINY:
        assert ours[workload].value > 0
        assert "there is no .venv-peers" in theirs[workload].missing
        assert "there is no .venv-peers" in line(theirs[workload], figures)
    assert "too slow for this size" in theirs[LARGE_FAN].missing
    assert versions["Absent"] == "not installed"
    text = table(describe(tmp_path), figures, versions)
    assert "| W1 | **Podium** | yes | " in text
    assert "| W1 | Absent | no | not run: there is no .venv-peers" in text


def test_a_script_that_ends_without_an_answer_is_named_with_its_error(tmp_path, monkeypatch):
    monkeypatch.setattr(side_by_side, "PEERS_PYTHON", Path(sys.executable))
    broken = Peer(name="Broken", script="with_none", package="none", promise="", durable=False, sizes={"W4": ()})
    figures, _ = compare(tmp_path, 1, 60.0, lambda text: None, (broken,))
    (cold,) = [figure for figure in figures if figure.workload == "W4"]
    assert "No module named bench.peers.with_none" in cold.missing
    assert not list(tmp_path.iterdir())


def test_without_redis_who_needs_it_is_left_out_and_the_reason_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name: None)
    needing = Peer(
        name="Needing", script="with_celery", package="celery", promise="", durable=False, sizes={"W4": ()}, redis=True
    )
    figures, _ = compare(tmp_path, 1, 60.0, lambda text: None, (needing,))
    assert any("there is no redis-server here" in figure.missing for figure in figures)


def test_sizes_that_differ_are_compared_a_step():
    ours = Compared(workload="W1", peer=PODIUM, numbers=(200, 10, 100), runs=(4_000.0,))
    slow = Compared(workload="W1", peer=PEERS[1], numbers=(5, 10, 5), runs=(40.0,))
    assert times_podium(slow, [ours, slow]) == pytest.approx(100)
    ours = Compared(workload=SMALL_FAN, peer=PODIUM, numbers=(1_000,), runs=(1.0,))
    slow = Compared(workload=SMALL_FAN, peer=PEERS[1], numbers=(100,), runs=(1.0,))
    assert times_podium(slow, [ours, slow]) == pytest.approx(10)


def test_every_peer_says_what_it_promises_and_has_a_script():
    folder = side_by_side.ROOT / "bench" / "peers"
    for peer in PEERS:
        assert (folder / f"{peer.script}.py").is_file()
        assert peer.promise
        assert set(peer.sizes) <= set(WORKLOADS)


def test_so_many_things_are_under_way_and_the_oldest_is_awaited_first():
    begun: list[int] = []
    ended: list[int] = []
    most: list[int] = []

    def begin():
        begun.append(len(begun))
        most.append(len(begun) - len(ended))
        return begun[-1]

    windows(begin, ended.append, 7, 3)
    assert ended == begun == list(range(7))
    assert max(most) == 3


def test_the_peers_lock_file_pins_by_hash_and_names_no_address():
    text = (side_by_side.ROOT / "requirements" / "peers.txt").read_text(encoding="utf-8")
    assert "://" not in text
    pins = text.replace("\\\n", " ").splitlines()
    assert len(pins) > 50
    assert all("==" in pin and "--hash=sha256:" in pin for pin in pins)
