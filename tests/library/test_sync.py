"""The library for programs that block."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from anyio import BrokenResourceError, ClosedResourceError, EndOfStream

import relay
from tests.library.conftest import B

MIB = 1 << 20


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def echo(stream: relay.sync.Stream) -> None:
    for data in stream:
        stream.send(data)
    stream.send_eof()


@contextmanager
def echoed(tunnel: relay.sync.Tunnel, name: str) -> Iterator[relay.sync.Listener]:
    with tunnel.listen(name) as listener:
        serving = threading.Thread(target=listener.serve, args=(echo,))
        serving.start()
        try:
            yield listener
        finally:
            listener.close()
            serving.join()


def test_streams_and_sockets(b: B) -> None:
    sent = os.urandom(3 * MIB)
    with relay.sync.connect(**b.arguments("agent_key")) as c, echoed(c, "sync:1") as listener:
        assert listener.address == "sync:1"
        with relay.sync.connect(**b.arguments()) as a:
            assert a.connected
            with a.open("sync:1") as stream:
                sending = threading.Thread(target=lambda: (stream.send(sent), stream.send_eof()))
                sending.start()
                assert b"".join(stream) == sent
                sending.join()
                with pytest.raises(EndOfStream):
                    stream.receive()
                with pytest.raises(ClosedResourceError):
                    stream.send(b"x")
            with pytest.raises(ClosedResourceError):
                stream.receive()
            with a.open_socket("sync:1") as sock:
                sock.sendall(b"hello")
                assert sock.recv(5) == b"hello"
                sock.shutdown(socket.SHUT_WR)
                assert sock.recv(1) == b""
        assert not a.connected
        with pytest.raises(relay.UsageError, match="closed"):
            a.open("sync:1")


def test_what_breaks_is_no_end(b: B) -> None:
    with relay.sync.connect(**b.arguments("agent_key")) as c, echoed(c, "breaks:1"):
        with relay.sync.connect(**b.arguments()) as a:
            sock, stream = a.open_socket("breaks:1"), a.open("breaks:1")
            stream.send(b"x")
            assert stream.receive() == b"x"
        with pytest.raises(BrokenResourceError):
            stream.receive()
        with pytest.raises(ConnectionResetError):
            sock.recv(1)
        stream.close()
        sock.close()


def test_forward_publish_and_events(b: B) -> None:
    with (
        relay.sync.connect(**b.arguments()) as tunnel,
        echoed(tunnel, "inner:1"),
        tunnel.forward("inner:1") as forward,
    ):
        events = tunnel.events()
        with tunnel.publish("outer:1", to=forward.address) as service:
            assert service.published
        assert isinstance(next(events), relay.ServiceGranted)
        assert isinstance(next(events), relay.ServiceGivenUp)
        with tunnel.publish("outer:2", to=forward.address), tunnel.open("outer:2") as stream:
            stream.timeout = 30
            stream.send(b"round")
            assert stream.receive() == b"round"


def test_errors(b: B) -> None:
    with relay.sync.connect(**b.arguments(wait=0)) as tunnel:
        with pytest.raises(relay.NotPublished):
            tunnel.open("nobody:1")
        with pytest.raises(relay.NotPublished):
            tunnel.open_socket("nobody:1")
    with pytest.raises(relay.HostKeyRefused), relay.sync.connect(**b.arguments(known_hosts="none")):
        pass
