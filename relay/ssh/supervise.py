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

from relay.errors import LocalError, RelayError
from relay.log import EventLog
from relay.policy.backoff import HELD, Backoff, Random, Repeats

Attempt = Callable[[Callable[[], None]], Awaitable[None]]
"""One try: connects, calls what it is given once all is up, and raises when that is over. It
returns when there is nothing more to do."""


class Supervisor:
    """Makes one attempt after the other."""

    def __init__(
        self,
        where: str,
        log: EventLog,
        *,
        once: bool,
        keep_trying: bool,
        patience: float = math.inf,
        wanted: Callable[[], Awaitable[None]] = anyio.sleep_forever,
        random: Random = random.random,
    ) -> None:
        """
        Args:
            where: what is connected to, for the log.
            log: gets a line when a connection is lost and one when it is back.
            once: there is only one try: any failure is raised.
            keep_trying: go on after a lasting refusal as well, slowly.
            patience: seconds in which the first connection must have begun to be tried.
            wanted: returns when somebody waits for the connection: the next try is then soon.
            random: where the jitter comes from.
        """
        self._where = where
        self._log = log
        self._once = once
        self._keep_trying = keep_trying
        self._patience = patience
        self._wanted = wanted
        self._backoff = Backoff(random)
        self._repeats = Repeats()
        # Since when there has been no connection that held.
        self._away_since = 0.0
        # When the connection came up; None: it has not.
        self._up_since: float | None = None
        self._was_up = False
        # When the last one was lost, if that was said and its return is to be said too.
        self._lost_at: float | None = None

    async def run(self, attempt: Attempt) -> None:
        """Try until an attempt returns. Raises what it raises, once that is the end of it."""
        self._away_since = anyio.current_time()
        give_up_at = self._away_since + self._patience
        while True:
            self._up_since = None
            try:
                await attempt(self._up)
                return
            except (RelayError, OSError) as error:
                delay = self._delay(error)
                if not self._was_up and anyio.current_time() + delay > give_up_at:
                    raise
                self._say(error, delay)
                await self._pause(delay, hurried=_passing(error))

    async def _pause(self, delay: float, *, hurried: bool) -> None:
        """Wait for so long, or less if the connection is wanted meanwhile."""
        with anyio.move_on_after(delay) as pause:
            if hurried:
                await self._wanted()
                soon = anyio.current_time() + self._backoff.wanted()
                pause.deadline = min(pause.deadline, soon)
            await anyio.sleep_forever()

    def _up(self) -> None:
        now = self._up_since = anyio.current_time()
        self._was_up = True
        if self._lost_at is not None:
            self._log.info(
                "leg up again", "connected to {where} again, after {away}",
                where=self._where, away=duration(now - self._lost_at),
            )  # fmt: skip
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
        reason = str(error).removeprefix(f"{self._where}: ")
        if not self._repeats.due(reason, now):
            return
        text = "{reason}; trying again in {delay}"
        if self._up_since is not None:
            text = f"lost {{where}}: {text}"
        if self._was_up and self._lost_at is None:
            self._lost_at = now
        self._log.warning(
            "leg lost" if self._up_since is not None else "not connected", text,
            where=self._where, reason=reason, delay=duration(delay),
        )  # fmt: skip


def _passing(error: RelayError | OSError) -> bool:
    return isinstance(error, OSError) or error.passing


def duration(seconds: float) -> str:
    """`0.4 s`, `12 s`, `5 min`, `3 h`: as exact as a person cares for."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.0f} h"
