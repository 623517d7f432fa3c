"""`docs/cli.md` lists each command and `docs/settings.md` each setting, with its default and its variable."""

from podium.cli.main import COMMANDS
from podium.settings import PREFIX, Settings
from tests.docs_pages.markdown import page, section, tables


def test_each_command_is_listed() -> None:
    (rows,) = tables(section(page("cli.md"), "Commands").partition("\n### ")[0])
    assert sorted(row["command"].split()[0] for row in rows) == sorted(COMMANDS)


def test_each_setting_is_listed_with_its_variable_and_default() -> None:
    (rows,) = tables(page("settings.md"))
    defaults = Settings()
    assert [row["setting"] for row in rows] == list(Settings.__struct_fields__)
    for row in rows:
        assert row["environment"] == PREFIX + row["setting"].upper()
        default = getattr(defaults, row["setting"])
        if default not in ({}, None):
            assert row["default"] == (f"{default:g}" if isinstance(default, float) else str(default))
