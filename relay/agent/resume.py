"""C's side of resumable sessions: which are known, who may attach to them, how many are held.

An attach comes as a new session does, by a stranger's channel, and is one until it has proved what
it is: it is counted and throttled among those who have not logged in. Whatever is wrong with it
gets the same answer, so that nobody learns from it which sessions there are.
"""

from __future__ import annotations

import os
from collections import Counter
from datetime import UTC, datetime
from functools import partial

import anyio

from relay.core.limits import HELD_PER_KEY, HELD_SESSIONS, RETAINED_PER_SESSION
from relay.events import Events
from relay.events.server import RightsLost, SessionHeld, SessionResumed
from relay.io.nested import NestedStream
from relay.io.resume import ResumableStream
from relay.life.admission import Admission
from relay.ssh.server import NOT_AUTHORIZED, ServerLeg
from relay.trust.keyfile import KeyFile
from relay.wire.resume import (
    ID_SIZE,
    NO_LINE,
    SECRET_SIZE,
    VERSION,
    Agreement,
    Attach,
    parse_offer,
)


class Resumptions:
    """Those of one endpoint."""

    def __init__(
        self, seconds: float, events: Events, admission: Admission, key_file: KeyFile
    ) -> None:
        """`seconds` is for how long a session is held at most; 0: none is resumable."""
        self._seconds = seconds
        self._events = events
        self._admission = admission
        self._key_file = key_file
        self._known: dict[bytes, ServerLeg] = {}
        # Those that are held, the longest held first.
        self._held: dict[ServerLeg, None] = {}
        self._is_held = anyio.Event()
        # Legs that were made for what turned out to be an attach.
        self._attaches: set[ServerLeg] = set()

    async def urgent(self) -> None:
        """Return when a session is held: its client waits for B and us."""
        while not self._held:
            self._is_held = anyio.Event()
            await self._is_held.wait()

    def opened(self, leg: ServerLeg, channel: NestedStream) -> NestedStream | ResumableStream:
        """What `leg` is to run on: `channel`, on which a session begins, or an attach."""
        if not self._seconds:
            return channel
        stream = ResumableStream(channel, channel.engine.retained)
        stream.listen_for_attach(partial(self._attached, leg, stream))
        leg.resume_asked = partial(self._asked, leg)
        return stream

    def leg_down(self, leg: ServerLeg) -> bool:
        """A leg is gone; was it an attach, of which there is nothing more to say?"""
        self._held.pop(leg, None)
        if leg.resumable is not None and leg.resumable.agreement is not None:
            self._known.pop(leg.resumable.agreement.id, None)
        was_attach = leg in self._attaches
        self._attaches.discard(leg)
        return was_attach

    # -- agreeing

    def _asked(self, leg: ServerLeg, fields: bytes) -> bytes | None:
        """`RESUME`. Returns the answer's fields; None: no."""
        offer = parse_offer(fields)
        stream = leg.resumable
        if stream is None or stream.agreement is not None or offer.version != VERSION:
            return None
        lifetime = min(offer.lifetime, round(1000 * self._seconds))
        earlier = self._known.get(offer.earlier)
        agreement = Agreement(
            os.urandom(ID_SIZE),
            os.urandom(SECRET_SIZE),
            lifetime,
            RETAINED_PER_SESSION,
            earlier is not None and earlier.identity == leg.identity,
        )
        self._known[agreement.id] = leg
        leg.when_held = partial(self._lost_way, leg, lifetime / 1000)
        leg.when_going_on = partial(self._goes_on, leg)
        stream.offer(agreement, offer.buffer)
        return agreement.fields()

    # -- attaching

    def _attached(self, fresh: ServerLeg, stream: ResumableStream, question: Attach) -> None:
        """An attach came where `fresh` was to begin."""
        leg = self._known.get(question.id)
        known = leg.resumable if leg is not None else None
        asked = known is not None and known.is_asked(question)
        if leg is not None and known is not None and asked and self._may_be_here(leg):
            self._attaches.add(fresh)
            self._admission.logged_in(fresh.startup)
            stream.hand_over(known, question)
        else:
            stream.deny(NO_LINE)
        fresh.abort()

    def _may_be_here(self, leg: ServerLeg) -> bool:
        """Is its key still good? Nobody may have judged it while there was no way to B."""
        refusal = leg.judge(self._key_file.keys(), datetime.now(UTC))
        if refusal is not None:
            self._events.emit(RightsLost(leg.name, refusal))
            leg.dismiss("this key is not authorized any more", NOT_AUTHORIZED)
        return refusal is None

    # -- held

    def _lost_way(self, leg: ServerLeg, seconds: float) -> None:
        self._held[leg] = None
        self._is_held.set()
        self._events.emit(SessionHeld(leg.name, len(leg.mux.channels), seconds))
        same = [other for other in self._held if other.identity == leg.identity]
        if len(same) > HELD_PER_KEY:
            self._gives_way(same[0], "held-per-key")
        elif len(self._held) > HELD_SESSIONS:
            [(most, _)] = Counter(other.identity for other in self._held).most_common(1)
            oldest = next(other for other in self._held if other.identity == most)
            self._gives_way(oldest, "held-sessions")

    def _gives_way(self, leg: ServerLeg, limit: str) -> None:
        self._admission.hit(limit)
        del self._held[leg]
        if leg.resumable is not None:
            leg.resumable.expired("too many sessions are held")

    def _goes_on(self, leg: ServerLeg, away: float) -> None:
        self._held.pop(leg, None)
        self._events.emit(SessionResumed(leg.name, away))
