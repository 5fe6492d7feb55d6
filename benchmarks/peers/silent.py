"""Consumers that ask for everything and read nothing, each on a connection to B of its own.

    python -m benchmarks.peers.silent B_PORT SERVICE COUNT KEY...

Says `ready` when all have logged in, at a few for each key, and `asked` when, told by SIGUSR1, each
has asked its stream for a terabyte with the widest window there is. Stock asyncssh, of which only
the socket is no longer read.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from typing import Any

import asyncssh

WIDEST = 2**31 - 1
TERABYTE = b"download 1000000000000\n\n"


async def consume(port: int, service: str, count: int, keys: list[str]) -> None:
    """Connect all, wait for the signal, ask, and stay."""
    told = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, told.set)
    legs = [await _connect(port, keys[number % len(keys)]) for number in range(count)]
    print("ready", flush=True)
    await told.wait()
    host, _, service_port = service.rpartition(":")
    streams = []
    for leg in legs:
        reader, writer = await leg.open_connection(host, int(service_port), window=WIDEST)
        streams.append(reader)
        writer.write(TERABYTE)
        transport: Any = leg._transport
        transport.pause_reading()
    print("asked", flush=True)
    await asyncio.Event().wait()


async def _connect(port: int, key: str) -> asyncssh.SSHClientConnection:
    return await asyncssh.connect(
        "127.0.0.1", port, config=None, known_hosts=None, username="bench", agent_path=None,
        client_keys=[key], encryption_algs=["aes128-gcm@openssh.com"],
    )  # fmt: skip


if __name__ == "__main__":
    _, port, service, count, *keys = sys.argv
    asyncio.run(consume(int(port), service, int(count), keys))
