"""Two channels, one on each leg, joined: what comes on one and what goes out on the other.

Pure: events in, packets out. The *opener* is the side whose CHANNEL_OPEN started it (A), the
*acceptor* the side that was asked (C). B owns a number on each leg and swaps labels:

    opener's leg                    B                       acceptor's leg
    OPEN(sender a)            ──►  local x | local y  ──►   OPEN(sender y)
    CONFIRMATION(a, sender x) ◄──                     ◄──   CONFIRMATION(y, sender c)
    DATA(x)                   ──►  label x becomes c  ──►   DATA(c)
    DATA(a)                   ◄──  label y becomes a  ◄──   DATA(y)

The rules:

0. Only the acceptor answers the open, and once (`channel.py`). B gave the opener no right to say
   what number C calls the channel by: whoever names that writes into whatever has it.
1. Windows and packet sizes pass through, so flow control is end to end. What one side announces
   is what the other may send, at most; B counts it on each leg, and stops a side that
   oversteps before the other sees it.
   B does not pass a window on all at once: what is under way when a leg stops taking it waits
   at B. The other side gets `FIRST_CREDIT`; when a quarter of what it may have under way is used,
   it gets more, and may have twice as much each time so much has come. Whether now is for the
   caller of `release` to say, who sees the leg that the data would have to leave by.
2. EOF passes. It ends one direction only (RFC 4254 §5.3).
3. CLOSE passes, and is answered at once on its own leg: the side that sent it wants no more,
   so what waits for it is thrown away, while what waits for the other goes out first. The
   answer does not wait for the far side, which may be slow or gone.
4. What still arrives for a side that has sent CLOSE is counted and dropped.
5. When a leg is lost, the other side gets CLOSE without EOF, by which an endpoint knows that
   the stream did not end but broke.
6. Requests on a channel are not passed: they are answered with FAILURE (RFC 4254 §5.4).
7. An acceptor that takes too long for its answer holds up the opener no longer; when that is, the
   caller of `overdue` says. The number on its leg stays its own until it answers: B cannot take
   back an open (RFC 4254 §5.1). A confirmation that comes late is answered with CLOSE.
8. An acceptor that refuses, or is lost before it has answered, may be passed over: the opener has
   heard nothing yet, and its open goes to another one as a splice of its own (`passed_over`).
9. What comes for a side whose leg may hold no more breaks the splice: both sides get CLOSE without
   EOF. To read no further from the other's leg would stop all who share that for the sake of one.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from typing import Final, NamedTuple

from relay.core.channel import MIN_PACKET, Channel, Half, Message
from relay.wire import messages
from relay.wire.numbers import OpenFailure
from relay.wire.packet import MAX_DATA, MAX_LENGTH

MAX_PACKET: Final = max(MAX_DATA, MAX_LENGTH // 2)
"""The largest data in one packet that B lets pass, whatever a side announces: it must fit, with
header and padding, in the largest packet that either leg may accept."""

TOO_SMALL: Final = f"it takes packets of less than {MIN_PACKET} bytes"
"""Why a channel is refused whose other end would make many packets of each."""

NO_ANSWER: Final = "the service's agent did not answer in time"
"""Why a channel is refused that its acceptor neither confirms nor refuses."""

FIRST_CREDIT: Final = 256 * 1024
"""What a side may send before B has seen its data leave again. A request and its reply fit, and
two hundred streams to a leg that does not read cost 50 MiB."""

MANY: Final = 128
"""Channels of a leg that get `FIRST_CREDIT` to it; more begin with `SMALL_CREDIT`, so that what may
be under way to four thousand that are not read is 64 MiB, which is what may wait for one leg."""

SMALL_CREDIT: Final = 8 * 1024
"""A request or the beginning of a reply; as much grows in five round trips to `FIRST_CREDIT`."""

MAX_CREDIT: Final = 64 * 1024 * 1024
"""The most that a side may have under way: 64 MiB fill 1 Gbit/s over half a second."""

CREDIT_PER_PROCESS: Final = 24 * 1024 * 1024
"""What the credits of all splices together may exceed `FIRST_CREDIT` by. A consumer takes several
MiB into its socket before it is seen not to read, and has earned as much credit by then: without
this bound two hundred such hold a gigabyte, with it 115 MiB. A stream alone may have nearly as much
under way on a leg, which fills 1.5 Gbit/s over a tenth of a second."""


class Credit:
    """What all splices of a process may grow by: each takes from it what it grows by, and gives it
    back at its end."""

    def __init__(self, free: int = CREDIT_PER_PROCESS) -> None:
        self.free = free

    def take(self, wanted: int) -> int:
        """Take `wanted`, or half of what is left, which leaves some for those that come later."""
        taken = min(wanted, self.free // 2)
        self.free -= taken
        return taken


def first_credit(channels: int) -> int:
    """What may be under way at first to one more channel of a leg that has so many."""
    return FIRST_CREDIT if channels < MANY else SMALL_CREDIT


class Side(IntEnum):
    """The two sides of a splice; `1 - side` is the other one."""

    OPENER = 0
    ACCEPTOR = 1


class Send(NamedTuple):
    """Send `payload` to `side`, behind what waits there for this channel."""

    side: Side
    payload: bytes


class Cut(NamedTuple):
    """Throw away what waits for `side`; if anything did, send `last` in its place."""

    side: Side
    last: bytes


class Retire(NamedTuple):
    """The channel's number on `side` is free again."""

    side: Side


Command = Send | Cut | Retire


class Splice:
    """The state of one splice. Its methods take an event and return what is to be done."""

    __slots__ = (
        "_credit",
        "_doubled_at",
        "_first",
        "_most",
        "_retired",
        "bytes_from",
        "channels",
        "held",
    )

    def __init__(
        self,
        opener_id: int,
        window: int,
        packet: int,
        credit: Credit | None = None,
        first: tuple[int, int] = (FIRST_CREDIT, FIRST_CREDIT),
    ) -> None:
        """The opener's CHANNEL_OPEN: its number, the window and packet size it announced. Without
        `credit` it may grow as if it were alone. `first` is what may be under way at first to
        each side."""
        self._credit = credit or Credit(2 * MAX_CREDIT)
        # Bytes of data that came from each side.
        self.bytes_from = [0, 0]
        self._retired = [False, False]
        # What each side has announced and the other has not been told of; and the most that the
        # other may have under way to it.
        self._first = first
        self.held = [max(0, window - first[Side.OPENER]), 0]
        self._most = list(first)
        # What of `bytes_from` the other had sent when that was last doubled.
        self._doubled_at = [0, 0]
        opener, acceptor = Channel(), Channel()
        acceptor.ask()
        opener.remote_id = opener_id
        opener.send_window = window
        acceptor.receive_window = min(window, first[Side.OPENER])
        opener.send_packet = acceptor.receive_packet = min(packet, MAX_PACKET)
        self.channels = (opener, acceptor)

    @property
    def over(self) -> bool:
        """Both numbers are free: nothing more can happen."""
        return self._retired[0] and self._retired[1]

    def open(self, kind: bytes, fields: bytes) -> list[Command]:
        """Ask the acceptor, in the name of its own `local_id`."""
        acceptor = self.channels[Side.ACCEPTOR]
        return [
            Send(
                Side.ACCEPTOR,
                messages.channel_open(
                    kind,
                    acceptor.local_id,
                    acceptor.receive_window,
                    acceptor.receive_packet,
                    fields,
                ),
            )
        ]

    def confirmed(self, side: Side, remote_id: int, window: int, packet: int) -> list[Command]:
        """CHANNEL_OPEN_CONFIRMATION from `side` (rule 0)."""
        self.channels[side].confirmed(remote_id)
        opener, acceptor = self.channels
        acceptor.send_window = window
        opener.receive_window = min(window, self._first[Side.ACCEPTOR])
        self.held[Side.ACCEPTOR] = window - opener.receive_window
        acceptor.send_packet = opener.receive_packet = min(packet, MAX_PACKET)
        if self._retired[Side.OPENER]:  # Its leg was lost meanwhile.
            return self._close(Side.ACCEPTOR)
        if packet < MIN_PACKET:
            return self._refuse(TOO_SMALL) + self._close(Side.ACCEPTOR)
        opener.confirm(opener.remote_id)
        return [
            Send(
                Side.OPENER,
                messages.open_confirmation(
                    opener.remote_id,
                    opener.local_id,
                    opener.receive_window,
                    opener.receive_packet,
                ),
            )
        ]

    def failed(self, side: Side, code: int, reason: str) -> list[Command]:
        """CHANNEL_OPEN_FAILURE from `side` (rule 0)."""
        self.channels[side].refused()
        commands = [] if self._retired[Side.OPENER] else self._refuse(reason, code)
        return commands + self._retire(Side.ACCEPTOR)

    @property
    def is_awaited(self) -> bool:
        """The opener waits for the acceptor's answer."""
        answering = self.channels[Side.ACCEPTOR].receiving is Half.ANSWERING
        return answering and not self._retired[Side.OPENER]

    def passed_over(self) -> list[Command]:
        """The acceptor refuses, or its leg is lost, while it `is_awaited`; what the opener asked
        for is asked of another one (rule 8)."""
        self.channels[Side.ACCEPTOR].refused()
        return self._retire(Side.OPENER) + self._retire(Side.ACCEPTOR)

    def _refuse(self, reason: str, code: int = OpenFailure.CONNECT_FAILED) -> list[Command]:
        """Tell the opener that its channel will not be."""
        failure = messages.open_failure(self.channels[Side.OPENER].remote_id, code, reason)
        return [Send(Side.OPENER, failure), *self._retire(Side.OPENER)]

    def overdue(self) -> list[Command]:
        """The acceptor has had its time to answer (rule 7). No effect if it has, or if nobody waits
        for it any more."""
        if self.channels[Side.ACCEPTOR].receiving is not Half.ANSWERING:
            return []
        return [] if self._retired[Side.OPENER] else self._refuse(NO_ANSWER)

    def data(self, side: Side, size: int) -> Channel | None:
        """DATA of `size` bytes: the channel on which it goes on, or None to drop it."""
        self.channels[side].received_data(size)
        self.bytes_from[side] += size
        other = self.channels[1 - side]
        if other.sending is not Half.OPEN or size == 0:
            return None  # An empty packet says nothing, and no window would bound how many wait.
        other.send_window -= size
        return other

    def window_adjust(self, side: Side, size: int) -> None:
        """WINDOW_ADJUST: the other side may send more, as soon as it is released."""
        self.channels[side].received_window_adjust(size)
        self.held[side] += size

    def wants_release(self, side: Side) -> bool:
        """Is there more to tell the other of, and has it used a quarter of its credit? The hot
        path's question before `releasable`."""
        under_way = self.channels[1 - side].receive_window
        return self.held[side] > 0 and 4 * under_way <= 3 * self._most[side]

    def releasable(self, side: Side) -> int:
        """How much of what `side` has announced the other should be told of now (rule 1)."""
        other = self.channels[1 - side]
        if other.sending is Half.CLOSED or other.receiving is not Half.OPEN:
            return 0  # It sends nothing any more: a window would be of no use to it.
        if not self.wants_release(side):
            return 0
        return min(self.held[side], self._most[side] - other.receive_window)

    def release(self, side: Side, size: int) -> list[Command]:
        """Pass on `size` bytes of what `side` has announced, at most what is `releasable`."""
        other = self.channels[1 - side]
        self.held[side] -= size
        came = self.bytes_from[1 - side]
        most = self._most[side]
        due = 2 * (came - self._doubled_at[side]) >= most
        if due and most < MAX_CREDIT:
            self._most[side] += self._credit.take(min(most, MAX_CREDIT - most))
            self._doubled_at[side] = came
        other.granted(size)
        return [Send(_other(side), messages.window_adjust(other.remote_id, size))]

    def eof(self, side: Side) -> list[Command]:
        """EOF (rule 2)."""
        self.channels[side].received(Message.EOF)
        return self._send(_other(side), Message.EOF, messages.eof)

    def close(self, side: Side) -> list[Command]:
        """CLOSE (rule 3)."""
        self.channels[side].received(Message.CLOSE)
        return [self._cut(side), *self._close(side), *self._close(_other(side))]

    def overflow(self, side: Side) -> list[Command]:
        """The leg of `side` can hold no more of what comes for it (rule 9)."""
        return [self._cut(side), *self._close(side), *self._close(_other(side))]

    def request(self, side: Side, want_reply: bool) -> list[Command]:
        """REQUEST (rule 6)."""
        channel = self.channels[side]
        channel.received(Message.REQUEST)
        if not want_reply or channel.sending is Half.CLOSED:
            return []
        return [Send(side, messages.channel_failure(channel.remote_id))]

    def lost(self, side: Side) -> list[Command]:
        """The leg of `side` is gone (rule 5)."""
        self.channels[side].sending = Half.CLOSED  # Nothing goes there any more.
        other = _other(side)
        commands = self._retire(side)
        if self._retired[other]:
            return commands
        receiving = self.channels[other].receiving
        if receiving is Half.ANSWERING:
            return commands  # Its answer is still to come: `confirmed` closes it then.
        if receiving is Half.WAITING:
            return commands + self._refuse("the connection to the service's agent was lost")
        return commands + self._close(other)

    def _cut(self, side: Side) -> Cut:
        channel = self.channels[side]
        # A CLOSE of ours may itself be among what is cut.
        closed = channel.sending is Half.CLOSED
        return Cut(side, messages.close(channel.remote_id) if closed else b"")

    def _close(self, side: Side) -> list[Command]:
        commands = self._send(side, Message.CLOSE, messages.close)
        if self.channels[side].finished:
            commands += self._retire(side)
        return commands

    def _send(self, side: Side, message: Message, build: Callable[[int], bytes]) -> list[Command]:
        channel = self.channels[side]
        if not channel.sent(message):
            return []
        return [Send(side, build(channel.remote_id))]

    def _retire(self, side: Side) -> list[Command]:
        if self._retired[side]:
            return []
        self._retired[side] = True
        if self.over:
            self._credit.free += sum(self._most) - sum(self._first)
        return [Retire(side)]


def _other(side: Side) -> Side:
    return Side.ACCEPTOR if side is Side.OPENER else Side.OPENER
