"""The desired forwards made so: over one leg after another, or on this machine.

What is to be done and when is `Forwards`' knowledge (relay/core/forwards.py); how it is done is its
`Maker`'s. This lends the one a clock and calls the other, so that it is anyio's alone, as the
supervisor is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, Protocol

import anyio

from relay.core.backoff import Backoff
from relay.core.forwards import Ask, Cancel, Desired, Forwards, Key
from relay.errors import LegLost, RelayError


class Maker(Protocol[Key]):
    """Who publishes at B, or opens ports of this machine."""

    async def ask(self, desired: Desired[Key], granted: Callable[[int], None]) -> None:
        """Publish or open it. `granted` is called with its port as soon as that is known, before
        anything that comes behind the answer. Raises `RelayError` when it is refused, `LegLost`
        when there is no answer."""

    async def cancel(self, desired: Desired[Key]) -> None:
        """Publish it no more, or close it. Streams that are open go on. Raises `LegLost`."""


class Reconciler(Generic[Key]):
    """The set of desired forwards, and what keeps it true."""

    def __init__(self, backoff: Callable[[], Backoff] | None = None) -> None:
        """`backoff` as of `Forwards`."""
        self.forwards: Forwards[Key] = Forwards(backoff)
        self._changed = anyio.Event()

    # -- what anybody may say

    def want(self, key: Key) -> Desired[Key]:
        desired = self.forwards.want(key)
        self._tell()
        return desired

    def drop(self, key: Key) -> Desired[Key] | None:
        desired = self.forwards.drop(key)
        self._tell()
        return desired

    def down(self, desired: Desired[Key], reason: str, since: float) -> None:
        """As of `Forwards`."""
        self.forwards.down(desired, reason, since)
        self._tell()

    def hurry(self) -> None:
        """What was refused is worth trying now."""
        self.forwards.hurry(anyio.current_time())
        self._tell()

    async def settled(self, desired: Desired[Key]) -> None:
        """Return when what was wanted of it last has been answered."""
        while not desired.is_settled:
            await self.change()

    async def change(self) -> None:
        """Return when something is different."""
        await self._changed.wait()

    # -- what a leg says

    def taken(self, desired: Desired[Key], reason: str) -> bool:
        """B does not have it from us any more. Is that news?"""
        news = self.forwards.taken(desired, reason, anyio.current_time())
        self._tell()
        return news

    def leg_lost(self) -> None:
        self.forwards.leg_lost()
        self._tell()

    # -- how it is made so

    async def begin(
        self, maker: Maker[Key], refused: Callable[[Desired[Key], RelayError], object]
    ) -> None:
        """Ask for all that is due, one after the other. `refused` hears of what is not granted, and
        what it raises is raised. Raises `LegLost`."""
        for command in self.forwards.due(anyio.current_time()):
            error = await self._do(maker, command)
            if isinstance(error, LegLost):
                raise error
            if error is not None:
                refused(command.desired, error)

    async def run(self, maker: Maker[Key]) -> None:
        """Keep it so until cancelled. Each waits for its own answer only."""
        async with anyio.create_task_group() as tasks:
            while True:
                for command in self.forwards.due(anyio.current_time()):
                    tasks.start_soon(self._do, maker, command)
                with anyio.CancelScope(deadline=self.forwards.next_due()):
                    await self.change()

    async def _do(self, maker: Maker[Key], command: Ask[Key] | Cancel[Key]) -> RelayError | None:
        """Returns why it was not done. Without a leg it is for the next one to do."""
        desired = command.desired
        try:
            match command:
                case Ask():
                    await maker.ask(desired, lambda port: self._granted(desired, port))
                case Cancel():
                    await maker.cancel(desired)
                    self.forwards.cancelled(desired)
        except LegLost as error:
            return error
        except RelayError as error:
            self.forwards.refused(desired, str(error), anyio.current_time())
            self._tell()
            return error
        self._tell()
        return None

    def _granted(self, desired: Desired[Key], port: int) -> None:
        self.forwards.granted(desired, port, anyio.current_time())
        self._tell()

    def _tell(self) -> None:
        changed, self._changed = self._changed, anyio.Event()
        changed.set()
