"""From a checked syntax tree to a closure: names are resolved, references collected, constant parts tried out.

What always fails is refused here, before anything runs: a part without references is evaluated once, within the budget.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from podium.workflow.expressions import operations
from podium.workflow.expressions.limits import BUDGET, Meter
from podium.workflow.expressions.methods import METHODS, call_method
from podium.workflow.expressions.names import unknown_function, unknown_method, unknown_name
from podium.workflow.expressions.operations import FUNCTIONS
from podium.workflow.expressions.problems import ExpressionProblem, Refusal, failed, listed
from podium.workflow.expressions.reading import column_of, read_expression, text_of
from podium.workflow.expressions.references import ROOTS, Reference, Run, Scope, look_up, missing_key, plain_reference

Operation = Callable[..., Any]

_FAILURES = (Refusal, TypeError, ValueError, ArithmeticError, RecursionError)
_SCALARS = (str, int, float, bool, type(None))
_LONGEST_KEPT = 256  # characters of a constant text that is kept computed
_COMPILED = 16_384  # expressions kept

_BINARY: dict[type[ast.operator], Operation] = {
    ast.Add: operations.add,
    ast.Sub: operations.subtract,
    ast.Mult: operations.multiply,
    ast.Div: operations.divide,
    ast.FloorDiv: operations.floor_divide,
    ast.Mod: operations.remainder,
    ast.Pow: operations.power,
}
_COMPARE: dict[type[ast.cmpop], Operation] = {
    ast.Eq: operations.equal,
    ast.NotEq: operations.unequal,
    ast.Lt: operations.less,
    ast.LtE: operations.less_or_equal,
    ast.Gt: operations.greater,
    ast.GtE: operations.greater_or_equal,
    ast.In: operations.contained,
    ast.NotIn: operations.not_contained,
}
# Python's own operators, for a comparison with a constant number or text, which can't take long.
_NATIVE: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}


class Expression:
    """A compiled expression: its source, what it refers to, and its value in a scope.

    `always` are the references that are read whatever the values are: behind no `and`, `or`, `if` or longer comparison.
    """

    __slots__ = ("_run", "always", "constant", "references", "source")

    def __init__(
        self, source: str, references: frozenset[Reference], run: Run, always: frozenset[Reference] | None = None
    ) -> None:
        self.source = source
        self.references = references
        self.always = references if always is None else always
        self.constant = not references
        self._run = run

    def evaluate(self, scope: Scope) -> Any:
        """Return the value; ExpressionProblem when a reference is missing, an operation fails or takes too long."""
        return self._run(scope, [BUDGET])

    def __repr__(self) -> str:
        return f"Expression({self.source!r})"


@lru_cache(maxsize=_COMPILED)
def compile_expression(text: str) -> Expression:
    """Return the expression that a text says; ExpressionProblem with the column and the rule when it says none."""
    plain = plain_reference(text)
    if plain is not None:
        return Expression(text, frozenset({plain}), look_up(plain, text, 1))
    compiler = _Compiler(text)
    part = compiler.visit(read_expression(text))
    return Expression(text, frozenset(compiler.references), part.run, frozenset(compiler.always))


class _Part(NamedTuple):
    """A compiled node. `fixed`: it has no references. `known`: its value is `value` (a number or a short text)."""

    run: Run
    fixed: bool = False
    known: bool = False
    value: Any = None


class _Compiler:
    def __init__(self, source: str) -> None:
        self.source = source
        self.references: set[Reference] = set()
        self.always: set[Reference] = set()
        self._conditions = 0  # that decide whether what is visited is evaluated
        self._meter: Meter = [BUDGET]

    def visit(self, node: ast.expr) -> _Part:
        match node:
            case ast.Constant():
                return self._constant(node)
            case ast.Name() | ast.Attribute() | ast.Subscript():
                return self._place(node)
            case ast.Compare():
                return self._compare(node)
            case ast.BoolOp():
                return self._bool(node)
            case ast.BinOp():
                return self._operation(node, _BINARY[type(node.op)], self.visit(node.left), self.visit(node.right))
            case ast.UnaryOp():
                return self._unary(node)
            case ast.IfExp():
                return self._if(node)
            case ast.Call():
                return self._call(node)
            case ast.List() | ast.Tuple():
                return self._sequence(node)
            case ast.Dict():
                return self._mapping(node)
            case _:
                raise self._problem(node, "this is no part of the language")

    def _visit_perhaps(self, nodes: Iterable[ast.expr]) -> list[_Part]:
        """Visit what is evaluated or not, as the values of other parts want it."""
        self._conditions += 1
        parts = [self.visit(node) for node in nodes]
        self._conditions -= 1
        return parts

    # --- leaves ----------------------------------------------------------------------------------------------------

    def _constant(self, node: ast.Constant) -> _Part:
        value = node.value
        if not isinstance(value, _SCALARS):
            raise self._problem(node, "this is no part of the language")
        if isinstance(value, (int, float)):
            try:
                operations.bounded_number(value)
            except Refusal as refusal:
                raise self._problem(node, str(refusal)) from None
        return _known(value)

    def _place(self, node: ast.Name | ast.Attribute | ast.Subscript) -> _Part:
        """Compile a reference, or the look-up of a key in what an expression gives."""
        self._check_attribute(node)
        reference = self._static(node)
        if reference is not None:
            return self._look_up(node, reference)
        match node:
            case ast.Subscript(value=value, slice=ast.Slice(lower=lower, upper=upper, step=step)):
                bounds = [_known(None) if bound is None else self.visit(bound) for bound in (lower, upper, step)]
                return self._operation(node, operations.sliced, self.visit(value), *bounds)
            case ast.Subscript(value=value, slice=key):
                return self._index(node, self.visit(value), self.visit(key), text_of(self.source, value))
            case ast.Attribute(value=value, attr=name):
                return self._index(node, self.visit(value), _known(name), text_of(self.source, value))
            case ast.Name(id=name):
                raise self._problem(node, unknown_name(name))

    def _static(self, node: ast.expr) -> Reference | None:
        """Return the reference that a chain of constant keys makes, or None when it is something else."""
        path: list[str | int] = []
        at = node
        root = ""
        while not root:
            match at:
                case ast.Attribute(value=value, attr=name):
                    self._check_attribute(at)
                    path.append(name)
                    at = value
                case ast.Subscript(value=value, slice=key):
                    constant = _constant_key(key)
                    if constant is None:
                        return None
                    path.append(constant)
                    at = value
                case ast.Name(id=name) if name in ROOTS:
                    root = name
                case _:
                    return None
        path.reverse()
        if root == "tasks" and not (path and isinstance(path[0], str)):
            rule = "after 'tasks' comes the id of a task, written out: tasks.ID or tasks['ID']"
            raise self._problem(at, f"{rule}; which tasks are referred to must be known before anything runs")
        return Reference(root, tuple(path))

    def _look_up(self, node: ast.expr, reference: Reference) -> _Part:
        self.references.add(reference)
        if not self._conditions:
            self.always.add(reference)
        return _Part(look_up(reference, self.source, column_of(self.source, node)))

    def _index(self, node: ast.expr, value: _Part, key: _Part, shown: str) -> _Part:
        def index(meter: Meter, of: Any, at: Any) -> Any:
            if isinstance(of, Mapping):
                operations.check_key(at)
                if at in of:
                    return of[at]
            elif _is_place(of, at):
                return of[at]
            raise Refusal(missing_key(shown, of, at))

        return self._operation(node, index, value, key)

    # --- operators -------------------------------------------------------------------------------------------------

    def _unary(self, node: ast.UnaryOp) -> _Part:
        part = self.visit(node.operand)
        if isinstance(node.op, ast.Not):
            inner = part.run
            return self._settled(_Part(lambda scope, meter: not inner(scope, meter), part.fixed))
        sign = operations.negative if isinstance(node.op, ast.USub) else operations.positive
        return self._operation(node, sign, part)

    def _compare(self, node: ast.Compare) -> _Part:
        operands = (node.left, *node.comparators)
        parts = [*map(self.visit, operands[:2]), *self._visit_perhaps(operands[2:])]
        pairs = [self._pair(node, sign, parts[at], parts[at + 1], operands[at + 1]) for at, sign in enumerate(node.ops)]
        if len(pairs) == 1:
            return self._settled(_Part(pairs[0](parts[0].run, parts[1].run), all(part.fixed for part in parts)))
        return self._settled(_Part(_chain(parts, pairs), all(part.fixed for part in parts)))

    def _pair(
        self, node: ast.Compare, sign: ast.cmpop, left: _Part, right: _Part, operand: ast.expr
    ) -> Callable[[Run, Run], Run]:
        """Return what makes a closure of the comparison of two operands."""
        if isinstance(sign, (ast.Is, ast.IsNot)):
            if not (isinstance(operand, ast.Constant) and operand.value is None):
                raise self._problem(node, "'is' compares only with None; write == or !=")
            same = operator.is_ if isinstance(sign, ast.Is) else operator.is_not
            return lambda one, other: lambda scope, meter: same(one(scope, meter), None)
        if isinstance(sign, (ast.In, ast.NotIn)) and right.fixed and isinstance(operand, (ast.List, ast.Tuple)):
            members = right.run({}, self._meter)
            if all(isinstance(member, _SCALARS) for member in members):
                return self._among(members, isinstance(sign, ast.In))
        slow = _COMPARE[type(sign)]
        native = _NATIVE.get(type(sign))
        if native is not None and right.known:
            return self._with_constant(node, native, slow, right.value)
        return lambda one, other: self._guarded(node, slow, (one, other))

    def _with_constant(
        self, node: ast.Compare, native: Callable[[Any, Any], bool], slow: Operation, constant: Any
    ) -> Callable[[Run, Run], Run]:
        source, column = self.source, column_of(self.source, node)

        def make(one: Run, other: Run) -> Run:
            def run(scope: Scope, meter: Meter) -> bool:
                value = one(scope, meter)
                try:
                    return native(value, constant)
                except TypeError:
                    pass
                try:
                    return bool(slow(meter, value, constant))
                except _FAILURES as error:
                    raise failed(source, column, error) from None

            return run

        return make

    def _among(self, members: list[Any] | tuple[Any, ...], wanted: bool) -> Callable[[Run, Run], Run]:
        """Return what makes a closure of `x in [a, b]` whose list is constant: it isn't made anew each time."""
        constant = tuple(members)
        if wanted:
            return lambda one, other: lambda scope, meter: one(scope, meter) in constant
        return lambda one, other: lambda scope, meter: one(scope, meter) not in constant

    def _bool(self, node: ast.BoolOp) -> _Part:
        parts = [self.visit(node.values[0]), *self._visit_perhaps(node.values[1:])]
        runs = [part.run for part in parts]
        *before, last = runs
        ends_on = isinstance(node.op, ast.Or)

        def run(scope: Scope, meter: Meter) -> Any:
            for one in before:
                value = one(scope, meter)
                if bool(value) is ends_on:
                    return value
            return last(scope, meter)

        return self._settled(_Part(run, all(part.fixed for part in parts)))

    def _if(self, node: ast.IfExp) -> _Part:
        parts = [self.visit(node.test), *self._visit_perhaps((node.body, node.orelse))]
        test, body, otherwise = (part.run for part in parts)

        def run(scope: Scope, meter: Meter) -> Any:
            return body(scope, meter) if test(scope, meter) else otherwise(scope, meter)

        return self._settled(_Part(run, all(part.fixed for part in parts)))

    # --- calls and literals ----------------------------------------------------------------------------------------

    def _call(self, node: ast.Call) -> _Part:
        match node.func:
            case ast.Name(id=name):
                return self._call_function(node, name)
            case ast.Attribute(value=value, attr=name):
                self._check_attribute(node.func)
                if name not in METHODS:
                    raise self._problem(node, unknown_method(name))
                least, most = METHODS[name]
                self._check_arguments(node, f".{name}()", least, most, frozenset())

                def method(meter: Meter, of: Any, *arguments: Any) -> Any:
                    return call_method(meter, name, of, list(arguments))

                return self._operation(node, method, self.visit(value), *map(self.visit, node.args))
            case _:
                raise self._problem(node, "only functions and methods that have a name can be called")

    def _call_function(self, node: ast.Call, name: str) -> _Part:
        callee = FUNCTIONS.get(name)
        if callee is None:
            raise self._problem(node, unknown_function(name))
        self._check_arguments(node, f"{name}()", callee.least, callee.most, callee.keywords)
        parts = [self.visit(argument) for argument in node.args]
        if not node.keywords:
            return self._operation(node, callee.run, *parts)
        keywords = [str(keyword.arg) for keyword in node.keywords]
        count = len(parts)

        def with_keywords(meter: Meter, *values: Any) -> Any:
            return callee.run(meter, *values[:count], **dict(zip(keywords, values[count:], strict=True)))

        return self._operation(node, with_keywords, *parts, *(self.visit(keyword.value) for keyword in node.keywords))

    def _check_arguments(self, node: ast.Call, shown: str, least: int, most: int, keywords: frozenset[str]) -> None:
        if not least <= len(node.args) <= most:
            wanted = str(least) if least == most else f"{least} to {most}"
            raise self._problem(node, f"{shown} takes {wanted} arguments, not {len(node.args)}")
        for keyword in node.keywords:
            if keyword.arg not in keywords:
                there = f"; it has: {listed(sorted(keywords))}" if keywords else ""
                raise self._problem(node, f"{shown} has no argument '{keyword.arg or '**'}'{there}")

    def _sequence(self, node: ast.List | ast.Tuple) -> _Part:
        parts = [self.visit(item) for item in node.elts]
        runs = [part.run for part in parts]
        fixed = all(part.fixed for part in parts)
        if isinstance(node, ast.List):
            return self._settled(_Part(lambda scope, meter: [run(scope, meter) for run in runs], fixed))
        return self._settled(_Part(lambda scope, meter: tuple([run(scope, meter) for run in runs]), fixed))

    def _mapping(self, node: ast.Dict) -> _Part:
        if None in node.keys:
            raise self._problem(node, "'**' can't spread a mapping here")

        def mapping(meter: Meter, *parts: Any) -> dict[Any, Any]:
            for key in parts[::2]:
                operations.check_key(key)
            return dict(zip(parts[::2], parts[1::2], strict=True))

        pairs = [(key, value) for key, value in zip(node.keys, node.values, strict=True) if key is not None]
        return self._operation(node, mapping, *(self.visit(part) for pair in pairs for part in pair))

    # --- making closures -------------------------------------------------------------------------------------------

    def _operation(self, node: ast.expr, operation: Operation, *parts: _Part) -> _Part:
        run = self._guarded(node, operation, tuple(part.run for part in parts))
        return self._settled(_Part(run, all(part.fixed for part in parts)))

    def _guarded(self, node: ast.expr, operation: Operation, runs: tuple[Run, ...]) -> Run:
        """Return a closure that evaluates the operands and then the operation, and gives a failure its place."""
        source, column = self.source, column_of(self.source, node)

        def run_two(scope: Scope, meter: Meter) -> Any:
            try:
                return operation(meter, one(scope, meter), other(scope, meter))
            except _FAILURES as error:
                raise failed(source, column, error) from None

        def run(scope: Scope, meter: Meter) -> Any:
            try:
                return operation(meter, *[part(scope, meter) for part in runs])
            except _FAILURES as error:
                raise failed(source, column, error) from None

        match runs:
            case (one, other):
                return run_two
            case _:
                return run

    def _settled(self, part: _Part) -> _Part:
        """Try out a part without references: what fails, fails now. A short value is kept, a list is made anew."""
        if not part.fixed:
            return part
        value = part.run({}, self._meter)
        if isinstance(value, _SCALARS) and not (isinstance(value, str) and len(value) > _LONGEST_KEPT):
            return _known(value)
        return part

    def _check_attribute(self, node: ast.expr) -> None:
        if isinstance(node, ast.Attribute) and node.attr.startswith("_"):
            raise self._problem(node, f"'.{node.attr}': no name after a dot begins with '_'")

    def _problem(self, node: ast.expr, rule: str) -> ExpressionProblem:
        return ExpressionProblem(self.source, column_of(self.source, node), rule)


def _is_place(of: object, at: object) -> bool:
    if not isinstance(of, (list, tuple, str)) or not isinstance(at, int) or isinstance(at, bool):
        return False
    return -len(of) <= at < len(of)


def _known(value: Any) -> _Part:
    return _Part(lambda scope, meter: value, fixed=True, known=True, value=value)


def _chain(parts: list[_Part], pairs: list[Callable[[Run, Run], Run]]) -> Run:
    """Return the closure of `a < b < c`: each operand is evaluated once, and none after the first False."""
    # Each pair reads its operands from a scope of two made for it.
    links = [make(_first, _second) for make in pairs]
    runs = [part.run for part in parts]

    def run(scope: Scope, meter: Meter) -> Any:
        left = runs[0](scope, meter)
        result: Any = True
        for link, evaluate in zip(links, runs[1:], strict=True):
            right = evaluate(scope, meter)
            result = link({"left": left, "right": right}, meter)
            if not result:
                return result
            left = right
        return result

    return run


def _first(scope: Scope, meter: Meter) -> Any:
    return scope["left"]


def _second(scope: Scope, meter: Meter) -> Any:
    return scope["right"]


def _constant_key(node: ast.expr) -> str | int | None:
    """Return a key that is written out (a text or a whole number, which may be negative), else None."""
    match node:
        case ast.Constant(value=str() as key):
            return key
        case ast.Constant(value=int() as key) if not isinstance(key, bool) and key.bit_length() <= 63:
            return key
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() as key)) if not isinstance(key, bool):
            return -key if key.bit_length() <= 63 else None
        case _:
            return None
