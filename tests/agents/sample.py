"""Agents that the tests bind by name, and that worker processes import."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time

from podium.agents.sdk import Context, agent, task

COLOUR_AT_IMPORT = os.environ.get("COLOUR")


@agent(capabilities=["arithmetic"], slots=2)
class Calculator:
    """Computes in processes of its own; its start has run in each of them."""

    def __init__(self) -> None:
        self.factor = 0

    async def start(self) -> None:
        self.factor = 2

    @task(cpu=True, capabilities=["doubling"])
    def double(self, number: int) -> int:
        return number * self.factor

    @task
    async def pid(self) -> int:
        return os.getpid()


@agent("reader", slots=3)
class Reader:
    @task
    async def read(self, path: str) -> str:
        return path


@task(cpu=True)
def worker_pid() -> int:
    return os.getpid()


@task(cpu=True)
def variable(name: str, context: Context) -> list[str | None]:
    print("the value isn't printed")
    return [os.environ.get(name), context.env.get(name), str(os.getpid()), COLOUR_AT_IMPORT, time.tzname[0]]


@task(cpu=True)
def repeat_aloud(text: str, context: Context) -> str:
    context.logger.info("given", header=text)
    context.progress(0.5, text)
    context.checkpoint({"text": text})
    context.publish({"text": text})
    if text.startswith("raise "):
        raise ValueError(text)
    return text


@task(cpu=True)
def enlarge_aside(text: str) -> str:
    return "x" * 70_000 + text


@task(cpu=True)
def die(how: str) -> None:
    print("a task's output")
    if how == "exit":
        os._exit(3)
    if how == "sys.exit":
        sys.exit(4)
    os.kill(os.getpid(), signal.SIGKILL if how == "kill" else signal.SIGSEGV)


@task(cpu=True)
def explode(size: int) -> None:
    raise ValueError("x" * size)


@task(cpu=True)
def unsendable() -> object:
    return object()


@task(cpu=True)
def speak(context: Context) -> dict[str, object]:
    context.progress(0.5, "half way")
    context.checkpoint({"page": 7})
    context.publish({"pages": 7})
    context.logger.info("read", pages=7)
    logging.getLogger("a.library").warning("careful")
    return {
        "attempt": context.attempt,
        "key": context.idempotency_key,
        "restored": context.restored,
        "has_deadline": context.deadline is not None,
    }


@task(cpu=True)
def spin(context: Context, heed: bool = True) -> int:
    context.progress(0.0, str(os.getpid()))
    while True:
        if heed:
            context.check_cancelled()
        time.sleep(0.001)


@task(cpu=True)
def leave_the_link(context: Context) -> None:
    """Close every file, the link to the host among them."""
    os.closerange(3, 64)


@task(cpu=True)
def with_child(context: Context) -> None:
    child = subprocess.Popen(["sleep", "600"])
    context.progress(0.0, str(child.pid))
    child.wait()


@task
def plain(name: str = "world") -> str:
    return f"hello {name}"
