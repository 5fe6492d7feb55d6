"""Services that their agents have withdrawn because what is behind them does not answer, and why.

Whoever opens one is told so, rather than that there is no such service. A word for it counts only
from who publishes the service at that moment, and for as long as that leg is there: nobody can say
it of others' services. It is over when anybody publishes the service again.

Pure: what happens comes with the time at which it does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from relay.core.services import ServiceKey

DOWN_SERVICES: Final = 16384
"""Services that are down at once, as many as may be missed (`MISSED_SERVICES`)."""

DOWN_PER_KEY: Final = 256
"""Of these, what was published with one key, as many as it may have (`SERVICES_PER_KEY`)."""

LONGEST_REASON: Final = 200
"""Characters of a reason that are kept: a line for a person."""

LONGEST_AGE: Final = 365 * 86400.0
"""Seconds: what is said to be down for longer is so for longer than anybody asks."""

Teller = TypeVar("Teller", bound=Hashable)
"""Who has published a service; told apart by identity."""


@dataclass(frozen=True, slots=True)
class Down(Generic[Teller]):
    """A service that does not answer."""

    teller: Teller
    whose: Hashable
    """The key that it was published with."""
    reason: str
    since: float


class DownServices(Generic[Teller]):
    """All of them."""

    def __init__(self) -> None:
        self._down: dict[ServiceKey, Down[Teller]] = {}
        # Who said it of which; in step with `_down`, and never an empty one.
        self._told: dict[Teller, set[ServiceKey]] = {}
        # How many each key has; never 0.
        self._count_of: Counter[Hashable] = Counter()

    def __len__(self) -> int:
        return len(self._down)

    def __iter__(self) -> Iterator[tuple[ServiceKey, Down[Teller]]]:
        """As they are now."""
        return iter(tuple(self._down.items()))

    def get(self, key: ServiceKey) -> Down[Teller] | None:
        return self._down.get(key)

    def say(
        self, key: ServiceKey, teller: Teller, whose: Hashable, reason: str, age: float, now: float
    ) -> None:
        """Its publisher says that it is down, for `age` seconds by now. No effect if there are too
        many already."""
        self.end(key)
        if len(self._down) < DOWN_SERVICES and self._count_of[whose] < DOWN_PER_KEY:
            since = now - min(age, LONGEST_AGE)
            self._down[key] = Down(teller, whose, _printable(reason), since)
            self._told.setdefault(teller, set()).add(key)
            self._count_of[whose] += 1

    def end(self, key: ServiceKey) -> None:
        """It is published again. No effect if it is not down."""
        down = self._down.pop(key, None)
        if down is None:
            return
        told = self._told[down.teller]
        told.remove(key)
        if not told:
            del self._told[down.teller]
        self._count_of[down.whose] -= 1
        if not self._count_of[down.whose]:
            del self._count_of[down.whose]

    def forget(self, teller: Teller) -> None:
        """Its word counts no more."""
        for key in list(self._told.get(teller, ())):
            self.end(key)


def _printable(reason: str) -> str:
    """As much of it as is kept, without what a terminal would obey."""
    return "".join(c if c.isprintable() else "?" for c in reason[:LONGEST_REASON])
