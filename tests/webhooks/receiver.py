"""A real HTTP server that webhooks are told to: it remembers what came, and answers as the test says."""

from __future__ import annotations

import hmac
import json
import ssl
import threading
import time
from collections.abc import Callable
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

SECRET = "a secret of the tests"


class Told:
    """One request."""

    def __init__(self, path: str, headers: dict[str, str], body: bytes) -> None:
        self.path = path
        self.headers = headers
        self.body = body

    @property
    def id(self) -> str:
        return self.headers["Podium-Delivery"]

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    def check_signature(self, secret: str = SECRET) -> None:
        """Do what the docs tell whoever receives."""
        parts = dict(part.split("=", 1) for part in self.headers["Podium-Signature"].split(","))
        expected = hmac.new(secret.encode(), parts["t"].encode() + b"." + self.body, sha256).hexdigest()
        assert hmac.compare_digest(parts["v1"], expected)
        assert abs(time.time() - int(parts["t"])) < 300


class Receiver:
    """Answers each request with what `answer` returns: a status, or nothing once `gate` opens; use `with`."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.told: list[Told] = []
        self.statuses: list[int] = []  # of the next answers; then 200
        self.headers: dict[str, str] = {}
        self.gate = threading.Event()
        self.gate.set()
        self.slowly: Callable[[Any], None] | None = None  # writes the answer itself
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.told.append(Told(self.path, dict(self.headers.items()), body))
                receiver.gate.wait(60)
                try:
                    if receiver.slowly is not None:
                        receiver.slowly(self.wfile)
                        return
                    status = receiver.statuses.pop(0) if receiver.statuses else 200
                    self.send_response(status)
                    for name, value in receiver.headers.items():
                        self.send_header(name, value)
                    self.send_header("Content-Length", "2")
                    self.end_headers()
                    self.wfile.write(b"ok")
                except OSError:
                    pass  # whoever asked has gone
                finally:
                    self.close_connection = True

            def log_message(self, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.block_on_close = False
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self.scheme = "https" if tls is not None else "http"

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}/hook"

    def __enter__(self) -> Receiver:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.gate.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
