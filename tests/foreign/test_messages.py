"""What strangers say, rightly, unusually and wrongly: each word of `docs/protocol.md` against a real orchestrator."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from podium.service.service import Service
from tests.docs_pages.markdown import page
from tests.foreign.support import STATUS, SUBMIT, Stranger, dead_letters, orchestrator, stranger, until

Trial = Callable[[Service, Stranger], Awaitable[None]]


def tried(tmp_path: Path, trial: Trial, **settings: Any) -> None:
    """Run a trial with an orchestrator and a stranger who is registered as an agent."""

    async def scenario() -> None:
        async with orchestrator(tmp_path, **settings) as service, stranger(service.url) as hand:
            assert (await hand.register())["notice"] == "REGISTERED"
            await trial(service, hand)

    asyncio.run(scenario())


async def still_works(hand: Stranger) -> None:
    """A task goes the whole way."""
    came = len(hand.tasks)
    task = await hand.submit(payload={"still": "here"})
    assignment = await hand.task(came)
    await hand.say("result", {"result": {"taskId": assignment["taskId"], "result": assignment["payload"]}})
    assert (await hand.end(task))["result"] == {"still": "here"}
    await hand.noticed("RESULT_CONFIRMED", taskId=assignment["taskId"], accepted=True)


# --- results ---------------------------------------------------------------------------------------------------------


def test_a_result_that_is_repeated_counts_once_and_is_confirmed_each_time(tmp_path: Path) -> None:
    async def trial(service: Service, hand: Stranger) -> None:
        task = await hand.submit()
        attempt = (await hand.task())["taskId"]
        for number in range(1, 4):  # as if the confirmation were lost
            await hand.say("result", {"result": {"taskId": attempt, "result": number}})
            await until(lambda: len(confirmations(hand, attempt)) == number)  # noqa: B023 - it is awaited here
        assert [said["accepted"] for said in confirmations(hand, attempt)] == [True, False, False] or all(
            said["accepted"] for said in confirmations(hand, attempt)
        )
        assert (await hand.end(task))["result"] == 1
        await still_works(hand)
        assert len(hand.events_of("TASK_COMPLETED")) == 2

    tried(tmp_path, trial)


def test_a_result_of_no_attempt_is_confirmed_as_not_accepted_and_set_aside(tmp_path: Path) -> None:
    async def trial(service: Service, hand: Stranger) -> None:
        for unknown in ("nonsense", "01a212e5-fbb6-7971-9da4-3f453f22ba87:0:task:1", "ü" * 300):
            await hand.say("result", {"result": {"taskId": unknown, "result": 1}})
            await hand.noticed("RESULT_CONFIRMED", taskId=unknown, accepted=False)
        await still_works(hand)
        letters = await dead_letters(service)
        assert [letter.subject for letter in letters] == ["mcp.agent.hand-1.result"] * 3

    tried(tmp_path, trial)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param('"\\ud83d"', id="half a character"),
        pytest.param("1e400", id="a number beyond all others"),
        pytest.param("[" * 5_000 + "]" * 5_000, id="nested too deeply"),
        pytest.param("[" * 900 + "]" * 900, id="nested deeply"),
        pytest.param("123456789012345678901234567890123456789", id="a very large integer"),
        pytest.param('{"": {"a\\u0000b": "\\u0000"}}', id="zero bytes"),
        pytest.param('{"a": 1, "a": 2}', id="a name twice"),
        pytest.param('"' + "ü" * 300_000 + '"', id="large"),
        pytest.param("-0.0", id="minus zero"),
    ],
)
def test_whatever_the_result_is_the_task_ends_and_all_goes_on(tmp_path: Path, text: str) -> None:
    async def trial(service: Service, hand: Stranger) -> None:
        task = await hand.submit()
        attempt = (await hand.task())["taskId"]
        later = await hand.submit(dependencies=[task])
        await hand.say("result", f'{{"result": {{"taskId": "{attempt}", "result": {text}}}}}'.encode())
        await hand.noticed("RESULT_CONFIRMED", taskId=attempt)
        result = await hand.end(task)
        if result["status"] == "COMPLETED":
            assert result["result"] == json.loads(text)
            assignment = await hand.task(1)
            assert assignment["payload"] == {"dependencyResults": [json.loads(text)]}
            await hand.say("result", {"result": {"taskId": assignment["taskId"]}})
            assert (await hand.end(later))["status"] == "COMPLETED"
        else:
            assert result["error"]["type"] in {"InvalidResult", "ResultError"}  # can't be read, or too deep to be kept
            assert (await hand.end(later))["status"] == "FAILED"
        await still_works(hand)

    tried(tmp_path, trial)


@pytest.mark.parametrize(
    ("said", "status", "error"),
    [
        ({"status": None, "result": [1], "error": None, "agentId": None, "executionId": None}, "COMPLETED", None),
        ({"status": "COMPLETED"}, "COMPLETED", None),
        ({"error": "words"}, "FAILED", {"message": "words", "type": "TaskError"}),
        ({"error": {"message": None, "type": None, "retryable": None}}, "FAILED", {"type": "TaskError"}),
        ({"status": "FAILED"}, "FAILED", {"type": "TaskError"}),
        ({"status": "TIMED_OUT", "error": {"message": "slow"}}, "FAILED", {"message": "slow"}),
        ({"status": "DONE"}, "FAILED", {"type": "InvalidResult"}),
        ({"status": "COMPLETED", "error": "but"}, "FAILED", {"type": "InvalidResult"}),
        ({"agentId": "another"}, "FAILED", {"type": "InvalidResult"}),
        ({"error": 17}, "FAILED", {"type": "InvalidResult"}),
    ],
)
def test_a_result_may_be_said_in_many_ways(tmp_path: Path, said: Any, status: str, error: Any) -> None:
    async def trial(service: Service, hand: Stranger) -> None:
        task = await hand.submit()
        attempt = (await hand.task())["taskId"]
        await hand.say("result", {"result": {"taskId": attempt, **said}, "more": {"of": "it"}})
        result = await hand.end(task)
        assert result["status"] == status
        assert (error or {}).items() <= result.get("error", {}).items()
        await hand.noticed("RESULT_CONFIRMED", taskId=attempt)
        if error and error.get("type") == "InvalidResult":
            await hand.noticed("ERROR", taskId=attempt, code=400)

    tried(tmp_path, trial)


def test_a_failure_is_tried_again_as_often_as_the_submission_says(tmp_path: Path) -> None:
    async def trial(service: Service, hand: Stranger) -> None:
        task = await hand.submit(retries=1)
        for number in (0, 1):
            assignment = await hand.task(number)
            assert assignment["attempt"] == number + 1
            await hand.say("result", {"result": {"taskId": assignment["taskId"], "error": f"no {number}"}})
        assert (await hand.end(task))["error"]["message"] == "no 1"
        assert hand.tasks[0]["idempotencyKey"] == hand.tasks[1]["idempotencyKey"]

    tried(tmp_path, trial)


# --- status and assignments ------------------------------------------------------------------------------------------


def test_a_registration_again_says_assignments_again_with_the_same_id(tmp_path: Path) -> None:
    async def trial(service: Service, hand: Stranger) -> None:
        await hand.submit()
        first = await hand.task()
        await hand.register()
        assert (await hand.task(1))["taskId"] == first["taskId"]
        await hand.register(incarnation="two")
        assert (await hand.task(2))["taskId"] != first["taskId"]

    tried(tmp_path, trial)


def test_progress_refusals_and_checkpoints(tmp_path: Path) -> None:
    async def trial(service: Service, hand: Stranger) -> None:
        task = await hand.submit()
        attempt = (await hand.task())["taskId"]
        nothing = {"agentId": None, "state": None, "refused": None, "checkpoint": None, "lastHeartbeat": None}
        await hand.say("status", {"status": {**nothing, "taskId": attempt, "progress": "0.4", "message": "on it"}})
        engine: Any = service.podium.engine
        await until(lambda: (engine.staffing.leases.get(attempt) or engine).fraction == 0.4)
        await hand.say("status", {"status": {"taskId": attempt, "checkpoint": {"chapter": 2}}})
        await until(lambda: hand.events_of("workflow.checkpoint_created"))
        await hand.say("status", {"status": {"taskId": attempt, "refused": True, "message": "no room"}})
        await hand.say("heartbeat", {"agentId": "hand-1"})  # heard of again: it may be given something
        again = await hand.task(1)
        assert again["taskId"] != attempt
        assert again["checkpoint"] == {"chapter": 2}
        await hand.say("result", {"result": {"taskId": again["taskId"]}})
        assert (await hand.end(task))["status"] == "COMPLETED"
        assert len(hand.events_of("workflow.checkpoint_created")) == 1, "null is no checkpoint"

    tried(tmp_path, trial)


def test_who_leaves_is_gone_and_asked_to_register_when_it_speaks_again(tmp_path: Path) -> None:
    async def trial(service: Service, hand: Stranger) -> None:
        await hand.say("status", {"status": {"state": "STOPPED"}, "incarnation": "nobody's"})
        await hand.noticed("REGISTER_AGAIN")
        assert service.link.knows("hand-1"), "another process can't take leave for it"
        await hand.say("status", {"status": {"state": "STOPPED"}, "incarnation": "one"})
        await until(lambda: not service.link.knows("hand-1"))
        hand.notices.clear()
        await hand.say("heartbeat", {"agentId": "hand-1", "metrics": {}, "incarnation": "one"})
        assert (await hand.noticed("REGISTER_AGAIN"))["incarnation"] == "one"
        await hand.register()
        await still_works(hand)

    tried(tmp_path, trial)


# --- unusual, and right ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "registration",
    [
        {"agentId": "a"},
        {
            "agentId": "a", "agentType": None, "capabilities": [], "version": None, "maxConcurrentTasks": None,
            "taskTypes": None, "incarnation": None, "location": None, "tags": None, "serviceTypes": None,
            "endpoint": None, "resources": None, "metadata": None, "protocol": None, "renews": None, "key": None,
            "signature": None, "somethingElse": {"deep": [None]},
        },
        {"agentId": "a", "maxConcurrentTasks": "4", "renews": "false", "resources": {"cpuCores": "2", "memoryMb": 1e3}},
        {"agentId": "a", "maxConcurrentTasks": 4.0, "metadata": {"größe": 10**40, "🦊": [1.5, None, True]}},
        {"agentId": "a", "version": "2.0–neu", "location": "Zürich", "capabilities": ["übersetzen"]},
    ],
)  # fmt: skip
@pytest.mark.parametrize("head", [{}, {"messageId": None, "timestamp": None}, {"messageId": 7, "timestamp": "now"},
                                  {"messageId": "x", "timestamp": 2**70}])  # fmt: skip
def test_unusual_registrations_that_are_legal_are_taken(registration: Any, head: Any) -> None:
    from podium.fleet import wire
    from podium.fleet.descriptor import descriptor_of
    from podium.fleet.translation import registration_of

    text = json.dumps({**head, "registration": registration})
    given = wire.decoded(text.encode(), wire.AgentRegistrationMessage).registration
    assert given.agent_id == "a"
    descriptor_of(registration_of(given, "x"), metadata=given.metadata, location=given.location)


def test_a_submission_with_nulls_and_texts_for_numbers_is_taken(tmp_path: Path) -> None:
    async def trial(service: Service, hand: Stranger) -> None:
        task: dict[str, Any] = {
            "taskId": None, "taskType": "do", "agentType": None, "payload": None, "priority": "75", "dependencies": [],
            "requiredCapabilities": None, "timeoutMs": "60000", "retries": None, "executionId": None,
            "checkpoint": None, "description": "somebody else's field",
        }  # fmt: skip
        said = {"messageId": "1", "timestamp": 1767225600000, "preferredAgentId": None, "notifySubject": None}
        answer = await hand.ask(SUBMIT, {**said, "task": task})
        assert "taskId" in answer, answer
        assignment = await hand.task()
        assert assignment["payload"] == {}
        assert assignment["timeoutMs"] == 60_000

    tried(tmp_path, trial)


def test_the_same_submission_twice_is_one_task_and_another_under_its_id_is_a_conflict(tmp_path: Path) -> None:
    async def trial(service: Service, hand: Stranger) -> None:
        one = {"task": {"taskType": "do", "taskId": "order-1", "payload": {"n": 1}}}
        answers = [await hand.ask(SUBMIT, one) for _ in range(3)]
        assert {answer["taskId"] for answer in answers} == {"order-1"}
        other = await hand.ask(SUBMIT, {"task": {"taskType": "do", "taskId": "order-1", "payload": {"n": 2}}})
        assert other["error"]["code"] == "CONFLICT"
        stands = await hand.ask(STATUS, {"taskId": "order-1"})
        assert stands["status"] == "running"
        assert (await hand.ask(STATUS, {"taskId": "order-2"}))["error"]["code"] == "NOT_FOUND"
        await still_works(hand)
        assert len(hand.tasks) == 2

    tried(tmp_path, trial)


def test_dependencies_priorities_and_a_preferred_agent(tmp_path: Path) -> None:
    async def trial(service: Service, hand: Stranger) -> None:
        async with stranger(service.url, "hand-2") as other:
            await other.register()
            inbox = other.bus.new_inbox()
            told = await other.bus.subscribe(inbox)
            first = await hand.ask(SUBMIT, {"task": {"taskType": "do"}, "preferredAgentId": "hand-2",
                                            "notifySubject": inbox})  # fmt: skip
            second = await hand.submit(dependencies=[first["taskId"]], payload={"own": 1}, priority="CRITICAL")
            lost = await hand.submit(dependencies=["never-submitted"])
            attempt = (await other.task())["taskId"]
            await other.say("result", {"result": {"taskId": attempt, "result": {"n": 7}}})
            assert json.loads((await told.next_msg(timeout=20)).data)["result"]["result"] == {"n": 7}
            assignments = await until(lambda: hand.tasks or other.tasks[1:])
            assert assignments[0]["payload"] == {"own": 1, "dependencyResults": [{"n": 7}]}
            assert (await hand.end(lost))["status"] == "FAILED"
            assert second not in hand.ends

    tried(tmp_path, trial)


# --- wrong -----------------------------------------------------------------------------------------------------------

NONSENSE: list[bytes] = [
    b"", b"null", b"[]", b'"text"', b"{", b"{}x", b"\x00\x01\xff", b'{"registration": 1}', b'{"task": []}',
    b'{"status": {"progress": 2}}', b'{"result": {}}', b'{"agentId": 7}', b"[" * 10_000, b'{"stream":"S","seq":7}',
]  # fmt: skip
SUBJECTS = {
    "mcp.agent.register": "register",
    "mcp.agent.hand-1.heartbeat": "heartbeat",
    "mcp.agent.hand-1.status": "status",
    "mcp.agent.hand-1.result": "result",
    SUBMIT: "submit",
    STATUS: "status",
}


@pytest.mark.parametrize("subject", SUBJECTS)
def test_what_is_malformed_is_answered_counted_told_and_set_aside_and_stops_nothing(
    tmp_path: Path, subject: str
) -> None:
    async def trial(service: Service, hand: Stranger) -> None:
        for number, nonsense in enumerate(NONSENSE, 1):
            answer = await hand.ask(subject, nonsense)
            if subject.endswith(".result"):  # the stream answers that it has it; the agent is told
                assert answer["stream"] == "PODIUM_RESULTS"
                await until(lambda: errors_told(hand) == number)  # noqa: B023 - it is awaited here
            else:
                assert answer["error"]["code"] == "INVALID_MESSAGE", (nonsense[:40], answer)
        counted = service.metrics.values("podium_malformed_messages_total")
        assert counted[(SUBJECTS[subject],)] == len(NONSENSE)
        await until(lambda: len(hand.events_of("SYSTEM_ERROR")) >= min(len(NONSENSE), 10))
        letters: list[Any] = []
        async with asyncio.timeout(20):
            while len(letters) < len(NONSENSE):
                letters = await dead_letters(service)
        assert sorted(letter.data for letter in letters) == sorted(NONSENSE)
        assert {letter.subject for letter in letters} == {subject}
        await still_works(hand)

    tried(tmp_path, trial)


def test_nobody_speaks_for_another_agent(tmp_path: Path) -> None:
    async def trial(service: Service, hand: Stranger) -> None:
        await hand.submit()
        attempt = (await hand.task())["taskId"]
        async with stranger(service.url, "thief") as thief:
            await thief.register()
            await thief.say("result", {"result": {"taskId": attempt, "result": "stolen"}})
            await thief.noticed("RESULT_CONFIRMED", taskId=attempt, accepted=False)
            await thief.say("heartbeat", {"agentId": "hand-1"})
            await thief.say("status", {"status": {"agentId": "hand-1", "state": "STOPPED"}})
            await until(lambda: errors_told(thief) == 2)
        await hand.say("result", {"result": {"taskId": attempt, "result": "mine"}})
        await hand.noticed("RESULT_CONFIRMED", taskId=attempt, accepted=True)

    tried(tmp_path, trial)


@pytest.mark.parametrize("agent_id", ["", "a.b", "*", ">", "a b", "ü", "x" * 129, None, 7, "mcp.agent.x"])
def test_ids_that_would_widen_a_subject_are_refused(tmp_path: Path, agent_id: Any) -> None:
    async def trial(service: Service, hand: Stranger) -> None:
        answer = await hand.ask("mcp.agent.register", {"registration": {"agentId": agent_id}})
        assert answer["error"]["code"] == "INVALID_MESSAGE"

    tried(tmp_path, trial)


# --- what everybody is told ------------------------------------------------------------------------------------------


def test_events_and_the_status_have_the_fields_that_the_page_shows(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with orchestrator(tmp_path) as service, stranger(service.url) as hand:
            await hand.register()
            await hand.submit()
            attempt = (await hand.task())["taskId"]
            await hand.say("status", {"status": {"taskId": attempt, "checkpoint": 1}})
            await hand.say("result", {"result": {"taskId": attempt}})
            await hand.submit(payload={"fails": True})
            second = (await hand.task(1))["taskId"]
            await hand.say("result", {"result": {"taskId": second, "error": {"type": "ValueError", "message": "no"}}})
            await hand.ask(SUBMIT, b"nonsense")
            await until(lambda: hand.events_of("TASK_FAILED") and hand.events_of("SYSTEM_ERROR"))
            health = await hand.ask("mcp.orchestrator.health", b"")
            await service.stop(0.0)
            seen = {event.get("eventType") or event["event"]: event for event in hand.events}
            shown = examples()
            for name, event in seen.items():
                assert event.keys() == shown[name].keys(), name
                if "payload" in event:
                    assert event["payload"].keys() == shown[name]["payload"].keys(), name
            missing = {
                "ORCHESTRATOR_STARTED",
                "ORCHESTRATOR_STOPPING",
                "AGENT_LOST",
            }  # before we listened, the bus ends, 300 s
            assert shown.keys() - seen.keys() <= missing
            assert health.keys() == {"messageId", "timestamp", "status"}
            assert health["status"]["agentCount"] == 1

    asyncio.run(scenario())


def examples() -> dict[str, Any]:
    blocks = re.findall(r"^<!-- example: (?:SystemEventMessage|event) -->\n```json\n(.*?)^```$",
                        page("protocol.md"), re.MULTILINE | re.DOTALL)  # fmt: skip
    found = [json.loads(block) for block in blocks]
    return {event.get("eventType") or event["event"]: event for event in found}


def confirmations(hand: Stranger, attempt: str) -> list[dict[str, Any]]:
    return [said for said in hand.notices if said["notice"] == "RESULT_CONFIRMED" and said["taskId"] == attempt]


def errors_told(hand: Stranger) -> int:
    return len([said for said in hand.notices if said["notice"] == "ERROR"])
