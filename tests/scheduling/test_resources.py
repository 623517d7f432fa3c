"""Amounts of resources: what fits, what never will, and that all that is taken comes back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.scheduling.resources import NOTHING, Capacity, vector_of, vector_of_amounts
from podium.workflow.model import ResourceRequirements


def test_a_vector_names_what_is_above_zero():
    needs = ResourceRequirements(cpu_cores=0.5, memory_mb=100, gpu_count=1, custom_resources={"licence": 2, "none": 0})
    assert vector_of(needs) == {"cpu_cores": 0.5, "memory_mb": 100, "gpu_count": 1, "custom.licence": 2}
    assert vector_of(ResourceRequirements()) == NOTHING


def test_amounts_go_by_the_names_of_the_settings():
    assert vector_of_amounts({"cpu": 2, "memory_mb": 1, "gpu": 1, "licence": 3}) == {
        "cpu_cores": 2,
        "memory_mb": 1,
        "gpu_count": 1,
        "custom.licence": 3,
    }


def test_an_agent_that_says_nothing_has_cores_without_a_limit_and_no_devices():
    capacity = Capacity(NOTHING)
    assert capacity.lacking({"cpu_cores": 64, "memory_mb": 1e9}) == {}
    assert capacity.lacking({"gpu_count": 1}) == capacity.never_fits({"gpu_count": 1}) == {"gpu_count": 1}
    assert capacity.never_fits({"custom.licence": 2}) == {"custom.licence": 2}


def test_a_pool_limits_only_what_it_names():
    pool = Capacity({"cpu_cores": 4}, devices_only_if_offered=False)
    assert pool.never_fits({"gpu_count": 9, "cpu_cores": 4}) == {}
    assert pool.never_fits({"cpu_cores": 5}) == {"cpu_cores": 1}


def test_what_is_lacking_says_how_much():
    capacity = Capacity({"cpu_cores": 4})
    capacity.take({"cpu_cores": 3})
    assert capacity.lacking({"cpu_cores": 1}) == {}
    assert capacity.lacking({"cpu_cores": 2.5}) == {"cpu_cores": 1.5}
    assert capacity.never_fits({"cpu_cores": 2.5}) == {}


def test_thirds_of_a_core_fit_three_times():
    capacity = Capacity({"cpu_cores": 1})
    for _ in range(3):
        assert not capacity.lacking({"cpu_cores": 1 / 3})
        capacity.take({"cpu_cores": 1 / 3})
    assert capacity.lacking({"cpu_cores": 1 / 3})


@given(st.lists(st.dictionaries(st.sampled_from("abc"), st.floats(0.001, 1e6)), max_size=30), st.randoms())
def test_all_that_is_taken_comes_back_in_any_order(needs, chance):
    capacity = Capacity({"a": 1.0})
    for need in needs:
        capacity.take(need)
    chance.shuffle(needs)
    for need in needs:
        capacity.give_back(need)
    assert all(abs(left) < 1e-3 for left in capacity.taken.values())


@pytest.mark.parametrize("amount", [0.1, 0.7, 1e-6])
def test_rounding_never_adds_up_to_a_core(amount):
    capacity = Capacity({"cpu_cores": 1})
    for _ in range(10_000):
        capacity.take({"cpu_cores": amount})
        capacity.give_back({"cpu_cores": amount})
    assert capacity.taken == {}
