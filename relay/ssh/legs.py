"""The legs of one host: who is connected, who has logged in, and with which key.

B has one such table, and so has an agent that is an endpoint of its own.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Set

from relay.events import Events
from relay.events.server import LegDown, LegUp, LoginFailed
from relay.io.turns import in_turn
from relay.life.admission import Admission
from relay.settings.server import Limits
from relay.ssh.server import TOO_MANY_CONNECTIONS, ServerLeg


class Legs:
    """Every leg whose socket is open, from its accept until `leg_down`.

    One that has logged in is among those of its key. No question here goes through all legs: ten
    thousand may come back at once.
    """

    def __init__(self, admission: Admission, events: Events, *, inner: bool = False) -> None:
        """`inner`: they are sessions end to end, within streams."""
        self._admission = admission
        self._events = events
        self._inner = inner
        self._limits = Limits()
        self._rekey_limit = 0
        # Key exchanges after the first of those that are gone.
        self._rekeys = 0
        self._all: set[ServerLeg] = set()
        # By the key that they logged in with; never an empty set.
        self._by_identity: dict[bytes, set[ServerLeg]] = {}

    def __iter__(self) -> Iterator[ServerLeg]:
        """All of them, as they are now: they may come and go meanwhile."""
        return iter(tuple(self._all))

    def __len__(self) -> int:
        return len(self._all)

    @property
    def logged_in(self) -> int:
        """How many have logged in."""
        return sum(map(len, self._by_identity.values()))

    async def rekeys(self) -> int:
        """How often keys were changed, on all legs that there were. Of ten thousand legs it is
        asked in turn: one that goes meanwhile is counted as it was, and it never becomes fewer."""
        count, legs = self._rekeys, tuple(self._all)
        async for some in in_turn(legs):
            count += sum(leg.mux.rekey.count for leg in some)
        return count

    def of(self, identity: bytes) -> Set[ServerLeg]:
        """Those that have logged in with this key."""
        return self._by_identity.get(identity, frozenset())

    def configure(self, limits: Limits, rekey_limit: int) -> None:
        """Legs are limited so from now on, those that are up as well; `rekey_limit` is for those
        that come."""
        self._limits, self._rekey_limit = limits, rekey_limit
        for leg in self._all:
            self._limit(leg)

    def _limit(self, leg: ServerLeg) -> None:
        leg.limits = self._limits
        leg.out.waiting_limit = self._limits.waiting_per_leg

    # -- the life of one

    def add(self, leg: ServerLeg) -> None:
        """A connection came."""
        leg.mux.rekey.limit = self._rekey_limit
        leg.limit_hit = self._admission.hit
        self._limit(leg)
        self._all.add(leg)

    def discard(self, leg: ServerLeg) -> None:
        """It is gone."""
        if leg in self._all:
            self._all.remove(leg)
            self._rekeys += leg.mux.rekey.count
        same = self._by_identity.get(leg.identity)
        if same is not None:
            same.discard(leg)
            if not same:
                del self._by_identity[leg.identity]

    def leg_up(self, leg: ServerLeg) -> None:
        """A client has logged in."""
        leg.since = time.time()
        self._by_identity.setdefault(leg.identity, set()).add(leg)
        self._admission.logged_in(leg.startup)
        info = leg.get_extra_info
        self._events.emit(
            LegUp(
                leg.name, leg.startup.source, info("username", ""), info("client_version", ""),
                info("send_cipher", ""), self._inner,
            )
        )  # fmt: skip
        if self._too_many(leg.identity):
            self._admission.hit("legs-per-key")
            what = "sessions" if self._inner else "connections"
            leg.dismiss(f"too many {what} with this key", TOO_MANY_CONNECTIONS)

    def _too_many(self, identity: bytes) -> bool:
        """Has this key more legs than it may? One that is about to go does not count, which is only
        looked at when it matters: a fleet may share a key."""
        most = self._limits.legs_per_key
        same = self._by_identity[identity]
        return len(same) > most and sum(leg.alive for leg in same) > most

    def leg_down(self, leg: ServerLeg, error: Exception | None) -> None:
        """A connection is gone, whether its client had logged in or not."""
        self.discard(leg)
        reason = str(error) if error else ""
        if leg.logged_in:
            self._events.emit(LegDown(leg.name, reason, self._inner))
        else:
            self._admission.gone(leg.startup, leg.failed_tries)
            self._events.emit(LoginFailed(leg.name, leg.startup.source, reason, self._inner))
