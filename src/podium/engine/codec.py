"""How inputs and events are written in the log: JSON objects, tagged with their kind. See `docs/log-format.md`.

A completed task's result is written once, in the row's input; the event refers to it by leaving it out. Old versions of
events go through `UPCASTERS` before they are decoded.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Raw

from podium.engine import events as ev
from podium.engine import inputs as inp
from podium.engine.values import Value
from podium.exceptions import CorruptHistoryError, InvalidInputError
from podium.store.protocol import LogRow

UPCASTERS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {}

_NO_INPUT = inp.Tick()
_encode = msgspec.json.Encoder().encode
_input_decoder: msgspec.json.Decoder[inp.Input] = msgspec.json.Decoder(inp.Input)
_events_decoder: msgspec.json.Decoder[list[ev.Event]] = msgspec.json.Decoder(list[ev.Event])
_objects_decoder = msgspec.json.Decoder(list[dict[str, Any]])


def encode_input(given: inp.Input) -> bytes:
    """Return the input's JSON."""
    return _encode(given)


def check_input(given: inp.Input) -> None:
    """Raise InvalidInputError for an input that can't be written: one with half of a surrogate pair in a text."""
    try:
        _encode(given)
    except UnicodeEncodeError as error:
        raise InvalidInputError(f"the input holds what is no text: {error}") from None


def decode_input(payload: bytes) -> inp.Input:
    """Return the input of a row's payload. Raises CorruptHistoryError if it is none."""
    try:
        return _input_decoder.decode(payload)
    except (msgspec.DecodeError, RecursionError) as error:
        raise CorruptHistoryError(f"an input can't be read: {error}") from error


def encode_events(events: list[ev.Event], given: inp.Input) -> bytes:
    """Return the events' JSON list, the input's own value left out."""
    if isinstance(given, inp.Succeeded | inp.Complete):
        events = [_without_result(event, given.value) for event in events]
    return _encode(events)


def events_in_full(events: list[ev.Event]) -> bytes:
    """Return the events' JSON list with nothing left out: what two decisions are compared by."""
    return _encode(events)


def decode_row(row: LogRow, payload: bytes | None = None) -> tuple[inp.Input, list[ev.Event]]:
    """Return a row's input and events; `payload` stands for one that is kept as a blob."""
    given = decode_input(row.payload if payload is None else payload)
    return given, decode_events(row.events, given)


def decode_events(encoded: bytes, given: inp.Input) -> list[ev.Event]:
    """Return a row's events with the input's value put back."""
    try:
        events = _events_decoder.decode(encoded)
    except msgspec.ValidationError:
        events = _decode_old(encoded)
    except (msgspec.DecodeError, RecursionError) as error:
        raise CorruptHistoryError(f"events can't be read: {error}") from error
    if isinstance(given, inp.Succeeded | inp.Complete):
        events = [_with_result(event, given) for event in events]
    return events


def decode_facts(row: LogRow) -> list[ev.Event]:
    """Return a row's events without the value that stands in its input: for who counts them."""
    return decode_events(row.events, _NO_INPUT)


def _decode_old(encoded: bytes) -> list[ev.Event]:
    try:
        objects = _objects_decoder.decode(encoded)
        lifted = [UPCASTERS.get(o["event"], _as_it_is)(o) for o in objects]
        return msgspec.convert(lifted, list[ev.Event])
    except (msgspec.DecodeError, KeyError, RecursionError) as error:
        raise CorruptHistoryError(f"events can't be read: {error}; was a newer Podium here?") from error


def _as_it_is(event: dict[str, Any]) -> dict[str, Any]:
    return event


def _without_result(event: ev.Event, value: Value) -> ev.Event:
    if isinstance(event, ev.TaskCompleted) and event.result is value:
        return ev.TaskCompleted(event.task, event.number, None, event.by, event.reason)
    return event


def _with_result(event: ev.Event, given: inp.Succeeded | inp.Complete) -> ev.Event:
    if isinstance(event, ev.TaskCompleted) and event.result is None:
        return ev.TaskCompleted(event.task, event.number, _owned(given.value), event.by, event.reason)
    return event


def _owned(value: Value) -> Value:
    """A decoded Raw borrows the whole row; a copy lets the row go."""
    return value if value.blob is not None else Value(json=Raw(bytes(value.json)))
