"""A running program that dials, as far as others may look at it and change it: the seam that the
control socket hangs on. The program makes it and knows nothing of who uses it."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, Generic

from relay.core.forwards import Key
from relay.life.reconcile import Reconciler
from relay.life.supervise import Supervisor


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why streams of a forward are refused, since the last that was not."""

    reason: str
    """What was said last."""
    since: float
    """When it was said first, in anyio's time."""


@dataclass(frozen=True, slots=True)
class Running(Generic[Key]):
    """What there is to look at and to change while it runs."""

    supervisor: Supervisor
    desired: Reconciler[Key]
    streams: Callable[[], int]
    """How many are open, or wait."""
    connection: Callable[[], Mapping[str, str]]
    """The server's version line and the cipher; empty: there is no connection."""
    exit: Callable[[], object]
    """End the program as a signal does, soon."""
    trouble: Callable[[Key], Trouble | None] = lambda key: None
    """What was the matter with the last stream of a forward."""


Operate = Callable[[Running[Key]], Coroutine[Any, Any, None]]
"""Runs beside a program for as long as it does. Returns early, or not at all."""
