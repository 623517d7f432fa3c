"""`podium reconcile`: have everybody who runs executions look, now and at everything, for what should not be."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any

from msgspec import Struct, field

from podium.cli.manners import Manners
from podium.ids import PLACEMENT_SHARD, SHARDS

if TYPE_CHECKING:
    from podium.app import Podium

PAUSE_SECONDS = 0.25
SILENT_SECONDS = 60.0  # an owner that gives no answer for so long is passed over


class Gathered(Struct):
    """What all of them say."""

    finds: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    looked_at: Counter[str] = field(default_factory=Counter)
    failed: list[str] = field(default_factory=list)
    ownerless: list[int] = field(default_factory=list)

    def take(self, answer: dict[str, Any]) -> None:
        """Add what one of them says."""
        for find in answer.get("finds", ()):
            self.finds.setdefault((find["kind"], find["subject"]), find)
        self.looked_at.update(answer.get("looked_at", {}))
        if answer.get("failed") or answer.get("error"):
            self.failed.append(str(answer.get("failed") or answer.get("error")))

    @property
    def well(self) -> bool:
        """Whether nothing is left that should not be, and all could be looked at."""
        return not self.failed and all(find["mended"] for find in self.finds.values())


def reconcile(manners: Manners) -> int:
    """Look for what should not be: executions that nothing moves on, leases and slots that nobody needs, histories and
    read models that differ. What can be mended is mended; the rest is said.

    Whoever runs executions looks for what should not be by itself, too, each `reconcile_seconds`.
    """
    from podium.cli.printing import print_json, say, wrapped
    from podium.cli.sessions import finish, looking

    async def work() -> Gathered:
        async with looking(manners) as podium:
            return await _gathered(podium)

    gathered = finish(work())
    if manners.json:
        print_json(_document(gathered))
        return 0 if gathered.well else 1
    if gathered.finds:
        say(_table(list(gathered.finds.values())))
    for sentence in _sentences(gathered):
        say(wrapped(sentence))
    return 0 if gathered.well else 1


async def _gathered(podium: Podium) -> Gathered:
    """Ask every owner of shards, each again and again until it has looked; look ourselves where there is none."""
    from podium.cli.readmodels import execution_in
    from podium.ids import IdSource

    asked = {"op": "reconcile", "token": IdSource().token()}
    found, loop = Gathered(), asyncio.get_running_loop()
    left = {*range(SHARDS), PLACEMENT_SHARD}
    heard = dict.fromkeys(left, loop.time())
    while left:
        to_ask = set(left)
        while to_ask:
            shard = min(to_ask)
            probe = None if shard == PLACEMENT_SHARD else execution_in(shard)
            answer = await podium.ask_owner(asked, probe)
            to_ask.discard(shard)
            if answer is None:
                if not await podium.who_runs(probe):
                    found.ownerless.append(shard)
                    left.discard(shard)
                elif loop.time() - heard[shard] > SILENT_SECONDS:
                    found.failed.append(f"the owner of shard {shard} doesn't answer")
                    left.discard(shard)
                continue
            theirs = {shard, *answer.get("shards", ())}
            to_ask -= theirs
            heard.update(dict.fromkeys(theirs, loop.time()))
            if answer.get("done") or answer.get("error"):
                left -= theirs
                found.take(answer)
        if left:
            await asyncio.sleep(PAUSE_SECONDS)
    await _look_without_owner(podium, found)
    return found


async def _look_without_owner(podium: Podium, found: Gathered) -> None:
    """Look at what is in the store of shards that nobody owns; only owners mend."""
    import msgspec

    from podium.clock import SystemClock
    from podium.engine.examining import Check
    from podium.engine.reconciling import Reconciler
    from podium.engine.recounting import ModelCheck
    from podium.engine.recovery import Definitions, in_thread
    from podium.engine.refolding import HistoryCheck

    shards = [shard for shard in found.ownerless if shard != PLACEMENT_SHARD]
    if not shards:
        return
    store, clock = podium.store, SystemClock()
    checks: list[Check] = [
        HistoryCheck(store, Definitions(store), clock, in_thread, None, shards),
        ModelCheck(store, clock, lambda: shards, None),
    ]
    report = await Reconciler(checks, lambda: True, 0).look()
    found.take(msgspec.to_builtins(report))


def _document(gathered: Gathered) -> dict[str, Any]:
    return {
        "finds": [gathered.finds[key] for key in sorted(gathered.finds)],
        "looked_at": dict(sorted(gathered.looked_at.items())),
        "shards_without_owner": sorted(gathered.ownerless),
        "failed": gathered.failed,
    }


def _table(finds: list[dict[str, Any]]) -> str:
    from podium.cli.printing import painted
    from podium.cli.tables import table

    rows = [
        (find["kind"], "yes" if find["mended"] else "no", find["subject"], find["reason"])
        for find in sorted(finds, key=lambda find: (find["mended"], find["kind"], find["subject"]))
    ]
    paint = {1: lambda text: painted(text, "green" if text == "yes" else "red")}
    return table(("WHAT", "MENDED", "OF", "WHY"), rows, gives_way=3, paint=paint)


def _sentences(gathered: Gathered) -> list[str]:
    said = []
    looked = ", ".join(f"{number:,} {what}" for what, number in sorted(gathered.looked_at.items()) if number)
    if not gathered.finds:
        said.append(f"all is as it should be: {looked or 'there was nothing to look at'}")
    if gathered.ownerless:
        many = "no process runs the executions" if len(gathered.ownerless) > SHARDS else "some shards have no owner"
        said.append(f"{many}: of those only what is in the database was looked at")
    said += [f"not everything could be looked at: {why}" for why in dict.fromkeys(gathered.failed)]
    return said
