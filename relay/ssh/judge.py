"""Who is in stays within its rights: legs are judged again by authorized_keys.

sshd looks at the file at the login and never again. An agent's leg lives for months.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime

import anyio
import anyio.lowlevel

from relay.core.limits import JUDGED_AT_ONCE, LOOK_INTERVAL
from relay.events import Events
from relay.events.server import RightsChanged, RightsLost
from relay.ssh.server import NOT_AUTHORIZED, ServerLeg
from relay.trust.authorized_keys import AuthorizedKeys
from relay.trust.expiry import Expiries
from relay.trust.keyfile import KeyFile


def _now() -> datetime:
    return datetime.now(UTC)


class Judge:
    """Judges the legs of one host when the file has changed, and each when its time is over.

    A key that may not log in any more loses its legs. One that may do something else than before
    goes on: `changed` is called for its leg, to take back what it may not have any more.
    """

    def __init__(
        self,
        key_file: KeyFile,
        events: Events,
        legs: Iterable[ServerLeg],
        changed: Callable[[ServerLeg], object],
        settled: Callable[[], object] = lambda: None,
        now: Callable[[], datetime] = _now,
    ) -> None:
        """`legs` are those that there are at the time, `settled` is called when all of them have
        been judged by a file that has changed."""
        self._key_file = key_file
        self._events = events
        self._legs = legs
        self._changed = changed
        self._settled = settled
        self._now = now
        self._expiries: Expiries[ServerLeg] = Expiries()
        self._asked = anyio.Event()

    def leg_up(self, leg: ServerLeg) -> None:
        """Its client has logged in."""
        expires = leg.entry.expires if leg.entry is not None else None
        self._expiries.set(leg, expires.timestamp() if expires is not None else None)

    def leg_down(self, leg: ServerLeg) -> None:
        """It is gone."""
        self._expiries.discard(leg)

    def ask(self) -> None:
        """Look at the file now, and take it as it is."""
        self._asked.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            with anyio.move_on_after(LOOK_INTERVAL):
                await self._asked.wait()
            at_once = self._asked.is_set()
            if at_once:
                self._asked = anyio.Event()
            keys = self._key_file.settled(at_once=at_once)
            if keys is not None:
                await self._judge_all(self._legs, keys)
                self._settled()
            due = self._expiries.due(self._now().timestamp())
            if due:
                await self._judge_all(due, self._key_file.keys())

    async def _judge_all(self, legs: Iterable[ServerLeg], keys: AuthorizedKeys) -> None:
        """A few at a time: ten thousand must not stop everybody's streams."""
        for number, leg in enumerate(tuple(legs)):
            if number % JUDGED_AT_ONCE == 0:
                await anyio.lowlevel.checkpoint()
            if leg.logged_in and leg.alive:
                self._judge(leg, keys)

    def _judge(self, leg: ServerLeg, keys: AuthorizedKeys) -> None:
        before = leg.entry
        refusal = leg.judge(keys, self._now())
        if refusal is not None:
            self._events.emit(RightsLost(leg.name, refusal))
            leg.dismiss("this key is not authorized any more", NOT_AUTHORIZED)
            return
        self.leg_up(leg)
        if before is None or leg.entry is None or leg.entry.grant != before.grant:
            self._changed(leg)
            self._events.emit(RightsChanged(leg.name))
