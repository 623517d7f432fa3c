"""`podium webhooks`: what was told to other people's servers, what waits, and whether they take it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from podium.cli.manners import Manners, as_command

if TYPE_CHECKING:
    from podium.settings import Webhook
    from podium.webhooks.deliveries import Delivery, Tried

webhooks = typer.Typer(
    help="Webhooks, who are told of executions' ends: list, retry, send-test.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
STATES = ("pending", "delivered", "given up")
_COLORS = {"pending": "yellow", "delivered": "green", "given up": "red"}


def list_deliveries(
    manners: Manners,
    state: Annotated[
        str | None, typer.Option("--state", metavar="STATE", help="Only pending, delivered or given-up ones.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, metavar="N", help="At most so many.")] = 50,
) -> int:
    """List deliveries, the newest first."""
    from podium.cli.printing import print_json, say
    from podium.cli.sessions import finish, looking
    from podium.exceptions import InvalidInputError
    from podium.webhooks.courier import shown_webhooks
    from podium.webhooks.outbox import stored

    wanted = state.replace("-", " ") if state is not None else None
    if wanted is not None and wanted not in STATES:
        raise InvalidInputError(f"--state must be pending, delivered or given-up, not {state!r}")

    async def work() -> list[tuple[Delivery, Tried]]:
        async with looking(manners) as podium:
            found, _ = await stored(podium.store)
            return [each for each in found if each[0].tenant == podium.settings.tenant]

    found = [each for each in finish(work()) if wanted in (None, each[1].state)]
    found = sorted(found, key=lambda each: each[0].key, reverse=True)[:limit]
    names = shown_webhooks(manners.settings())
    if manners.json:
        print_json([_document(*each, names) for each in found])
    elif found:
        say(_table(found, names))
    else:
        say("no deliveries" if names else "no deliveries; podium.yaml names no webhooks")
    return 0


def retry_delivery(
    manners: Manners, delivery: Annotated[str, typer.Argument(metavar="ID", help="The delivery's id.")]
) -> int:
    """Try a delivery again now, also one that was given up."""
    from podium.cli.printing import print_json, say
    from podium.cli.sessions import finish

    told = finish(_retried(manners, delivery))
    if manners.json:
        print_json({"retried": delivery, "now": told})
    else:
        say(f"{delivery} is tried again{'' if told else ' as soon as an orchestrator runs'}")
    return 0


def send_test(
    manners: Manners,
    url: Annotated[str | None, typer.Argument(metavar="[URL]", help="Only this one of the settings.")] = None,
) -> int:
    """Send a test to each webhook of the settings, and say what it answers."""
    from podium.cli.printing import print_json, say, wrapped
    from podium.cli.sessions import finish
    from podium.exceptions import InvalidInputError
    from podium.settings import shown_url

    known = manners.settings().webhooks
    chosen = [webhook for webhook in known if url in (None, webhook.url)]
    if not chosen:
        raise InvalidInputError("podium.yaml names no webhooks" if not known else "no webhook of the settings has it")
    answers = finish(_tested(manners, chosen))
    documents = [
        {"url": shown_url(webhook.url), "taken": not problem, "status": status or None, "error": problem or None}
        for webhook, (status, problem) in zip(chosen, answers, strict=True)
    ]
    if manners.json:
        print_json(documents)
    else:
        for one in documents:
            say(wrapped(f"{one['url']}: {one['error'] or 'taken (HTTP ' + str(one['status']) + ')'}"))
    return 0 if all(one["taken"] for one in documents) else 1


webhooks.command("list")(as_command(list_deliveries))
webhooks.command("retry")(as_command(retry_delivery))
webhooks.command("send-test")(as_command(send_test))


async def _retried(manners: Manners, given: str) -> bool:
    """Have the owner try a delivery again; where there is none, note that it is due. True if an owner does it now."""
    import msgspec

    from podium.cli.sessions import looking
    from podium.clock import SystemClock
    from podium.exceptions import ConflictError, InvalidInputError
    from podium.ids import shard_of
    from podium.store.protocol import ModelRow
    from podium.webhooks.deliveries import TRIES, Tried
    from podium.webhooks.outbox import stored

    async with looking(manners) as podium:
        found = [each for each, _ in (await stored(podium.store))[0] if each.id.startswith(given)]
        if len(found) != 1 or not given:
            raise InvalidInputError(f"{'several deliveries begin with' if found else 'there is no delivery'} {given}")
        (delivery,) = found
        answer = await podium.ask_owner({"op": "retry_webhook", "id": delivery.id}, delivery.execution)
        if answer is not None and "error" in answer:
            raise ConflictError(f"{delivery.id} can't be tried again: {answer['error']}")
        if answer is not None:
            return True
        now_us, shard = SystemClock().now_us(), shard_of(delivery.execution)
        row = ModelRow(delivery.id, msgspec.json.encode(Tried(first_us=now_us, next_us=now_us)))
        done = False
        while not done:  # somebody else may write in between
            writes = await podium.store.cursor(TRIES, shard)
            done = await podium.store.put_model(TRIES, shard, writes + 1, [row], before=writes)
        return False


async def _tested(manners: Manners, chosen: list[Webhook]) -> list[tuple[int, str]]:
    import asyncio

    import msgspec

    from podium.clock import SystemClock
    from podium.exceptions import WebhookError
    from podium.ids import IdSource
    from podium.webhooks.courier import in_words, problem_of, send
    from podium.webhooks.deliveries import printable

    settings, now_us, ids = manners.settings(), SystemClock().now_us(), IdSource()

    async def test(webhook: Webhook) -> tuple[int, str]:
        delivery = ids.uuid7()
        body = msgspec.json.encode({"id": delivery, "event": "test", "sent_at": in_words(now_us)})
        try:
            answer = await send(settings, webhook, delivery, "test", body, now_us)
        except WebhookError as error:
            return 0, printable(str(error))
        return answer.status, problem_of(answer.status)

    return list(await asyncio.gather(*(test(webhook) for webhook in chosen)))


def _document(delivery: Delivery, tried: Tried, names: dict[str, str]) -> dict[str, Any]:
    from podium.cli.times import iso

    return {
        "id": delivery.id,
        "event": delivery.event,
        "execution_id": delivery.execution,
        "workflow": delivery.workflow,
        "url": names.get(delivery.webhook),
        "ended_at": iso(delivery.ended_us),
        "state": tried.state.replace(" ", "_"),
        "attempts": tried.attempts,
        "last_at": iso(tried.last_us or None),
        "next_at": iso(tried.next_us or None),
        "status": tried.status or None,
        "error": tried.error or None,
    }


def _table(found: list[tuple[Delivery, Tried]], names: dict[str, str]) -> str:
    from podium.cli.printing import painted
    from podium.cli.tables import table
    from podium.cli.times import date_and_time

    rows = [
        (
            delivery.id,
            delivery.event,
            tried.state,
            str(tried.attempts),
            date_and_time(tried.next_us or tried.last_us) if tried.next_us or tried.last_us else "",
            tried.error or names.get(delivery.webhook, "not in the settings"),
        )
        for delivery, tried in found
    ]
    titles = ("ID", "EVENT", "STATE", "TRIES", "WHEN", "TO, OR WHY NOT")
    return table(titles, rows, right=frozenset({3}), paint={2: lambda text: painted(text, _COLORS[text])})
