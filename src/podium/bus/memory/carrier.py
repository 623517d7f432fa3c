"""The carrier in memory: what a server is to other transports. Transports of one process share one, by name.

It knows who listens and what its streams keep, and it can be taken down, brought up and made to forget, so that tests
and the simulator do to memory what happens to servers. Everything happens under one lock: transports may live on
several loops.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from podium.bus.arrivals import Arrivals, Said
from podium.bus.memory.consuming import Place, Reading
from podium.bus.memory.streams import Log
from podium.bus.subjects import matches, overlap
from podium.bus.transport import MAX_PAYLOAD, Stream
from podium.clock import Clock, SystemClock
from podium.exceptions import BackpressureError, InvalidInputError, TransportUnavailableError

_MAX_ROUTES = 65_536


class Party(Protocol):
    """A transport, as its carrier knows it. All are called under the carrier's lock, on any thread."""

    def went_down(self) -> None:
        """The carrier is gone."""
        ...

    def came_up(self) -> None:
        """The carrier is there again."""
        ...

    def forgot(self) -> None:
        """The carrier has lost its streams."""
        ...


class Listener(Protocol):
    """A subscription to plain subjects, as its carrier knows it."""

    patterns: tuple[str, ...]
    group: str
    arrivals: Arrivals[Said]

    def missed(self) -> None:
        """A message didn't fit. Called under the carrier's lock, on any thread."""
        ...


Route = tuple[tuple[Listener, ...], tuple[list[Listener], ...], tuple[Log, ...]]  # alone, by group, streams


class MemoryCarrier:
    """Who listens, and what is kept."""

    def __init__(self, name: str = "", *, max_payload: int = MAX_PAYLOAD, clock: Clock | None = None) -> None:
        self.name = name
        self.max_payload = max_payload
        self.up = True
        self.lock = threading.RLock()
        self.clock = clock or SystemClock()
        self._parties: list[Party] = []
        self._listeners: dict[str, list[Listener]] = {}  # by pattern
        self._wild: set[str] = set()  # those patterns that have wildcards
        self._logs: dict[str, Log] = {}
        self._routes: dict[str, Route] = {}  # by subject, as far as it was asked for

    # --- what happens to a carrier ---------------------------------------------------------------------------------

    def take_down(self) -> None:
        """Be unreachable. What is on its way to listeners is lost, streams are kept."""
        with self.lock:
            if not self.up:
                return
            self.up = False
            for listeners in self._listeners.values():
                for listener in listeners:
                    listener.arrivals.clear()
            for party in list(self._parties):
                party.went_down()

    def bring_up(self) -> None:
        """Be reachable again."""
        with self.lock:
            if self.up:
                return
            self.up = True
            for party in list(self._parties):
                party.came_up()
            self.hand_out(self._logs.values())

    def restart(self) -> None:
        """Go down and come up."""
        self.take_down()
        self.bring_up()

    def forget(self, *streams: str) -> None:
        """Lose these streams with all that they hold and their readers' places; without a name, every one."""
        with self.lock:
            for name in streams or tuple(self._logs):
                self._logs.pop(name, None)
            self._routes.clear()
            for party in list(self._parties):
                party.forgot()

    def enter(self, party: Party) -> None:
        """Tell a transport from now on what becomes of the carrier."""
        with self.lock:
            self._parties.append(party)

    def leave(self, party: Party) -> None:
        """Tell it no longer."""
        with self.lock:
            self._parties = [other for other in self._parties if other is not party]

    # --- plain subjects --------------------------------------------------------------------------------------------

    def listen(self, listener: Listener) -> None:
        """Take in a subscription."""
        with self.lock:
            for pattern in listener.patterns:
                self._listeners.setdefault(pattern, []).append(listener)
                self._forget_routes(pattern)

    def unlisten(self, listener: Listener) -> None:
        """Let it go."""
        with self.lock:
            for pattern in listener.patterns:
                left = [other for other in self._listeners.get(pattern, ()) if other is not listener]
                self._listeners[pattern] = left
                self._forget_routes(pattern)
                if not left:
                    del self._listeners[pattern]
                    self._wild.discard(pattern)

    def say(self, subject: str, data: bytes, headers: Mapping[str, str], reply: str = "") -> None:
        """Give it to all who listen, one of each group, and to streams.

        A full stream doesn't take it: nobody hears of that, as with any carrier.
        """
        with self.lock:
            alone, groups, logs = self._route(subject)
            now_us = self.clock.now_us()
            self._tell(alone, groups, lambda: Said(subject, data, dict(headers), reply, 1, 0, now_us))
            for log in logs:
                with contextlib.suppress(BackpressureError):
                    log.append(subject, data, headers, "", now_us)
            self.hand_out(logs)

    def heard(self, subject: str) -> bool:
        """Tell whether somebody listens."""
        with self.lock:
            alone, groups, _ = self._route(subject)
            return bool(alone or groups)

    # --- streams ---------------------------------------------------------------------------------------------------

    def append(self, subject: str, data: bytes, headers: Mapping[str, str], message_id: str) -> int:
        """Keep it and give it to all who listen; return its sequence."""
        with self.lock:
            alone, groups, logs = self._route(subject)
            if not logs:
                raise TransportUnavailableError(f"no stream keeps {subject!r}; declare one before")
            log, now_us = logs[0], self.clock.now_us()
            before = log.last
            sequence = log.append(subject, data, headers, message_id, now_us)
            self._tell(alone, groups, lambda: Said(subject, data, dict(headers), "", 1, 0, now_us))
            if log.last != before:
                self.hand_out(logs)
            return sequence

    def declare(self, stream: Stream) -> bool:
        """Have a stream with these settings; return whether it is new. Raises InvalidInputError for what can't be."""
        with self.lock:
            log = self._logs.get(stream.name)
            for other in self._logs.values():
                if other is not log and any(overlap(a, b) for a in stream.subjects for b in other.settings.subjects):
                    raise InvalidInputError(f"stream {stream.name} would share subjects with {other.settings.name}")
            self._routes.clear()
            if log is None:
                self._logs[stream.name] = Log(stream)
                return True
            if log.settings.work != stream.work:
                raise InvalidInputError(f"stream {stream.name} is there, and can't change whether it is a work stream")
            log.settle(stream, self.clock.now_us())
            return False

    def place(self, stream: Stream, name: str, reading: Reading, start: int) -> Place:
        """Return the place of a durable name, made now if it isn't there."""
        with self.lock:
            log = self.log(stream.name)
            place = log.places.get(name)
            if place is None:
                mine = reading.subjects or stream.subjects
                for other in log.places.values() if stream.work else ():
                    theirs = other.reading.subjects or stream.subjects
                    if any(overlap(a, b) for a in mine for b in theirs):
                        raise InvalidInputError(f"another consumer of work stream {stream.name} has these subjects")
                place = log.places[name] = Place(self, log, reading, start)
            place.reading = reading
            return place

    def has_place(self, stream: str, place: Place) -> bool:
        """Tell whether a place is still one of its stream's."""
        with self.lock:
            log = self._logs.get(stream)
            return log is not None and place in log.places.values()

    def log(self, name: str) -> Log:
        """Return a stream. Raises TransportUnavailableError if it isn't there."""
        with self.lock:
            log = self._logs.get(name)
            if log is None:
                raise TransportUnavailableError(f"there is no stream {name}; declare it before")
            log.forget_old(self.clock.now_us())
            return log

    def hand_out(self, logs: Iterable[Log]) -> None:
        """Let readers of these streams have what is there for them."""
        for log in logs:
            for place in log.places.values():
                place.hand_out()

    def _tell(self, alone: tuple[Listener, ...], groups: tuple[list[Listener], ...], say: Callable[[], Said]) -> None:
        for listener in alone:
            if not listener.arrivals.offer(say()):
                listener.missed()
        for group in groups:
            group.append(group.pop(0))  # the next message is another's
            if not any(listener.arrivals.offer(say()) for listener in group):
                group[0].missed()

    def _forget_routes(self, pattern: str) -> None:
        if "*" in pattern or ">" in pattern:
            self._wild.add(pattern)
            self._routes.clear()
        else:
            self._routes.pop(pattern, None)

    def _route(self, subject: str) -> Route:
        found = self._routes.get(subject)
        if found is not None:
            return found
        if len(self._routes) >= _MAX_ROUTES:
            self._routes.clear()
        alone: list[Listener] = []
        groups: dict[str, list[Listener]] = {}
        for pattern in (subject, *(wild for wild in self._wild if matches(wild, subject))):
            for listener in self._listeners.get(pattern, ()):
                (groups.setdefault(listener.group, []) if listener.group else alone).append(listener)
        logs = tuple(log for log in self._logs.values() if log.keeps(subject))
        found = self._routes[subject] = (tuple(alone), tuple(groups.values()), logs)
        return found


_carriers: dict[str, MemoryCarrier] = {}
_carriers_lock = threading.Lock()


def carrier_named(name: str) -> MemoryCarrier:
    """Return this process's carrier of a name: the same one each time."""
    with _carriers_lock:
        return _carriers.setdefault(name, MemoryCarrier(name))
