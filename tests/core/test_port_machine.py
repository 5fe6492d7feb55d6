"""relay/core/port.py between a peer and a local side that keep books, with events in any order.

What goes in and comes out on the peer's side are packets; the local side is a buffer that takes
what it likes. A byte's value is its place in the stream, so that none is lost, doubled or moved.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from relay.core.channel import Half
from relay.core.port import Port, State
from relay.core.window import FixedWindow
from relay.errors import ProtocolViolation
from relay.wire.encoding import Reader, string
from relay.wire.numbers import (
    MSG_CHANNEL_CLOSE,
    MSG_CHANNEL_DATA,
    MSG_CHANNEL_EOF,
    MSG_CHANNEL_FAILURE,
    MSG_CHANNEL_OPEN,
    MSG_CHANNEL_OPEN_CONFIRMATION,
    MSG_CHANNEL_OPEN_FAILURE,
    MSG_CHANNEL_WINDOW_ADJUST,
)
from relay.wire.packet import DATA_OFFSET, TAIL_ROOM, frame_data
from tests.core.playbook import KEXINIT, NEWKEYS, Leg, message

WINDOW = 40
THEIRS = 7

sizes = st.integers(0, 30)


def counted(first: int, size: int) -> bytes:
    return bytes((first + n) % 251 for n in range(size))


class Pump(Port):
    """The local side: a buffer for what comes, and a source of what goes."""

    def __init__(self, leg: Leg) -> None:
        super().__init__(leg.mux, FixedWindow(WINDOW))
        self.there = False
        self.began = self.shut = self.finished = self.reset = 0
        self.pending = bytearray()
        self.got = bytearray()
        self.at_eof = False
        self.ended: list[str] = []

    def data(self, view: memoryview, start: int, length: int, size: int) -> None:
        self.channel.received_data(size)
        if not self.there:
            return
        self.received_bytes += size
        self.pending += view[start + DATA_OFFSET : start + DATA_OFFSET + size]

    def _dial(self) -> None:
        pass

    def _begin(self) -> None:
        assert self.there
        self.began += 1

    def _may_read(self) -> None:
        pass

    def _shut(self) -> None:
        assert self.there
        assert not self.pending
        self.shut += 1

    def _drop(self, *, reset: bool) -> None:
        assert self.there or not self.began
        if reset:
            self.reset += 1
        else:
            self.finished += 1
        self.there = False

    def _ended_for(self, reason: str) -> None:
        self.ended.append(reason)

    def take(self, size: int) -> None:
        """The local side takes so much of what came."""
        taken = self.pending[:size]
        del self.pending[:size]
        self.got += taken
        if taken:
            self.delivered(len(taken), 0.0)
        if not self.pending:
            self.delivered_all()

    def read(self, size: int) -> int:
        """The local side has so much to send; returns what could go."""
        channel = self.channel
        size = min(size, channel.send_window, channel.send_packet)
        if not self.there or channel.sending is not Half.OPEN or not self.out.has_room or not size:
            return 0
        view = memoryview(bytearray(DATA_OFFSET + size + TAIL_ROOM))
        view[DATA_OFFSET : DATA_OFFSET + size] = counted(self.sent_bytes, size)
        channel.send_window -= size
        self.sent_bytes += size
        self.out.send_data(view, 0, frame_data(view, 0, size), channel)
        return size


class Porting(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.leg = Leg().logged_in()
        self.pump = Pump(self.leg)
        self.number = self.pump.channel.local_id
        # The peer's books: what it was told, what it has said and heard.
        self.open = self.refused = False
        self.credit = self.window = self.packet = 0
        self.sent = 0
        self.said_eof = self.said_close = False
        self.heard = bytearray()
        self.heard_eof = self.heard_close = False
        self.granted = 0
        # What the local side did.
        self.local_eof_said = self.local_gone = False
        self.leg_is_lost = False
        # Steps before anything may end, so that there is much to be ended as well as little.
        self.patience = 0

    # -- how it begins

    @initialize(ours=st.booleans(), window=sizes, packet=st.integers(1024, 3000), steps=sizes)
    def begin(self, ours: bool, window: int, packet: int, steps: int) -> None:
        self.ours, self.window, self.packet, self.patience = ours, window, packet, steps
        if ours:
            self.pump.there = True
            self.pump.ask(b"kind", b"fields")
        else:
            self.leg.opens = lambda: self.pump
            self.leg.send(message(90, string(b"kind"), THEIRS, window, packet))
        self.listen()

    @property
    def asked(self) -> bool:
        return not self.open and not self.refused and not self.leg_is_lost

    @precondition(lambda self: self.asked)
    @rule(good=st.booleans() | st.just(True))
    def answer(self, good: bool) -> None:
        if not self.ours:
            if self.pump.state is not State.DIALLING:
                return
            if good:
                self.pump.there = True
                self.pump.joined()
            else:
                self.pump.not_joined("no")
        elif good:
            self.open, self.credit = True, WINDOW
            self.leg.send(message(91, self.number, THEIRS, self.window, self.packet))
        else:
            self.refused = True
            self.leg.send(message(92, self.number, 1, string(b"no"), string(b"")))
        self.listen()

    @precondition(lambda self: self.ours and self.asked and self.patience <= 0)
    @rule()
    def give_up(self) -> None:
        self.pump.give_up()
        self.local_gone = True
        self.listen()

    @precondition(lambda self: self.asked and self.ours and self.patience <= 0)
    @rule()
    def confirm_tiny_packets(self) -> None:
        self.open, self.credit = True, WINDOW
        self.leg.send(message(91, self.number, THEIRS, self.window, 1023))
        self.local_gone = True
        self.listen()

    # -- what the peer hears

    def listen(self) -> None:
        for payload in self.leg.heard():
            if payload not in (KEXINIT, NEWKEYS):
                self.hear(Reader(payload))

    def hear(self, reader: Reader) -> None:
        assert not self.leg_is_lost
        kind, number = reader.byte(), 0
        if kind != MSG_CHANNEL_OPEN:
            number = reader.uint32()
            assert number == THEIRS
            assert not self.heard_close, "something follows CLOSE"
        if kind == MSG_CHANNEL_DATA:
            assert not self.heard_eof
            data = reader.string()
            assert len(data) <= min(self.window, self.packet)
            self.window -= len(data)
            self.heard += data
        elif kind == MSG_CHANNEL_EOF:
            assert not self.heard_eof
            assert self.local_eof_said
            self.heard_eof = True
        elif kind == MSG_CHANNEL_CLOSE:
            self.heard_close = True
        elif kind == MSG_CHANNEL_WINDOW_ADJUST:
            self.credit += reader.uint32()
        elif kind == MSG_CHANNEL_OPEN_CONFIRMATION:
            assert (reader.uint32(), self.open, self.ours) == (self.number, False, False)
            self.open, self.credit = True, reader.uint32()
        elif kind == MSG_CHANNEL_OPEN_FAILURE:
            assert not self.open
            assert not self.ours
            self.refused = True
        else:
            assert kind in (MSG_CHANNEL_OPEN, MSG_CHANNEL_FAILURE)

    @property
    def told_close(self) -> bool:
        """Our CLOSE has come, or waits for new keys."""
        return self.heard_close or message(MSG_CHANNEL_CLOSE, THEIRS) in self.leg.out.deferred

    # -- what the peer says

    @property
    def speaks(self) -> bool:
        return self.open and not self.said_close and not self.leg_is_lost

    @precondition(lambda self: self.speaks and not self.said_eof)
    @rule(size=sizes)
    def data(self, size: int) -> None:
        size = min(size, self.credit)
        self.credit -= size
        self.leg.send(message(94, self.number, string(counted(self.sent, size))))
        self.sent += size
        self.listen()

    @precondition(lambda self: self.speaks)
    @rule(size=sizes)
    def window_adjust(self, size: int) -> None:
        self.window += size
        self.leg.send(message(93, self.number, size))
        self.listen()

    @precondition(lambda self: self.speaks)
    @rule(want_reply=st.booleans())
    def request(self, want_reply: bool) -> None:
        self.leg.send(message(98, self.number, string(b"x"), bytes([want_reply])))
        self.listen()

    @precondition(lambda self: self.speaks)
    @rule()
    def eof(self) -> None:
        self.said_eof = True
        self.leg.send(message(96, self.number))
        self.listen()

    @precondition(lambda self: self.speaks and self.patience <= 0)
    @rule()
    def close(self) -> None:
        self.said_close = True
        self.leg.send(message(97, self.number))
        self.listen()
        assert self.told_close, "CLOSE is answered at once"

    # -- what the local side does

    @precondition(lambda self: self.pump.there)
    @rule(size=st.integers(1, 50))
    def take(self, size: int) -> None:
        self.pump.take(size)
        self.listen()

    @precondition(lambda self: self.pump.there and self.pump.began and not self.local_eof_said)
    @rule(size=sizes)
    def read(self, size: int) -> None:
        self.pump.read(size)
        self.listen()

    @precondition(lambda self: self.pump.there and self.pump.began)
    @rule()
    def local_eof(self) -> None:
        self.local_eof_said = True
        self.pump.local_eof()
        self.listen()

    @precondition(lambda self: self.pump.there and self.patience <= 0)
    @rule()
    def local_lost(self) -> None:
        self.local_gone = True
        self.pump.pending.clear()
        self.pump.local_lost("gone")
        self.listen()

    # -- keys are changed; the leg is lost

    @precondition(lambda self: not self.leg_is_lost)
    @rule()
    def change_keys(self) -> None:
        if self.leg.out.ready:
            self.leg.our_kexinit()
        else:
            self.leg.send(KEXINIT)
            self.leg.our_newkeys()
            self.leg.their_newkeys()
        self.listen()

    @precondition(lambda self: not self.leg_is_lost and self.patience <= 0)
    @rule()
    def lose(self) -> None:
        self.leg.heard()
        self.leg_is_lost = True
        self.leg.mux.lost(lambda end: end())

    @precondition(lambda self: not self.leg_is_lost and self.patience <= 0)
    @rule(forbidden=st.integers(0, 9))
    def violate(self, forbidden: int) -> None:
        """What the peer may not say does nothing but end its leg."""
        if not self.leg.out.ready:
            return  # It may have guessed right: our confirmation is on its way.
        messages = [message(91, self.number, 1, 1, 2000), message(92, self.number, 1, 0, 0)]
        if self.asked and self.ours:
            messages = []
        if not self.speaks:
            messages += [message(96, self.number), message(97, self.number)]
            messages += [message(93, self.number, 1), message(94, self.number, string(b"x"))]
        elif self.said_eof:
            messages.append(message(94, self.number, string(b"")))
        else:
            messages.append(message(94, self.number, string(bytes(self.credit + 1))))
        got, state = bytes(self.pump.got), self.pump.state
        with pytest.raises(ProtocolViolation):
            self.leg.send(messages[forbidden % len(messages)])
        assert (bytes(self.pump.got), self.pump.state) == (got, state)
        self.lose()

    @rule()
    def join_too_late(self) -> None:
        """What was dialled is there when the leg is not."""
        if self.leg_is_lost and not self.ours and not self.pump.began:
            before = self.pump.reset
            self.pump.there = True
            self.pump.joined()
            assert self.pump.reset == before + 1

    # -- what holds always, and in the end

    @invariant()
    def one_step_less(self) -> None:
        self.patience -= 1

    @invariant()
    def every_byte_is_in_its_place(self) -> None:
        pump = self.pump
        assert self.heard == counted(0, len(self.heard))
        assert pump.got == counted(0, len(pump.got))
        if self.leg.out.ready and not self.leg_is_lost and not self.leg.shared.marked:
            assert len(self.heard) == pump.sent_bytes
        if pump.there:
            assert pump.received_bytes == self.sent == len(pump.got) + len(pump.pending)

    @invariant()
    def eof_is_told_once_when_all_is_delivered(self) -> None:
        pump = self.pump
        assert pump.shut <= 1
        assert pump.shut + pump.finished <= 2
        if pump.shut:
            assert self.said_eof
            assert len(pump.got) == self.sent
        if pump.there and self.said_eof and not pump.pending and self.open:
            assert pump.shut or self.said_close or not self.pump.began

    @invariant()
    def the_number_is_free_when_both_have_said_close(self) -> None:
        if self.leg_is_lost:
            assert self.leg.mux.channels == {}
            return
        closed = self.said_close and self.told_close
        failed = [one for one in self.leg.out.deferred if one[0] == MSG_CHANNEL_OPEN_FAILURE]
        free = closed or self.refused or bool(failed)
        assert (self.number not in self.leg.mux.channels) is free

    @invariant()
    def the_end_is_said_once(self) -> None:
        pump = self.pump
        assert len(pump.ended) == (1 if pump.over else 0)
        assert pump.finished + pump.reset <= 1 or not self.ours
        if pump.finished and not self.refused:
            assert self.said_eof
            assert self.local_eof_said
            assert len(pump.got) == self.sent

    def teardown(self) -> None:
        """The local side takes all and ends; so does the peer. Then nothing is left."""
        if not self.leg.out.ready and not self.leg_is_lost:
            self.change_keys()
        self.listen()
        if self.asked:
            self.answer(True)
        if self.pump.there and self.pump.began:
            self.local_eof()
        if self.speaks:
            self.eof()
        if self.pump.there:
            self.take(2**20)
        if self.speaks:
            self.close()
        assert self.pump.state is State.OVER
        assert not self.pump.there
        assert self.leg.mux.channels == {}
        assert len(self.pump.ended) == 1


TestPorting = Porting.TestCase


def test_a_machine_is_no_test_of_itself() -> None:
    """The books of the peer are those of the port: what it was told and what it may send."""
    machine: Any = Porting()
    machine.begin(True, 10, 2000, 0)
    machine.answer(True)
    machine.data(40)
    assert machine.credit == 0
    machine.take(40)
    assert machine.credit == WINDOW
    machine.read(30)
    assert machine.heard == counted(0, 10)
    machine.teardown()
