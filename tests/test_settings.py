"""Settings: defaults, then podium.yaml, then the environment, then arguments; what is wrong is named with its place."""

import traceback
from pathlib import Path

import pytest

from podium.exceptions import SettingsError
from podium.settings import (
    CONFIG_FILE,
    DOCUMENTED_NAMES,
    SECRETS,
    Address,
    Settings,
    address_of,
    bus_url,
    load_settings,
)


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


def test_document_004s_settings_have_its_names_and_its_defaults(tmp_path):
    given = {
        "MAX_CONCURRENT_WORKFLOWS": "1000",
        "WORKFLOW_TIMEOUT_HOURS": "24",
        "AGENT_ALLOCATION_TIMEOUT_SECONDS": "300",
        "CHECKPOINT_INTERVAL_MINUTES": "5",
        "CIRCUIT_BREAKER_FAILURE_THRESHOLD": "5",
        "EVENT_RETENTION_HOURS": "168",
    }
    assert load(tmp_path, "", given) == Settings()
    assert load(tmp_path, "", dict.fromkeys(given, "7")) != Settings()
    assert load(tmp_path, "", {"CIRCUIT_BREAKER_FAILURE_THRESHOLD": "0"}).circuit_breaker_failure_threshold == 0


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
        ("database: ''", "database must be a path, or postgresql://user@host/name, or :memory:"),
        ("database: sqlite:///a.db", "database must be a path"),
        ("agents: [a]", "agents"),
        ("max_concurrent_workflows: -1", r"max_concurrent_workflows must be 0 \(without it\) or more"),
        ("workflow_timeout_hours: .nan", "workflow_timeout_hours must be 0"),
        ("agent_allocation_timeout_seconds: -0.5", "agent_allocation_timeout_seconds must be 0"),
        ("circuit_breaker_timeout_seconds: 0", "circuit_breaker_timeout_seconds must be above 0"),
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


# --- what the documents call it ---------------------------------------------------------------------------------------


def test_the_documents_names_hold_and_podiums_own_win(tmp_path):
    documented = {
        "MAX_CONCURRENT_AGENTS": "7", "MAX_AGENTS": "8", "MESSAGE_BUS_BATCH_SIZE": "100",
        "EVENT_RETENTION_HOURS": "1", "DEREGISTRATION_TIMEOUT_SECONDS": "90",
        "HEARTBEAT_INTERVAL_SECONDS": "10", "HEALTH_CHECK_INTERVAL_SECONDS": "20",
    }  # fmt: skip
    found = load(tmp_path, "max_concurrent_agents: 5\n", documented)
    assert (found.max_concurrent_agents, found.message_bus_batch_size, found.event_retention_hours) == (7, 100, 1)
    assert (found.heartbeat_interval_seconds, found.health_check_interval_seconds) == (10, 20)
    assert found.deregistration_timeout_seconds == 90
    assert load(tmp_path, "", {**documented, "PODIUM_MAX_CONCURRENT_AGENTS": "3"}).max_concurrent_agents == 3
    assert load(tmp_path, "", {"MAX_AGENTS": "8"}).max_concurrent_agents == 8
    assert load(tmp_path, "", {"MAX_CONCURRENT_AGENTS": " ", "MAX_AGENTS": "8"}).max_concurrent_agents == 8


def test_the_documents_url_of_the_database_holds_unless_podiums_own_does(tmp_path):
    documented = {"DATABASE_URL": "postgresql://orchestration:secret@postgres:5432/orchestration"}
    found = load(tmp_path, "database: file.db\n", documented)
    assert found.on_postgres
    assert found.database == documented["DATABASE_URL"]
    assert load(tmp_path, "", {**documented, "PODIUM_DATABASE": "own.db"}).database == "own.db"
    assert load(tmp_path, "", documented, database="argument.db").database == "argument.db"
    assert load(tmp_path, "", {"DATABASE_URL": " "}).database == "file.db"
    with pytest.raises(SettingsError, match=r"not 'mysql://…@h/d' \(said by DATABASE_URL\)"):
        load(tmp_path, "", {"DATABASE_URL": "mysql://me:hunter2@h/d"})


def test_a_database_on_postgres_has_no_file_beside_it():
    for url in ("postgresql://h/d", "postgres:///d?host=/run/postgresql"):
        found = Settings(database=url)
        assert found.on_postgres
        assert not found.in_memory
        with pytest.raises(ValueError, match="in a table"):
            found.logs_path  # noqa: B018
    for path in ("a.db", ":memory:", "postgresql", "postgres.db"):
        assert not Settings(database=path).on_postgres


def test_every_documented_name_stands_for_a_setting():
    assert set(DOCUMENTED_NAMES) | SECRETS <= set(Settings.__struct_fields__)


def test_an_error_names_the_place_that_said_it(tmp_path):
    with pytest.raises(SettingsError, match=r"said by HEARTBEAT_INTERVAL_SECONDS"):
        load(tmp_path, "", {"HEARTBEAT_INTERVAL_SECONDS": "soon"})
    with pytest.raises(SettingsError, match=r"said by PODIUM_MAX_MESSAGE_BYTES"):
        load(tmp_path, "", {"PODIUM_MAX_MESSAGE_BYTES": "3"})
    with pytest.raises(SettingsError, match=r"said by .*podium.yaml"):
        load(tmp_path, "http: here\n")


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"heartbeat_interval_seconds": 60}, r"unhealthy_seconds \(60\) must be above heartbeat_interval_seconds"),
        (
            {"deregistration_timeout_seconds": 50},
            r"deregistration_timeout_seconds \(50\) must be above unhealthy_seconds",
        ),
        ({"nats_user": "a", "nats_token": "b"}, "nats_user and nats_token are several ways"),
        ({"nats_password": "a"}, "nats_password needs a nats_user"),
        ({"nats_tls_key": "a"}, "go together"),
        ({"bus": "localhost:4222"}, "bus must be a URL such as memory://"),
        ({"bus": "amqp://h"}, "bus must be a URL"),
        ({"max_reconnects": -2}, "max_reconnects must be above -2"),
        ({"http": "8002"}, "http must be HOST:PORT"),
        ({"nats": "::1:4222"}, "in brackets"),
        ({"metrics": "h:65536"}, "metrics must be HOST:PORT"),
        ({"data": " "}, "data must be a path"),
        ({"event_retention_hours": float("nan")}, "event_retention_hours must be above 0"),
    ],
)
def test_what_does_not_fit_together_is_refused(tmp_path, values, expected):
    with pytest.raises(SettingsError, match=expected):
        load(tmp_path, **values)


def test_the_database_follows_the_data_folder_unless_it_is_said(tmp_path):
    found = load(tmp_path, data="elsewhere")
    assert (found.database, found.nats_folder) == ("elsewhere/podium.db", Path("elsewhere/nats"))
    assert load(tmp_path, "database: own.db\n", {"PODIUM_DATA": "elsewhere"}).database == "own.db"
    assert Settings().nats_folder == Path(".podium/nats")


# --- which bus --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variable", "value", "url"),
    [
        ("NATS_URL", "nats://a:4222,nats://b:4222", "nats://a:4222,nats://b:4222"),
        ("NATS_URL", "localhost:4222", "nats://localhost:4222"),
        ("KAFKA_BOOTSTRAP_SERVERS", "k1:9092,k2:9092", "kafka://k1:9092,k2:9092"),
        ("REDIS_STREAMS_URL", "redis://redis-cluster:6379", "redis://redis-cluster:6379"),
    ],
)
def test_the_one_variable_that_is_set_says_which_bus(variable, value, url):
    assert bus_url(Settings(), {variable: value}) == url
    assert bus_url(Settings(bus="memory://"), {variable: value}) == "memory://"


def test_nothing_said_about_the_bus_is_nothing():
    assert bus_url(Settings(), {"NATS_URL": " "}) == ""


def test_argument_environment_and_file_say_the_bus_in_this_order(tmp_path):
    environment = {"PODIUM_BUS": "nats://environment:1", "NATS_URL": "nats://documented:1"}
    assert bus_url(load(tmp_path, "bus: nats://file:1\n", environment, bus="nats://argument:1"), environment) == (
        "nats://argument:1"
    )
    assert bus_url(load(tmp_path, "", environment), environment) == "nats://environment:1"
    del environment["PODIUM_BUS"]
    assert bus_url(load(tmp_path, "", environment), environment) == "nats://file:1"


def test_two_variables_for_one_bus_are_refused_by_name():
    both = {"NATS_URL": "nats://a", "REDIS_STREAMS_URL": "redis://b"}
    with pytest.raises(SettingsError, match="NATS_URL and REDIS_STREAMS_URL are both set"):
        bus_url(Settings(), both)
    assert bus_url(Settings(bus="nats://c"), both) == "nats://c"


def test_a_variable_with_an_unknown_scheme_is_refused_without_its_password():
    with pytest.raises(SettingsError, match="NATS_URL must be a URL") as refused:
        bus_url(Settings(), {"NATS_URL": "http://me:hunter2@a"})
    assert "hunter2" not in str(refused.value)


# --- secrets ----------------------------------------------------------------------------------------------------------


def test_secrets_are_in_no_repr():
    settings = [
        Settings(nats_user="me", nats_password="hunter2"),
        Settings(nats_token="hunter2"),
        Settings(nats_nkey_seed="hunter2"),
        Settings(bus="nats://me:hunter2@a:1,nats://me:hun@ter2@b:1"),
        Settings(bus="redis://a:1?password=hunter2"),
        Settings(database="postgresql://me:hunter2@a:1/d"),
        Settings(database="postgres://me:hun@ter2@a:1,b:2/d?password=hunter2"),
        Settings(database="postgresql:///d?user=me&password=hunter2"),
    ]
    for each in settings:
        for text in (repr(each), str(each), str(each.__rich_repr__()), f"{each}"):
            assert "hunter2" not in text
            assert "ter2" not in text
    assert "nats_password='…'" in repr(settings[0])
    assert "nats_password=''" in repr(Settings())


@pytest.mark.parametrize(
    "text",
    [
        "nats_password: [hunter2",
        "nats_password: *hunter2",
        "nats_token: !hunter2 x",
        "nats_token: @hunter2",
        "bus: me:hunter2@a",
        "bus: amqp://me:hunter2@a",
        "database: mysql://me:hunter2@a/d",
        "{nats_user: a, nats_token: hunter2}",
        "nats_password: hunter2",
        "nats_token: 2\nnats_password: {a: hunter2}",
    ],
)
def test_secrets_are_in_no_error(tmp_path, text):
    with pytest.raises(SettingsError) as refused:
        load(tmp_path, text)
    whole = "".join(traceback.format_exception(refused.value))
    assert "hunter2" not in whole


# --- addresses --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "address", "loopback"),
    [
        ("127.0.0.1:8002", Address("127.0.0.1", 8002), True),
        ("localhost:0", Address("localhost", 0), True),
        ("[::1]:8002", Address("::1", 8002), True),
        ("0.0.0.0:8002", Address("0.0.0.0", 8002), False),
        ("[::]:8002", Address("::", 8002), False),
        ("example.org:80", Address("example.org", 80), False),
    ],
)
def test_addresses_are_read_and_written(text, address, loopback):
    assert address_of(text) == address
    assert (str(address), address.loopback) == (text, loopback)


def test_an_empty_address_is_none():
    assert address_of(" ") is None


# --- webhooks --------------------------------------------------------------------------------------------------------


def test_webhooks_are_read_from_the_file(tmp_path):
    (tmp_path / "podium.yaml").write_text(
        "webhooks:\n"
        "  - {url: 'https://a.example/x', secret_file: key.txt, events: [failed], workflows: [report]}\n"
        "  - {url: 'http://b.example', secret: hush}\n"
    )
    first, second = load_settings(tmp_path, {}).webhooks
    assert (first.secret_file, first.events, first.workflows) == ("key.txt", ("failed",), ("report",))
    assert (second.secret, second.events, second.workflows) == ("hush", ("completed", "failed", "cancelled"), ())


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("[{secret: hush}]", "url"),
        ("[{url: 'ftp://a.example', secret: hush}]", "https://host/path"),
        ("[{url: 'https://', secret: hush}]", "https://host/path"),
        ("[{url: 'https://a.example'}]", "needs a secret"),
        ("[{url: 'https://a.example', secret: '  '}]", "needs a secret"),
        ("[{url: 'https://a.example', secret: hush, secret_file: f}]", "not both"),
        ("[{url: 'https://a.example', secret: hush, events: []}]", "name one at least"),
        ("[{url: 'https://a.example', secret: hush, events: [ended]}]", "ended"),
        ("[{url: 'https://a.example', secret: hush, method: GET}]", "method"),
        ("[{url: 'https://a.example', secret: hush}, {url: 'https://a.example', secret: hush}]", "twice"),
        ("hush", "array"),
    ],
)
def test_a_webhook_that_cant_be_is_refused_without_its_secret(tmp_path, said, why):
    (tmp_path / "podium.yaml").write_text(f"webhooks: {said}\n")
    with pytest.raises(SettingsError, match=why) as caught:
        load_settings(tmp_path, {})
    assert "podium.yaml" in str(caught.value)
    assert "hush" not in str(caught.value)
