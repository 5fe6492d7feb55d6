"""Staying connected: try, hold, and try again, for as long as the program runs.

What a try is, the program says; this knows only when the next one is due and what to log. It is
anyio's alone, so that the tests run weeks of it on a virtual clock.

A failure is one of three kinds:

* ours (`LocalError`: a key file that is missing): at the first try it ends the program, as wrong
  usage does. Later it is like a refusal: the program was right once, and the file may come back;
* passing (`RelayError.passing`: B is away, the name does not resolve, the leg was lost): tried
  again with back-off;
* lasting (the key is refused, the host key has changed): only a person can undo that. The program
  ends with it, or tries on slowly.
"""

from __future__ import annotations

import math
import random
from collections.abc import Awaitable, Callable

import anyio

from relay.core.backoff import HELD, REMINDED, Backoff, Random, Repeats
from relay.errors import LocalError, RelayError
from relay.events import Events
from relay.events.client import Disconnected, NotConnected, Reconnected, StillTrying

Attempt = Callable[[Callable[[], None]], Awaitable[None]]
"""One try: connects, calls what it is given once all is up, and raises when that is over. It
returns when there is nothing more to do."""


class Prompt:
    """Somebody's word that whatever waits for its next try is to be tried at once."""

    def __init__(self) -> None:
        self._given: anyio.Event | None = None

    def __call__(self) -> None:
        """Give the word to all who wait for it now."""
        if self._given is not None:
            self._given.set()
            self._given = None

    async def wait(self) -> None:
        """Return when the word is given next."""
        if self._given is None:
            self._given = anyio.Event()
        await self._given.wait()


class Supervisor:
    """Makes one attempt after the other."""

    def __init__(
        self,
        where: str,
        events: Events,
        *,
        once: bool,
        keep_trying: bool,
        patience: float = math.inf,
        wanted: Callable[[], Awaitable[None]] = anyio.sleep_forever,
        urgent: Callable[[], Awaitable[None]] = anyio.sleep_forever,
        prompt: Prompt | None = None,
        random: Random = random.random,
    ) -> None:
        """
        Args:
            where: what is connected to, for the log.
            events: are told when a connection is lost, when it is back, and once a minute
                meanwhile.
            once: there is only one try: any failure is raised.
            keep_trying: go on after a lasting refusal as well, slowly.
            patience: seconds in which the first connection must have begun to be tried.
            wanted: returns when somebody waits for the connection: the next try is then soon.
            urgent: returns when streams stand still until there is a connection: very soon.
            prompt: says that the next try is now, whatever the last one came to.
            random: where the jitter comes from.
        """
        self._where = where
        self._events = events
        self._once = once
        self._keep_trying = keep_trying
        self._patience = patience
        self._wanted = wanted
        self._urgent = urgent
        self._prompt = prompt or Prompt()
        self._backoff = Backoff(random)
        self._repeats = Repeats()
        # Since when there has been no connection that held.
        self._away_since = 0.0
        # When the connection came up; None: it has not.
        self._up_since: float | None = None
        self._was_up = False
        # When the last one was lost, if that was said and its return is to be said too.
        self._lost_at: float | None = None
        # When it was last said that there is no connection, and why the last try failed.
        self._said_at = 0.0
        self._reason = ""

    async def run(self, attempt: Attempt) -> None:
        """Try until an attempt returns. Raises what it raises, once that is the end of it."""
        self._away_since = self._said_at = anyio.current_time()
        give_up_at = self._away_since + self._patience
        while True:
            try:
                await attempt(self._up)
                return
            except (RelayError, OSError) as error:
                delay = self._delay(error)
                if not self._was_up and anyio.current_time() + delay > give_up_at:
                    raise
                self._say(error, delay)
                self._up_since = None
                await self._pause(delay, hurried=_passing(error))

    @property
    def where(self) -> str:
        """What is connected to."""
        return self._where

    def state(self, now: float) -> tuple[bool, float, str]:
        """Is there a connection, for how many seconds has that been so, and why is there none?"""
        if self._up_since is not None:
            return True, now - self._up_since, ""
        return False, now - self._away_since, self._reason

    async def _pause(self, delay: float, *, hurried: bool) -> None:
        """Wait for so long, or less if the connection is wanted meanwhile, or until the prompt."""
        with anyio.move_on_after(delay) as pause:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._remind, pause)
                if hurried:
                    backoff = self._backoff
                    tasks.start_soon(self._hurry, pause, self._wanted, backoff.wanted)
                    tasks.start_soon(self._hurry, pause, self._urgent, backoff.urgent)
                await self._prompt.wait()
                self._backoff.reset()
                pause.cancel()

    async def _hurry(
        self,
        pause: anyio.CancelScope,
        hurried: Callable[[], Awaitable[None]],
        most: Callable[[], float],
    ) -> None:
        await hurried()
        soon = anyio.current_time() + most()
        pause.deadline = min(pause.deadline, soon)

    async def _remind(self, pause: anyio.CancelScope) -> None:
        """Say once a minute that there is still somebody who tries."""
        while True:
            await anyio.sleep_until(self._said_at + REMINDED)
            now = self._said_at = anyio.current_time()
            away, delay = now - self._away_since, pause.deadline - now
            self._events.emit(StillTrying(self._where, away, self._reason, delay))

    def _up(self) -> None:
        now = self._up_since = anyio.current_time()
        self._was_up = True
        if self._lost_at is not None:
            self._events.emit(Reconnected(self._where, now - self._lost_at))
        self._lost_at = None

    def _delay(self, error: RelayError | OSError) -> float:
        """Seconds until the next try. Raises `error` when there is none."""
        if self._held():
            self._backoff.reset()
            self._repeats.reset()
            self._away_since = anyio.current_time()
        ours = isinstance(error, LocalError)
        if self._once or (ours and not self._was_up):
            raise error
        if _passing(error):
            return self._backoff.next(anyio.current_time() - self._away_since)
        if not self._keep_trying:
            raise error
        return self._backoff.slow()

    def _held(self) -> bool:
        return self._up_since is not None and anyio.current_time() - self._up_since >= HELD

    def _say(self, error: RelayError | OSError, delay: float) -> None:
        now = anyio.current_time()
        self._reason = reason = str(error).removeprefix(f"{self._where}: ")
        if not self._repeats.due(reason, now):
            return
        self._said_at = now
        if self._was_up and self._lost_at is None:
            self._lost_at = now
        event = NotConnected if self._up_since is None else Disconnected
        self._events.emit(event(self._where, reason, delay))


def _passing(error: RelayError | OSError) -> bool:
    return isinstance(error, OSError) or error.passing
