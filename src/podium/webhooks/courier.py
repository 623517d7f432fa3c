"""Who sends: some deliveries at once, each in a bounded time, again and again until it is taken or given up.

What became of a delivery is written soon after; a process that dies in between sends it once more, under the same id.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Raw

from podium.clock import SECOND, Clock
from podium.engine.following import Follower
from podium.engine.recovery import Definitions
from podium.exceptions import PodiumError, StoreUnavailableError, WebhookError
from podium.settings import Settings, Webhook, shown_url
from podium.store.protocol import ModelRow, Store
from podium.telemetry.logs import get_logger
from podium.webhooks.boxes import Boxes, Item
from podium.webhooks.deliveries import TRIES, Delivery, Tried, delivered, failed, webhook_id
from podium.webhooks.posting import post
from podium.webhooks.signing import HEADER, signature
from podium.workflow.model import ExecutionStatus

WRITE_SECONDS = 0.2
PAUSE_SECONDS = 1.0
MOST_REMOVED = 100  # that wait for another reason to write
GONE = 410  # nobody shall try again
_log = get_logger("podium.webhooks")


class Courier:
    """Tries what is due in the boxes."""

    def __init__(
        self, store: Store, settings: Settings, boxes: Boxes, clock: Clock,
        fill: Callable[[int], Awaitable[None]], lost: Callable[[int], Awaitable[None]],
    ) -> None:  # fmt: skip
        """`fill` reads more of a shard, `lost` is told of one whose deliveries somebody else has written of."""
        self._store = store
        self._settings = settings
        self._webhooks = {webhook_id(webhook.url): webhook for webhook in settings.webhooks}
        self._boxes = boxes
        self._clock = clock
        self._fill = fill
        self._lost = lost
        self._definitions = Definitions(store)
        self._waiting: list[Item] = []  # due, but for room
        self._under_way: Counter[str] = Counter()  # by webhook
        self._trying: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        self._changed = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self.outcomes: Counter[str] = Counter()

    def start(self) -> None:
        """Send from now on."""
        loop = asyncio.get_running_loop()
        self._tasks = [
            loop.create_task(self._send(), name="podium-webhooks"),
            loop.create_task(self._write_now_and_then(), name="podium-webhooks-writes"),
        ]

    async def stop(self) -> None:
        """Send no more, and write what became of what was sent. Safe twice."""
        tasks, self._tasks = [*self._tasks, *self._trying], []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        try:
            await self.write()
        except StoreUnavailableError as error:
            _log.warning("what became of webhooks could not be written; some are told again", error=str(error))

    def wake(self) -> None:
        """There may be something to send."""
        self._wake.set()

    @property
    def settled(self) -> bool:
        """Whether nothing is due or under way."""
        next_us = self._boxes.next_us()
        return not (self._trying or self._waiting) and (next_us is None or next_us > self._clock.now_us())

    def retry(self, delivery: str) -> bool:
        """Try a delivery again now, also one that is over; False if it isn't here."""
        item = self._boxes.find(delivery)
        if item is None:
            return False
        if not item.under_way:
            self._boxes.set(item, Tried(first_us=self._clock.now_us(), next_us=self._clock.now_us()))
            self._changed.set()
            self.wake()
        return True

    # --- sending -----------------------------------------------------------------------------------------------

    async def _send(self) -> None:
        while True:
            self._wake.clear()
            self._waiting += self._boxes.due(self._clock.now_us())
            self._begin_what_has_room()
            try:
                if (shard := self._boxes.wanting()) is not None:
                    await self._fill(shard)
                    continue
            except StoreUnavailableError as error:
                _log.warning("deliveries can't be read", error=str(error))
                await asyncio.sleep(PAUSE_SECONDS)
                continue
            next_us = self._boxes.next_us()
            seconds = None if next_us is None else max(0.0, (next_us - self._clock.now_us()) / SECOND)
            try:
                async with asyncio.timeout(seconds):
                    await self._wake.wait()
            except TimeoutError:
                pass

    def _begin_what_has_room(self) -> None:
        most = self._settings.webhook_concurrency
        most_of_one = max(1, most // 4) if len(self._webhooks) > 1 else most
        left = []
        for item in self._waiting:
            to = item.delivery.webhook
            if len(self._trying) < most and self._under_way[to] < most_of_one:
                self._under_way[to] += 1
                task = asyncio.get_running_loop().create_task(
                    self._try(item), name=f"podium-webhook-{item.delivery.id}"
                )
                self._trying.add(task)
                task.add_done_callback(lambda task, to=to: self._ended(task, to))  # type: ignore[misc]
            else:
                left.append(item)
        self._waiting = left

    def _ended(self, task: asyncio.Task[None], to: str) -> None:
        self._trying.discard(task)
        self._under_way[to] -= 1
        if not task.cancelled() and task.exception() is not None:
            _log.error("a delivery ended", part=task.get_name(), exc_info=task.exception())
        self.wake()

    async def _try(self, item: Item) -> None:
        delivery, tried = item.delivery, item.tried
        if item.gone:
            return
        give_up_seconds = self._settings.webhook_give_up_hours * 3_600
        webhook = self._webhooks.get(delivery.webhook)
        status, after, final, problem = 0, None, webhook is None, "it isn't in the settings any more"
        if webhook is not None:
            try:
                body = await body_of(self._store, self._definitions, delivery, self._settings.webhook_max_body_bytes)
                answer = await send(self._settings, webhook, delivery.id, delivery.event, body, self._clock.now_us())
                status, after = answer.status, answer.retry_after_seconds
                problem, final = problem_of(status), status == GONE
            except StoreUnavailableError as error:
                problem = str(error)
            except WebhookError as error:
                problem = str(error)
            except Exception as error:  # noqa: BLE001 - the next try may go better, and others must not wait for it
                _log.error("a delivery failed for an unexpected reason", delivery=delivery.id, exc_info=error)
                problem = f"{type(error).__name__}: {error}"
        now_us = self._clock.now_us()
        if not problem:
            outcome = delivered(tried, now_us, status)
        else:
            outcome = failed(
                delivery, tried, now_us, problem,
                status=status, retry_after_seconds=after, final=final, give_up_seconds=give_up_seconds,
            )  # fmt: skip
            _log.warning("a webhook isn't told", delivery=delivery.id, state=outcome.state, error=outcome.error)
        self.outcomes["failed" if outcome.state == "pending" else outcome.state.replace(" ", "_")] += 1
        self._boxes.set(item, outcome)
        self._changed.set()

    # --- writing -----------------------------------------------------------------------------------------------

    async def _write_now_and_then(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            await asyncio.sleep(WRITE_SECONDS)  # what ends together is written together
            try:
                await self.write()
            except StoreUnavailableError as error:
                _log.warning("what became of webhooks can't be written", error=str(error))
                self._changed.set()
                await asyncio.sleep(PAUSE_SECONDS)

    async def write(self) -> None:
        """Write what became of deliveries."""
        for shard, box in list(self._boxes.of.items()):
            changed, removed = set(box.changed), list(box.removed)
            if not changed and len(removed) < MOST_REMOVED:
                continue
            rows = [ModelRow(each, msgspec.json.encode(box.items[each].tried)) for each in changed if each in box.items]
            rows += [ModelRow(each, None) for each in removed if each not in changed]
            box.changed, box.removed = set(), []
            try:
                done = await self._store.put_model(TRIES, shard, box.writes + 1, rows, before=box.writes)
            except BaseException:
                box.changed |= changed
                box.removed = removed + box.removed
                raise
            if done:
                box.writes += 1
            elif self._boxes.of.get(shard) is box:
                await self._lost(shard)


def problem_of(status: int) -> str:
    """Return why an answer doesn't count as taken; empty if it does."""
    if 200 <= status < 300:
        return ""
    if 300 <= status < 400:
        return f"HTTP {status}: redirects aren't followed"
    return f"HTTP {status}"


async def send(settings: Settings, webhook: Webhook, delivery: str, event: str, body: bytes, now_us: int) -> Any:
    """Send one body to a webhook, signed; return the answer. Raises WebhookError."""
    headers = {
        "User-Agent": "Podium",
        "Content-Type": "application/json",
        "Podium-Delivery": delivery,
        "Podium-Event": event,
        HEADER: signature(await secret_of(webhook), body, now_us // SECOND),
    }
    return await post(
        webhook.url, headers, body,
        seconds=settings.webhook_timeout_seconds, allow_private=settings.webhook_allow_private,
    )  # fmt: skip


async def secret_of(webhook: Webhook) -> str:
    """Return the secret, read anew from its file, so that it can be changed there. Raises WebhookError."""
    if webhook.secret:
        return webhook.secret
    try:
        text = await asyncio.to_thread(Path(webhook.secret_file).read_text, "utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it isn't UTF-8"
        raise WebhookError(f"the secret's file {webhook.secret_file} can't be read: {reason}") from None
    if not text.strip():
        raise WebhookError(f"the secret's file {webhook.secret_file} is empty")
    return text.strip()


async def body_of(store: Store, definitions: Definitions, delivery: Delivery, most_bytes: int) -> bytes:
    """Return what is told: how the execution ended, with its result or error where there is room for it."""
    said: dict[str, Any] = {
        "id": delivery.id,
        "event": delivery.event,
        "execution_id": delivery.execution,
        "workflow": delivery.workflow,
        "version": delivery.version,
        "tenant": delivery.tenant,
        "partial": delivery.partial,
        "started_at": in_words(delivery.started_us),
        "ended_at": in_words(delivery.ended_us),
        "seconds": (delivery.ended_us - delivery.started_us) / SECOND,
    }
    more = await _outcome(store, definitions, delivery)
    whole = msgspec.json.encode({**said, **more})
    return whole if len(whole) <= most_bytes else msgspec.json.encode({**said, "left_out": sorted(more)})


async def _outcome(store: Store, definitions: Definitions, delivery: Delivery) -> dict[str, Any]:
    """Return the execution's result or error; nothing if it has been opened again since."""
    try:
        follower = await Follower.of(store, definitions, delivery.execution)
        state = follower.state
        if state.finished_us != delivery.ended_us:
            return {}
        if state.status is ExecutionStatus.COMPLETED:
            return {"result": Raw(await follower.output())}
        return {"error": {"type": state.error.type, "message": state.error.message}} if state.error else {}
    except StoreUnavailableError:
        raise
    except PodiumError as error:
        _log.warning("a webhook is told without the result", execution=delivery.execution, error=str(error))
        return {}


def in_words(time_us: int) -> str:
    """Return a time as RFC 3339 has it, in UTC."""
    from datetime import UTC, datetime

    return datetime.fromtimestamp(time_us / SECOND, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def shown_webhooks(settings: Settings) -> dict[str, str]:
    """Return the webhooks' URLs as they may be shown, by id."""
    return {webhook_id(webhook.url): shown_url(webhook.url) for webhook in settings.webhooks}
