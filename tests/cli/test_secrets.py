"""A secret's value is in no event, log, plan, output, explanation, history or database: all of them are searched."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.support import ID

VALUE = "s3cr3t-Zx81-of-the-token"
WORKFLOW = """
name: guarded
secrets:
  token: {description: of the API}
  key: {env: MY_KEY}
agents:
  callers: {type: calls, env: {API_KEY: "${secret.key}"}}
tasks:
  - {id: call, agent: callers, input: {header: "Bearer ${secret.token}", of: "${input.who}"}}
  - {id: worker, agent: callers, function: in_a_process, depends_on: [call], input: {key: "${secret.key}"}}
  - id: next
    agent_type: echo
    depends_on: [call, worker]
    input: {was: "${tasks.call.result}", and: "${tasks.worker.result}"}
  - {id: wrong, agent: callers, depends_on: [next], on_failure: continue, retries: 1,
     retry: {max_attempts: 2, initial_delay: 10ms}, input: {header: "${secret.token}"}}
"""
AGENTS = """
import logging
import os

from podium.agents.sdk import Context, task


@task
async def call(context: Context, header: str, of: str) -> dict:
    logging.getLogger("lib").warning("sent %s", header)
    context.logger.info("sent", header=header)
    context.progress(0.5, header)
    context.checkpoint({"header": header})
    return {"header": header, "of": of, "key": context.env["API_KEY"], header: 1}


@task(cpu=True)
def in_a_process(context: Context, key: str) -> list:
    context.logger.info("key", key=key)
    return [key, os.environ["API_KEY"], os.environ["API_KEY"] == key]


@task
async def wrong(header: str) -> None:
    raise ValueError(f"no access with {header}")
"""


@pytest.fixture
def guarded(here, monkeypatch):
    monkeypatch.setenv("PODIUM_SECRET_TOKEN", VALUE)
    monkeypatch.setenv("MY_KEY", f"{VALUE}-key")
    here.write("w.yaml", WORKFLOW)
    here.write("calls.py", AGENTS)
    return here


def files_with(folder: Path, value: str) -> list[str]:
    return [str(path) for path in folder.rglob("*") if path.is_file() and value.encode() in path.read_bytes()]


def test_nothing_that_is_kept_or_shown_has_the_value(guarded):
    here = guarded
    said = [here("run", "w.yaml", "--agents", "calls=calls.py:*", "--input", "who=${secret.token}", "--json"), here.err]
    found = ID.search("".join(said))
    assert found is not None
    execution = found[0]
    for command in ("status", "explain", "logs", "history"):
        said += [here(command, execution, "--json"), here.err]
        said += [here(command, execution), here.err]
    for command in ("plan", "validate"):
        said += [here(command, "w.yaml", "--json"), here(command, "w.yaml")]
    assert not [text for text in said if VALUE in text]
    assert not files_with(here.folder, VALUE)
    shown = here.json("status", execution)
    assert "[secret token]" in str(shown) or "[secret token]" in "".join(said)
    assert "Bearer [secret token]" in "".join(said)
    assert "no access with [secret token]" in "".join(said)
    # What the caller gave is text, though it looks like a secret.
    assert "${secret.token}" in "".join(said)


def test_a_secret_that_isnt_there_fails_the_task_and_is_named(guarded, monkeypatch):
    monkeypatch.delenv("PODIUM_SECRET_TOKEN")
    guarded("run", "w.yaml", "--agents", "calls=calls.py:*", "--input", "who=me", code=1)
    assert "doesn't know the secret 'token'" in " ".join((guarded.out + guarded.err).split())


def test_a_folder_of_secrets_is_a_setting(guarded, monkeypatch):
    monkeypatch.delenv("PODIUM_SECRET_TOKEN")
    (guarded.folder / "kept").mkdir()
    (guarded.folder / "kept" / "token").write_text(f"{VALUE}\n")
    guarded.write("podium.yaml", "secrets_folder: kept\n")
    guarded("run", "w.yaml", "--agents", "calls=calls.py:*", "--input", "who=me")
    assert files_with(guarded.folder, VALUE) == [str(guarded.folder / "kept" / "token")]
