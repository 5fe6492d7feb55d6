"""`/v1/live`: what changes, as it happens (server-sent events, which browsers reconnect by
themselves).

    event: totals      every second: the answer of /v1/status, with what is below
    event: happened    an event of the program: {"name": "LegUp", "time": …, "fields": {…}}

Each is made into text once, for all who listen. Who does not take what there is for him is dropped:
he asks again, and `totals` has everything that counts.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from typing import Any, Final

import anyio
from anyio.streams.memory import MemoryObjectSendStream

from relay.events import Event, Note
from relay.web.limits import EVENTS_PER_SECOND, SUBSCRIBERS, TICK, WAITING_EVENTS
from relay.web.told import LONGEST_TEXT

RETRY: Final = "retry: 2000\n\n"
"""Milliseconds after which a browser asks again."""

Status = Callable[[], Awaitable[Mapping[str, object]]]


class Live:
    """Everybody who listens, and the events of one program for them."""

    def __init__(self, status: Status) -> None:
        self._status = status
        self._subscribers: set[MemoryObjectSendStream[str]] = set()
        # Of the running second: when it is over, what it has told and left out, and its totals.
        self._until = 0.0
        self._told = 0
        self._missed = 0
        self._totals = ""
        self._asking = anyio.Lock()

    @property
    def full(self) -> bool:
        return len(self._subscribers) >= SUBSCRIBERS

    def __call__(self, event: Event) -> None:
        """As a sink of events."""
        if not self._subscribers or isinstance(event, Note):
            return
        if self._told >= EVENTS_PER_SECOND:
            self._missed += 1
            return
        self._told += 1
        fields = {one.name: shown(getattr(event, one.name)) for one in _fields(event)}
        body = {"name": type(event).__name__, "time": time.time(), "fields": fields}
        text = message("happened", body)
        for subscriber in tuple(self._subscribers):
            try:
                subscriber.send_nowait(text)
            except (anyio.WouldBlock, anyio.BrokenResourceError):
                self._drop(subscriber)

    def _drop(self, subscriber: MemoryObjectSendStream[str]) -> None:
        self._subscribers.discard(subscriber)
        subscriber.close()

    async def listen(self) -> AsyncGenerator[str, None]:
        """All that one listener is told, until he is dropped or goes."""
        send, receive = anyio.create_memory_object_stream[str](WAITING_EVENTS)
        self._subscribers.add(send)
        try:
            with receive:
                yield RETRY
                while True:
                    totals, until = await self._current()
                    yield totals
                    while (left := until - anyio.current_time()) > 0:
                        text = ""
                        with anyio.move_on_after(left):
                            text = await receive.receive()
                        if text:
                            yield text
        except anyio.EndOfStream:
            pass  # Dropped.
        finally:
            self._drop(send)

    async def _current(self) -> tuple[str, float]:
        """The totals of this second, asked for once, whoever listens; and when it is over."""
        async with self._asking:
            if anyio.current_time() >= self._until:
                status = await self._status()
                body = {**status, "time": time.time(), "events_left_out": self._missed}
                self._totals = message("totals", body)
                self._until = anyio.current_time() + TICK
                self._told = self._missed = 0
            return self._totals, self._until


def _fields(event: Any) -> tuple[dataclasses.Field[Any], ...]:
    return dataclasses.fields(event)


def message(name: str, body: Mapping[str, object]) -> str:
    """JSON has no line ends."""
    return f"event: {name}\ndata: {json.dumps(body)}\n\n"


def shown(value: object) -> object:
    """A field as JSON."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {one.name: shown(getattr(value, one.name)) for one in dataclasses.fields(value)}
    if isinstance(value, str):
        return value if len(value) <= LONGEST_TEXT else value[:LONGEST_TEXT] + "…"
    return value if value is None or isinstance(value, (bool, int, float)) else str(value)
