"""`podium doctor` asks the bus that the settings name: a real server, one that isn't there, none."""

import json
import socket
import subprocess
import sysconfig
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from podium.cli.main import main

DEADLINE_SECONDS = 20.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A NATS server with JetStream that knows a user; its URL, with the password."""
    folder = tmp_path_factory.mktemp("nats")
    binary = Path(sysconfig.get_path("scripts")) / "nats-server"
    if not binary.exists():
        pytest.skip("not run: no nats-server")
    arguments = ["-a", "127.0.0.1", "-p", "-1", "-js", "-sd", str(folder), "--user", "me", "--pass", "hunter2"]
    process = subprocess.Popen([str(binary), *arguments, "--ports_file_dir", str(folder)], stderr=subprocess.DEVNULL)
    try:
        until = time.monotonic() + DEADLINE_SECONDS
        while not (ports := list(folder.glob("*.ports"))):
            assert process.poll() is None
            assert time.monotonic() < until
            time.sleep(0.01)
        (address,) = json.loads(ports[0].read_text())["nats"]
        yield address.replace("nats://", "nats://me:hunter2@")
    finally:
        process.terminate()
        process.wait(DEADLINE_SECONDS)


@pytest.fixture
def doctor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    for name in ("PODIUM_BUS", "NATS_URL", "KAFKA_BOOTSTRAP_SERVERS", "REDIS_STREAMS_URL"):
        monkeypatch.delenv(name, raising=False)

    def call(*arguments: str, code: int = 0) -> str:
        assert main(["doctor", *arguments]) == code
        captured = capsys.readouterr()
        return captured.out + captured.err

    return call


def test_the_bus_of_the_settings_is_asked_and_its_password_not_shown(doctor, server, monkeypatch) -> None:
    monkeypatch.setenv("NATS_URL", server)
    text = doctor()
    assert "hunter2" not in text
    assert "bus             NATS 2." in text
    assert "Podium can't enforce it" in " ".join(text.split())
    assert max(map(len, text.splitlines())) <= 80
    document = json.loads(doctor("--json"))["durability"]
    assert document["bus"]["replicas"] == 1
    assert document["bus_error"] == ""


def test_a_bus_that_is_not_there_is_said_and_the_rest_too(doctor, monkeypatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
    monkeypatch.setenv("PODIUM_BUS", f"nats://me:hunter2@127.0.0.1:{port}")
    text = doctor()
    assert f"bus             not known: NATS at 127.0.0.1:{port} can't be reached" in text
    assert "process kill    store: nothing that was acknowledged is lost" in text
    assert "hunter2" not in text


def test_a_wrong_password_is_said_without_the_password(doctor, server, monkeypatch) -> None:
    monkeypatch.setenv("PODIUM_BUS", server.replace("hunter2", "hunter3"))
    text = doctor()
    assert "can't be reached: " in text
    assert "hunter" not in text


def test_without_a_bus_it_is_said_what_there_will_be(doctor) -> None:
    document = json.loads(doctor("--json"))["durability"]
    assert document["bus"] is None
    assert "podium up" in document["bus_error"]


def test_a_bus_in_memory_promises_nothing(doctor, monkeypatch) -> None:
    monkeypatch.setenv("PODIUM_BUS", "memory://")
    document = json.loads(doctor("--json"))["durability"]
    assert "gone" in document["bus"]["process_kill"]
    assert document["bus"]["notes"] == []


def test_a_bus_that_podium_does_not_know_yet_is_named(doctor, monkeypatch) -> None:
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "k:9092")
    assert "kafka:// comes with a later version" in " ".join(doctor().split())


def test_two_buses_are_refused(doctor, monkeypatch) -> None:
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "k:9092")
    monkeypatch.setenv("NATS_URL", "nats://a")
    assert "are both set" in " ".join(doctor(code=2).split())
