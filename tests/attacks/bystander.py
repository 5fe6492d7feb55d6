"""Somebody who does nothing wrong, next to an attack: its streams must go on, and soon."""

from __future__ import annotations

import os
import select
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Final

from tests.programs.chain import Chain
from tests.programs.process import GUARD
from tests.programs.traffic import MIB, dial, exchange

PIECE: Final = 64
"""Bytes of a round trip: about a token."""

PAUSE: Final = 0.002
"""Seconds between two round trips. It measures; it is no load."""

MAX_GROWTH: Final = 64 * MIB
"""What an attack may cost B in memory. One leg may make it hold that much and no more."""


class Bystander:
    """A stream through A, B and C on which small pieces go there and back without end. Each of
    them is random, and compared."""

    def __init__(self, chain: Chain) -> None:
        self._client, self._service = own_stream(chain)
        self._b = chain.b.process
        self._memory = self._b.memory
        # Seconds that each round trip took, owned by the thread; and who waits for the next.
        self.round_trips: list[float] = []
        self._changed = threading.Condition()
        self._stop = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def goes_on(self) -> None:
        """Wait for a round trip that began after this was called, each byte of it right."""
        with self._changed:
            wanted = len(self.round_trips) + 2  # One is under way.
            self._changed.wait_for(lambda: self._error or len(self.round_trips) >= wanted, GUARD)
            if self._error:
                raise AssertionError("the bystander's stream broke") from self._error
            assert len(self.round_trips) >= wanted, "the bystander's stream stands still"

    @property
    def slowest(self) -> float:
        """Seconds of the longest round trip so far; the one that is under way does not count."""
        return max(self.round_trips)

    @property
    def growth(self) -> int:
        """Bytes by which B's memory has grown since the bystander came."""
        return self._b.memory - self._memory

    def leave(self) -> None:
        self._stop.set()
        self._thread.join(GUARD)
        self._client.close()
        self._service.close()

    def _run(self) -> None:
        try:
            while not self._stop.wait(PAUSE):
                began = time.monotonic()
                _pass_on(self._client, self._service)
                _pass_on(self._service, self._client)
                took = time.monotonic() - began
                with self._changed:
                    self.round_trips.append(took)
                    self._changed.notify_all()
        except BaseException as error:
            with self._changed:
                self._error = error
                self._changed.notify_all()


def _pass_on(sender: socket.socket, receiver: socket.socket) -> None:
    piece = os.urandom(PIECE)
    sender.sendall(piece)
    came = receiver.recv(PIECE, socket.MSG_WAITALL)
    assert came == piece, f"{len(came)} bytes came, not those that were sent"


def own_stream(chain: Chain) -> tuple[socket.socket, socket.socket]:
    """A stream through A. What attackers have opened at the same service is dropped on the way; as
    long as theirs are too many, ours is refused and tried again."""
    while True:
        client, marker = dial(chain.port), os.urandom(16)
        client.sendall(marker)
        service = _accept(chain, client, marker)
        if service is not None:
            return client, service
        client.close()


def _accept(chain: Chain, client: socket.socket, marker: bytes) -> socket.socket | None:
    """The service's end of the client's stream; None: it was refused."""
    while True:
        ready, _, _ = select.select([chain.service.listener, client], [], [], GUARD)
        assert ready, "neither accepted nor refused"
        if chain.service.listener not in ready:
            return None
        service = chain.service.accept()
        with suppress(ConnectionResetError):
            if service.recv(len(marker), socket.MSG_WAITALL) == marker:
                return service
        service.close()


@contextmanager
def standing_by(chain: Chain, bulk: int = 0, growth: int = MAX_GROWTH) -> Iterator[Bystander]:
    """A bystander for the length of an attack, and beside its small pieces `bulk` bytes each way.
    At the end both are whole, B has not grown too much, and no program has logged a fault."""
    bystander = Bystander(chain)
    try:
        with ThreadPoolExecutor(1) as threads:
            seed = int.from_bytes(os.urandom(2))
            running = threads.submit(exchange, *own_stream(chain), bulk, seed) if bulk else None
            yield bystander
            if running is not None:
                running.result()
        bystander.goes_on()
        grown = bystander.growth
        assert grown < growth, f"B's memory grew by {grown / MIB:.0f} MiB"
    finally:
        bystander.leave()
    for program in (chain.a, chain.b.process, chain.c):
        assert not program.said("Traceback|internal error|mistake in"), program
