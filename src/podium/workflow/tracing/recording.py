"""What happens while a function is traced: calls of agents' functions become tasks of a builder, in their order.

A text made from traced values carries tokens for them, of characters that no text of a user holds; when the text comes
to a task, each becomes `${…}` again, and a `${` that the user wrote himself is kept from meaning anything.
"""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import Any, Final

import msgspec

from podium.workflow.builder import WorkflowBuilder
from podium.workflow.expressions import compile_condition
from podium.workflow.expressions.problems import ExpressionProblem
from podium.workflow.tracing.refusals import refuse
from podium.workflow.tracing.values import Over, Traced, literal, needs_of, over_of, source_of
from podium.workflow.validation import MAX_TASKS

_TOKEN: Final = re.compile("\ue000([vT])x([0-9]+)X\ue001")  # two cases: a text that was changed shows that it was
_SECRET: Final = re.compile(r"\$\{\s*secret\b")
_current: ContextVar[Recording | None] = ContextVar("podium_recording", default=None)


class Recording:
    """One tracing of one function: the tasks so far, the conditions that hold where it stands, the tokens in texts."""

    def __init__(self, builder: WorkflowBuilder) -> None:
        self.builder = builder
        self.called: list[Any] = []  # the agents' classes and functions that were called, each once
        self._tokens: list[Traced] = []
        self._conditions: list[tuple[str, frozenset[str]]] = []
        self.overs: list[Over] = []  # the lists that each(…) was asked for
        self._ids: set[str] = set()

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Make this the recording that `when` and `each` belong to."""
        before = _current.set(self)
        try:
            yield
        finally:
            _current.reset(before)

    def under(self, condition: Any) -> AbstractContextManager[None]:
        """Give the tasks that are recorded meanwhile a condition; conditions within each other all have to hold."""
        return self._under(self._condition(condition))

    @contextmanager
    def _under(self, condition: tuple[str, frozenset[str]]) -> Iterator[None]:
        self._conditions.append(condition)
        try:
            yield
        finally:
            self._conditions.pop()

    def call(
        self, function: str, name: str, agent_type: str, arguments: Mapping[str, Any], fields: Mapping[str, Any]
    ) -> Traced:
        """Record a task; return its result."""
        said = dict(fields)
        task_id = self._id(said.pop("id", None) or name)
        needs: set[str] = set()
        overs: list[Over] = []
        if "input" in said:
            refuse("argument", f"{task_id}: `input` is given with using(…)", "a task's input is what it is called with")
        payload = {key: self.template(value, needs, overs) for key, value in arguments.items()}
        over = self._one(overs)
        if over is not None:
            if "for_each" in said:
                refuse("traced-each", f"{task_id}: for_each besides each(…)", "go over one of the two lists")
            said["for_each"] = self._items(over, needs)
        own = said.pop("when", None)
        conditions = self._conditions if own is None else [*self._conditions, self._condition(own)]
        if conditions:
            said["when"] = " and ".join(_bracketed(text, conditions) for text, _ in conditions)
            needs.update(*(read for _, read in conditions))
        if "agent" not in said and "agent_type" not in said:
            said["agent_type"] = agent_type
        if function and function != task_id:
            said["function"] = function
        waits = self._waits(said.pop("depends_on", ()))
        said["depends_on"] = self._in_order({*needs, *waits})
        self.builder = self.builder.task(task_id, input=payload, **said)
        return Traced(self, f"{task_reference(task_id)}.result", frozenset({task_id}))

    def template(self, value: Any, needs: set[str], overs: list[Over]) -> Any:
        """Return a value as a template; note the tasks that it reads and the lists that it is an item of."""
        try:
            plain = msgspec.to_builtins(value, enc_hook=self._hook)
        except (TypeError, ValueError, RecursionError) as error:
            refuse(
                "traced-value", f"a {type(value).__name__} can't be given to a task: {error}", "give what JSON can hold"
            )
        return self._templated(plain, needs, overs)

    def token(self, value: Traced, is_text: bool = False) -> str:
        """Return what stands for a value in a text."""
        self._tokens.append(value)
        return f"\ue000{'T' if is_text else 'v'}x{len(self._tokens) - 1}X\ue001"

    def traced_in(self, value: Any) -> list[Traced]:
        """Return the traced values in a value, those in its texts too."""
        match value:
            case Traced():
                return [value]
            case str():
                return [self._tokens[int(place)] for _, place in _TOKEN.findall(value)]
            case Mapping():
                return [found for part in (*value.keys(), *value.values()) for found in self.traced_in(part)]
            case list() | tuple():
                return [found for part in value for found in self.traced_in(part)]
            case _:
                return []

    def one_list(self, values: Iterable[Traced]) -> Over | None:
        """Return the one list that these values are items of; refuse items of two lists."""
        return self._one([over for value in values if (over := over_of(value)) is not None])

    def pieces(self, text: str) -> list[str | Traced]:
        """Return a text's own pieces and the traced values between them; refuse a token that was cut or changed."""
        found: list[str | Traced] = []
        at = 0
        for token in _TOKEN.finditer(text):
            found += [text[at : token.start()], self._tokens[int(token[2])]]
            at = token.end()
        found.append(text[at:])
        if any(isinstance(piece, str) and ("\ue000" in piece or "\ue001" in piece) for piece in found):
            hint = "use the methods of the value itself, or change the text in a task"
            refuse("traced-text", "a text with a value in it that is known only when it runs was cut or changed", hint)
        return [piece for piece in found if isinstance(piece, Traced) or piece]

    # --- inside ------------------------------------------------------------------------------------------------------

    def _templated(self, value: Any, needs: set[str], overs: list[Over]) -> Any:
        match value:
            case str():
                return self._text(value, needs, overs)
            case dict():
                return {self._key(key): self._templated(part, needs, overs) for key, part in value.items()}
            case list() | tuple():
                return [self._templated(part, needs, overs) for part in value]
            case _:
                return value

    def _text(self, text: str, needs: set[str], overs: list[Over]) -> str:
        if _SECRET.search(text):
            hint = "say it in the `env` of its agent (`agents=` of @podium.workflow), or write the workflow in YAML"
            refuse("traced-secret", "`${secret.…}` in a traced function would be plain text", hint)
        pieces = self.pieces(text)
        for piece in pieces:
            if isinstance(piece, Traced):
                needs |= needs_of(piece)
                overs += [over] if (over := over_of(piece)) is not None else []
        if len(pieces) == 1 and isinstance(pieces[0], Traced):
            source = source_of(pieces[0])
            return f"${{str({source})}}" if text[1] == "T" else f"${{{source}}}"
        following = [*pieces[1:], ""]
        return "".join(
            f"${{{source_of(piece)}}}" if isinstance(piece, Traced) else _own(piece, isinstance(behind, Traced))
            for piece, behind in zip(pieces, following, strict=False)
        )

    def _key(self, key: Any) -> str:
        if not isinstance(key, str) or self.traced_in(key):
            refuse("traced-key", "the keys of a mapping are texts that are known beforehand", "use it as a value")
        return key

    def _hook(self, value: Any) -> Any:
        if isinstance(value, Traced):
            return self.token(value)
        raise TypeError(f"a {type(value).__name__} has no place in a workflow")

    def _condition(self, condition: Any) -> tuple[str, frozenset[str]]:
        if isinstance(condition, Traced):
            if over_of(condition) is not None:
                refuse(
                    "traced-when",
                    "a condition is decided once, before there are items of a list",
                    "give it to the task",
                )
            return source_of(condition), needs_of(condition)
        if isinstance(condition, str):
            text = condition if not self.traced_in(condition) else self._template_condition(condition)
            try:
                read = compile_condition(text).references
            except ExpressionProblem as error:
                refuse("expression", str(error), "write it as in YAML's `when`")
            return text, frozenset(str(one.path[0]) for one in read if one.root == "tasks" and one.path)
        hint = "compare a value, or write it as a text"
        return refuse("traced-when", f"a {type(condition).__name__} is no condition", hint)

    def _template_condition(self, text: str) -> str:
        return "".join(source_of(p) if isinstance(p, Traced) else p for p in self.pieces(text))

    def _items(self, over: Over, needs: set[str]) -> Any:
        if isinstance(over.items, Traced):
            needs |= needs_of(over.items)
            return f"${{{source_of(over.items)}}}"
        return self.template(list(over.items), needs, [])

    def _waits(self, given: Any) -> set[str]:
        if isinstance(given, (str, Traced)):
            given = (given,)
        waits: set[str] = set()
        for one in given:
            waits |= needs_of(one) if isinstance(one, Traced) else {one}
        return waits

    def _in_order(self, needs: set[str]) -> list[str]:
        """Return tasks in the order in which they were recorded; others, which the builder refuses, behind them."""
        known = [task.id for task in self.builder.tasks if task.id in needs] if needs else []
        return [*known, *sorted(needs.difference(known))]

    def _one(self, overs: list[Over]) -> Over | None:
        for other in overs[1:]:
            if other is not overs[0]:
                hint = "go over one list, and have a task put the two together before"
                refuse("traced-each", "each(…) of two lists in one task", hint)
        return overs[0] if overs else None

    def _id(self, wanted: str) -> str:
        if len(self._ids) >= MAX_TASKS:
            refuse(
                "too-many-tasks", f"the function has recorded {MAX_TASKS:,} tasks and goes on", "does a loop never end?"
            )
        found, number = wanted, 2
        while found in self._ids:
            found, number = f"{wanted}_{number}", number + 1
        self._ids.add(found)
        return found


def current(word: str) -> Recording:
    """Return the recording at work; refuse a word that has a meaning only in a traced function."""
    found = _current.get()
    if found is None:
        refuse(
            "traced-word", f"{word}(…) has a meaning only in a function that is traced", "decorate it @podium.workflow"
        )
    return found


def text_expression(text: str) -> str:
    """Return a text as an expression, with the traced values that it holds put in."""
    recording = _current.get()
    if recording is None or "\ue000" not in text:
        return repr(text)
    pieces = recording.pieces(text)
    parts = [repr(piece) if isinstance(piece, str) else f"str({literal(piece)})" for piece in pieces]
    return " + ".join(parts)


def task_reference(task_id: str) -> str:
    """Return how an expression names a task: `tasks.fetch`, `tasks['fetch-data']`."""
    is_plain = task_id.isascii() and task_id.isidentifier() and not task_id.startswith("_")
    return f"tasks.{task_id}" if is_plain and not keyword.iskeyword(task_id) else f"tasks[{task_id!r}]"


def _own(text: str, is_before_a_value: bool) -> str:
    """Return a piece of a user's text as a template has it: `${` means nothing, nor does a `$` before a value."""
    written = text.replace("${", "$${")
    bare = written.rstrip("$")
    return f"{bare}${{'{written[len(bare) :]}'}}" if is_before_a_value and bare != written else written


def _bracketed(condition: str, beside: list[Any]) -> str:
    return f"({condition})" if len(beside) > 1 else condition
