"""The values of a traced function: what is known only when the workflow runs, as the expression that will give it."""

from __future__ import annotations

import keyword
from collections.abc import Generator, Mapping
from typing import TYPE_CHECKING, Any, NoReturn

from podium.workflow.expressions.methods import METHODS
from podium.workflow.tracing.refusals import refuse, refuse_iteration, refuse_truth

if TYPE_CHECKING:
    from podium.workflow.tracing.recording import Recording

_SET = object.__setattr__


class Traced:
    """A value that will be known when the workflow runs.

    Attributes, items, operators, the methods of the expression language and f-strings go on with it; `&`, `|` and `~`
    are its `and`, `or` and `not`. Whatever needs the value itself is refused.
    """

    __slots__ = ("_method", "_needs", "_over", "_recording", "_simple", "_source")

    _recording: Recording
    _source: str  # the expression
    _needs: frozenset[str]  # the tasks that it reads
    _over: Over | None  # the list that it is an item of
    _simple: bool  # keys may be put behind it without brackets
    _method: tuple[Traced, str] | None  # what it is if it is called

    def __init__(
        self,
        recording: Recording,
        source: str,
        needs: frozenset[str] = frozenset(),
        over: Over | None = None,
        simple: bool = True,
        method: tuple[Traced, str] | None = None,
    ) -> None:
        for name, value in (
            ("_recording", recording),
            ("_source", source),
            ("_needs", needs),
            ("_over", over),
            ("_simple", simple),
            ("_method", method),
        ):
            _SET(self, name, value)

    # --- what goes on ------------------------------------------------------------------------------------------------

    def __getattr__(self, name: str) -> Traced:
        if name.startswith("_"):
            raise AttributeError(name)
        method = (self, name) if name in METHODS else None
        key = f".{name}" if name.isascii() and not keyword.iskeyword(name) else f"[{name!r}]"
        return Traced(self._recording, f"{_operand(self)}{key}", self._needs, self._over, method=method)

    def __getitem__(self, key: Any) -> Traced:
        if isinstance(key, slice):
            bounds = (("" if bound is None else literal(bound)) for bound in (key.start, key.stop))
            shown = ":".join(bounds) + (f":{literal(key.step)}" if key.step is not None else "")
            parts = [key.start, key.stop, key.step]
        else:
            shown, parts = literal(key), [key]
        return _made(self, parts, f"{_operand(self)}[{shown}]", simple=True)

    def __call__(self, *given: Any, **named: Any) -> Traced:
        """Call a method of the expression language."""
        if self._method is None:
            name = self._source.rpartition(".")[2]
            hint = f"methods are {', '.join(sorted(METHODS))}; give the value to a task instead"
            refuse("traced-call", f"`{name}(…)` can't be called on a value that is known only when it runs", hint)
        if named:
            refuse(
                "traced-call", f"`{self._method[1]}` takes no named arguments in an expression", "give them in order"
            )
        of, name = self._method
        return _made(of, given, f"{_operand(of)}.{name}({', '.join(literal(part) for part in given)})", simple=True)

    def __await__(self) -> Generator[Any, None, Traced]:
        yield from ()
        return self

    def __format__(self, spec: str) -> str:
        if spec:
            refuse("traced-format", f"the format `{spec}` in an f-string", "format it in a task, or with round(…)")
        return self._recording.token(self, is_text=True)

    def __str__(self) -> str:
        return self._recording.token(self, is_text=True)

    __repr__ = __str__

    # --- operators ---------------------------------------------------------------------------------------------------

    def __eq__(self, other: object) -> Traced:  # type: ignore[override]
        return _joined(self, "==", other)

    def __ne__(self, other: object) -> Traced:  # type: ignore[override]
        return _joined(self, "!=", other)

    def __lt__(self, other: Any) -> Traced:
        return _joined(self, "<", other)

    def __le__(self, other: Any) -> Traced:
        return _joined(self, "<=", other)

    def __gt__(self, other: Any) -> Traced:
        return _joined(self, ">", other)

    def __ge__(self, other: Any) -> Traced:
        return _joined(self, ">=", other)

    def __and__(self, other: Any) -> Traced:
        return _joined(self, "and", other)

    def __rand__(self, other: Any) -> Traced:
        return _joined(other, "and", self)

    def __or__(self, other: Any) -> Traced:
        return _joined(self, "or", other)

    def __ror__(self, other: Any) -> Traced:
        return _joined(other, "or", self)

    def __invert__(self) -> Traced:
        return _made(self, (), f"not {_operand(self)}")

    def __add__(self, other: Any) -> Traced:
        return _joined(self, "+", other)

    def __radd__(self, other: Any) -> Traced:
        return _joined(other, "+", self)

    def __sub__(self, other: Any) -> Traced:
        return _joined(self, "-", other)

    def __rsub__(self, other: Any) -> Traced:
        return _joined(other, "-", self)

    def __mul__(self, other: Any) -> Traced:
        return _joined(self, "*", other)

    def __rmul__(self, other: Any) -> Traced:
        return _joined(other, "*", self)

    def __truediv__(self, other: Any) -> Traced:
        return _joined(self, "/", other)

    def __rtruediv__(self, other: Any) -> Traced:
        return _joined(other, "/", self)

    def __floordiv__(self, other: Any) -> Traced:
        return _joined(self, "//", other)

    def __rfloordiv__(self, other: Any) -> Traced:
        return _joined(other, "//", self)

    def __mod__(self, other: Any) -> Traced:
        return _joined(self, "%", other)

    def __rmod__(self, other: Any) -> Traced:
        return _joined(other, "%", self)

    def __pow__(self, other: Any) -> Traced:
        return _joined(self, "**", other)

    def __rpow__(self, other: Any) -> Traced:
        return _joined(other, "**", self)

    def __neg__(self) -> Traced:
        return _made(self, (), f"-{_operand(self)}")

    def __pos__(self) -> Traced:
        return self

    # --- what would need the value -----------------------------------------------------------------------------------

    def __bool__(self) -> bool:  # noqa: PLE0304 - it has no truth yet
        refuse_truth()

    def __iter__(self) -> Any:
        refuse_iteration()

    def __contains__(self, item: object) -> bool:
        refuse_truth()

    def __hash__(self) -> int:  # noqa: PLE0309 - it has no hash yet
        refuse("traced-key", "a value that is known only when the workflow runs can't be a key", "use it as a value")

    def __len__(self) -> int:  # noqa: PLE0303 - it has no length yet
        refuse(
            "traced-len",
            "`len` of a value that is known only when the workflow runs",
            "write it in the function itself",
        )

    def _number(self, *_: Any) -> NoReturn:
        refuse("traced-number", "a number that is known only when the workflow runs is needed here", "use it in a task")

    __int__ = __float__ = __index__ = __complex__ = __round__ = __abs__ = _number

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        refuse("traced-change", f"`.{name} = …` on a task's result", "have a task return the changed value")

    def __setitem__(self, key: Any, value: Any) -> NoReturn:
        refuse("traced-change", "`[…] = …` on a task's result", "have a task return the changed value")

    def __delitem__(self, key: Any) -> NoReturn:
        refuse("traced-change", "`del` on a task's result", "have a task return the changed value")


class Over:
    """A list whose items a task gets one by one."""

    __slots__ = ("_given", "items")

    def __init__(self, given: Any) -> None:
        self._given = given
        self.items = given if isinstance(given, Traced) else list(given)

    def is_of(self, given: Any) -> bool:
        """Return whether this is the list that was given."""
        if isinstance(given, Traced) and isinstance(self._given, Traced):
            return given._source == self._given._source
        return given is self._given


def source_of(value: Traced) -> str:
    """Return the expression that a value stands for."""
    return value._source


def needs_of(value: Traced) -> frozenset[str]:
    """Return the tasks that a value reads."""
    return value._needs


def over_of(value: Traced) -> Over | None:
    """Return the list that a value is an item of, or is made from one."""
    return value._over


def call_of(function: str, given: tuple[Any, ...], recording: Recording) -> Traced:
    """Return the call of one of the language's functions."""
    return _made(Traced(recording, ""), given, f"{function}({', '.join(literal(part) for part in given)})", simple=True)


def literal(value: Any) -> str:
    """Return a value as an expression writes it. Raises WorkflowInvalidError for what it can't."""
    match value:
        case Traced():
            return value._source
        case str():
            from podium.workflow.tracing.recording import text_expression

            return text_expression(value)
        case None | bool() | int() | float():
            return repr(value)
        case list() | tuple():
            return f"[{', '.join(literal(part) for part in value)}]"
        case Mapping():
            return f"{{{', '.join(f'{literal(key)}: {literal(part)}' for key, part in value.items())}}}"
        case _:
            message = f"a {type(value).__name__} can't stand in an expression"
            return refuse("traced-value", message, "give it to a task instead")


def _operand(value: Any) -> str:
    if isinstance(value, Traced):
        return value._source if value._simple else f"({value._source})"
    shown = literal(value)
    return f"({shown})" if shown.startswith("-") or " + " in shown else shown


def _joined(left: Any, operator: str, right: Any) -> Traced:
    ours: Traced = left if isinstance(left, Traced) else right
    return _made(ours, (left, right), f"{_operand(left)} {operator} {_operand(right)}")


def _made(ours: Traced, parts: Any, source: str, simple: bool = False) -> Traced:
    """Return an expression over some values: it reads what they read."""
    every = [ours, *ours._recording.traced_in(parts)]
    needs = frozenset().union(*(value._needs for value in every))
    return Traced(ours._recording, source, needs, ours._recording.one_list(every), simple)
