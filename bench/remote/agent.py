"""An agent in a process of its own, as `podium agent bench.flows:Noop` is: `python -m bench.remote.agent URL`."""

from __future__ import annotations

import asyncio
import sys

from bench.flows import Noop
from bench.remote.processes import say, until_input_ends
from podium.agents.serving import ServedAgents
from podium.api.agents import definitions_of
from podium.bus.opening import transport_for
from podium.cli.sessions import collect_less_often


async def serve(url: str) -> None:
    """Be an agent until the input ends."""
    agents = ServedAgents(lambda heard: transport_for(url, None, heard))
    await agents.start(definitions_of([Noop])[1])
    collect_less_often()
    await agents.registered()
    say("registered")
    await until_input_ends()
    await agents.stop()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1]))
