"""The limits that concern a server as a whole: who may connect, and how often each limit was hit.

B's, and those of an agent that is an endpoint of its own.
"""

from __future__ import annotations

import random
import socket
import time
from collections.abc import Callable
from typing import Final

from relay.log import EventLog
from relay.policy.limits import Limits
from relay.policy.sources import Sources
from relay.policy.strangers import Strangers
from relay.policy.tally import Tally
from relay.policy.throttle import Throttle

REPORT_INTERVAL: Final = 60.0
"""Seconds between two lines about a limit that is hit again and again."""


class Limiter:
    """Counts, remembers and tells. `clock` and `chance` are the tests' to set."""

    def __init__(
        self,
        log: EventLog,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.limits = Limits()
        self._log = log
        self._clock = clock
        self._chance = chance
        self._sources = Sources()
        self._throttle = Throttle()
        self._tally = Tally()
        self._strangers = Strangers()

    def refuse_connection(self, address: str, strangers: int) -> str:
        """Why a connection from this address is not taken while so many others have not logged in;
        empty: it is."""
        if self.limits.max_startups.refuses(strangers, self._chance()):
            self.hit("max-startups")
            return "Exceeded MaxStartups"
        if self._sources.wait(address, self._clock()):
            self.hit("max-failed-tries")
            return "Too many failed tries, come back later"
        return ""

    def delay(self, address: str) -> float:
        """Seconds for which a connection from this address has to wait for our first word."""
        seconds = self._throttle.attempt(address, self._clock())
        if seconds:
            self.hit("attempts-per-second")
        return seconds

    def failed(self, address: str, tries: int) -> None:
        """A connection from this address ended without a login, after so many refused tries."""
        # The first is the method "none", by which a client asks what methods there are.
        if tries > 1 and self.limits.max_failed_tries:
            self._sources.failed(address, tries - 1, self.limits.max_failed_tries, self._clock())

    def logged_in(self, address: str) -> None:
        """Somebody at this address has a good key."""
        self._sources.logged_in(address)
        self._throttle.logged_in(address)
        self._strangers.logged_in(address)

    def stranger_line(self, address: str) -> bool:
        """May there be a line about somebody at this address who has not logged in?"""
        return self._strangers.line(address)

    def stranger_gone(self, address: str) -> bool:
        """The same about the end of his connection, which counts if there is none."""
        return self._strangers.gone(address)

    def hit(self, name: str) -> None:
        """A limit was hit: told at once if it was not of late."""
        if self._tally.hit(name):
            self._log.warning("limit hit", "limit hit: {limit}", limit=name)

    def report(self) -> None:
        """Tell of those that were hit again."""
        for name, count in self._tally.report():
            self._log.warning(
                "limit hit", "limit hit: {limit}, {count} times more", limit=name, count=count
            )
        for source, count in self._strangers.report():
            self._log.info(
                "logins failed", "{source}: {count} more connections did not log in",
                source=source, count=count,
            )  # fmt: skip


def turn_away(sock: socket.socket, reason: str) -> None:
    """Close a connection with one line before our version line, as RFC 4253 §4.2 permits, and as
    sshd does."""
    sock.setblocking(False)
    try:
        sock.send(f"{reason}\r\n".encode())
    except OSError:
        pass
    sock.close()
