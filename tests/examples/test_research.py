"""The research example: passages, topics, ranking, checked quotations and the report, over the shipped PEPs."""

from __future__ import annotations

import csv
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from podium.agents.sdk import Context, definition_of
from podium.clock import SystemClock
from podium.examples.research import Researcher, Supervisor
from podium.examples.research import index as index_module
from podium.examples.research.documents import SHIPPED, decoded, document_folder, read_documents, text_at
from podium.examples.research.exceptions import (
    NoDocuments,
    QuestionEmpty,
    QuotationsRejected,
    SearchUnavailable,
    ShardInvalid,
)
from podium.examples.research.findings import Finding, ShardFindings, find, shard_of
from podium.examples.research.index import Index, open_index
from podium.examples.research.passages import first_heading, header_fields, split_passages
from podium.examples.research.report import LONGEST_SLUG, Report, slug, write_report
from podium.examples.research.topics import MOST_TOPICS, Topic, decompose
from podium.exceptions import TaskCancelledError

HERE = Path(__file__).parent
SHARED_QUESTIONS = HERE.parents[1].parent / "shared" / "data" / "documents" / "questions.csv"
RESEARCHERS = 3


def questions(name: str) -> list[dict[str, str]]:
    path = SHARED_QUESTIONS if name == "questions.csv" and SHARED_QUESTIONS.exists() else HERE / name
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def peps() -> Index:
    return open_index(document_folder(None))


def researched(question: str, index: Index) -> list[ShardFindings]:
    topics = decompose(question, index)
    shards = [(number, shard_of(topics, number, RESEARCHERS)) for number in range(RESEARCHERS)]
    return [
        ShardFindings(
            number,
            tuple(topic.text for topic in own),
            tuple(finding for topic in own for finding in find(topic, index)),
        )
        for number, own in shards
    ]


def report_on(question: str, reports: Path, folder: Path = SHIPPED) -> Report:
    return write_report(question, researched(question, open_index(folder)), folder, reports)


def written(folder: Path, **files: str | bytes) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        raw = content if isinstance(content, bytes) else content.encode()
        (folder / f"{name}.rst").write_bytes(raw)
    return folder


# --- the questions ---------------------------------------------------------------------------------------------------


def test_at_least_nine_of_the_ten_questions_have_the_right_file_as_main_source(tmp_path: Path) -> None:
    asked = questions("questions.csv")
    reports = [report_on(row["question"], tmp_path) for row in asked]
    missed = [row["question"] for row, report in zip(asked, reports, strict=True) if report.cited[0] != row["file"]]
    uncited = [row["question"] for row, report in zip(asked, reports, strict=True) if row["file"] not in report.cited]
    assert len(missed) <= 1, missed
    assert not uncited


def test_most_answers_to_the_ten_questions_quote_the_answering_words(tmp_path: Path) -> None:
    asked = questions("questions.csv")
    silent = [
        row["question"] for row in asked if row["answer_contains"] not in report_on(row["question"], tmp_path).answer
    ]
    assert len(silent) <= 3, silent


def test_seven_in_eight_of_further_questions_have_the_right_file_as_main_source(tmp_path: Path) -> None:
    asked = questions("more_questions.csv")
    reports = [report_on(row["question"], tmp_path) for row in asked]
    missed = [row["question"] for row, report in zip(asked, reports, strict=True) if report.cited[0] != row["file"]]
    silent = [
        row["question"]
        for row, report in zip(asked, reports, strict=True)
        if row["answer_contains"] not in report.answer
    ]
    assert len(missed) <= len(asked) // 8, missed
    assert len(silent) <= len(asked) // 5, silent


# --- quotations ------------------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.sampled_from(["async", "generator", "`yield from`", "GIL", "type", "`sys`", "lock", "and", ","]), min_size=1
    )
)
def test_every_quotation_of_every_finding_is_the_text_of_its_file_at_its_offsets(words: list[str]) -> None:
    index = open_index(SHIPPED)
    try:
        shards = researched(" ".join(words), index)
    except QuestionEmpty:
        return
    for finding in (finding for shard in shards for finding in shard.findings):
        assert finding.quotation.strip()
        assert text_at(SHIPPED, finding.file, finding.start, finding.end) == finding.quotation


@given(st.text(alphabet=st.sampled_from("ab =-*#:.`\n\r\t\ufeffé"), max_size=400))
def test_passages_never_overlap_and_leave_out_nothing_but_headings_and_space(text: str) -> None:
    passages = split_passages(text)
    assert all(text[passage.start : passage.end].strip("\ufeff \t\r\n") or "\ufeff" in text for passage in passages)
    for before, after in pairwise(passages):
        assert before.start < before.end <= after.start < after.end <= len(text)


@given(st.binary(max_size=300))
def test_any_bytes_become_text_and_every_passage_of_it_can_be_read_again(raw: bytes) -> None:
    text = decoded(raw)
    assert isinstance(text, str)
    for passage in split_passages(text):
        assert text[passage.start : passage.end]


def test_a_quotation_whose_file_has_changed_is_dropped_and_counted(tmp_path: Path) -> None:
    folder = written(
        tmp_path / "docs", one="Lanterns\n========\n\nLanterns glow green.\n", two="Lanterns glow at dusk, too.\n"
    )
    question = "How do lanterns glow?"
    research = researched(question, open_index(folder))
    written(folder, two="Lanterns have been replaced by moss.\n")
    report = write_report(question, research, folder, tmp_path)
    assert report.rejected > 0
    assert report.cited == ("one.rst",)
    assert "dusk" not in Path(report.report).read_text(encoding="utf-8")


def test_a_report_without_one_true_quotation_is_refused(tmp_path: Path) -> None:
    folder = written(tmp_path / "docs", one="Lanterns glow green at dusk.\n")
    research = researched("How do lanterns glow?", open_index(folder))
    (folder / "one.rst").unlink()
    with pytest.raises(QuotationsRejected, match="No quotation matches"):
        write_report("How do lanterns glow?", research, folder, tmp_path / "reports")
    assert not (tmp_path / "reports").exists()


def test_a_quotation_from_outside_the_folder_is_never_read(tmp_path: Path) -> None:
    folder = written(tmp_path / "docs", one="inside")
    (tmp_path / "secret.txt").write_text("secret", encoding="utf-8")
    assert text_at(folder, "../secret.txt", 0, 6) is None
    assert text_at(folder, "one.rst", 0, 6) == "inside"
    assert text_at(folder, "one.rst", 0, 7) is None
    assert text_at(folder, "one.rst", -3, 2) is None


# --- topics and shards -----------------------------------------------------------------------------------------------


def test_a_question_becomes_its_whole_its_clauses_its_code_and_its_rare_terms(peps: Index) -> None:
    question = "Which PEP brought `async def`, and what does `StopIteration` mean for a generator: is it an error?"
    texts = [topic.text for topic in decompose(question, peps)]
    assert texts[0] == question
    assert "Which PEP brought `async def`" in texts
    assert "what does `StopIteration` mean for a generator" in texts
    assert "async def" in texts


def test_code_is_never_split_at_a_comma_in_it(peps: Index) -> None:
    topics = decompose("What does `except (A, B) as group` do in a handler?", peps)
    assert "except (A, B) as group" in [topic.text for topic in topics]


@pytest.mark.parametrize("question", ["", "   ", "?", "What is it, and how was that?", "``"])
def test_a_question_that_names_nothing_is_refused_clearly(question: str, peps: Index) -> None:
    with pytest.raises(QuestionEmpty, match="no word to search for"):
        decompose(question, peps)


@settings(deadline=None, max_examples=60)
@given(st.text(max_size=200))
def test_any_question_is_decomposed_and_researched_or_refused(question: str) -> None:
    index = open_index(SHIPPED)
    try:
        topics = decompose(question, index)
    except QuestionEmpty:
        return
    assert 1 <= len(topics) <= MOST_TOPICS
    for topic in topics:
        find(topic, index)


@given(st.integers(1, 12), st.integers(0, 20))
def test_the_shards_together_hold_every_topic_once(count: int, number: int) -> None:
    topics = decompose("generator", open_index(SHIPPED)) * number
    assert sum((len(shard_of(topics, index, count)) for index in range(count)), 0) == len(topics)


@pytest.mark.parametrize(("index", "count"), [(-1, 3), (3, 3), (0, 0)])
def test_a_shard_that_does_not_exist_is_refused(index: int, count: int) -> None:
    with pytest.raises(ShardInvalid, match="Expected 0 <= index < count"):
        shard_of([], index, count)


# --- the report ------------------------------------------------------------------------------------------------------


@given(st.text())
def test_a_slug_is_a_plain_file_name_and_never_leaves_the_folder(question: str) -> None:
    name = slug(question)
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name)
    assert len(name) <= LONGEST_SLUG
    assert (Path("/reports") / f"{name}.md").parent == Path("/reports")


def test_slugs_of_long_or_foreign_questions_that_differ_differ() -> None:
    assert slug("Why? " * 50) != slug("Why? " * 51)
    assert slug("何ですか") != slug("なぜですか")
    assert slug("../../etc/passwd") == "etc-passwd"


def test_a_report_numbers_each_quoted_passage_once_and_lists_its_source(tmp_path: Path) -> None:
    report = report_on("Which configure option builds CPython without the global interpreter lock?", tmp_path)
    text = Path(report.report).read_text(encoding="utf-8")
    listed = re.findall(r"^- \[(\d+)\] `([^`]+)`", text, re.MULTILINE)
    quoted = re.findall(r"^> — .* \[(\d+)\]$", text, re.MULTILINE)
    assert [int(number) for number, _ in listed] == list(range(1, report.quotations + 1))
    assert sorted(quoted, key=int) == [number for number, _ in listed]
    assert set(report.cited) == {file for _, file in listed}
    assert {int(number) for number in re.findall(r"\[(\d+)\]", text)} >= set(range(1, report.quotations + 1))


def test_the_same_question_gives_the_same_report_and_leaves_no_draft(tmp_path: Path) -> None:
    first = report_on("What is raised now if StopIteration escapes from a generator body?", tmp_path)
    before = Path(first.report).read_bytes()
    assert report_on("What is raised now if StopIteration escapes from a generator body?", tmp_path) == first
    assert Path(first.report).read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == [Path(first.report).name]


@pytest.mark.parametrize("question", ["How do I bake sourdough bread?", "Wie hoch ist der Zugspitzgipfel?"])
def test_a_question_that_the_documents_do_not_answer_gets_an_honest_report(question: str, tmp_path: Path) -> None:
    report = report_on(question, tmp_path)
    assert (report.answer, report.cited, report.quotations) == ("Nothing found.", (), 0)
    assert "Nothing found" in Path(report.report).read_text(encoding="utf-8")


def test_what_travels_between_tasks_survives_json(peps: Index) -> None:
    shards = researched("Which hook does a build backend implement?", peps)
    travelled = msgspec.convert(msgspec.json.decode(msgspec.json.encode(shards)), list[ShardFindings])
    assert travelled == shards


# --- other folders ---------------------------------------------------------------------------------------------------


def test_a_folder_without_documents_is_refused_clearly(tmp_path: Path) -> None:
    (tmp_path / "notes.doc").write_text("no", encoding="utf-8")
    (tmp_path / "empty.md").write_bytes(b" \n")
    with pytest.raises(NoDocuments, match="holds no document"):
        open_index(tmp_path)
    with pytest.raises(NoDocuments, match="There is no folder"):
        document_folder(str(tmp_path / "missing"))


def test_markdown_and_latin_1_files_are_read_with_true_offsets(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "café.md").write_bytes("# Getränke\r\n\r\nDer Café kostet drei Mark.\r\n".encode("latin-1"))
    (tmp_path / "tea.txt").write_text("Tea costs two marks.\n", encoding="utf-16")
    report = report_on("Was kostet der Café?", tmp_path / "reports", tmp_path)
    assert report.cited[0] == "sub/café.md"
    assert report.answer.startswith("Der Café kostet drei Mark. [1]")
    assert report.rejected == 0


def test_a_changed_folder_is_indexed_anew_and_an_unchanged_one_is_not(tmp_path: Path) -> None:
    folder = written(tmp_path, one="Lanterns glow green.\n")
    first = open_index(folder)
    assert open_index(folder) is first
    written(folder, two="Moss glows, too.\n")
    assert {document.file for document in open_index(folder).documents} == {"one.rst", "two.rst"}


def test_a_sqlite_without_fts5_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_module, "_TABLES", "CREATE VIRTUAL TABLE passages USING fts_that_is_missing(body)")
    with pytest.raises(SearchUnavailable, match="FTS5"):
        Index(read_documents(SHIPPED)[:1])


def test_a_word_inside_a_joined_name_and_an_abbreviation_are_found(tmp_path: Path) -> None:
    folder = written(tmp_path, one='A LanternKeeper keeps the very odd lamp ("VOL").\n\nThe VOL is green.\n')
    index = open_index(folder)
    assert index.abbreviations == {"vol": "very odd lamp"}
    assert index.holding("keeper")
    assert index.holding("lantern keeper")


# --- passages --------------------------------------------------------------------------------------------------------


def test_code_stays_with_the_paragraph_that_announces_it() -> None:
    text = (
        "Title\n=====\n\n"
        + "Much is said. " * 8
        + "Write it so:\n\n.. code:: python\n\n    print()\n\n"
        + "Then rest for as long as a paragraph must, to stand by itself.\n"
    )
    quoted = [text[passage.start : passage.end] for passage in split_passages(text)]
    assert [passage.endswith("Write it so:\n\n.. code:: python\n\n    print()") for passage in quoted] == [True, False]


def test_headings_nest_by_the_order_of_their_styles_and_by_rank_in_markdown() -> None:
    rst = "A\n=\n\nOver\n====\n\nUnder\n-----\n\nx\n\nAside\n=====\n\ny\n"
    assert [passage.section for passage in split_passages(rst)][-2:] == ["Over › Under", "Aside"]
    markdown = "# One\nx\n\n## Two\ny\n\n### Three\nz\n\n## Four\nw\n"
    assert [passage.section for passage in split_passages(markdown)] == [
        "One",
        "One › Two",
        "One › Two › Three",
        "One › Four",
    ]
    assert first_heading(markdown) == "One"


def test_a_line_longer_than_a_passage_is_divided_between_words() -> None:
    text = "word " * 2000
    passages = split_passages(text)
    assert len(passages) > 1
    assert all(passage.end - passage.start <= 1400 for passage in passages)


def test_header_fields_join_their_continuation_lines() -> None:
    assert header_fields("PEP: 1\nAuthor: A,\n        B\n\nNote: no\n") == {"PEP": "1", "Author": "A, B"}
    assert header_fields("Note: a text that only begins like one\n") == {}


def test_every_shipped_document_is_listed_with_its_terms() -> None:
    with (SHIPPED / "index.csv").open(encoding="utf-8", newline="") as file:
        rows = {row["file"]: row for row in csv.DictReader(file)}
    documents = read_documents(SHIPPED)
    assert sorted(rows) == [document.file for document in documents]
    assert all(rows[document.file]["title"] == document.title for document in documents)
    assert all("public domain" in row["terms"] for row in rows.values())


# --- the workflow ----------------------------------------------------------------------------------------------------


def test_the_workflow_is_the_one_of_the_document_with_inputs() -> None:
    workflow = yaml.safe_load((SHIPPED.parent / "research.yaml").read_text(encoding="utf-8"))["workflow"]
    assert (workflow["name"], workflow["orchestration_pattern"]) == ("multi_agent_research", "supervisor")
    assert [task["id"] for task in workflow["tasks"]] == ["decompose", "research", "synthesize"]
    assert workflow["agents"]["researchers"]["count"] == RESEARCHERS
    assert workflow["inputs"]["question"]["default"] == questions("questions.csv")[0]["question"]


class Recorder:
    """Keeps what a task says through its context."""

    def __init__(self) -> None:
        self.fractions: list[float] = []
        self.lines: list[str] = []

    def progress(self, fraction: float, message: str) -> None:
        assert message
        self.fractions.append(fraction)

    def save(self, checkpoint: msgspec.Raw) -> None:
        raise AssertionError("the example saves no checkpoint")

    def publish(self, value: msgspec.Raw) -> None:
        """Takes it."""

    def log(self, level: str, text: str) -> None:
        self.lines.append(f"{level} {text}")


def context_with(recorder: Recorder, task: str) -> Context:
    return Context(
        recorder,
        SystemClock(),
        attempt_id=f"{task}-1",
        attempt=1,
        execution="e",
        task=task,
        function=task,
        idempotency_key=f"{task}-key",
    )


def travelled(value: Any, target: Any) -> Any:
    """A value as the next task gets it: through JSON and back to its type."""
    return msgspec.convert(msgspec.json.decode(msgspec.json.encode(msgspec.to_builtins(value))), target)


def test_the_agents_do_the_workflow_and_say_what_they_do(tmp_path: Path) -> None:
    question = questions("questions.csv")[0]["question"]
    recorder = Recorder()
    topics = Supervisor().decompose(question, context_with(recorder, "decompose"))
    research = [
        Researcher().research(travelled(topics, list[Topic]), shard, RESEARCHERS, context_with(recorder, "research"))
        for shard in range(RESEARCHERS)
    ]
    report = Supervisor().synthesize(
        question,
        travelled(research, list[ShardFindings]),
        context_with(recorder, "synthesize"),
        report_dir=str(tmp_path / "reports"),
    )
    assert travelled(report, dict[str, Any])["cited"][0] == "pep-0492.rst"
    assert Path(report.report).parent == tmp_path / "reports"
    assert recorder.fractions.count(1.0) == 2 + RESEARCHERS
    assert any("pep-0492.rst" in line for line in recorder.lines)


def test_a_cancelled_researcher_stops_before_the_next_topic(peps: Index) -> None:
    context = context_with(Recorder(), "research")
    context.cancelled = True
    with pytest.raises(TaskCancelledError):
        Researcher().research(decompose("generator", peps), 0, 1, context)


def test_the_agents_declare_the_types_and_capabilities_of_the_workflow() -> None:
    workflow = yaml.safe_load((SHIPPED.parent / "research.yaml").read_text(encoding="utf-8"))["workflow"]
    for name, cls in (("supervisor", Supervisor), ("researchers", Researcher)):
        definition = definition_of(cls)
        assert definition is not None
        assert definition.type == workflow["agents"][name]["type"]
        assert list(definition.capabilities) == workflow["agents"][name]["capabilities"]
        for task in (task for task in workflow["tasks"] if task["agent"] == name):
            function = definition.function(task["id"])
            assert function is not None
            assert {parameter.name for parameter in function.parameters} - {"context"} == set(task["input"])


def test_a_finding_is_immutable(peps: Index) -> None:
    finding: Finding = find(decompose("generator", peps)[0], peps)[0]
    with pytest.raises(AttributeError):
        finding.quotation = "other"  # type: ignore[misc]
