"""From bytes to text: UTF-8 only, not too large, none of the characters that YAML forbids; a refusal has its place."""

from __future__ import annotations

import re
from typing import Final

from podium.workflow.problems import Problem, Problems

MAX_FILE_BYTES: Final = 16 * 1024 * 1024
"""The largest file (rule `file-size`)."""

_NOT_ALLOWED: Final = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")
_LINE_BREAK: Final = re.compile("\r\n|[\r\n\x85\u2028\u2029]")


def decoded(source: str | bytes, file: str, problems: Problems) -> str | None:
    """Return the text of a file, or None if it can't be read; why not goes to `problems`."""

    def refuse(rule: str, message: str, before: str = "", hint: str = "") -> None:
        line, column = _place_after(before)
        problems.add(Problem(rule=rule, message=message, hint=hint, line=line, column=column, file=file))

    size = len(source) if isinstance(source, bytes) else len(source.encode("utf-8", "surrogatepass"))
    if size > MAX_FILE_BYTES:
        refuse("file-size", f"the file has {size:,} bytes; at most {MAX_FILE_BYTES:,} are read")
        return None
    if isinstance(source, str):
        text = source
    elif source.startswith((b"\xff\xfe", b"\xfe\xff")):
        refuse("encoding", "the file is in UTF-16", hint="save it as UTF-8")
        return None
    else:
        try:
            text = source.decode("utf-8")
        except UnicodeDecodeError as error:
            before = source[: error.start].decode("utf-8", "replace")
            refuse("encoding", f"the byte 0x{source[error.start]:02x} isn't UTF-8", before, hint="save it as UTF-8")
            return None
    text = text.removeprefix("\ufeff")
    if found := _NOT_ALLOWED.search(text):
        code = f"U+{ord(found.group()):04X}"
        refuse(
            "control-character",
            f"the character {code} is not allowed",
            text[: found.start()],
            hint="" if code == "U+FEFF" else f'in double quotes it can be written "\\u{ord(found.group()):04x}"',
        )
        return None
    return text


def _place_after(before: str) -> tuple[int, int]:
    breaks = list(_LINE_BREAK.finditer(before))
    return len(breaks) + 1, len(before) - (breaks[-1].end() if breaks else 0) + 1
