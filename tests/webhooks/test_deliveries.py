"""Which ends are told to whom, when they are tried again, and what is held of them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from podium.engine import events as ev
from podium.settings import Webhook
from podium.store.protocol import ExecutionRow, LogRow
from podium.webhooks.boxes import KEPT_OVER, MOST_HELD, Boxes
from podium.webhooks.deliveries import (
    FIRST_DELAY_SECONDS,
    LONGEST_DELAY_SECONDS,
    Delivery,
    Tried,
    delay_seconds,
    delivered,
    deliveries,
    failed,
    printable,
)

ROW = LogRow(1, 5, "default", "e", 9, 1, "i", "succeeded", 2_000_000, b"{}", b"[]")
EXECUTION = ExecutionRow("e", "default", 1, "report", "1.0", "d", "completed", 1, 9, None, False, 1_000_000, 2_000_000)


def hook(url: str = "https://a.example/x", **more: object) -> Webhook:
    return Webhook(url, secret="s", **more)  # type: ignore[arg-type]


def delivery(number: int = 0) -> Delivery:
    return Delivery(f"d{number}", "w", "completed", "e", "default", "report", "1.0", 9, 1, 10 + number)


def test_ends_are_told_to_who_wants_them_under_ids_that_follow_from_the_log() -> None:
    hooks = [
        hook(),
        hook("https://b.example", events=("failed",)),
        hook("https://c.example", workflows=("other",)),
        hook("https://d.example", workflows=("report",), events=("completed", "cancelled")),
    ]
    done = ev.ExecutionCompleted(partial=True)
    found = deliveries(ROW, [ev.TasksReady(("a",)), done], EXECUTION, hooks)
    assert [each.event for each in found] == ["completed", "completed"]
    assert all(each.partial and each.ended_us == 2_000_000 for each in found)
    assert len({each.id for each in found}) == 2
    assert deliveries(ROW, [done], EXECUTION, hooks) == found
    assert [each.event for each in deliveries(ROW, [ev.ExecutionFailed()], EXECUTION, hooks)] == ["failed", "failed"]
    assert deliveries(ROW, [ev.ExecutionPaused()], EXECUTION, hooks) == []


@given(st.text(max_size=20), st.integers(1, 10_000), st.none() | st.floats(0, 1e9))
def test_delays_grow_to_an_hour_and_are_never_below_half(name: str, attempts: int, after: float | None) -> None:
    longest = min(LONGEST_DELAY_SECONDS, FIRST_DELAY_SECONDS * 2.0 ** min(attempts - 1, 40))
    delay = delay_seconds(name, attempts, after)
    assert longest / 2 <= delay <= LONGEST_DELAY_SECONDS
    if after is None:
        assert delay <= longest
    else:
        assert delay >= min(after, LONGEST_DELAY_SECONDS)


def test_what_isnt_taken_for_too_long_is_given_up() -> None:
    tried, now_us, times = Tried(), 0, []
    while not tried.over:
        tried = failed(delivery(), tried, now_us, "HTTP 500", status=500, give_up_seconds=86_400)
        times.append(now_us)
        now_us = tried.next_us
    assert (tried.state, tried.attempts, tried.error) == ("given up", len(times), "HTTP 500")
    assert 20 <= len(times) <= 70
    assert 80_000 < times[-1] / 1e6 < 86_400
    at_once = failed(delivery(), Tried(), 5, "HTTP 410", status=410, final=True, give_up_seconds=86_400)
    assert (at_once.state, at_once.attempts) == ("given up", 1)
    assert delivered(tried, 7, 204) == Tried("delivered", tried.attempts + 1, tried.first_us, 0, 7, 204)


def test_what_others_say_is_shown_on_one_line() -> None:
    assert printable("a\x1b[31mb\r\nc" + "x" * 1_000).startswith("a [31mb c")
    assert len(printable("x" * 1_000)) == 300


def test_what_is_due_comes_in_order_and_once() -> None:
    boxes = Boxes()
    boxes.open(1, 0)
    boxes.put(
        1, [(delivery(0), Tried(next_us=20)), (delivery(1), Tried(next_us=10)), (delivery(2), Tried("delivered"))]
    )
    boxes.put(1, [(delivery(0), Tried())])  # held already
    assert boxes.pending == 2
    assert [item.delivery.id for item in boxes.due(15)] == ["d1"]
    assert [item.delivery.id for item in boxes.due(25)] == ["d0"]
    assert boxes.due(99) == []
    item = boxes.find("d0")
    assert item is not None
    boxes.set(item, Tried(attempts=1, next_us=50))
    assert boxes.next_us() == 50
    assert boxes.due(49) == []
    boxes.set(boxes.due(50)[0], delivered(item.tried, 51, 200))
    assert boxes.pending == 1
    boxes.close(1)
    assert boxes.pending == 0
    boxes.set(item, Tried())  # of a shard that is gone nothing is noted
    assert boxes.pending == 0


def test_no_more_is_held_than_there_is_room_for() -> None:
    boxes = Boxes()
    boxes.open(1, 0)
    many = [(delivery(number), Tried()) for number in range(MOST_HELD + 5)]
    boxes.put(1, many)
    assert boxes.pending == MOST_HELD
    assert boxes.wanting() is None
    for item in boxes.due(0)[: MOST_HELD // 2]:
        boxes.set(item, delivered(item.tried, 1, 200))
    assert boxes.wanting() == 1
    boxes.put(1, many)
    assert boxes.pending == MOST_HELD // 2 + 5
    assert boxes.wanting() is None


def test_what_is_over_is_listed_for_a_while() -> None:
    boxes = Boxes()
    boxes.open(1, 0)
    boxes.put(1, [(delivery(number), Tried("delivered", last_us=number + 1)) for number in range(KEPT_OVER + 3)])
    outdated = boxes.outdated(1, 0)
    assert [each.id for each in outdated] == ["d0", "d1", "d2"]
    boxes.remove(1, outdated)
    assert boxes.outdated(1, 0) == []
    assert boxes.of[1].removed == ["d0", "d1", "d2"]
    assert len(boxes.outdated(1, 10**18)) == KEPT_OVER
    assert boxes.outdated(2, 0) == []
