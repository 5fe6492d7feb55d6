"""relay/core/splice.py against a model of its two peers, with events in any order.

Each peer keeps its own books: what it announced, what it was told, what it has said. What it may
say next follows from the books alone, and so does what must come of it. A leg can be full: what
is for its peer waits then, and arrives later or is cut.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple
from unittest import mock

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from relay.core import splice as splice_module
from relay.core.splice import Command, Cut, Retire, Send, Side, Splice
from relay.errors import ProtocolViolation
from relay.wire import messages
from relay.wire.encoding import Reader
from relay.wire.numbers import (
    MAX_UINT32,
    MSG_CHANNEL_CLOSE,
    MSG_CHANNEL_DATA,
    MSG_CHANNEL_EOF,
    MSG_CHANNEL_FAILURE,
    MSG_CHANNEL_OPEN_CONFIRMATION,
    MSG_CHANNEL_OPEN_FAILURE,
    MSG_CHANNEL_WINDOW_ADJUST,
)

A, C = Side.OPENER, Side.ACCEPTOR

a_speaker = st.runner().flatmap(lambda machine: st.sampled_from(machine.speakers))
a_peer = st.runner().flatmap(lambda machine: st.sampled_from(machine.present))
windows = st.integers(0, 100)
packets = st.integers(0, 40)
sizes = st.integers(0, 50)

FIRST = 60
"""What is passed on of a window at first, in place of the real FIRST_CREDIT: less than a window."""

LEAST = 5
"""In place of the real MIN_PACKET: who takes less in a packet is refused."""


class Packet(NamedTuple):
    """On its way to a peer; of a message without data the size is 0."""

    message: int
    size: int


@dataclass
class Peer:
    """One side: its books, and its leg at B."""

    number: int
    # What it announced, less what has come: the data that it still takes, and in one packet.
    window: int = 0
    packet: int = 0
    # What of that the other side has not been told of.
    held: int = 0
    # What it was told, less what it has sent: the data that it may send, and in one packet.
    credit: int = 0
    credit_packet: int = 0
    sent: int = 0
    # It may speak: its open was confirmed, or it confirmed one.
    opened: bool = False
    said_eof: bool = False
    told_close: bool = False
    arrived: list[int] = field(default_factory=list)
    waiting: list[Packet] = field(default_factory=list)
    # Data that was sent to it and thrown away at B.
    lost_data: int = 0
    full: bool = False
    lost: bool = False
    retired: bool = False

    @property
    def reachable(self) -> bool:
        return self.opened and not self.lost and not self.told_close

    @property
    def room(self) -> int:
        """The data that it takes yet, as B counts it: what waits is spent, be it thrown away."""
        return self.window - self.lost_data - sum(packet.size for packet in self.waiting)

    def send(self, packet: Packet) -> None:
        """B sends the packet, behind what waits."""
        if self.waiting or (self.full and packet.message == MSG_CHANNEL_DATA):
            self.waiting.append(packet)
        else:
            self.arrive(packet)

    def arrive(self, packet: Packet) -> None:
        """The packet is there: is it one for which the peer would not drop its leg?"""
        assert not self.lost
        assert MSG_CHANNEL_CLOSE not in self.arrived
        if packet.message == MSG_CHANNEL_DATA:
            assert MSG_CHANNEL_EOF not in self.arrived
            assert packet.size <= self.window
            assert packet.size <= self.packet
            self.window -= packet.size
        self.arrived.append(packet.message)

    def drain(self) -> None:
        waiting, self.waiting = self.waiting, []
        for packet in waiting:
            self.arrive(packet)


class Splicing(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.patched = mock.patch.multiple(splice_module, MIN_PACKET=LEAST)
        self.patched.start()

    @initialize(
        window=windows,
        packet=packets,
        answer=st.none() | st.tuples(windows, packets) | st.tuples(windows, packets),
        patience=st.integers(0, 25),
    )
    def open(self, window: int, packet: int, answer: tuple[int, int] | None, patience: int) -> None:
        self.a, self.c = self.peers = Peer(10, window, packet), Peer(20)
        self.c.credit, self.c.credit_packet = min(window, FIRST), packet
        self.a.held = window - self.c.credit
        self.splice = Splice(self.a.number, window, packet, first=(FIRST, FIRST))
        self.splice.channels[A].local_id, self.splice.channels[C].local_id = 1, 2
        asked = messages.channel_open(b"kind", 2, self.c.credit, packet, b"fields")
        assert self.splice.open(b"kind", b"fields") == [Send(C, asked)]
        # Steps before anything may end, so that there is much to be ended as well as little.
        self.patience = 0
        if answer:
            self.patience = patience
            self.confirm(*answer)

    def run(self, commands: list[Command]) -> tuple[list[int], list[int]]:
        """Do what the splice says; returns what each side is told, sooner or later."""
        told: tuple[list[int], list[int]] = ([], [])
        for command in commands:
            peer = self.peers[command.side]
            match command:
                case Send(side, payload):
                    message = self.parse(peer, payload)
                    told[side].append(message)
                    peer.told_close |= message == MSG_CHANNEL_CLOSE
                    peer.send(Packet(message, 0))
                case Cut(_, last):
                    cut, peer.waiting = peer.waiting, []
                    peer.lost_data += sum(packet.size for packet in cut)
                    if cut and last:
                        peer.arrive(Packet(self.parse(peer, last), 0))
                case Retire(_):
                    assert not peer.retired
                    assert not peer.waiting, "a number is free, and something waits under it"
                    peer.retired = True
        return told

    def parse(self, peer: Peer, payload: bytes) -> int:
        reader = Reader(payload)
        message = reader.byte()
        assert reader.uint32() == peer.number
        return message

    # -- whose turn it may be

    @property
    def asked(self) -> bool:
        """The acceptor has not answered yet."""
        return not self.c.opened and not self.c.retired

    @property
    def present(self) -> list[Side]:
        """Those whose messages reach the splice: their numbers are taken."""
        return [side for side in Side if not self.peers[side].retired]

    @property
    def speakers(self) -> list[Side]:
        """Those of them whose channel is open."""
        return [side for side in self.present if self.peers[side].opened]

    # -- the acceptor's answer

    @precondition(lambda self: self.asked)
    @rule(window=windows, packet=packets)
    def confirm(self, window: int, packet: int) -> None:
        self.c.opened, self.c.window, self.c.packet = True, window, packet
        self.c.held = window - min(window, FIRST)
        waits = not self.a.retired
        told = self.run(self.splice.confirmed(C, self.c.number, window, packet))
        if not waits:
            assert told == ([], [MSG_CHANNEL_CLOSE])
        elif packet < LEAST:
            assert told == ([MSG_CHANNEL_OPEN_FAILURE], [MSG_CHANNEL_CLOSE])
        else:
            assert told == ([MSG_CHANNEL_OPEN_CONFIRMATION], [])
            self.a.opened, self.a.credit, self.a.credit_packet = True, min(window, FIRST), packet

    @precondition(lambda self: self.asked and self.patience <= 0)
    @rule()
    def refuse(self) -> None:
        waits = not self.a.retired
        told = self.run(self.splice.failed(C, 1, "no"))
        assert told == ([MSG_CHANNEL_OPEN_FAILURE] if waits else [], [])
        assert self.splice.over

    @precondition(lambda self: self.patience <= 0)
    @rule()
    def take_too_long(self) -> None:
        waits = self.asked and not self.a.retired
        told = self.run(self.splice.overdue())
        assert told == ([MSG_CHANNEL_OPEN_FAILURE] if waits else [], [])
        assert self.a.retired or not self.asked

    # -- what either side may say

    @precondition(lambda self: self.speakers)
    @rule(side=a_speaker, size=sizes)
    def data(self, side: Side, size: int) -> None:
        near, far = self.peers[side], self.peers[1 - side]
        if near.said_eof:
            return
        size = min(size, near.credit, near.credit_packet)
        near.credit -= size
        near.sent += size
        channel = self.splice.data(side, size)
        goes_on = far.reachable and size > 0
        assert channel is (self.splice.channels[1 - side] if goes_on else None)
        if channel is not None:
            far.send(Packet(MSG_CHANNEL_DATA, size))

    @precondition(lambda self: self.speakers)
    @rule(side=a_speaker, size=sizes)
    def window_adjust(self, side: Side, size: int) -> None:
        self.peers[side].window += size
        self.peers[side].held += size
        self.splice.window_adjust(side, size)

    @precondition(lambda self: self.speakers)
    @rule(side=a_speaker, limit=sizes)
    def release(self, side: Side, limit: int) -> None:
        """The leg has room: what was held back is passed on, up to a limit."""
        near, far = self.peers[side], self.peers[1 - side]
        size = min(limit, self.splice.releasable(side))
        assert size <= near.held
        if size == 0:
            return
        assert far.reachable
        assert not far.said_eof
        told = self.run(self.splice.release(side, size))
        assert told[side] == []
        assert told[1 - side] == [MSG_CHANNEL_WINDOW_ADJUST]
        near.held -= size
        far.credit += size

    @precondition(lambda self: self.speakers)
    @rule(side=a_speaker)
    def eof(self, side: Side) -> None:
        near, far = self.peers[side], self.peers[1 - side]
        told = self.run(self.splice.eof(side))
        assert told[side] == []
        new = far.reachable and not near.said_eof
        assert told[1 - side] == ([MSG_CHANNEL_EOF] if new else [])
        near.said_eof = True

    @precondition(lambda self: self.speakers)
    @rule(side=a_speaker, want_reply=st.booleans())
    def request(self, side: Side, want_reply: bool) -> None:
        answered = want_reply and self.peers[side].reachable
        told = self.run(self.splice.request(side, want_reply))
        assert told[side] == ([MSG_CHANNEL_FAILURE] if answered else [])
        assert told[1 - side] == []

    @precondition(lambda self: self.speakers and self.patience <= 0)
    @rule(side=a_speaker)
    def close(self, side: Side) -> None:
        near, far = self.peers[side], self.peers[1 - side]
        self.run(self.splice.close(side))
        assert near.retired
        assert near.arrived[-1] == MSG_CHANNEL_CLOSE
        assert not far.reachable

    # -- what goes wrong

    @precondition(lambda self: self.speakers and self.patience <= 0)
    @rule(side=a_speaker)
    def overflow(self, side: Side) -> None:
        self.run(self.splice.overflow(side))
        assert not self.peers[0].reachable
        assert not self.peers[1].reachable

    @precondition(lambda self: self.present and self.patience <= 0)
    @rule(side=a_peer)
    def lose(self, side: Side) -> None:
        peer = self.peers[side]
        peer.lost = True
        peer.waiting.clear()
        self.run(self.splice.lost(side))
        assert peer.retired
        assert not self.peers[1 - side].reachable

    @precondition(lambda self: self.present and self.patience <= 0)
    @rule(side=a_peer, draw=st.data())
    def violate(self, side: Side, draw: st.DataObject) -> None:
        """What a peer may not say does nothing but end its leg."""
        forbidden = draw.draw(st.sampled_from(self.forbidden(side)))
        with pytest.raises(ProtocolViolation):
            forbidden()
        self.lose(side)

    def forbidden(self, side: Side) -> list[Callable[[], object]]:
        peer, splice = self.peers[side], self.splice
        answers: list[Callable[[], object]] = [
            lambda: splice.confirmed(side, peer.number, 1, LEAST),
            lambda: splice.failed(side, 1, "no"),
        ]
        if not peer.opened:
            return [
                *(answers if side is A else []),
                lambda: splice.data(side, 0),
                lambda: splice.window_adjust(side, 0),
                lambda: splice.eof(side),
                lambda: splice.request(side, False),
                lambda: splice.close(side),
            ]
        too_much = 0 if peer.said_eof else min(peer.credit, peer.credit_packet) + 1
        return [
            *answers,
            lambda: splice.data(side, too_much),
            lambda: splice.window_adjust(side, MAX_UINT32 - peer.room + 1),
        ]

    @rule(side=st.sampled_from(Side))
    def fill(self, side: Side) -> None:
        self.peers[side].full = True

    @rule(side=st.sampled_from(Side))
    def drain(self, side: Side) -> None:
        self.peers[side].full = False
        self.peers[side].drain()

    # -- what holds always, and in the end

    @invariant()
    def one_step_less(self) -> None:
        self.patience -= 1

    @invariant()
    def the_books_agree(self) -> None:
        assert self.splice.bytes_from == [self.a.sent, self.c.sent]
        for side in self.speakers:
            peer, channel = self.peers[side], self.splice.channels[side]
            assert channel.receive_window == peer.credit
            assert self.splice.held[side] == peer.held
            if peer.reachable:
                assert channel.send_window == peer.room

    @invariant()
    def over_when_both_are_retired(self) -> None:
        assert self.splice.over is (self.a.retired and self.c.retired)

    def teardown(self) -> None:
        """Each side that is left closes or answers the CLOSE that is on its way to it."""
        self.patched.stop()
        if self.asked:
            self.refuse()
        for side in Side:
            if side in self.speakers:
                self.close(side)
        for peer in self.peers:
            assert peer.retired
            if not peer.lost:
                closes = peer.arrived.count(MSG_CHANNEL_CLOSE)
                failures = peer.arrived.count(MSG_CHANNEL_OPEN_FAILURE)
                assert (closes, failures) == ((1, 0) if peer.opened else (0, peer is self.a))


TestSplicing = pytest.mark.slow(Splicing.TestCase)
TestSplicing.settings = settings(max_examples=500, stateful_step_count=40, deadline=None)
