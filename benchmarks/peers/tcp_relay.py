"""One hop of the plain chain: accept TCP streams, dial the next hop, pass bytes. No encryption.

    python -m benchmarks.peers.tcp_relay NEXT_PORT

This is the limit for any relay in Python, so it is written as well as asyncio allows: one reusable
buffer for each direction, one receive and one send for each turn, and no copy while the next
socket keeps up.

When it does not, the transport keeps the rest. Its high-water mark is 0, so it pauses the source
at once and resumes it only when all has left: the buffer is never overwritten while in use.
"""

from __future__ import annotations

import asyncio
import sys

BUFFER = 512 * 1024


class End(asyncio.BufferedProtocol):
    """One end of a stream: whatever it receives leaves by the other end."""

    transport: asyncio.Transport
    other: End

    def __init__(self) -> None:
        self._buffer = memoryview(bytearray(BUFFER))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Asyncio has set TCP_NODELAY already."""
        assert isinstance(transport, asyncio.Transport)
        transport.set_write_buffer_limits(high=0)
        self.transport = transport

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.other.transport.write(self._buffer[:nbytes])

    def eof_received(self) -> bool:
        self.other.transport.write_eof()
        return True  # half-close: the other direction goes on

    def pause_writing(self) -> None:
        self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        self.other.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self.other.transport.close()


class NearEnd(End):
    """The end that was accepted. It reads nothing until the next hop is there."""

    def __init__(self, next_port: int) -> None:
        super().__init__()
        self.other = End()
        self.other.other = self
        self._next_port = next_port

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.transport.pause_reading()
        self._dialling = asyncio.create_task(self._dial())

    async def _dial(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            await loop.create_connection(lambda: self.other, "127.0.0.1", self._next_port)
        except OSError:
            self.transport.abort()
        else:
            self.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self._dialling.cancel()  # nothing happens if it is done
        if hasattr(self.other, "transport"):
            super().connection_lost(exc)


async def main(next_port: int) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: NearEnd(next_port), "127.0.0.1", 0, backlog=4096)
    host, port = server.sockets[0].getsockname()
    print(f"listening on {host}:{port}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
