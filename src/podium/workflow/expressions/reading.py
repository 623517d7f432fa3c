"""From the text of an expression to a syntax tree that consists of nothing but what the language has.

The text is scanned before Python's parser sees it (characters, strings, numbers, brackets), so that the parser is
given nothing that is long, deep or strange; the tree is then held against a closed list of nodes. Nothing is evaluated.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from podium.workflow.expressions.limits import MAX_DEPTH, MAX_NODES, MAX_SOURCE
from podium.workflow.expressions.problems import ExpressionProblem

# One alternative a kind of token, none of which can match in two ways: linear in the text.
_TOKEN = re.compile(
    r"""(?P<space>[ \t\r\n]+)
      | (?P<string>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")
      | (?P<number>(?:[0-9]|\.[0-9])(?:[eE][+-]|[0-9A-Za-z_.])*)
      | (?P<name>[A-Za-z_][0-9A-Za-z_]*)
      | (?P<open>[(\[{])
      | (?P<close>[)\]}])
      | (?P<sign>[-+*/%<>=!&|^~@,.:])""",
    re.VERBOSE | re.DOTALL,
)
_NUMBER = re.compile(r"(?:[0-9]+(?:_[0-9]+)*)?(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?|0[xX][0-9a-fA-F]+")
# Group 1 is what follows the backslash where that means something; half a pair of surrogates is no character.
_ESCAPE = re.compile(r"\\(?:([\\'\"nrtbfav]|x[0-9a-fA-F]{2}|u(?![dD][89a-fA-F])[0-9a-fA-F]{4})|.)", re.DOTALL)
_PAIRS = {")": "(", "]": "[", "}": "{"}

_CHARACTERS = {
    "$": "'$' has no meaning inside an expression; one ${…} goes around the whole of it",
    "#": "comments have no place in an expression",
    ";": "an expression is one value; ';' has no meaning in it",
    "`": "'`' has no meaning in an expression",
    "\\": "'\\' has a meaning only in quoted texts",
    "?": "'?' has no meaning in an expression; write `a if condition else b`",
    "'": "the quoted text has no end",
    '"': "the quoted text has no end",
}
_KEYWORDS = {
    "lambda": "functions can't be defined in an expression",
    "import": "nothing can be imported in an expression",
    "await": "'await' is no part of the language",
    "yield": "'yield' is no part of the language",
    "for": "comprehensions are no part of the language; give the list to a task, or use for_each",
}
_SIGNS = {
    "&&": "write `and` instead of '&&'",
    "||": "write `or` instead of '||'",
    ":=": "names can't be assigned in an expression",
}

_ALLOWED: tuple[type[ast.AST], ...] = (
    ast.BoolOp, ast.And, ast.Or, ast.UnaryOp, ast.Not, ast.UAdd, ast.USub, ast.BinOp, ast.Add, ast.Sub, ast.Mult,
    ast.Div, ast.FloorDiv, ast.Mod, ast.Pow, ast.Compare, ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE,
    ast.In, ast.NotIn, ast.Is, ast.IsNot, ast.IfExp, ast.Call, ast.keyword, ast.Attribute, ast.Subscript, ast.Slice,
    ast.Name, ast.Load, ast.Constant, ast.List, ast.Tuple, ast.Dict,
)  # fmt: skip
_OF_TEXT = frozenset({"id", "attr", "arg"})  # fields that hold a name
# The fields of each allowed node that hold other nodes, or lists of them.
_PARTS: dict[type[ast.AST], tuple[str, ...]] = {
    kind: () if kind is ast.Constant else tuple(name for name in kind._fields if name not in _OF_TEXT)
    for kind in _ALLOWED
}
_UNCOUNTED = frozenset({*ast.expr_context.__subclasses__(), *ast.operator.__subclasses__()})
_REFUSED: dict[type[ast.AST], str] = {
    ast.Lambda: _KEYWORDS["lambda"],
    ast.NamedExpr: _SIGNS[":="],
    ast.ListComp: _KEYWORDS["for"],
    ast.SetComp: _KEYWORDS["for"],
    ast.DictComp: _KEYWORDS["for"],
    ast.GeneratorExp: _KEYWORDS["for"],
    ast.JoinedStr: "f-strings are no part of the language; write the text with ${…} in it",
    ast.Starred: "'*' can't spread a list here",
    ast.Set: "sets are no part of the language; write a list in [ ]",
    ast.BitAnd: "'&' is no part of the language; write `and`",
    ast.BitOr: "'|' is no part of the language; write `or`",
    ast.BitXor: "'^' is no part of the language; powers are written `**`",
    ast.Invert: "'~' is no part of the language; write `not`",
    ast.LShift: "'<<' is no part of the language",
    ast.RShift: "'>>' is no part of the language",
    ast.MatMult: "'@' is no part of the language",
}


def read_expression(source: str) -> ast.expr:
    """Return the checked syntax tree of an expression; ExpressionProblem says what isn't allowed, and where.

    Columns of the tree are those of the source in brackets: `column_of` gives them in the source.
    """
    if len(source) > MAX_SOURCE:
        raise ExpressionProblem(
            source, 1, f"the expression has {len(source):,} characters; the limit is {MAX_SOURCE:,}"
        )
    if not source.strip():
        raise ExpressionProblem(source, 1, "the expression is empty")
    _check_tokens(source)
    try:
        # In brackets the expression may stand on several lines; that they are the source's own is checked above.
        tree = ast.parse(f"({source}\n)", mode="eval").body
    except SyntaxError as error:
        column = _column(source, error.lineno or 1, (error.offset or 1) - 1)
        raise ExpressionProblem(source, column, f"the expression can't be read: {error.msg}") from None
    except (ValueError, MemoryError, RecursionError):
        raise ExpressionProblem(source, 1, "the expression is nested too deeply or holds what can't be read") from None
    _check_nodes(source, tree)
    return tree


def end_of_braces(text: str, start: int) -> int | None:
    """Return the index of the '}' that closes the '{' before `start`, past quotes and brackets; None without one."""
    depth = 0
    at = start
    while at < len(text):
        token = _TOKEN.match(text, at)
        if token is None:
            if text[at] in "'\"":
                return None  # a quote without an end takes the rest with it
            at += 1  # the expression between the braces is checked later, and says what is wrong with it
            continue
        if token.lastgroup == "open":
            depth += 1
        elif token.lastgroup == "close":
            if depth == 0 and token[0] == "}":
                return at
            depth = max(0, depth - 1)
        at = token.end()
    return None


def column_of(source: str, node: ast.AST) -> int:
    """Return the 1-based column of a node in its source, in characters (a newline is one)."""
    if source.isascii() and "\n" not in source:
        return max(1, min(getattr(node, "col_offset", 0), len(source)))  # of the source in brackets, from 0
    return _column(source, getattr(node, "lineno", 1), _characters(source, node))


def text_of(source: str, node: ast.expr) -> str:
    """Return the part of the source that a node was read from, on one line."""
    return " ".join((ast.get_source_segment(f"({source}\n)", node) or "the value").split())


def _characters(source: str, node: ast.AST) -> int:
    """Return the node's offset in its line in characters; the parser counts bytes of UTF-8."""
    line = f"({source}\n)".split("\n")[getattr(node, "lineno", 1) - 1]
    return len(line.encode()[: getattr(node, "col_offset", 0)].decode(errors="ignore"))


def _column(source: str, line: int, offset: int) -> int:
    before = sum(len(text) + 1 for text in f"({source}".split("\n")[: line - 1])
    return max(1, min(before + offset, len(source)))


def _check_tokens(source: str) -> None:
    brackets: list[tuple[str, int]] = []
    at = 0
    before = previous = ""  # what kind of token stands just before, and what kind before that which is no space
    for token in _TOKEN.finditer(source):
        if token.start() != at:
            break  # it looks on where nothing fits; what stands there is refused below
        kind, text = token.lastgroup or "", token[0]
        rule = None
        if kind == "name":
            rule = _KEYWORDS.get(text)
        elif kind == "sign":
            rule = _SIGNS.get(source[at : at + 2])
        elif kind == "open":
            brackets.append((text, at))
            if len(brackets) > MAX_DEPTH // 2:
                rule = f"brackets are nested more than {MAX_DEPTH // 2} deep"
        elif kind == "close":
            if not brackets or brackets.pop()[0] != _PAIRS[text]:
                rule = f"'{text}' closes nothing"
        elif kind == "string":
            rule = _string_rule(text, before, previous)
        elif kind == "number" and not _NUMBER.fullmatch(text):
            rule = f"'{text[:40]}' is no number"
        if rule is not None:
            raise ExpressionProblem(source, at + 1, rule)
        before = kind
        if kind != "space":
            previous = kind
        at = token.end()
    if at < len(source):
        raise ExpressionProblem(source, at + 1, _CHARACTERS.get(source[at]) or _unknown_character(source[at]))
    if brackets:
        opened, where = brackets[-1]
        raise ExpressionProblem(source, where + 1, f"'{opened}' is never closed")


def _string_rule(text: str, before: str, previous: str) -> str | None:
    """Return what is wrong with a quoted text, or None."""
    if before == "name":
        return "a quoted text has no letters before it: f'', r'' and b'' are no part of the language"
    if previous == "string":
        return "two quoted texts stand side by side; put a + or a comma between them"
    if any(escape[1] is None for escape in _ESCAPE.finditer(text)):
        return r"the backslash in the quoted text means nothing there; write \\ for one backslash"
    if "\n" in text:
        return "the quoted text goes over the end of the line; write \\n"
    if any(not character.isprintable() and (character.isascii() or not character.isspace()) for character in text):
        return "the quoted text holds an invisible character; write it as an escape such as \\t or \\u200b"
    return None


def _unknown_character(character: str) -> str:
    if not character.isascii() and character.isalpha():
        return f"'{character}' can stand only in quoted texts; a key with it is written input['…']"
    shown = f"'{character}'" if character.isprintable() else f"the character U+{ord(character):04X}"
    return f"{shown} has no meaning in an expression"


def _check_nodes(source: str, tree: ast.expr) -> None:
    """Refuse what is not in the closed list, and trees that are too large or too deep; iterative."""
    level: list[ast.AST] = [tree]
    nodes = 0
    depth = 0
    while level:
        depth += 1
        nodes += sum([type(node) not in _UNCOUNTED for node in level])
        if depth > MAX_DEPTH:
            raise ExpressionProblem(source, column_of(source, level[0]), f"it is nested more than {MAX_DEPTH} deep")
        if nodes > MAX_NODES:
            raise ExpressionProblem(source, column_of(source, level[0]), f"it has more than {MAX_NODES} parts")
        below: list[ast.AST] = []
        for node in level:
            fields = _PARTS.get(type(node))
            if fields is None:
                where = column_of(source, _placed(node, tree))
                raise ExpressionProblem(source, where, _REFUSED.get(type(node), "this is no part of the language"))
            for name in fields:
                part = getattr(node, name)
                if type(part) is list:
                    below += [item for item in part if item is not None]  # a mapping's key is None before a **
                elif part is not None:
                    below.append(part)
        level = below


def _placed(node: ast.AST, tree: ast.expr) -> ast.AST:
    """Return the node itself, or the one that it is the operator of: operators have no column."""
    if hasattr(node, "lineno"):
        return node
    owners: Iterator[ast.AST] = (owner for owner in ast.walk(tree) if node in ast.iter_child_nodes(owner))
    return next(owners, tree)
