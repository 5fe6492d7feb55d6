"""What happened, and how much went where, for some days back and over restarts.

A sink of events (relay/web/told.py says which are kept, and how they are told) and, once a minute,
the difference of two readings of B's numbers. Both wait in a batch of bounded size for one task,
whose thread writes it (relay/web/store.py): a disk that is slow or full costs what does not fit,
which is counted and told of, and never the event loop a moment.

    history = History(Store(path), relay, events)
    events.subscribe(history)
    tasks.start_soon(history.run)
    await history.events(50); await history.last_hour(["gpu1:8000"]); await history.refused(20)
"""

from __future__ import annotations

import heapq
import sqlite3
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Protocol, TypeVar

import anyio
import anyio.to_thread

from relay.core.traffic import Traffic
from relay.events import Event, Events
from relay.events.server import KeyRefused, LoginFailed
from relay.io.turns import in_turn
from relay.web.store import MINUTE, Batch, Rate, Refused, Store
from relay.web.told import SERVER, Told, short, tell

Result = TypeVar("Result")

WRITE_INTERVAL: Final = 2.0
"""Seconds between two writes: what a power cut costs, and what a page waits to see an event."""

WAITING_EVENTS: Final = 2_000
"""Events that may wait for the disk: half a megabyte."""

PEER_EVENTS: Final = 30
"""Events of one kind in a minute that one client, or one stranger's address, is worth."""
KIND_EVENTS: Final = 300
"""And all of them together. What is over that is one event, which says how many there were."""

SERVICES_A_MINUTE: Final = 1_000
"""Services whose bytes of one minute are kept: those that moved most. All are in the sum."""

SOURCES_A_MINUTE: Final = 200
"""Addresses of strangers that are counted apart in a minute."""
OTHERS: Final = "other addresses"

HOUR_MINUTES: Final = 60

LAST_WORDS: Final = 1.0
"""Seconds that the last batch has when the program ends."""

ANSWER: Final = 5.0
"""Seconds that a question waits for the disk."""


class Unavailable(Exception):
    """The history cannot be read now; the text says why."""


class Measured(Protocol):
    """What of B is read once a minute (relay/server/relay.py has it)."""

    @property
    def services(self) -> Any:
        """Iterates over the routes, and has the `traffic` of all."""

    async def reading(self) -> Any:
        """Settles what open streams have moved."""


async def in_thread(call: Callable[[], Result]) -> Result:
    """Wait for a disk elsewhere. Who does not wait to the end leaves the thread to it."""
    return await anyio.to_thread.run_sync(call, abandon_on_cancel=True)


class History:
    """That of one B. All but the store belongs to the event loop."""

    def __init__(
        self,
        store: Store,
        relay: Measured,
        events: Events,
        *,
        clock: Callable[[], float] = time.time,
        elsewhere: Callable[[Callable[[], Any]], Awaitable[Any]] = in_thread,
    ) -> None:
        """`clock` gives Unix time; `elsewhere` makes a call that may wait for a disk."""
        self._store = store
        self._relay = relay
        self._events = events
        self._clock = clock
        self._elsewhere = elsewhere
        self._meter = Meter()
        self._worth = Worth()
        # What the next write has; no more than WAITING_EVENTS events and a few minutes' rates.
        self._batch = Batch()
        self._refused = RefusedLogins()
        # What did not fit, since that was last told of.
        self._lost = 0
        # The disk takes nothing: that has been told.
        self._failing = False

    def started(self) -> None:
        """The program begins: what was before is of another one."""
        self._keep(Told(SERVER, "info", "the server has started"))

    # -- a sink of events

    def __call__(self, event: Event) -> None:
        """Keep it, if it is worth that."""
        if isinstance(event, LoginFailed | KeyRefused):
            self._refused.add(event, self._clock())
        told = tell(event)
        if told is not None and self._worth.keeps(told):
            self._keep(told)

    def _keep(self, told: Told) -> None:
        if len(self._batch.events) >= WAITING_EVENTS:
            self._lost += 1
        else:
            self._batch.events.append((self._clock(), told))

    # -- tasks

    async def run(self) -> None:
        """Read the numbers once a minute and write, until cancelled."""
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._read_minutes)
                tasks.start_soon(self._write_batches)
        finally:
            with anyio.move_on_after(LAST_WORDS, shield=True):
                await self._write()
                await self._elsewhere(self._store.close)

    async def _read_minutes(self) -> None:
        await self._meter.read(self._relay)  # What was before is no minute's.
        while True:
            await anyio.sleep(MINUTE - self._clock() % MINUTE)
            await self.minute_over()

    async def minute_over(self) -> None:
        """Put what the last minute had into the next write."""
        minute = int((self._clock() - 1) // MINUTE)
        for told in self._worth.report():
            self._keep(told)
        rates = await self._meter.read(self._relay)
        if len(self._batch.rates) > 2 * SERVICES_A_MINUTE:  # The disk has stood still for as long.
            self._lost += len(rates)
        else:
            self._batch.rates += (
                Rate(name, minute, there, back, streams)
                for name, (there, back, streams) in rates.items()
            )
        if len(self._batch.refused) > 2 * SOURCES_A_MINUTE:
            self._lost += len(self._refused.take())
        else:
            self._batch.refused += self._refused.take()

    async def _write_batches(self) -> None:
        trimmed = 0.0
        while True:
            await anyio.sleep(WRITE_INTERVAL)
            await self._write()
            now = self._clock()
            if abs(now - trimmed) >= MINUTE:
                trimmed = now
                try:
                    await self._elsewhere(partial(self._store.trim, now))
                except sqlite3.Error as error:
                    self._cannot(error)

    async def _write(self) -> None:
        batch = self._batch
        if not batch:
            return
        self._batch = Batch()
        try:
            await self._elsewhere(partial(self._store.write, batch))
        except sqlite3.Error as error:
            self._lost += len(batch)
            self._cannot(error)
        else:
            self._can()
        finally:
            for problem in self._store.problems():
                self._events.note("warning", "history", "history: {problem}", problem=problem)

    def _cannot(self, error: sqlite3.Error) -> None:
        if not self._failing:
            self._failing = True
            text = "history: cannot be written: {reason}; what happens meanwhile is not kept"
            self._events.note("warning", "history not written", text, reason=str(error))

    def _can(self) -> None:
        if self._failing or self._lost:
            text = "history: is written again; {count} entries were not kept"
            self._events.note("warning", "history written", text, count=self._lost)
            self._failing, self._lost = False, 0

    # -- reading

    async def events(
        self, limit: int, *, kind: str = "", search: str = "", before: int | None = None
    ) -> list[dict[str, object]]:
        """The last events, the newest first (`Store.events`). Raises Unavailable, as all here."""
        return await self._ask(
            partial(self._store.events, limit, kind=kind, search=search, before=before)
        )

    async def last_hour(self, services: Sequence[str]) -> dict[str, list[list[int]]]:
        """For each service ('': all together) the bytes there and back of the last sixty whole
        minutes, oldest first."""
        end = int(self._clock() // MINUTE)
        found = await self._ask(partial(self._store.rates, services, end - HOUR_MINUTES))
        return {name: dense(rates, end) for name, rates in found.items()}

    async def refused(self, limit: int, *, seconds: float) -> list[dict[str, object]]:
        """Refused logins by source, of so many seconds back, the most first."""
        since = self._clock() - seconds
        return await self._ask(partial(self._store.refused, limit, since=since))

    async def _ask(self, call: Callable[[], Result]) -> Result:
        try:
            with anyio.fail_after(ANSWER):
                found: Result = await self._elsewhere(call)
                return found
        except sqlite3.Error as error:
            raise Unavailable(f"the history cannot be read: {error}") from None
        except TimeoutError:
            raise Unavailable("the disk with the history does not answer") from None


def dense(rates: Iterable[Rate], end: int) -> list[list[int]]:
    """The bytes there and back of each of the sixty minutes before `end`; one without any is 0."""
    series = [[0, 0] for _ in range(HOUR_MINUTES)]
    for one in rates:
        place = one.minute - (end - HOUR_MINUTES)
        if 0 <= place < HOUR_MINUTES:
            series[place] = [one.there, one.back]
    return series


class Worth:
    """Which events of this minute are kept: nobody can push out what others did."""

    def __init__(self) -> None:
        # By kind; and by kind and peer, of those that were kept or nearly.
        self._kinds: Counter[str] = Counter()
        self._peers: Counter[tuple[str, str]] = Counter()
        self._more: Counter[str] = Counter()

    def keeps(self, told: Told) -> bool:
        """Is it kept? Else it counts."""
        peer = told.kind, told.per
        if self._kinds[told.kind] >= KIND_EVENTS or self._peers[peer] >= PEER_EVENTS:
            self._more[told.kind] += 1
            return False
        self._kinds[told.kind] += 1
        self._peers[peer] += 1
        return True

    def report(self) -> list[Told]:
        """How many there were beyond those, of each kind; then a minute begins."""
        more = [
            Told(kind, "warning", f"{count} more like these in one minute")
            for kind, count in self._more.items()
        ]
        self._kinds.clear()
        self._peers.clear()
        self._more.clear()
        return more


class RefusedLogins:
    """Those of this minute, by source."""

    def __init__(self) -> None:
        self._sources: dict[str, Refused] = {}

    def add(self, event: LoginFailed | KeyRefused, now: float) -> None:
        """A connection ended without a login: that counts. A key was refused: that is why."""
        source = event.source or event.leg.peer
        if source not in self._sources and len(self._sources) >= SOURCES_A_MINUTE:
            source = OTHERS
        known = self._sources.get(source)
        count = known.count if known else 0
        if isinstance(event, LoginFailed):
            reason = known.reason if known and known.reason else short(event.reason)
            self._sources[source] = Refused(source, now, count + 1, reason)
        else:
            self._sources[source] = Refused(source, now, count, short(event.reason))

    def take(self) -> list[Refused]:
        """What there was; then a minute begins. Whose key was refused, and then another was not,
        has logged in."""
        refused, self._sources = self._sources, {}
        return [one for one in refused.values() if one.count]


@dataclass(slots=True)
class _Known:
    """What of a service was read last."""

    name: str
    there: int = 0
    back: int = 0

    def moved(self, traffic: Traffic) -> tuple[int, int]:
        """Bytes there and back since then."""
        moved = traffic.sent - self.there, traffic.received - self.back
        self.there, self.back = traffic.sent, traffic.received
        return moved


class Meter:
    """Differences of readings: what each service has moved since the last one."""

    def __init__(self) -> None:
        # Those that are published, or were at the last reading: what moved since is theirs still.
        self._known: dict[Traffic, _Known] = {}
        self._all = _Known("")

    async def read(self, relay: Measured) -> dict[str, tuple[int, int, int]]:
        """Bytes there, back and open streams, by service; '' is all of them together. A service
        that has moved none is left out."""
        await relay.reading()
        before, self._known = self._known, {}
        async for routes in in_turn(relay.services):
            for route in routes:
                self._known[route.traffic] = before.get(route.traffic) or _Known(route.name)
        moved: dict[str, tuple[int, int, int]] = {}
        async for some in in_turn((before | self._known).items()):
            for traffic, known in some:
                there, back = known.moved(traffic)
                if there or back:
                    one = moved.get(known.name, (0, 0, 0))
                    moved[known.name] = one[0] + there, one[1] + back, one[2] + traffic.open
                if traffic.open:  # Withdrawn, and its streams go on.
                    self._known[traffic] = known
        largest = heapq.nlargest(
            SERVICES_A_MINUTE, moved.items(), key=lambda item: item[1][0] + item[1][1]
        )
        all_traffic: Traffic = relay.services.traffic
        return dict(largest) | {"": (*self._all.moved(all_traffic), all_traffic.open)}
