"""relay/core/health.py: what follows from results."""

from __future__ import annotations

import pytest

from relay.core.forward import parse_forward
from relay.core.health import (
    MOST_TIMES,
    STEADY,
    Check,
    Checks,
    Health,
    Rhythm,
    State,
    parse_check,
)
from relay.errors import UsageError


def states(health: Health, results: str, now: float = 0.0) -> str:
    """What it is behind each result, one a second: `x` is a bad one, `U` is up, `D` down."""
    said = ""
    for number, result in enumerate(results):
        health.result("no" if result == "x" else "", now + number)
        said += health.state.name[0]
    return said


@pytest.mark.parametrize(
    ("results", "expected"),
    [
        (".", "U"),
        ("x", "D"),
        (".xx.xx", "UUUUUU"),
        (".xxx", "UUUD"),
        ("x..x..", "DDDDDD"),
        ("x...", "DDDU"),
        ("xx..x...", "DDDDDDDU"),
    ],
)
def test_the_first_decides_and_then_some_in_a_row(results: str, expected: str) -> None:
    assert states(Health(3), results) == expected


def test_a_change_is_told_once() -> None:
    health = Health(1)
    assert health.state is State.UNKNOWN
    assert health.result("", 0.0)
    assert not health.result("", 1.0)
    assert health.result("no", 2.0)
    assert not health.result("no", 3.0)
    assert health.result("", 4.0)


def test_it_is_down_since_the_first_of_the_bad_ones_and_for_the_last_reason() -> None:
    health = Health(2)
    for now, problem in enumerate(["", "old", "", "one", "two", "", "three"]):
        health.result(problem, float(now))
    assert (health.state, health.since, health.problem) == (State.DOWN, 3.0, "three")
    first = Health(2)
    first.result("one", 7.0)
    assert first.since == 7.0


def test_what_comes_and_goes_must_be_whole_for_ever_longer() -> None:
    health = Health(2)
    health.result("", 0.0)
    now, took = 0.0, []
    for _ in range(8):
        while health.state is State.UP:
            now += 1
            health.result("no", now)
        good = 0
        while health.state is State.DOWN:
            now += 1
            good += 1
            health.result("", now)
        took.append(good)
    assert took == [2, 4, 8, 16, 32, 32, 32, 32]
    assert took[-1] == MOST_TIMES * 2
    # Until it has held.
    now += STEADY
    assert states(health, "xx..", now) == "UDDU"


def test_checks_are_read() -> None:
    assert parse_check("tcp") == ("", Check())
    assert parse_check("http:/health?a=b") == ("", Check("/health?a=b"))
    assert parse_check("gpu1:8000=tcp") == ("gpu1:8000", Check())
    assert parse_check("http:80=http:/=") == ("http:80", Check("/="))


@pytest.mark.parametrize(
    "text",
    ["", "udp", "http", "http:", "https:/", "http:/a b", "http:/ä", "http:/\r\n", "x=", "=y"],
)
def test_what_is_no_check(text: str) -> None:
    with pytest.raises(UsageError, match="give tcp or http:/path"):
        parse_check(text)


def test_which_check_is_whose() -> None:
    each, its_own = Check("/"), Check()
    rhythm = Rhythm(5.0, 3.0, 2)

    def check_of(text: str, checks: Checks) -> Check | None:
        return checks.of(parse_forward(text, dynamic=text.count(":") < 2))

    checks = Checks(rhythm, each, {"gpu1:8000": its_own})
    assert check_of("gpu1:8000:localhost:1", checks) is its_own
    assert check_of("+gpu1:8000:localhost:1", checks) is its_own
    assert check_of("gpu2:8000:localhost:1", checks) is each
    assert check_of("gpu1:1080", checks) is None
    assert check_of("gpu2:8000:localhost:1", Checks(rhythm, None, {})) is None
