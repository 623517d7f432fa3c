"""`podium waiting`, `podium answer`: what waits for a person, and a person's answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from podium.cli.manners import Manners
from podium.cli.resuming import ExecutionId

if TYPE_CHECKING:
    from podium.app import Podium
    from podium.engine.state import State

MOST_LISTED = 1_000


def waiting(
    manners: Manners,
    assignee: Annotated[str, typer.Option("--assignee", metavar="NAME", help="Only what this person is asked.")] = "",
) -> int:
    """List what waits for a person, the oldest first."""
    from podium.cli.printing import print_json, say
    from podium.cli.sessions import finish, looking

    async def whole() -> None:
        async with looking(manners) as podium:
            asked = await _asked(podium, assignee)
            if manners.json:
                print_json({"waiting": asked})
            elif not asked:
                say(f"nothing waits for {assignee or 'a person'}")
            else:
                say(_table(asked))

    finish(whole())
    return 0


def answer(
    manners: Manners,
    execution: ExecutionId,
    task: Annotated[str, typer.Argument(metavar="TASK", help="The task that asks.")],
    decision: Annotated[
        str, typer.Argument(metavar="[DECISION]", help="Of a task that has failed and asks: retry, skip or fail.")
    ] = "",
    value: Annotated[
        str | None,
        typer.Option("--value", metavar="JSON", help="The answer: JSON, or @FILE, or @- for standard input."),
    ] = None,
    field: Annotated[
        list[str] | None,
        typer.Option("--field", metavar="NAME=VALUE", help="One field of the answer; may be repeated."),
    ] = None,
    by: Annotated[str | None, typer.Option("--by", metavar="NAME", help="Who answers; else the user's name.")] = None,
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="With a decision: why.")] = "",
    run: Annotated[
        int,
        typer.Option(
            "--run",
            metavar="N",
            min=1,
            help="In which run of a loop it was asked; else, the present one.",
            show_default=False,
        ),
    ] = 0,
) -> int:
    """Answer what a task asks; the first answer counts.

    A task that has failed and asks (on_failure: ask) takes a decision: retry, skip or fail.
    """
    import os

    from podium.cli.printing import print_json, say, wrapped
    from podium.cli.sessions import finish, found, looking

    if decision:
        return _decided(manners, execution, task, decision, value is not None or bool(field), reason, by, run)
    who = by if by is not None else os.environ.get("USER", "")

    async def whole() -> None:
        async with looking(manners) as podium:
            row = await found(podium, execution)
            state = (await podium.follower(row.id)).state
            _refuse_undecided(state, task)
            given = _given(state, task, value, field or [])
            await podium.answer(row.id, task, given, by=who, run=run or state.run)
            if manners.json:
                print_json({"execution_id": row.id, "task": task, "by": who})
            else:
                say(wrapped(f"{task} of {row.id} is answered{f' by {who}' if who else ''}"))

    finish(whole())
    return 0


def _decided(
    manners: Manners, execution: str, task: str, decision: str, valued: bool, reason: str, by: str | None, run: int
) -> int:
    """Take a decision about a task that has failed. Raises InvalidInputError for a decision with a value."""
    from podium.cli.steering import decide_asked
    from podium.exceptions import InvalidInputError

    if valued:
        raise InvalidInputError("a decision has no value; `podium complete` gives the result of a task that has failed")
    return decide_asked(manners, execution, task, decision, reason, by, run)


def _refuse_undecided(state: State, task: str) -> None:
    """Raise InvalidInputError for an answer to a task that wants a decision."""
    from podium.engine.asking import DECISIONS, asks
    from podium.exceptions import InvalidInputError

    known = state.tasks.get(task)
    if known is not None and asks(known):
        raise InvalidInputError(f"task {task} has failed and asks what becomes of it: say {', '.join(DECISIONS)}")


def _given(state: State, task: str, value: str | None, fields: list[str]) -> Any:
    """Return the answer that a person wrote. Raises InvalidInputError."""
    from podium.cli.given import json_value
    from podium.exceptions import InvalidInputError
    from podium.workflow.forms import field_value

    whole = None if value is None else json_value(value, "--value")
    if not fields:
        return whole
    if value is not None and not isinstance(whole, dict):
        raise InvalidInputError("--field adds to an object, but --value isn't one")
    asked = state.tasks.get(task)
    form = asked.compiled.spec.form if asked is not None else None
    found: dict[str, Any] = dict(whole or {})
    for pair in fields:
        name, equals, text = pair.partition("=")
        if not equals or not name.strip():
            raise InvalidInputError(f"--field takes NAME=VALUE, not {pair[:60]!r}")
        try:
            found[name.strip()] = field_value(form, name.strip(), text)
        except ValueError as error:
            raise InvalidInputError(f"--field {error}") from error
    return found


async def _asked(podium: Podium, assignee: str) -> list[dict[str, Any]]:
    """Return what people are asked by executions that go on, the oldest first."""
    from podium.engine.state import PEOPLE

    found: list[dict[str, Any]] = []
    for execution in await _that_ask(podium):
        state = (await podium.follower(execution)).state
        for task in [] if state.final else state.tasks.values():
            wait = task.wait
            if wait is None or wait.awaits not in PEOPLE or (assignee and wait.name != assignee):
                continue
            found.append(await _document(podium, state, task.path))
    return sorted(found, key=lambda one: str(one["since"]))[:MOST_LISTED]


async def _that_ask(podium: Podium) -> list[str]:
    """Return the executions that go on and of which a task waits for a person."""
    import msgspec

    from podium.workflow.model import FINAL_EXECUTION, ExecutionStatus

    unfinished = [str(one) for one in ExecutionStatus if one not in FINAL_EXECUTION]
    rows = await podium.store.executions(podium.settings.tenant, unfinished, limit=1_000_000)
    return [row.id for row in rows if msgspec.json.decode(row.summary or b"{}").get("people")]


async def _document(podium: Podium, state: State, path: str) -> dict[str, Any]:
    from podium.engine.asking import DECISIONS, asks, error_text
    from podium.engine.outside import in_words

    task = state.tasks[path]
    wait = task.wait
    assert wait is not None
    return {
        "execution_id": state.id,
        "workflow": state.definition.workflow.name,
        "task": path,
        "run": state.run,
        "title": task.compiled.spec.name,
        "assignee": wait.name or None,
        "since": in_words(task.ready_us),
        "escalates_at": in_words(wait.escalates_us) if wait.escalates_us else None,
        "escalates_to": wait.escalates_to or None,
        "fails_at": in_words(wait.timeout_us) if wait.timeout_us else None,
        "shown": {"error": error_text(task)} if asks(task) else await _shown(podium, state, path),
        "form": {"enum": list(DECISIONS)} if asks(task) else task.compiled.spec.form,
    }


async def _shown(podium: Podium, state: State, path: str) -> Any:
    """Return what the person is shown: the task's arguments."""
    from podium.engine.assignments import arguments_of
    from podium.engine.recovery import load_texts
    from podium.engine.scope import BlobMissing, decoded
    from podium.exceptions import ExpressionError

    if state.tasks[path].compiled.arguments is None:
        return None
    while True:
        try:
            return decoded(arguments_of(state, state.tasks[path]))
        except BlobMissing as missing:
            await load_texts(podium.store, state, missing.digests)
        except ExpressionError as error:
            return {"error": str(error)}


def _table(asked: list[dict[str, Any]]) -> str:
    from podium.cli.tables import table

    rows = [
        (
            one["execution_id"],
            one["task"] if one["run"] == 1 else f"{one['task']} (run {one['run']})",
            one["assignee"] or "anybody",
            one["since"],
            one["title"] if one["title"] != one["task"] else one["workflow"],
        )
        for one in asked
    ]
    return table(("EXECUTION", "TASK", "ASKED", "SINCE", "WHAT"), rows)
