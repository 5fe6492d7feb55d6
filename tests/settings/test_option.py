"""What follows from an option that is written once."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from relay.settings.kinds import NUMBER, SECONDS, SIZE, text
from relay.settings.option import (
    Option,
    assemble,
    changes,
    kept,
    option,
    part,
    settings_of,
    switches,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Inner:
    size: int = option("--size", kind=SIZE, default=1 << 20)
    socket: str | None = option("--socket", kind=text("PATH"), default=None, fixed=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outer:
    name: str = option(kind=text("NAME"))
    words: tuple[str, ...] = option("-w", "--word", kind=text("WORD"), many=True, default=("a",))
    inner: Inner = part(Inner)
    loud: bool = option("-l", default=False)
    mood: str | None = switches(Option(("-g",), const="good"), Option(("-b",), const="bad"))
    wait: float = option("--wait", kind=SECONDS, default=0.5)


NAMED = Outer(name="it")


def test_all_settings_in_the_order_in_which_they_are_written() -> None:
    assert [(one.name, one.key) for one in settings_of(Outer)] == [
        ("name", ""), ("words", "word"), ("size", "size"), ("socket", "socket"), ("loud", ""),
        ("mood", ""), ("wait", "wait"),
    ]  # fmt: skip
    assert [one.of(NAMED) for one in settings_of(Outer)] == [
        "it", ("a",), 1 << 20, None, False, None, 0.5
    ]  # fmt: skip


def test_what_is_not_given_is_as_the_field_says() -> None:
    assert assemble(Outer, {"name": "it"}) == NAMED
    assert assemble(Outer, {"name": "it", "words": ()}) == NAMED, "nothing given is not given"
    given = assemble(Outer, {"name": "it", "words": ("b", "c"), "size": 1, "mood": "bad"})
    assert given == replace(NAMED, words=("b", "c"), inner=Inner(size=1), mood="bad")
    with pytest.raises(TypeError, match="name"):
        assemble(Outer, {})


def test_a_change_is_told_as_it_would_be_written() -> None:
    after = replace(NAMED, words=("b", "c"), inner=Inner(size=3 << 10, socket="s"), wait=2.0)
    assert changes(NAMED, after) == [
        ("word", "a", "b, c", True),
        ("size", "1M", "3K", True),
        ("socket", "default", "s", False),
        ("wait", "0.5", "2", True),
    ]
    assert changes(after, after) == []


def test_what_is_fixed_stays() -> None:
    after = replace(NAMED, inner=Inner(size=2, socket="new"), wait=3)
    assert kept(NAMED, after) == replace(NAMED, inner=Inner(size=2), wait=3)


def test_a_kind_reads_what_it_shows() -> None:
    for kind, values in ((NUMBER, (1, 20)), (SIZE, (16, 1 << 10, 3 << 20, 1 << 30, 1000))):
        for value in values:
            assert kind.parse(kind.show(value)) == value
    assert SECONDS.parse(SECONDS.show(0.25)) == 0.25
    assert text("PATH").parse("a b") == "a b"
