"""The durability report: it says what survives what, and never more than was promised to it."""

import itertools

import pytest

from podium.bus.transport import Promises
from podium.cli.durability import as_document, durability, report_lines, sentences
from podium.settings import Settings

PROMISES = Promises(
    carrier="NATS 2.15.1 at 127.0.0.1:4222",
    process_kill="streams survive: they are on disk in .podium/nats",
    machine_loss="the last 2 minutes may be lost: sync_interval is 2m0s and there is one replica",
    amnesia="streams and consumers are made again",
    sync_seconds=120.0,
)


def said(heading: str, *arguments, **more) -> list[str]:
    return [sentence for found, sentence in sentences(durability(*arguments, **more)) if found == heading]


def test_what_is_synced_before_it_is_acknowledged_survives_a_power_cut() -> None:
    (kept,) = said("machine loss", Settings())
    assert kept.startswith("store: a power cut loses nothing that was acknowledged")
    (kept,) = said("machine loss", Settings(synchronous="NORMAL"))
    assert kept.startswith("store: a power cut may lose the last commits")
    for settings in (Settings(), Settings(synchronous="NORMAL")):
        assert said("process kill", settings)[0].startswith("store: nothing that was acknowledged is lost")


def test_a_store_in_memory_keeps_nothing() -> None:
    settings = Settings(database=":memory:")
    assert said("store", settings) == ["memory, nothing is on disk"]
    assert said("process kill", settings)[0].startswith("store: everything is lost")
    assert said("machine loss", settings) == ["store: everything is lost"]


def test_the_carriers_own_promises_are_repeated_and_nothing_is_added() -> None:
    arguments = (Settings(), PROMISES)
    assert said("bus", *arguments) == ["NATS 2.15.1 at 127.0.0.1:4222; 1 replica, synced every 120 s"]
    assert said("process kill", *arguments)[1] == f"bus: {PROMISES.process_kill}"
    assert said("machine loss", *arguments)[1] == f"bus: {PROMISES.machine_loss}"
    assert said("broker forgets", *arguments)[1] == f"bus: {PROMISES.amnesia}"
    assert said("note", *arguments) == []


@pytest.mark.parametrize(
    ("sync_seconds", "expected"),
    [(None, "when it syncs is unknown"), (0.0, "synced before each acknowledgement"), (0.5, "synced every 0.5 s")],
)
def test_how_often_the_carrier_syncs_is_said_in_words(sync_seconds: float | None, expected: str) -> None:
    promises = Promises("c", "k", "m", "a", replicas=3, sync_seconds=sync_seconds)
    assert said("bus", Settings(), promises) == [f"c; 3 replicas, {expected}"]


def test_a_server_of_somebody_elses_is_not_trusted_with_what_podium_cannot_enforce() -> None:
    (note,) = said("note", Settings(), PROMISES, foreign=True)
    assert "Podium can't enforce it" in note
    own = Promises("c", "k", "m", "a", notes=("permissions of each agent aren't enforced",))
    assert said("note", Settings(), own, foreign=True) == list(own.notes)


def test_without_a_bus_it_is_said_why() -> None:
    assert said("bus", Settings()) == ["none: everything is within one process"]
    assert said("bus", Settings(), bus_error="nats://a:1 doesn't answer") == ["nats://a:1 doesn't answer"]
    assert len(said("process kill", Settings())) == 1


@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_report_keeps_to_the_width_and_says_each_heading_once(width: int) -> None:
    lines = report_lines(durability(Settings(), PROMISES, foreign=True), width)
    assert max(map(len, lines)) <= width
    headings = [line[:14].strip() for line in lines if line[:14].strip()]
    assert headings == ["store", "bus", "process kill", "machine loss", "broker forgets", "note"]
    texts = [sentence for _, sentence in sentences(durability(Settings(), PROMISES, foreign=True))]
    assert " ".join(" ".join(line[14:].split()) for line in lines) == " ".join(texts)


def test_the_document_has_both_parts() -> None:
    document = as_document(durability(Settings(), PROMISES))
    assert document["store"]["sync_seconds"] == 0.0
    assert document["bus"]["sync_seconds"] == 120.0
    assert as_document(durability(Settings(), bus_error="why"))["bus_error"] == "why"


def test_no_sentence_is_empty_or_ends_with_a_full_stop() -> None:
    for settings, promises in itertools.product(
        (Settings(), Settings(synchronous="NORMAL"), Settings(database=":memory:")), (None, PROMISES)
    ):
        for _, sentence in sentences(durability(settings, promises, foreign=True)):
            assert sentence
            assert not sentence.endswith(".")
