"""What the log says, told to whoever listens on the bus: document 000's system events of tasks, document 004's events,
and to each client the end of what it submitted.

It follows the log by cursor: an event is told after its commit, at least once, also when the process died in between.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid5

from msgspec import Raw, Struct

from podium.bus.transport import Stream, Transport
from podium.engine import events as ev
from podium.engine import inputs as inp
from podium.engine.codec import decode_input, decode_row
from podium.engine.numbering import AttemptNumbers
from podium.engine.projections import Projection, Row
from podium.engine.recovery import numbers_before
from podium.engine.values import Value
from podium.exceptions import (
    BackpressureError,
    CorruptHistoryError,
    MessageBusError,
    PayloadTooLargeError,
    PodiumError,
    StoreUnavailableError,
)
from podium.fleet import wire
from podium.ids import shard_of
from podium.service.described import Described, Descriptions, WorkflowOf
from podium.service.listening import SystemEvents
from podium.service.submissions import TASK
from podium.store.protocol import LogRow, Store
from podium.telemetry.logs import get_logger
from podium.workflow.model import Workflow

EVENTS_SUBJECT = "podium.event"
KNOWN_KEPT = 50_000
PAUSE_SECONDS = 0.2
STOP_EVENT_SECONDS = 2.0  # for what is to be told at the stop
HEADERS_ROOM = 512  # bytes that headers may take of a message
_CHECKPOINTS = UUID("6b1f0f5e-52a5-5c0c-9d2b-636865636b70")
_JSON_HEADERS = {"Content-Type": wire.CONTENT_TYPE}
_ENDS = (ev.ExecutionCompleted, ev.ExecutionFailed, ev.ExecutionCancelled)
_log = get_logger("podium.service")


def events_stream(retention_hours: float) -> Stream:
    """Return the stream that keeps document 004's events for so long."""
    return Stream("PODIUM_EVENTS", (f"{EVENTS_SUBJECT}.>",), max_age_seconds=retention_hours * 3_600)


class _Outcome(Struct):
    """How a submitted task has ended, as far as it has."""

    last_result: Value | None = None
    last_error: wire.TaskError | None = None


class Known(Struct):
    """What announcing must know of an execution beside its rows."""

    described: Described
    task_id: str  # the id outside, of a submission
    notify: str = ""
    last_result: Value | None = None
    last_error: wire.TaskError | None = None
    numbers: AttemptNumbers | None = None  # of an execution that may have several runs

    @property
    def submitted(self) -> bool:
        """Whether it is a single task that a client submitted."""
        return self.described.submitted

    def in_run(self, number: int) -> int:
        """Return which attempt of its task in the present run one is."""
        return number if self.numbers is None else self.numbers.of(number)


class _Assigned(Struct, gc=False):
    """Document 004's `agent.task_assigned`: one for each attempt, so it isn't made as a dict."""

    event: str
    workflow_id: str
    execution_id: str
    agent_id: str
    task_id: str
    dependencies: tuple[str, ...]
    estimated_duration: int
    attempt: int
    timestamp: str


class Announcer:
    """Publishes what rows mean. Its `take` is a projection's."""

    def __init__(
        self,
        transport: Transport,
        store: Store,
        workflow_of: WorkflowOf,
        message_id: Callable[[], str],
        agents_of: Callable[[Workflow], list[str]] = lambda workflow: [],
        events: SystemEvents | None = None,
    ) -> None:
        """`agents_of` are the ids of agents that could do a workflow's tasks now; `events` those who hear system
        events in this process.
        """
        self._events = events or SystemEvents()
        self._transport = transport
        self._store = store
        self._descriptions = Descriptions(workflow_of)
        self._message_id = message_id
        self._agents_of = agents_of
        self._known: OrderedDict[str, Known] = OrderedDict()
        self._moment: tuple[int, str] = (0, "")  # the latest time in words: rows of one commit share it
        self.unreadable = 0

    def forget(self, shards: Collection[int]) -> None:
        """Another replica announces the rows of these shards from now on: what is known of them will be old."""
        for execution in [each for each in self._known if shard_of(each) in shards]:
            del self._known[execution]

    async def take(self, rows: Sequence[Row]) -> None:
        """Tell what these rows say; while the bus is gone, wait: nothing is left out."""
        for row, events in rows:
            try:
                await self._take_row(row, events)
            except StoreUnavailableError:
                raise
            except Exception as error:  # noqa: BLE001 - everybody else's announcements hang on this loop
                self.unreadable += 1
                _log.error("a row can't be announced", execution=row.execution, exc_info=error)

    async def _take_row(self, row: LogRow, events: list[ev.Event] | None) -> None:
        if events is None:
            payload = await self._store.get(row.tenant, row.payload_blob) if row.payload_blob else None
            events = decode_row(row, payload)[1]
        known = await self._knowledge(row)
        if known.numbers is not None:
            known.numbers.take(events)
        for event in events:
            await self._tell(row, known, event)
            if isinstance(event, _ENDS):
                self._known.pop(row.execution, None)

    async def _knowledge(self, row: LogRow) -> Known:
        known = self._known.get(row.execution)
        if known is not None:
            return known
        first = row if row.sequence == 1 else (await self._store.history(row.execution, limit=1))[0]
        payload = await self._store.get(first.tenant, first.payload_blob) if first.payload_blob else first.payload
        start = decode_input(payload)
        if not isinstance(start, inp.Start):
            raise CorruptHistoryError(f"the history of {row.execution} doesn't begin with a start")
        described = await self._descriptions.get(row.tenant, start.definition)
        known = Known(described, start.submission or row.execution, start.notify)
        if described.workflow.continue_as_new is not None:
            begins = row.sequence == 1
            known.numbers = (
                AttemptNumbers() if begins else await numbers_before(self._store, row.execution, row.sequence)
            )
        self._known[row.execution] = known
        while len(self._known) > KNOWN_KEPT:
            self._known.popitem(last=False)
        return known

    async def _tell(self, row: LogRow, known: Known, event: ev.Event) -> None:
        match event:
            case ev.ExecutionStarted():
                await self._started(row, known)
            case ev.AttemptGranted() if event.agent and not (known.submitted and event.task != TASK):
                await self._assigned(row, known, event)
            case ev.TaskCompleted():
                await self._completed(row, known, event)
            case ev.TaskFailed():
                await self._failed(row, known, event)
            case ev.CheckpointSaved() | ev.ExecutionPaused():
                await self._checkpoint(row, known, event)
            case _ if isinstance(event, _ENDS) and known.submitted:
                await self._ended(row, known, event)
            case _:
                pass

    # --- document 004 ------------------------------------------------------------------------------------------

    async def _started(self, row: LogRow, known: Known) -> None:
        workflow = known.described.workflow
        await self._event(
            "workflow.execution_started",
            row,
            known,
            {
                "orchestration_pattern": str(workflow.orchestration_pattern),
                "estimated_duration": known.described.estimated_seconds,
                "allocated_agents": self._agents_of(workflow),
            },
        )
        await self._system(
            row,
            wire.SystemEventType.TASK_SUBMITTED,
            {"taskId": known.task_id, "executionId": row.execution, "taskType": workflow.name},
        )

    async def _assigned(self, row: LogRow, known: Known, event: ev.AttemptGranted) -> None:
        name = "agent.task_assigned"
        task = known.described.tasks[event.task.partition("[")[0]]
        said = _Assigned(
            name,
            known.described.workflow_id,
            row.execution,
            event.agent,
            known.task_id if known.submitted else event.task,
            task.dependencies,
            task.estimated_seconds,
            known.in_run(event.number),
            self._in_words(row.now_us),
        )
        await self._publish(f"{EVENTS_SUBJECT}.{name}", wire.encoded(said))

    async def _checkpoint(self, row: LogRow, known: Known, event: ev.CheckpointSaved | ev.ExecutionPaused) -> None:
        if isinstance(event, ev.CheckpointSaved):
            place = f"{event.task}:{event.number}:{event.nth}"
            snapshot = {"task": event.task, "attempt": known.in_run(event.number)}
        else:
            place, snapshot = "paused", {"status": "paused"}
        await self._event(
            "workflow.checkpoint_created",
            row,
            known,
            {
                "checkpoint_id": str(uuid5(_CHECKPOINTS, f"{row.execution}:{row.sequence}:{place}")),
                "state_snapshot": {**snapshot, "sequence": row.sequence + row.event_count - 1},
                "recovery_instructions": {"resume": f"podium resume {row.execution}", "from_sequence": row.sequence},
            },
        )

    async def _event(self, name: str, row: LogRow, known: Known, fields: dict[str, Any]) -> None:
        said = {
            "event": name,
            "workflow_id": known.described.workflow_id,
            "execution_id": row.execution,
            **fields,
            "timestamp": self._in_words(row.now_us),
        }
        await self._publish(f"{EVENTS_SUBJECT}.{name}", wire.encoded(said))

    def _in_words(self, at_us: int) -> str:
        if self._moment[0] != at_us:
            self._moment = at_us, datetime.fromtimestamp(at_us / 1e6, UTC).isoformat()
        return self._moment[1]

    # --- document 000 ------------------------------------------------------------------------------------------

    async def _completed(self, row: LogRow, known: Known, event: ev.TaskCompleted) -> None:
        if known.submitted and event.task != TASK:
            return
        known.last_result = event.result
        await self._system(row, wire.SystemEventType.TASK_COMPLETED, self._task(row, known, event.task, event.number))

    async def _failed(self, row: LogRow, known: Known, event: ev.TaskFailed) -> None:
        known.last_error = _error_of(event)
        if known.submitted:
            return  # told with its end
        error = {"type": event.error.type, "message": event.error.message}
        await self._system(
            row, wire.SystemEventType.TASK_FAILED, {**self._task(row, known, event.task, 0), "error": error}
        )

    def _task(self, row: LogRow, known: Known, task: str, number: int) -> dict[str, Any]:
        task_id = known.task_id if known.submitted else f"{row.execution}:{task}"
        said = {
            "taskId": task_id,
            "executionId": row.execution,
            "workflow": known.described.workflow.name,
            "taskName": task,
        }
        return {**said, "attempt": known.in_run(number)} if number else said

    async def _ended(self, row: LogRow, known: Known, event: ev.Event) -> None:
        """Tell a client the end of what it submitted; a failure is told to everybody as well."""
        result = await self._result(row, known, event)
        if not isinstance(event, ev.ExecutionCompleted):
            await self._system(
                row,
                wire.SystemEventType.TASK_FAILED,
                {**self._task(row, known, TASK, 0), "error": result.error, "status": result.status},
            )
        head: dict[str, Any] = {"message_id": self._message_id(), "timestamp": row.now_us // 1_000}
        said = wire.encoded(wire.TaskResultMessage(**head, result=result))
        if len(said) > self._transport.capabilities.max_payload - HEADERS_ROOM:
            said = wire.encoded(wire.TaskResultMessage(**head, result=without_result(result, len(said))))
        for subject in (wire.completion_subject(known.task_id), known.notify):
            if subject:
                await self._publish(subject, said)

    async def _result(self, row: LogRow, known: Known, event: ev.Event) -> wire.TaskResult:
        task_id, execution = known.task_id, row.execution
        if isinstance(event, ev.ExecutionCompleted):
            value = known.last_result or (await self._from_history(execution)).last_result or Value(json=Raw(b"null"))
            text = bytes(value.json) if value.blob is None else await self._store.get(row.tenant, value.blob)
            return wire.TaskResult(task_id=task_id, status="COMPLETED", result=Raw(text), execution_id=execution)
        status: Any = "CANCELLED" if isinstance(event, ev.ExecutionCancelled) else "FAILED"
        error = known.last_error or (await self._from_history(execution)).last_error
        error = error or wire.TaskError(f"the task is {status.lower()}", "Ended", retryable=False)
        return wire.TaskResult(task_id=task_id, status=status, error=error, execution_id=execution)

    async def _from_history(self, execution: str) -> _Outcome:
        """Return how the task ended from the log: it was recorded before this reader's place, perhaps at another
        replica.
        """
        found, after = _Outcome(), 0
        while rows := await self._store.history(execution, after):
            for row in rows:
                payload = await self._store.get(row.tenant, row.payload_blob) if row.payload_blob else None
                for event in decode_row(row, payload)[1]:
                    if isinstance(event, ev.TaskCompleted) and event.task == TASK and event.result is not None:
                        found.last_result = event.result
                    elif isinstance(event, ev.TaskFailed):
                        found.last_error = _error_of(event)
            after = rows[-1].sequence
        return found

    async def _system(self, row: LogRow, kind: wire.SystemEventType, payload: dict[str, Any]) -> None:
        said = wire.SystemEventMessage(
            message_id=self._message_id(), timestamp=row.now_us // 1_000, event_type=kind, payload=payload
        )
        self._events.tell(said)
        await self._publish(wire.SYSTEM_EVENT, wire.encoded(said))

    async def _publish(self, subject: str, data: bytes) -> None:
        while True:
            try:
                await self._transport.publish(subject, data, _JSON_HEADERS)
            except PayloadTooLargeError as error:
                _log.warning("an event is too large for the bus", subject=subject, error=str(error))
                return
            except (MessageBusError, BackpressureError) as error:
                _log.debug("the bus takes no event now", error=str(error))
                await asyncio.sleep(PAUSE_SECONDS)
                continue
            except PodiumError as error:
                _log.warning("an event could not be told", subject=subject, error=str(error))
            return


def _error_of(event: ev.TaskFailed) -> wire.TaskError:
    return wire.TaskError(event.error.message, event.error.type, event.error.retryable)


def without_result(result: wire.TaskResult, size: int) -> wire.TaskResult:
    """Return an end whose result is too large for the bus: how it ended, and where the result is to be had."""
    reason = (
        f"the result is too large for the bus ({size:,} bytes); `podium status {result.execution_id} --json` has it"
    )
    return wire.TaskResult(
        task_id=result.task_id,
        status=result.status,
        error=wire.TaskError(reason, "ResultTooLarge", retryable=False),
        execution_id=result.execution_id,
    )


async def finish_announcing(projection: Projection) -> None:
    """Tell what was committed last, if the bus takes it; what it doesn't take is told at the next start."""
    try:
        async with asyncio.timeout(STOP_EVENT_SECONDS):
            await projection.caught_up()
    except TimeoutError:
        _log.warning("not everything could be announced; the next start goes on with it")
    await projection.stop()
