"""Values of secrets in texts: concealed however they are written, and where a cut has left only a part."""

import json

from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from podium.agents.concealing import MOST_VALUES, Concealer

VALUE = 'hunter2 "the\tquoted" pässwörd/with+all'


def knowing(*values: str) -> Concealer:
    concealer = Concealer()
    for number, value in enumerate(values):
        concealer.learn(f"s{number}", value)
    return concealer


def test_without_secrets_nothing_changes():
    text, value = "a text", Raw(b'{"a": "text"}')
    assert Concealer().conceal(text) is text
    assert Concealer().conceal_json(value) is value


def test_a_value_is_concealed_in_all_the_ways_it_is_commonly_written():
    conceal = knowing(VALUE).conceal
    from urllib.parse import quote

    for written in (VALUE, json.dumps(VALUE), json.dumps(VALUE, ensure_ascii=False), repr(VALUE), ascii(VALUE)):
        assert "hunter2" not in conceal(f"before {written} after"), written
        assert conceal(f"before {written} after").startswith("before ")
    assert conceal(f"https://x/?token={quote(VALUE, safe='')}&a=1") == "https://x/?token=[secret s0]&a=1"


def test_a_longer_value_is_concealed_before_one_that_is_its_part():
    assert knowing("hunter", "hunter-and-more").conceal("x hunter-and-more y hunter") == "x [secret s1] y [secret s0]"


def test_each_line_of_a_value_with_several_is_concealed():
    key = "-----BEGIN KEY-----\nAAAABBBBCCCC\nDDDDEEEEFFFF\n-----END KEY-----"
    shown = knowing(key).conceal("read: AAAABBBBCCCC and DDDDEEEEFFFF")
    assert shown == "read: [secret s0] and [secret s0]"


def test_what_a_cut_has_left_of_a_value_is_concealed():
    conceal = knowing("abcdefghijklmnopqrstuvwxyz").conceal
    assert conceal("given abcdefghijklm… (13 characters left out)") == "given [secret s0]… (13 characters left out)"
    assert conceal("given abcdefghijklm … (13 left out)") == "given [secret s0] … (13 left out)"
    assert conceal("(5 left out) …nopqrstuvwxyz at the end") == "(5 left out) …[secret s0] at the end"
    assert conceal("uvwxyz: the end of a stream") == "[secret s0]: the end of a stream"
    assert conceal("abcde is said often") == "abcde is said often"


def test_json_keeps_its_shape_and_its_numbers():
    value = Raw(b'{"k-hunter2-k": ["hunter2", 1234, true, null, {"a": 1.50}], "12345678": 12345678}')
    found = json.loads(bytes(knowing("hunter2", "12345678").conceal_json(value)))
    assert found == {
        "k-[secret s0]-k": ["[secret s0]", 1234, True, None, {"a": 1.5}],
        "[secret s1]": 12345678,
    }
    untouched = Raw(b'{"a":  [1.50, "x"]}')
    assert knowing("hunter2").conceal_json(untouched) is untouched


def test_of_very_many_values_the_oldest_is_forgotten():
    concealer = knowing("the-first-value", *(f"value-number-{n:06}-end" for n in range(MOST_VALUES)))
    assert concealer.conceal("the-first-value") == "the-first-value"
    assert "value-number" not in concealer.conceal("value-number-000000-end value-number-000255-end")


@given(st.text(min_size=6, max_size=40), st.text(max_size=40), st.text(max_size=40))
def test_no_text_has_a_value_in_it_whatever_stands_around_it(value, before, after):
    concealed = knowing(value).conceal(f"{before}{value}{after}")
    assert value not in concealed.replace("[secret s0]", "")
