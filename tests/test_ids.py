"""Identifiers: ordered by time, the same from the same chance, fixed for a named submission."""

import random
import uuid

from hypothesis import given
from hypothesis import strategies as st

from podium.clock import VirtualClock
from podium.ids import SHARDS, IdSource, execution_id_for, shard_of, workflow_id_for


def source(seed: int = 1) -> tuple[IdSource, VirtualClock]:
    clock = VirtualClock()
    return IdSource(clock, random.Random(seed)), clock


def test_a_uuid7_has_its_version_its_variant_and_its_time():
    ids, clock = source()
    for _ in range(200):
        made = uuid.UUID(ids.uuid7())
        assert (made.version, made.variant) == (7, uuid.RFC_4122)
        assert made.int >> 80 == clock.now_us() // 1_000


def test_later_identifiers_sort_behind_earlier_ones():
    ids, clock = source()
    made = []
    for _ in range(50):
        made.append(ids.uuid7())
        clock.advance(1_000)
    assert made == sorted(made)


def test_the_same_chance_gives_the_same_identifiers():
    (one, _), (other, _) = source(5), source(5)
    assert [one.uuid7(), one.token(), one.seed()] == [other.uuid7(), other.token(), other.seed()]
    assert source(6)[0].uuid7() != source(5)[0].uuid7()


def test_identifiers_from_the_systems_chance_differ():
    ids = IdSource()
    assert len({ids.uuid7() for _ in range(1_000)} | {ids.uuid7() for _ in range(1_000)}) == 2_000


def test_a_seed_fits_a_json_number_and_a_token_is_eight_characters():
    ids, _ = source()
    for _ in range(200):
        assert 0 <= ids.seed() < 2**53
        assert len(ids.token()) == 8
        assert ids.token().isalnum()


@given(st.text(), st.text())
def test_a_named_submission_has_one_identifier_a_tenant(tenant, name):
    made = execution_id_for(tenant, name)
    assert made == execution_id_for(tenant, name)
    assert uuid.UUID(made).version == 5
    assert made != execution_id_for(tenant + "x", name)


def test_two_tenants_never_share_an_identifier_whatever_their_names():
    assert execution_id_for("a/b", "c") != execution_id_for("a", "b/c")


def test_all_versions_of_a_workflow_share_its_identifier():
    assert workflow_id_for("w") == workflow_id_for("w") != workflow_id_for("v")


def test_executions_are_spread_over_all_shards_for_ever_the_same():
    shards = [shard_of(execution_id_for("t", str(i))) for i in range(5_000)]
    assert set(shards) == set(range(SHARDS))
    assert shard_of("01890a5d-ac96-774b-bcce-b302099a8057") == 53
