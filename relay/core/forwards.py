"""What a program shall publish or open, and how far that is so.

Whoever wants a forward, or wants it no more, says so here: flags and files at the start, and others
while the program runs. How far it is so is told by who asks B to publish it, or opens the port of
this machine. From the two follows what is to be done next, so that nothing is to be remembered when
a leg is lost or a wish is taken back half-way:

    so far        wanted                      not wanted any more        wanted, but down
    ABSENT        Ask, as soon as it is due   it is forgotten            -
    ASKED         - (the answer comes first)  -                          -
    GRANTED       -                           Cancel                     Cancel
    CANCELLING    - (the answer comes first)  -                          -

Down is what whoever checks it (relay/core/health.py) has found not to be there: it is wanted as
before, and asked for again when it is up.

What happens to it, and how far it is then; a dash would be a mistake of ours:

    event         ABSENT    ASKED     GRANTED   CANCELLING
    asked         ASKED     -         -         -
    granted       -         GRANTED   -         -
    refused       -         ABSENT    -         -
    cancel        -         -         CANCELLING -
    cancelled     -         -         -         ABSENT
    taken         ABSENT    ASKED     ABSENT    CANCELLING   B gave it to another program
    leg lost      ABSENT    ABSENT    ABSENT    ABSENT

What was refused is due again after a while that grows (relay/core/backoff.py), since B's answer
does not tell what it would always refuse from what it would grant later: soon at first, as who
holds it may be on its way out. Somebody's word that it is worth trying now makes it due at once,
but not sooner than `HURRIED` behind the last time: B may say so without end.

A port of this machine is asked for in the same way; it is there without a leg, and none is lost
with one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Final, Generic, TypeVar

from relay.core.backoff import HELD, HURRIED, Backoff

Key = TypeVar("Key", bound=Hashable)
"""What is forwarded: a `Forward`, or whatever else can be published."""


class Far(Enum):
    """How far a forward has come."""

    ABSENT = "absent"
    ASKED = "asked"
    GRANTED = "granted"
    CANCELLING = "cancelling"


class Event(Enum):
    """What happens to one."""

    ASKED = "asked"
    GRANTED = "granted"
    REFUSED = "refused"
    CANCEL = "cancel"
    CANCELLED = "cancelled"
    TAKEN = "taken"
    LEG_LOST = "leg lost"


TRANSITIONS: Final[dict[tuple[Far, Event], Far]] = {
    (Far.ABSENT, Event.ASKED): Far.ASKED,
    (Far.ASKED, Event.GRANTED): Far.GRANTED,
    (Far.ASKED, Event.REFUSED): Far.ABSENT,
    (Far.GRANTED, Event.CANCEL): Far.CANCELLING,
    (Far.CANCELLING, Event.CANCELLED): Far.ABSENT,
    # Of an earlier grant than the one that is asked for: the answer will tell.
    (Far.ASKED, Event.TAKEN): Far.ASKED,
    (Far.ABSENT, Event.TAKEN): Far.ABSENT,
    (Far.GRANTED, Event.TAKEN): Far.ABSENT,
    (Far.CANCELLING, Event.TAKEN): Far.CANCELLING,
    **{(far, Event.LEG_LOST): Far.ABSENT for far in Far},
}


@dataclass(slots=True, eq=False)
class Desired(Generic[Key]):
    """One forward. Owned by its `Forwards`: read it elsewhere, never write."""

    key: Key
    wanted: bool = True
    far: Far = Far.ABSENT
    port: int = 0
    """The port that it was granted with last; 0: never. One that B picked for an earlier leg is
    known to clients, and is asked for again."""
    reason: str = ""
    """Why it was refused last, or taken; empty while it is granted, and before the first answer."""
    again: float = -math.inf
    """ABSENT: when it is due."""
    asked_again: float = -math.inf
    """When it was asked for last over this leg, but for the first time."""
    granted_at: float = -math.inf
    hurried: bool = False
    """ASKED: somebody said meanwhile that it is worth asking for; B may say so behind its no."""
    down: str = ""
    """Why what is behind it does not answer; empty: it does, or nobody has looked."""
    down_since: float = 0.0
    backoff: Backoff | None = None
    """None: what is refused is due when somebody says so, and not before."""

    @property
    def needed(self) -> bool:
        """Shall it be there now?"""
        return self.wanted and not self.down

    @property
    def is_settled(self) -> bool:
        """Has what was wanted last been answered?"""
        if not self.needed:
            return self.far is Far.ABSENT
        return self.far is Far.GRANTED or (self.far is Far.ABSENT and self.reason != "")


@dataclass(frozen=True, slots=True)
class Ask(Generic[Key]):
    """Publish or open it; then comes `granted` or `refused`, unless the leg is lost."""

    desired: Desired[Key]


@dataclass(frozen=True, slots=True)
class Cancel(Generic[Key]):
    """Publish it no more, or close it; then comes `cancelled`, unless the leg is lost."""

    desired: Desired[Key]


class Forwards(Generic[Key]):
    """The set of all that is desired, in the order in which it was wanted first."""

    def __init__(self, backoff: Callable[[], Backoff] | None = None) -> None:
        """`backoff` makes the waits of one forward; None: nothing is asked for again by itself."""
        self._make_backoff = backoff
        # By their keys. What is not wanted stays until it is gone at B too.
        self._desired: dict[Key, Desired[Key]] = {}

    def __iter__(self) -> Iterator[Desired[Key]]:
        return iter(list(self._desired.values()))

    def get(self, key: Key) -> Desired[Key] | None:
        return self._desired.get(key)

    # -- what is wanted

    def want(self, key: Key) -> Desired[Key]:
        """It shall be there. One that is wanted already stays as it is."""
        desired = self._desired.get(key)
        if desired is None:
            make = self._make_backoff
            desired = Desired(key, backoff=make() if make is not None else None)
            self._desired[key] = desired
        desired.wanted = True
        return desired

    def drop(self, key: Key) -> Desired[Key] | None:
        """It shall not be there any more. None: there is no such forward."""
        desired = self._desired.get(key)
        if desired is not None and desired.wanted:
            desired.wanted = False
            self._forget_if_gone(desired)
            return desired
        return None

    def down(self, desired: Desired[Key], reason: str, since: float) -> None:
        """What is behind it does not answer; an empty `reason`: it does again."""
        desired.down, desired.down_since = reason, since

    def hurry(self, now: float) -> None:
        """What was refused is worth asking for now."""
        for desired in self._desired.values():
            if desired.far is Far.ASKED:
                desired.hurried = True
            elif desired.far is Far.ABSENT:
                self._hurry(desired, now)

    # -- what is so

    def granted(self, desired: Desired[Key], port: int, now: float) -> None:
        self._happens(desired, Event.GRANTED)
        desired.port, desired.granted_at = port, now
        desired.reason = ""
        desired.hurried = False

    def refused(self, desired: Desired[Key], reason: str, now: float) -> None:
        self._happens(desired, Event.REFUSED)
        self._missing(desired, reason, now)

    def taken(self, desired: Desired[Key], reason: str, now: float) -> bool:
        """B gave it to another program, or our key lost the right to it. Is that news?"""
        was_granted = desired.far is Far.GRANTED
        self._happens(desired, Event.TAKEN)
        if was_granted:
            if now - desired.granted_at >= HELD and desired.backoff is not None:
                desired.backoff.reset()
            self._missing(desired, reason, now)
        return was_granted

    def cancelled(self, desired: Desired[Key]) -> None:
        self._happens(desired, Event.CANCELLED)

    def leg_lost(self) -> None:
        """Nothing is published any more, and all is due on the next leg."""
        for desired in self:
            self._happens(desired, Event.LEG_LOST)
            self._begin_anew(desired)

    # -- what is to be done

    def due(self, now: float) -> list[Ask[Key] | Cancel[Key]]:
        """What is to be done now; all of it counts as begun."""
        commands: list[Ask[Key] | Cancel[Key]] = []
        for desired in self:
            if desired.needed and desired.far is Far.ABSENT and desired.again <= now:
                if desired.again > -math.inf:
                    desired.asked_again = now
                desired.hurried = False
                self._happens(desired, Event.ASKED)
                commands.append(Ask(desired))
            elif not desired.needed and desired.far is Far.GRANTED:
                self._happens(desired, Event.CANCEL)
                commands.append(Cancel(desired))
        return commands

    def next_due(self) -> float:
        """When there is something to be done, if nothing happens before; infinity: never."""
        times = [one.again for one in self if one.needed and one.far is Far.ABSENT]
        if any(not one.needed and one.far is Far.GRANTED for one in self):
            return -math.inf
        return min(times, default=math.inf)

    # -- how

    def _happens(self, desired: Desired[Key], event: Event) -> None:
        desired.far = TRANSITIONS[desired.far, event]
        self._forget_if_gone(desired)

    def _forget_if_gone(self, desired: Desired[Key]) -> None:
        if not desired.wanted and desired.far is Far.ABSENT:
            del self._desired[desired.key]

    def _begin_anew(self, desired: Desired[Key]) -> None:
        desired.reason = ""
        desired.hurried = False
        desired.again = desired.asked_again = -math.inf
        if desired.backoff is not None:
            desired.backoff.reset()

    def _missing(self, desired: Desired[Key], reason: str, now: float) -> None:
        """It is not granted, and will be asked for again."""
        desired.reason = reason
        desired.again = now + desired.backoff.next() if desired.backoff is not None else math.inf
        if desired.hurried:
            self._hurry(desired, now)

    def _hurry(self, desired: Desired[Key], now: float) -> None:
        desired.hurried = False
        desired.again = min(desired.again, max(now, desired.asked_again + HURRIED))
