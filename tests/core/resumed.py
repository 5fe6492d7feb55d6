"""Two sides of a resumable session, and carriers between them that can be cut at any byte.

What stands for SSH above them is records: a letter, a length, a body. As SSH does, a side uses
whole records only, and sends what may not wait (acknowledgements, a key exchange) whether there is
room or not. While it changes keys it may send neither data nor acknowledgements (RFC 4253 §7.1).
"""

from __future__ import annotations

from relay.core.resume import Resumable, State
from relay.core.retained import Budget
from relay.wire.resume import (
    ATTACH_SIZE,
    NO_LINE,
    Agreement,
    Offer,
    parse_agreement,
    parse_attach,
    parse_offer,
    parse_received,
    received_fields,
)

VERSION = b"SSH-2.0-relay_endpoint\r\n"
SECRET = b"s" * 32
AGREEMENT = Agreement(b"i" * 16, SECRET, 1000, 64 * 1024, False)


def record(letter: bytes, body: bytes = b"") -> bytes:
    return letter + len(body).to_bytes(2, "big") + body


class Wire:
    """One carrier: what is under way on it, each way, and who has heard that it was cut."""

    def __init__(self, attach: bytes = b"") -> None:
        # To A and to C.
        self.under_way = {"a": bytearray(), "c": bytearray(attach)}
        self.is_cut = False
        # What C has read of an attach that is not decided; None: it is, or this is no such carrier.
        self.opening: bytearray | None = None
        # What came and is a part of a record.
        self.rest = {"a": bytearray(), "c": bytearray()}

    def cut(self) -> None:
        self.is_cut = True
        for under_way in self.under_way.values():
            under_way.clear()


class Side(Resumable):
    """A or C."""

    def __init__(self, name: str, budget: Budget) -> None:
        super().__init__(budget)
        self.name = name
        self.other = "c" if name == "a" else "a"
        self.wire: Wire | None = None
        self.next: Wire | None = None
        self.first = b""
        # What the session is to send, and what of the other's it has got.
        self.backlog = bytearray()
        self.made = bytearray()
        self.got = bytearray()
        self.ready = True
        self.deferred: list[bytes] = []
        self.log: list[str] = []

    # -- what stands for SSH

    def make(self) -> None:
        """A record of what waits, if there is room."""
        if not self.backlog or not self.ready or not self._flows:
            return
        if self.out.full:
            self.ask_for_room()
            return
        part = bytes(self.backlog[:7])
        del self.backlog[:7]
        self.made += part
        self.out.add(record(b"D", part))

    def control(self, data: bytes) -> None:
        self.out.add(data)
        self._check_reserve()

    def change_keys(self) -> None:
        if self.ready:
            self.ready = False
            self.control(record(b"K"))

    def use(self, data: bytearray) -> None:
        """The whole records of what came."""
        while len(data) >= 3 and len(data) >= (size := 3 + int.from_bytes(data[1:3], "big")):
            letter, body = bytes(data[:1]), bytes(data[3:size])
            del data[:size]
            self.one(letter, body)
            self.used(size)

    def one(self, letter: bytes, body: bytes) -> None:
        if letter == b"D":
            self.got += body
        elif letter == b"R":
            received, wanted = parse_received(body)
            self.acknowledged(received, wanted=wanted)
        elif letter == b"Q":
            self.offer(AGREEMENT, parse_offer(body).buffer)
            self.control(record(b"Y", AGREEMENT.fields()))
        elif letter == b"Y":
            self.answered(parse_agreement(body))
        elif letter == b"N":
            self.answered(None)
        elif letter == b"K" and self.ready:
            self.control(record(b"K"))  # Its KEXINIT, answered; ours of the same time is that.
        else:
            self.ready = True
            for deferred in self.deferred:
                self.control(deferred)
            self.deferred.clear()

    def ask_to_resume(self, buffer: int = 64 * 1024) -> None:
        self.ask()
        self.control(record(b"Q", Offer(1000, buffer).fields()))

    # -- carriers

    def push(self, size: int) -> None:
        """Give the carrier up to so many bytes."""
        if self.wire is None:
            return
        part = self.first[:size]
        self.first = self.first[len(part) :]
        size -= len(part)
        if not self.first and self._flows:
            for piece in self.out.pieces():
                some = piece[:size]
                size -= len(some)
                part += bytes(some)
                self.out.took(len(some))
        if not self.wire.is_cut:
            self.wire.under_way[self.other] += part

    def come(self, size: int) -> None:
        """Up to so many bytes come from the carrier."""
        wire = self.wire
        if wire is None or wire.is_cut:
            return
        under_way, rest = wire.under_way[self.name], wire.rest[self.name]
        part = bytes(under_way[:size])
        del under_way[:size]
        part = part[self.answer(part) :] if self.state is State.ATTACHING else part
        rest += part
        if self.wire is wire and self._flows:
            self.use(rest)

    def hears(self) -> None:
        """That its carrier is cut, if it is."""
        if self.wire is not None and self.wire.is_cut:
            self.lost("cut")

    def attach_anew(self) -> Wire | None:
        """A: on another carrier, on which C's version line comes."""
        first = self.begin_attach()
        if not first:
            return None
        self.wire, self.first = Wire(), first
        self.wire.opening = bytearray()
        self.wire.under_way["a"] += VERSION
        return self.wire

    def opened(self, wire: Wire) -> bool:
        """C: what has come on a carrier that may be an attach's; was it decided?"""
        opening, under_way = wire.opening, wire.under_way["c"]
        assert opening is not None
        part = under_way[: ATTACH_SIZE - len(opening)]
        del under_way[: len(part)]
        opening += part
        if len(opening) < ATTACH_SIZE:
            return False
        question = parse_attach(bytes(opening))
        wire.opening = None
        if self.is_asked(question):
            self.next = wire
            self.first = self.accept(question)
        else:
            wire.under_way["a"] += NO_LINE
        return True

    # -- what the state says

    def _acknowledge(self, received: int, wanted: bool) -> None:
        said = record(b"R", received_fields(received, wanted=wanted))
        if self.ready:
            self.control(said)
        else:
            self.deferred.append(said)

    def _may_make(self) -> None:
        self.log.append("room")

    def _hold(self) -> None:
        self.log.append("held")

    def _drop(self) -> None:
        self.log.append("dropped")
        if self.wire is not None:
            self.wire.cut()
        self.wire, self.first = None, b""

    def _go_on(self) -> None:
        self.log.append("goes on")
        if self.next is not None:
            self.wire, self.next = self.next, None

    def _reset(self) -> None:
        self.log.append(f"reset: {self.reason}")


class Pair:
    """Both, on their first carrier."""

    def __init__(self, each: int = 1 << 20, most: int = 1 << 20, least: int = 64) -> None:
        self.budgets = Budget(each, most, least), Budget(each, most, least)
        self.a, self.c = Side("a", self.budgets[0]), Side("c", self.budgets[1])
        self.wire = Wire()
        self.a.wire = self.c.wire = self.wire
        # Of all attaches, the carrier.
        self.wires: list[Wire] = []

    @property
    def sides(self) -> tuple[Side, Side]:
        return self.a, self.c

    def agree(self) -> None:
        self.a.ask_to_resume()
        self.run()

    def attach(self) -> Wire | None:
        wire = self.a.attach_anew()
        if wire is not None:
            self.wires.append(wire)
        return wire

    def run(self) -> None:
        """All that is under way comes, until nothing moves."""
        before = None
        while before != (before := self.picture()):
            for side in self.sides:
                side.make()
                side.push(1000)
            for wire in self.wires:
                if wire.opening is not None:
                    self.c.opened(wire)
            for side in self.sides:
                side.come(1000)

    def picture(self) -> tuple[object, ...]:
        return tuple(
            (s.state, s.received, s.out.end, s.out.unsent, len(s.first)) for s in self.sides
        )

    def settle(self) -> None:
        """No carrier is cut any more: all comes, unless the session is over."""
        for side in self.sides:
            side.hears()
        for _ in range(3):
            self.attach()
            self.run()
            for side in self.sides:
                side.tell()
            self.run()
