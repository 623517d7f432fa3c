"""How a replica is asked what only it knows, from any process that reaches the database: question and answer by NOTIFY.

The counterpart of `podium.store.calling`, where there is no file and so no socket. A payload of NOTIFY has at most
8,000 bytes, so a message goes in numbered parts, compressed; it is bounded, has a time-out, and may be lost. Nothing
that must not be lost goes this way: inputs are written to the inbox.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import zlib
from typing import Any

import msgspec

from podium.exceptions import StoreError
from podium.ids import IdSource
from podium.store.calling import CALL_SECONDS, MAX_LINE, Answer
from podium.store.postgres.connection import Address, Connection, translated
from podium.telemetry.logs import get_logger

PART_BYTES = 7_500  # of 8,000; the rest is for the head
MAX_PARTS = 1_000
MAX_INCOMPLETE = 256  # messages of which some parts have come
MAX_ANSWERING = 64  # questions at once
RECONNECT_SECONDS = 1.0
LOOK_SECONDS = 30.0  # a connection that was cut without a word is found by asking
_QUESTION, _ANSWER = "q", "a"
_log = get_logger("podium.store.postgres")


class Calls:
    """One process' end: it asks replicas by their ids and, where it is a replica itself, answers as one.

    It has one connection of its own, made at the first use and again when it is lost.
    """

    def __init__(self, server: Address, ids: IdSource | None = None, look_seconds: float = LOOK_SECONDS) -> None:
        self._server = server
        self._look_seconds = look_seconds
        self._ids = ids or IdSource()
        self._address = self._ids.token() + self._ids.token()
        self._answer: Answer | None = None
        self._connection: Connection | None = None
        self._connecting = asyncio.Lock()
        self._sending = asyncio.Lock()
        self._awaited: dict[str, asyncio.Future[dict[str, Any]]] = {}
        self._incomplete: dict[tuple[str, str], _Parts] = {}
        self._answering: set[asyncio.Task[None]] = set()
        self._staying: asyncio.Task[None] | None = None
        self._lost = asyncio.Event()
        self._closed = False

    async def ask(self, replica: str, asked: dict[str, Any], seconds: float = CALL_SECONDS) -> dict[str, Any] | None:
        """Ask a replica something; None when it isn't there, or no whole answer comes in time."""
        call = self._ids.token() + self._ids.token()
        answered: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._awaited[call] = answered
        try:
            async with asyncio.timeout(seconds):
                await self._send(replica, _QUESTION, call, asked)
                return await answered
        except (TimeoutError, ValueError, StoreError) as error:
            _log.debug("a replica did not answer", replica=replica, error=str(error))
            return None
        finally:
            del self._awaited[call]

    async def answer_as(self, replica: str, answer: Answer) -> None:
        """From now on, answer questions to this replica, over lost connections too. Raises StoreUnavailableError.

        To be called again when the replica has another id.
        """
        self._address, self._answer = replica, answer
        await self._drop()  # it listened under another address
        await self._connected()
        if self._staying is None:
            self._staying = asyncio.create_task(self._stay_connected(), name="podium-replica-answers")

    async def close(self) -> None:
        """Answer nothing more, let go. Safe twice."""
        self._closed = True
        tasks = [*self._answering, *([self._staying] if self._staying is not None else [])]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        await self._drop()

    # --- the connection ----------------------------------------------------------------------------------------

    async def _connected(self) -> Connection:
        async with self._connecting:
            if self._connection is None or self._connection.is_closed():
                connection = await self._server.connect()
                try:
                    with translated(self._server):
                        await connection.add_listener(_channel(self._address), self._heard)
                except BaseException:
                    connection.terminate()
                    raise
                self._lost.clear()
                connection.add_termination_listener(lambda _: self._lost.set())
                self._connection = connection
            return self._connection

    async def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()

    async def _stay_connected(self) -> None:
        """Who only answers wouldn't notice otherwise that nobody can be heard any more."""
        while True:
            try:
                async with asyncio.timeout(self._look_seconds):
                    await self._lost.wait()
            except TimeoutError:
                await self._look()
                continue
            try:
                await self._connected()
            except StoreError as error:
                _log.debug("questions can't be heard for a moment", error=str(error))
                await asyncio.sleep(RECONNECT_SECONDS)

    async def _look(self) -> None:
        """Let go of a connection on which nothing comes back."""
        connection = self._connection
        if connection is None or connection.is_closed():
            self._lost.set()
            return
        try:
            with translated(self._server):
                async with asyncio.timeout(CALL_SECONDS), self._sending:
                    await connection.fetchrow("SELECT 1")
        except StoreError as error:
            _log.debug("the connection that hears questions is silent, and is made anew", error=str(error))
            connection.terminate()
            self._lost.set()

    async def _send(self, to: str, kind: str, call: str, said: dict[str, Any]) -> None:
        """Send a message in parts, all in one statement. Raises ValueError when it is too large."""
        text = base64.b64encode(zlib.compress(msgspec.json.encode(said), 1)).decode()
        parts = [text[at : at + PART_BYTES] for at in range(0, len(text), PART_BYTES)]
        if len(parts) > MAX_PARTS:
            raise ValueError(f"a message of {len(text)} bytes is too large")
        payloads = [f"{kind} {call} {self._address} {number} {len(parts)} {part}" for number, part in enumerate(parts)]
        connection = await self._connected()
        async with self._sending:
            with translated(self._server):
                await connection.execute(
                    "SELECT pg_notify($1, payload) FROM unnest($2::text[]) AS payload", _channel(to), payloads
                )

    # --- what is heard -----------------------------------------------------------------------------------------

    def _heard(self, connection: Any, process: int, channel: str, payload: object) -> None:
        """Take a part. Whoever may connect to the database may send one: what isn't of the form is passed over."""
        try:
            kind, call, sender, number, count, part = str(payload).split(" ")
            message = self._collected(kind, call, sender, int(number), int(count), part)
        except (ValueError, binascii.Error, zlib.error, msgspec.DecodeError):
            return
        if message is None:
            return
        awaited = self._awaited.get(call)
        if kind == _ANSWER and awaited is not None and not awaited.done():
            awaited.set_result(message)
        elif kind == _QUESTION and self._answer is not None and not self._closed:
            self._begin_answer(self._answer, call, sender, message)

    def _collected(
        self, kind: str, call: str, sender: str, number: int, count: int, part: str
    ) -> dict[str, Any] | None:
        """Return the message that this part makes whole. Raises ValueError for a part that can't be one."""
        if not 0 <= number < count <= MAX_PARTS or len(part) > PART_BYTES:
            raise ValueError("not a part")
        if kind == _ANSWER and call not in self._awaited:
            return None  # too late, or not for us
        now = asyncio.get_running_loop().time()
        for key in [key for key, parts in self._incomplete.items() if parts.until < now]:
            del self._incomplete[key]
        key = (kind + call, sender)
        parts = self._incomplete.get(key)
        if parts is None:
            if len(self._incomplete) >= MAX_INCOMPLETE:
                return None
            parts = self._incomplete[key] = _Parts(count, now + CALL_SECONDS)
        if not parts.complete(number, count, part):
            return None
        del self._incomplete[key]
        return parts.message()

    def _begin_answer(self, answer: Answer, call: str, sender: str, asked: dict[str, Any]) -> None:
        if len(self._answering) >= MAX_ANSWERING:
            return  # whoever asks so much gets no answer in time
        task = asyncio.create_task(self._answered(answer, call, sender, asked), name="podium-replica-answer")
        self._answering.add(task)
        task.add_done_callback(self._answering.discard)

    async def _answered(self, answer: Answer, call: str, sender: str, asked: dict[str, Any]) -> None:
        try:
            async with asyncio.timeout(CALL_SECONDS):
                await self._send(sender, _ANSWER, call, await answer(asked))
        except ValueError as error:
            _log.warning("an answer can't be sent", error=str(error))
        except (TimeoutError, StoreError) as error:
            _log.debug("an answer could not be sent", error=str(error))


class _Parts:
    """The parts of one message that have come so far."""

    def __init__(self, count: int, until: float) -> None:
        self.until = until
        self._count = count
        self._parts: dict[int, str] = {}

    def complete(self, number: int, count: int, part: str) -> bool:
        """Take one; return whether all are there."""
        if count == self._count:
            self._parts[number] = part
        return len(self._parts) == self._count

    def message(self) -> dict[str, Any]:
        """Return the message. Raises ValueError when that is none, or too large."""
        packed = base64.b64decode("".join(self._parts[number] for number in range(self._count)), validate=True)
        unpacking = zlib.decompressobj()
        text = unpacking.decompress(packed, MAX_LINE)
        if not unpacking.eof:
            raise ValueError("cut off, or too large")
        return msgspec.json.decode(text, type=dict[str, Any])


def _channel(address: str) -> str:
    return f"podium_calls_{address}"
