"""How executions begin: a workflow is validated, its input encoded, its agents are found, and its start is committed:
here, or by the process that has its shard.
"""

from __future__ import annotations

from typing import Any

import msgspec

from podium.agents.crew import Crew
from podium.app.delivering import Delivering
from podium.app.owning import Owning
from podium.clock import Clock
from podium.engine import inputs as inp
from podium.engine.admission import counts
from podium.engine.intake import check_same_start
from podium.engine.posting import given_in
from podium.engine.values import MAX_INPUT, value_of
from podium.engine.whereabouts import START
from podium.exceptions import InvalidInputError, PayloadTooLargeError, ShardMovedError
from podium.ids import IdSource, execution_id_for
from podium.settings import Settings
from podium.store.protocol import Blob, Store
from podium.telemetry.logs import get_logger
from podium.workflow.inputs import check_input
from podium.workflow.model import Workflow
from podium.workflow.nesting import check_nesting
from podium.workflow.validation import validate

VALID_KEPT = 64  # workflows that needn't be validated again
_log = get_logger("podium")


class Submitting:
    """Starts executions of one tenant."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        clock: Clock,
        ids: IdSource,
        crew: Crew,
        owning: Owning,
        delivering: Delivering,
        *,
        sets_deadlines: bool,
    ) -> None:
        """One that `sets_deadlines` gives the settings' to executions that name none."""
        self._settings = settings
        self._store = store
        self._clock = clock
        self._ids = ids
        self._crew = crew
        self._owning = owning
        self._delivering = delivering
        self._sets_deadlines = sets_deadlines
        self._valid: dict[int, tuple[Workflow, Workflow]] = {}  # as given and as validated, by the object's id

    async def submit(
        self,
        workflow: Workflow,
        given: Any = None,
        *,
        submission_id: str | None = None,
        priority: int | None = None,
        timeout_seconds: float | None = None,
        **more: Any,
    ) -> str:
        """Start an execution and return its id; it is on disk when this returns.

        `more` are further fields of the start: preferred_agent, submission, notify.

        Raises WorkflowInvalidError, InvalidInputError or AgentBindingError before anything is recorded, ConflictError
        when a limit is reached or the `submission_id` stands for something else.
        """
        workflow = self._validated(workflow)
        encoded = encoded_input(given)
        check_input(workflow, given)
        timeout_seconds = self._deadline(workflow) if timeout_seconds is None else timeout_seconds
        bindings = await self._crew.staff(workflow)
        more |= {"bindings": bindings, "priority": priority, "timeout_seconds": timeout_seconds}
        tenant, engine = self._settings.tenant, self._owning.engine
        if submission_id is not None:
            execution = execution_id_for(tenant, submission_id)
        else:
            execution = engine.new_execution_id() if engine is not None else self._ids.uuid7()
        if engine is not None:
            try:
                return await engine.submit(
                    workflow, encoded, tenant=tenant, submission_id=submission_id, execution=execution, **more
                )
            except ShardMovedError:
                _log.debug("a submission goes to the replica that has its shard", execution=execution)
        await self._post_start(execution, workflow, encoded, **more)
        return execution

    def _deadline(self, workflow: Workflow) -> float | None:
        """Return the deadline of an execution that names none; single tasks have none but their attempts' time."""
        hours = self._settings.workflow_timeout_hours
        wanted = self._sets_deadlines and hours and workflow.config.timeout is None and counts(workflow)
        return hours * 3_600 if wanted else None

    def _validated(self, workflow: Workflow) -> Workflow:
        """Return the workflow as validated; one object is looked at once, since it never changes."""
        known = self._valid.get(id(workflow))
        if known is not None and known[0] is workflow:
            return known[1]
        valid = validate(workflow)
        while len(self._valid) >= VALID_KEPT:
            self._valid.pop(next(iter(self._valid)))
        self._valid[id(workflow)] = (workflow, valid)
        return valid

    async def _post_start(self, execution: str, workflow: Workflow, encoded: bytes, **more: Any) -> None:
        """Have the owner start an execution. Raises ConflictError where its id stands for another start."""
        definition, stored = self._owning.definitions.compile(workflow)
        tenant, now_us = self._settings.tenant, self._clock.now_us()
        value, content = value_of(encoded)
        blobs = [Blob(tenant, definition.digest, stored)]
        if content is not None and value.blob is not None:
            blobs.append(Blob(tenant, value.blob, content))
        await self._store.put(blobs, now_us)
        start = inp.Start(workflow.name, workflow.version, definition.digest, self._ids.seed(), value, **more)
        await self._delivering.post(execution, START, start)
        first = await self._store.history(execution, limit=1)
        for row in first:  # somebody else's start may have been there before
            check_same_start(await given_in(self._store, row), start)


def encoded_input(given: Any) -> bytes:
    """Return an input as JSON. Raises InvalidInputError, PayloadTooLargeError."""
    try:
        encoded = msgspec.json.encode(given)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInputError(f"the input can't be written as JSON: {error}") from error
    if len(encoded) > MAX_INPUT:
        raise PayloadTooLargeError(f"the input has {len(encoded)} bytes; at most {MAX_INPUT} are taken")
    check_nesting(encoded, "the input")
    return encoded
