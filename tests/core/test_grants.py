"""relay/core/grants.py: permitopen and permitlisten mean what sshd(8) says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.core.grants import Grant, Permit, parse_permitlisten, parse_permitopen
from relay.core.patterns import PatternError


def opens(*values: str) -> Grant:
    return Grant(permitopen=tuple(p for value in values for p in parse_permitopen(value)))


def listens(*values: str) -> Grant:
    return Grant(permitlisten=tuple(p for value in values for p in parse_permitlisten(value)))


def test_without_options_everything_is_permitted() -> None:
    assert Grant().may_open("gpu1", 8000)
    assert Grant().may_publish("gpu1", 8000)
    assert Grant().may_publish("localhost", 0)


def test_without_port_forwarding_nothing_is() -> None:
    grant = Grant(parse_permitopen("*:*"), parse_permitlisten("*"), port_forwarding=False)
    assert not grant.may_open("gpu1", 8000)
    assert not grant.may_publish("gpu1", 8000)


def test_each_option_limits_its_own_direction() -> None:
    assert opens("none").may_publish("gpu1", 8000)
    assert listens("none").may_open("gpu1", 8000)


@pytest.mark.parametrize(
    ("value", "host", "port", "expected"),
    [
        ("gpu1:8000", "gpu1", 8000, True),
        ("gpu1:8000", "GPU1", 8000, True),
        ("GPU1:8000", "gpu1", 8000, True),
        ("gpu1:8000", "gpu1", 8001, False),
        ("gpu1:8000", "gpu10", 8000, False),
        ("gpu1:*", "gpu1", 1, True),
        ("gpu1:*", "gpu2", 1, False),
        # "No pattern matching or name lookup is performed"
        ("gpu*:8000", "gpu1", 8000, False),
        ("gpu?:8000", "gpu1", 8000, False),
        ("localhost:80", "127.0.0.1", 80, False),
        ("127.0.0.1:80", "localhost", 80, False),
        ("*:80", "anything", 80, True),
        ("*:80", "anything", 81, False),
        ("[2001:DB8::1]:80", "2001:db8::1", 80, True),
        ("none", "gpu1", 8000, False),
    ],
)
def test_permitopen(value: str, host: str, port: int, expected: bool) -> None:
    assert opens(value).may_open(host, port) is expected


@pytest.mark.parametrize(
    ("value", "bind", "port", "expected"),
    [
        ("2000", "localhost", 2000, True),
        ("2000", "", 2000, True),
        ("2000", "*", 2000, True),
        ("2000", "gpu1", 2000, True),
        ("2000", "localhost", 2001, False),
        ("2000", "localhost", 0, False),
        ("*", "localhost", 0, True),
        ("*", "gpu1", 65535, True),
        ("localhost:*", "localhost", 0, True),
        ("localhost:2000", "localhost", 2000, True),
        # "this name is treated differently to the explicit localhost addresses"
        ("localhost:2000", "127.0.0.1", 2000, False),
        ("127.0.0.1:2000", "localhost", 2000, False),
        ("localhost:2000", "", 2000, False),
        ("localhost:2000", "*", 2000, False),
        ("0.0.0.0:2000", "", 2000, False),
        ("[::1]:2000", "::1", 2000, True),
        ("gpu1:8000", "GPU1", 8000, True),
        ("gpu?:8000", "gpu1", 8000, True),
        ("GPU*:8000", "gpu12", 8000, True),
        ("gpu*:8000", "cpu1", 8000, False),
        ("gpu1:8000", "gpu1", 8001, False),
        (":2000", "", 2000, True),
        (":2000", "localhost", 2000, False),
        ("none", "localhost", 2000, False),
    ],
)
def test_permitlisten(value: str, bind: str, port: int, expected: bool) -> None:
    assert listens(value).may_publish(bind, port) is expected


def test_several_add_up() -> None:
    assert opens("a:1", "b:2").may_open("a", 1)
    assert opens("a:1", "b:2").may_open("b", 2)
    assert not opens("a:1", "b:2").may_open("a", 2)
    assert listens("a:1", "2").may_publish("x", 2)
    assert not listens("a:1", "2").may_publish("x", 1)


@pytest.mark.parametrize(
    "value", ["", "gpu1", "gpu1:", "gpu1:0", "gpu1:65536", "a:1,b:2", "::1:80", "[::1:80", "a:**"]
)
def test_bad_values(value: str) -> None:
    with pytest.raises(PatternError):
        parse_permitopen(value)
    with pytest.raises(PatternError):
        parse_permitlisten(value)


def test_a_bare_port_is_for_permitlisten_alone() -> None:
    assert parse_permitlisten("2000") == (Permit("*", 2000),)
    with pytest.raises(PatternError, match="host:port"):
        parse_permitopen("2000")


@pytest.mark.parametrize("value", ["gpu1:8000", "gpu*:*", "[::1]:80", "[::1]:*"])
def test_what_is_permitted_is_shown_as_it_was_written(value: str) -> None:
    (permit,) = parse_permitlisten(value)
    assert str(permit) == value


@given(st.text() | st.text(alphabet="[]:*0189ab"))
def test_any_text_is_parsed_or_refused_in_our_own_words(value: str) -> None:
    for parse in (parse_permitopen, parse_permitlisten):
        try:
            permits = parse(value)
        except PatternError:
            continue
        for permit in permits:
            assert parse(str(permit)) == (permit,)


@pytest.mark.parametrize(
    ("permitlisten", "shares", "privileged"),
    [
        (None, False, False),
        ("none", False, False),
        ("*:*", False, False),
        ("80", False, True),
        ("gpu1:*", True, False),
        ("gpu*:80", True, True),
        ("gpu2:80", False, False),
        ("gpu1:81", False, False),
    ],
)
def test_what_must_be_named(permitlisten: str | None, shares: bool, privileged: bool) -> None:
    permits = None if permitlisten is None else parse_permitlisten(permitlisten)
    grant = Grant(permitlisten=permits)
    assert grant.may_share("gpu1", 80) is shares
    assert grant.may_publish_privileged("gpu1", 80) is privileged
    without = Grant(permitlisten=permits, port_forwarding=False)
    assert not without.may_share("gpu1", 80)
    assert not without.may_publish_privileged("gpu1", 80)
