"""The reconciler: a slow loop that looks for what should not be, and mends or reports it.

Every owner looks at its own shards, the one that leads at placement and at what all share. A suspect is looked at a
second time; only what is as it was then, and long enough, is a find. A find is said once, in the log and in the
metric, until it is gone.
"""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from podium.clock import Clock
from podium.engine.entering import RoomCheck
from podium.engine.examining import Check, MemoryCheck, StoreCheck
from podium.engine.overseeing import CountersCheck, OwnersCheck, PlacementCheck
from podium.engine.reconciliation import PERSISTS, Find, Kind, Suspect, lasting
from podium.engine.recounting import ModelCheck
from podium.engine.recovery import Offload, in_thread
from podium.engine.refolding import HistoryCheck
from podium.exceptions import PodiumError
from podium.store.protocol import Cluster, Store
from podium.telemetry.logs import get_logger

if TYPE_CHECKING:
    from podium.engine.ownership import Ownership
    from podium.engine.readmodels import ReadModels
    from podium.engine.runtime import Engine

RECONCILE_SECONDS = 60.0
MARGIN_SECONDS = 2.0  # beyond what a suspect must last: a picture of the cluster may be so old
ANSWERS_KEPT = 8
MOST_REMEMBERED = 10_000  # finds that aren't said again
_log = get_logger("podium.engine")


class Report(Struct, frozen=True):
    """What a look found, at what it looked, and what of it could not be looked at."""

    finds: tuple[Find, ...]
    looked_at: dict[str, int]
    failed: str = ""


class Reconciler:
    """The loop, from `start` to `stop`; `look` looks at everything now."""

    def __init__(self, checks: Sequence[Check], runs: Callable[[], bool], seconds: float = RECONCILE_SECONDS) -> None:
        """`runs` says whether there is anything to look at; `seconds` pass between looks, 0: no looks but those asked
        for.
        """
        self._checks = tuple(checks)
        self._runs = runs
        self._seconds = seconds
        self._turn = 0
        self._turns = asyncio.Lock()
        self._said: dict[tuple[Kind, str], tuple[Any, ...]] = {}  # finds that couldn't be mended, with their evidence
        self._task: asyncio.Task[None] | None = None
        self._asked: OrderedDict[str, asyncio.Task[Report]] = OrderedDict()  # by token
        self.finds: Counter[tuple[str, str]] = Counter()  # by kind, and whether it was mended: yes or no

    async def start(self) -> None:
        """Look from now on. Once more changes nothing."""
        if self._task is None and self._seconds:
            self._task = asyncio.get_running_loop().create_task(self._keep_looking(), name="podium-reconciler")
            self._task.add_done_callback(_say_failure)

    async def stop(self) -> None:
        """Look no more. Safe twice."""
        tasks: list[asyncio.Task[Any]] = [*self._asked.values(), *([self._task] if self._task is not None else [])]
        self._task = None
        self._asked.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    @property
    def failure(self) -> BaseException | None:
        """Why the loop ended by itself, if it did."""
        task = self._task
        return task.exception() if task is not None and task.done() and not task.cancelled() else None

    def counted(self) -> dict[tuple[str, str], float]:
        """Return the finds so far, each kind's, mended and not: those that never were among them."""
        return {(str(kind), mended): float(self.finds[kind, mended]) for kind in Kind for mended in ("yes", "no")}

    async def look(self, thorough: bool = True) -> Report:
        """Look at everything now, or at the next portion; it takes as long as suspects must last."""
        async with self._turns:
            checks = [check for check in self._checks if thorough or not self._turn % check.every]
            self._turn += not thorough
            return await self._looked(checks, thorough)

    async def answer(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Begin a look at everything under a token, or say what it found."""
        token = str(asked.get("token", ""))
        look = self._asked.get(token)
        if look is None:
            look = self._asked[token] = asyncio.get_running_loop().create_task(self.look(), name="podium-reconcile")
            while len(self._asked) > ANSWERS_KEPT:
                self._asked.popitem(last=False)[1].cancel()
        if not look.done() or look.cancelled():
            return {"done": False}
        report = look.result()
        finds = [
            {"kind": str(find.kind), "subject": find.subject, "reason": find.reason, "mended": find.mended}
            for find in report.finds
        ]
        return {"done": True, "finds": finds, "looked_at": report.looked_at, "failed": report.failed}

    async def _keep_looking(self) -> None:
        while True:
            await asyncio.sleep(self._seconds)
            await self.look(thorough=False)

    async def _looked(self, checks: Sequence[Check], thorough: bool) -> Report:
        for check in checks:
            check.looked_at.clear()
        first: list[tuple[Check, list[Suspect]]] = []
        failed = ""
        for check in checks:
            try:
                suspects = [suspect async for suspect in check.look(thorough)] if self._runs() else []
            except PodiumError as error:
                failed = str(error)
                _log.warning("the reconciler could not look", check=type(check).__name__, error=failed)
                continue
            if suspects:
                first.append((check, suspects))
        looked_at = sum((check.looked_at for check in checks), Counter[str]())
        finds = await self._confirmed(first)
        if thorough:  # what isn't found now is gone
            self._said = {key: evidence for key, evidence in self._said.items() if key in {f.key for f in finds}}
        return Report(tuple(finds), dict(looked_at), failed)

    async def _confirmed(self, first: Sequence[tuple[Check, list[Suspect]]]) -> list[Find]:
        """Look at suspects a second time, mend what is so still, and say it."""
        if not first:
            return []
        wait = max(PERSISTS[suspect.kind] for _, suspects in first for suspect in suspects)
        await asyncio.sleep(wait + MARGIN_SECONDS)
        finds = []
        for check, suspects in first:
            try:
                again = [suspect async for suspect in check.again(suspects)] if self._runs() else []
                for suspect in lasting(suspects, again):
                    finds.append(await self._found(check, suspect))
            except PodiumError as error:
                _log.warning("the reconciler could not look again", check=type(check).__name__, error=str(error))
        return finds

    async def _found(self, check: Check, suspect: Suspect) -> Find:
        mended = await check.mend(suspect)
        find = Find(suspect.kind, suspect.subject, suspect.reason, mended)
        if mended or self._said.get(find.key) != suspect.evidence:
            say = _log.warning if mended else _log.error
            say("the reconciler found", kind=str(find.kind), subject=find.subject, why=find.reason, mended=mended)
            self.finds[find.kind, "yes" if mended else "no"] += 1
        self._said.pop(find.key, None)
        while len(self._said) >= MOST_REMEMBERED:
            del self._said[next(iter(self._said))]
        if not mended:
            self._said[find.key] = suspect.evidence
        return find


def reconciler_of(
    engine: Engine,
    store: Store,
    clock: Clock,
    *,
    models: ReadModels | None = None,
    ownership: Callable[[], Ownership | None] = lambda: None,
    offload: Offload[Any] = in_thread,
    seconds: float = RECONCILE_SECONDS,
) -> Reconciler:
    """Return the reconciler of an engine, and of the read models that are kept beside it."""
    inside, definitions = engine.inside, engine.definitions

    def leads() -> bool:
        return engine.leads

    def cluster() -> Cluster | None:
        replicas = ownership()
        return replicas.cluster if replicas is not None else None

    def replica() -> str:
        replicas = ownership()
        return replicas.replica.id if replicas is not None else ""

    def renew() -> None:
        replicas = ownership()
        if replicas is not None:
            replicas.look()

    checks: list[Check] = [
        MemoryCheck(inside, clock, leads),
        StoreCheck(store, inside, clock, leads),
        RoomCheck(store, inside, clock),
        HistoryCheck(store, definitions, clock, offload, inside),
        PlacementCheck(store, definitions, inside, clock, leads),
        CountersCheck(store, definitions, inside, clock, leads),
        OwnersCheck(cluster, replica, renew),
    ]
    if models is not None:
        checks.append(ModelCheck(store, clock, lambda: inside.shards, models.readers))
    return Reconciler(checks, lambda: inside.runs, seconds)


def _say_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and task.exception() is not None:
        _log.error("the reconciler ended", exc_info=task.exception())
