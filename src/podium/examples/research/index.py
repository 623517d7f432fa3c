"""The full-text index over a folder of documents: SQLite's FTS5 with its BM25, in memory, built once a process.

It answers which documents and passages hold some words, how well, and how rare a word is. What a question means and
which passage answers it is decided by its callers (topics, ranking), never here.
"""

from __future__ import annotations

import math
import re
import sqlite3
import threading
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import msgspec

from podium.examples.research.documents import Document, document_paths, read_documents
from podium.examples.research.exceptions import SearchUnavailable
from podium.examples.research.passages import Passage
from podium.examples.research.vocabulary import all_words, alternatives_of

Part = Literal["title", "fields", "opening", "headings"]
"""What a document says about itself: title, header fields, abstract or first paragraphs, headings."""

CACHED_TERMS = 2000
CACHED_FOLDERS = 4

_TABLES = """
CREATE VIRTUAL TABLE documents USING fts5(
    title, fields, opening, headings, content='', tokenize='porter unicode61 remove_diacritics 2');
CREATE VIRTUAL TABLE passages USING fts5(
    title, section, body, pieces, content='', tokenize='porter unicode61 remove_diacritics 2');
CREATE VIRTUAL TABLE forms USING fts5(
    title, section, body, content='', tokenize='unicode61 remove_diacritics 2');
"""
_INSERT_DOCUMENT = "INSERT INTO documents(rowid, title, fields, opening, headings) VALUES (?, ?, ?, ?, ?)"
_INSERT_PASSAGE = "INSERT INTO passages(rowid, title, section, body, pieces) VALUES (?, ?, ?, ?, ?)"
_INSERT_FORMS = "INSERT INTO forms(rowid, title, section, body) VALUES (?, ?, ?, ?)"
_RANKED_PASSAGES = """
SELECT rowid, -bm25(passages, 1.0, 1.5, 1.0, 0.7) FROM passages WHERE passages MATCH ? ORDER BY 2 DESC, 1 LIMIT ?
"""
_HOLDING = "SELECT rowid FROM passages WHERE passages MATCH ?"
_HOLDING_FORM = "SELECT rowid FROM forms WHERE forms MATCH ?"
_NAMING = "SELECT rowid FROM documents WHERE documents MATCH ?"

_CAMEL_CASE = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|\d+")
_JOINED_WORD = re.compile(r"\b[A-Za-z]*[a-z][A-Z][A-Za-z]*\b")
_ABBREVIATION = re.compile(r"\(\s*[\"'`*]*([A-Z][A-Z]{1,5})[\"'`*]*\s*\)")
_OPENING_CHARACTERS = 1500

_ASIDE = ("reference", "acknowledg", "copyright", "footnote", "change log", "history")
_NOT_CHOSEN = ("reject", "alternat", "open issue", "deferred", "discussion")
_IN_SHORT = ("abstract", "summary", "overview", "introduction")


class Entry(msgspec.Struct, frozen=True):
    """One passage in its document, as the index knows it."""

    document: Document
    passage: Passage

    @property
    def quotation(self) -> str:
        """The exact text."""
        return self.document.text[self.passage.start : self.passage.end]

    @property
    def prior(self) -> float:
        """What a passage counts before anything is asked: front matter and references say little, abstracts much."""
        section = self.passage.section.lower()
        if self.passage.kind != "prose":
            return 0.5
        if any(word in section for word in _ASIDE):
            return 0.4
        if any(word in section for word in _NOT_CHOSEN):
            return 0.8
        return 1.2 if any(word in section for word in _IN_SHORT) else 1.0


class Index:
    """The index of one folder. Threads may share it. Documents and passages (`entries`) are named by their position."""

    def __init__(self, documents: list[Document]) -> None:
        self.documents = documents
        self.entries = [Entry(document, passage) for document in documents for passage in document.passages]
        self.document_of = [number for number, document in enumerate(documents) for _ in document.passages]
        self.sizes = Counter(self.document_of)
        self.abbreviations = _abbreviations(document.text for document in documents)
        self.holding = lru_cache(CACHED_TERMS)(self._holding)
        self.holding_form = lru_cache(CACHED_TERMS)(self._holding_form)
        self.naming = lru_cache(CACHED_TERMS)(self._naming)
        self._lock = threading.Lock()
        self._connection = sqlite3.connect(":memory:", check_same_thread=False, isolation_level=None)
        self._fill()

    def ranked_passages(self, phrases: Iterable[str], limit: int) -> dict[int, float]:
        """The `limit` best passages that hold any of the phrases, with their BM25 scores, best first."""
        return dict(self._rows(_RANKED_PASSAGES, _any_of(phrases), limit))

    def rarity(self, phrase: str) -> float:
        """The inverse document frequency over passages, as BM25 has it: log(1 + (N - n + 0.5) / (n + 0.5))."""
        return inverse_frequency(len(self.entries), len(self.holding(phrase)))

    def _holding(self, phrase: str) -> frozenset[int]:
        """All passages that hold a phrase or an alternative of it, words reduced to their stems."""
        return self._positions(_HOLDING, _any_of(alternatives_of(phrase)))

    def _holding_form(self, phrase: str) -> frozenset[int]:
        """All passages that hold a phrase in just this form: `interpreters`, not `interpreter`."""
        return self._positions(_HOLDING_FORM, _any_of([phrase]))

    def _naming(self, part: Part, phrase: str) -> frozenset[int]:
        """The documents that hold a phrase or an alternative of it in one part of what they say about themselves."""
        match = _any_of(alternatives_of(phrase))
        return self._positions(_NAMING, f"{{{part}}} : ({match})" if match else "")

    def _positions(self, query: str, match: str) -> frozenset[int]:
        return frozenset(row for (row,) in self._rows(query, match))

    def _rows(self, query: str, match: str, *more: int) -> list[tuple[Any, ...]]:
        if not match:
            return []
        with self._lock:
            return self._connection.execute(query, (match, *more)).fetchall()

    def _fill(self) -> None:
        try:
            self._connection.executescript(_TABLES)
        except sqlite3.OperationalError as error:
            raise SearchUnavailable() from error
        documents = [(row, *_document_columns(document)) for row, document in enumerate(self.documents)]
        passages = [(row, *_passage_columns(entry)) for row, entry in enumerate(self.entries)]
        self._connection.execute("BEGIN")
        self._connection.executemany(_INSERT_DOCUMENT, documents)
        self._connection.executemany(_INSERT_PASSAGE, passages)
        self._connection.executemany(_INSERT_FORMS, (columns[:4] for columns in passages))
        self._connection.execute("COMMIT")


def inverse_frequency(total: int, number: int) -> float:
    """How much it says that `number` of `total` passages hold something: large for few, near 0 for all."""
    return math.log(1 + (total - number + 0.5) / (number + 0.5))


def open_index(folder: Path) -> Index:
    """The index of a folder: built at the first call in this process, and again when a file has changed.

    Raises:
        NoDocuments: the folder holds none.
        SearchUnavailable: SQLite comes without FTS5.
    """
    state = tuple((str(path), path.stat().st_mtime_ns, path.stat().st_size) for path in document_paths(folder))
    with _building:
        known = _indexes.pop(folder, None)
        if known is None or known[0] != state:
            known = (state, Index(read_documents(folder)))
        _indexes[folder] = known
        while len(_indexes) > CACHED_FOLDERS:
            _indexes.pop(next(iter(_indexes)))
        return known[1]


_building = threading.Lock()
_indexes: dict[Path, tuple[tuple[tuple[str, int, int], ...], Index]] = {}


def _any_of(phrases: Iterable[str]) -> str:
    """An FTS5 query: any of the phrases, whose words must follow each other; punctuation in them does not count."""
    words = (" ".join(all_words(phrase)) for phrase in phrases)
    return " OR ".join(f'"{phrase}"' for phrase in dict.fromkeys(words) if phrase)


def _document_columns(document: Document) -> tuple[str, str, str, str]:
    opening = next((passage.start for passage in document.passages if passage.kind == "prose"), 0)
    headings = "\n".join(dict.fromkeys(passage.section for passage in document.passages))
    fields = "\n".join(value for name, value in document.fields.items() if name not in ("PEP", "Title"))
    return document.label, fields, document.text[opening : opening + _OPENING_CHARACTERS], headings


def _passage_columns(entry: Entry) -> tuple[str, str, str, str]:
    text = entry.quotation
    return entry.document.label, entry.passage.section, text, _pieces(text)


def _pieces(text: str) -> str:
    """The words inside joined names, so that `TaskGroup` is found by "task group"."""
    return " . ".join(" ".join(_CAMEL_CASE.findall(name)) for name in sorted(set(_JOINED_WORD.findall(text))))


def _abbreviations(texts: Iterable[str]) -> dict[str, str]:
    """What the documents themselves abbreviate, as in `global interpreter lock ("GIL")`: short form to long form."""
    found: dict[str, str] = {}
    for text in texts:
        for match in _ABBREVIATION.finditer(text):
            short = match[1]
            words = re.findall(r"\w+", text[max(0, match.start() - 120) : match.start()])[-len(short) :]
            if [word[0].upper() for word in words] == list(short):
                found.setdefault(short.lower(), " ".join(words).lower())
    return found
