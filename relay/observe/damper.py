"""How many lines of the log one peer is worth.

Whoever has logged in can open and close, publish and withdraw, come and go as often as it likes,
and each is an event. So each peer has a number of lines of each event in a minute; what is over
that is counted, and its bytes are added up, so that nothing is lost but the single lines.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

LINES: Final = 60
"""Lines of one event that one peer may cause in a minute. A client that asks once a second for a
service that is down is still told of each time."""

LINES_OF: Final[Mapping[str, int]] = dict.fromkeys(
    ("splice opened", "splice closed", "stream opened", "stream closed"), 300
)
"""Those of streams: five in a second, with what each carried, are still read; a busy consumer opens
a thousand in a minute, and then their sums say more."""

SUMS_OF: Final[Mapping[str, tuple[str, ...]]] = {"splice closed": ("there", "back")}
"""The fields that are added up when there is no line."""

PEERS_TOLD: Final = 20
"""Peers that are named with what they did beyond their lines; what more of them did is counted
together."""

OTHERS: Final = "others"

MINUTE: Final = 60.0


class Damper:
    """The lines of this minute. Every `now` is seconds of one clock."""

    def __init__(self) -> None:
        self._began = 0.0
        # By peer and event: how many there were.
        self._count: dict[tuple[str, str], int] = {}
        # The sums of those that were not told.
        self._sums: dict[tuple[str, str], dict[str, int]] = {}

    def tells(self, peer: str, event: str, fields: Mapping[str, object]) -> bool:
        """May this be a line? Else it counts."""
        key = peer, event
        count = self._count[key] = self._count.get(key, 0) + 1
        if count <= LINES_OF.get(event, LINES):
            return True
        sums = self._sums.setdefault(key, {})
        for name in SUMS_OF.get(event, ()):
            value = fields[name]
            assert isinstance(value, int)
            sums[name] = sums.get(name, 0) + value
        return False

    def over(self, now: float) -> bool:
        """Is the minute over? Then it is time for `report`."""
        return now - self._began >= MINUTE

    def report(self, now: float) -> Iterator[tuple[str, str, int, dict[str, int]]]:
        """Peer, event, how many more there were of it and their sums; then a minute begins."""
        counts, sums = self._count, self._sums
        self._count, self._sums, self._began = {}, {}, now
        named: set[str] = set()
        told: dict[tuple[str, str], tuple[int, dict[str, int]]] = {}
        for (one, event), added in sums.items():
            peer = one if one in named or len(named) < PEERS_TOLD else OTHERS
            named.add(peer)
            more, total = told.get((peer, event), (0, {}))
            more += counts[one, event] - LINES_OF.get(event, LINES)
            told[peer, event] = more, {name: total.get(name, 0) + added[name] for name in added}
        yield from ((peer, event, *rest) for (peer, event), rest in told.items())
