"""`docs/cli.md` lists each command and `docs/settings.md` each setting, with its default and its variable."""

from podium.cli.main import COMMANDS
from podium.settings import DOCUMENTED_NAMES, PREFIX, Settings
from tests.docs_pages.markdown import page, section, tables


def test_each_command_is_listed() -> None:
    (rows,) = tables(section(page("cli.md"), "Commands").partition("\n### ")[0])
    assert sorted(row["command"].split()[0] for row in rows) == sorted(COMMANDS)


def test_each_setting_is_listed_with_its_variables_and_default() -> None:
    rows = [row for table in tables(section(page("settings.md"), "Settings")) for row in table if "setting" in row]
    defaults = Settings()
    assert [row["setting"] for row in rows] == list(Settings.__struct_fields__)
    for row in rows:
        name = row["setting"]
        assert row["environment"].split("`, `") == [PREFIX + name.upper(), *DOCUMENTED_NAMES.get(name, ())]
        assert row["default"] == written(getattr(defaults, name)), name


def written(default: object) -> str:
    """A default as the page has it."""
    match default:
        case bool():
            return str(default).lower()
        case float():
            return f"{default:g}"
        case "":
            return "none"
        case {} | ():
            return "none"
        case _:
            return str(default)
