"""The agents of the research example, thin: each task turns its input into one call of the plain modules beside it.

Podium calls these; they report progress and log what they found. What a topic, a finding and a report are, and how
they come about, is in the modules topics, findings, answer and report, which know nothing of Podium.
"""

from __future__ import annotations

from pathlib import Path

from podium.agents.sdk import Context, agent, task
from podium.examples.research import topics as asking
from podium.examples.research.documents import document_folder
from podium.examples.research.findings import Finding, ShardFindings, find, shard_of
from podium.examples.research.index import Index, open_index
from podium.examples.research.report import Report, write_report
from podium.examples.research.topics import Topic


@agent(type="supervisor_agent", capabilities=["task_decomposition", "quality_assessment"])
class Supervisor:
    """Splits the question, and makes one report of what the researchers found."""

    @task
    def decompose(self, question: str, context: Context, documents: str | None = None) -> list[Topic]:
        """The topics of the question, the weightiest first."""
        index = _opened(documents, context)
        found = asking.decompose(question, index)
        for topic in found:
            context.logger.info("topic", asked=topic.text, weight=topic.weight)
        context.progress(1.0, f"{len(found)} topics")
        return found

    @task
    def synthesize(
        self,
        question: str,
        research: list[ShardFindings],
        context: Context,
        documents: str | None = None,
        report_dir: str = "reports",
    ) -> Report:
        """The report on the question, written to `report_dir`, every quotation in it checked."""
        findings = sum(len(shard.findings) for shard in research)
        context.progress(0.1, f"weighing {findings} findings of {len(research)} researchers")
        report = write_report(question, research, document_folder(documents), Path(report_dir))
        if report.rejected:
            context.logger.warning("quotations rejected", rejected=report.rejected)
        context.logger.info("report written", path=report.report, quotations=report.quotations, cited=report.cited)
        context.progress(1.0, f"{report.quotations} quotations checked, report in {report.report}")
        return report


@agent(type="research_agent", capabilities=["web_search", "data_collection"])
class Researcher:
    """Looks into the topics of its shard."""

    @task
    def research(
        self, topics: list[Topic], shard_index: int, shard_count: int, context: Context, documents: str | None = None
    ) -> ShardFindings:
        """The findings for every shard_count-th topic, from shard_index on."""
        index = _opened(documents, context)
        own = shard_of(topics, shard_index, shard_count)
        findings: list[Finding] = []
        for done, topic in enumerate(own, start=1):
            context.check_cancelled()
            found = find(topic, index)
            findings += found
            files = list(dict.fromkeys(finding.file for finding in found))
            context.logger.info("researched", topic=topic.text, passages=len(found), best=files[:3])
            context.progress(done / len(own), f"topic {done} of {len(own)}: {len(found)} passages")
        return ShardFindings(shard_index, tuple(topic.text for topic in own), tuple(findings))


def _opened(documents: str | None, context: Context) -> Index:
    folder = document_folder(documents)
    index = open_index(folder)
    context.logger.info("documents indexed", documents=len(index.documents), passages=len(index.entries))
    return index
