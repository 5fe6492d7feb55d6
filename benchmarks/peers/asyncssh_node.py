"""A, B or C of the chain made of stock asyncssh: its public interface, as its guide shows it.

    python -m benchmarks.peers.asyncssh_node server HOST_KEY AUTHORIZED_KEYS
    python -m benchmarks.peers.asyncssh_node publish B_PORT KEY KNOWN_HOSTS SERVICE_PORT
    python -m benchmarks.peers.asyncssh_node open B_PORT KEY KNOWN_HOSTS PUBLISHED_PORT

Set for speed: aes128-gcm alone, no compression, and re-keying as seldom as OpenSSH does it under
that cipher (asyncssh would do it every GiB). Window (2 MiB) and packet size (32 KiB) of forwarded
streams are not open to its user.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import asyncssh

REKEY_BYTES = 64 << 30
SETTINGS: dict[str, Any] = {
    "encryption_algs": ["aes128-gcm@openssh.com"],
    "compression_algs": ["none"],
    "rekey_bytes": REKEY_BYTES,
}


class Server(asyncssh.SSHServer):
    """Allows every forward."""

    def connection_requested(
        self, dest_host: str, dest_port: int, orig_host: str, orig_port: int
    ) -> bool:
        return True

    def server_requested(self, listen_host: str, listen_port: int) -> bool:
        return True


async def serve(host_key: str, authorized_keys: str) -> None:
    """B."""
    acceptor = await asyncssh.listen(
        "127.0.0.1",
        0,
        server_factory=Server,
        server_host_keys=[host_key],
        authorized_client_keys=authorized_keys,
        **SETTINGS,
    )
    print(f"ready on {acceptor.get_port()}", flush=True)
    await acceptor.wait_closed()


async def forward(role: str, b_port: str, key: str, known_hosts: str, target: str) -> None:
    """C, which publishes the service, or A, which opens what C has published."""
    async with asyncssh.connect(
        "127.0.0.1",
        int(b_port),
        username="bench",
        client_keys=[key],
        known_hosts=known_hosts,
        config=None,
        **SETTINGS,
    ) as connection:
        forward_port = (
            connection.forward_remote_port if role == "publish" else connection.forward_local_port
        )
        listener = await forward_port("127.0.0.1", 0, "127.0.0.1", int(target))
        print(f"ready on {listener.get_port()}", flush=True)
        await connection.wait_closed()


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["server", host_key, authorized_keys]:
            asyncio.run(serve(host_key, authorized_keys))
        case ["publish" | "open" as role, b_port, key, known_hosts, target]:
            asyncio.run(forward(role, b_port, key, known_hosts, target))
        case _:
            sys.exit(__doc__)
