"""`docs/metrics.md` lists each metric with its kind, labels and meaning, under the document that names it."""

import pytest

from podium.telemetry.families import FAMILIES
from tests.docs_pages.markdown import page, section, tables

SECTIONS = {"003": "Of document 003", "004": "Of document 004", "": "Podium's own"}


@pytest.mark.parametrize("source", SECTIONS)
def test_each_metric_is_listed_as_the_table_has_it(source: str) -> None:
    (rows,) = tables(section(page("metrics.md"), SECTIONS[source]))
    shown = [(row["metric"], row["kind"], row["labels"].replace("`", ""), row["meaning"]) for row in rows]
    families = [family for family in FAMILIES.values() if family.source == source]
    assert shown == [(each.name, str(each.kind), ", ".join(each.labels), each.help) for each in families]


def test_each_family_has_a_section() -> None:
    assert {family.source for family in FAMILIES.values()} == set(SECTIONS)
