"""How a stream begins whose local side is a caller in this process, and no socket of its own.

One that we ask for: the caller waits for the peer's answer. One that the peer asks for: a caller
answers, at once or later.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from relay.core.channel import Half
from relay.core.handler import refusal
from relay.core.port import Port, State
from relay.errors import LegLost, Refused, RelayError
from relay.wire.numbers import OpenFailure


class Opening(Port):
    """A pump of that kind makes `_opened` before it asks, and calls `_answered` when it begins and
    `_not_answered` when it is dropped."""

    # The answer to our open, and why it is no. None: we have not asked; it is not refused.
    _opened: asyncio.Future[None] | None = None
    _refusal: RelayError | None = None
    # Answers the peer's open.
    _admit: Callable[[Any], None] | None = None

    def _dial(self) -> None:
        assert self._admit is not None
        self._admit(self)

    def confirm(self) -> Any:
        """Confirm the peer's open. False (None, where it gives more than that): the leg is gone."""
        self.joined()
        return self.state is State.OPEN

    def refuse(self, code: OpenFailure, reason: str) -> None:
        """Refuse the peer's open."""
        self.not_joined(reason, code)

    def failed(self, code: int, reason: str) -> None:
        self._refusal = refusal(code, reason)
        super().failed(code, reason)

    def _answered(self) -> None:
        if self._opened is not None and not self._opened.done():
            self._opened.set_result(None)

    def _not_answered(self) -> None:
        if self._opened is not None and not self._opened.done():
            self._opened.set_exception(self._refusal or self._not_opened())

    def _not_opened(self) -> RelayError:
        """Why there is no stream, though the peer has not refused it."""
        if self.channel.sending is Half.WAITING:
            return LegLost(self.reason)
        return Refused(self.reason.removeprefix("refused: "))  # By us: its packets are too small.
