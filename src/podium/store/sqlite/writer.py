"""The one thread that writes: takes jobs in order, does each in one transaction, answers on the caller's loop.

A job is a function of the connection. What it raises is what its caller gets; the transaction is rolled back and the
connection goes on being usable. The thread isn't a daemon, so that what was begun is finished; it ends at `close`, or
when the main thread has ended without it.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TypeVar

from podium.exceptions import StoreUnavailableError
from podium.store.sqlite.connection import unavailable

T = TypeVar("T")
_MAKE_ROOM_EVERY_SECONDS = 0.001
_MAKE_ROOM_SECONDS = 0.000_05
_LOOK_AFTER_MAIN_SECONDS = 1.0


class _Job:
    """One thing to write, and who waits for it."""

    __slots__ = ("future", "loop", "work")

    def __init__(self, work: Callable[[sqlite3.Connection], object]) -> None:
        self.work = work
        self.loop = asyncio.get_running_loop()
        self.future: asyncio.Future[object] = self.loop.create_future()

    def answer(self, result: object, error: BaseException | None) -> None:
        try:
            self.loop.call_soon_threadsafe(self._settle, result, error)
        except RuntimeError:  # the caller's loop is closed: nobody waits any more, and what was written stays written
            return

    def _settle(self, result: object, error: BaseException | None) -> None:
        if self.future.done():  # the caller was cancelled meanwhile
            return
        if error is None:
            self.future.set_result(result)
        else:
            self.future.set_exception(error)


def _make_room(job: _Job) -> None:
    """Let the writer have the interpreter's lock while it has something to write.

    A busy event loop lets go of the lock for two microseconds each turn, to poll. That wakes the writer, too late to
    catch the lock, and starts its waiting time (`sys.getswitchinterval`) anew, so that it never gets to ask for it:
    appends were seen to take 14 seconds. A timer that sleeps for a moment costs a loop nothing when it is idle.
    """
    if not job.future.done():
        time.sleep(_MAKE_ROOM_SECONDS)
        job.loop.call_later(_MAKE_ROOM_EVERY_SECONDS, _make_room, job)


class Writer:
    """Owns the writing connection and the thread that uses it."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self._path = path
        self._connection = connection
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._closing = threading.Lock()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name=f"podium-writer {path.name}", daemon=False)
        self._thread.start()

    async def do(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Do the work on the writer's thread, in the order of the calls; raise what it raises."""
        job = _Job(work)
        with self._closing:
            if self._closed:
                raise StoreUnavailableError(f"{self._path}: the store is closed")
            self._jobs.put(job)
        job.loop.call_later(_MAKE_ROOM_EVERY_SECONDS, _make_room, job)
        return await job.future  # type: ignore[return-value]

    def stop(self) -> None:
        """Finish what was begun and let go; blocks until then. Safe twice and from any thread."""
        with self._closing:
            if not self._closed:
                self._closed = True
                self._jobs.put(None)
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _run(self) -> None:
        while True:
            try:
                job = self._jobs.get(timeout=_LOOK_AFTER_MAIN_SECONDS)
            except Empty:
                if threading.main_thread().is_alive():
                    continue
                job = None
            if job is None:
                break
            result, error = self._attempt(job.work)
            job.answer(result, error)
            del job, result, error
        self._connection.close()

    def _attempt(self, work: Callable[[sqlite3.Connection], object]) -> tuple[object, BaseException | None]:
        try:
            return work(self._connection), None
        except sqlite3.Error as error:
            return None, self._with_cause(unavailable(self._path, error), error)
        except BaseException as error:  # noqa: BLE001 - it is the caller's, who gets it
            return None, error
        finally:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")

    @staticmethod
    def _with_cause(error: StoreUnavailableError, cause: sqlite3.Error) -> StoreUnavailableError:
        error.__cause__ = cause
        return error
