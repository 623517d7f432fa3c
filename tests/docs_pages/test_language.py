"""`docs/language.md` is what the code says of its language, and each of its examples is valid where it stands."""

import pytest

from podium.workflow.yaml import Opened, check_workflow
from podium.workflow.yaml.examples import file_around
from podium.workflow.yaml.reference import BLOCKS, language_reference
from tests.docs_pages.markdown import page

EXAMPLES = [(block, field) for block in BLOCKS for field in block.table.fields]


def test_the_page_is_what_the_code_says():
    assert page("language.md") == language_reference(), "podium schema --reference > docs/language.md"


@pytest.mark.parametrize(("block", "field"), EXAMPLES, ids=[f"{block.name}.{field.name}" for block, field in EXAMPLES])
def test_each_field_has_an_example_that_is_valid_and_says_it(block, field):
    lines = block.examples[field.name]
    assert any(f"{name}:" in lines for name in (field.name, *field.also))
    text = file_around(block.name, lines)
    included = b"tasks:\n  - {id: included, agent: writer}\n"
    workflow, problems = check_workflow(text, "example.yaml", opener=lambda path, within: Opened(path, path, included))
    assert workflow is not None, f"{text}\n{problems}"


def test_no_example_is_of_a_field_that_there_is_not():
    for block in BLOCKS:
        assert set(block.examples) == {field.name for field in block.table.fields}, block.name
