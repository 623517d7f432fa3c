"""The child process alone, spoken to over a socket in this process."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading

import msgspec

from podium.agents.frames import (
    HEADER,
    Began,
    Flag,
    FromWorker,
    Job,
    Kept,
    Logged,
    Raised,
    Returned,
    Shown,
    Source,
    Went,
    frame,
)
from podium.agents.worker import HOST_GONE, Worker

decode = msgspec.msgpack.Decoder(FromWorker).decode


def job(name: str, arguments: bytes = b"{}", task: str = "") -> Job:
    source = Source("tests.agents.sample", name, task)
    return Job(source, list(sys.path), arguments, False, "a1", 1, "e1", "t1", name, "key", 30.0, b"[1]")


def read(link: socket.socket) -> FromWorker:
    (length,) = HEADER.unpack(link.recv(HEADER.size, socket.MSG_WAITALL))
    message = decode(link.recv(length, socket.MSG_WAITALL))
    return read(link) if isinstance(message, Began) else message


def test_a_worker_runs_jobs_until_its_link_ends():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        worker = threading.Thread(target=Worker(theirs).serve)
        worker.start()
        ours.sendall(frame(job("Calculator", b'{"number": 4}', "double")))
        assert read(ours) == Returned(b"8")
        ours.sendall(frame(job("speak")))
        assert [type(read(ours)) for _ in range(5)] == [Went, Kept, Shown, Logged, Logged]
        end = read(ours)
        assert isinstance(end, Returned)
        assert msgspec.json.decode(end.value)["restored"] == {"page": 7}
        ours.sendall(frame(job("missing")))
        end = read(ours)
        assert isinstance(end, Raised)
        assert "tests.agents.sample has no task missing" in end.error.message
        ours.sendall(frame(Flag("another", "not this one")) + frame(job("spin")))
        read(ours)
        ours.sendall(frame(Flag("a1", "enough")))
        end = read(ours)
        assert isinstance(end, Raised)
        assert (end.by_cancel, end.error.message) == (True, "enough")
        ours.shutdown(socket.SHUT_RDWR)
        worker.join(20)
        assert not worker.is_alive()


def test_a_busy_worker_ends_when_its_host_is_gone():
    ours, theirs = socket.socketpair()
    with theirs:
        command = [sys.executable, "-m", "podium.agents.worker", str(theirs.fileno())]
        child = subprocess.Popen(command, pass_fds=(theirs.fileno(),))
    with ours:
        ours.sendall(frame(job("spin")))
        assert isinstance(read(ours), Went)
    assert child.wait(20) == HOST_GONE
