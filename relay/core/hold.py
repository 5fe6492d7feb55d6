"""Opens that wait for a service whose agent is being restarted.

A service that is lost with its agent's connection is *missed* for a while (`--hold`): who opens it
meanwhile is neither granted nor refused, but waits until it is published again, or until the while
is over. So a restarted agent costs a visitor a moment and not its request, whatever client it has.

Not missed is what its agent gave up by itself, what another agent still has a share of, and what
was published with a key that may not log in any more.

Pure: what happens comes with the time at which it does; who is to be let in or turned away is what
the methods return, in the order in which they came.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

from relay.core.services import ServiceKey

HOLD: Final = 15.0
"""Seconds for which a lost service is missed: an agent is back within one or two, and a person or a
program that waits longer than this has given up."""

MISSED_SERVICES: Final = 16384
"""Services that are missed at once: a large fleet may lose its network."""

MISSED_PER_KEY: Final = 256
"""Of these, what was published with one key, as many as it may have (`SERVICES_PER_KEY`): who
publishes and leaves without end must not make B miss nothing of others."""

HELD_PER_SERVICE: Final = 512
"""Opens that wait for one service: what comes to a busy one in a second or two. They all begin
when it is back."""

HELD_PER_KEY: Final = 256
"""Opens of one key that wait, for whatever: it does not keep others from waiting."""

HELD_OPENS: Final = 4096
"""The same for all services together. Each is a channel of its opener too, and costs 1 KiB."""

Visitor = TypeVar("Visitor", bound=Hashable)
"""Somebody whose open waits; compared and hashed by identity."""


Owner = TypeVar("Owner")
"""Who had published a service; told apart by identity."""


@dataclass(slots=True)
class _Missed(Generic[Owner, Visitor]):
    """A service that is missed."""

    since: float
    owner: Owner
    whose: Hashable
    visitors: dict[Visitor, None] = field(default_factory=dict)


class Hold(Generic[Owner, Visitor]):
    """Which services are missed, and who waits for them."""

    def __init__(self, seconds: float = HOLD) -> None:
        # May be changed at any time; 0: nothing is missed.
        self.seconds = seconds
        # In the order in which they were lost, which is that of their ends.
        self._missed: dict[ServiceKey, _Missed[Owner, Visitor]] = {}
        # How many of them are of one key; never 0.
        self._count_of: Counter[Hashable] = Counter()
        # For each visitor what it waits for, and its key; in step with `_missed`.
        self._wanted: dict[Visitor, tuple[ServiceKey, Hashable]] = {}
        # How many visitors each key has; never 0.
        self._visitors_of: Counter[Hashable] = Counter()

    def __len__(self) -> int:
        """How many wait."""
        return len(self._wanted)

    def missed(self) -> Iterator[tuple[ServiceKey, Owner, float]]:
        """The services that are missed now, who had published each, and since when it is gone."""
        return iter([(key, one.owner, one.since) for key, one in self._missed.items()])

    def lost(self, key: ServiceKey, owner: Owner, now: float, whose: Hashable = None) -> None:
        """The last agent of this service is gone. `whose` is the key that it was published with."""
        if (
            self.seconds
            and key not in self._missed
            and len(self._missed) < MISSED_SERVICES
            and self._count_of[whose] < MISSED_PER_KEY
        ):
            self._missed[key] = _Missed(now, owner, whose)
            self._count_of[whose] += 1

    def takes(self, key: ServiceKey, now: float, whose: Hashable = None) -> bool:
        """May one more open, with this key, wait for this service?"""
        missed = self._missed.get(key)
        return (
            missed is not None
            and now < missed.since + self.seconds
            and len(missed.visitors) < HELD_PER_SERVICE
            and len(self._wanted) < HELD_OPENS
            and self._visitors_of[whose] < HELD_PER_KEY
        )

    def wait(self, key: ServiceKey, visitor: Visitor, whose: Hashable = None) -> None:
        """It does; `takes` was asked before."""
        self._missed[key].visitors[visitor] = None
        self._wanted[visitor] = key, whose
        self._visitors_of[whose] += 1

    def leave(self, visitor: Visitor) -> None:
        """It waits no more: its leg is gone. No effect if it does not wait."""
        if visitor in self._wanted:
            del self._missed[self._forget_visitor(visitor)].visitors[visitor]

    def end(self, key: ServiceKey) -> list[Visitor]:
        """The service is there again, or will not come back. Returns who waited for it."""
        missed = self._missed.pop(key, None)
        if missed is None:
            return []
        _one_less(self._count_of, missed.whose)
        return self._dismiss(missed)

    def forget(self, may_return: Callable[[Owner], bool]) -> list[Visitor]:
        """Some may not log in any more: what they had published will not come back. Returns who
        waited for it."""
        owners = {id(missed.owner): missed.owner for missed in self._missed.values()}
        gone = {number for number, owner in owners.items() if not may_return(owner)}
        keys = [key for key, missed in self._missed.items() if id(missed.owner) in gone]
        return self._end_all(keys)

    def expire(self, now: float) -> list[Visitor]:
        """Returns who has waited in vain."""
        keys = []
        for key, missed in self._missed.items():
            if now < missed.since + self.seconds:
                break
            keys.append(key)
        return self._end_all(keys)

    def stop(self) -> list[Visitor]:
        """Nothing is missed from now on. Returns who waited."""
        self.seconds = 0.0
        return self._end_all(list(self._missed))

    def due(self) -> float | None:
        """When `expire` has something to do next; None: nothing is missed."""
        first = next(iter(self._missed.values()), None)
        return None if first is None else first.since + self.seconds

    def _end_all(self, keys: Iterable[ServiceKey]) -> list[Visitor]:
        return [visitor for key in keys for visitor in self.end(key)]

    def _dismiss(self, missed: _Missed[Owner, Visitor]) -> list[Visitor]:
        for visitor in missed.visitors:
            self._forget_visitor(visitor)
        return list(missed.visitors)

    def _forget_visitor(self, visitor: Visitor) -> ServiceKey:
        key, whose = self._wanted.pop(visitor)
        _one_less(self._visitors_of, whose)
        return key


def _one_less(counter: Counter[Hashable], key: Hashable) -> None:
    counter[key] -= 1
    if not counter[key]:
        del counter[key]
