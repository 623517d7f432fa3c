"""Reads the documents of a folder, and reads them again when a quotation is to be checked.

Bytes become text in one place, `decoded`, so that a character offset means the same to whoever finds a passage and to
whoever checks it. It never writes, and never leaves the folder.
"""

from __future__ import annotations

import codecs
from pathlib import Path

import msgspec

from podium.examples.research.exceptions import NoDocuments
from podium.examples.research.passages import Passage, first_heading, header_fields, split_passages

SHIPPED = Path(__file__).parent / "documents"
"""The documents that come with the example."""

SUFFIXES = frozenset({".rst", ".md", ".txt"})

_UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


class Document(msgspec.Struct, frozen=True):
    """One file: its path inside the folder (with `/`), what it says about itself, its text and its passages."""

    file: str
    title: str
    number: str
    """The PEP number, or an empty string for a document that is none."""
    fields: dict[str, str]
    text: str
    passages: tuple[Passage, ...]

    @property
    def label(self) -> str:
        """How a report names it: `PEP 492, Coroutines with async and await syntax`."""
        return f"PEP {self.number}, {self.title}" if self.number else self.title


def document_folder(documents: str | None) -> Path:
    """The folder that an input `documents` means: the shipped one for None.

    Raises:
        NoDocuments: it is not a folder.
    """
    folder = Path(documents).expanduser() if documents else SHIPPED
    if not folder.is_dir():
        raise NoDocuments(f"There is no folder {folder}. Expected a folder with .rst, .md or .txt files.")
    return folder.resolve()


def document_paths(folder: Path) -> list[Path]:
    """The documents in a folder and its subfolders, in a fixed order; hidden files and READMEs are none."""
    found = (path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    return sorted(path for path in found if not _is_aside(path.relative_to(folder)))


def read_documents(folder: Path) -> list[Document]:
    """Every document of the folder that has text.

    Raises:
        NoDocuments: there is none.
    """
    documents = [
        _document(path.relative_to(folder).as_posix(), text)
        for path in document_paths(folder)
        if (text := decoded(path.read_bytes())).strip()
    ]
    if not documents:
        raise NoDocuments(f"{folder} holds no document. Expected at least one non-empty .rst, .md or .txt file in it.")
    return documents


def decoded(raw: bytes) -> str:
    """The text of a file. UTF-8, or UTF-16 where a mark says so; anything else is read as Latin-1.

    Latin-1 gives each byte a character of its own: nothing is lost or replaced, and offsets stay true.
    """
    encoding = "utf-16" if raw.startswith(_UTF16_MARKS) else "utf-8"
    try:
        return raw.decode(encoding)
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def text_at(folder: Path, file: str, start: int, end: int) -> str | None:
    """What stands in a file between two offsets at this moment; None where file or offsets do not exist."""
    path = (folder / file).resolve()
    if not path.is_relative_to(folder.resolve()) or not path.is_file():
        return None
    text = decoded(path.read_bytes())
    return text[start:end] if 0 <= start < end <= len(text) else None


def _is_aside(path: Path) -> bool:
    return path.stem.lower() == "readme" or any(part.startswith(".") for part in path.parts)


def _document(file: str, text: str) -> Document:
    fields = header_fields(text)
    title = fields.get("Title") or first_heading(text) or Path(file).stem
    return Document(file, title, fields.get("PEP", ""), fields, text, tuple(split_passages(text)))
