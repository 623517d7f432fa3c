"""`podium agent credentials ID`: sign what an agent or client shows to the embedded NATS server, or take it back."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from podium.cli.manners import Manners
from podium.exceptions import InvalidInputError

if TYPE_CHECKING:
    from podium.bus.nats_auth import Authority, Kind
    from podium.bus.nkeys import Credentials

NEEDS_RELOAD = "a running `podium up` refuses the old ones within seconds, the next one from its start"


def credentials(
    manners: Manners,
    names: Annotated[
        list[str], typer.Argument(metavar="ID…", help="The agent's id; several for agents of one process.")
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write them there, for the owner alone.")
    ] = None,
    client: Annotated[
        bool, typer.Option("--client", help="For a client, which submits tasks, instead of an agent.")
    ] = False,
    submits: Annotated[bool, typer.Option("--submits", help="Let the agent submit tasks, too.")] = False,
    expires: Annotated[
        str | None, typer.Option("--expires", metavar="TIME", help="For how long: 30d, 12h. [default: for ever]")
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Revoke what the id had before.")] = False,
    revoke: Annotated[bool, typer.Option("--revoke", help="Only take back what the id has.")] = False,
) -> int:
    """Sign credentials for an agent on the embedded NATS server; they let it use its own subjects and no others.

    Without --output they are printed. Whoever has them is that agent.
    """
    from podium.bus.nats_auth import Authority, Kind, authority_folder
    from podium.clock import SystemClock

    if revoke and (output or client or submits or expires or replace):
        raise InvalidInputError("--revoke takes ids and nothing else")
    kind = Kind.CLIENT if client else Kind.AGENT
    if client and submits:
        raise InvalidInputError("a client submits tasks anyway; --submits is for agents")
    settings, now_us = manners.settings(), SystemClock().now_us()
    lifetime = _lifetime(expires)
    if output is not None:
        _check_place(output, replace)
    authority = Authority.open(authority_folder(settings.data), now_us)
    if revoke:
        return _revoke(manners, authority, names, now_us)
    made = authority.issue(tuple(names), kind, now_us, lifetime_seconds=lifetime, submits=submits, replace=replace)
    if output is not None:
        _write(authority, made, names, output, now_us)
    _tell(manners, made, names, kind, output)
    if not settings.nats_authentication and not manners.json:
        from podium.cli.printing import complain, wrapped

        complain(
            wrapped("note: authentication is off here; PODIUM_NATS_AUTHENTICATION=true turns it on for `podium up`")
        )
    return 0


def _lifetime(expires: str | None) -> float | None:
    from podium.workflow.units import parse_duration

    if expires is None:
        return None
    try:
        return parse_duration(expires)
    except ValueError as error:
        raise InvalidInputError(f"--expires: {error}") from error


def _check_place(output: Path, replace: bool) -> None:
    """Look before anything is signed: credentials that can't be written would hold their name for nothing."""
    if output.is_dir() or (output.exists() and not replace):
        raise InvalidInputError(f"{output} exists; name another file, or --replace the credentials in it")
    folder = output.absolute().parent
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise InvalidInputError(f"{folder} isn't a folder that can be written")


def _write(authority: Authority, made: Credentials, names: list[str], output: Path, now_us: int) -> None:
    from podium.bus.private import write_private

    try:
        write_private(output, made.text().encode())
    except OSError:
        authority.revoke(names[0], now_us)
        raise


def _tell(manners: Manners, made: Credentials, names: list[str], kind: Kind, output: Path | None) -> None:
    from podium.bus.names import inbox_of, of_agent
    from podium.bus.nats_jwt import claims_of
    from podium.cli.printing import complain, print_json, say, wrapped

    claims = claims_of(made.jwt)
    allowed = {what: claims["nats"][short]["allow"] for what, short in (("publish", "pub"), ("subscribe", "sub"))}
    if manners.json:
        facts: dict[str, Any] = {
            "names": names,
            "kind": str(kind),
            "key": made.public,
            "expires": _expiry(claims),
            "inbox_prefix": inbox_of(names[0]),
            **allowed,
            "file": str(output) if output else None,
            **({} if output else {"credentials": made.text()}),
        }
        print_json(facts)
        return
    if output is None:
        say(made.text().rstrip())
    tell = complain if output is None else say
    place = f" are in {output}" if output else ""
    tell(wrapped(f"credentials of the {kind} {', '.join(names)}{place}: key {made.public}, {_until(claims)}"))
    registers = ", ".join(of_agent(name, "register") for name in names)
    register = f"registers on {registers}; " if str(kind) == "agent" else ""
    tell(wrapped(f"  {register}inbox prefix {inbox_of(names[0])}", "    "))


def _revoke(manners: Manners, authority: Authority, names: list[str], now_us: int) -> int:
    from podium.cli.printing import print_json, say, wrapped

    taken = [one for name in names for one in authority.revoke(name, now_us)]
    if not taken:
        raise InvalidInputError(f"{', '.join(names)[:200]} has no valid credentials")
    if manners.json:
        print_json({"revoked": [{"names": one.names, "kind": str(one.kind), "key": one.key} for one in taken]})
        return 0
    for one in taken:
        say(wrapped(f"revoked the credentials of the {one.kind} {', '.join(one.names)}: key {one.key}"))
    say(wrapped(NEEDS_RELOAD))
    return 0


def _expiry(claims: dict[str, Any]) -> str | None:
    from podium.cli.times import iso
    from podium.clock import SECOND

    return iso(claims["exp"] * SECOND) if "exp" in claims else None


def _until(claims: dict[str, Any]) -> str:
    expiry = _expiry(claims)
    return f"valid until {expiry}" if expiry else "valid until they are revoked"
