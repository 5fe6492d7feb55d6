"""Who is told of what happens."""

from __future__ import annotations

import logging

import pytest

from relay.errors import INTERNAL
from relay.events import Event, Events, Note
from relay.events.server import LimitHit

HIT = LimitHit("max-startups")


def test_every_sink_is_told_until_it_wants_no_more() -> None:
    first: list[Event] = []
    second: list[Event] = []
    events = Events(first.append)
    unsubscribe = events.subscribe(second.append)
    events.emit(HIT)
    unsubscribe()
    unsubscribe()
    events.emit(HIT)
    assert (first, second) == ([HIT, HIT], [HIT])


def test_a_sink_that_fails_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    told: list[Event] = []

    def fails(event: Event) -> None:
        raise ZeroDivisionError

    with caplog.at_level(logging.ERROR, INTERNAL):
        Events(fails, told.append).emit(HIT)
    assert told == [HIT]
    assert "LimitHit(limit='max-startups')" in caplog.text
    assert "ZeroDivisionError" in caplog.text


def test_a_sink_may_come_and_go_while_one_is_told() -> None:
    told: list[Event] = []
    events = Events()

    def leaves(event: Event) -> None:
        unsubscribe()
        events.subscribe(told.append)

    unsubscribe = events.subscribe(leaves)
    events.emit(HIT)
    events.emit(HIT)
    assert told == [HIT]


def test_a_note_is_an_event() -> None:
    told: list[Event] = []
    Events(told.append).note("warning", "known_hosts line", "{where}: no", per="me", where="a:1")
    assert told == [Note("warning", "known_hosts line", "{where}: no", "me", {"where": "a:1"})]
