"""Checks every quotation against its source file, writes the Markdown report, and returns what it says.

The one module of this example that writes: one file in the report folder, all or nothing. The same findings give the
same report, byte for byte, so that a repeated attempt changes nothing.
"""

from __future__ import annotations

import hashlib
import os
import re
import threading
import unicodedata
from collections.abc import Iterable
from pathlib import Path

import msgspec

from podium.examples.research.answer import Answer, compose
from podium.examples.research.documents import text_at
from podium.examples.research.exceptions import QuotationsRejected
from podium.examples.research.findings import Finding, ShardFindings

LONGEST_SLUG = 80


class Report(msgspec.Struct, frozen=True):
    """What came of a question: where the report is, the answer as text, the files quoted (the weightiest first).

    `quotations` counts the checked passages in the report, `rejected` the findings that their file did not bear out.
    """

    report: str
    question: str
    answer: str
    cited: tuple[str, ...]
    quotations: int
    rejected: int


def checked(findings: Iterable[Finding], folder: Path) -> tuple[list[Finding], int]:
    """The findings whose quotation stands in its file, read anew, at its place; and how many do not.

    Raises:
        QuotationsRejected: there were findings, and not one is borne out.
    """
    all_findings = list(findings)
    places = {(finding.file, finding.start, finding.end) for finding in all_findings}
    texts = {place: text_at(folder, *place) for place in places}
    good = [finding for finding in all_findings if texts[finding.file, finding.start, finding.end] == finding.quotation]
    rejected = len(all_findings) - len(good)
    if rejected and not good:
        raise QuotationsRejected()
    return good, rejected


def write_report(question: str, research: Iterable[ShardFindings], folder: Path, report_dir: Path) -> Report:
    """Merges the shards' findings into a report with checked citations and writes it to `report_dir`.

    Raises:
        QuotationsRejected: no finding is borne out by the documents in `folder`.
    """
    findings, rejected = checked((finding for shard in research for finding in shard.findings), folder)
    answer = compose(findings)
    citations = numbered(answer)
    path = report_dir / f"{slug(question)}.md"
    write_whole(path, rendered(question, answer, citations, rejected))
    quoted = {finding.file for finding in citations}
    return Report(
        report=str(path),
        question=question,
        answer=_answer_text(answer, citations),
        cited=tuple(source.file for source in answer.sources if source.file in quoted),
        quotations=len(citations),
        rejected=rejected,
    )


def numbered(answer: Answer) -> dict[Finding, int]:
    """Each passage of an answer with its citation number, those that answer first; a passage has one number."""
    places: dict[tuple[str, int, int], int] = {}
    numbers: dict[Finding, int] = {}
    of_topics = (finding for found in answer.topics.values() for finding in found)
    for finding in (*answer.passages, *answer.elsewhere, *of_topics):
        place = (finding.file, finding.start, finding.end)
        if place not in places:
            places[place] = numbers[finding] = len(places) + 1
    return numbers


def rendered(question: str, answer: Answer, citations: dict[Finding, int], rejected: int) -> str:
    """The report as Markdown; each passage is quoted where it is first of use, and later named by its number."""
    numbers = {(finding.file, finding.start, finding.end): number for finding, number in citations.items()}
    parts = [f"# {_one_line(question)}", "## Answer"]
    if not answer.passages:
        parts.append("Nothing found: no passage of the documents comes near this question.")
    parts += [_quoted(finding, number) for finding, number in citations.items() if finding in answer.passages]
    if answer.elsewhere:
        parts += ["## Other sources", *(_quoted(finding, citations[finding]) for finding in answer.elsewhere)]
    shown = len(answer.passages) + len(answer.elsewhere)
    if answer.topics:
        parts.append("## Findings by topic")
    for topic, findings in answer.topics.items():
        found = [(finding, numbers[finding.file, finding.start, finding.end]) for finding in findings]
        known = [f"[{number}]" for _, number in found if number <= shown]
        parts.append(f"### {_one_line(topic)}")
        parts += [f"Quoted above: {', '.join(known)}."] if known else []
        parts += [_quoted(finding, number) for finding, number in found if number > shown]
        shown = max(shown, *(number for _, number in found))
    if citations:
        parts += ["## Sources", "\n".join(_source_line(finding, number) for finding, number in citations.items())]
    parts.append(f"Quotations checked against their files: {len(citations)} stand, {rejected} rejected.")
    return "\n\n".join(parts) + "\n"


def slug(question: str) -> str:
    """A file name (without suffix) for a question: a-z, 0-9 and single hyphens, never empty, at most 80 characters.

    What letters cannot show (a cut, another alphabet) is told apart by a few digits of a hash.
    """
    plain = unicodedata.normalize("NFKD", question).encode("ascii", "ignore").decode().lower()
    name = "-".join(re.findall(r"[a-z0-9]+", plain))
    if name and len(name) <= LONGEST_SLUG and question.isascii():
        return name
    digest = hashlib.sha256(question.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return "-".join(filter(None, [name[: LONGEST_SLUG - 9].strip("-"), digest]))


def write_whole(path: Path, text: str) -> None:
    """Writes a file so that a reader sees the old one or the whole new one, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.tmp")
    try:
        draft.write_bytes(text.encode("utf-8", "surrogatepass"))
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def _answer_text(answer: Answer, citations: dict[Finding, int]) -> str:
    if not answer.passages:
        return "Nothing found."
    return "\n\n".join(f"{finding.quotation} [{citations[finding]}]" for finding in answer.passages)


def _quoted(finding: Finding, number: int) -> str:
    """A passage as a block quote, and whose words it is."""
    lines = [f"> {line}".rstrip() for line in finding.quotation.splitlines()]
    return "\n".join([*lines, ">", f"> — {_label(finding)} [{number}]"])


def _label(finding: Finding) -> str:
    section = finding.section or "front matter"
    return f"{'PEP ' + finding.number + ', ' if finding.number else ''}{finding.title}, section “{section}”"


def _source_line(finding: Finding, number: int) -> str:
    return f"- [{number}] `{finding.file}`: {_label(finding)}, characters {finding.start}–{finding.end}"


def _one_line(text: str) -> str:
    return " ".join(text.split())
