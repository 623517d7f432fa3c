"""The expression language: equal to Python in what it accepts, and closed and bounded against all else."""

from __future__ import annotations

import ast
import copy
import pickle
import warnings
from contextlib import suppress
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from podium.exceptions import ExpressionError
from podium.workflow.expressions import (
    ExpressionProblem,
    Reference,
    compile_condition,
    compile_expression,
    compile_template,
)
from podium.workflow.expressions.compiler import _Compiler
from podium.workflow.expressions.limits import BUDGET
from podium.workflow.expressions.reading import read_expression
from podium.workflow.expressions.references import plain_reference
from tests.workflow.cpu_time import cpu_seconds

SCOPE: dict[str, Any] = {
    "input": {"a": 1, "b": 2.5, "s": "Topic one", "l": [3, 1, 2], "d": {"k": "v", "n": None}, "t": True, "größe": 7},
    "tasks": {
        "research": {"status": "completed", "result": {"topics": ["x", "y"], "count": 3}},
        "fetch-data": {"result": "text"},
    },
    "index": 1,
    "item": {"name": "first"},
}


def value_of(text: str) -> Any:
    return compile_expression(text).evaluate(SCOPE)


def refused(text: str, match: str, column: int | None = None) -> None:
    with pytest.raises(ExpressionError, match=match) as caught:
        compile_expression(text).evaluate(SCOPE)
    problem = caught.value
    assert isinstance(problem, ExpressionProblem)
    assert len(str(problem)) < 700
    if column is not None:
        assert problem.column == column


# --- equal to Python -----------------------------------------------------------------------------------------------

NUMBERS = st.integers(-20, 20).map(str) | st.floats(-50, 50, allow_nan=False).map(repr)
TEXTS = st.text("ab c'\"\\é\n😀", max_size=4).map(repr)
LEAVES = (
    NUMBERS
    | TEXTS
    | st.sampled_from(["True", "False", "None", "[]", "()", "{}"])
    | st.sampled_from(["input['a']", "input['b']", "input['s']", "input['l']", "input['d']", "input['t']", "index"])
)
FUNCTIONS = ["len", "min", "max", "sum", "abs", "round", "str", "int", "float", "bool", "sorted", "any", "all"]
PLAIN_METHODS = ["lower", "upper", "strip", "lstrip", "rstrip", "split", "keys", "values", "items"]
METHODS = ["get", "count", "startswith", "endswith", "strip", "split", "join", "removeprefix", "removesuffix"]


def _larger(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    def of(shape: str, *parts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
        return st.tuples(*parts).map(lambda values: shape.format(*values))

    binary = st.sampled_from(["+", "-", "*", "/", "//", "%", "**"])
    compare = st.sampled_from(["==", "!=", "<", "<=", ">", ">=", "in", "not in"])
    logic = st.sampled_from(["and", "or"])
    return st.one_of(
        of("({} {} {})", inner, binary, inner),
        of("({} {} {})", inner, compare, inner),
        of("({} {} {} {} {})", inner, compare, inner, compare, inner),
        of("({} {} {} {} {})", inner, logic, inner, logic, inner),
        of("(not {})", inner),
        of("(-{})", inner),
        of("(+{})", inner),
        of("({} is not None)", inner),
        of("({} if {} else {})", inner, inner, inner),
        of("[{}, {}]", inner, inner),
        of("({}, {})", inner, inner),
        of("{{{}: {}, 'z': {}}}", inner, inner, inner),
        of("{}[{}]", inner, inner),
        of("{}[{}:{}]", inner, inner, inner),
        of("{}[::{}]", inner, NUMBERS),
        of(
            "{}({})",
            st.sampled_from(
                ["len", "min", "max", "sum", "abs", "round", "str", "int", "float", "bool", "sorted", "any", "all"]
            ),
            inner,
        ),
        of("{}({}, {})", st.sampled_from(["min", "max", "round"]), inner, inner),
        of("sorted({}, reverse={})", inner, inner),
        of("max({}, default={})", inner, inner),
        of("range({})", inner),
        of(
            "{}.{}()",
            inner,
            st.sampled_from(PLAIN_METHODS),
        ),
        of(
            "{}.{}({})",
            inner,
            st.sampled_from(
                ["get", "count", "startswith", "endswith", "strip", "split", "join", "removeprefix", "removesuffix"]
            ),
            inner,
        ),
        of("{}.replace({}, {})", inner, TEXTS, TEXTS),
        of("{}.split({}, {})", inner, TEXTS, NUMBERS),
        of("{}.get({}, {})", inner, inner, inner),
    )


EXPRESSIONS = st.recursive(LEAVES, _larger, max_leaves=12)
BUILTINS = {
    f.__name__: f for f in (len, min, max, sum, abs, round, str, int, float, bool, sorted, any, all, list, range)
}


class _AsLists(ast.NodeTransformer):
    """Wraps in list() what gives a view or a range in Python and a list here."""

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
        if name in {"range", "keys", "values", "items"}:
            return ast.Call(ast.Name("list", ast.Load()), [node], [])
        return node


def python_value(text: str) -> Any:
    tree = ast.fix_missing_locations(_AsLists().visit(ast.parse(text, mode="eval")))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # `0 is not None` is odd, and means what it says
        code = compile(tree, "<test>", "eval")
    return eval(code, {"__builtins__": BUILTINS}, copy.deepcopy(SCOPE))


@given(EXPRESSIONS)
@settings(max_examples=600, deadline=None)
@example("1 < 2 < 3 > 2")
@example("2 ** 10 % 7")
@example("input['l'][-1]")
@example("[1, 'a', None] == [1, 'a', None]")
@example("'ab' 'c'")
def test_what_is_accepted_equals_pythons_own_evaluation(text):
    try:
        value = compile_expression(text).evaluate(SCOPE)
    except ExpressionError:
        return
    expected = python_value(text)
    assert value == expected
    assert type(value) is type(expected)


@given(EXPRESSIONS)
@settings(max_examples=300, deadline=None)
def test_evaluation_changes_nothing_in_the_scope_and_repeats(text):
    before = copy.deepcopy(SCOPE)
    try:
        expression = compile_expression(text)
        first = expression.evaluate(SCOPE)
        assert expression.evaluate(SCOPE) == first
    except ExpressionError:
        pass
    assert before == SCOPE


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("tasks.research.result.count > 2", True),
        ("tasks.research.result['topics'][0]", "x"),
        ("tasks['fetch-data'].result.upper()", "TEXT"),
        ("input['größe']", 7),
        ("item.name + '-' + str(index)", "first-1"),
        ("input.l[index]", 1),
        ("input.l[1:]", [1, 2]),
        ("input.d.get('missing', 5)", 5),
        ("input.d.n is None", True),
        ("input.d.n is not None", False),
        ("input.a in [1, 2]", True),
        ("input.a not in (1, 2)", False),
        ("input.a in [input.a]", True),
        ("'k' in input.d and input.d.k == 'v'", True),
        ("'Topic' in input.s", True),
        ("sum(input.l) / len(input.l)", 2.0),
        ("sorted(input.l, reverse=True)", [3, 2, 1]),
        ("max([], default=0)", 0),
        ("range(2, 8, 3)", [2, 5]),
        ("', '.join(input.s.split())", "Topic, one"),
        ("{'a': input.a}.a", 1),
        ("input.a == 1\n  and input.t", True),
        ("0x10 + 1_000", 1016),
        ("min(3, 1, 2)", 1),
        ("'a' if input.t else 'b'", "a"),
        ("input.d.items()", [("k", "v"), ("n", None)]),
        ("[1, 2] + [3]", [1, 2, 3]),
        ("[input.l] == [[3, 1, 2]]", True),
        ("[[1]].count([1])", 1),
        ("'a-b'.startswith(('x', 'a'))", True),
        ("'xxaxx'.strip('x')", "a"),
        ("input.s[-3:]", "one"),
        ("sorted([[2], [1]])", [[1], [2]]),
        ("[1, 2] < [1, 3]", True),
        ("'\\u00e9'", "é"),
    ],
)
def test_what_a_workflow_says(text, value):
    assert value_of(text) == value
    assert type(value_of(text)) is type(value)


def test_keys_named_like_methods_are_keys_until_they_are_called():
    scope = {"input": {"items": [1], "get": 2}}
    assert compile_expression("input.items[0] + input.get").evaluate(scope) == 3
    assert compile_expression("input.items()").evaluate(scope) == [("items", [1]), ("get", 2)]


def test_a_list_that_an_expression_writes_is_new_each_time():
    expression = compile_expression("[1, [2]]")
    expression.evaluate({}).append(3)
    assert expression.evaluate({}) == [1, [2]]


def test_any_mapping_will_do_as_scope():
    scope = MappingProxyType({"input": MappingProxyType({"a": 5})})
    assert compile_expression("input.a + len(input) + input['a']").evaluate(scope) == 11


# --- references ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "references"),
    [
        ("tasks.research.result.items[0]", {("tasks", "research", "result", "items", 0)}),
        ("tasks['fetch-data'].result", {("tasks", "fetch-data", "result")}),
        ("input.l[-1]", {("input", "l", -1)}),
        ("input.l[index].x", {("input", "l"), ("index",)}),
        ("input.l[1:].x", {("input", "l")}),
        ("input.d.get('a').b", {("input", "d")}),
        ("tasks.a.result > 1 or tasks.b.result", {("tasks", "a", "result"), ("tasks", "b", "result")}),
        ("tasks.a", {("tasks", "a")}),
        ("len(item) + shard", {("item",), ("shard",)}),
        ("execution.id", {("execution", "id")}),
        ("1 + 1", set()),
        ("input", {("input",)}),
    ],
)
def test_references_are_known_before_anything_runs(text, references):
    found = {(reference.root, *reference.path) for reference in compile_expression(text).references}
    assert found == references
    assert compile_expression(text).constant == (not references)


def test_a_reference_is_written_as_an_expression_writes_it():
    assert str(Reference("tasks", ("fetch-data", "result", 0, "_x", "é"))) == "tasks['fetch-data'].result[0]['_x']['é']"
    assert len(str(Reference("input", ("x-" * 500,)))) < 60


@pytest.mark.parametrize("text", ["tasks", "tasks[index]", "tasks[0]", "tasks.get('a')", "len(tasks)", "tasks[:1]"])
def test_tasks_are_referred_to_by_a_written_id(text):
    refused(text, "written out")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tasks.research.result.items", r"tasks\.research\.result has no key 'items'; it has: topics, count"),
        ("tasks.reserch.result", "tasks has no key 'reserch'; did you mean 'research'"),
        ("tasks.research.result.topics[2]", r"tasks\.research\.result\.topics has 2 items, so there is no \[2\]"),
        ("input.l.first", "input.l is a list of 3 items; it is indexed by numbers, not by 'first'"),
        ("input.d.n.x", "input.d.n is nothing .None., so it has no key 'x'"),
        ("input.a.x", "input.a is a number"),
        ("input.s.x", "input.s is a text"),
        ("input.s[99]", "has 9 characters"),
        ("execution.id", "there is no 'execution' here; there is: input, tasks, index, item"),
        ("input.l[input.a + 5]", r"input.l has 3 items, so there is no \[6\]"),
        ("input.l[input.t]", "no key|no .True|there is no"),
        ("input.d[input.s]", "input.d has no key 'Topic one'"),
        ("input.d['x' * 90]", "has no key"),
        ("input.d.get('n').x", r"input.d.get\('n'\) is nothing"),
        ("{}['a']", "it has: nothing"),
        ("index.a.b.c", "index is a number"),
    ],
)
def test_a_missing_reference_says_which_part_and_what_was_there(text, message):
    refused(text, message)


def test_long_lists_of_keys_are_cut():
    with pytest.raises(ExpressionError, match="and 92 more"):
        compile_expression("input.z").evaluate({"input": {f"key-{n}": n for n in range(100)}})


def test_an_unreadable_reference_is_still_an_error_of_ours():
    class Odd(dict):
        reads = 0

        def __getitem__(self, key):
            Odd.reads += 1
            if Odd.reads == 1:
                raise KeyError(key)
            return 1

    with pytest.raises(ExpressionError, match=r"input\.a could not be read"):
        compile_expression("input.a").evaluate({"input": Odd()})


# --- refusals ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message", "column"),
    [
        ("", "is empty", 1),
        ("  \n ", "is empty", 1),
        ("1 +", "can't be read", 3),
        ("(1", "'\\(' is never closed", 1),
        ("1)", "closes nothing", 2),
        ("(1]", "closes nothing", 3),
        ("1) + (2", "closes nothing", 2),
        ("'abc", "no end", 1),
        ("'a\nb'", "over the end of the line", 1),
        ("'a\x00b'", "invisible", 1),
        ("'a\u202eb'", "invisible", 1),
        ("'\\d'", "backslash", 1),
        ("'\\N{BULLET}'", "backslash", 1),
        ("'\\ud800'", "backslash", 1),
        ("f'{1}'", "no letters before it", 2),
        ("b'a'", "no letters before it", 2),
        ("'a' 'b'", "side by side", 5),
        ("'''a'''", "side by side", 3),
        ("1if 1 else 2", "is no number", 1),
        ("1j", "is no number", 1),
        ("0777", "can't be read", None),
        ("1e999", "no finite number", 1),
        ("...", "no part of the language", None),
        ("a := 1", "can't be assigned", 3),
        ("a && b", "write `and`", 3),
        ("a || b", "write `or`", 3),
        ("input.a & 1", "write `and`", 1),
        ("input.a | 1", "write `or`", 1),
        ("1 ^ 1", "powers", None),
        ("~1", "write `not`", None),
        ("1 << 1", "<<", None),
        ("1 >> 1", ">>", None),
        ("1 @ 1", "@", None),
        ("{1, 2}", "sets are no part", 1),
        ("[*input.l]", "can't spread", None),
        ("{**input.d}", "can't spread", None),
        ("len(*input.l)", "can't spread", None),
        ("sorted(input.l, **input.d)", "no argument", None),
        ("lambda: 1", "can't be defined", 1),
        ("[x for x in input.l]", "comprehensions", 4),
        ("(yield)", "yield", 2),
        ("await input", "await", 1),
        ("import os", "imported", 1),
        ("__import__('os')", "no function '__import__'", 1),
        ("input # a", "comments", 7),
        ("1; 2", "';'", 2),
        ("`a`", "'`'", 1),
        ("a ? b : c", "if condition else", 3),
        ("a \\ b", "quoted texts", 3),
        ("$input", "'\\$'", 1),
        ("${input.a} > 1", "one \\$\\{…\\}", 1),
        ("input.größe", r"input\['…'\]", 9),
        ("input\u00a0.a", "U\\+00A0", 6),
        ("1 \x07", "U\\+0007", 3),
        ("1 € 2", "'€' has no meaning", 3),
        ("!", "can't be read", None),
        ("tsks.a.result", "did you mean 'tasks'", 1),
        ("foo", "begins with: input, tasks", 1),
        ("true", "did you mean 'True'", 1),
        ("null", "did you mean 'None'", 1),
        ("len", "is a function", 1),
        ("length(input.l)", "no function 'length'", 1),
        ("lenn(input.l)", "did you mean 'len'", 1),
        ("eval('1')", "no function 'eval'", 1),
        ("input('a')", "'input' is no function", 1),
        ("lower(input.s)", "it is a method", 1),
        ("input.s.len()", "it is a function", 1),
        ("input.s.format(1)", "with \\$\\{…\\} in it", 1),
        ("input.s.lowr()", "did you mean 'lower'", 1),
        ("input.s.zzz()", "there is: ", 1),
        ("input.a.lower()", "nothing that a number has", 1),
        ("input.l.lower()", "nothing that a list has", 1),
        ("input.d.lower()", "nothing that a mapping has", 1),
        ("input.d.n.lower()", "nothing that nothing", 1),
        ("input._x", "begins with '_'", 1),
        ("input.a.__class__", "begins with '_'", 1),
        ("input.s.__class__()", "begins with '_'", 1),
        ("input.a.__class__[0]", "begins with '_'", 1),
        ("(1)._x", "begins with '_'", None),
        ("len()", "takes 1 arguments", 1),
        ("round(1, 2, 3)", "1 to 2", 1),
        ("input.s.lower(1)", "takes 0 arguments", 1),
        ("input.s.split(sep='a')", "no argument 'sep'", 1),
        ("sorted(input.l, key=len)", "it has: reverse", 1),
        ("min(1, 2, default=3)", "only with one list", 1),
        ("(len)(1)(2)", "have a name", None),
        ("input.a is 1", "only with None", 1),
        ("1 / 0", "division by zero", 1),
        ("1 % 0", "division by zero", 1),
        ("10.0 ** 400", "too large", 1),
        ("(10 ** 308) / 1e-308", "finite|too large", None),
        ("(-8) ** 0.5", "complex", 1),
        ("'a' + 1", "str\\(…\\)", 1),
        ("[1] + 1", "can't join a list and a number", 1),
        ("'a' - 'b'", "takes two numbers", 1),
        ("'%s' % 1", "put together", 1),
        ("'a' * 'b'", "can't multiply", 1),
        ("[1] * 1.5", "can't multiply", 1),
        ("[[1]] * 2", "only lists of texts and numbers", 1),
        ("-'a'", "takes a number", 1),
        ("'a' < 1", "can't order a text and a number", 1),
        ("1 < input.s", "can't order a number and a text", 1),
        ("input.l < {'a': 1}", "can't order", 1),
        ("[1] < ['a']", "not supported", 1),
        ("1 in 'a'", "looks for a text", 1),
        ("1 in 2", "looks into", 1),
        ("[] in {}", "key of a mapping", 1),
        ("{[]: 1}", "key of a mapping", 1),
        ("input.d[[]]", "key of a mapping", 1),
        ("input.d[:1]", "not of a mapping", 1),
        ("input.l['a':]", "whole numbers", 1),
        ("input.l[True:]", "whole numbers", 1),
        ("input.l[::0]", "can't be 0", 1),
        ("len(1)", "counts", 1),
        ("min([])", "default=0", 1),
        ("min(1)", "takes a list", 1),
        ("min(['a', 1])", "not supported", 1),
        ("sum(['a'])", "takes a number", 1),
        ("sum([[1]], [])", "takes a number", 1),
        ("abs('a')", "takes a number", 1),
        ("round('a')", "takes a number", 1),
        ("round(1, 10**9)", "whole number of digits", 1),
        ("round(1, 1.5)", "whole number of digits", 1),
        ("str([1])", "as JSON", 1),
        ("int('a')", "invalid literal", 1),
        ("int('1' * 401)", "so long", 1),
        ("int([])", "takes a number", 1),
        ("float('1' * 401)", "so long", 1),
        ("float('inf')", "finite", 1),
        ("float('nan')", "finite", 1),
        ("float([])", "takes a number", 1),
        ("range('a')", "whole numbers", 1),
        ("range(1, 2, 0)", "can't be 0", 1),
        ("','.join('abc')", "list of texts", 1),
        ("','.join([1])", "one of them", 1),
        ("'a'.split('')", "isn't empty", 1),
        ("'a'.split(1)", "takes a text", 1),
        ("'a'.split('b', 'c')", "number of times", 1),
        ("'a'.replace(1, 'a')", "takes a text", 1),
        ("'a'.count(1)", "takes a text", 1),
        ("'a'.startswith(1)", "takes a text", 1),
        ("'a'.startswith((1,))", "takes a text", 1),
        ("'a'.strip('x' * 65)", "at most 64", 1),
    ],
)
def test_a_refusal_names_the_rule_and_the_column(text, message, column):
    refused(text, message, column)


def test_columns_count_characters_across_lines():
    refused("'é😀' + input.zzz", "no key", 8)
    refused("input.a +\n  nope", "no name", 13)
    refused("(input.a +\n  )", "can't be read")


def test_a_long_source_is_shown_around_the_column():
    with pytest.raises(ExpressionProblem) as caught:
        compile_expression("input.a + " * 50 + "nope")
    assert "a + input.a + nope" in str(caught.value)
    assert caught.value.column == 501
    assert len(str(caught.value)) < 250


def test_a_problem_survives_the_way_to_another_process():
    problem = ExpressionProblem("nope", 1, "no such name")
    again = pickle.loads(pickle.dumps(problem))
    assert (again.source, again.column, again.rule, str(again)) == ("nope", 1, "no such name", str(problem))


# --- attacks -------------------------------------------------------------------------------------------------------

ATTACKS = [
    "().__class__.__bases__[0].__subclasses__()",
    "''.__class__.__mro__[1]",
    "input.__init__.__globals__",
    "getattr(input, '__class__')",
    "open('/etc/passwd').read()",
    "__builtins__",
    "__import__('os').system('id')",
    "exec('1')",
    "type(1)",
    "vars()",
    "9**9**9",
    "9**9**9**9",
    "2**1025",
    "(-9)**9999999999",
    "10**300 * 10**300",
    "(1 << 10**9)",
    "'a'*10**9",
    "10**9*'a'",
    "[0]*10**9",
    "(0,)*10**9",
    "[[0]*1000]*1000",
    "('a'*1000000)+('a'*1000000)",
    "'a'*10**30",
    "([0]*99999) + ([0]*99999)",
    "range(10**9)",
    "range(10**30)",
    "range(0, 10**30, 10**20)",
    "range(-10**30, 10**30)",
    "len(range(10**12))",
    "('a'*1000).replace('a', 'b'*10000)",
    "('a'*900000).replace('', 'b')",
    "('a'*1000).join(['b']*10000)",
    "','.join(['a'*100]*100000)",
    "('a '*500000).split()",
    "('a,'*500000).split(',')",
    "(lambda: 1)()",
    "[x for x in range(10**9)]",
    "{x: x for x in input}",
    "(x for x in input)",
    "(a := 1)",
    "f'{input}'",
    "f'{().__class__}'",
    "'%s' % 1",
    "'%1000000000d' % 1",
    "'{0.__class__}'.format(1)",
    "'{:>1000000000}'.format(1)",
    "input.format_map",
    "'a'.center(10**9)",
    "'a'.zfill(10**9)",
    "'a'.ljust(10**9)",
    "'\\t'.expandtabs(10**9)",
    "'a'.encode()",
    "'a'.translate({97: 'b'*10**9})",
    "round(10**300, -10**9)",
    "int('9'*100000)",
    "str(10**5000)",
    "float('9'*100000)",
    "1e400",
    "9" * 4000,
    "9" * 5000,
    "(" * 1000 + ")" * 1000,
    "(" * 100000,
    "[" * 33 + "]" * 33,
    "{" * 2000,
    "[{(" * 700,
    "f(" * 1000,
    "-" * 4000 + "1",
    "not " * 1000 + "1",
    "~" * 4000 + "1",
    "1" + "+1" * 2000,
    "1" + "**1" * 1000,
    "input" + ".a" * 2000,
    "input" + "[0]" * 1300,
    "1" + "<1" * 1500,
    "1 if 1 else " * 300 + "1",
    "[" + "1," * 2000 + "]",
    "a" * 5000,
    "'" * 4001,
    "'\\" * 2000,
    "\\'" * 2000,
    "'a" * 2000,
    "𝓮𝔁𝓮𝓬('1')",
    "().__ｃlass__",
    "ｇetattr(input, 'a')",
    "input.\u200ba",
    "input.\u202ea",
    "'\ud800'",
    "\ufeffinput",
    "input\x0c.a",
    "#!\ninput",
    "input;import os",
    "input\nimport os",
    "print('x')",
    "raise 1",
    "...",
    "*input",
    "**input",
    "input = 1",
    "sum([[1]] * 1000, [])",
    "max(range(100000), range(100000), key=len)",
    "('b'*1000000).strip('a'*1000000)",
    "sorted(['a'*1000000]*100000)",
    "(sorted(range(100000)) + [1])",
    "[" + ",".join(["sum(range(99999))"] * 100) + "]",
    "[" + ",".join(["sorted(range(99999))"] * 100) + "]",
    "[" + ",".join(["'a'*1000000"] * 300) + "]",
    "[" + ",".join(["('a'*1000000).upper()"] * 100) + "]",
    "[" + ",".join(["('a'*1000000).count('a'*99+'b')"] * 60) + "]",
    "[" + ",".join(["('a'*29999).count('a'*99+'b')"] * 60) + "]",
    "[" + ",".join(["('a'*20000+'b').replace('aaab','')"] * 60) + "]",
    "{}.__class__",
    "(1).__class__",
    "(1).real",
    "input.get.__self__",
    "len.__self__",
    "len.a",
    "'a'.join.__class__",
    "[].append(1)",
    "input.update({'a': 1})",
    "input.pop('a')",
    "input.clear()",
    "input.setdefault('x', 1)",
    "print",
    "del input",
    "assert 1",
    "globals()",
    "(await x)",
    "(yield x)",
    "{[]: 1}",
    "{(1, 2): 1}",
]


@pytest.mark.parametrize("text", ATTACKS, ids=lambda text: text[:40].encode("ascii", "replace").decode())
def test_no_attack_gets_through_or_takes_long(text):
    def attempt() -> None:
        with pytest.raises(ExpressionError) as caught:
            compile_expression(text).evaluate(SCOPE)
        assert len(str(caught.value)) < 800

    assert cpu_seconds(attempt) < 0.05


@given(st.text(max_size=60) | st.text("()[]{}'\"\\$.+-*a1 ,:=", max_size=60))
@settings(max_examples=400, deadline=None)
def test_any_text_is_compiled_or_refused_never_worse(text):
    for compile_text in (compile_expression, compile_condition, compile_template):
        try:
            compile_text(text)
        except ExpressionProblem as problem:
            if not 1 <= problem.column <= max(1, len(text)):
                raise


def test_the_budget_of_an_evaluation_is_for_all_its_parts_together():
    scope = {"input": {"l": list(range(90_000))}}
    assert compile_expression("sum(input.l) > 0").evaluate(scope) is True
    with pytest.raises(ExpressionError, match="more than 500,000 steps"):
        compile_expression(" or ".join(["sum(input.l) < 0"] * 8)).evaluate(scope)


def test_deeply_nested_values_are_not_compared():
    deep: list[Any] = []
    other: list[Any] = []
    for _ in range(5_000):
        deep, other = [deep], [other]
    with pytest.raises(ExpressionError, match="nested more than 100 deep"):
        compile_expression("input.a == input.b").evaluate({"input": {"a": deep, "b": other}})


def test_huge_integers_of_the_input_are_not_computed_with():
    scope = {"input": {"n": 10**400}}
    for text in ("input.n + 1", "input.n * 2", "input.n - 1", "str(input.n)", "int(input.n)", "sum([input.n])"):
        with pytest.raises(ExpressionError, match="1,024"):
            compile_expression(text).evaluate(scope)
    with pytest.raises(ExpressionError, match="too large"):
        compile_expression("float(input.n)").evaluate(scope)


# --- templates -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("template", "value"),
    [
        ("${input.a}", 1),
        ("${input.l}", [3, 1, 2]),
        ("n=${input.a}", "n=1"),
        (" ${input.a}", " 1"),
        ("${input.a}${input.b}", "12.5"),
        ("${input.s}: ${input.l} ${input.d} ${input.t}", 'Topic one: [3,1,2] {"k":"v","n":null} true'),
        ("$${input.a}", "${input.a}"),
        ("$${x} costs ${input.a} $", "${x} costs 1 $"),
        ("${'}'}", "}"),
        ("${'a}' + \"{b\"}", "a}{b"),
        ("${{'a': {'b': 2}}['a']['b']}", 2),
        ('{"json": ${input.a}}', '{"json": 1}'),
        ("plain", "plain"),
        ("", ""),
        (5, 5),
        (None, None),
        ({"a": ["${input.a}", {"b": "x${index}"}], "c": 1}, {"a": [1, {"b": "x1"}], "c": 1}),
        ({"${input.a}": 1}, {"${input.a}": 1}),
        (["$${a}"], ["${a}"]),
        (("${input.a}", 2), [1, 2]),
        ("${ input.a\n }", 1),
    ],
)
def test_a_template_is_rendered(template, value):
    rendered = compile_template(template).render(SCOPE)
    assert rendered == value
    assert type(rendered) is type(value)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(), lambda v: st.lists(v) | st.dictionaries(st.text(), v)
    )
)
def test_what_has_no_place_renders_to_itself(value):
    def escaped(part: Any) -> Any:
        match part:
            case str():
                return part.replace("${", "$${")
            case list():
                return [escaped(item) for item in part]
            case dict():
                return {key: escaped(item) for key, item in part.items()}
            case _:
                return part

    template = compile_template(escaped(value))
    assert template.constant
    assert template.references == frozenset()
    assert template.render({}) == value


@given(st.text(), st.text())
def test_plain_text_around_a_value_stays_as_it_is(before, after):
    text = f"{before.replace('$', '')}${{input.s}}{after.replace('$', '')}"
    assert compile_template(f"{text}!").render(SCOPE) == text.replace("${input.s}", "Topic one") + "!"


def test_a_templates_references_are_those_of_all_its_texts():
    template = compile_template({"a": "${input.a} ${tasks.x.result}", "b": ["${item}"], "c": "d"})
    assert template.references == {Reference("input", ("a",)), Reference("tasks", ("x", "result")), Reference("item")}
    assert not template.constant
    assert compile_template("${1 + 1}").render({}) == 2


@pytest.mark.parametrize(
    ("template", "message", "column"),
    [
        ("a ${input.a", "never closed", 3),
        ("${input['a}", "never closed", 1),
        ("x ${}", "is empty", 5),
        ("x ${ nope }", "no name 'nope'", 6),
        ("x ${input.a)}", "closes nothing", 12),
        ("${f'{1}'}", "no letters", 4),
        ("${1 + }", "can't be read", None),
        ("${a\u20acb}", "no meaning", 4),
        ("${input.a}" * 1001, "more than 1000 places", None),
        ("${'" + "\\'" * 500_000, "never closed", 1),
    ],
)
def test_a_broken_template_is_refused_with_its_column(template, message, column):
    with pytest.raises(ExpressionProblem, match=message) as caught:
        compile_template({"a": [template]})
    if column is not None:
        assert caught.value.column == column


@pytest.mark.parametrize("text", ["${'" + "\\'" * 500_000, "${" * 500_000, "$$" * 500_000, "${[" + "'}'" * 300_000])
def test_a_hostile_template_takes_no_longer_than_its_length(text):
    def attempt() -> None:
        with suppress(ExpressionError):
            compile_template(text)

    assert cpu_seconds(attempt) < 0.25


def test_templates_are_bounded_in_depth_and_in_what_they_render():
    deep: Any = "${input.a}"
    for _ in range(101):
        deep = [deep]
    with pytest.raises(ExpressionError, match="more than 100 deep"):
        compile_template(deep)
    with pytest.raises(ExpressionError, match=r"10,000,000"):
        compile_template("a ${input.s} ${input.s}").render({"input": {"s": "x" * 6_000_000}})
    with pytest.raises(ExpressionError, match="can't be put into a text"):
        compile_template("a ${input.s}").render({"input": {"s": [0] * 600_000}})
    with pytest.raises(ExpressionError, match="can't be put into a text"):
        compile_template("a ${input.s}").render({"input": {"s": object()}})


def test_a_missing_reference_of_a_template_is_an_error_with_its_place():
    with pytest.raises(ExpressionError, match=r"tasks\.research\.result has no key 'items'"):
        compile_template("all: ${tasks.research.result.items}").render(SCOPE)


@pytest.mark.parametrize(
    "text", ["tasks.research.result.count > 2", "${tasks.research.result.count > 2}", " ${ input.t } "]
)
def test_a_condition_is_written_with_or_without_braces(text):
    assert compile_condition(text).evaluate(SCOPE) is True


@pytest.mark.parametrize(
    ("text", "message"), [("${input.a", "never closed"), ("${input.a} and ${input.t}", "one expression"), ("", "empty")]
)
def test_a_condition_is_one_expression(text, message):
    with pytest.raises(ExpressionError, match=message):
        compile_condition(text)


# --- corners of the table of methods -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("' a '.lstrip() + '|' + ' a '.rstrip() + '|'", "a | a|"),
        ("'abc'.removeprefix('a').removesuffix('c')", "b"),
        ("'aXbXc'.replace('X', '', 1)", "abXc"),
        ("'a,b,c'.split(',', 1)", ["a", "b,c"]),
        ("' a b '.split(None, 1)", ["a", "b "]),
        ("'aaa'.count('a')", 3),
        ("'abc'.endswith('bc')", True),
        ("input.d.keys() + input.d.values()", ["k", "n", "v", None]),
        ("+input.a - -1", 2),
        ("7 // 2 + 7 % 2 + 2 ** 3", 12),
        ("1 != 2 and 2 >= 2 and 1 <= 1", True),
        ("input.a >= input.a and input.a <= input.b and input.l != []", True),
        ("any([0, 1]) and not all([0, 1])", True),
        ("int() + float() + int('7') + float('1.5') + bool()", 8.5),
        ("str(1.5) + str(None) + str('a')", "1.5Nonea"),
        ("sum(input.l, 10)", 16),
        ("round(2.567, 1)", 2.6),
        ("sorted({'b': 1, 'a': 2})", ["a", "b"]),
        ("range(5, 0, -2)", [5, 3, 1]),
        ("range(0)", []),
        ("(-1) ** 1001", -1),
    ],
)
def test_methods_and_functions_do_what_pythons_do(text, value):
    assert value_of(text) == value


# --- speed ---------------------------------------------------------------------------------------------------------


def test_the_same_text_is_compiled_once():
    assert compile_expression("input.a == 41") is compile_expression("input.a == 41")
    assert compile_template("x ${input.a}") is compile_template("x ${input.a}")


def test_reprs_show_the_source():
    assert repr(compile_expression("input.a")) == "Expression('input.a')"
    assert repr(compile_template("${input.a}")) == "Template('${input.a}')"


KEYS = st.sampled_from(["a", "b2", "fetch_data", "in", "is", "None", "get", "_x", "ü", "odd key", "a'b", "", "0"])
STEPS = st.one_of(
    KEYS.map(lambda key: f".{key}"),
    KEYS.map(lambda key: f"['{key}']"),
    KEYS.map(lambda key: f'["{key}"]'),
    st.sampled_from(["[0]", "[17]", "[-1]", "[01]", "[ 1 ]", " . a", "[0:1]", "[]", "[x]", "[True]", "[9999999999]"]),
)


@given(
    st.sampled_from(["tasks", "input", "item", "index", "shard", "execution", "nothing", " input"]),
    st.lists(STEPS, max_size=4),
)
def test_the_short_way_to_a_reference_gives_what_the_long_one_does(root, steps):
    source = root + "".join(steps)
    found = plain_reference(source)
    if found is None:
        return
    compiler = _Compiler(source)
    run = compiler.visit(read_expression(source)).run
    assert compiler.references == {found}
    scope = {root: {"a": {"a": [1, 2]}, "b2": ["x"], "get": {"0": 3}}}
    outcomes = []
    for way in (compile_expression(source).evaluate, lambda scope: run(scope, [BUDGET])):
        try:
            outcomes.append(way(scope))
        except ExpressionProblem as problem:
            outcomes.append(str(problem))
    assert outcomes[0] == outcomes[1]
