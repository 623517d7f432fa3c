"""`podium up` on PostgreSQL before all is as it should be: no database yet, no bus in common."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from podium.store.postgres.migrations import upgrade
from podium.testing.natsserver import binary_or_skip, nats_server
from podium.testing.postgresserver import PostgresServer, postgres_server
from tests.cli.support import Running, Shell

pytestmark = pytest.mark.xdist_group("first-replicas")
PORTS = ("--http", "127.0.0.1:0", "--metrics", "", "--nats", "127.0.0.1:0")


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    with postgres_server() as server:
        yield server


@pytest.fixture
def url(postgres: PostgresServer, request: pytest.FixtureRequest) -> str:
    made = postgres.create_database(f"first_{abs(hash(request.node.name))}")
    asyncio.run(upgrade(made))
    return made


def up(shell: Shell, url: str, *arguments: str) -> Running:
    binary_or_skip()
    return shell.start("up", "--json", *PORTS, *arguments, DATABASE_URL=url)


def test_a_database_that_is_not_there_yet_is_waited_for_and_a_stop_ends_the_wait(
    shell: Shell, postgres: PostgresServer, url: str
) -> None:
    postgres.stop()
    first, second = up(shell, url, "--data", "one"), up(shell, url, "--data", "two")
    first.until("can't be used yet")
    second.until("can't be used yet")
    second.send(signal.SIGTERM)
    assert second.wait() == 0, second
    postgres.start()
    first.until('"http"')
    first.send(signal.SIGTERM)
    assert first.wait() == 0, first


def test_a_bus_that_is_not_there_yet_is_waited_for_and_a_stop_ends_the_wait(
    shell: Shell, url: str, tmp_path: Path
) -> None:
    with nats_server(tmp_path / "nats") as server:
        server.stop()
        first, second = up(shell, url, "--bus", server.url), up(shell, url, "--bus", server.url)
        first.until("the bus can't be used yet")
        second.until("the bus can't be used yet")
        second.send(signal.SIGTERM)
        assert second.wait() == 0, second
        server.start()
        first.until('"http"')
        first.send(signal.SIGTERM)
        assert first.wait() == 0, first


def test_a_second_one_without_a_bus_is_told_what_several_need(shell: Shell, url: str) -> None:
    first = up(shell, url, "--data", "one")
    first.until('"http"')
    second = up(shell, url, "--data", "two")
    assert second.wait() != 0
    said = " ".join(" ".join(second.err).split())
    assert "a NATS server of its own" in said
    assert "--bus nats://" in said
    assert first.process.poll() is None


def test_one_with_a_server_of_its_own_is_killed_and_started_again_at_once(shell: Shell, url: str) -> None:
    first = up(shell, url, "--data", "one", "--agents", "podium.agents.builtin:Noop")
    first.until('"http"')
    first.send(signal.SIGKILL)
    first.wait()
    again = up(shell, url, "--data", "one", "--agents", "podium.agents.builtin:Noop")
    again.until('"http"')
    (shell.folder / "tiny.yaml").write_text("name: tiny\ntasks:\n  - {id: one, agent: noop}\n")
    ran = shell("run", "tiny.yaml", "--json", DATABASE_URL=url)
    assert json.loads("\n".join(ran.out))["status"] == "completed"


def test_a_password_in_the_database_s_url_is_shown_nowhere(shell: Shell, postgres: PostgresServer, url: str) -> None:
    name = url.rpartition("/")[2]
    first = up(shell, postgres.url(name, password="hush-hush"), "--data", "one")
    address = first.until('"http"').partition('"http":"')[2].partition('"')[0]
    document = httpx.get(f"http://{address}/health").text
    assert '"replica"' in document
    assert "hush-hush" not in document + "".join([*first.out, *first.err])
