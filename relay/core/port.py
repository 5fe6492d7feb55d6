"""One side of a channel, joined to bytes: a socket, memory, or a session inside.

Pure: it is told what comes from the channel and from the local side, and says what is to be done.
A pump (`io/`) is a subclass that has the bytes; what it must do is at the end of `Port`.

How a stream ends (RFC 4254 §5.3):

* the local side is at its end: EOF goes out, the other direction lives on;
* EOF comes: the local side hears of it once all that came before is delivered;
* both: CLOSE goes out;
* the local side is gone: CLOSE goes out at once;
* CLOSE comes behind EOF from both sides: the local side is closed once all is delivered. Otherwise
  the stream did not end but broke, and the local side is told so: a reader must not take half an
  answer for a whole one, and who still writes is told at once that nobody listens.

    ASKED ─────confirmed──► OPEN ──local eof──► LOCAL_ENDED ──eof──────┐
    DIALLING ──joined────►   │                                         ▼
                            eof ─► PEER_ENDING ──local eof──► BOTH_ENDING ──close──► LAST_BYTES
                                       │ delivered                 │ delivered           │ delivered
                                       ▼                           ▼                     ▼
                                   PEER_ENDED ──local eof──────► OVER ◄──────────────────┘

Everything else that can happen is in `RULES`; what is not there changes nothing.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from enum import Enum, auto
from typing import Final, Protocol

from relay.core.channel import MIN_PACKET, Channel, Half, Message
from relay.core.handler import ChannelHandler
from relay.core.mux import Mux
from relay.wire import messages
from relay.wire.numbers import OpenFailure


class State(Enum):
    NEW = auto()
    ASKED = auto()
    """Our open is not answered yet; the local side is there."""
    ABANDONED = auto()
    """The same, and the local side has gone: what the answer is makes no difference."""
    DIALLING = auto()
    """The peer's open is not answered yet; the local side is not there."""
    OPEN = auto()
    LOCAL_ENDED = auto()
    """The local side is at its end, which the peer knows."""
    PEER_ENDING = auto()
    """The peer is at its end; the local side has not got all of it yet."""
    PEER_ENDED = auto()
    """The same, and the local side has got all and knows it."""
    BOTH_ENDING = auto()
    """Both are; the local side has not got all of it yet."""
    LAST_BYTES = auto()
    """The channel is closed in good order; the local side has not got all of it yet."""
    OVER = auto()


class Event(Enum):
    ASK = auto()
    ASKED_BY_PEER = auto()
    CONFIRMED = auto()
    TOO_SMALL = auto()
    """Confirmed, for packets of less than `min_packet`."""
    REFUSED = auto()
    GIVEN_UP = auto()
    """The peer takes too long for its answer to our open."""
    JOINED = auto()
    NOT_JOINED = auto()
    LOCAL_EOF = auto()
    LOCAL_LOST = auto()
    EOF = auto()
    DELIVERED = auto()
    """The local side has got all that came."""
    CLOSE = auto()
    LEG_LOST = auto()


class Do(Enum):
    """What follows from an event."""

    BEGIN = auto()
    """Move bytes."""
    SEND_CONFIRMATION = auto()
    SEND_FAILURE = auto()
    SEND_EOF = auto()
    SEND_CLOSE = auto()
    SHUT = auto()
    """Tell the local side that no more comes."""
    FINISH = auto()
    """Close the local side; it has got all."""
    RESET = auto()
    """Close the local side, and let it know that the stream broke."""


S, E, D = State, Event, Do

_BROKEN: Final = (D.SEND_CLOSE, D.RESET)
_STREAMING: Final = (
    S.OPEN, S.LOCAL_ENDED, S.PEER_ENDING, S.PEER_ENDED, S.BOTH_ENDING,
)  # fmt: skip

RULES: Final[dict[tuple[State, Event], tuple[State, tuple[Do, ...]]]] = {
    (S.NEW, E.ASK): (S.ASKED, ()),
    (S.NEW, E.ASKED_BY_PEER): (S.DIALLING, ()),
    (S.NEW, E.LEG_LOST): (S.OVER, (D.RESET,)),
    # Our open.
    (S.ASKED, E.CONFIRMED): (S.OPEN, (D.BEGIN,)),
    (S.ASKED, E.TOO_SMALL): (S.OVER, _BROKEN),
    (S.ASKED, E.REFUSED): (S.OVER, (D.FINISH,)),
    (S.ASKED, E.GIVEN_UP): (S.ABANDONED, (D.RESET,)),
    (S.ASKED, E.LOCAL_LOST): (S.ABANDONED, (D.RESET,)),
    (S.ASKED, E.LEG_LOST): (S.OVER, (D.RESET,)),
    (S.ABANDONED, E.CONFIRMED): (S.OVER, (D.SEND_CLOSE,)),
    (S.ABANDONED, E.TOO_SMALL): (S.OVER, (D.SEND_CLOSE,)),
    (S.ABANDONED, E.REFUSED): (S.OVER, ()),
    (S.ABANDONED, E.LEG_LOST): (S.OVER, ()),
    # The peer's.
    (S.DIALLING, E.JOINED): (S.OPEN, (D.SEND_CONFIRMATION, D.BEGIN)),
    (S.DIALLING, E.NOT_JOINED): (S.OVER, (D.SEND_FAILURE, D.RESET)),
    (S.DIALLING, E.LEG_LOST): (S.OVER, (D.RESET,)),
    (S.OVER, E.JOINED): (S.OVER, (D.RESET,)),
    # It ends.
    (S.OPEN, E.LOCAL_EOF): (S.LOCAL_ENDED, (D.SEND_EOF,)),
    (S.OPEN, E.EOF): (S.PEER_ENDING, ()),
    (S.LOCAL_ENDED, E.EOF): (S.BOTH_ENDING, ()),
    (S.PEER_ENDING, E.DELIVERED): (S.PEER_ENDED, (D.SHUT,)),
    (S.PEER_ENDING, E.LOCAL_EOF): (S.BOTH_ENDING, (D.SEND_EOF,)),
    (S.PEER_ENDED, E.LOCAL_EOF): (S.OVER, (D.SEND_EOF, D.SEND_CLOSE, D.FINISH)),
    (S.BOTH_ENDING, E.DELIVERED): (S.OVER, (D.SEND_CLOSE, D.FINISH)),
    (S.BOTH_ENDING, E.CLOSE): (S.LAST_BYTES, (D.SEND_CLOSE,)),
    (S.LAST_BYTES, E.DELIVERED): (S.OVER, (D.FINISH,)),
    (S.LAST_BYTES, E.LOCAL_LOST): (S.OVER, (D.RESET,)),
    # It breaks.
    **{(state, E.LOCAL_LOST): (S.OVER, _BROKEN) for state in _STREAMING},
    **{(state, E.CLOSE): (S.OVER, _BROKEN) for state in _STREAMING if state is not S.BOTH_ENDING},
    **{(state, E.LEG_LOST): (S.OVER, (D.RESET,)) for state in _STREAMING},
}


class Window(Protocol):
    """How much the peer may send before it hears more (`window.py`)."""

    size: int
    next_opening: int
    next_mark: int

    def opened(self, delivered: int, announced: int, now: float) -> int: ...
    def reached(self, delivered: int, now: float) -> None: ...


class Port(ChannelHandler):
    """The state of one. Given the bytes by a pump, which is a subclass."""

    min_packet = MIN_PACKET
    """The least that the peer may announce as its maximum packet size, in answer to our open."""

    def __init__(self, mux: Mux, window: Window) -> None:
        self.mux = mux
        self.out = mux.out
        self.channel = Channel()
        self.state = State.NEW
        # Why it ended, if not by itself; the pump's to read once it is over.
        self.reason = ""
        self._end_told = False
        # The stream never came to be, because one side or the other said no.
        self.refused = False
        # Bytes from the channel to the local side, and from there to the channel.
        self.received_bytes = 0
        self.sent_bytes = 0
        # Of the received bytes, those that the local side has got.
        self.delivered_bytes = 0
        self._window = window
        # The peer's open: its number, window and packet size; and how it is refused.
        self._asked = (-1, 0, 0)
        self._failure = OpenFailure.CONNECT_FAILED
        self.channel.local_id = mux.add(self)
        self.channel.receive_window = window.size
        self.channel.receive_packet = self.out.max_data

    @property
    def over(self) -> bool:
        """Nothing moves any more."""
        return self.state is State.OVER or self.state is State.ABANDONED

    def _happens(self, event: Event, reason: str = "") -> None:
        found = RULES.get((self.state, event))
        if found is None:
            return
        if not self.over:
            self.reason = reason
        self.state, steps = found
        for step in steps:
            _STEPS[step](self)
        if self.over and not self._end_told:
            self._end_told = True
            self._ended_for(self.reason)

    # -- how it begins

    def ask(self, kind: bytes, fields: bytes) -> None:
        """Ask the peer for a channel; the local side is there."""
        channel = self.channel
        channel.ask()
        self._happens(Event.ASK)
        self.out.send_payload(
            messages.channel_open(
                kind, channel.local_id, channel.receive_window, channel.receive_packet, fields
            )
        )

    def confirmed(self, sender: int, window: int, packet: int) -> None:
        self.channel.confirmed(sender)
        self._may_send(window, packet)
        if packet < self.min_packet:
            why = f"refused: the other side takes packets of {packet} bytes"
            self._happens(Event.TOO_SMALL, why)
        else:
            self._happens(Event.CONFIRMED)

    def failed(self, code: int, reason: str) -> None:
        self.channel.refused()
        self.refused = True
        self.mux.remove(self.channel.local_id)
        self._happens(Event.REFUSED, f"refused: {reason}")

    def give_up(self) -> None:
        """The peer takes too long for its answer to our open: our side is over. The channel's
        number stays the peer's until it answers."""
        self._happens(Event.GIVEN_UP, "refused: no answer")

    def opened_by_peer(self, sender: int, window: int, packet: int) -> None:
        self._asked = sender, window, packet
        self._happens(Event.ASKED_BY_PEER)
        self._dial()

    def joined(self) -> None:
        """The local side is there. (It is closed if nobody needs it any more.)"""
        self._happens(Event.JOINED)

    def not_joined(self, reason: str, code: OpenFailure = OpenFailure.CONNECT_FAILED) -> None:
        """There is no local side to be had."""
        self._failure = code
        self._happens(Event.NOT_JOINED, f"refused: {reason}")

    def _may_send(self, window: int, packet: int) -> None:
        """What the peer announced."""
        self.channel.send_window = window
        self.channel.send_packet = min(packet, self.out.max_data)

    # -- from the local side

    def local_eof(self) -> None:
        """The local side is at its end."""
        self._happens(Event.LOCAL_EOF)

    def local_lost(self, reason: str) -> None:
        """The local side is gone."""
        self._happens(Event.LOCAL_LOST, reason)

    # -- from the channel

    def window_adjust(self, size: int) -> None:
        self.channel.received_window_adjust(size)
        self._may_read()

    def eof(self) -> None:
        self.channel.received(Message.EOF)
        self._happens(Event.EOF)
        if self.delivered_bytes == self.received_bytes:
            self._happens(Event.DELIVERED)

    def peer_closed(self) -> None:
        self.channel.received(Message.CLOSE)
        self._happens(Event.CLOSE, "closed by the other side")
        self.mux.remove(self.channel.local_id)  # Ours was sent before, or has been just now.

    def request(self, want_reply: bool) -> None:
        self.channel.received(Message.REQUEST)
        if want_reply and self.channel.sending is not Half.CLOSED:
            self.out.send_payload(messages.channel_failure(self.channel.remote_id))

    def leg_lost(self) -> None:
        self._happens(Event.LEG_LOST, "the connection to the relay was lost")

    def delivered(self, size: int, now: float) -> None:
        """The local side has got `size` bytes: open the window again when it is time."""
        self.delivered_bytes += size
        if self.delivered_bytes >= self._window.next_opening:
            self._open_window(now)

    def _open_window(self, now: float) -> None:
        channel = self.channel
        if channel.receiving is not Half.OPEN or channel.sending is Half.CLOSED:
            return
        announced = self.received_bytes + channel.receive_window
        more = self._window.opened(self.delivered_bytes, announced, now)
        if more:
            channel.granted(more)
            self.out.send_payload(messages.window_adjust(channel.remote_id, more))

    def delivered_all(self) -> None:
        """The local side has got all that came."""
        self._happens(Event.DELIVERED)

    # -- the steps

    def _send_confirmation(self) -> None:
        channel = self.channel
        sender, window, packet = self._asked
        channel.confirm(sender)
        self._may_send(window, packet)
        self.out.send_payload(
            messages.open_confirmation(
                sender, channel.local_id, channel.receive_window, channel.receive_packet
            )
        )

    def _send_failure(self) -> None:
        self.refused = True
        reason = self.reason.removeprefix("refused: ")
        self.out.send_payload(messages.open_failure(self._asked[0], self._failure, reason))
        self.mux.remove(self.channel.local_id)

    def _send_eof(self) -> None:
        self.channel.sent(Message.EOF)
        self.out.send_payload(messages.eof(self.channel.remote_id))

    def _send_close(self) -> None:
        self.channel.sent(Message.CLOSE)
        self.out.send_payload(messages.close(self.channel.remote_id))
        if self.channel.finished:
            self.mux.remove(self.channel.local_id)

    def _finish(self) -> None:
        self._drop(reset=False)

    def _reset(self) -> None:
        self._drop(reset=True)

    # -- the pump

    @abstractmethod
    def _dial(self) -> None:
        """The peer asks: call `joined` or `not_joined`, now or later."""

    @abstractmethod
    def _begin(self) -> None:
        """Bytes may move."""

    @abstractmethod
    def _may_read(self) -> None:
        """The peer takes more than before."""

    @abstractmethod
    def _shut(self) -> None:
        """Tell the local side that no more comes."""

    @abstractmethod
    def _drop(self, *, reset: bool) -> None:
        """Close the local side; with `reset` it is to know that the stream broke."""

    def _ended_for(self, reason: str) -> None:
        """The stream is over. Said once."""


_STEPS: Final[dict[Do, Callable[[Port], None]]] = {
    Do.BEGIN: lambda port: port._begin(),
    Do.SEND_CONFIRMATION: Port._send_confirmation,
    Do.SEND_FAILURE: Port._send_failure,
    Do.SEND_EOF: Port._send_eof,
    Do.SEND_CLOSE: Port._send_close,
    Do.SHUT: lambda port: port._shut(),
    Do.FINISH: Port._finish,
    Do.RESET: Port._reset,
}
