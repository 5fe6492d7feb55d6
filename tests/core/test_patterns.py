"""relay/core/patterns.py: PATTERNS of ssh_config(5)."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.core.patterns import (
    PatternError,
    check_address_list,
    match_address_list,
    match_pattern,
    match_pattern_list,
    parse_ip,
)


@pytest.mark.parametrize(
    ("text", "pattern", "expected"),
    [
        ("", "", True),
        ("", "*", True),
        ("", "?", False),
        ("a", "", False),
        ("gpu1", "gpu?", True),
        ("gpu", "gpu?", False),
        ("gpu12", "gpu?", False),
        ("gpu12", "gpu*", True),
        ("GPU1", "gpu1", True),
        ("gpu1", "GPU*", True),
        ("abcbc", "a*bc", True),
        ("abcbd", "a*bc", False),
        ("gpu1", "gpu[1]", False),
        ("a.b", "a?b", True),
        ("axb", "a.b", False),
    ],
)
def test_pattern(text: str, pattern: str, expected: bool) -> None:
    assert match_pattern(text, pattern) is expected


@pytest.mark.parametrize(
    ("text", "pattern", "expected"),
    [("Root", "Root", True), ("Root", "root", False), ("root", "R*", False), ("RooT", "R*T", True)],
)
def test_users_and_tags_are_told_apart_by_their_case(
    text: str, pattern: str, expected: bool
) -> None:
    assert match_pattern(text, pattern, ignore_case=False) is expected
    assert match_pattern(text, pattern)


@given(st.text(alphabet="ab", max_size=8), st.text(alphabet="ab*?", max_size=8))
def test_pattern_equals_the_regular_expression(text: str, pattern: str) -> None:
    regex = pattern.replace("*", ".*").replace("?", ".")
    assert match_pattern(text, pattern) is bool(re.fullmatch(regex, text))


def test_a_hostile_name_costs_no_more_than_its_length() -> None:
    started = time.process_time()
    assert not match_pattern("a" * 2000, "a*" * 30 + "b")
    assert time.process_time() - started < 1


@pytest.mark.parametrize(
    ("text", "patterns", "expected"),
    [
        ("a", "b,a", True),
        ("a", "b,c", False),
        ("a", "*,!a", False),
        ("a", "!a,*", False),
        ("a", "!b", False),
        ("a", "!b,*", True),
    ],
)
def test_pattern_list(text: str, patterns: str, expected: bool) -> None:
    assert match_pattern_list(text, patterns) is expected


@pytest.mark.parametrize(
    ("address", "patterns", "expected"),
    [
        ("10.1.2.3", "10.0.0.0/8", True),
        ("11.1.2.3", "10.0.0.0/8", False),
        ("10.1.2.3", "10.0.0.0/8,!10.1.0.0/16", False),
        ("10.1.2.3", "!10.1.0.0/16,10.0.0.0/8", False),
        ("10.2.2.3", "!10.1.0.0/16,10.0.0.0/8", True),
        ("10.1.2.3", "!10.2.0.0/16", False),
        ("10.1.2.3", "10.1.2.3", True),
        ("10.1.2.3", "10.1.2.30", False),
        ("10.1.2.3", "10.1.*", True),
        ("10.1.2.3", "*", True),
        ("10.1.2.3", "*.example.com", False),
        ("::ffff:10.1.2.3", "10.0.0.0/8", True),
        ("::ffff:10.1.2.3", "!10.0.0.0/8,*", False),
        ("2001:db8::1", "2001:DB8::/32", True),
        ("2001:db8:0::1", "2001:0db8::1", True),
        ("2001:db8::1", "10.0.0.0/8", False),
        ("fe80::1%eth0", "fe80::/10", True),
        ("no address", "10.0.0.0/8", False),
        ("10.1.2.3", "10.0.0.0/255.0.0.0", False),
    ],
)
def test_address_list(address: str, patterns: str, expected: bool) -> None:
    assert match_address_list(address, patterns) is expected


@pytest.mark.parametrize("patterns", ["10.0.0.0/8", "!::1,*.example.com,10.?.*", "*"])
def test_good_address_list(patterns: str) -> None:
    check_address_list(patterns)


@pytest.mark.parametrize(
    "patterns",
    ["", "a,", ",a", "!", "10.0.0.1/8", "10.0.0.0/33", "10.0.0.0/", "a/8", "10.0.0.0/255.0.0.0"],
)
def test_bad_address_list(patterns: str) -> None:
    with pytest.raises(PatternError):
        check_address_list(patterns)


def test_parse_ip() -> None:
    assert str(parse_ip("::ffff:127.0.0.1")) == "127.0.0.1"
    assert str(parse_ip("::1")) == "::1"
    assert parse_ip("localhost") is None
    assert parse_ip("") is None


@given(st.text() | st.text(alphabet="0.:/!,*?f%"), st.text() | st.text(alphabet="0.:/!,*?f%"))
def test_any_text_is_matched_or_refused_in_our_own_words(address: str, patterns: str) -> None:
    match_address_list(address, patterns)
    match_pattern_list(address, patterns)
    try:
        check_address_list(patterns)
    except PatternError:
        pass
