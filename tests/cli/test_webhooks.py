"""A kill -9 of the owner between an end's commit and its delivery: it is told all the same, under one id."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest

from podium.cli.main import main
from tests.cli.conftest import Here
from tests.cli.support import Shell, environment, eventually
from tests.webhooks.receiver import SECRET, Receiver

WEBHOOKS = """
webhook_allow_private: true
webhooks:
  - {{url: "{url}", secret: "{secret}"}}
"""
AT_THE_SAVE = """
import os, signal, sys
from podium.cli.main import main
from podium.webhooks.outbox import Outbox

save = Outbox.save

async def killed(self, shard, position):
    if self._found.get(shard) and "before" in sys.argv:
        os.kill(os.getpid(), signal.SIGKILL)  # the end is committed, and nothing is known of its delivery
    done = await save(self, shard, position)
    if self._boxes.of[shard].items:
        os.kill(os.getpid(), signal.SIGKILL)  # it is stored, and nothing was sent
    return done

Outbox.save = killed
main(["run", "noop.yaml"])
"""


def configured(shell: Shell, receiver: Receiver) -> None:
    (shell.folder / "podium.yaml").write_text(WEBHOOKS.format(url=receiver.url, secret=SECRET))


@pytest.mark.parametrize("when", ["before it is stored", "after it is stored"])
def test_of_what_wasnt_sent_yet_the_next_owner_learns_from_the_log(shell: Shell, here: Here, when: str) -> None:
    with Receiver() as receiver:
        configured(shell, receiver)
        ended = subprocess.run(
            [sys.executable, "-c", AT_THE_SAVE, *when.split()], cwd=shell.folder, env=environment(), capture_output=True
        )
        assert ended.returncode == -signal.SIGKILL
        assert not receiver.told
        (row,) = here.json("ps", "--all")
        here("run", "fails.yaml", code=1)
        shell.held()  # an orchestrator that stays, should that one have ended first
        eventually(lambda: len(receiver.told) == 2)
        told = {each.json["execution_id"]: each for each in receiver.told}
        assert told[row["execution_id"]].json["event"] == "completed"
        eventually(lambda: here.json("webhooks", "list", "--state", "pending") == [])
        listed = here.json("webhooks", "list")
        assert {each["state"] for each in listed} == {"delivered"}
        assert {each["id"] for each in listed} == {each.id for each in receiver.told}


def test_what_was_being_sent_is_sent_again_under_the_same_id(shell: Shell, here: Here) -> None:
    with Receiver() as receiver:
        configured(shell, receiver)
        receiver.gate.clear()
        owner = shell.start("run", "noop.yaml")
        eventually(lambda: receiver.told)
        os.kill(owner.process.pid, signal.SIGKILL)
        owner.wait()
        (pending,) = here.json("webhooks", "list", "--state", "pending")
        receiver.gate.set()
        here("run", "fails.yaml", code=1)
        shell.held()  # likewise
        eventually(lambda: len({each.id for each in receiver.told}) == 2 and len(receiver.told) > 2)
        eventually(lambda: here.json("webhooks", "list", "--state", "pending") == [])
        ids = [each.id for each in receiver.told]
        assert len(set(ids)) == 2
        assert ids.count(pending["id"]) >= 2


def test_the_commands(shell: Shell, here: Here) -> None:
    with Receiver() as receiver:
        assert here("webhooks", "list", code=None) == ""
        configured(shell, receiver)
        here("run", "noop.yaml")
        (listed,) = here.json("webhooks", "list")
        assert listed["state"] == "delivered"
        assert (listed["url"], listed["attempts"], listed["status"]) == (receiver.url, 1, 200)
        assert listed["id"] in here("webhooks", "list")
        assert "as soon as an orchestrator runs" in here("webhooks", "retry", listed["id"][:13])
        assert here.json("webhooks", "list")[0]["state"] == "pending"
        owner = shell.held()
        eventually(lambda: len(receiver.told) == 2)
        assert here.json("webhooks", "retry", listed["id"]) == {"retried": listed["id"], "now": True}
        eventually(lambda: len(receiver.told) == 3)
        assert len({each.id for each in receiver.told}) == 1
        shell.open_gate()
        owner.wait()
        assert "no delivery nothing" in here.refused("webhooks", "retry", "nothing")
        assert "given-up" in here.refused("webhooks", "list", "--state", "else")


def test_a_test_is_sent(shell: Shell, here: Here) -> None:
    assert "names no webhooks" in here.refused("webhooks", "send-test")
    with Receiver() as receiver:
        configured(shell, receiver)
        (tested,) = here.json("webhooks", "send-test")
        assert tested == {"url": receiver.url, "taken": True, "status": 200, "error": None}
        assert receiver.told[-1].json["event"] == "test"
        receiver.told[-1].check_signature()
        receiver.statuses = [500]
        assert "HTTP 500" in here("webhooks", "send-test", receiver.url, code=1)
        here.refused("webhooks", "send-test", "https://another.example")


def test_no_command_shows_a_secret(here: Here) -> None:
    secret = "the-secret-of-all"
    here.write("podium.yaml", WEBHOOKS.format(url="http://user:pass-word@127.0.0.1:9/x?key=to-ken", secret=secret))
    said = []
    for command in (["doctor", "--json"], ["doctor"], ["run", "noop.yaml"], ["webhooks", "list"], ["--debug", "ps"]):
        main(command)
        said += [*here.read()]
    assert main(["webhooks", "send-test"]) == 1
    said += here.read()
    here.write("podium.yaml", f"webhooks: [{{url: 'ftp://x', secret: '{secret}'}}]")
    assert main(["ps"]) == 2
    said += here.read()
    for hidden in (secret, "pass-word", "to-ken"):
        assert hidden not in "".join(said)


def test_webhooks_in_the_environment_are_json(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    with Receiver() as receiver:
        hook = {"url": receiver.url, "secret": SECRET, "events": ["failed"]}
        monkeypatch.setenv("PODIUM_WEBHOOKS", json.dumps([hook]))
        monkeypatch.setenv("PODIUM_WEBHOOK_ALLOW_PRIVATE", "true")
        here("run", "fails.yaml", code=1)
        here("run", "noop.yaml")
        assert [each.json["event"] for each in receiver.told] == ["failed"]
        monkeypatch.setenv("PODIUM_WEBHOOKS", json.dumps([hook])[:-3])
        said = here.refused("ps")
        assert "JSON list" in said
        assert SECRET not in said
