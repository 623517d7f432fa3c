"""One POST over HTTP/1.1, with nothing that a browser would do besides: no redirects, no proxies, no cookies.

The bytes are h11's business; the connection is ours, because it must be to the address that was checked.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from base64 import b64encode
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urlsplit

from msgspec import Struct

from podium.exceptions import WebhookError
from podium.webhooks.dialing import dialled

if TYPE_CHECKING:
    import h11

MOST_ANSWER_BYTES = 16 << 10
COURTESY_SECONDS = 0.5  # for the rest of an answer that nobody needs
_PIECE = 16 << 10
_KEPT = "!#$%&'()*+,/:;=?@[]~"  # in a path or a query, as they are


class Answer(Struct, frozen=True):
    """What the other server said."""

    status: int
    retry_after_seconds: float | None = None


async def post(url: str, headers: dict[str, str], body: bytes, *, seconds: float, allow_private: bool) -> Answer:
    """Post a body and return the answer's head, all of it within this time. Raises WebhookError."""
    import h11

    try:
        async with asyncio.timeout(seconds):
            return await _posted(url, headers, body, allow_private=allow_private)
    except TimeoutError as error:
        raise WebhookError(f"no answer within {seconds:g} s") from error
    except h11.ProtocolError as error:
        raise WebhookError(f"the answer isn't HTTP: {error}") from error
    except UnicodeError as error:
        raise WebhookError("its URL names no host") from error
    except OSError as error:
        raise WebhookError(f"the connection broke: {error}") from error


async def _posted(url: str, headers: dict[str, str], body: bytes, *, allow_private: bool) -> Answer:
    import h11

    parts = urlsplit(url)
    secure = parts.scheme == "https"
    try:
        host, port = parts.hostname or "", parts.port or (443 if secure else 80)
    except ValueError as error:
        raise WebhookError(f"its URL can't be used: {error}") from error
    tls = await asyncio.to_thread(_tls) if secure else None
    reader, writer = await dialled(host, port, tls, allow_private=allow_private)
    try:
        connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=MOST_ANSWER_BYTES)
        target = quote(parts.path or "/", _KEPT) + (f"?{quote(parts.query, _KEPT)}" if parts.query else "")
        head = [
            ("Host", _host(host, parts.port)),
            *headers.items(),
            ("Content-Length", str(len(body))),
            ("Connection", "close"),
        ]
        if parts.username is not None:
            pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            head.append(("Authorization", f"Basic {b64encode(pair.encode()).decode()}"))
        writer.write(connection.send(h11.Request(method="POST", target=target, headers=head)) or b"")
        writer.write(connection.send(h11.Data(data=body)) or b"")
        writer.write(connection.send(h11.EndOfMessage()) or b"")
        await writer.drain()
        answer = await _answer(connection, reader)
        await _rest(connection, reader)
        return answer
    finally:
        writer.transport.abort()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def _answer(connection: h11.Connection, reader: asyncio.StreamReader) -> Answer:
    import h11

    while True:
        match connection.next_event():
            case h11.NEED_DATA:
                connection.receive_data(await reader.read(_PIECE))
            case h11.Response(status_code=status, headers=found):
                after = next((value for name, value in found if name == b"retry-after"), b"")
                return Answer(status, float(after) if after.isdigit() and len(after) < 10 else None)
            case h11.ConnectionClosed():
                raise WebhookError("the connection was closed without an answer")
            case _:  # 100 Continue and its kin
                pass


async def _rest(connection: h11.Connection, reader: asyncio.StreamReader) -> None:
    """Let the other server say the rest, if that is short and quick: else it sees its connection break."""
    import h11

    read = 0
    with contextlib.suppress(TimeoutError, OSError, h11.ProtocolError):
        async with asyncio.timeout(COURTESY_SECONDS):
            while read < MOST_ANSWER_BYTES:
                match connection.next_event():
                    case h11.NEED_DATA:
                        data = await reader.read(_PIECE)
                        read += len(data)
                        connection.receive_data(data)
                    case h11.Data():
                        pass
                    case _:
                        return


def _host(host: str, port: int | None) -> str:
    name = f"[{host}]" if ":" in host else host.encode("idna").decode()
    return f"{name}:{port}" if port is not None else name


@lru_cache(maxsize=1)
def _tls() -> ssl.SSLContext:
    """Trust whom this machine trusts; SSL_CERT_FILE names others. Reading them all takes a while."""
    return ssl.create_default_context()
