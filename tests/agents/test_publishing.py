"""What a task publishes: the value as JSON, bounded, and said through whatever runs the task."""

from __future__ import annotations

import pytest
from msgspec import Raw

from podium.agents.context import PUBLISHED_LIMIT, Context
from podium.clock import SystemClock
from podium.exceptions import InvalidInputError
from podium.fleet import messages as msg
from podium.fleet.frames import Frame, decode_spoken, encode_frame
from podium.workflow.nesting import MAX_NESTING


class Outlet:
    """Keeps what is published."""

    def __init__(self) -> None:
        self.said: list[bytes] = []

    def publish(self, value: Raw) -> None:
        self.said.append(bytes(value))


def context(outlet: Outlet) -> Context:
    return Context(
        outlet,  # type: ignore[arg-type]
        SystemClock(),
        attempt_id="e:1:a:1",
        attempt=1,
        execution="e",
        task="a",
        function="a",
        idempotency_key="k",
    )


def test_a_value_is_published_as_json():
    outlet = Outlet()
    context(outlet).publish({"phase": "reading"})
    assert outlet.said == [b'{"phase":"reading"}']


def test_a_value_that_is_too_large_is_refused_where_it_is_made():
    outlet = Outlet()
    with pytest.raises(ValueError, match="at most 4,096 bytes of JSON, this one 4,097"):
        context(outlet).publish("x" * (PUBLISHED_LIMIT - 1))
    context(outlet).publish("x" * (PUBLISHED_LIMIT - 2))
    assert len(outlet.said) == 1


def test_a_published_value_crosses_the_bus_in_a_frame():
    said = msg.Published("ann-1", "e:1:a:1", 3, Raw(b'{"phase":2}'))
    found = decode_spoken(encode_frame("ann-1", 1, [said]))
    assert isinstance(found, Frame)
    assert found.messages == (said,)


@pytest.mark.parametrize("say", [Context.checkpoint, Context.publish])
def test_a_value_that_is_nested_too_deeply_is_refused_where_it_is_made(say):
    value: list[object] = []
    for _ in range(MAX_NESTING):
        value = [value]
    with pytest.raises(InvalidInputError, match="is nested more than 100 levels deep"):
        say(context(Outlet()), value)
