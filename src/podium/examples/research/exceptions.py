"""What can go wrong in the research example, one class a cause, the docstring being the default message.

All of them are lasting: trying again with the same input gives the same error.
"""

from __future__ import annotations

from podium.exceptions import NonRetryableError


class ResearchError(NonRetryableError):
    """The research could not be done."""


class QuestionEmpty(ResearchError):
    """The question holds no word to search for. Ask with at least one word that names a subject."""


class NoDocuments(ResearchError):
    """The folder holds no document. Expected at least one non-empty .rst, .md or .txt file in it."""


class SearchUnavailable(ResearchError):
    """This Python's SQLite has no FTS5, which ranks the documents. Use a Python whose sqlite3 is built with FTS5."""


class QuotationsRejected(ResearchError):
    """No quotation matches its source file any more. Leave the documents unchanged while a run reads them."""


class ShardInvalid(ResearchError):
    """The shard does not exist. Expected 0 <= index < count."""
