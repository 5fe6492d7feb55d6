"""`Splice`: two peers that say anything at all, in any order, with legs that are lost.

The input is the opener's window and packet size, and events of five bytes: what happens on which
side, and a number. `tests/wire/test_splice_machine.py` says what must come of each event; here is
only what holds whatever they are.
"""

from __future__ import annotations

from itertools import starmap
from struct import Struct
from typing import Final

from relay.core.splice import Command, Credit, Cut, Retire, Send, Side, Splice
from relay.errors import ProtocolViolation
from relay.wire.encoding import Reader
from relay.wire.numbers import (
    MAX_UINT32,
    MSG_CHANNEL_CLOSE,
    MSG_CHANNEL_EOF,
    MSG_CHANNEL_OPEN,
    MSG_CHANNEL_OPEN_CONFIRMATION,
    MSG_CHANNEL_OPEN_FAILURE,
    MSG_CHANNEL_WINDOW_ADJUST,
)

OPEN: Final = Struct(">II")
EVENT: Final = Struct(">BI")

NUMBERS: Final = (10, 20)
"""By which the peers call their channels."""

PACKET: Final = 32 * 1024
"""What the acceptor takes in a packet."""


class Run:
    """A splice, and the books about what went to each side and came from it."""

    def __init__(self, window: int, packet: int) -> None:
        self.credit = Credit()
        self.free = self.credit.free
        self.splice = Splice(NUMBERS[Side.OPENER], window, packet, self.credit)
        self.splice.channels[Side.OPENER].local_id = 1
        self.splice.channels[Side.ACCEPTOR].local_id = 2
        self.retired = [False, False]
        self.lost = [False, False]
        self.told: tuple[list[int], list[int]] = ([], [])
        # The data that each side said it would take, was told it may send, and was sent.
        self.announced = [window, 0]
        self.allowed = [0, 0]
        self.forwarded = [0, 0]
        self.do(self.splice.open(b"kind", b""))

    def event(self, code: int, number: int) -> None:
        side = Side(code & 1)
        if self.retired[side]:
            return  # Its number is free: nothing finds the splice by it.
        try:
            self.happens(side, code >> 1, number)
        except ProtocolViolation:
            self.lose(side)

    def happens(self, side: Side, code: int, number: int) -> None:
        splice = self.splice
        match code % 9:
            case 0:
                if splice.data(side, number) is not None:
                    assert MSG_CHANNEL_EOF not in self.told[1 - side]
                    self.forwarded[1 - side] += number
            case 1:
                splice.window_adjust(side, number)
                self.announced[side] += number
            case 2:
                size = min(number, splice.releasable(side))
                if size:
                    self.do(splice.release(side, size))
            case 3:
                self.do(splice.eof(side))
            case 4:
                self.do(splice.request(side, bool(number)))
            case 5:
                self.do(splice.close(side))
                assert self.retired[side], "CLOSE is answered at once"
                assert self.retired[1 - side] or MSG_CHANNEL_CLOSE in self.told[1 - side]
            case 6:
                self.lose(side)
            case 7:
                commands = splice.confirmed(side, NUMBERS[side], number, PACKET)
                assert side is Side.ACCEPTOR
                self.announced[side] = number
                self.do(commands)
            case 8:
                commands = splice.failed(side, number, "no")
                assert side is Side.ACCEPTOR
                self.do(commands)

    def lose(self, side: Side) -> None:
        self.lost[side] = True
        self.do(self.splice.lost(side))
        assert self.retired[side]

    def do(self, commands: list[Command]) -> None:
        for command in commands:
            side = command.side
            assert not self.retired[side], "a number that is free was used"
            match command:
                case Send(_, payload):
                    assert not self.lost[side]
                    self.tell(side, payload)
                case Cut(_, last):
                    assert not last or MSG_CHANNEL_CLOSE in self.told[side]
                case Retire(_):
                    self.retired[side] = True

    def tell(self, side: Side, payload: bytes) -> None:
        reader = Reader(payload)
        message = reader.byte()
        told = self.told[side]
        assert MSG_CHANNEL_CLOSE not in told, "something came after CLOSE"
        told.append(message)
        if message == MSG_CHANNEL_OPEN:
            assert reader.string() == b"kind"
            assert reader.uint32() == self.splice.channels[side].local_id
            self.allowed[side] = reader.uint32()
            return
        assert reader.uint32() == NUMBERS[side]
        assert message != MSG_CHANNEL_EOF or told.count(MSG_CHANNEL_EOF) == 1
        if message == MSG_CHANNEL_OPEN_CONFIRMATION:
            assert reader.uint32() == self.splice.channels[side].local_id
            self.allowed[side] = reader.uint32()
        elif message == MSG_CHANNEL_WINDOW_ADJUST:
            self.allowed[side] += reader.uint32()

    def check(self) -> None:
        for side in Side:
            assert self.allowed[side] <= self.announced[1 - side]
            assert self.splice.bytes_from[side] <= self.allowed[side]
            assert self.forwarded[side] <= self.announced[side]
            assert self.splice.held[side] >= 0
            channel = self.splice.channels[side]
            assert 0 <= channel.receive_window <= MAX_UINT32
            assert 0 <= channel.send_window <= MAX_UINT32
        assert 0 <= self.credit.free <= self.free
        assert self.splice.over is all(self.retired)

    def end(self) -> None:
        """Both legs go: nothing is left, and each side that was there knows of its end."""
        for side in Side:
            if not self.retired[side]:
                self.lose(side)
        self.check()
        assert self.splice.over
        assert self.credit.free == self.free
        for side in Side:
            ends = MSG_CHANNEL_CLOSE, MSG_CHANNEL_OPEN_FAILURE
            assert self.lost[side] or side is Side.ACCEPTOR or self.told[side][-1] in ends


def one_input(data: bytes) -> None:
    head, events = data[: OPEN.size].ljust(OPEN.size, b"\0"), data[OPEN.size :]
    run = Run(*OPEN.unpack(head))
    for _ in starmap(run.event, EVENT.iter_unpack(events[: len(events) // 5 * 5])):
        run.check()
    run.end()
