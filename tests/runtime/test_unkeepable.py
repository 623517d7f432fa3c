"""What no store could keep is refused at the door: nobody who takes it in ends by it, or hands it on."""

from __future__ import annotations

import asyncio

import pytest
from msgspec import Raw

from podium.engine import inputs as inp
from podium.engine.posting import Posting
from podium.exceptions import InvalidInputError, UnstorableError
from podium.fleet import messages as msg
from podium.store.keys import MAX_KEY_BYTES, check_key
from podium.store.protocol import Append
from podium.testing.virtual import virtual_loop
from podium.workflow.model import ExecutionStatus
from tests.runtime.support import ONE, UnreliableStore, crash, sound, start, until, virtual

NO_ATTEMPTS = {
    "with NUL": "{execution}:1:a\0b:1",
    "half a surrogate pair": "{execution}:1:a\ud800:1",
    "of another execution, with NUL": "no\0where:1:a:1",
    "with a line break": "{execution}:1:a\nb:1",
    "too long": "{execution}:1:" + "é" * MAX_KEY_BYTES + ":1",
    "a number beyond any": "{execution}:1:a:" + "9" * 30,
    "a number that Python doesn't read": "{execution}:1:a:" + "9" * 5_000,
    "digits of another script": "{execution}:1:a:٣",
}


@pytest.mark.parametrize("attempt", NO_ATTEMPTS.values(), ids=list(NO_ATTEMPTS))
@virtual
async def test_a_result_of_what_can_be_no_attempt_is_set_aside_and_ends_nobody(attempt: str):
    engine, hand, _ = await start()
    told: list[str] = []
    engine.unusable = lambda agent, attempt, why: told.append(why)
    execution = await engine.submit(ONE)
    held = (await hand.assigned()).attempt
    assert engine.receive(msg.Succeeded(hand.agent, attempt.format(execution=execution), Raw(b"1")))
    await asyncio.sleep(1)
    assert len(told) == 1
    hand.succeed(held)
    await until(lambda: hand.of(msg.Confirmation))
    assert engine.failure is None
    await crash(engine)


@virtual
async def test_a_command_that_can_t_be_kept_is_refused_and_nothing_of_it_is_recorded():
    engine, _hand, store = await start()
    execution = await engine.submit(ONE)
    posting = Posting(store, "default", virtual_loop().clock)
    for given, input_id in (
        (inp.Cancel("half \udcff"), "one"),
        (inp.Cancel("why"), "a\0b"),
        (inp.Cancel("why"), "x" * 2_000),
    ):
        with pytest.raises(InvalidInputError):
            await engine.command(execution, given, input_id)
        with pytest.raises(InvalidInputError):
            await posting.write(execution, input_id, given)
    with pytest.raises(InvalidInputError, match="execution's id"):
        await engine.command("no\0where", inp.Cancel("why"))
    assert engine.failure is None
    assert not await store.recorded([(execution, "one")])
    await crash(engine)


def test_what_is_printed_and_short_can_be_a_key():
    check_key("an input's id", "signal:go on:é")
    check_key("an input's id", "x" * MAX_KEY_BYTES)


class Choosy(UnreliableStore):
    """Can't keep inputs of one id, as a server can't keep what is beyond its limits."""

    async def append(self, batch: Append) -> None:
        if any(row.input_id == "bad" for row in batch.rows):
            raise UnstorableError("an input can't be kept")
        await super().append(batch)


@virtual
async def test_what_the_store_can_t_keep_though_the_doors_let_it_in_is_refused_alone():
    engine, hand, store = await start(store=Choosy())
    executions = [await engine.submit(ONE) for _ in range(10)]
    await hand.assigned(10)
    store.gate.clear()  # so that all of it is decided together
    commands = [engine.command(execution, inp.Signal("go"), f"good-{n}") for n, execution in enumerate(executions)]
    commands.insert(5, engine.command(executions[5], inp.Signal("go"), "bad"))
    told = asyncio.gather(*commands, return_exceptions=True)
    await asyncio.sleep(1)
    store.gate.set()
    found = await told
    assert isinstance(found.pop(5), UnstorableError)
    assert not [each for each in found if isinstance(each, BaseException)]
    for assignment in hand.of(msg.Assignment):
        hand.succeed(assignment.attempt)
    assert {await engine.finished(execution) for execution in executions} == {ExecutionStatus.COMPLETED}
    assert engine.failure is None
    await sound(store, engine)
