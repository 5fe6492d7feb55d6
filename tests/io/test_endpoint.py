"""Endpoints on a leg without a socket: what many of them read at once leaves together."""

from __future__ import annotations

import os
import socket
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from math import inf

import pytest

from relay.io import engine as engine_module
from relay.io.endpoint import Endpoint
from relay.io.local import NO_PACING
from relay.wire.numbers import MSG_CHANNEL_DATA
from relay.wire.packet import DATA_OFFSET, frame_data
from tests.ssh.bench import Bench
from tests.turns import until

STREAMS = 8
PACKETS = 10_000
FIRST = 100
"""The peer's number for the first channel."""


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@contextmanager
def opened(bench: Bench) -> Iterator[list[socket.socket]]:
    """Local peers, each with a stream on the leg to C that is confirmed."""
    leg, peers, endpoints = bench.c, [], []
    for number in range(STREAMS):
        ours, theirs = socket.socketpair()
        endpoint = Endpoint(leg, lambda endpoint, reason: None)
        endpoint.open(ours, b"direct-tcpip", b"")
        endpoint.confirmed(FIRST + number, 2**20, 2**17)
        peers.append(theirs)
        endpoints.append(endpoint)
    leg.engine.flush()
    bench.read(leg)
    try:
        yield peers
    finally:
        for endpoint in endpoints:
            endpoint.leg_lost()
        for peer in peers:
            peer.close()


async def sends_for(bench: Bench, peers: list[socket.socket], texts: list[bytes]) -> int:
    """All peers write at once; in how many sends does that leave? Checks what left."""
    sends = bench.stream(bench.c).sends
    sends.clear()
    for peer, text in zip(peers, texts, strict=True):
        peer.sendall(text)
    came: dict[int, bytes] = {}

    def all_came() -> bool:
        for payload in bench.read(bench.c):
            assert payload[0] == MSG_CHANNEL_DATA
            label = int.from_bytes(payload[1:5], "big")
            came[label] = came.get(label, b"") + payload[9:]
        return sum(map(len, came.values())) >= sum(map(len, texts))

    await until(all_came)
    assert came == {FIRST + number: text for number, text in enumerate(texts)}
    return len(sends)


async def test_what_many_streams_bring_at_once_leaves_in_one_send(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench = Bench()
    with opened(bench) as peers:
        texts = [f"request {number}".encode() for number in range(STREAMS)]
        monkeypatch.setattr(engine_module, "CROWDED", inf)
        assert await sends_for(bench, peers, texts) == 1
        monkeypatch.setattr(engine_module, "CROWDED", 0.0)
        assert await sends_for(bench, peers, texts) == STREAMS


async def test_more_than_the_scratch_memory_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight streams with 100 KiB each: the memory is used anew, and nothing is written over."""
    monkeypatch.setattr(engine_module, "CROWDED", inf)
    bench = Bench()
    with opened(bench) as peers:
        for peer in peers:
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2**18)
        await sends_for(bench, peers, [os.urandom(100 * 1024) for _ in peers])


@pytest.mark.skipif(not hasattr(socket, "TCP_CONGESTION"), reason="Linux's TCP_CONGESTION")
async def test_a_local_socket_on_this_machine_is_not_paced() -> None:
    bench = Bench()
    with socket.create_server(("127.0.0.1", 0)) as service:
        ours = socket.create_connection(service.getsockname())
        endpoint = Endpoint(bench.c, lambda endpoint, reason: None)
        endpoint.open(ours, b"direct-tcpip", b"")
        try:
            chosen = ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16)
            assert chosen.rstrip(b"\0") == NO_PACING
        finally:
            endpoint.leg_lost()


async def test_many_small_packets_wait_in_little_memory() -> None:
    """For a local peer that does not read. What the window allows is what may wait, and not some
    hundred times that: a packet may be one byte."""
    bench = Bench()
    with opened(bench) as peers:
        channels = bench.c.mux.channels.values()
        endpoint = next(channel for channel in channels if isinstance(channel, Endpoint))
        packet = memoryview(bytearray(64))
        packet[DATA_OFFSET] = ord("x")
        sock = endpoint._sock
        assert sock is not None
        with suppress(BlockingIOError):
            while True:
                sock.send(bytes(64 * 1024))
        tracemalloc.start()
        for _ in range(PACKETS):
            endpoint.data(packet, 0, frame_data(packet, 0, 1), 1)
        held, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert held < 4 * PACKETS
        peers[0].setblocking(False)
        came = b""

        def all_came() -> bool:
            nonlocal came
            try:
                came += peers[0].recv(2**20)
            except BlockingIOError:
                return False
            return came.count(b"x") == PACKETS

        await until(all_came)
        assert came.endswith(b"x" * PACKETS)
