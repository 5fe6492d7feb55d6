"""How far a key exchange is, and when the next one is due (RFC 4253 §7 and §9).

The state is what has passed of the four messages that every exchange consists of, two of each side.

    event          NONE       ASKED       WAS_ASKED   EXCHANGING  CHANGED
    OUR_KEXINIT    ASKED      .           EXCHANGING  .           .
    THEIR_KEXINIT  WAS_ASKED  EXCHANGING  -           -           -
    OUR_NEWKEYS    .          .           .           CHANGED     .
    THEIR_NEWKEYS  .          .           .           .           NONE

    -  a violation: an exchange begins when the last one has ended
    .  nothing changes: our handshake does not do this, or refuses it

Our NEWKEYS is always the earlier: without its keys the handshake takes none of the peer's.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

from relay.core.handshake import KeyExchanges
from relay.errors import ProtocolViolation
from relay.wire.cipher import Opener, Sealer
from relay.wire.gcm import MAX_BLOCKS, MAX_PACKETS, GcmCipher
from relay.wire.packet import BLOCK_SIZE

SLOW_REKEY_BYTES: Final = 2**30
"""RFC 4253 §9: "after each gigabyte of transmitted data", for the ciphers without a reason to
do otherwise; OpenSSH does so for chacha20 too."""

LATE_BYTES: Final = 256 * 2**20
"""What a peer may still send after our KEXINIT until its NEWKEYS: what it had under way when it
heard of it. Twice what a path of 10 Gbit/s and 100 ms holds."""


class State(Enum):
    NONE = "no key exchange is under way"
    ASKED = "our KEXINIT is out"
    WAS_ASKED = "the peer's KEXINIT has come"
    EXCHANGING = "both have passed"
    CHANGED = "our NEWKEYS is out, the peer's is yet to come"


class Event(Enum):
    OUR_KEXINIT = "our KEXINIT goes out"
    THEIR_KEXINIT = "the peer's KEXINIT comes"
    OUR_NEWKEYS = "our NEWKEYS goes out"
    THEIR_NEWKEYS = "the peer's NEWKEYS comes"


TRANSITIONS: Final = {
    (State.NONE, Event.OUR_KEXINIT): State.ASKED,
    (State.NONE, Event.THEIR_KEXINIT): State.WAS_ASKED,
    (State.ASKED, Event.THEIR_KEXINIT): State.EXCHANGING,
    (State.WAS_ASKED, Event.OUR_KEXINIT): State.EXCHANGING,
    (State.EXCHANGING, Event.OUR_NEWKEYS): State.CHANGED,
    (State.CHANGED, Event.THEIR_NEWKEYS): State.NONE,
}


class Rekey:
    """The key exchanges of one leg. What was sent is `Outgoing`'s to count, and is passed in."""

    __slots__ = (
        "_allowed", "_explained", "bytes", "count", "keyed", "late_bytes", "limit", "packets",
        "state",
    )  # fmt: skip

    def __init__(self) -> None:
        self.state = State.NONE
        # The first keys are in force.
        self.keyed = False
        # Bytes after which keys are changed. Set by the leg; 0: what the ciphers allow.
        self.limit = 0
        self._allowed = SLOW_REKEY_BYTES
        # What has come since our last NEWKEYS, and since our last KEXINIT. The mux adds to them.
        self.packets = self.bytes = 0
        self.late_bytes = 0
        # How often the keys were changed, whoever asked for it.
        self.count = 0
        self._explained = KeyExchanges()

    @property
    def may_send(self) -> bool:
        """RFC 4253 §7.1: nothing else is sent between our KEXINIT and our NEWKEYS."""
        return self.state is not State.ASKED and self.state is not State.EXCHANGING

    def happens(self, event: Event) -> None:
        """All but the peer's KEXINIT."""
        self.state = TRANSITIONS.get((self.state, event), self.state)
        if event is Event.OUR_KEXINIT:
            self.late_bytes = 0

    def asked_by_peer(self, sent_bytes: int, now: float) -> None:
        """The peer's KEXINIT comes, `sent_bytes` after our last keys, at `now` in seconds of any
        one clock. Raises `ProtocolViolation`: it may not, now or so often."""
        after = TRANSITIONS.get((self.state, Event.THEIR_KEXINIT))
        if after is None:
            raise ProtocolViolation("a key exchange before the last one has ended")
        if self.keyed:
            if after is State.WAS_ASKED:  # Else it answers ours.
                self._explained.begun(self.bytes + sent_bytes, now)
            self.count += 1
        self.state = after

    def new_keys(self) -> None:
        """What is counted is counted anew: our NEWKEYS has gone out."""
        self.keyed = True
        self.packets = self.bytes = 0

    def uses(self, sealer: Sealer, opener: Opener) -> None:
        """These ciphers are in force."""
        fast = isinstance(sealer, GcmCipher) and isinstance(opener, GcmCipher)
        self._allowed = MAX_BLOCKS * BLOCK_SIZE if fast else SLOW_REKEY_BYTES

    def due(self, sent_bytes: int, sent_packets: int) -> bool:
        """Has enough passed, both ways, that the keys must be changed?"""
        if self.bytes + sent_bytes >= (self.limit or self._allowed):
            return True
        return self.packets + sent_packets >= MAX_PACKETS

    def check(self) -> None:
        """Does the peer take part in the key exchange that it was asked for? Raises
        `ProtocolViolation`."""
        if self.late_bytes <= LATE_BYTES:
            return
        if self.state is not State.NONE and self.state is not State.WAS_ASKED:
            raise ProtocolViolation(
                f"{self.late_bytes} bytes since the peer was asked to change keys"
            )
