"""What people say to executions with a value in it: signals, and answers to what tasks ask.

A large value is put into the store first; an answer is held against the form before it is given.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from podium.app.said import MAX_NAME, check_texts, encoded
from podium.clock import Clock
from podium.engine import inputs as inp
from podium.engine.following import Follower
from podium.engine.values import Value, value_of
from podium.exceptions import InvalidInputError
from podium.store.protocol import Blob, Store
from podium.workflow.forms import form_problems


class Telling:
    """Makes the inputs of what people say."""

    def __init__(self, store: Store, tenant: str, clock: Clock, follower: Callable[[str], Awaitable[Follower]]) -> None:
        self._store = store
        self._tenant = tenant
        self._clock = clock
        self._follower = follower

    async def signal(self, name: str, value: Any) -> inp.Signal:
        """Return the input of a signal. Raises InvalidInputError, PayloadTooLargeError."""
        if not name.strip() or len(name) > MAX_NAME or not name.isprintable():
            raise InvalidInputError(f"a signal's name is a word of at most {MAX_NAME} characters")
        return inp.Signal(name, await self._kept(value))

    async def answer(self, execution: str, task: str, value: Any, by: str, run: int = 0) -> inp.Answer:
        """Return the input of an answer, to what is asked in a run (0: the present one).

        Raises InvalidInputError, which names each field that doesn't fit.
        """
        check_texts(by)
        state = (await self._follower(execution)).state
        asked = state.tasks.get(task)
        form = asked.compiled.spec.form if asked is not None and asked.wait is not None else None
        if form is not None:
            problems = form_problems(form, value)
            if problems:
                raise InvalidInputError(f"the answer doesn't fit the form of {task}: {'; '.join(problems)}")
        return inp.Answer(task, await self._kept(value), by, run or state.run)

    async def _kept(self, value: Any) -> Value:
        """Return a value as the log keeps it; a large one is in the store then."""
        kept, content = value_of(encoded(value))
        if content is not None and kept.blob is not None:
            await self._store.put([Blob(self._tenant, kept.blob, content)], self._clock.now_us())
        return kept
