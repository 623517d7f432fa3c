"""Settings: defaults, then podium.yaml, then the environment, then arguments; what is wrong is named with its place."""

from pathlib import Path

import pytest

from podium.exceptions import SettingsError
from podium.settings import CONFIG_FILE, Settings, load_settings


def load(folder: Path, text: str = "", environment=None, **arguments) -> Settings:
    if text:
        (folder / CONFIG_FILE).write_text(text, encoding="utf-8")
    return load_settings(folder, environment or {}, **arguments)


def test_defaults_hold_where_nothing_is_said(tmp_path):
    assert load(tmp_path) == Settings()
    assert load(tmp_path, "# nothing\n") == Settings()
    assert not Settings().in_memory
    assert Settings().logs_path == Path(".podium/logs.db")


def test_arguments_win_over_the_environment_and_that_over_the_file(tmp_path):
    text = "lease_seconds: 1\ndrain_seconds: 1\ntenant: file\n"
    environment = {"PODIUM_DRAIN_SECONDS": "2", "PODIUM_TENANT": "environment", "PODIUM_OTHER": "x"}
    found = load(tmp_path, text, environment, tenant="argument", database=None)
    assert (found.lease_seconds, found.drain_seconds, found.tenant) == (1.0, 2.0, "argument")


def test_pairs_are_written_with_commas_in_the_environment(tmp_path):
    environment = {"PODIUM_AGENTS": "a=m:A, b = m:B,", "PODIUM_CAPACITY": "cpu=2,memory_mb=100"}
    found = load(tmp_path, "", environment)
    assert found.agents == {"a": "m:A", "b": "m:B"}
    assert found.capacity == {"cpu": 2.0, "memory_mb": 100.0}


@pytest.mark.parametrize("text", ["a", "a=", "=m:A", "a=1,b"])
def test_pairs_that_are_none_are_refused_with_their_source(tmp_path, text):
    with pytest.raises(SettingsError, match="PODIUM_AGENTS must be pairs"):
        load(tmp_path, "", {"PODIUM_AGENTS": text})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("databse: x", "did you mean database"),
        ("zzzzzz: x", "there are database, synchronous"),
        ("[1]", "must hold a mapping"),
        ("a: [", "can't be read"),
        ("lease_seconds: soon", "lease_seconds"),
        ("lease_seconds: 0", "lease_seconds must be above 0"),
        ("drain_seconds: .nan", "drain_seconds must be above 0"),
        ("synchronous: LAZY", "Invalid enum value 'LAZY'"),
        ("capacity: {cpu: -1}", "none of them negative"),
        ("capacity: {cpu: .nan}", "finite"),
        ("capacity: {cpu: .inf}", "finite"),
        ("database: ''", "database must be a path"),
        ("agents: [a]", "agents"),
    ],
)
def test_what_is_wrong_in_the_file_is_said(tmp_path, text, expected):
    with pytest.raises(SettingsError, match=expected):
        load(tmp_path, text)


def test_bytes_that_are_no_text_are_refused(tmp_path):
    (tmp_path / CONFIG_FILE).write_bytes(b"\xff\xfe\x00database")
    with pytest.raises(SettingsError, match="can't be read"):
        load_settings(tmp_path, {})


def test_an_argument_that_is_no_setting_is_refused(tmp_path):
    with pytest.raises(SettingsError, match="lease"):
        load(tmp_path, lease=1)


def test_the_database_in_memory_keeps_nothing(tmp_path):
    assert load(tmp_path, database=":memory:").in_memory
