"""What is told of connections that do not log in: a port that is open to the world is tried all
day, and its log is for people.

Each source has a number of lines a minute, and so have all of them together; what is over that is
counted by source, as far as sources are remembered. A login gives a source its lines back: its
owner has mended his key.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from relay.core.limits import STRANGER_LINES, STRANGER_SOURCES, STRANGERS_LINES

OTHERS: Final = "other addresses"
"""Who is counted together when there are too many to name."""


class Strangers:
    """The lines of this minute. `report` is for a clock to call."""

    def __init__(self) -> None:
        # Lines about each source; no more than there were lines.
        self._lines: dict[str, int] = {}
        self._all_lines = 0
        # Connections that were not told of.
        self._untold: dict[str, int] = {}

    def line(self, source: str) -> bool:
        """Is something that a stranger there did worth a line now?"""
        lines = self._lines.get(source, 0)
        if lines >= STRANGER_LINES or self._all_lines >= STRANGERS_LINES:
            return False
        self._lines[source] = lines + 1
        self._all_lines += 1
        return True

    def gone(self, source: str) -> bool:
        """A connection from there ended without a login: is that worth a line? Else it counts."""
        if self.line(source):
            return True
        if source not in self._untold and len(self._untold) >= STRANGER_SOURCES:
            source = OTHERS
        self._untold[source] = self._untold.get(source, 0) + 1
        return False

    def logged_in(self, source: str) -> bool:
        """Somebody there has a good key: that is always worth a line."""
        self._all_lines -= self._lines.pop(source, 0)
        return True

    def report(self) -> Iterator[tuple[str, int]]:
        """The sources of connections that were not told of, and how many; then all begins anew."""
        untold, self._untold = self._untold, {}
        self._lines.clear()
        self._all_lines = 0
        yield from untold.items()
