"""A Redis server for the peers that need one: Debian's `redis-server`, on a free loopback port, as long as asked."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

START_SECONDS = 10.0


@contextmanager
def redis_server(folder: Path) -> Iterator[str]:
    """Yield the address of a server that keeps its files in the folder; its settings are Redis's defaults.

    Raises FileNotFoundError where Redis isn't installed.
    """
    program = shutil.which("redis-server")
    if program is None:
        raise FileNotFoundError("there is no redis-server here; on Debian and Ubuntu: apt install redis-server")
    port = _free_port()
    command = [program, "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _await_answer(process, port)
        yield f"redis://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def _await_answer(process: subprocess.Popen[bytes], port: int) -> None:
    until = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < until:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
                connection.sendall(b"PING\r\n")
                if connection.recv(16).startswith(b"+PONG"):
                    return
        except ConnectionRefusedError:
            time.sleep(0.02)
    raise RuntimeError(f"redis-server didn't answer on port {port} within {START_SECONDS:.0f} s")
