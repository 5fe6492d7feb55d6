"""One side of a session that outlives what carries it.

Below the session, above the channel that carries it, lies a stream of bytes that can change its
carrier. Each side counts what the session has used of it, keeps what it has sent until the other
has said that it came (`retained.py`), and after a change both go on from the other's count: so each
byte is used once, in its place, whatever the carriers lost or brought twice. The session above does
not notice: same keys, same counters.

    PLAIN ──retain──► OFFERED ──agreed──► CARRIED ◄───────────── proved ──────────────┐
      ▲                  │                 │    ▲                                     │
      └── not agreed ────┘               lost   └── proved ── HELD ──attach──► ATTACHING
                                           └──────────────────►  ◄── denied, lost ────┘

A asks for it, and C agrees (`wire/resume.py`): A is the side that attaches. C's side is never
ATTACHING: an attach that is proved puts its carrier in the place of the old one, at once, and one
that is not changes nothing. What the session cannot be without is the secret: who does not have it,
a relay on the way for one, can keep the two apart and no more.

The carrier of a session that was not agreed on is its life, as it is everywhere else. C agrees by
its answer, which A may never get: it knows that A has, by the first acknowledgement.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from enum import Enum, auto
from typing import Final

from relay.core.limits import ACKNOWLEDGED_AFTER, LEAST_ACKNOWLEDGED, RETAINED_RESERVE
from relay.core.retained import Budget, Retained
from relay.errors import ProtocolViolation
from relay.wire.resume import (
    LINE_SIZE,
    LONGEST_VERSION,
    NO_LINE,
    YES_LINE,
    YES_SIZE,
    Agreement,
    Attach,
)


class State(Enum):
    PLAIN = auto()
    """Nothing is agreed: the end of the carrier is the end of the session."""
    OFFERED = auto()
    """The same, but what is sent is kept already."""
    CARRIED = auto()
    HELD = auto()
    """There is no carrier."""
    ATTACHING = auto()
    """There is one, on which the other side has not proved yet that it is there."""
    OVER = auto()


class Event(Enum):
    RETAIN = auto()
    """A asks, or C answers."""
    AGREED = auto()
    NOT_AGREED = auto()
    LOST = auto()
    """The carrier ended, and not by the session."""
    ATTACH = auto()
    """A has a new carrier."""
    PROVED = auto()
    """The other side has, on the new carrier, that it is there."""
    DENIED = auto()
    """It does not know the session, or says nothing that makes sense."""
    EXPIRED = auto()
    """The session was held for too long, or something is wrong with it."""
    ENDED = auto()
    """The session itself did, in whatever way."""


class Do(Enum):
    """What follows from an event."""

    FORGET = auto()
    """Keep nothing."""
    HOLD = auto()
    """Say that it is held, and count the time."""
    DROP = auto()
    """End the carrier that there is."""
    GO_ON = auto()
    """Say that it goes on, and send what has to be sent again."""
    RESET = auto()
    """End the session, which is told why."""


S, E, D = State, Event, Do

RULES: Final[dict[tuple[State, Event], tuple[State, tuple[Do, ...]]]] = {
    (S.PLAIN, E.RETAIN): (S.OFFERED, ()),
    (S.PLAIN, E.LOST): (S.OVER, (D.RESET,)),
    (S.PLAIN, E.EXPIRED): (S.OVER, (D.DROP, D.RESET)),
    (S.OFFERED, E.AGREED): (S.CARRIED, ()),
    (S.OFFERED, E.NOT_AGREED): (S.PLAIN, (D.FORGET,)),
    (S.OFFERED, E.LOST): (S.OVER, (D.FORGET, D.RESET)),
    (S.OFFERED, E.EXPIRED): (S.OVER, (D.FORGET, D.DROP, D.RESET)),
    (S.OFFERED, E.PROVED): (S.CARRIED, (D.DROP, D.GO_ON)),
    (S.CARRIED, E.LOST): (S.HELD, (D.DROP, D.HOLD)),
    (S.CARRIED, E.PROVED): (S.CARRIED, (D.DROP, D.GO_ON)),
    (S.CARRIED, E.EXPIRED): (S.OVER, (D.FORGET, D.DROP, D.RESET)),
    (S.HELD, E.ATTACH): (S.ATTACHING, ()),
    (S.HELD, E.PROVED): (S.CARRIED, (D.GO_ON,)),
    (S.HELD, E.EXPIRED): (S.OVER, (D.FORGET, D.RESET)),
    (S.ATTACHING, E.ATTACH): (S.ATTACHING, (D.DROP,)),
    (S.ATTACHING, E.PROVED): (S.CARRIED, (D.GO_ON,)),
    (S.ATTACHING, E.DENIED): (S.HELD, (D.DROP,)),
    (S.ATTACHING, E.LOST): (S.HELD, (D.DROP,)),
    (S.ATTACHING, E.EXPIRED): (S.OVER, (D.FORGET, D.DROP, D.RESET)),
    **{(state, E.ENDED): (S.OVER, (D.FORGET,)) for state in S if state is not S.OVER},
}
"""What is not here changes nothing."""

_RESUMABLE: Final = (S.CARRIED, S.HELD, S.ATTACHING)

DENIED: Final = "the other side does not know the session any more"


class Resumable(ABC):
    """The state of one side. Given its carriers by a subclass, which has the bytes moved."""

    def __init__(self, budget: Budget) -> None:
        self.state = State.PLAIN
        self.out = Retained(budget)
        # Bytes that the session has used, and of these those that the other side has heard of.
        self.received = 0
        self._told = 0
        # The session hears of what it has not, when so much came that the other side has not heard.
        self._tell_after = 0
        self.agreement: Agreement | None = None
        # Of A's attaches, the highest number that was used, or that was proved.
        self._attempt = 0
        # The question to which an answer is awaited, and what came of it.
        self._question: Attach | None = None
        self._answer = bytearray()
        # The version line that comes before the answer has come.
        self._line_came = False
        # The last attach came to nothing because the other side said no.
        self.denied = False
        # Why the session is over, or is held.
        self.reason = ""
        # The other side was asked to say what has come, since there is no room.
        self._room_asked = False

    @property
    def resumable(self) -> bool:
        """It outlives its carrier."""
        return self.state in _RESUMABLE

    @property
    def held(self) -> bool:
        return self.state is State.HELD or self.state is State.ATTACHING

    @property
    def _flows(self) -> bool:
        """What the session makes may be given to the carrier."""
        return self.state in (State.PLAIN, State.OFFERED, State.CARRIED)

    def _happens(self, event: Event, reason: str = "") -> None:
        found = RULES.get((self.state, event))
        if found is None:
            return
        if reason:
            self.reason = reason
        self.state, steps = found
        for step in steps:
            _STEPS[step](self)

    # -- agreeing

    def ask(self) -> None:
        """A asks for it, in what it sends next."""
        self._retain()

    def answered(self, agreement: Agreement | None) -> None:
        """C's answer to A. None: no."""
        if agreement is None:
            self._happens(Event.NOT_AGREED)
            return
        self._agree(agreement, agreement.buffer)
        self._happens(Event.AGREED)
        self._tell(wanted=False)  # By which C knows that we know.

    def offer(self, agreement: Agreement, buffer: int) -> None:
        """C agrees, in what it sends next; A keeps `buffer` bytes at most."""
        self._retain()
        self._agree(agreement, buffer)

    def _retain(self) -> None:
        if self.state is State.PLAIN:
            self.out.keep()
        self._happens(Event.RETAIN)

    def _agree(self, agreement: Agreement, buffer: int) -> None:
        self.agreement = agreement
        self._tell_after = max(LEAST_ACKNOWLEDGED, buffer // ACKNOWLEDGED_AFTER)

    # -- acknowledging

    def used(self, size: int) -> bool:
        """The session has used so many bytes more. Does the other side have to be told, within
        `ACKNOWLEDGED_WITHIN` (by `tell`)?"""
        self.received += size
        if not self._tell_after:
            return False
        if self.received - self._told >= self._tell_after:
            self.tell()
        return self.received > self._told

    def tell(self) -> None:
        """Tell the other side what has come, if there is anything new to it."""
        if self.received > self._told and self.resumable:
            self._tell(wanted=False)

    def _tell(self, *, wanted: bool) -> None:
        self._told = self.received
        self._acknowledge(self.received, wanted)

    def acknowledged(self, received: int, *, wanted: bool) -> None:
        """The other side has received so much, and perhaps wants to hear the same. Raises
        `ProtocolViolation`."""
        if self.agreement is None or self.state is State.OVER:
            return  # Nothing is agreed: it may say what it likes.
        self.out.acknowledged(received)
        self._room_asked = False
        self._happens(Event.AGREED)
        if wanted:
            self._tell(wanted=False)
        self._may_make()

    def ask_for_room(self) -> None:
        """More is to be sent than can be kept: the other side is asked, once, what has come."""
        if self.out.full and not self._room_asked and self.resumable:
            self._room_asked = True
            self._tell(wanted=True)

    def _check_reserve(self) -> None:
        if self.out.beyond > RETAINED_RESERVE:
            self._happens(Event.EXPIRED, "the other side asks for much and acknowledges nothing")

    # -- losing

    def lost(self, reason: str) -> None:
        """The carrier ended, and not by the session."""
        self._happens(Event.LOST, reason)

    def expired(self, reason: str) -> None:
        """The session cannot go on: it was held for too long, or the other side is another."""
        self._happens(Event.EXPIRED, reason)

    def ended(self) -> None:
        """The session ended by itself."""
        self._happens(Event.ENDED)

    # -- attaching: A

    def begin_attach(self) -> bytes:
        """A has a new carrier; what is to be sent on it first. (None was held: nothing.)"""
        if not self.held or self.agreement is None:
            return b""
        self._happens(Event.ATTACH)
        self._attempt += 1
        self._question = Attach(self.agreement.id, self._attempt, self.received)
        self._answer.clear()
        self._line_came = self.denied = False
        return self._question.sealed(self.agreement.secret)

    def answer(self, data: bytes | memoryview) -> int:
        """What comes on it; returns how much of that was the answer's. Once the session goes on,
        the rest is its own."""
        used = 0
        if self.state is not State.ATTACHING:
            return used
        if not self._line_came:
            used = self._version_line(data)
        if self._line_came and self.state is State.ATTACHING:
            used += self._verdict(bytes(data[used : used + YES_SIZE]))
        return used

    def _version_line(self, data: bytes | memoryview) -> int:
        """C says its version before it knows what is wanted of it."""
        part = bytes(data[:LONGEST_VERSION])
        end = part.find(b"\n") + 1
        self._answer += part[: end or len(part)]
        if len(self._answer) > LONGEST_VERSION or not _begins(self._answer, b"SSH-2.0-"):
            self._deny()
        elif end:
            self._line_came = True
            self._answer.clear()
        return end or len(part)

    def _verdict(self, data: bytes) -> int:
        before = len(self._answer)
        line = (self._answer + data)[:LINE_SIZE]
        if _begins(line, NO_LINE):
            size = LINE_SIZE
        elif _begins(line, YES_LINE):
            size = YES_SIZE
        else:
            self._deny()
            return len(data)
        part = data[: size - before]
        self._answer += part
        if len(self._answer) == size:
            self._judge(bytes(self._answer))
        return len(part)

    def _judge(self, answer: bytes) -> None:
        assert self._question is not None
        assert self.agreement is not None
        received = self._question.answered(self.agreement.secret, answer)
        if received is None:
            self._deny()
        else:
            self._proved(received)

    def _deny(self) -> None:
        self.denied = True
        self._happens(Event.DENIED, DENIED)

    # -- attaching: C

    def is_asked(self, question: Attach) -> bool:
        """Is this attach A's, and a new one?"""
        return (
            self.agreement is not None
            and self.state is not State.OVER
            and question.is_by(self.agreement.secret)
            and question.attempt > self._attempt
        )

    def accept(self, question: Attach) -> bytes:
        """The attach, which `is_asked`, has its way: what is to be sent first on its carrier, which
        is the one from now on."""
        assert self.agreement is not None
        self._attempt = question.attempt
        received = self.received
        self._proved(question.received)
        return question.answer(self.agreement.secret, received)

    def _proved(self, received: int) -> None:
        try:
            self.out.rewind(received)
        except ProtocolViolation as error:  # (Who has the secret is no stranger, but not sane.)
            self._happens(Event.EXPIRED, str(error))
            return
        self._happens(Event.PROVED)

    # -- the steps

    def _forget(self) -> None:
        self.out.forget()

    # -- the subclass

    @abstractmethod
    def _acknowledge(self, received: int, wanted: bool) -> None:
        """Send `RESUME_RECEIVED` within the session, ahead of data."""

    @abstractmethod
    def _may_make(self) -> None:
        """There may be room for more."""

    @abstractmethod
    def _hold(self) -> None:
        """The session is held from now on."""

    @abstractmethod
    def _drop(self) -> None:
        """End the carrier that there is."""

    @abstractmethod
    def _go_on(self) -> None:
        """The session goes on, on the new carrier: send what is unsent, behind what `accept`
        returns."""

    @abstractmethod
    def _reset(self) -> None:
        """End the session, for `reason`."""


def _begins(data: bytes | bytearray, line: bytes) -> bool:
    """As far as both go, is it this?"""
    size = min(len(data), len(line))
    return data[:size] == line[:size]


_STEPS: Final[dict[Do, Callable[[Resumable], None]]] = {
    Do.FORGET: Resumable._forget,
    Do.HOLD: lambda session: session._hold(),
    Do.DROP: lambda session: session._drop(),
    Do.GO_ON: lambda session: session._go_on(),
    Do.RESET: lambda session: session._reset(),
}
