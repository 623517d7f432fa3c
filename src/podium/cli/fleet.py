"""`podium agents` and `podium top`: who is in the fleet, how each stands, what it works on."""

from __future__ import annotations

import asyncio
import shutil
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from podium.cli.definitions import agents as agents_of_code
from podium.cli.manners import Manners
from podium.cli.run import Agents

if TYPE_CHECKING:
    from podium.app import Podium

PAUSE_SECONDS = 0.5


def agents(
    manners: Manners,
    file: Annotated[str | None, typer.Argument(metavar="[FILE]", help="The workflow whose agents are wanted.")] = None,
    specs: Agents = None,
    audit: Annotated[bool, typer.Option("--audit", help="The registrations that were refused, and why.")] = False,
    schemas: Annotated[
        bool, typer.Option("--schemas", help="What the functions of registered agents take and give, by type.")
    ] = False,
) -> int:
    """List the fleet: state, health, load, capabilities, version and last heartbeat of each agent.

    With a FILE or --agents: which code would stand behind a workflow's agent types, or what a spec holds.
    """
    from podium.cli.fleetview import agents_table
    from podium.cli.printing import complain, print_json, say, wrapped
    from podium.cli.reaching import ask_orchestrator
    from podium.cli.sessions import finish

    if file is not None or specs:
        return agents_of_code(manners, file, specs)
    if audit:
        return _audit(manners)
    if schemas:
        return _schemas(manners)
    answer = finish(ask_orchestrator(manners.settings(), {"op": "fleet"}))
    if answer is None:
        if not manners.json:
            complain(wrapped("no orchestrator runs here (`podium up` starts one); these agents are ready-made:"))
        return agents_of_code(manners, None, None)
    if manners.json:
        print_json(answer["agents"])
    elif answer["agents"]:
        say(agents_table(answer["agents"]))
    else:
        say("no agents are registered; `podium agent SPEC` starts some")
    return 0


def _audit(manners: Manners) -> int:
    from podium.cli.printing import print_json, say
    from podium.cli.reaching import ask_orchestrator, refuse_unowned
    from podium.cli.sessions import finish
    from podium.cli.tables import table
    from podium.cli.times import date_and_time

    settings = manners.settings()
    answer = finish(ask_orchestrator(settings, {"op": "audit"}))
    refuse_unowned(settings, answer is not None)
    entries = (answer or {}).get("audit", [])
    if manners.json:
        print_json(entries)
    elif entries:
        rows = [(date_and_time(e["at_us"]), e["agent_id"], e["rule"], e["reason"]) for e in entries]
        say(table(("WHEN", "AGENT", "RULE", "WHY"), rows))
    else:
        say("no registration was refused since the orchestrator started")
    return 0


def _schemas(manners: Manners) -> int:
    from podium.cli.fleetview import functions_table
    from podium.cli.printing import print_json, say
    from podium.cli.reaching import ask_orchestrator, refuse_unowned
    from podium.cli.sessions import finish

    settings = manners.settings()
    answer = finish(ask_orchestrator(settings, {"op": "schemas"}))
    refuse_unowned(settings, answer is not None)
    types = (answer or {}).get("types", {})
    if manners.json:
        print_json(types)
    else:
        say(functions_table(types) if types else "no agents are registered; `podium agent SPEC` starts some")
    return 0


def top(
    manners: Manners,
    once: Annotated[bool, typer.Option("--once", help="Show it once and end.")] = False,
) -> int:
    """Watch the fleet and its work live, until Ctrl-C."""
    from podium.cli.printing import print_json, say
    from podium.cli.reaching import ask_orchestrator, refuse_unowned
    from podium.cli.sessions import finish, looking

    async def look() -> int:
        settings = manners.settings()
        answer = await ask_orchestrator(settings, {"op": "fleet"})
        refuse_unowned(settings, answer is not None)
        async with looking(manners) as podium:
            if manners.json:
                print_json(answer)
            elif once or not sys.stdout.isatty():
                say(await screen(podium, answer or {}, 10_000))
            else:
                await _watch(podium)
        return 0

    try:
        return finish(look())
    except KeyboardInterrupt:
        return 0


async def screen(podium: Podium, answer: dict[str, Any], height: int | None = None) -> str:
    """Return the live view of an answer of the orchestrator."""
    from podium.cli.fleetview import fleet_screen
    from podium.clock import SystemClock
    from podium.workflow.model import FINAL_EXECUTION, ExecutionStatus

    unfinished = [str(status) for status in ExecutionStatus if status not in FINAL_EXECUTION]
    rows = await podium.store.executions(podium.settings.tenant, unfinished, limit=50)
    lines = height if height is not None else shutil.get_terminal_size((80, 24)).lines
    return fleet_screen(answer, rows, SystemClock().now_us(), lines)


async def _watch(podium: Podium) -> None:
    from podium.cli.screens import Screen
    from podium.exceptions import StoreError

    with Screen() as shown:
        while True:
            try:
                answer = await podium.ask_owner({"op": "fleet"})
                gone = answer is None or "error" in answer
                shown.draw("the orchestrator is gone; waiting for it" if gone else await screen(podium, answer or {}))
            except (StoreError, OSError) as error:
                shown.draw(f"the database can't be looked into; trying again ({error})")
            await asyncio.sleep(PAUSE_SECONDS)
