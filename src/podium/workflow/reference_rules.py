"""The rules of expressions and templates: they compile, and what they refer to exists and is there in time.

A task may read another one's result only if that one is certainly over: an ancestor by dependencies, or the task that
a fallback stands in for. Ancestors are looked up for the references that there are, never for all pairs of tasks.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any, Final

from podium.exceptions import ExpressionError
from podium.workflow.expressions import Reference, compile_condition, compile_template, secrets_in
from podium.workflow.graph_rules import Order
from podium.workflow.model import ContinueAsNew, Task, Workflow
from podium.workflow.problems import Path, Problem, Problems, quoted

MAX_VALUE_DEPTH: Final = 64
MAX_VALUES: Final = 1_000_000  # in one payload, output or default
PARTS: Final = ("result", "status", "error")  # of a task, to be read by others

_EVERYWHERE: Final = frozenset({"input", "tasks", "execution"})
_OF_A_ROLE: Final = frozenset({"input", "execution"})  # its tasks are several
_SECRETS: Final = frozenset({"secret"})
_BLOCK: Final = 8_192  # targets whose descendants are followed at once, one bit each

Query = tuple[int, int, Path]  # the reading task, the task that is read, where


def reference_problems(workflow: Workflow, order: Order, problems: Problems) -> None:
    """Note expressions that don't compile, and references to what isn't there, or not in time."""
    declared = {parameter.name for parameter in workflow.inputs}
    checker = _Checker(order, declared, {secret.name for secret in workflow.secrets}, problems)
    for role, group in workflow.agents.items():
        for variable, text in _templates(group.env, ("agents", role, "env")):
            checker.template(None, f"the role {quoted(role)}", text, variable, _SECRETS)
    for at, task in enumerate(workflow.tasks):
        _check_task(checker, at, task)
    for role, group in workflow.agents.items():
        for place, limited in (("rate_limit", group.rate_limit), ("concurrency", group.concurrency)):
            if limited is not None and "${" in limited.key:
                at_key: Path = ("agents", role, place, "key")
                checker.template(None, f"the role {quoted(role)}", limited.key, at_key, _OF_A_ROLE)
    for path, text in _templates(workflow.output, ("output",)):
        checker.template(None, "the output", text, path, _EVERYWHERE)
    for path, text in _templates(workflow.publish, ("publish",)):
        checker.template(None, "what is published", text, path, _EVERYWHERE)
    if workflow.continue_as_new is not None:
        _check_continuation(checker, workflow.continue_as_new)
    checker.finish(workflow)


def _check_continuation(checker: _Checker, renewal: ContinueAsNew) -> None:
    what = "continue_as_new"
    if renewal.when is not None:
        checker.condition(None, what, renewal.when, ("continue_as_new", "when"))
    for path, text in _templates(renewal.input, ("continue_as_new", "input")):
        checker.template(None, what, text, path, _EVERYWHERE)


def _check_task(checker: _Checker, at: int, task: Task) -> None:
    if not task.needs_agent:
        _check_outside(checker, at, task)
    limits = (("rate_limit", task.rate_limit), ("concurrency", task.concurrency))
    keys = [(name, limited.key) for name, limited in limits if limited is not None and "${" in limited.key]
    said = (task.payload, task.when, task.for_each, task.cache, task.compensation)
    if not keys and all(one is None for one in said):
        return
    what = f"task {quoted(task.id)}"
    path: Path = ("tasks", at)
    if task.when is not None:
        checker.condition(at, what, task.when, (*path, "when"))
    if isinstance(task.for_each, str):
        checker.condition(at, what, task.for_each, (*path, "for_each"), must_refer=True)
    elif task.for_each is not None:
        for place, text in _templates(task.for_each, (*path, "for_each")):
            checker.template(at, what, text, place, _EVERYWHERE)
    roots = set(_EVERYWHERE)
    if task.for_each is not None:
        roots |= {"item", "index"}
    if task.fans_out:
        roots.add("shard")
    for name, key in keys:
        checker.template(at, what, key, (*path, name, "key"), frozenset(roots))
    for place, text in _templates(task.payload, (*path, "payload")):
        checker.template(at, what, text, place, frozenset(roots | _SECRETS if task.needs_agent else roots))
    if task.cache is not None:
        checker.template(at, what, task.cache.key, (*path, "cache", "key"), frozenset(roots))
    if task.compensation is not None:  # the task itself has ended by then
        for place, text in _templates(task.compensation.payload, (*path, "compensation", "payload")):
            checker.template(at, what, text, place, frozenset(roots | _SECRETS), itself=True)


def _check_outside(checker: _Checker, at: int, task: Task) -> None:
    """Check what a task that no agent does waits for."""
    what, path = f"task {quoted(task.id)}", ("tasks", at)
    if task.accept is not None:
        checker.condition(at, what, task.accept, (*path, "accept"), roots=_EVERYWHERE | {"signal"})
    for name in ("wait_for", "until", "execution", "assignee"):
        said = getattr(task, name)
        if isinstance(said, str) and "${" in said:
            checker.template(at, what, said, (*path, name), _EVERYWHERE)
    if task.escalation is not None and "${" in task.escalation.to:
        checker.template(at, what, task.escalation.to, (*path, "escalation"), _EVERYWHERE)


class _Checker:
    """Checks one expression after the other, and collects the questions about ancestors for the end."""

    def __init__(self, order: Order, declared: set[str], secrets: set[str], problems: Problems) -> None:
        self._order = order
        self._declared = declared
        self._secrets = secrets
        self._problems = problems
        self._queries: list[Query] = []
        self._reader = -1  # whose direct predecessors are in `_before`
        self._before: set[int] = set()

    def condition(
        self,
        reader: int | None,
        what: str,
        text: str,
        path: Path,
        must_refer: bool = False,
        roots: frozenset[str] = _EVERYWHERE,
    ) -> None:
        """Check a `when`, an `accept`, or a `for_each`, which is useless if it refers to nothing."""
        if self._problems.full:
            return
        try:
            references = compile_condition(text).references
        except ExpressionError as error:
            self._problems.add(Problem("expression", f"{what}: {error}", path, self._hint(text)))
            return
        if must_refer and not references:
            message = f"{what}: for_each {quoted(text)} refers to nothing that could be a list"
            self._problems.add(Problem("for-each", message, path, "write ${tasks.TASK.result} or a list"))
        self._check(reader, what, references, path, roots)

    def template(
        self, reader: int | None, what: str, text: str, path: Path, roots: frozenset[str], itself: bool = False
    ) -> None:
        """Check a text with `${…}` in it; `itself` says that it may read the result of its own task."""
        if self._problems.full:
            return
        try:
            references = compile_template(text).references
            if "secret" in roots:
                secrets_in(text)
        except ExpressionError as error:
            self._problems.add(Problem("expression", f"{what}: {error}", path, self._hint(text)))
            return
        self._check(reader, what, references, path, roots, itself)

    def finish(self, workflow: Workflow) -> None:
        """Answer the questions about ancestors, all together."""
        if self._order.sequence is None:
            return  # no task of a cycle comes before another; the cycle is the problem to mend
        queries = self._queries
        for reached, (reader, target, path) in zip(_reached(self._order, queries), queries, strict=True):
            if not reached:
                name, read = workflow.tasks[reader].id, workflow.tasks[target].id
                message = f"task {quoted(name)} reads the result of {quoted(read)}, but doesn't wait for it"
                hint = f"add {quoted(read)} to the depends_on of {quoted(name)}"
                self._problems.add(Problem("reference-without-dependency", message, path, hint))

    def _check(
        self,
        reader: int | None,
        what: str,
        references: Iterable[Reference],
        path: Path,
        roots: frozenset[str],
        itself: bool = False,
    ) -> None:
        for reference in references:
            if reference.root not in roots:
                self._note_root(what, reference.root, path, roots)
            elif reference.root == "secret":
                self._check_secret(what, reference, path)
            elif reference.root == "tasks":
                self._check_task_reference(reader, what, reference, path, itself)
            elif reference.root == "input" and self._declared and reference.path:
                name = reference.path[0]
                if name not in self._declared:
                    message = f"{what} reads {reference}, but the input {quoted(name)} isn't declared"
                    hint = self._problems.suggest(str(name), self._declared) or "declare it under inputs"
                    self._problems.add(Problem("undeclared-input", message, path, hint))

    def _check_secret(self, what: str, reference: Reference, path: Path) -> None:
        name = str(reference.path[0]) if reference.path else ""
        if name not in self._secrets:
            message = f"{what} reads {reference}, but the secret {quoted(name)} isn't declared"
            hint = self._problems.suggest(name, self._secrets) or "declare it under secrets"
            self._problems.add(Problem("undeclared-secret", message, path, hint))

    def _note_root(self, what: str, root: str, path: Path, roots: frozenset[str]) -> None:
        if root == "secret":
            message = f"{what} reads a secret, which only the agent's process knows"
            hint = "secrets have their place in a task's input and in the env of agents"
            self._problems.add(Problem("secret-place", message, path, hint))
            return
        if roots == _SECRETS:
            message, hint = (
                f"{what} reads {root}, which the env of agents can't have",
                "write ${secret.NAME}, or a text",
            )
            self._problems.add(Problem("unknown-reference", message, path, hint))
            return
        where = {"item": "for_each", "index": "for_each", "shard": "parallel or for_each"}.get(root)
        if where is None:
            message, hint = f"{what}: there is no {quoted(root)} here", "known are input, tasks, execution"
        elif path[-1] in ("when", "for_each"):
            message = f"{what}: {root} has no meaning in {path[-1]}, which is decided once, before there are instances"
            hint = "use it in input"
        else:
            message, hint = f"{what} reads {root}, but isn't a task with {where}", f"{root} is what {where} gives"
        self._problems.add(Problem("unknown-reference", message, path, hint))

    def _check_task_reference(
        self, reader: int | None, what: str, reference: Reference, path: Path, itself: bool = False
    ) -> None:
        name, part = (*reference.path, None, None)[:2]
        target = self._order.index.get(name) if isinstance(name, str) else None
        if target is None:
            hint = self._hint(str(reference)) or self._problems.suggest(str(name), self._order.index)
            message = f"{what} reads {reference}, but {quoted(name)} is no task"
            self._problems.add(Problem("unknown-reference", message, path, hint))
        elif part not in PARTS:
            hint = f"write {Reference('tasks', (str(name), 'result'))}"
            if part is not None:
                hint = self._problems.suggest(str(part), PARTS) or hint
            message = f"{what} reads {reference}; what can be read of a task is {', '.join(PARTS)}"
            self._problems.add(Problem("unknown-reference", message, path, hint))
        elif itself and target == reader:
            return
        elif reader is not None and target == reader:
            message = f"{what} reads its own {part}"
            self._problems.add(Problem("unknown-reference", message, path))
        elif reader is not None and not self._is_dependency(target, reader):
            self._queries.append((reader, target, path))

    def _hint(self, text: str) -> str:
        """Return a hint if an expression seems to mean a task whose id has a character that means something else."""
        if "tasks." not in text or not self._problems.may_search():
            return ""
        odd = next((name for name in self._order.index if not name.isidentifier() and f"tasks.{name}" in text), None)
        return "" if odd is None else f"in an expression this task is written tasks[{odd!r}]"

    def _is_dependency(self, target: int, reader: int) -> bool:
        if reader != self._reader:
            self._reader, self._before = reader, set(self._order.before[reader])
        return target in self._before


def _reached(order: Order, queries: list[Query]) -> list[bool]:
    """Return for each question whether the task that is read is an ancestor of the reader.

    Targets are taken in blocks; each task in order gathers the targets among its ancestors as bits of one number. So
    the cost is that of a walk over the edges for each block, and only over the part between a target and its readers.
    """
    assert order.sequence is not None
    position = [0] * len(order.sequence)
    for place, task in enumerate(order.sequence):
        position[task] = place
    answers = [False] * len(queries)
    by_target = sorted(range(len(queries)), key=lambda at: position[queries[at][1]])
    start = 0
    while start < len(by_target):
        bits: dict[int, int] = {}
        readers: dict[int, list[int]] = {}
        last = 0
        while start < len(by_target):
            reader, target, _ = queries[by_target[start]]
            if target not in bits and len(bits) == _BLOCK:
                break
            bits.setdefault(target, len(bits))
            readers.setdefault(reader, []).append(by_target[start])
            last = max(last, position[reader])
            start += 1
        first = position[next(iter(bits))]
        reached: dict[int, int] = {}
        for task in order.sequence[first : last + 1]:
            found = 0
            for earlier in order.before[task]:
                if earlier in reached:
                    found |= reached[earlier]
            for at in readers.get(task, ()):
                answers[at] = bool(found >> bits[queries[at][1]] & 1)
            if task in bits:
                found |= 1 << bits[task]
            if found:
                reached[task] = found
    return answers


# --- values ----------------------------------------------------------------------------------------------------------


def _templates(value: Any, path: Path) -> Iterator[tuple[Path, str]]:
    """Yield the texts of a JSON-like value that have `${` in them, with their paths; keys are left alone."""
    todo: list[tuple[Path, Any]] = [(path, value)]
    while todo:
        place, part = todo.pop()
        if isinstance(part, str):
            if "${" in part:
                yield place, part
        elif isinstance(part, dict):
            todo.extend(((*place, key), below) for key, below in part.items())
        elif isinstance(part, (list, tuple)):
            todo.extend(((*place, at), below) for at, below in enumerate(part))


def json_problem(value: Any, path: Path) -> Problem | None:
    """Return why a value from Python can't be kept as JSON, or None if it can."""
    todo: list[tuple[Path, Any]] = [(path, value)]
    seen = 0
    while todo:
        place, part = todo.pop()
        seen += 1
        if seen > MAX_VALUES or len(place) - len(path) > MAX_VALUE_DEPTH:
            message = f"the value is too large: at most {MAX_VALUES:,} parts, {MAX_VALUE_DEPTH} deep, are allowed"
            return Problem("too-large", message, path)
        match part:
            case None | bool():
                pass
            case str():
                if not _is_unicode(part):
                    return Problem("not-json", f"the text {quoted(part)} holds half a character", place)
            case int():
                if not -(2**63) <= part < 2**64:
                    return Problem("not-json", "the number is too large for 64 bits", place)
            case float():
                if not math.isfinite(part):
                    return Problem("not-json", f"the number {part} can't be kept: only finite numbers can", place)
            case list() | tuple():
                todo.extend(((*place, at), below) for at, below in enumerate(part))
            case dict():
                for key in part:
                    if not isinstance(key, str) or not _is_unicode(key):
                        return Problem("not-json", f"the key {quoted(key)} is not a text", place)
                todo.extend(((*place, key), below) for key, below in part.items())
            case _:
                return Problem("not-json", f"a {type(part).__name__} can't be kept as JSON", place)
    return None


def _is_unicode(text: str) -> bool:
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)
