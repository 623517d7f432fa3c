"""Values of secrets in texts: concealed however they are written, and where a cut has left only a part."""

import json
import re
import sys
from urllib.parse import quote, quote_plus, urlencode

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
    for written in (VALUE, json.dumps(VALUE), json.dumps(VALUE, ensure_ascii=False), repr(VALUE), ascii(VALUE)):
        assert "hunter2" not in conceal(f"before {written} after"), written
        assert conceal(f"before {written} after").startswith("before ")
    for url in (quote(VALUE, safe=""), quote(VALUE), quote_plus(VALUE), urlencode({"a": VALUE})[2:]):
        assert conceal(f"https://x/?token={url}&a=1") == "https://x/?token=[secret s0]&a=1"
        lower = re.sub("%..", lambda escape: escape[0].lower(), url)
        assert conceal(f"https://x/?token={lower}&a=1") == "https://x/?token=[secret s0]&a=1"


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
    assert conceal("given 'abcdefghij...uvwxyz'") == "given '[secret s0]...[secret s0]'"
    assert conceal("given abcdefghijk [...]") == "given [secret s0] [...]"
    assert conceal("abcde… is said often") == "abcde… is said often"
    quoted = knowing(VALUE).conceal
    assert quoted(json.dumps(VALUE)[:20] + "…") == '"[secret s0]…'


def test_a_part_of_a_value_is_concealed_nowhere_but_beside_a_cut():
    concealer = knowing("postgresql://app:pw@db/production", "Bearer abcdefgh", "abcdefghijklmnopqrstuvwxyz")
    for text in ("production", "production is up", "the scheme is postgresql", "postgresql://app", "Bearer", "uvwxyz"):
        assert concealer.conceal(text) == text
    value = Raw(json.dumps({"env": "production", "note": "it is postgresql…", "…Bearer": ["...production"]}).encode())
    assert concealer.conceal_json(value) is value


def test_json_keeps_its_shape_and_its_numbers():
    value = Raw(b'{"k-hunter2-k": ["hunter2", 1234, true, null, {"a": 1.50}], "12345678": 12345678}')
    found = json.loads(bytes(knowing("hunter2", "12345678").conceal_json(value)))
    assert found == {
        "k-[secret s0]-k": ["[secret s0]", 1234, True, None, {"a": 1.5}],
        "[secret s1]": 12345678,
    }
    untouched = Raw(b'{"a":  [1.50, "x"]}')
    assert knowing("hunter2").conceal_json(untouched) is untouched


def test_a_value_that_json_writes_in_another_way_is_found_all_the_same():
    conceal = knowing(VALUE, "a/b/c/d").conceal_json
    escaped = "".join(f"\\u{ord(character):04x}" for character in VALUE)
    assert bytes(conceal(Raw(f'["{escaped}"]'.encode()))) == b'["[secret s0]"]'
    assert bytes(conceal(Raw(rb'["a\/b\/c\/d"]'))) == b'["[secret s1]"]'
    within = json.dumps({"text": json.dumps({"value": VALUE})})
    assert "hunter2" not in bytes(conceal(Raw(within.encode()))).decode()
    assert "hunter2" not in bytes(conceal(Raw(f"no JSON: {VALUE}".encode()))).decode()


def test_of_very_many_values_the_oldest_is_forgotten_unless_somebody_has_it():
    concealer = Concealer()
    held = concealer.learn("held", "value-that-is-held")
    concealer.learn("old", "value-from-the-start")
    for number in range(MOST_VALUES - 1):
        concealer.learn(f"s{number}", f"value-number-{number:06}-end")
    concealer.learn("s0", "value-number-000000-end")  # again: it counts as new
    concealer.learn("new", "value-of-now")
    assert concealer.conceal("value-from-the-start") == "value-from-the-start"
    assert concealer.conceal("value-number-000001-end") == "[secret s1]"
    concealer.learn("newer", "value-after-that")
    said = concealer.conceal(f"{held.value} value-number-000000-end value-number-000001-end value-of-now")
    assert said == "[secret held] [secret s0] value-number-000001-end [secret new]"
    del held
    concealer.learn("newest", "value-after-all")
    assert concealer.conceal("value-that-is-held") == "value-that-is-held"


def calls(function, *args):
    """Return how many functions are called by calling this one."""
    count = 0

    def note(frame, event, arg):
        nonlocal count
        count += event in {"call", "c_call"}

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        function(*args)
    finally:
        sys.setprofile(before)
    return count


def test_what_concealing_costs_depends_neither_on_the_number_of_secrets_nor_without_any_on_the_texts():
    few, many = (knowing(*(f"{n:03}-value-that-is-long" for n in range(count))) for count in (1, 300))
    rows = [f"row {n} of a result…, plain text..." for n in range(1_000)]
    plain, telling = (Raw(json.dumps(said).encode()) for said in (rows, [*rows, "000-value-that-is-long"]))
    for concealer in (few, many):
        concealer.conceal("all is prepared")
    assert calls(many.conceal_json, plain) < 50
    assert calls(many.conceal_json, telling) == calls(few.conceal_json, telling)
    assert calls(many.conceal, "".join(rows)) == calls(few.conceal, "".join(rows))


@given(st.text(min_size=6, max_size=40), st.text(max_size=40), st.text(max_size=40))
def test_no_text_has_a_value_in_it_whatever_stands_around_it(value, before, after):
    concealed = knowing(value).conceal(f"{before}{value}{after}")
    assert value not in concealed.replace("[secret s0]", "")
