"""The agents of one process: made as wanted, reached by a call, drained together."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import pytest

from podium.agents.binding import resolve
from podium.agents.crew import Crew
from podium.agents.local import LocalAgents
from podium.agents.logs import LogRelay
from podium.agents.sdk import function_agent, task
from podium.agents.threads import Threads
from podium.exceptions import AgentBindingError
from podium.fleet.messages import Cancel, Failed, Left, LogLine, Registration, Succeeded
from podium.workflow.model import Task, Workflow
from tests.agents.support import AWAIT_SECONDS, Lines, Mailbox, assignment


def agents_of(mailbox: Mailbox, *types: str) -> LocalAgents:
    bindings = {type: definition for type, (_, definition) in resolve(types).items()}
    return LocalAgents(bindings, mailbox, Lines(), renews=False)


def test_it_grows_to_the_wanted_count_and_never_shrinks():
    async def main() -> None:
        mailbox = Mailbox(confirm=False)
        agents = agents_of(mailbox, "noop", "echo")
        await asyncio.gather(agents.ensure("noop", 2), agents.ensure("noop", 3), agents.ensure("echo"))
        await agents.ensure("noop", 1)
        assert sorted(agents.hosts) == ["echo-1", "noop-1", "noop-2", "noop-3"]
        assert len({message.incarnation for message in mailbox.of(Registration)}) == 4
        with pytest.raises(AgentBindingError, match="agent type 'fail' has no code behind it; bound are echo, noop"):
            await agents.ensure("fail")
        agents.bind({"fail": resolve(["fail"])["fail"][1]})
        await agents.ensure("fail")
        agents.send("nobody", Cancel("a1", "lost"))
        agents.send("noop-2", assignment(arguments={"any": 1}))
        assert bytes((await mailbox.first(Succeeded)).value) == b"null"
        assert agents.stuck == ()
        await agents.stop()
        await agents.stop()
        assert len(mailbox.of(Left)) == 5
        await agents.ensure("noop", 9)
        assert len(agents.hosts) == 5

    asyncio.run(main())


def test_all_drain_together_and_the_shared_thread_renews_them():
    async def main() -> None:
        mailbox = Mailbox(confirm=False)
        bindings = {"sleep": resolve(["sleep"])["sleep"][1]}
        agents = LocalAgents(bindings, mailbox, Lines())
        await agents.ensure("sleep", 2)
        assert all(message.renews for message in mailbox.of(Registration))
        agents.send("sleep-1", assignment(arguments={"seconds": 600}))
        await asyncio.gather(agents.drain(0.0), agents.drain(5.0))
        assert {message.agent for message in mailbox.of(Left)} == {"sleep-1", "sleep-2"}

    asyncio.run(main())


def test_a_flood_of_lines_from_a_thread_drops_its_oldest_and_says_so():
    sink = Lines()
    posted: list[Callable[[], None]] = []
    relay = LogRelay(sink, posted.append, limit=3)
    for number in range(5):
        relay.write(LogLine("e", "t", "a", number, "info", str(number)), at_home=False)
    relay.write(LogLine("e", "t", "a", 5, "info", "5"), at_home=True)
    assert len(posted) == 1
    posted[0]()
    assert sink.texts == [
        "warning: (3 lines before this one were dropped: they came too fast)",
        "info: 3",
        "info: 4",
        "info: 5",
    ]
    relay.write(LogLine("e", "t", "a", 6, "info", "6"), at_home=True)
    assert sink.texts[-1] == "info: 6"


def test_threads_are_used_again_and_outlive_what_raises(caplog):
    threads = Threads("pool", 2)
    names = set()
    for _ in range(20):
        done = threading.Event()

        def work(done: threading.Event = done) -> None:
            names.add(threading.current_thread().name)
            done.set()
            raise SystemExit

        threads.submit(work)
        assert done.wait(AWAIT_SECONDS)
    assert names <= {"pool thread 1", "pool thread 2"}
    threads.close()
    threads.close()
    assert "raised in pool thread" in caplog.text


def test_a_thread_that_outlives_its_loop_is_heard_by_nobody():
    go_on, ended = threading.Event(), threading.Event()

    @task(name="work")
    def slow() -> None:
        go_on.wait(AWAIT_SECONDS)
        ended.set()

    async def main(mailbox: Mailbox) -> None:
        agents = LocalAgents({"slow": function_agent("slow", [slow])}, mailbox, Lines(), renews=False)
        await agents.ensure("slow")
        agents.send("slow-1", assignment())
        await agents.stop()

    mailbox = Mailbox(confirm=False)
    asyncio.run(main(mailbox))
    go_on.set()
    assert ended.wait(AWAIT_SECONDS)
    assert not mailbox.of(Succeeded)
    assert not mailbox.of(Failed)


def test_a_submission_looks_at_the_tasks_of_its_workflow_once(monkeypatch: pytest.MonkeyPatch):
    asked: list[str] = []

    def noted(workflow: Workflow, task: Task) -> str:
        asked.append(task.id)
        return task.agent_type

    async def main() -> None:
        agents, crew = agents_of(Mailbox(confirm=False)), Crew()
        crew.lead(agents)
        workflow = Workflow(name="w", tasks=tuple(Task(id=f"t{at}", agent_type="noop") for at in range(5)))
        assert list(await crew.staff(workflow)) == ["noop"]
        assert list(agents.hosts) == ["noop-1"]
        await agents.stop()

    monkeypatch.setattr(Workflow, "agent_type_of", noted)
    asyncio.run(main())
    assert asked == ["t0", "t1", "t2", "t3", "t4"]
