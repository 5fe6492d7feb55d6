"""How long a stream that is opened to an agent waits for the answer."""

from __future__ import annotations

from collections.abc import Callable

from relay.core.limits import ANSWER_TIMEOUT, UNANSWERED_PER_LEG
from relay.errors import ProtocolViolation
from relay.ssh.server import ServerLeg


class Patience:
    """Waits for the answer to an open of ours on a serving leg. If it is late, `overdue` is called:
    who opened the stream need not wait; and the leg has one more that is not answered."""

    def __init__(self, leg: ServerLeg, overdue: Callable[[], object]) -> None:
        self._leg = leg
        self._overdue = overdue
        self._late = False
        self._timer = leg.loop.call_later(ANSWER_TIMEOUT, self._end)

    def _end(self) -> None:
        leg = self._leg
        self._late = True
        leg.unanswered += 1
        self._overdue()
        if leg.unanswered > UNANSWERED_PER_LEG:
            leg.fail(ProtocolViolation("it does not answer the streams that are opened to it"))

    def answered(self) -> None:
        """The answer is there, or the leg is gone."""
        self._timer.cancel()
        if self._late:
            self._late = False
            self._leg.unanswered -= 1
