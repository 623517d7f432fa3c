"""nats-py's client with a short way in and out, and mended where it would give up or fall silent.

In: a message goes straight from the parser to a plain function, without a task, a queue or an object between. Out:
commands are written at once into the client's buffer by functions that never wait. Mended, because connections must
come back for ever: an error that the server names doesn't end the client (it reconnects when the server hangs up), a
reader or a reconnection that died of an unforeseen error is begun again, and a dead connection is aborted instead of
waiting for what can't be sent. It leans on private names of nats-py, which the lock file pins.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from nats import errors
from nats.aio.client import Client, Srv
from nats.aio.subscription import Subscription
from nats.aio.transport import TcpTransport
from nats.protocol import command
from nats.protocol.parser import STALE_CONNECTION

from podium.telemetry.logs import get_logger

_log = get_logger(__name__)
_PING = b"PING\r\n"
_BREATH_SECONDS = 0.1
_ROOM = 256 << 10  # bytes that are read at once
MAX_PENDING_BYTES = 8 << 20  # of commands that wait for the system, or for a connection

Sink = Callable[[str, str, bytes, bytes], None]  # subject, reply, data, headers as they came; must not wait


class _Roomy(TcpTransport):
    """Reads as much at a time as the system has: with nats-py's 32 KiB a stream of frames stops and goes."""

    async def read(self, buffer_size: int) -> bytes:
        assert self._io_reader is not None
        return await self._io_reader.read(_ROOM)


class PodiumClient(Client):
    """One connection to a NATS server or cluster."""

    def __init__(self) -> None:
        super().__init__()
        self._sinks: dict[int, Sink] = {}
        self._reconnecting: asyncio.Task[None] | None = None
        self._flush_queue: asyncio.Queue[asyncio.Future[Any]] = asyncio.Queue()

    # --- out -------------------------------------------------------------------------------------------------------

    def write_soon(self, text: bytes) -> None:
        """Have a command written; during a lost connection it is kept and written later."""
        self._pending.append(text)
        self._pending_data_size += len(text)
        if self._flush_queue.empty() and self.is_connected:
            self._flush_queue.put_nowait(asyncio.get_running_loop().create_future())

    def acknowledge(self, text: bytes) -> None:
        """Have a command written that may be lost: it is when the buffer of a lost connection is full."""
        if not self.is_closed and (self.is_connected or self._pending_data_size < MAX_PENDING_BYTES):
            self.write_soon(text)

    async def written(self, patience_seconds: float = 0.25) -> None:
        """Wait until what is in the buffer has been handed to the system, not much longer than the patience."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._flush_queue.put_nowait(future)
        await asyncio.wait({future}, timeout=patience_seconds)

    async def answered(self, timeout_seconds: float) -> bool:
        """Wait until the server has dealt with all commands so far; False if it didn't say so in time.

        nats-py's own flush sends its question before what waits in the buffer.
        """
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._pongs.append(future)
        self.write_soon(_PING)
        done, _ = await asyncio.wait({future}, timeout=timeout_seconds)
        return bool(done)

    def listen(self, pattern: str, group: str, sink: Sink) -> int:
        """Have a function called with each message; return the number to end it with."""
        self._sid += 1
        sid: int = self._sid
        self._sinks[sid] = sink
        self._subs[sid] = Subscription(self, sid, pattern, queue=group, pending_msgs_limit=1)  # renewed at reconnection
        self.write_soon(command.sub_cmd(pattern, group, sid))
        return sid

    def unlisten(self, sid: int) -> None:
        """Tell the server to send no more. What is on its way still comes, until `forget`."""
        if self._subs.pop(sid, None) is not None and self.is_connected:
            self.write_soon(command.unsub_cmd(sid, 0))

    def forget(self, sid: int) -> None:
        """Call the function no longer."""
        self._sinks.pop(sid, None)

    async def end(self, patience_seconds: float = 1.0) -> None:
        """Close it for good; a server that takes nothing any more doesn't hold this up."""
        closing = asyncio.create_task(self.close(), name="close the connection to NATS")
        for _ in range(2):
            await asyncio.wait({closing}, timeout=patience_seconds)
            if closing.done():
                break
            self._abort()
        closing.cancel()
        await asyncio.wait({closing}, timeout=patience_seconds)

    # --- in, mended ------------------------------------------------------------------------------------------------

    async def _connect_to_server(self, s: Srv) -> None:
        self._transport = _Roomy()  # type: ignore[no-untyped-call]
        await self._transport.connect(s.uri, _ROOM, self.options["connect_timeout"])

    async def _process_msg(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes | None) -> None:
        sink = self._sinks.get(sid)
        if sink is None:
            return
        try:
            sink(subject.decode(), reply.decode(), data, headers or b"")
        except Exception as error:  # noqa: BLE001 - one bad message must not end the connection's reader
            _log.error("a message could not be taken in", subject=repr(subject)[:200], error=repr(error))

    async def _process_pong(self) -> None:
        if self._pongs:
            future = self._pongs.pop(0)
            self._pings_outstanding = 0
            if not future.done():
                future.set_result(True)

    async def _process_err(self, err_msg: str) -> None:
        if STALE_CONNECTION in err_msg:
            await self._process_op_err(errors.StaleConnectionError())
            return
        self._err = errors.Error(f"nats: {err_msg.strip(chr(39))}")
        await self._error_cb(self._err)

    async def _read_loop(self) -> None:
        await super()._read_loop()
        current = asyncio.current_task()
        if self.is_connected and current is self._reading_task and current is not None and not current.cancelling():
            _log.error("the reader of the connection ended; connecting again")
            await self._process_op_err(errors.Error("nats: the reader ended"))

    async def _attempt_reconnect(self) -> None:
        before, self._reconnecting = self._reconnecting, asyncio.current_task()
        while before is not None and not before.done():  # it may have swallowed that it was cancelled
            before.cancel()
            await asyncio.wait({before}, timeout=_BREATH_SECONDS)
        while True:
            self._abort()
            try:
                await super()._attempt_reconnect()
            except Exception as error:  # noqa: BLE001 - whatever it is, a connection must come back
                _log.error("reconnecting failed in an unforeseen way; once more", error=repr(error))
                await asyncio.sleep(self.options["reconnect_time_wait"])
                continue
            return

    def _abort(self) -> None:
        writer = getattr(self._transport, "_io_writer", None)
        if writer is not None:
            writer.transport.abort()  # a plain close would wait for what a dead peer never takes
