"""Results on their way into the log: which message of the carrier is done once which attempts are confirmed. Pure.

A frame is acknowledged to its carrier when all of its results are recorded; until then the carrier keeps it, so that a
crash loses none.
"""

from __future__ import annotations

from podium.bus.transport import Delivery


class Receipt:
    """A message of the carrier and how many of its results aren't confirmed yet."""

    __slots__ = ("delivery", "open")

    def __init__(self, delivery: Delivery, open: int) -> None:
        self.delivery = delivery
        self.open = open


class Receipts:
    """The results that wait for their confirmation, by agent and attempt.

    By both, since what one agent says of another's attempt must not settle what that one said. Bounded by what the
    carrier lets be unacknowledged.
    """

    def __init__(self) -> None:
        self._waiting: dict[tuple[str, str], list[Receipt]] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def expect(self, delivery: Delivery, agent: str, attempts: list[str]) -> None:
        """Acknowledge a message once these attempts' results are confirmed; at once, if there are none."""
        if not attempts:
            delivery.ack()
            return
        receipt = Receipt(delivery, len(attempts))
        for attempt in attempts:
            self._waiting.setdefault((agent, attempt), []).append(receipt)

    def confirm(self, agent: str, attempt: str) -> bool:
        """What an agent said of an attempt is dealt with; returns whether it waited."""
        receipts = self._waiting.pop((agent, attempt), None)
        for receipt in receipts or ():
            receipt.open -= 1
            if not receipt.open:
                receipt.delivery.ack()
        return receipts is not None

    def give_back(self) -> None:
        """Have the carrier deliver all that waits once more, to whoever can have it confirmed."""
        receipts = {id(receipt): receipt for waiting in self._waiting.values() for receipt in waiting}
        self._waiting.clear()
        for receipt in receipts.values():
            receipt.delivery.nack()

    def waiting_for(self, agent: str, attempt: str) -> int:
        """Return how many messages brought this agent's result of the attempt and aren't dealt with."""
        return len(self._waiting.get((agent, attempt), ()))

    def of(self, agent: str, attempt: str) -> Delivery | None:
        """Return the message that brought an agent's result of an attempt, the latest."""
        receipts = self._waiting.get((agent, attempt))
        return receipts[-1].delivery if receipts else None
