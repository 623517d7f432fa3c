"""`podium agent`: a process of agents that joins the fleet over the bus; `podium agent credentials` signs theirs."""

from __future__ import annotations

import asyncio
import signal
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from podium.cli.credentials import credentials
from podium.cli.manners import Manners, as_command

if TYPE_CHECKING:
    from podium.agents.sdk import AgentDefinition
    from podium.agents.serving import ServedAgents
    from podium.settings import Settings

RETRY_SECONDS = 1.0

agent_group = typer.Typer(help="Agents' credentials.", no_args_is_help=True, rich_markup_mode=None)
agent_group.command("credentials")(as_command(credentials))


@agent_group.callback()
def _group() -> None:
    """Agents' credentials; `podium agent SPEC` starts agents."""


def agent(
    manners: Manners,
    specs: Annotated[list[str], typer.Argument(metavar="SPEC…", help="Their code: module:Name, module, file.py:Name.")],
    count: Annotated[int, typer.Option("--count", "-n", min=1, max=10_000, help="So many of each.")] = 1,
    concurrency: Annotated[
        int | None, typer.Option("--concurrency", "-c", min=1, max=100_000, help="Tasks at once of each agent.")
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", metavar="ID", help="Their id; of several ID-1, ID-2. [default: made up]")
    ] = None,
    bus: Annotated[str | None, typer.Option("--bus", metavar="URL", help="The bus. [default: as `podium up`]")] = None,
    credentials: Annotated[
        str | None,
        typer.Option("--credentials", metavar="FILE", help="Where the bus asks who they are: a .creds file."),
    ] = None,
    location: Annotated[str, typer.Option("--location", metavar="WORD", help="Where they are: a region, a rack.")] = "",
    tags: Annotated[list[str] | None, typer.Option("--tag", metavar="WORD", help="May be given many times.")] = None,
    reload: Annotated[bool, typer.Option("--reload", help="Start again whenever a Python file here changes.")] = False,
) -> int:
    """Start agents and have them join the fleet over the bus.

    They reconnect by themselves, and register again when the orchestrator is a new one. Ctrl-C or SIGTERM lets them
    finish what they have, or hand it back, and leave.

    `podium agent credentials ID` signs what an agent shows where the bus asks who it is.
    """
    from podium.cli.sessions import configure_log, finish

    if reload:
        from podium.cli.reloading import run_reloading

        return run_reloading(specs)
    settings = manners.settings(bus=bus)
    configure_log(manners.debug)
    return finish(_serve(manners, settings, specs, count, concurrency, name, credentials, location, tuple(tags or ())))


async def _serve(
    manners: Manners, settings: Settings, specs: list[str], count: int, concurrency: int | None, name: str | None,
    credentials: str | None, location: str, tags: tuple[str, ...],
) -> int:  # fmt: skip
    from podium.agents.secrets import Secrets
    from podium.agents.serving import ServedAgents
    from podium.bus.opening import transport_for
    from podium.cli.printing import complain, print_json, say, wrapped
    from podium.cli.reaching import bus_for, with_credentials
    from podium.cli.sessions import collect_less_often
    from podium.fleet.connections import connection_name
    from podium.ids import IdSource

    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, _ask, stop)
    definitions = _definitions(specs)
    own = with_credentials(settings, credentials)
    names = _names(name, count * len(definitions))

    async def joined() -> ServedAgents | None:
        told = False
        while not stop.is_set():
            url = await bus_for(settings)
            incarnation = IdSource().token()
            served = ServedAgents(
                partial(transport_for, url, own, name=connection_name(incarnation)),
                incarnation=incarnation,
                register_on_own_subject=bool(own.nats_credentials),
                secrets=Secrets(settings.secrets_folder),
            )
            if await _try(served, definitions, count, concurrency, names, location, tags):
                return served
            if not told:
                complain(wrapped(f"the bus {url} isn't there yet; it is tried until it is"))
                told = True
            await _pause(stop)
        return None

    served = await joined()
    if served is None:
        return 0
    collect_less_often()
    agents = list(served.hosts)
    if manners.json:
        print_json({"agents": agents, "incarnation": served.incarnation})
    else:
        shown = ", ".join(agents[:5]) + (f" and {len(agents) - 5} more" if len(agents) > 5 else "")
        say(wrapped(f"agents {shown}: connected; Ctrl-C lets them finish and leave"))
    waits = {
        asyncio.create_task(stop.wait(), name="podium-agent-stop"),
        asyncio.create_task(served.ended(), name="podium-agent-ended"),
    }
    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    for task in waits:
        task.cancel()
    if served.failure is not None and not served.hosts:
        await served.abandon()
        raise served.failure
    await served.stop(settings.drain_seconds)
    return 0


async def _try(
    served: ServedAgents, definitions: list[AgentDefinition], count: int, concurrency: int | None, names: list[str],
    location: str, tags: tuple[str, ...],
) -> bool:  # fmt: skip
    """Join; False if the bus isn't there."""
    from podium.exceptions import TransportUnavailableError

    try:
        await served.start(definitions, count=count, names=names, concurrency=concurrency, location=location, tags=tags)
    except TransportUnavailableError:
        return False
    return True


async def _pause(stop: asyncio.Event) -> None:
    try:
        async with asyncio.timeout(RETRY_SECONDS):
            await stop.wait()
    except TimeoutError:
        return


def _definitions(specs: list[str]) -> list[AgentDefinition]:
    """Return what the specs name, each type once; `type=spec` names it under another type."""
    from podium.agents.binding import load_binding

    found: dict[str, AgentDefinition] = {}
    for spec in specs:
        type, equals, code = spec.partition("=")
        for definition in load_binding(code if equals else spec):
            bound = definition.bound(type, definition.spec) if equals else definition
            found.setdefault(bound.type, bound)
    return list(found.values())


def _names(name: str | None, wanted: int) -> list[str]:
    if name is None:
        return []
    return [name] if wanted == 1 else [f"{name}-{number}" for number in range(1, wanted + 1)]


def _ask(stop: asyncio.Event) -> None:
    """The first signal asks for a stop; after another one, nobody waits: leases end by themselves."""
    if stop.is_set():
        import os

        os._exit(130)
    stop.set()
