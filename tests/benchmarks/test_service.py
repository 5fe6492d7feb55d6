"""The service and the load that speaks with it, without a chain between them."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable

import pytest

from benchmarks import crowd, load, service
from benchmarks.errors import BrokenError


@pytest.fixture(scope="module")
def connect() -> Callable[[], socket.socket]:
    listener = socket.create_server(("127.0.0.1", 0), backlog=64)
    threading.Thread(target=service.Service(listener).run, daemon=True).start()
    port = listener.getsockname()[1]
    return lambda: load.connect(port)


def test_bulk_goes_both_ways(connect: Callable[[], socket.socket]) -> None:
    for transfer in (load.download, load.upload):
        with connect() as stream:
            assert transfer(stream, 1_000_001) > 0


def test_echoes_on_many_streams(connect: Callable[[], socket.socket]) -> None:
    with connect() as stream:
        load.begin_echo(stream)
        assert len(load.round_trips(stream, 10)) == 10
    assert crowd.requests_per_second(connect, streams=5, seconds=0.01) > 0
    assert crowd.streams_per_second(connect, count=30, at_once=7) > 0


def test_an_unknown_word_ends_the_stream(connect: Callable[[], socket.socket]) -> None:
    with connect() as stream:
        stream.sendall(b"nonsense\n")
        assert stream.recv(1) == b""


def test_a_stream_that_ends_within_a_reply_is_no_result() -> None:
    near, far = socket.socketpair()
    with near, far:
        far.sendall(load.REQUEST[:-1])
        far.shutdown(socket.SHUT_WR)
        with pytest.raises(BrokenError):
            load.round_trips(near, 1)


def test_a_line_is_read_as_it_comes_and_no_further() -> None:
    near, far = socket.socketpair()
    with near, far:
        far.sendall(b"ec")
        threading.Timer(0.05, far.sendall, [b"ho\nmore"]).start()
        assert service.read_line(near) == b"echo\n"
        assert near.recv(10) == b"more"
        far.sendall(b"no end")
        far.close()
        assert service.read_line(near) == b"no end"
