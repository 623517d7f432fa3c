"""`podium up`: the orchestrator, with an embedded NATS server unless another bus is named, until it is told to stop."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from podium.cli.manners import Manners
from podium.cli.run import Agents, CapacityOption

if TYPE_CHECKING:
    from podium.service.service import Service
    from podium.store.postgres.server import Server

LOOK_SECONDS = 0.5
PAUSE_SECONDS = 1.0  # before a bus that can't be reached is tried again


def up(
    manners: Manners,
    http: Annotated[
        str | None, typer.Option("--http", metavar="HOST:PORT", help="Health and metrics. [default: 127.0.0.1:8002]")
    ] = None,
    metrics: Annotated[
        str | None, typer.Option("--metrics", metavar="HOST:PORT", help="Metrics alone. [default: 127.0.0.1:8080]")
    ] = None,
    nats: Annotated[
        str | None,
        typer.Option("--nats", metavar="HOST:PORT", help="The embedded NATS server. [default: 127.0.0.1:4222]"),
    ] = None,
    data: Annotated[
        str | None, typer.Option("--data", metavar="DIR", help="Database and streams. [default: .podium]")
    ] = None,
    bus: Annotated[
        str | None, typer.Option("--bus", metavar="URL", help="A bus of your own, as nats://host:4222.")
    ] = None,
    auth: Annotated[
        bool, typer.Option("--auth", help="The embedded server knows each agent by its credentials.")
    ] = False,
    agents: Agents = None,
    capacity: CapacityOption = None,
    stop_agents: Annotated[
        bool, typer.Option("--stop-agents", help="At the stop, tell all agents to finish and stop, too.")
    ] = False,
) -> int:
    """Start the orchestrator and show the fleet live; agents and clients reach it over NATS.

    Port 0 takes a free port. Ctrl-C or SIGTERM stops it in good order; agents elsewhere go on with what they have, and
    the next start hears of it.
    """
    from podium.cli.given import capacities
    from podium.cli.sessions import collect_less_often, configure_log, finish

    settings = manners.settings(
        http=http,
        metrics=metrics,
        nats=nats,
        data=data,
        bus=bus,
        nats_authentication=auth or None,
        capacity=capacities(capacity),
    )

    async def whole() -> int:
        from podium.doors.http import http_door
        from podium.service.service import Service

        configure_log(manners.debug)
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, _ask, stop)
        service = await _started(lambda: Service(settings, agents=agents or (), doors=[http_door]), stop)
        if service is None:
            return 0
        collect_less_often()
        try:
            await _say_started(service, manners)
            failure = await _serve(service, manners, stop)
        finally:
            await service.stop(agents=stop_agents)
        if failure is not None:
            raise failure
        return 0

    return finish(whole())


def _ask(stop: asyncio.Event) -> None:
    """The first signal asks for a stop; after another one, nobody waits."""
    if stop.is_set():
        import os

        os._exit(130)
    stop.set()


async def _started(make: Callable[[], Service], stop: asyncio.Event) -> Service | None:
    """Return a service that runs; None when a stop was asked for before, since a database or a bus that can't be
    reached is waited for.
    """
    from podium.exceptions import BusUnreachableError
    from podium.telemetry.logs import get_logger

    stopped = asyncio.create_task(stop.wait(), name="podium-up-stop")
    try:
        while not stopped.done():
            service = make()
            starting = asyncio.create_task(service.start(), name="podium-up-starts")
            await asyncio.wait({starting, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if not starting.done():
                starting.cancel()
            try:
                await starting
                return service
            except asyncio.CancelledError:
                return None
            except BusUnreachableError as error:
                get_logger("podium.service").warning(
                    "the bus can't be used yet; it is tried until it can", reason=str(error)
                )
            await asyncio.wait({stopped}, timeout=PAUSE_SECONDS)
        return None
    finally:
        stopped.cancel()


async def _say_started(service: Service, manners: Manners) -> None:
    from podium.cli.durability import durability, report_lines
    from podium.cli.printing import print_json, say, width
    from podium.exceptions import PodiumError

    if manners.json:
        print_json({**service.addresses, "bus": service.shown_bus})
        return
    error = ""
    try:
        promises = await service.transport.promises()
    except PodiumError as problem:
        promises, error = None, str(problem)
    server = await _server(service)
    report = durability(service.settings, promises, foreign=service.nats is None, bus_error=error, server=server)
    for line in report_lines(report, width()):
        say(line)
    say()
    for name, address in service.addresses.items():
        say(f"{name:8}  {'http://' if name in ('http', 'metrics') else 'nats://'}{address}")
    if "nats" not in service.addresses:
        say(f"{'bus':8}  {service.shown_bus}")
    say()


async def _server(service: Service) -> Server | None:
    """Return what the PostgreSQL server says of itself; None where the store isn't on one, or it can't be asked."""
    from podium.exceptions import StoreError

    if not service.settings.on_postgres:
        return None
    from podium.store.postgres.server import server_at

    try:
        return await server_at(service.settings.database)
    except StoreError:
        return None


async def _serve(service: Service, manners: Manners, stop: asyncio.Event) -> BaseException | None:
    """Show what goes on until a stop is asked for, or something essential has ended; return what ended it."""
    stopped = asyncio.create_task(stop.wait(), name="podium-up-stop")
    ended = asyncio.create_task(service.ended(), name="podium-up-ended")
    show = _draw if sys.stdout.isatty() and not manners.json else _tell
    showing = asyncio.create_task(show(service, manners), name="podium-up-shows")
    try:
        await asyncio.wait({stopped, ended}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (stopped, ended, showing):
            task.cancel()
        await asyncio.gather(stopped, ended, showing, return_exceptions=True)
    return service.failure


async def _draw(service: Service, manners: Manners) -> None:
    """Draw the fleet again and again."""
    from podium.cli.fleet import screen
    from podium.cli.screens import Screen

    with Screen() as shown:
        while True:
            began_us = service.now_us()
            shown.draw(await screen(service.podium, await _fleet_of(service)))
            await asyncio.sleep(_pause(service, began_us))


async def _tell(service: Service, manners: Manners) -> None:
    """Say what changes in the fleet, a line each; with `--json`, nothing."""
    from podium.cli.printing import say
    from podium.cli.times import clock_time

    if manners.json:
        return
    known: dict[str, str] = {}
    while True:
        began_us = service.now_us()
        states = {row["agent_id"]: row["state"] for row in service.reporting.rows()}
        time = clock_time(service.now_us())
        for agent, state in states.items():
            before = known.get(agent)
            if before is None:
                say(f"{time}  {agent} has joined")
            elif state != before and "unhealthy" in (state, before):
                say(f"{time}  {agent} is {state}")
        for agent in known.keys() - states.keys():
            say(f"{time}  {agent} has left")
        known = states
        await asyncio.sleep(_pause(service, began_us))


def _pause(service: Service, began_us: int) -> float:
    """Return how long to look away: looking takes a hundredth of the time at most, however large the fleet is."""
    return max(LOOK_SECONDS, (service.now_us() - began_us) / 1e6 * 100)


async def _fleet_of(service: Service) -> dict[str, Any]:
    """Return the fleet as the replica sees it that gives tasks to agents, beside this one's addresses."""
    import msgspec

    own: dict[str, Any] = msgspec.to_builtins(await service.reporting.answer_fleet({}))
    if service.podium.engine is not None and not service.podium.engine.leads:
        leading = await service.podium.ask_owner({"op": "fleet"})
        if leading is not None and "error" not in leading:
            return {**leading, **{name: own[name] for name in ("addresses", "bus", "up_seconds")}}
    return own
