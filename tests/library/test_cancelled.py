"""Cancelled at each checkpoint in turn, a tunnel leaves nothing behind (`nothing_left` looks)."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import anyio
import anyio.lowlevel
import pytest

import relay
from tests.library.conftest import B

MOST = 400
"""Checkpoints; more than there are."""


async def a_life(b: B, done: list[bool]) -> None:
    """Everything once."""
    async with b.connect() as tunnel, tunnel.listen("life:1") as listener:
        events = tunnel.events()
        async with anyio.create_task_group() as tasks:
            opened: list[relay.Stream] = []

            async def opens() -> None:
                opened.append(await tunnel.open("life:1"))

            tasks.start_soon(opens)
            accepted = await listener.accept()
        async with accepted, opened[0] as stream:
            await stream.send(b"x")
            assert await accepted.receive() == b"x"
            await accepted.send_eof()
            with suppress(anyio.EndOfStream):
                await stream.receive()
            async with tunnel.forward("life:1"), tunnel.publish("life:2", to=80):
                await anext(events)
    done.append(True)


class Cancelling:
    """A coroutine that is cancelled when it has come to its n-th suspension."""

    def __init__(self, scope: anyio.CancelScope, work: Any, number: int) -> None:
        self._scope, self._work, self._left = scope, work.__await__(), number

    def __await__(self) -> Any:
        value, error = None, None
        while True:
            try:
                waited = self._work.throw(error) if error else self._work.send(value)
            except StopIteration:
                return
            self._left -= 1
            if self._left == 0:
                self._scope.cancel()
            try:
                value, error = (yield waited), None
            except BaseException as raised:
                value, error = None, raised


@pytest.mark.slow
async def test_at_each_checkpoint_in_turn(b: B) -> None:
    for number in range(1, MOST):
        done: list[bool] = []
        with anyio.CancelScope() as scope:
            await Cancelling(scope, a_life(b, done), number)
        if done and not scope.cancel_called:
            assert number > 5
            return
    raise AssertionError("it never came to its end")
