"""Patterns mean what Python's `re` means by them, and cost a bounded number of steps whatever the text is."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podium.workflow.patterns import MAX_MATCHED, MAX_PLACES, MAX_RANGES, Pattern, pattern_of

letters = st.sampled_from(["a", "b", ".", "[ab]", "[^a]", r"\w", r"\d", r"\.", "[a-c-]"])
nodes = st.recursive(
    letters,
    lambda inner: st.one_of(
        st.tuples(inner, inner).map("".join),
        st.tuples(inner, inner).map(lambda two: f"(?:{two[0]}|{two[1]})"),
        st.tuples(inner, st.sampled_from(["*", "+", "?", "{2}", "{0}", "{1,}", "{0,2}", "{1,3}?"])).map(
            lambda two: f"(?:{two[0]}){two[1]}"
        ),
    ),
    max_leaves=6,
)
patterns = st.lists(
    st.tuples(st.sampled_from(["", "^"]), nodes, st.sampled_from(["", "$"])).map("".join), min_size=1, max_size=3
).map("|".join)


@settings(max_examples=60)
@given(patterns, st.lists(st.text("abc1.\n ", max_size=8), min_size=1, max_size=6))
def test_a_pattern_is_found_where_python_finds_it(pattern, texts):
    meant = re.compile(re.sub(r"\$(?=\||$)", r"\\Z", pattern), re.ASCII)
    for text in texts:
        assert Pattern(pattern).found_in(text) == (meant.search(text) is not None), (pattern, text)


@pytest.mark.parametrize(
    ("pattern", "fits", "fits_not"),
    [
        ("^[A-Z]{2}-[0-9]{4}$", "AB-1234", "AB-12345"),
        ("^(draft|final)(-v\\d+)?$", "final-v12", "finals"),
        ("@", "somebody@example.org", "somebody"),
        ("^$", "", " "),
        ("", "anything", None),
        ("^[^\\s@]+@[^\\s@]+$", "a@b", "a b@c"),
        ("^\\u0041\\x42\\/\\-$", "AB/-", "AB"),
        ("^.$", "€", "\n"),
        ("^[\\]a]$", "]", "b"),
    ],
)
def test_what_people_write(pattern, fits, fits_not):
    assert pattern_of(pattern).found_in(fits)
    assert fits_not is None or not pattern_of(pattern).found_in(fits_not)


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        ("(a", "this group isn't closed (character 1)"),
        ("a)", ") closes nothing (character 2)"),
        ("[a", "this set isn't closed"),
        ("[]", "this set is empty"),
        ("*a", "* repeats nothing (character 1)"),
        ("a**", "repeats a repetition"),
        ("a{2", "a count is {2}"),
        ("a{3,2}", "wrong way round"),
        ("[z-a]", "wrong way round"),
        ("[a-\\d]", "a range is from one character"),
        ("a{501}", "501 is too often"),
        ("(?:a?){500}", "repeats too much"),
        ("(a)\\1", "back-references"),
        ("(?=a)", "looking ahead"),
        ("(?<!a)b", "looking ahead"),
        ("(?i)a", "only ( and (?: begin groups"),
        ("(?P<n>a)", "names and flags"),
        ("\\bword", "word boundaries"),
        ("\\p{L}", "Unicode property"),
        ("\\q", "there is no \\q"),
        ("a\\", "stands before nothing"),
        ("\\xZZ", "write \\x41"),
        ("a^b", "^ can't stand here (character 2)"),
        ("(a$)", "$ can't stand here (character 3)"),
        ("a$b", "$ must be the last"),
        ("}", "} closes nothing"),
        ("(?:[a-z]{100}){100}", f"more than {MAX_PLACES:,} characters"),
        ("(((){500}){500}){500}", "repeats too much"),
        ("(" * 60 + ")" * 60, "nested more than"),
        ("a" * 1_001, "1,001 characters"),
        ("".join(f"[\\s{chr(0x4E00 + 2 * n)}]" for n in range(200)), f"more than {MAX_RANGES:,} characters and ranges"),
    ],
)
def test_what_can_t_be_used_is_refused_with_its_place(pattern, why):
    with pytest.raises(ValueError, match=re.escape(why)):
        Pattern(pattern)


@pytest.mark.parametrize("pattern", ["^(a+)+$", "^(a|a)*$", "^(a?){100}a{100}$", "(a*)*b", "^(a|b)*a(a|b){12}$"])
def test_what_makes_others_backtrack_for_ever_takes_a_bounded_number_of_steps(pattern):
    found = Pattern(pattern)
    steps = 0

    class Counted(list):
        def __getitem__(self, at):
            nonlocal steps
            steps += 1
            return super().__getitem__(at)

    found._follow = Counted(found._follow)
    text = "ab" * (MAX_MATCHED // 2 - 1) + "a!"
    assert not found.found_in(text) or pattern == "(a*)*b"
    assert steps <= len(text) * found.places
    assert not found.found_in("a" * (MAX_MATCHED + 1))


def test_a_character_that_wasn_t_met_costs_one_search_whatever_its_sets_are():
    found = Pattern("[" + "".join(chr(0x4E00 + 2 * n) for n in range(980)) + "]{500}")
    looks = 0

    class Counted(list):
        def __getitem__(self, at):
            nonlocal looks
            looks += 1
            return super().__getitem__(at)

    found._begins = Counted(found._begins)
    text = "".join(chr(0x4E00 + 2 * n) for n in range(499))
    assert not found.found_in(text)
    assert found.found_in(text + "\u4e00")
    assert looks <= (2 * len(text) + 1) * (2 * MAX_RANGES).bit_length()


@settings(max_examples=30)
@given(st.lists(st.sampled_from(["a", "b-d", "\\w", "\\D", "€", "x-￿"]), min_size=1), st.booleans(), st.characters())
def test_a_set_takes_what_python_s_takes(members, negated, character):
    pattern = f"^[{'^' * negated}{''.join(members)}]$"
    meant = re.compile(pattern[:-1] + r"\Z", re.ASCII)
    assert Pattern(pattern).found_in(character) == (meant.search(character) is not None)
