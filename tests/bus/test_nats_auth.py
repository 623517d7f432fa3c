"""With authentication on, a real NATS server lets each agent say what is its own to say, and nothing else."""

from __future__ import annotations

import asyncio
import base64
import stat
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import nats.errors
import pytest
from nats.aio.client import Client

from podium.bus.names import HEALTH, REGISTER, SUBMIT, SYSTEM_EVENT, TASK_RESULTS, TASK_STATUS, is_inbox
from podium.bus.nats import NatsSettings, NatsTransport
from podium.bus.nats_auth import ISSUED_FILE, KEYS_FILE, Authority, Kind, authority_folder
from podium.bus.nats_credentials import inbox_prefix_for
from podium.bus.nats_jwt import EVERYTHING, claims_of, user_jwt
from podium.bus.nats_server import EmbeddedNats
from podium.bus.nkeys import Credentials, KeyPair, Role, parse_credentials
from podium.bus.transport import Happening, Stream
from podium.clock import SECOND, SystemClock
from podium.exceptions import ConflictError, InvalidInputError, RegistrationConflictError, SettingsError
from tests.bus.secured_server import DEADLINE_SECONDS, SecuredServer, secured_server

NOW_US = SystemClock().now_us()
Act = Callable[[Client], Awaitable[Any]]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredServer]:
    folder = tmp_path_factory.mktemp("nats")
    with secured_server(folder, Authority.open(folder / "auth", NOW_US)) as running:
        yield running


@pytest.fixture(scope="module")
def agent(server: SecuredServer) -> Credentials:
    return server.authority.issue(("a",), Kind.AGENT, NOW_US)


@pytest.fixture(scope="module")
def client(server: SecuredServer) -> Credentials:
    return server.authority.issue(("shop",), Kind.CLIENT, NOW_US)


def publishes(subject: str, reply: str = "") -> Act:
    return lambda connection: connection.publish(subject, b"{}", reply=reply)


def hears(subject: str, queue: str = "") -> Act:
    return lambda connection: connection.subscribe(subject, queue=queue)


def refusals(server: SecuredServer, credentials: Credentials, acts: dict[str, Act]) -> dict[str, bool]:
    async def tried() -> dict[str, bool]:
        async with server.connected(credentials) as connection:
            return {name: await connection.refused(act) for name, act in acts.items()}

    return asyncio.run(tried())


# --- what is allowed, and what isn't --------------------------------------------------------------------------------

AGENT_SPEAKS = (
    "mcp.agent.a.register", "mcp.agent.a.result", "mcp.agent.a.status", "mcp.agent.a.heartbeat", REGISTER, HEALTH,
)  # fmt: skip
AGENT_HEARS = ("mcp.agent.a.task", "mcp.agent.a.status", "_INBOX_a.>", "_INBOX_a.x.*", SYSTEM_EVENT)
CLIENT_SPEAKS = (SUBMIT, TASK_STATUS, HEALTH)
CLIENT_HEARS = (SYSTEM_EVENT, TASK_RESULTS, "mcp.orchestrator.task.t1.result", "_INBOX_shop.>")

SUBJECTS = (
    *("mcp.agent.b.register", "mcp.agent.b.result", "mcp.agent.b.status", "mcp.agent.b.heartbeat", "mcp.agent.b.task"),
    *("mcp.agent.a.task", "mcp.agent.a.other", "mcp.agent.a.result.more", "mcp.agent.A.result", "mcp.agent.aa.result"),
    *("mcp.orchestrator.task.cancel", "mcp.orchestrator.task.t1.result", "podium.bus.topic.normal", "podium.dead.x"),
    *("podium.event.workflow.execution_started", "_INBOX.x.y", "_INBOX_b.x", "$JS.API.INFO", "$JS.API.STREAM.NAMES"),
    *("$JS.API.STREAM.PURGE.PODIUM_RESULTS", "$JS.ACK.PODIUM_RESULTS.x.1.1.1.1.0", "$SYS.REQ.SERVER.PING", "$KV.a.b"),
    *(SUBMIT, TASK_STATUS, SYSTEM_EVENT, *AGENT_SPEAKS),
)
PATTERNS = (
    *(">", "*", "mcp.>", "mcp.agent.>", "mcp.agent.*.task", "mcp.agent.*.result", "mcp.agent.a.>", "mcp.agent.a.*"),
    *("mcp.agent.b.task", "mcp.agent.b.status", "mcp.agent.a.result", REGISTER, SUBMIT, "mcp.orchestrator.>"),
    *("$JS.API.>", "$JS.>", "$SYS.>", "_INBOX.>", "_INBOX_b.>", "_INBOX_b.x", "*.x", "_R_.>", "podium.>"),
    *(*AGENT_HEARS, *CLIENT_HEARS),
)


def test_an_agent_speaks_on_its_own_subjects_and_on_no_others(server: SecuredServer, agent: Credentials) -> None:
    refused = refusals(server, agent, {subject: publishes(subject) for subject in SUBJECTS})
    assert {subject for subject, no in refused.items() if not no} == set(AGENT_SPEAKS)


def test_an_agent_hears_its_own_subjects_and_no_others(server: SecuredServer, agent: Credentials) -> None:
    refused = refusals(server, agent, {subject: hears(subject) for subject in PATTERNS})
    assert {subject for subject, no in refused.items() if not no} == set(AGENT_HEARS)


def test_a_queue_group_opens_nothing(server: SecuredServer, agent: Credentials) -> None:
    refused = refusals(server, agent, {subject: hears(subject, "group") for subject in PATTERNS})
    assert {subject for subject, no in refused.items() if not no} == set(AGENT_HEARS)


def test_a_client_submits_and_hears_the_answers_and_nothing_else(server: SecuredServer, client: Credentials) -> None:
    spoken = refusals(server, client, {subject: publishes(subject) for subject in (*SUBJECTS, *CLIENT_SPEAKS)})
    assert {subject for subject, no in spoken.items() if not no} == set(CLIENT_SPEAKS)
    heard = refusals(server, client, {subject: hears(subject) for subject in PATTERNS})
    assert {subject for subject, no in heard.items() if not no} == set(CLIENT_HEARS)


def test_an_agent_that_may_submit_does(server: SecuredServer) -> None:
    credentials = server.authority.issue(("boss",), Kind.AGENT, NOW_US, submits=True)
    refused = refusals(server, credentials, {SUBMIT: publishes(SUBMIT), "b": publishes("mcp.agent.b.result")})
    assert refused == {SUBMIT: False, "b": True}


def test_agents_of_one_process_share_a_connection(server: SecuredServer) -> None:
    names = ("w-1", "w-2")
    credentials = server.authority.issue(names, Kind.AGENT, NOW_US)
    subjects = [f"mcp.agent.{name}.result" for name in (*names, "w-3")]
    refused = refusals(server, credentials, {subject: publishes(subject) for subject in subjects})
    assert list(refused.values()) == [False, False, True]


def test_a_connection_has_as_many_agents_as_the_server_takes(server: SecuredServer) -> None:
    names = tuple(f"crowd-{number}" for number in range(150))
    credentials = server.authority.issue(names, Kind.AGENT, NOW_US, submits=True)
    assert refusals(server, credentials, {"last": publishes("mcp.agent.crowd-149.result")}) == {"last": False}
    before = server.authority.issued()
    with pytest.raises(InvalidInputError, match="too many"):
        server.authority.issue(tuple(f"more-{number}" for number in range(400)), Kind.AGENT, NOW_US)
    assert server.authority.issued() == before


def test_the_longest_id_is_let_in(server: SecuredServer) -> None:
    name = "x" * 128
    credentials = server.authority.issue((name,), Kind.AGENT, NOW_US, submits=True)
    assert refusals(server, credentials, {"own": publishes(f"mcp.agent.{name}.result")}) == {"own": False}


# --- the orchestrator -----------------------------------------------------------------------------------------------


def test_the_orchestrator_keeps_results_and_assigns_and_answers(server: SecuredServer, agent: Credentials) -> None:
    async def work() -> None:
        orchestrator = server.authority.orchestrator(NOW_US)
        async with server.connected(orchestrator) as boss, server.connected(agent, inbox_prefix="_INBOX_a") as worker:
            jetstream = boss.client.jetstream()
            await jetstream.add_stream(name="RESULTS", subjects=["mcp.agent.*.result"])
            assigned = await worker.client.subscribe("mcp.agent.a.task")
            await worker.settled()
            await boss.client.publish("mcp.agent.a.task", b"do")
            assert (await assigned.next_msg(DEADLINE_SECONDS)).data == b"do"
            kept = await worker.client.request("mcp.agent.a.result", b"done", timeout=DEADLINE_SECONDS)
            assert msgspec.json.decode(kept.data)["stream"] == "RESULTS"
            results = await jetstream.pull_subscribe("mcp.agent.*.result", durable="engine")
            (result,) = await results.fetch(1, timeout=DEADLINE_SECONDS)
            assert (result.subject, result.data) == ("mcp.agent.a.result", b"done")
            await result.ack_sync()

            async def answer(message: Any) -> None:
                assert is_inbox(message.reply)
                await message.respond(b"well")

            await boss.client.subscribe(HEALTH, cb=answer)
            await jetstream.account_info()  # an answer: what came before has been heard
            assert (await worker.client.request(HEALTH, b"", timeout=DEADLINE_SECONDS)).data == b"well"
            await jetstream.delete_stream("RESULTS")
            assert boss.errors == []
            assert not await worker.refused(publishes(HEALTH)), "and nothing before was"

    asyncio.run(work())


def test_a_reply_subject_gives_no_hold_on_jetstream_or_on_others(server: SecuredServer, agent: Credentials) -> None:
    """The server sends its PubAck wherever the reply subject says; there it does no harm, and says nothing of ours."""

    async def work() -> None:
        async with server.connected(server.authority.orchestrator(NOW_US)) as boss, server.connected(agent) as worker:
            jetstream = boss.client.jetstream()
            await jetstream.add_stream(name="RESULTS", subjects=["mcp.agent.*.result"])
            durable = await jetstream.pull_subscribe("mcp.agent.*.result", durable="engine")
            spied = await boss.client.subscribe("mcp.agent.b.task")
            await jetstream.publish("mcp.agent.b.result", b"of b")
            replies = (
                *("$JS.API.STREAM.PURGE.RESULTS", "$JS.API.STREAM.DELETE.RESULTS", "$JS.API.STREAM.UPDATE.RESULTS"),
                *("$JS.API.STREAM.MSG.DELETE.RESULTS", "$JS.API.CONSUMER.DELETE.RESULTS.engine"),
                *("$JS.API.CONSUMER.PAUSE.RESULTS.engine", "$JS.API.CONSUMER.MSG.NEXT.RESULTS.engine"),
                *("$JS.ACK.RESULTS.engine.1.1.1.1.0", "mcp.agent.b.task"),
            )
            refused = {reply: await worker.refused(publishes("mcp.agent.a.result", reply)) for reply in replies}
            assert [reply for reply, no in refused.items() if no] == ["$JS.ACK.RESULTS.engine.1.1.1.1.0"]
            traced = {"Nats-Trace-Dest": "mcp.agent.b.task"}
            assert await worker.refused(lambda one: one.publish("mcp.agent.a.result", b"traced", headers=traced))
            acknowledged = await spied.next_msg(DEADLINE_SECONDS)
            assert set(msgspec.json.decode(acknowledged.data)) == {"stream", "seq"}
            state = (await jetstream.stream_info("RESULTS")).state
            assert (state.first_seq, state.messages) == (1, len(replies))
            first = (await durable.fetch(1, timeout=DEADLINE_SECONDS))[0]
            assert (first.subject, first.data, first.metadata.num_delivered) == ("mcp.agent.b.result", b"of b", 1)
            await jetstream.delete_stream("RESULTS")

    asyncio.run(work())


def test_podiums_own_transport_works_within_an_agents_permissions(server: SecuredServer, tmp_path: Path) -> None:
    path = tmp_path / "t.creds"
    path.write_text(server.authority.issue(("t",), Kind.AGENT, NOW_US).text())
    everything = str(server.authority.orchestrator_file(NOW_US))
    happenings: list[tuple[Happening, str]] = []

    async def work() -> None:
        boss = NatsTransport(NatsSettings(server.url, credentials=everything))
        worker = NatsTransport(
            NatsSettings(server.url, credentials=str(path), inbox_prefix=inbox_prefix_for(str(path))),
            heard=lambda happening, details: happenings.append((happening, details)),
        )
        await boss.start()
        await worker.start()
        stream = Stream("RESULTS", ("mcp.agent.*.result",), work=True)
        await boss.declare(stream)
        results = await boss.consume(stream, "engine")
        assigned = await worker.subscribe(("mcp.agent.t.task", "mcp.agent.t.status"))
        await boss.publish("mcp.agent.t.task", b"do")
        assert (await assigned.next())[0].data == b"do"
        assert await worker.append("mcp.agent.t.result", b"done", message_id="t-1") == 1
        (result,) = await results.next()
        assert (result.subject, result.data) == ("mcp.agent.t.result", b"done")
        result.ack()
        questions = await boss.subscribe(HEALTH)

        async def answer() -> None:
            (question,) = await questions.next()
            assert is_inbox(question.reply)
            await boss.publish(question.reply, b"well")

        answering = asyncio.create_task(answer(), name="answering")
        assert (await worker.request(HEALTH, b"", timeout_seconds=DEADLINE_SECONDS)).data == b"well"
        await answering
        await worker.stop()
        await boss.stop()
        assert not [happening for happening, _ in happenings if happening is Happening.ERROR], happenings

    asyncio.run(work())


# --- who isn't let in -----------------------------------------------------------------------------------------------


def refused_to_connect(server: SecuredServer, credentials: Credentials | None, **options: Any) -> bool:
    async def connect() -> bool:
        try:
            async with server.connected(credentials, **options):
                return False
        except (nats.errors.Error, OSError) as error:
            return "authorization" in str(error).lower()

    return asyncio.run(connect())


def test_without_credentials_nobody_is_let_in(server: SecuredServer) -> None:
    assert refused_to_connect(server, None)
    assert refused_to_connect(server, None, user="a", password="a")
    assert refused_to_connect(server, None, token="a")


def test_expired_credentials_are_refused(server: SecuredServer) -> None:
    long_ago = NOW_US - 3_600 * SECOND
    assert refused_to_connect(server, server.authority.issue(("old",), Kind.AGENT, long_ago, lifetime_seconds=60))
    assert not refused_to_connect(
        server, server.authority.issue(("old",), Kind.AGENT, SystemClock().now_us(), lifetime_seconds=600)
    )


def test_a_connection_ends_when_its_credentials_expire(server: SecuredServer) -> None:
    async def work() -> None:
        now_us = SystemClock().now_us()
        credentials = server.authority.issue(("brief",), Kind.AGENT, now_us, lifetime_seconds=2)
        async with server.connected(credentials) as connection:
            await asyncio.wait_for(connection.closed.wait(), DEADLINE_SECONDS)
        assert time.time() >= now_us // SECOND + 2

    asyncio.run(work())


def test_tampered_and_foreign_tokens_are_refused(server: SecuredServer, agent: Credentials) -> None:
    text = agent.text()
    _, claims, signature = agent.jwt.split(".")
    wider = claims_of(agent.jwt)
    wider["nats"]["pub"] = {"allow": [">"]}
    changed = base64.urlsafe_b64encode(msgspec.json.encode(wider)).decode().rstrip("=")
    assert refused_to_connect(server, parse_credentials(text.replace(claims, changed)))

    plain = base64.urlsafe_b64encode(b'{"typ":"JWT","alg":"none"}').decode().rstrip("=")
    assert refused_to_connect(server, parse_credentials(text.replace(agent.jwt, f"{plain}.{changed}.{signature}")))
    assert refused_to_connect(server, parse_credentials(text.replace(agent.jwt, f"{plain}.{changed}.")))

    stranger, key = KeyPair.create(Role.ACCOUNT), KeyPair.create(Role.USER)
    foreign = user_jwt(stranger, key.public, "a", EVERYTHING, NOW_US // SECOND)
    assert refused_to_connect(server, Credentials(foreign, key))
    assert refused_to_connect(server, Credentials(agent.jwt, key)), "somebody else's token, without the key to it"
    own = user_jwt(key, key.public, "a", EVERYTHING, NOW_US // SECOND)
    assert refused_to_connect(server, Credentials(own, key)), "signed by itself"
    assert not refused_to_connect(server, agent)


def test_revoked_credentials_are_cut_off_without_a_restart(tmp_path: Path) -> None:
    folder = authority_folder(tmp_path)
    authority = Authority.open(folder, NOW_US)

    async def work() -> None:
        embedded = EmbeddedNats(tmp_path / "nats", port=0, extra_config=authority.server_config())
        await embedded.start()
        server = SecuredServer(embedded.url, authority)
        watching = asyncio.create_task(authority.keep_current(embedded.reload, 0.01), name="watching")
        try:
            old, other = (authority.issue((name,), Kind.AGENT, NOW_US) for name in ("a", "b"))
            async with server.connected(old) as connection, server.connected(other) as neighbour:
                elsewhere = Authority.open(folder, NOW_US)  # as `podium agent credentials a --replace` does
                new = elsewhere.issue(("a",), Kind.AGENT, NOW_US, replace=True)
                await asyncio.wait_for(connection.closed.wait(), DEADLINE_SECONDS)
                assert not await neighbour.refused(publishes("mcp.agent.b.result")), "others aren't disturbed"
            async with server.connected(new) as connection:
                assert not await connection.refused(publishes("mcp.agent.a.result"))
                elsewhere.revoke("a", NOW_US)
                await asyncio.wait_for(connection.closed.wait(), DEADLINE_SECONDS)
            with pytest.raises(nats.errors.Error):
                async with server.connected(old):
                    pass
            assert embedded.restarts == 0
        finally:
            watching.cancel()
            await embedded.stop()

    asyncio.run(work())


# --- who registers --------------------------------------------------------------------------------------------------


def test_the_subject_shows_who_registers(tmp_path: Path) -> None:
    authority = Authority.open(tmp_path / "auth", NOW_US)
    credentials = authority.issue(("a", "a-2"), Kind.AGENT, NOW_US)
    assert authority.registrant("mcp.agent.a.register", "a", NOW_US) == credentials.public
    assert authority.registrant("mcp.agent.a-2.register", "a-2", NOW_US) == credentials.public


@pytest.mark.parametrize(
    ("subject", "claimed"),
    [
        (REGISTER, "a"),  # anybody can speak there
        ("mcp.agent.b.register", "a"),  # b says that it is a
        ("mcp.agent.a.register", "b"),
        ("mcp.agent.c.register", "c"),  # nobody has credentials of c
        ("mcp.agent.shop.register", "shop"),  # a client's
        ("mcp.agent.old.register", "old"),  # expired
        ("mcp.agent.*.register", "*"),
    ],
)
def test_a_claim_to_be_somebody_else_is_a_conflict(
    tmp_path: Path, subject: str, claimed: str, caplog: pytest.LogCaptureFixture
) -> None:
    authority = Authority.open(tmp_path / "auth", NOW_US)
    authority.issue(("a",), Kind.AGENT, NOW_US)
    authority.issue(("b",), Kind.AGENT, NOW_US)
    authority.issue(("shop",), Kind.CLIENT, NOW_US)
    authority.issue(("old",), Kind.AGENT, NOW_US - 10 * SECOND, lifetime_seconds=5)
    with pytest.raises(RegistrationConflictError):
        authority.registrant(subject, claimed, NOW_US)
    noted = [record.getMessage() for record in caplog.records if record.name == "podium.audit"]
    assert len(noted) == 1
    assert "registration_refused" in noted[0]
    assert subject in noted[0]


def test_an_inbox_is_one_with_a_name_and_nothing_else() -> None:
    assert all(is_inbox(f"_INBOX_{rest}") for rest in ("a.x", "a-1.x.y", "A_b.abcDEF123.12"))
    for reply in ("", "_INBOX_a", "_INBOX.a.b", "_INBOX_a.>", "_INBOX_a.*", "_INBOX_a.x\n", "_INBOX_.x", "_INBOX_a..x"):
        assert not is_inbox(reply), reply
    for reply in (REGISTER, "mcp.agent.b.task", "$JS.API.STREAM.DELETE.X", "$JS.ACK.a.b", "x_INBOX_a.x"):
        assert not is_inbox(reply), reply


# --- the register of what was issued --------------------------------------------------------------------------------


def test_a_name_has_one_key_at_a_time(tmp_path: Path) -> None:
    authority = Authority.open(tmp_path / "auth", NOW_US)
    first = authority.issue(("a",), Kind.AGENT, NOW_US)
    for names, kind in ((("a",), Kind.AGENT), (("a",), Kind.CLIENT), (("b", "a"), Kind.AGENT)):
        with pytest.raises(ConflictError, match="--replace"):
            authority.issue(names, kind, NOW_US)
    second = authority.issue(("a",), Kind.AGENT, NOW_US, replace=True)
    assert authority.registrant("mcp.agent.a.register", "a", NOW_US) == second.public != first.public
    assert [(one.key, one.revoked_s is not None) for one in authority.issued()] == [
        (first.public, True),
        (second.public, False),
    ]


def test_what_has_expired_makes_room_and_is_forgotten(tmp_path: Path) -> None:
    authority = Authority.open(tmp_path / "auth", NOW_US)
    authority.issue(("a",), Kind.AGENT, NOW_US, lifetime_seconds=5)
    later = NOW_US + 6 * SECOND
    new = authority.issue(("a",), Kind.AGENT, later)
    assert [one.key for one in authority.issued()] == [new.public]


@pytest.mark.parametrize(
    "name", ["", "*", ">", "a.b", "a b", "a\r\nPUB x 0", "a\n", "é", "a" * 129, "a" * 10_240, "$JS", "a/b"]
)
def test_a_name_that_would_widen_a_subject_is_refused(tmp_path: Path, name: str) -> None:
    authority = Authority.open(tmp_path / "auth", NOW_US)
    with pytest.raises(InvalidInputError) as raised:
        authority.issue((name,), Kind.AGENT, NOW_US)
    assert len(str(raised.value)) < 300
    assert authority.issued() == ()


def test_the_authority_is_the_same_when_it_is_opened_again(tmp_path: Path) -> None:
    first = Authority.open(tmp_path / "auth", NOW_US)
    credentials = first.issue(("a",), Kind.AGENT, NOW_US)
    first.issue(("b",), Kind.AGENT, NOW_US)
    first.revoke("b", NOW_US)
    again = Authority.open(tmp_path / "auth", NOW_US + 9 * SECOND)
    assert again.server_config() == first.server_config()
    assert again.registrant("mcp.agent.a.register", "a", NOW_US) == credentials.public


def test_two_that_issue_at_once_lose_nothing(tmp_path: Path) -> None:
    one, two = (Authority.open(tmp_path / "auth", NOW_US) for _ in range(2))
    for number in range(5):
        one.issue((f"one-{number}",), Kind.AGENT, NOW_US)
        two.issue((f"two-{number}",), Kind.AGENT, NOW_US)
    assert len(Authority.open(tmp_path / "auth", NOW_US).issued()) == 10


def test_nobody_else_can_read_the_keys(tmp_path: Path) -> None:
    folder = tmp_path / "auth"
    authority = Authority.open(folder, NOW_US)
    authority.issue(("a",), Kind.AGENT, NOW_US)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
    assert {path.name for path in folder.iterdir()} == {KEYS_FILE, ISSUED_FILE, "lock"}
    (folder / KEYS_FILE).chmod(0o640)
    with pytest.raises(SettingsError, match="chmod 600"):
        Authority.open(folder, NOW_US)


@pytest.mark.parametrize("file", [KEYS_FILE, ISSUED_FILE])
@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]x", b'{"operator": "SOA", "system": "x", "account": "y", "created_s": 1}']
)
def test_a_damaged_file_is_said_and_never_replaced(tmp_path: Path, file: str, content: bytes) -> None:
    folder = tmp_path / "auth"
    Authority.open(folder, NOW_US).issue(("a",), Kind.AGENT, NOW_US)
    (folder / file).write_bytes(content)
    with pytest.raises(SettingsError, match=file):
        Authority.open(folder, NOW_US)
    assert (folder / file).read_bytes() == content
