"""What counts as a code block, and what is done with it."""

from pathlib import Path

import pytest

from tests.docs.snippets import Block, UnclearBlock, blocks_of, commands, is_workflow, make_targets, program
from tests.docs.test_snippets import Page


def only(text: str) -> Block:
    [found] = blocks_of("page.md", text)
    return found


def console(text: str, kind: str = "console") -> list[str]:
    return commands(Block("page.md", 1, kind, text))


def test_a_block_knows_its_page_line_kind_and_options() -> None:
    block = only("words\n\n```yaml file=my.yaml exit=2\nname: x\n```\n")
    assert (block.id, block.kind, block.file, block.exit_code) == ("page.md:3", "yaml", "my.yaml", 2)
    assert block.text == "name: x\n"


def test_a_longer_fence_holds_a_shorter_one() -> None:
    assert only("````markdown\n```python\n1 / 0\n```\n````\n").kind == "markdown"


def test_the_fence_s_indent_is_taken_from_the_text() -> None:
    assert only("- item\n\n  ```python\n  if True:\n      x = 1\n  ```\n").text == "if True:\n    x = 1\n"


@pytest.mark.parametrize(
    "info",
    [
        "python no-test",
        'python no-test=""',
        "python skip=yes",
        "console exit=one",
        "yaml file=/etc/x",
        "yaml file=../x",
    ],
)
def test_an_unclear_info_string_is_refused(info: str) -> None:
    with pytest.raises(UnclearBlock, match=r"page\.md:1"):
        blocks_of("page.md", f"```{info}\n```\n")


def test_a_block_without_an_end_is_refused() -> None:
    with pytest.raises(UnclearBlock, match="no end"):
        blocks_of("page.md", "```python\nx = 1\n")


def test_a_reason_is_kept() -> None:
    assert only('```console no-test="needs a server"\n$ podium up\n```\n').reason_not_to_test == "needs a server"


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("workflow:\n  name: x\n", True),
        ("# a comment\nname: x\ntasks: {}\n", True),
        ("retry:\n  attempts: 3\n", False),
        ("name: x\n", False),
    ],
)
def test_yaml_is_validated_when_it_is_a_whole_workflow(text: str, whole: bool) -> None:
    assert is_workflow(text) is whole


def test_only_lines_with_a_prompt_are_commands_of_a_console() -> None:
    assert console("$ podium ps\nID  STATE\n$ make test\n") == ["podium ps", "make test"]
    assert console("ID  STATE\n") == []


def test_a_shell_block_without_prompts_is_all_commands() -> None:
    assert console("# first\npodium ps\n\nmake test\n", kind="sh") == ["podium ps", "make test"]


def test_continued_lines_are_one_command() -> None:
    assert console('$ podium run x.yaml \\\n    --input question="a b"\n') == [
        'podium run x.yaml --input question="a b"'
    ]


def test_the_program_stands_after_assignments() -> None:
    assert program('NO_COLOR=1 X="a b" podium run x.yaml') == "podium"


def test_targets_of_make_are_words_that_are_neither_flags_nor_assignments() -> None:
    assert make_targets('make -s run Q="why is it so?"') == ["run"]


# --- running ---------------------------------------------------------------------------------------------------------


def tried(text: str, folder: Path) -> Page:
    page = Page(blocks_of("page.md", text), folder)
    page.try_up_to(page.blocks[-1])
    return page


def test_python_blocks_of_a_page_share_names_and_folder(tmp_path: Path) -> None:
    tried(
        "```text file=a.txt\nhello\n```\n"
        "```python\nfrom pathlib import Path\ntext = Path('a.txt').read_text()\n```\n"
        "```python\nassert text == 'hello\\n' and __name__ == '__main__'\n```\n",
        tmp_path,
    )


def test_a_file_of_python_runs_as_a_program_and_can_be_imported(tmp_path: Path) -> None:
    tried(
        "```python file=docs_x.py\nx = 3\n```\n```python\nimport docs_x\nassert docs_x.x == 3\n```\n",
        tmp_path,
    )


def test_a_failing_python_block_fails_its_own_test_only(tmp_path: Path) -> None:
    page = Page(blocks_of("page.md", "```python\n1 / 0\n```\n```python\nx = 1\n```\n"), tmp_path)
    page.try_up_to(page.blocks[1])
    with pytest.raises(ZeroDivisionError):
        page.try_up_to(page.blocks[0])


def test_a_command_must_end_with_the_code_that_the_block_says(tmp_path: Path) -> None:
    tried("```console exit=1\n$ cat no-such-file\n```\n", tmp_path)
    with pytest.raises(pytest.fail.Exception, match="ended with 1, not 0"):
        tried("```console\n$ cat no-such-file\n```\n", tmp_path)


def test_commands_run_in_order_in_the_page_s_folder(tmp_path: Path) -> None:
    tried("```console\n$ mkdir a\n$ echo one > a/b\n$ grep one a/b\none\n```\n", tmp_path)


def test_an_unknown_program_is_refused(tmp_path: Path) -> None:
    with pytest.raises(pytest.fail.Exception, match="no-test"):
        tried("```console\n$ rm -rf x\n```\n", tmp_path)


def test_make_must_name_a_target_that_exists(tmp_path: Path) -> None:
    tried('```console\n$ make run Q="…"\n$ make help\n```\n', tmp_path)
    with pytest.raises(pytest.fail.Exception, match="no target fly"):
        tried("```console\n$ make fly\n```\n", tmp_path)


def test_a_block_that_says_why_is_written_but_not_run(tmp_path: Path) -> None:
    tried('```python file=x.py no-test="needs a server"\n1 / 0\n```\n', tmp_path)
    assert (tmp_path / "x.py").exists()
