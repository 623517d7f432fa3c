"""What a traced function can't say, by its name: found in the bytecode before the function is called, or while it is.

Calling a function shows the operators and calls that meet a traced value; `try`, `is`, `match` and `import` it would
pass over in silence, so these are looked for beforehand.
"""

from __future__ import annotations

import dis
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import PurePath
from types import CodeType, FrameType
from typing import Final, NoReturn

from podium.workflow.builder.places import Place, calling_place
from podium.workflow.problems import Problem, raise_problems

_GENERATOR: Final = 0x20 | 0x200  # code flags: a generator, an asynchronous one
_OPERATIONS: Final = {
    "IS_OP": ("is", "compare with == in `with when(…)`, or decide in a task"),
    "IMPORT_NAME": ("import", "import at the module's top, so that its tasks are known"),
    "STORE_GLOBAL": ("global", "return the value instead"),
    "DELETE_GLOBAL": ("global", "return the value instead"),
    "MATCH_CLASS": ("match", "compare in `with when(…)`, or decide in a task"),
    "MATCH_MAPPING": ("match", "compare in `with when(…)`, or decide in a task"),
    "MATCH_SEQUENCE": ("match", "compare in `with when(…)`, or decide in a task"),
}
_TRUTH: Final = {
    "UNARY_NOT": ("not", "write ~(…) within `with when(…)`"),
    "JUMP_IF_FALSE_OR_POP": ("and", "write (…) & (…) within `with when(…)`"),
    "JUMP_IF_TRUE_OR_POP": ("or", "write (…) | (…) within `with when(…)`"),
    "CONTAINS_OP": ("in", 'write `with when("… in …")`, or decide in a task'),
}
_PASSES: Final = {
    "UNPACK_SEQUENCE": ("unpacking", "take its items: first, second = value[0], value[1]"),
    "UNPACK_EX": ("unpacking", "take its items: first, second = value[0], value[1]"),
    "CALL_FUNCTION_EX": ("*", "name each argument"),
    "LIST_EXTEND": ("*", "give the list as a whole"),
}


def refuse(rule: str, message: str, hint: str, place: Place | None = None) -> NoReturn:
    """Raise WorkflowInvalidError for a construct, with the line where it stands."""
    place = place or calling_place()
    raise_problems([Problem(rule, message, (), hint, place.line, 1 if place.line else 0, place.file)])


def refuse_truth() -> NoReturn:
    """Refuse a decision on a value that isn't known yet, by the name of the construct that asks for it."""
    name, hint = _TRUTH.get(_operation(), ("if", "write `with when(condition): …`"))
    refuse("traced-if", f"`{name}` on a value that is known only when the workflow runs", hint)


def refuse_iteration() -> NoReturn:
    """Refuse going through a value that isn't known yet, by the name of the construct."""
    name, hint = _PASSES.get(_operation(), ("for", "call the task with each(list): it has an instance for each item"))
    refuse("traced-for", f"`{name}` over a value that is known only when the workflow runs", hint)


def check_code(code: CodeType) -> None:
    """Refuse what calling a function wouldn't show. Raises WorkflowInvalidError with the first such line."""
    file = PurePath(code.co_filename).name
    if code.co_flags & _GENERATOR:
        place = Place(file, code.co_firstlineno)
        refuse("traced-yield", f"{code.co_name} is a generator; a workflow has one result", "return it", place)
    for one in _all_code(code):
        instructions = list(dis.get_instructions(one))
        for instruction, following in pairwise(instructions):
            name, hint = _OPERATIONS.get(instruction.opname, ("", ""))
            line = _line(instruction) or _line(following)
            if instruction.opname.startswith("POP_JUMP") and instruction.opname.endswith("NONE"):
                name, hint = _OPERATIONS["IS_OP"]
            elif instruction.opname == "PUSH_EXC_INFO" and following.opname != "WITH_EXCEPT_START":
                name, hint = "try", "say on_failure, retry or a fallback with using(task, …)"
            if name:
                message = f"`{name}` can't be seen when {code.co_name} is traced"
                refuse(f"traced-{name}", message, hint, Place(file, line))


def _all_code(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _all_code(constant)


def _line(instruction: dis.Instruction) -> int:
    positions = instruction.positions
    return (positions.lineno if positions is not None else None) or 0


def _operation() -> str:
    """Return the name of the instruction that the user's code is at."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and str(frame.f_globals.get("__name__", "")).startswith("podium.workflow."):
        frame = frame.f_back
    if frame is None:
        return ""
    at = frame.f_lasti
    return next((i.opname for i in dis.get_instructions(frame.f_code) if i.offset == at), "")
