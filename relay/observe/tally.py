"""How often each limit was hit: told once, then counted, so that no peer can flood a log."""

from __future__ import annotations

from collections.abc import Iterator


class Tally:
    """Counts by name. `report` is for a clock to call, say once a minute."""

    def __init__(self) -> None:
        # Hits since the last line about a limit. A limit that rests is not in here.
        self._untold: dict[str, int] = {}

    def hit(self, name: str) -> bool:
        """A limit was hit; returns whether that is worth a line now."""
        if name in self._untold:
            self._untold[name] += 1
            return False
        self._untold[name] = 0
        return True

    def report(self) -> Iterator[tuple[str, int]]:
        """The limits that were hit again since they were last told of, and how often. One that was
        not is told at once when it is hit next."""
        for name, count in list(self._untold.items()):
            if count:
                self._untold[name] = 0
                yield name, count
            else:
                del self._untold[name]
