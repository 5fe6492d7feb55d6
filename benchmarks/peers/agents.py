"""Many agents in one process: each a connection to B, from an address of its own, that publishes
one service and stays. Who is refused or loses the connection tries again within half a second.

    python -m benchmarks.peers.agents B_PORT USER KEY SERVICE COUNT

SERVICE is `HOST:PORT`; `{}` in it is the agent's number. Each time when all are up it says so:
`1: all up`, and after they were lost `2: all up`.

Stock asyncssh, with one key and the quickest algorithms that every B has, so that this side costs
little.
"""

from __future__ import annotations

import asyncio
import random
import sys
from typing import Any

import asyncssh

RETRY_SECONDS = 0.5
AT_ONCE = 100
"""Logins under way: with more of them this process would only answer each one later."""

SETTINGS: dict[str, Any] = {
    "config": None,
    "known_hosts": None,
    "agent_path": None,
    "compression_algs": ["none"],
    "encryption_algs": ["aes128-gcm@openssh.com"],
    "kex_algs": ["curve25519-sha256"],
    "login_timeout": 300,
}


class Agents:
    """All of them, and how many are up."""

    def __init__(self, port: int, user: str, key: str, service: str, count: int) -> None:
        self._port = port
        self._service = service
        self._count = count
        self._settings = SETTINGS | {
            "username": user,
            "client_keys": [asyncssh.read_private_key(key)],
        }
        self._turn = asyncio.Semaphore(AT_ONCE)
        self._up = 0
        self._times = 0

    async def run(self) -> None:
        await asyncio.gather(*(self._stay(number) for number in range(self._count)))

    async def _stay(self, number: int) -> None:
        while True:
            try:
                async with self._turn:
                    connection = await self._connect(number)
            except (OSError, asyncssh.Error):
                pass
            else:
                self._count_up()
                await connection.wait_closed()
                self._up -= 1
            await asyncio.sleep(random.uniform(0, RETRY_SECONDS))

    async def _connect(self, number: int) -> asyncssh.SSHClientConnection:
        """Connected, logged in, published."""
        address = f"127.1.{number // 250}.{number % 250 + 1}", 0
        connection = await asyncssh.connect(
            "127.0.0.1", self._port, local_addr=address, **self._settings
        )
        host, _, port = self._service.format(number).rpartition(":")
        try:
            await connection.forward_remote_port(host, int(port), "127.0.0.1", 9)
        except BaseException:
            connection.abort()
            raise
        return connection

    def _count_up(self) -> None:
        self._up += 1
        if self._up == self._count:
            self._times += 1
            print(f"{self._times}: all up", flush=True)


if __name__ == "__main__":
    port, user, key, service, count = sys.argv[1:]
    asyncio.run(Agents(int(port), user, key, service, int(count)).run())
