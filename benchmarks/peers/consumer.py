"""A client that takes bulk on several streams as fast as it comes. A process of its own, so that it
does not wait for the load's interpreter, nor the load for it.

    python -m benchmarks.peers.consumer PORT STREAMS WARM_UP_SECONDS SECONDS

It says `flowing` after the warm-up, and `took BYTES` when the seconds are over; then it ends.
"""

from __future__ import annotations

import selectors
import socket
import sys
import time

from benchmarks import load, service

ENDLESS = 1 << 50


def main(port: int, streams: int, warm_up: float, seconds: float) -> None:
    with selectors.DefaultSelector() as ready:
        for _ in range(streams):
            stream = load.connect(port)
            load.begin_download(stream, ENDLESS)
            ready.register(stream, selectors.EVENT_READ)
        _take(ready, warm_up)
        print("flowing", flush=True)
        print(f"took {_take(ready, seconds)}", flush=True)


def _take(ready: selectors.BaseSelector, seconds: float) -> int:
    """How many bytes came in so many seconds."""
    buffer, taken = bytearray(service.CHUNK), 0
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        for key, _ in ready.select(left):
            assert isinstance(key.fileobj, socket.socket)
            count = key.fileobj.recv_into(buffer)
            if not count:
                sys.exit("a bulk stream ended")
            taken += count
    return taken


if __name__ == "__main__":
    port, streams, warm_up, seconds = sys.argv[1:]
    main(int(port), int(streams), float(warm_up), float(seconds))
