"""How late the event loop is: what every stream waits for beside its own work.

Nobody is asked but the clock, by a task that sleeps and looks how much longer it slept than it
wanted. It runs while somebody wants to know, and is whose task it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import repeat
from typing import Final

import anyio

BETWEEN: Final = 0.1
"""Seconds between two looks: a thousandth of a percent of a core."""

FEW: Final = 5
SHORTLY: Final = 0.01
"""Looks, and seconds between them, for who waits for the answer."""


async def watch(
    saw: Callable[[float], object], looks: Iterable[object] = repeat(None), between: float = BETWEEN
) -> None:
    """Tell `saw` of each delay in seconds, until there are no more `looks`."""
    for _ in looks:
        due = anyio.current_time() + between
        await anyio.sleep_until(due)
        saw(max(0.0, anyio.current_time() - due))


async def longest() -> float:
    """Of a few looks now, in seconds."""
    seen: list[float] = []
    await watch(seen.append, range(FEW), SHORTLY)
    return max(seen)
