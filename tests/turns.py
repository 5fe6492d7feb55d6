"""To wait for what an event loop does, in its turns and not by a clock."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

MOST: Final = 10_000
"""Turns of a loop that never sleeps meanwhile. What is sent on a socket pair is there at once, so
that what has not come by then does not come."""


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop turn until `condition` holds; fails where a wait would never end."""
    for _ in range(MOST):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError(f"not so after {MOST} turns of the loop")
