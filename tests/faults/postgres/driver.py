"""`tests/crash/driver.py` on PostgreSQL: the process is the database's only replica, and kills itself where it is told.

python driver.py FOLDER URL [POINT K]
"""

from __future__ import annotations

import asyncio
import logging
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3]))

from podium.app import Podium
from podium.settings import Settings
from podium.store.logs import MemoryLogs
from podium.store.postgres import PostgresStore
from podium.testing.ledger import FileLedger
from tests.crash import driver
from tests.crash.driver import Killing, carry_out, worker


class KillingStore(Killing, PostgresStore):
    """On a server."""


async def run(folder: Path, url: str) -> None:
    store = await KillingStore.open(url)
    settings = Settings(database=url, drain_seconds=1.0)
    await carry_out(Podium(settings, store, MemoryLogs(), shared=store, definitions=[worker()]), folder, "order")


def main() -> None:
    folder, url = Path(sys.argv[1]), sys.argv[2]
    driver.LEDGER = FileLedger(folder / "ledger")
    logging.getLogger("podium").setLevel(logging.CRITICAL)
    if len(sys.argv) > 3:
        Killing.point, Killing.at_event = sys.argv[3], int(sys.argv[4])
    asyncio.run(run(folder, url))


if __name__ == "__main__":
    main()
