"""`podium dlq`: the dead letters of the bus, messages that nobody could deal with: seen, tried again, dropped."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from podium.cli.manners import Manners, as_command

if TYPE_CHECKING:
    from podium.bus.dead_letters import DeadLetter, DeadLetters

dlq = typer.Typer(
    help="Dead letters, messages that nobody could deal with: list, show, retry, drop.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
BusOption = Annotated[
    str | None,
    typer.Option("--bus", metavar="URL", help="The bus. [default: the one of the settings, else that of `podium up`]"),
]
Letters = Annotated[list[int], typer.Argument(metavar="ID…", help="Dead letters; `podium dlq list` numbers them.")]
Everything = Annotated[bool, typer.Option("--all", help="All there are.")]
SomeLetters = Annotated[list[int] | None, typer.Argument(metavar="[ID…]", help="Dead letters, by number.")]
_PAGE = 500


def list_letters(
    manners: Manners,
    bus: BusOption = None,
    after: Annotated[int, typer.Option("--after", metavar="ID", help="Only those behind this one.")] = 0,
    limit: Annotated[int, typer.Option("--limit", min=1, metavar="N", help="At most so many.")] = 100,
) -> int:
    """List the dead letters, oldest first."""
    from podium.cli.printing import print_json, say
    from podium.cli.sessions import finish
    from podium.cli.tables import table
    from podium.cli.times import iso

    async def work() -> list[DeadLetter]:
        async with _letters(manners, bus) as letters:
            return await letters.list(after, limit)

    found = finish(work())
    if manners.json:
        print_json([_summary(letter) for letter in found])
    elif not found:
        say("no dead letters")
    else:
        rows = [(str(one.id), iso(one.dead_us) or "", one.subject, str(one.size), one.reason) for one in found]
        say(table(("ID", "SINCE", "SUBJECT", "BYTES", "REASON"), rows, right=frozenset({0, 3})))
        if len(found) == limit:
            say(f"there may be more: podium dlq list --after {found[-1].id}")
    return 0


def show_letter(
    manners: Manners, letter: Annotated[int, typer.Argument(metavar="ID", help="The dead letter.")],
    bus: BusOption = None,
) -> int:  # fmt: skip
    """Show one: its reason, its headers, and all its bytes."""
    from podium.cli.printing import print_json, say, wrapped
    from podium.cli.sessions import finish
    from podium.cli.times import iso

    async def work() -> DeadLetter:
        async with _letters(manners, bus) as letters:
            return await letters.show(letter)

    found = finish(work())
    if manners.json:
        print_json({**_summary(found), "headers": found.headers, **_content(found)})
        return 0
    say(f"{found.id}  {found.subject}  {iso(found.dead_us)}  {found.size} bytes")
    say(wrapped(found.reason))
    for name, value in found.headers.items():
        say(wrapped(f"{name}: {value if value.isprintable() else repr(value)}"))
    say()
    say(_readable(found))
    return 0


def retry_letters(
    manners: Manners, letters: SomeLetters = None, bus: BusOption = None, every: Everything = False
) -> int:
    """Send dead letters again, byte for byte, on the subjects they came on; they are dead letters no more."""
    return _each(manners, letters, bus, every, "sent again")


def drop_letters(
    manners: Manners, letters: SomeLetters = None, bus: BusOption = None, every: Everything = False
) -> int:
    """Remove dead letters for good."""
    return _each(manners, letters, bus, every, "dropped")


dlq.command("list")(as_command(list_letters))
dlq.command("show")(as_command(show_letter))
dlq.command("retry")(as_command(retry_letters))
dlq.command("drop")(as_command(drop_letters))


def _each(manners: Manners, given: list[int] | None, bus: str | None, every: bool, done: str) -> int:
    from podium.cli.printing import print_json, say
    from podium.cli.sessions import finish
    from podium.exceptions import InvalidInputError

    if bool(given) == every:
        raise InvalidInputError("give the dead letters' numbers, or --all")

    async def work() -> list[int]:
        async with _letters(manners, bus) as letters:
            chosen = await _all_now(letters) if every else list(dict.fromkeys(given or ()))
            for letter in chosen:
                if done == "dropped":
                    await letters.drop(letter)
                else:
                    await letters.retry(letter)
                if not manners.json:
                    say(f"{letter} {done}")
            return chosen

    finished = finish(work())
    if manners.json:
        print_json({done.replace(" ", "_"): finished})
    elif not finished:
        say("no dead letters")
    return 0


async def _all_now(letters: DeadLetters) -> list[int]:
    """Return those there are at the beginning: what is sent again may come back, and is another one then."""
    found: list[int] = []
    while page := await letters.list(found[-1] if found else 0, _PAGE):
        found += [letter.id for letter in page]
    return found


@asynccontextmanager
async def _letters(manners: Manners, bus: str | None) -> AsyncIterator[DeadLetters]:
    from podium.bus.dead_letters import DeadLetters
    from podium.bus.opening import transport_for
    from podium.cli.sessions import configure_log
    from podium.settings import bus_url

    configure_log(manners.debug)
    settings = manners.settings(bus=bus)
    transport = transport_for(bus_url(settings) or f"nats://{settings.nats}", settings)
    await transport.start()
    try:
        yield DeadLetters(transport)
    finally:
        await transport.stop()


def _summary(letter: DeadLetter) -> dict[str, Any]:
    from podium.cli.times import iso

    return {
        "id": letter.id,
        "reason": letter.reason,
        "subject": letter.subject,
        "at": iso(letter.dead_us),
        "bytes": letter.size,
    }


def _content(letter: DeadLetter) -> dict[str, Any]:
    """Return the bytes as text where they are text, else in base64; a frame's messages beside them."""
    import base64

    try:
        body: dict[str, Any] = {"data": letter.data.decode()}
    except UnicodeDecodeError:
        body = {"data_base64": base64.b64encode(letter.data).decode()}
    messages = _messages(letter)
    return {**body, "messages": messages} if messages else body


def _messages(letter: DeadLetter) -> list[Any]:
    """Return the messages of a frame that can be read, as foreign clients would see them."""
    import msgspec

    from podium.bus.codec import FRAME_TYPE, content_type, decode, encode_json
    from podium.exceptions import InvalidInputError

    if content_type(letter.headers) != FRAME_TYPE:
        return []
    try:
        frame = decode(letter.data, letter.headers, letter.subject)
        return [msgspec.json.decode(encode_json(message)) for message in frame.messages]
    except InvalidInputError:
        return []


def _readable(letter: DeadLetter) -> str:
    import msgspec

    if messages := _messages(letter):
        return "\n".join(msgspec.json.encode(message).decode() for message in messages)
    text = letter.data.decode(errors="replace")
    if text.replace("\n", "").isprintable():
        return text
    return "\n".join(
        f"{at:08x}  {letter.data[at : at + 16].hex(' '):47}  "
        + "".join(chr(byte) if 32 <= byte < 127 else "." for byte in letter.data[at : at + 16])
        for at in range(0, len(letter.data), 16)
    )
