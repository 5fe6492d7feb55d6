"""`python -m tests.attacks ATTACK PORT USER SERVICE KEY`: one attack on the SSH server at that port
of this machine, until it is ended. It says `under way` when it has begun.

`KEY` is let in there as `USER`; `SERVICE` (`host:port`) can be opened and sends without end what
begins with `download`. `python -m benchmarks strangers` measures what a bystander has of it, with
B and with a stock sshd.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from typing import Any, Final

import asyncssh

from tests.attacks.messages import (
    OPEN_CONFIRMATION,
    OPEN_FAILURE,
    REQUEST_FAILURE,
    REQUEST_SUCCESS,
    data,
    ignore,
    open_direct,
    packet,
    publish,
    withdraw,
)
from tests.attacks.peer import Peer
from tests.attacks.peers import peer_at, stranger, stranger_with_keys
from tests.programs.chain import Server
from tests.programs.traffic import free_port

IDLE: Final = 110
SILENT: Final = 20
"""Consumers that never read: few enough for a stock sshd, which has two processes for each."""

BURST: Final = 1000
WIDEST: Final = 2**31 - 1
TERABYTE: Final = b"download 1000000000000\n\n"


@dataclass(frozen=True)
class Target:
    """The server, and what the attacker may do there."""

    port: int
    user: str
    service: tuple[str, int]
    key: str

    @property
    def server(self) -> Server:
        return Server(None, self.port)  # type: ignore[arg-type]  # It may be anybody's.

    def log_in(self) -> Any:
        """A consumer."""
        return peer_at(self.server, username=self.user, client_keys=[self.key])


Attack = Callable[[Target], Awaitable[None]]


def under_way() -> None:
    print("under way", flush=True)


async def again_and_again(once: Callable[[], Awaitable[None]]) -> None:
    """Whoever is turned away comes back at once."""
    under_way()
    while True:
        with suppress(OSError, asyncssh.Error):
            await once()


async def idle_strangers(target: Target) -> None:
    async with AsyncExitStack() as stack:
        for _ in range(IDLE):
            await stack.enter_async_context(stranger(target.server))
        under_way()
        await asyncio.Event().wait()


async def small_packets_before_the_login(target: Target) -> None:
    burst = packet(ignore()) * BURST

    async def once() -> None:
        async with stranger(target.server) as peer:
            await peer.send(b"SSH-2.0-stranger\r\n")
            while await peer.send(burst):
                pass

    await again_and_again(once)


async def key_exchanges_before_the_login(target: Target) -> None:
    async def once() -> None:
        async with stranger_with_keys(target.server) as peer:
            while not peer.over:
                await peer.change_keys()

    await again_and_again(once)


async def key_exchanges_after_the_login(target: Target) -> None:
    async def once() -> None:
        async with target.log_in() as peer:
            while not peer.over:
                await peer.change_keys()

    await again_and_again(once)


async def small_packets_after_the_login(target: Target) -> None:
    async def once() -> None:
        async with target.log_in() as peer:
            while not peer.over:
                await peer.send(*[ignore()] * BURST)
                await asyncio.sleep(0)  # A loop that never waits hears nothing.

    await again_and_again(once)


async def _ask(peer: Peer, target: Target, size: int) -> None:
    """For a stream that never ends, in packets of at most this size."""
    host, port = target.service
    await peer.send(open_direct(host, port, window=WIDEST, packet=size))
    answer = await peer.expect(OPEN_CONFIRMATION, OPEN_FAILURE)
    if answer.number == OPEN_CONFIRMATION:
        await peer.send(data(answer.sender, TERABYTE))


async def packets_of_one_byte(target: Target) -> None:
    async def once() -> None:
        async with target.log_in() as peer:
            await _ask(peer, target, 1)
            while not peer.over:
                peer.forget()
                await asyncio.sleep(0.1)

    await again_and_again(once)


async def consumers_that_never_read(target: Target) -> None:
    async with AsyncExitStack() as stack:
        for _ in range(SILENT):
            peer = await stack.enter_async_context(target.log_in())
            await _ask(peer, target, 32 * 1024)
            peer.stop_reading()
        under_way()
        await asyncio.Event().wait()


async def publish_and_withdraw(target: Target) -> None:
    port = free_port()

    async def once() -> None:
        async with target.log_in() as peer:
            while not peer.over:
                for request in publish("localhost", port), withdraw("localhost", port):
                    await peer.send(request)
                    await peer.expect(REQUEST_SUCCESS, REQUEST_FAILURE)
                peer.forget()

    await again_and_again(once)


ATTACKS: Final[dict[str, Attack]] = {
    attack.__name__: attack
    for attack in (
        idle_strangers,
        small_packets_before_the_login,
        key_exchanges_before_the_login,
        key_exchanges_after_the_login,
        small_packets_after_the_login,
        packets_of_one_byte,
        consumers_that_never_read,
        publish_and_withdraw,
    )
}


async def run(attack: Attack, target: Target) -> None:
    attacking = asyncio.ensure_future(attack(target))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, attacking.cancel)
    with suppress(asyncio.CancelledError):
        await attacking


if __name__ == "__main__":
    _, name, port, user, service, key = sys.argv
    host, _, service_port = service.rpartition(":")
    there = Target(int(port), user, (host, int(service_port)), key)
    asyncio.run(run(ATTACKS[name], there))
