"""`podium.run`: a workflow from start to end in one call, from plain code and from a notebook."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterable
from os import PathLike
from typing import TYPE_CHECKING, Any, TypeVar

from podium.api.agents import definitions_of
from podium.api.loading import workflow_from
from podium.app import Podium
from podium.settings import load_settings
from podium.workflow.model import Workflow, WorkflowResult

if TYPE_CHECKING:
    from podium.workflow.tracing import WorkflowFunction

T = TypeVar("T")


def run(
    workflow: Workflow | WorkflowFunction[..., Any] | str | PathLike[str],
    input: Any = None,
    *,
    agents: Iterable[str | type | Callable[..., Any]] = (),
    database: str | PathLike[str] | None = None,
    submission_id: str | None = None,
    timeout_seconds: float | None = None,
) -> WorkflowResult:
    """Run a workflow to its end and return its result.

    `workflow` is a `Workflow`, a function decorated with `@podium.workflow`, a YAML file's path or YAML text; `agents`
    are specs (`module:Name`), agent classes or task functions, by default those that the decorated function calls. The
    run is durable in `database` (default `.podium/podium.db`; `:memory:` keeps nothing): after a crash, `podium resume`
    goes on with it. Works inside a running event loop too (Jupyter): then in a thread of its own.

    Raises InvalidInputError (a subclass says what is wrong) before anything is recorded. An execution that fails is
    returned, not raised: see `WorkflowResult.status` and `error`.
    """
    loaded = workflow_from(workflow)
    chosen = tuple(agents)
    if not chosen and not isinstance(workflow, (Workflow, str, PathLike)):
        chosen = workflow.agents
    specs, definitions = definitions_of(chosen)
    settings = load_settings(database=str(database) if database is not None else None)

    async def whole() -> WorkflowResult:
        async with await Podium.open(settings, agents=specs, definitions=definitions) as podium:
            return await podium.run(loaded, input, submission_id=submission_id, timeout_seconds=timeout_seconds)

    return run_to_end(whole())


def run_to_end(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine from synchronous code, whether or not an event loop runs in this thread."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    outcome: list[T] = []
    failure: list[BaseException] = []

    def in_thread() -> None:
        try:
            outcome.append(asyncio.run(work))
        except BaseException as error:  # noqa: BLE001 - handed to the caller's thread as it is
            failure.append(error)

    thread = threading.Thread(target=in_thread, name="podium-run")
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
    return outcome[0]
