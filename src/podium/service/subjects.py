"""The door on the bus: tasks are submitted, asked for, and the system's health told, on document 000's subjects.

It turns messages into calls of the application and answers them; it decides nothing. Each request is handled by a task
of its own, of which there are only so many: who comes when all are busy is told at once to come back.

Of several replicas one gets each task that is submitted or asked for, whichever it is. How the system stands, the one
says that leads: it alone knows how many tasks wait.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from msgspec import Raw

from podium.app import Podium
from podium.bus.transport import Delivery, Subscription, Transport
from podium.clock import Clock
from podium.exceptions import (
    BackpressureError,
    ConflictError,
    EngineStoppedError,
    ExecutionNotFoundError,
    InvalidInputError,
    PayloadTooLargeError,
    PodiumError,
    QueueFullError,
    StoreError,
    TransportClosedError,
)
from podium.fleet import wire
from podium.service.submissions import execution_of
from podium.service.submitting import RETRY_AFTER_SECONDS, Submitting
from podium.telemetry.logs import get_logger
from podium.telemetry.metrics import Metrics
from podium.workflow.model import FINAL_EXECUTION, ExecutionStatus, WorkflowResult

GROUP = "orchestrators"  # of the replicas, one of which gets each request
MOST_AT_ONCE = 2_000  # requests that are being handled
RETRY_AFTER_MS = round(RETRY_AFTER_SECONDS * 1_000)
_JSON_HEADERS = {"Content-Type": wire.CONTENT_TYPE}
_log = get_logger("podium.service")

Handle = Callable[[Delivery], Awaitable[wire.NatsMessage]]


class SubjectsDoor:
    """`start` it once the application runs, `stop` it before."""

    def __init__(
        self,
        podium: Podium,
        transport: Transport,
        *,
        status: Callable[[], wire.SystemStatus],
        message_id: Callable[[], str],
        malformed: Callable[[Delivery, Exception], None],
        may_answer: Callable[[str], bool] = lambda reply: True,
        clock: Clock,
        submitting: Submitting,
        leads: Callable[[], bool] = lambda: True,
        health_seconds: float = 30.0,
        metrics: Metrics | None = None,
    ) -> None:
        """`status` is the system's; `malformed` is told of what can't be read; `may_answer` says whether a reply
        subject may be answered on; `submitting` takes tasks; the system's status is told every `health_seconds`, by
        the replica that leads.
        """
        self._may_answer = may_answer
        self._podium = podium
        self._transport = transport
        self._status = status
        self._message_id = message_id
        self._malformed = malformed
        self._clock = clock
        self._submitting = submitting
        self._leads = leads
        self._health_seconds = health_seconds
        self._metrics = metrics or Metrics()
        self._subscriptions: list[Subscription] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._handling: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen from now on. Raises TransportUnavailableError."""
        doors: tuple[tuple[str, Handle, str], ...] = (
            (wire.SUBMIT, self._submit, GROUP),
            (wire.TASK_STATUS, self._task_status, GROUP),
            (wire.HEALTH, self._health, ""),
        )
        for subject, handle, group in doors:
            subscription = await self._transport.subscribe(subject, group=group)
            self._subscriptions.append(subscription)
            self._begin(self._listen(subscription, handle), f"podium-door-{subject}", self._tasks)
        self._begin(self._tell_health(), "podium-door-tells-health", self._tasks)

    async def stop(self) -> None:
        """Take no more, answer what was taken. Safe twice."""
        subscriptions, self._subscriptions = self._subscriptions, []
        for subscription in subscriptions:
            await subscription.stop()
        if self._handling:
            await asyncio.wait(self._handling, timeout=5.0)
        tasks = [*self._tasks, *self._handling]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _begin(self, work: Coroutine[Any, Any, None], name: str, among: set[asyncio.Task[None]]) -> None:
        task = asyncio.get_running_loop().create_task(work, name=name)
        among.add(task)
        task.add_done_callback(among.discard)

    async def _listen(self, subscription: Subscription, handle: Handle) -> None:
        while True:
            try:
                deliveries = await subscription.next()
            except TransportClosedError:
                return
            for delivery in deliveries:
                if handle == self._health and not (delivery.reply and self._leads()):
                    continue  # it is what one of us says to everybody, or another one's to answer
                if len(self._handling) >= MOST_AT_ONCE:
                    self._metrics.counter("podium_submissions_refused_total", "busy").inc()
                    busy = BackpressureError("too many requests are being handled; try again")
                    await self._answer(delivery, self._error("BUSY", str(busy), RETRY_AFTER_MS))
                else:
                    self._begin(self._handle(delivery, handle), "podium-door-request", self._handling)

    async def _handle(self, delivery: Delivery, handle: Handle) -> None:
        try:
            answer = await handle(delivery)
        except QueueFullError as error:
            self._metrics.counter("podium_submissions_refused_total", "queue_full").inc()
            answer = self._error("QUEUE_FULL", str(error), RETRY_AFTER_MS)
        except ExecutionNotFoundError as error:
            answer = self._error("NOT_FOUND", str(error))
        except ConflictError as error:
            answer = self._error("CONFLICT", str(error))
        except InvalidInputError as error:
            self._malformed(delivery, error)
            self._metrics.counter("podium_submissions_refused_total", "invalid").inc()
            answer = self._error("INVALID_MESSAGE", str(error))
        except (StoreError, EngineStoppedError, BackpressureError) as error:
            answer = self._error("UNAVAILABLE", str(error), RETRY_AFTER_MS)
        except Exception as error:  # noqa: BLE001 - others wait for their answers; this one is told, and logged
            _log.error("a request could not be handled", subject=delivery.subject, exc_info=error)
            answer = self._error("INTERNAL", f"{type(error).__name__}: {error}")
        await self._answer(delivery, answer)

    async def _answer(self, delivery: Delivery, answer: wire.NatsMessage) -> None:
        if not delivery.reply or not self._may_answer(delivery.reply):
            return
        try:
            await self._transport.publish(delivery.reply, wire.encoded(answer), _JSON_HEADERS)
        except PayloadTooLargeError as error:
            if not isinstance(answer, wire.ErrorResponse):
                await self._answer(delivery, self._error("TOO_LARGE", f"the answer is too large for the bus: {error}"))
        except PodiumError as error:
            _log.info("an answer could not be given", subject=delivery.reply, error=str(error))

    def _error(self, code: str, message: str, retry_after_ms: int | None = None) -> wire.ErrorResponse:
        return wire.ErrorResponse(**self._head(), error=wire.ErrorBody(code, message[:2_000], retry_after_ms))

    def _head(self) -> dict[str, Any]:
        return {"message_id": self._message_id(), "timestamp": self._clock.now_us() // 1_000}

    # --- what is asked -----------------------------------------------------------------------------------------

    async def _submit(self, delivery: Delivery) -> wire.NatsMessage:
        task_id = await self._submitting.submit(wire.decoded(delivery.data, wire.TaskSubmissionMessage))
        return wire.TaskSubmissionResponse(
            **self._head(), task_id=task_id, result_subject=wire.completion_subject(task_id)
        )

    async def _task_status(self, delivery: Delivery) -> wire.NatsMessage:
        asked = wire.decoded(delivery.data, wire.TaskStatusRequest)
        execution = execution_of(self._podium.settings.tenant, asked.task_id)
        row = await self._podium.store.execution(execution)
        if row is None or row.tenant != self._podium.settings.tenant:
            raise ExecutionNotFoundError(f"there is no task {asked.task_id[:128]}")
        status = ExecutionStatus(row.status)
        if status in FINAL_EXECUTION:
            result = await (await self._podium.follower(execution)).result()
            told = result_of(asked.task_id, result)
            return wire.TaskStatusResponse(**self._head(), task_id=asked.task_id, status=str(status), result=told)
        headline, waits = await self._podium.explain(execution)
        reason = "; ".join(f"{each.task}: {each.because}" for each in waits[:10]) or headline
        return wire.TaskStatusResponse(**self._head(), task_id=asked.task_id, status=str(status), reason=reason)

    async def _health(self, delivery: Delivery) -> wire.NatsMessage:
        return wire.SystemStatusMessage(**self._head(), status=self._status())

    async def _tell_health(self) -> None:
        """Say the system's status to everybody, now and then. Our own ear hears it too, and there is no reply to it."""
        while True:
            await asyncio.sleep(self._health_seconds)
            if not self._leads():
                continue
            message = wire.SystemStatusMessage(**self._head(), status=self._status())
            try:
                await self._transport.publish(wire.HEALTH, wire.encoded(message), _JSON_HEADERS)
            except PodiumError as error:
                _log.info("the system's status could not be told", error=str(error))


def result_of(task_id: str, result: WorkflowResult) -> wire.TaskResult:
    """Return how a submitted task ended, as document 000 has it."""
    if result.status is ExecutionStatus.COMPLETED:
        return wire.TaskResult(
            task_id=task_id,
            status="COMPLETED",
            result=Raw(wire.encoded(result.result)),
            execution_id=result.execution_id,
        )
    cancelled = result.status is ExecutionStatus.CANCELLED
    kind, _, text = (result.error or "Ended: without a reason").partition(": ")
    return wire.TaskResult(
        task_id=task_id,
        status="CANCELLED" if cancelled else "FAILED",
        error=wire.TaskError(text or kind, kind if text else "Ended", retryable=False),
        execution_id=result.execution_id,
    )
