"""relay/core/port.py: the table, every cell of it, and what goes out."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import pytest

from relay.core.port import RULES, Do, Event, Port, State
from relay.core.window import FixedWindow
from relay.errors import ProtocolViolation
from relay.wire import messages
from relay.wire.numbers import OpenFailure
from tests.core.playbook import Leg, confirmation, message, open_message

S, E, D = State, Event, Do

WINDOW = 1000

TABLE = """
    event          NEW       ASKED      ABANDONED DIALLING OPEN         LOCAL_ENDED  PEER_ENDING  PEER_ENDED  BOTH_ENDING LAST_BYTES OVER
    ASK            ASKED     -          -         -        -            -            -            -           -           -          -
    ASKED_BY_PEER  DIALLING  -          -         -        -            -            -            -           -           -          -
    CONFIRMED      -         OPEN       OVER      -        -            -            -            -           -           -          -
    TOO_SMALL      -         OVER       OVER      -        -            -            -            -           -           -          -
    REFUSED        -         OVER       OVER      -        -            -            -            -           -           -          -
    GIVEN_UP       -         ABANDONED  -         -        -            -            -            -           -           -          -
    JOINED         -         -          -         OPEN     -            -            -            -           -           -          OVER
    NOT_JOINED     -         -          -         OVER     -            -            -            -           -           -          -
    LOCAL_EOF      -         -          -         -        LOCAL_ENDED  -            BOTH_ENDING  OVER        -           -          -
    LOCAL_LOST     -         ABANDONED  -         -        OVER         OVER         OVER         OVER        OVER        OVER       -
    EOF            -         -          -         -        PEER_ENDING  BOTH_ENDING  -            -           -           -          -
    DELIVERED      -         -          -         -        -            -            PEER_ENDED   -           OVER        OVER       -
    CLOSE          -         -          -         -        OVER         OVER         OVER         OVER        LAST_BYTES  -          -
    LEG_LOST       OVER      OVER       OVER      OVER     OVER         OVER         OVER         OVER        OVER        -          -
"""  # noqa: E501


def parse(table: str) -> dict[tuple[State, Event], State]:
    head, *rows = (line.split() for line in table.strip().splitlines())
    return {
        (State[before], Event[row[0]]): State[after]
        for row in rows
        for before, after in zip(head[1:], row[1:], strict=True)
        if after != "-"
    }


class Pump(Port):
    """Writes down what it is told to do."""

    def __init__(self, leg: Leg) -> None:
        self.did: list[str] = []
        self.ended: list[str] = []
        super().__init__(leg.mux, FixedWindow(WINDOW))

    def data(self, view: memoryview, start: int, length: int, size: int) -> None:
        self.channel.received_data(size)
        if not self.over:
            self.received_bytes += size

    def _dial(self) -> None:
        self.did.append("dial")

    def _begin(self) -> None:
        self.did.append("begin")

    def _may_read(self) -> None:
        self.did.append("may read")

    def _shut(self) -> None:
        self.did.append("shut")

    def _drop(self, *, reset: bool) -> None:
        self.did.append("reset" if reset else "finish")

    def _ended_for(self, reason: str) -> None:
        self.ended.append(reason)


class Stream:
    """A pump on a leg, and its peer."""

    def __init__(self) -> None:
        self.leg = Leg().logged_in()
        self.pump = Pump(self.leg)
        self.number = self.pump.channel.local_id

    # -- the ways to each state

    def asked(self) -> Stream:
        self.pump.ask(b"kind", b"fields")
        self.leg.heard()
        return self

    def dialling(self) -> Stream:
        self.leg.opens = lambda: self.pump
        self.leg.send(open_message())
        return self

    def open(self) -> Stream:
        self.asked().leg.send(confirmation(self.number))
        self.pump.did.clear()
        return self

    def with_bytes(self) -> Stream:
        """Something has come that the local side has not got."""
        self.leg.send(message(94, self.number, 4, b"data"))
        return self

    def eof(self) -> Stream:
        self.leg.send(message(96, self.number))
        return self

    def local_eof(self) -> Stream:
        self.pump.local_eof()
        return self

    def close(self) -> Stream:
        self.leg.send(message(97, self.number))
        return self

    def delivered(self) -> Stream:
        self.pump.delivered(4, 0.0)
        self.pump.delivered_all()
        return self

    def lost(self) -> Stream:
        self.pump.local_lost("the local side is gone")
        return self

    def quiet(self) -> Stream:
        """What has been said so far is forgotten."""
        self.leg.heard()
        self.leg.events()
        self.pump.did.clear()
        self.pump.ended.clear()
        return self


WAYS: dict[State, Callable[[], Stream]] = {
    S.NEW: Stream,
    S.ASKED: lambda: Stream().asked(),
    S.ABANDONED: lambda: Stream().asked().lost(),
    S.DIALLING: lambda: Stream().dialling(),
    S.OPEN: lambda: Stream().open(),
    S.LOCAL_ENDED: lambda: Stream().open().local_eof(),
    S.PEER_ENDING: lambda: Stream().open().with_bytes().eof(),
    S.PEER_ENDED: lambda: Stream().open().eof(),
    S.BOTH_ENDING: lambda: Stream().open().with_bytes().local_eof().eof(),
    S.LAST_BYTES: lambda: Stream().open().with_bytes().local_eof().eof().close(),
    S.OVER: lambda: Stream().open().lost(),
}

EVENTS: dict[Event, Callable[[Stream], Any]] = {
    E.ASK: lambda stream: stream.pump._happens(E.ASK),
    E.ASKED_BY_PEER: lambda stream: stream.pump._happens(E.ASKED_BY_PEER),
    E.CONFIRMED: lambda stream: stream.leg.send(confirmation(stream.number)),
    E.TOO_SMALL: lambda stream: stream.leg.send(confirmation(stream.number, packet=1023)),
    E.REFUSED: lambda stream: stream.pump.failed(1, "no"),
    E.GIVEN_UP: lambda stream: stream.pump.give_up(),
    E.JOINED: lambda stream: stream.pump.joined(),
    E.NOT_JOINED: lambda stream: stream.pump.not_joined("no such service"),
    E.LOCAL_EOF: Stream.local_eof,
    E.LOCAL_LOST: Stream.lost,
    E.EOF: Stream.eof,
    E.DELIVERED: lambda stream: stream.pump.delivered_all(),
    E.CLOSE: Stream.close,
    E.LEG_LOST: lambda stream: stream.pump.leg_lost(),
}

OPEN_STATES = {S.OPEN, S.LOCAL_ENDED, S.PEER_ENDING, S.PEER_ENDED, S.BOTH_ENDING}

VIOLATIONS = {
    *product((E.CONFIRMED, E.TOO_SMALL, E.REFUSED), set(State) - {S.ASKED, S.ABANDONED}),
    *product((E.EOF, E.CLOSE), (S.NEW, S.ASKED, S.ABANDONED, S.DIALLING, S.LAST_BYTES)),
}
"""What a peer may not say in a state: its leg ends."""

# -- the table


def test_the_table_is_whole() -> None:
    assert {cell: after for cell, (after, _) in RULES.items()} == parse(TABLE)
    states, events = (set(parts) for parts in zip(*parse(TABLE), strict=True))
    assert states == set(State)
    assert events == set(Event)


def test_every_drawn_arrow_is_in_the_table() -> None:
    assert {after for after, _ in RULES.values()} == set(State) - {S.NEW}


@pytest.mark.parametrize("state", State, ids=lambda state: state.name)
def test_the_way_to_each_state(state: State) -> None:
    assert WAYS[state]().pump.state is state


@pytest.mark.parametrize("event", Event, ids=lambda event: event.name)
def test_every_cell(event: Event) -> None:
    for state in State:
        cell(state, event)


def cell(state: State, event: Event) -> None:
    stream = WAYS[state]().quiet()
    happens = EVENTS[event]
    before = stream.pump.state
    if (event, state) in VIOLATIONS:
        with pytest.raises(ProtocolViolation):
            happens(stream)
        assert stream.pump.state is before
        assert (stream.pump.did, stream.pump.ended, stream.leg.heard()) == ([], [], [])
        return
    happens(stream)
    after, steps = RULES.get((state, event), (state, ()))
    if (state, event) == (S.OPEN, E.EOF):
        # All that came is delivered already: the next event follows at once.
        assert after is S.PEER_ENDING
        after, steps = RULES[S.PEER_ENDING, E.DELIVERED]
    elif (state, event) == (S.LOCAL_ENDED, E.EOF):
        assert after is S.BOTH_ENDING
        after, steps = RULES[S.BOTH_ENDING, E.DELIVERED]
    pump = stream.pump
    assert pump.state is after
    did = {D.BEGIN: "begin", D.SHUT: "shut", D.FINISH: "finish", D.RESET: "reset"}
    assert pump.did == [did[step] for step in steps if step in did]
    said = {
        D.SEND_CONFIRMATION: messages.open_confirmation(7, stream.number, WINDOW, 120 * 1024),
        D.SEND_FAILURE: messages.open_failure(7, 2, "no such service"),
        D.SEND_EOF: messages.eof(7),
        D.SEND_CLOSE: messages.close(7),
    }
    assert stream.leg.heard() == [said[step] for step in steps if step in said]
    ends = (S.OVER, S.ABANDONED)
    assert len(pump.ended) == (1 if after in ends and state not in ends else 0)
    assert pump.over is (after in ends)


def test_what_a_peer_says_on_a_channel_whose_close_is_on_its_way_is_passed_over() -> None:
    stream = WAYS[S.OVER]().quiet()
    stream.with_bytes()
    stream.leg.send(message(93, stream.number, 5))
    stream.leg.send(message(98, stream.number, 1, b"x", b"\1"))
    stream.eof()
    assert stream.leg.heard() == []
    assert stream.number in stream.leg.mux.channels
    stream.close()
    assert stream.leg.heard() == []
    assert stream.number not in stream.leg.mux.channels
    assert stream.pump.ended == []


# -- how it begins


def test_our_open() -> None:
    stream = Stream()
    stream.pump.ask(b"kind", b"fields")
    assert stream.leg.heard() == [
        messages.channel_open(b"kind", stream.number, WINDOW, 120 * 1024, b"fields")
    ]
    stream.leg.send(confirmation(stream.number, sender=9, window=5, packet=2**30))
    channel = stream.pump.channel
    assert (channel.remote_id, channel.send_window) == (9, 5)
    assert channel.send_packet == 120 * 1024  # No more than our own memory takes.


def test_the_peers_open() -> None:
    stream = Stream().dialling()
    assert stream.pump.did == ["dial"]
    assert stream.leg.heard() == []
    stream.pump.joined()
    channel = stream.pump.channel
    assert (channel.remote_id, channel.send_window, channel.send_packet) == (7, 1000, 2000)
    assert stream.pump.did == ["dial", "begin"]


def test_a_refusal_by_the_peer() -> None:
    stream = Stream().asked()
    stream.leg.send(message(92, stream.number, 1, 2, b"no", 0))
    assert stream.pump.ended == ["refused: no"]
    assert stream.pump.refused
    assert stream.number not in stream.leg.mux.channels


def test_a_refusal_by_us() -> None:
    stream = Stream().dialling()
    stream.pump.not_joined("not today", OpenFailure.ADMINISTRATIVELY_PROHIBITED)
    assert stream.leg.heard() == [messages.open_failure(7, 1, "not today")]
    assert stream.pump.ended == ["refused: not today"]
    assert stream.pump.refused
    assert stream.number not in stream.leg.mux.channels


def test_packets_that_are_too_small() -> None:
    stream = Stream().asked()
    stream.leg.send(confirmation(stream.number, packet=1023))
    assert stream.pump.ended == ["refused: the other side takes packets of 1023 bytes"]
    assert stream.pump.did == ["reset"]
    assert stream.number in stream.leg.mux.channels  # Until the peer closes it too.


@pytest.mark.parametrize("packet", [2000, 10])
def test_an_answer_that_comes_too_late(packet: int) -> None:
    stream = Stream().asked()
    stream.pump.give_up()
    assert stream.pump.ended == ["refused: no answer"]
    assert stream.pump.did == ["reset"]
    stream.leg.send(confirmation(stream.number, packet=packet))
    assert stream.leg.heard() == [messages.close(7)]
    assert stream.pump.did == ["reset"]
    stream.close()
    assert stream.number not in stream.leg.mux.channels


def test_a_refusal_that_comes_too_late() -> None:
    stream = Stream().asked()
    stream.pump.give_up()
    stream.leg.send(message(92, stream.number, 1, 2, b"no", 0))
    assert stream.number not in stream.leg.mux.channels


def test_a_local_side_that_is_there_too_late_is_closed() -> None:
    stream = Stream().dialling()
    stream.pump.leg_lost()
    stream.pump.joined()
    assert stream.pump.did == ["dial", "reset", "reset"]
    assert stream.pump.ended == ["the connection to the relay was lost"]


def test_one_that_is_not_there_after_all_changes_nothing() -> None:
    stream = Stream().dialling()
    stream.pump.leg_lost()
    stream.pump.not_joined("no")
    assert stream.pump.ended == ["the connection to the relay was lost"]
    assert not stream.pump.refused


# -- windows


def test_the_window_is_opened_again_by_what_was_delivered() -> None:
    stream = Stream().open()
    stream.leg.send(message(94, stream.number, WINDOW // 4, bytes(WINDOW // 4)))
    stream.pump.delivered(WINDOW // 4 - 1, 0.0)
    assert stream.leg.heard() == []
    stream.pump.delivered(1, 0.0)
    assert stream.leg.heard() == [messages.window_adjust(7, WINDOW // 4)]
    assert stream.pump.channel.receive_window == WINDOW


@pytest.mark.parametrize("end", [Stream.eof, Stream.lost])
def test_nobody_who_sends_no_more_is_given_a_window(end: Callable[[Stream], Stream]) -> None:
    stream = Stream().open()
    stream.leg.send(message(94, stream.number, WINDOW, bytes(WINDOW)))
    end(stream)
    stream.leg.heard()
    stream.pump.delivered(WINDOW, 0.0)
    assert stream.leg.heard() == []


def test_a_window_that_is_wide_enough_is_not_opened() -> None:
    stream = Stream().open()
    stream.pump._window.next_opening = 0
    stream.pump.delivered(0, 0.0)
    assert stream.leg.heard() == []


def test_the_peers_window() -> None:
    stream = Stream().open()
    stream.leg.send(message(93, stream.number, 5))
    assert stream.pump.channel.send_window == 1005
    assert stream.pump.did == ["may read"]


# -- requests


def test_a_request_is_refused_if_it_wants_to_know() -> None:
    stream = Stream().open()
    stream.leg.send(message(98, stream.number, 4, b"exec", b"\1"))
    stream.leg.send(message(98, stream.number, 4, b"exec", b"\0"))
    assert stream.leg.heard() == [messages.channel_failure(7)]


# -- how it ends


def test_in_good_order_the_local_side_first() -> None:
    stream = Stream().open().with_bytes().local_eof().eof()
    stream.leg.heard()
    stream.delivered()
    assert stream.leg.heard() == [messages.close(7)]
    stream.close()
    assert stream.pump.did == ["finish"]
    assert stream.pump.ended == [""]
    assert stream.number not in stream.leg.mux.channels


def test_the_peer_closes_while_the_last_bytes_are_delivered() -> None:
    stream = Stream().open().with_bytes().local_eof().eof().close()
    assert stream.leg.heard() == [messages.eof(7), messages.close(7)]
    assert stream.number not in stream.leg.mux.channels
    assert (stream.pump.did, stream.pump.ended) == ([], [])
    stream.delivered()
    assert (stream.pump.did, stream.pump.ended) == (["finish"], [""])


def test_a_peer_that_closes_without_a_word_breaks_the_stream() -> None:
    stream = Stream().open().with_bytes().close()
    assert stream.leg.heard() == [messages.close(7)]
    assert stream.pump.did == ["reset"]
    assert stream.pump.ended == ["closed by the other side"]
    assert stream.number not in stream.leg.mux.channels


def test_a_second_eof_says_nothing_new() -> None:
    stream = Stream().open().eof().eof()
    assert stream.pump.did == ["shut"]


def test_what_happens_from_within_a_step() -> None:
    """To begin may be to find that the local side is gone."""

    class Gone(Pump):
        def _begin(self) -> None:
            super()._begin()
            self.local_lost("gone at once")

    stream = Stream()
    stream.leg.mux.remove(stream.number)
    stream.pump = Gone(stream.leg)
    stream.number = stream.pump.channel.local_id
    stream.asked().leg.send(confirmation(stream.number))
    assert stream.pump.did == ["begin", "reset"]
    assert stream.pump.ended == ["gone at once"]
    assert stream.leg.heard() == [messages.close(7)]


def test_a_port_that_says_nothing_of_its_end() -> None:
    stream = Stream().open()
    Port._ended_for(stream.pump, "")
