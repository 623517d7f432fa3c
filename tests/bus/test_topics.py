"""Topics, and the subjects that carry them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.bus.subjects import matches
from podium.bus.topics import distinct_topics, place_name, subjects_by_lane, wanted
from podium.exceptions import InvalidInputError

words = st.sampled_from(["a", "b", "*"])
topics = st.builds(
    lambda head, rest: ".".join([*head, *rest]), st.lists(words, min_size=1, max_size=3), st.sampled_from([[], [">"]])
)
names = st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=4).map(".".join)


@given(st.lists(topics, min_size=1, max_size=4), names)
def test_a_message_comes_once_and_only_if_a_topic_wants_it(given_topics, name):
    try:
        kept = distinct_topics(given_topics)
    except InvalidInputError:
        return
    assert wanted(kept, name) == any(matches(topic, name) for topic in given_topics)
    subject = f"podium.bus.{name}.high"
    listening = [pattern for subjects in subjects_by_lane(kept) for pattern in subjects if matches(pattern, subject)]
    assert len(listening) == wanted(kept, name)


def test_each_lane_has_its_subjects_and_open_ended_topics_are_heard_as_one():
    assert subjects_by_lane(("a.b", "c.>")) == [
        ("podium.bus.a.b.critical",),
        ("podium.bus.a.b.high",),
        ("podium.bus.a.b.normal",),
        ("podium.bus.a.b.low",),
        ("podium.bus.c.*.>",),
    ]


def test_what_others_cover_is_left_out():
    assert distinct_topics(["a.>", "a.b", "a.*.c", "a.b"]) == ("a.>",)
    assert distinct_topics("a.b") == ("a.b",)
    with pytest.raises(InvalidInputError, match="overlap"):
        distinct_topics(["a.*", "*.b"])


def test_a_place_has_the_same_name_for_the_same_group_and_subjects():
    assert place_name("g", ("a", "b")) == place_name("g", ("b", "a"))
    assert place_name("g", ("a",)) != place_name("g", ("b",))
