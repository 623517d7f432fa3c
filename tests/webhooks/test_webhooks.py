"""Ends are told by the process that owns the store, at least once, whatever the other server or a kill does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from podium.app import Podium
from podium.clock import SystemClock
from podium.ids import execution_id_for, shard_of
from podium.settings import Settings, Webhook
from podium.store.memory import MemoryStore
from podium.testing.scribe import Scribe
from podium.webhooks.boxes import KEPT_OVER, Boxes
from podium.webhooks.deliveries import OUTBOX, TRIES
from podium.webhooks.outbox import Outbox, stored
from podium.workflow.yaml import load_workflow
from tests.webhooks.receiver import SECRET, Receiver

GREET = load_workflow("name: greet\ntasks: [{id: say, agent: echo, input: {text: hello}}]\n")
DOOMED = load_workflow("name: doomed\ntasks: [{id: stop, agent: fail, input: {message: no luck}}]\n")


def settings_for(folder: Path, *hooks: Webhook, **more: Any) -> Settings:
    return Settings(database=str(folder / "podium.db"), webhooks=hooks, webhook_allow_private=True, **more)


def hook(receiver: Receiver, **more: Any) -> Webhook:
    return Webhook(receiver.url, secret=SECRET, **more)


async def until(holds: Callable[[], object], seconds: float = 20.0) -> None:
    async with asyncio.timeout(seconds):
        while not holds():  # noqa: ASYNC110 - the other side is another thread
            await asyncio.sleep(0.01)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tries follow each other quickly."""
    monkeypatch.setattr("podium.webhooks.deliveries.FIRST_DELAY_SECONDS", 0.02)


def test_each_end_is_told_once_signed_with_its_result_or_error(tmp_path: Path) -> None:
    with Receiver() as all_ends, Receiver() as failures:
        settings = settings_for(
            tmp_path, hook(all_ends), hook(failures, events=("failed",), workflows=("doomed", "other"))
        )

        async def work() -> None:
            async with await Podium.open(settings) as podium:
                good = await podium.run(GREET)
                bad = await podium.run(DOOMED)
                await until(lambda: len(all_ends.told) == 2 and len(failures.told) == 1)
                first, second = sorted(all_ends.told, key=lambda told: str(told.json["event"]))
                for told in (first, second, *failures.told):
                    told.check_signature()
                    assert told.headers["Content-Type"] == "application/json"
                    assert told.json["id"] == told.id
                assert first.json == first.json | {
                    "event": "completed",
                    "execution_id": good.execution_id,
                    "workflow": "greet",
                    "version": "1.0",
                    "tenant": "default",
                    "partial": False,
                    "result": {"text": "hello"},
                }
                assert first.json["seconds"] >= 0
                assert second.json["error"]["message"] == "no luck"
                assert second.headers["Podium-Event"] == failures.told[0].json["event"] == "failed"
                assert failures.told[0].json["execution_id"] == bad.execution_id
                assert failures.told[0].id != second.id

        asyncio.run(work())
        assert len(all_ends.told) + len(failures.told) == 3


@pytest.mark.usefixtures("quick")
def test_what_isnt_taken_is_told_again_under_the_same_id(tmp_path: Path) -> None:
    with Receiver() as receiver:
        receiver.statuses = [500, 302, 429, 404]

        async def work() -> None:
            async with await Podium.open(settings_for(tmp_path, hook(receiver))) as podium:
                await podium.run(GREET)
                await until(lambda: len(receiver.told) == 5)
                assert podium.webhooks is not None
                await until(lambda: podium.webhooks is not None and not podium.webhooks.pending)
                assert podium.webhooks.outcomes() == {"failed": 4.0, "delivered": 1.0}
                store = podium.store
                await until_written(store, "delivered")
                ((_, tried),), orphans = await stored(store)
                assert (tried.state, tried.attempts, tried.status, orphans) == ("delivered", 5, 200, [])

        asyncio.run(work())
        assert len({told.id for told in receiver.told}) == 1
        assert len({told.body for told in receiver.told}) == 1


async def until_written(store: Any, state: str) -> None:
    async with asyncio.timeout(20):
        while not all(tried.state == state for _, tried in (await stored(store))[0]):  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.01)


def test_who_says_that_it_is_gone_is_told_no_more(tmp_path: Path) -> None:
    with Receiver() as receiver:
        receiver.statuses = [410]

        async def work() -> None:
            async with await Podium.open(settings_for(tmp_path, hook(receiver))) as podium:
                await podium.run(GREET)
                await until(lambda: bool(receiver.told))
                await until_written(podium.store, "given up")
                ((delivery, tried),), _ = await stored(podium.store)
                assert (tried.attempts, tried.error) == (1, "HTTP 410")
                assert podium.webhooks is not None
                await podium.webhooks.answer_retry({"id": delivery.id})
                await until_written(podium.store, "delivered")

        asyncio.run(work())
        assert len(receiver.told) == 2


def test_a_slow_webhook_doesnt_hold_up_another(tmp_path: Path) -> None:
    with Receiver() as slow, Receiver() as quick:
        slow.gate.clear()
        settings = settings_for(tmp_path, hook(slow), hook(quick), webhook_concurrency=8, webhook_timeout_seconds=60)

        async def work() -> None:
            async with await Podium.open(settings) as podium:
                for _ in range(12):
                    await podium.run(GREET)
                await until(lambda: len(quick.told) == 12)
                assert len(slow.told) <= 2  # a quarter of eight
                slow.gate.set()
                await until(lambda: len(slow.told) == 12)

        asyncio.run(work())


def test_what_a_process_had_no_time_for_the_next_one_tells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("podium.webhooks.webhooks.FINISH_SECONDS", 0.3)
    with Receiver() as receiver:
        settings = settings_for(tmp_path, hook(receiver))

        async def first() -> None:
            receiver.gate.clear()
            async with await Podium.open(settings) as podium:
                await podium.run(GREET)
                await until(lambda: bool(receiver.told))

        async def second() -> None:
            receiver.gate.set()
            async with await Podium.open(settings) as podium:
                await until(lambda: len(receiver.told) == 2)
                await until_written(podium.store, "delivered")

        asyncio.run(first())
        asyncio.run(second())
        asyncio.run(third(settings))
        assert len(receiver.told) == 2
        assert receiver.told[0].id == receiver.told[1].id


async def third(settings: Settings) -> None:
    async with await Podium.open(settings) as podium:
        assert podium.webhooks is not None
        await podium.webhooks.reader.caught_up()


def test_a_short_run_tells_before_it_ends(tmp_path: Path) -> None:
    with Receiver() as receiver:

        async def work() -> None:
            async with await Podium.open(settings_for(tmp_path, hook(receiver))) as podium:
                await podium.run(GREET)

        asyncio.run(work())
        assert len(receiver.told) == 1


def test_the_first_webhook_begins_with_what_ends_from_then_on(tmp_path: Path) -> None:
    with Receiver() as receiver:

        async def work(settings: Settings, count: int) -> None:
            async with await Podium.open(settings) as podium:
                for _ in range(count):
                    await podium.run(GREET)

        asyncio.run(work(settings_for(tmp_path), 3))
        asyncio.run(work(settings_for(tmp_path, hook(receiver)), 2))
        assert len(receiver.told) == 2


@pytest.mark.usefixtures("quick")
def test_private_addresses_are_refused_unless_allowed(tmp_path: Path) -> None:
    with Receiver() as receiver:
        hooks = (hook(receiver),)
        settings = Settings(database=str(tmp_path / "podium.db"), webhooks=hooks)

        async def work() -> None:
            async with await Podium.open(settings) as podium:
                await podium.run(GREET)
                assert podium.webhooks is not None
                await until(lambda: podium.webhooks is not None and podium.webhooks.outcomes().get("failed", 0) >= 2)

        asyncio.run(work())
        assert not receiver.told


@pytest.mark.usefixtures("quick")
def test_a_secret_is_read_anew_from_its_file(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    with Receiver() as receiver:
        settings = settings_for(tmp_path, Webhook(receiver.url, secret_file=str(file)))

        async def work() -> None:
            async with await Podium.open(settings) as podium:
                await podium.run(GREET)
                assert podium.webhooks is not None
                await until(lambda: podium.webhooks is not None and bool(podium.webhooks.outcomes().get("failed")))
                assert not receiver.told
                file.write_text("from the file\n")
                await until(lambda: bool(receiver.told))
                receiver.told[0].check_signature("from the file")

        asyncio.run(work())


def test_a_result_that_is_too_large_is_left_out(tmp_path: Path) -> None:
    large = load_workflow(f"name: large\ntasks: [{{id: say, agent: echo, input: {{text: {'x' * 5_000}}}}}]\n")
    with Receiver() as receiver:

        async def work() -> None:
            settings = settings_for(tmp_path, hook(receiver), webhook_max_body_bytes=2_000)
            async with await Podium.open(settings) as podium:
                await podium.run(large)

        asyncio.run(work())
        assert receiver.told[0].json["left_out"] == ["result"]
        assert "result" not in receiver.told[0].json


def test_a_webhook_that_is_taken_out_of_the_settings_is_given_up(tmp_path: Path) -> None:
    with Receiver() as receiver, Receiver() as other:
        receiver.statuses = [500]

        async def work(given: Webhook, until_state: str) -> None:
            async with await Podium.open(settings_for(tmp_path, given)) as podium:
                if given.url == receiver.url:
                    await podium.run(GREET)
                    await until(lambda: bool(receiver.told))
                else:
                    await retry_all(podium)
                await until_written(podium.store, until_state)

        asyncio.run(work(hook(receiver), "pending"))
        asyncio.run(work(hook(other), "given up"))
        assert len(receiver.told) == 1
        assert not other.told


async def retry_all(podium: Podium) -> None:
    assert podium.webhooks is not None
    await podium.webhooks.reader.caught_up()
    for delivery, _ in (await stored(podium.store))[0]:
        await podium.webhooks.answer_retry({"id": delivery.id})


def told_so_often(receiver: Receiver, number: int) -> bool:
    return len(receiver.told) == number


def test_what_is_over_is_taken_out_of_the_store_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("podium.webhooks.boxes.KEPT_OVER", 1)
    assert KEPT_OVER > 1
    named = "0"  # all on one shard

    with Receiver() as receiver:

        async def work() -> None:
            async with await Podium.open(settings_for(tmp_path, hook(receiver))) as podium:
                shard = shard_of(execution_id_for("default", named))
                names = (f"{n}" for n in range(100_000))
                chosen = [name for name in names if shard_of(execution_id_for("default", name)) == shard][:8]
                for number, name in enumerate(chosen, 1):
                    await podium.result(await podium.submit(GREET, submission_id=name))
                    await until(partial(told_so_often, receiver, number))
                    await until_written(podium.store, "delivered")
                assert len(await podium.store.model(OUTBOX)) <= 3
                assert len(await podium.store.model(TRIES)) <= 4

        asyncio.run(work())
        assert len(receiver.told) == 8


def test_secrets_are_shown_nowhere() -> None:
    given = Webhook("https://me:pass-word@host.example/x?token=to-ken", secret="hush-hush")
    settings = Settings(webhooks=(given,))
    for text in (repr(given), repr(settings), str(given.shown), str(settings.__rich_repr__())):
        for secret in ("pass-word", "to-ken", "hush-hush"):
            assert secret not in text


def test_of_replicas_that_start_at_once_one_says_where_webhooks_begin() -> None:
    async def work() -> None:
        store = MemoryStore()
        scribe = Scribe(store)
        await scribe.take()
        await scribe.append({"a": [("start", 1)]})
        settings = Settings()
        boxes = [Outbox(store.reopen(), settings, Boxes(), SystemClock(), lambda: None) for _ in range(3)]
        await asyncio.gather(*(each.begin() for each in boxes))
        shard = shard_of("a")
        assert await store.cursor(OUTBOX, shard) == 1
        await scribe.append({"a": [("next", 1)]})
        await Outbox(store, settings, Boxes(), SystemClock(), lambda: None).begin()
        assert await store.cursor(OUTBOX, shard) == 1

    asyncio.run(work())
