"""Questions and their answers over one shared inbox: requests, acknowledgements of appends, JetStream's API."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from msgspec import Struct

from podium.bus.nats.client import PodiumClient
from podium.bus.nats.wire import publishing, status_of
from podium.exceptions import TransportUnavailableError

NO_RESPONDERS = 503


class ConnectionLost(TransportUnavailableError):
    """The connection was lost before the answer came."""


class Answer(Struct):
    """What came back; `status` isn't 0 when the server answered in somebody's stead."""

    subject: str
    reply: str
    data: bytes
    headers: bytes
    status: int


class _Question(Struct):
    subject: str
    future: asyncio.Future[Answer]
    fragile: bool  # its answer comes from the server itself, so a lost connection loses it


class Questions:
    """Those that wait for an answer."""

    def __init__(self, client: PodiumClient, inbox: str) -> None:
        """`inbox` is a subject that is ours alone; below it each question has a word of its own."""
        self._client = client
        self._prefix = f"{inbox}."
        self._waiting: dict[str, _Question] = {}
        self._count = 0
        client.listen(f"{inbox}.*", "", self._arrived)

    async def ask(
        self,
        subject: str,
        data: bytes,
        headers: Mapping[str, str] | None,
        timeout_seconds: float,
        *,
        fragile: bool = True,
    ) -> Answer:
        """Say it and return the answer. Raises TimeoutError and ConnectionLost."""
        self._count += 1
        key = str(self._count)
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Answer] = loop.create_future()
        self._waiting[key] = _Question(subject, future, fragile)
        self._client.write_soon(publishing(subject, self._prefix + key, data, headers))
        timer = loop.call_later(timeout_seconds, _give_up, future)
        try:
            return await future
        finally:
            timer.cancel()
            del self._waiting[key]

    def lose(self, why: str) -> None:
        """Raise ConnectionLost in the questions whose answers the connection has taken along."""
        for question in list(self._waiting.values()):
            if question.fragile and not question.future.done():
                question.future.set_exception(ConnectionLost(why))

    def refuse(self, subject: str, error: Exception) -> None:
        """Fail those on a subject: the server doesn't let us speak there."""
        for question in list(self._waiting.values()):
            if question.subject.lower() == subject.lower() and not question.future.done():
                question.future.set_exception(error)

    def _arrived(self, subject: str, reply: str, data: bytes, headers: bytes) -> None:
        question = self._waiting.get(subject[len(self._prefix) :])
        if question is not None and not question.future.done():
            status = status_of(headers)[0] if headers else 0
            question.future.set_result(Answer(subject, reply, data, headers, status))


def _give_up(future: asyncio.Future[Answer]) -> None:
    if not future.done():
        future.set_exception(TimeoutError())
