"""Receipts: a message of the carrier is acknowledged once all its results are dealt with, and by nobody else's word."""

from __future__ import annotations

from typing import Any

from podium.fleet.receipts import Receipts


class _Message:
    """A delivery that counts its acknowledgements."""

    def __init__(self) -> None:
        self.acks = 0

    def ack(self) -> None:
        self.acks += 1


def message_of() -> Any:
    return _Message()


def test_a_message_without_results_is_acknowledged_at_once():
    receipts, message = Receipts(), message_of()
    receipts.expect(message, "a", [])
    assert (message.acks, len(receipts)) == (1, 0)


def test_a_frame_is_acknowledged_when_its_last_result_is_confirmed():
    receipts, frame = Receipts(), message_of()
    receipts.expect(frame, "a", ["1", "2"])
    assert receipts.confirm("a", "1")
    assert frame.acks == 0
    assert receipts.confirm("a", "2")
    assert (frame.acks, len(receipts)) == (1, 0)
    assert not receipts.confirm("a", "2")
    assert frame.acks == 1


def test_repetitions_are_acknowledged_together():
    receipts, first, again = Receipts(), message_of(), message_of()
    receipts.expect(first, "a", ["1"])
    receipts.expect(again, "a", ["1"])
    assert receipts.waiting_for("a", "1") == 2
    latest: Any = receipts.of("a", "1")
    assert latest is again
    receipts.confirm("a", "1")
    assert (first.acks, again.acks) == (1, 1)


def test_what_another_agent_says_of_an_attempt_settles_nothing_of_its_own_agents():
    receipts, own, thiefs = Receipts(), message_of(), message_of()
    receipts.expect(own, "a", ["1"])
    receipts.expect(thiefs, "thief", ["1"])
    receipts.confirm("thief", "1")
    assert (own.acks, thiefs.acks) == (0, 1)
    kept: Any = receipts.of("a", "1")
    assert kept is own
