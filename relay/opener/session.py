"""What one attempt after the other carries streams on: a new leg, or the one that is held."""

from __future__ import annotations

import anyio

from relay.errors import LegLost, RelayError
from relay.events import Events
from relay.events.client import SessionHeld, SessionLost, SessionResumed
from relay.io.engine import Engine
from relay.opener.config import ConnectConfig
from relay.ssh.client import ClientLeg
from relay.ssh.connect import connect, explain
from relay.ssh.resume import agree, attach


class Session:
    """The leg of the moment, from its login to its end, whatever it is carried by."""

    def __init__(self, config: ConnectConfig, events: Events, engine: Engine) -> None:
        self._config = config
        self._events = events
        self._engine = engine
        self._seconds = 0.0 if config.once else config.resume_for
        # The leg that is held, if one is; and the news that there is.
        self._held: ClientLeg | None = None
        self._is_held = anyio.Event()

    @property
    def held(self) -> ClientLeg | None:
        """What waits for another way, if anything does."""
        return self._held if self._held is not None and self._held.alive else None

    async def urgent(self) -> None:
        """Return when streams stand still until there is another way."""
        while self.held is None:
            self._is_held = anyio.Event()
            await self._is_held.wait()

    async def leg(self) -> ClientLeg:
        """One that carries streams. Raises as `connect`."""
        held = self.held
        if held is None:
            return await self._new(b"")
        if await attach(held, self._config.client, self._events, self._engine):
            self._held = None
            return held
        assert held.resumable is not None
        agreement = held.resumable.agreement
        return await self._new(agreement.id if agreement is not None else b"")

    async def _new(self, earlier: bytes) -> ClientLeg:
        """A new session. Of an earlier one a relay says that it is not known: that is true if who
        has the host key says it too."""
        resumable = self._seconds > 0
        leg = await connect(self._config.client, self._events, self._engine, resumable=resumable)
        try:
            agreement = await agree(leg, self._seconds, earlier) if resumable else None
            held = self.held
            if held is not None:
                if agreement is not None and agreement.knows_earlier:
                    raise LegLost("the session is there, but a relay on the way denies it")
                self._give_up(held)
        except BaseException:
            leg.close()
            raise
        if agreement is not None:
            leg.when_held = lambda: self._lost_way(leg, agreement.lifetime / 1000)
            leg.when_going_on = lambda away: self._events.emit(SessionResumed(away))
            leg.when_over = lambda reason: self._over(leg, reason)
        return leg

    def _give_up(self, held: ClientLeg) -> None:
        assert held.resumable is not None
        held.resumable.expired("the other side does not know their session any more")

    def _over(self, leg: ClientLeg, reason: str) -> None:
        """The session is over before its streams are told."""
        if leg is self._held:
            self._held = None
            self._events.emit(SessionLost(streams_of(leg), reason))

    def _lost_way(self, leg: ClientLeg, seconds: float) -> None:
        self._held = leg
        self._is_held.set()
        self._events.emit(SessionHeld(streams_of(leg), seconds))

    async def end(self, leg: ClientLeg) -> RelayError:
        """Wait until it is gone or held; returns why."""
        await leg.away.wait()
        client = self._config.client
        if leg.alive and leg.resumable is not None:
            return LegLost(leg.resumable.reason)
        return explain(leg.error or ConnectionError("connection closed"), client)

    def leave(self, leg: ClientLeg) -> None:
        """An attempt is over: close its leg, unless it is held."""
        if leg is not self.held:
            leg.close()

    def close(self) -> None:
        """The program ends."""
        held, self._held = self._held, None
        if held is not None:
            held.close()


def streams_of(leg: ClientLeg) -> int:
    """How many there are on it."""
    return len(leg.mux.channels)
