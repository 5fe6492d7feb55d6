"""Global requests, both ways (RFC 4254 §4).

Answers carry no number: "it is required that replies to SSH_MSG_GLOBAL_REQUESTS are sent in the
same order as the corresponding request messages". So ours wait in a line for their answers; and the
peer's are taken one at a time, the next when the last is answered.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from relay.core.limits import KIB
from relay.errors import ProtocolViolation
from relay.wire import messages
from relay.wire.numbers import PRIVATE

MAX_GLOBAL_REQUESTS: Final = 64
"""Of the peer's that may wait for their turn. ssh has one for each -R under way; each keeps its
message."""

MAX_WAITING_BYTES: Final = 64 * KIB
"""What these may hold together. A `tcpip-forward` has three hundred bytes at most."""

Answered = Callable[[bytes | None], None]
"""Gets the answer's fields, or None: refused, or the leg is gone."""


@dataclass(frozen=True, slots=True)
class GlobalRequest:
    """What the peer asks for."""

    name: bytes
    fields: bytes
    want_reply: bool


class Owner(Protocol):
    """Who grants requests."""

    def requested(self, request: GlobalRequest) -> None:
        """The peer asks for this; `Requests.answer` is called now or later, once."""

    def told(self, name: bytes, fields: bytes) -> None:
        """The peer says this (`numbers.PRIVATE`); there is nothing to answer."""


class Requests:
    """Those of one leg."""

    def __init__(self, send: Callable[[bytes], None], owner: Owner) -> None:
        self._send = send
        self._owner = owner
        # Ours that are not answered, the oldest first.
        self._asked: deque[Answered] = deque()
        # The peer's: the one that is being dealt with, and those behind it.
        self._current: GlobalRequest | None = None
        self._waiting: deque[GlobalRequest] = deque()
        self._waiting_bytes = 0
        self._dealing = False

    # -- ours

    def ask(self, name: bytes, fields: bytes, answered: Answered) -> None:
        """Ask the peer. `answered` is called as soon as the answer is read: before anything that
        comes behind it."""
        self._asked.append(answered)
        self._send(messages.global_request(name, want_reply=True, fields=fields))

    def tell(self, name: bytes, fields: bytes) -> None:
        """What wants no answer."""
        self._send(messages.global_request(name, want_reply=False, fields=fields))

    def answered(self, fields: bytes | None) -> None:
        """REQUEST_SUCCESS with these fields, or REQUEST_FAILURE. Raises `ProtocolViolation`."""
        if not self._asked:
            raise ProtocolViolation("an answer to a global request that was not made")
        # Who finds no sense in it raises, and still hears that the leg is gone.
        self._asked[0](fields)
        self._asked.popleft()

    # -- the peer's

    def received(self, request: GlobalRequest) -> None:
        """GLOBAL_REQUEST. Raises `ProtocolViolation`."""
        if request.name.endswith(PRIVATE) and not request.want_reply:
            self._owner.told(request.name, request.fields)
            return
        size = len(request.name) + len(request.fields)
        many = len(self._waiting) >= MAX_GLOBAL_REQUESTS
        if self._current is not None and (many or self._waiting_bytes + size > MAX_WAITING_BYTES):
            raise ProtocolViolation("too many global requests at once")
        self._waiting.append(request)
        self._waiting_bytes += size
        self._deal()

    def answer(self, fields: bytes | None) -> None:
        """Answer the one that is being dealt with: None refuses it. Then it is the next one's
        turn."""
        request, self._current = self._current, None
        if request is None:
            return  # The leg was lost meanwhile.
        if request.want_reply:
            self._send(messages.request_answer(fields))
        self._deal()

    def _deal(self) -> None:
        """Who is next? A loop, since any number may be answered at once."""
        if self._dealing:
            return  # One was, from within it.
        self._dealing = True
        try:
            while self._waiting and self._current is None:
                request = self._current = self._waiting.popleft()
                self._waiting_bytes -= len(request.name) + len(request.fields)
                self._owner.requested(request)
        finally:
            self._dealing = False

    # -- its end

    def lost(self) -> list[Answered]:
        """The leg is gone: nothing will be answered. Returns who is to be told so."""
        self._current = None
        self._waiting.clear()
        asked = list(self._asked)
        self._asked.clear()
        return asked
