"""`relay-agent -R` without a target, and `relay-connect -D`: what is half must not look whole."""

from __future__ import annotations

import signal
import socket

import pytest

from tests.programs.chain import Server, Site, relay_agent, relay_server
from tests.programs.process import Process
from tests.programs.traffic import (
    MIB,
    Service,
    closing,
    dial,
    exchange,
    is_reset,
    receive,
    reset,
    send,
)


class Exit:
    """A SOCKS client's way to whatever C reaches."""

    def __init__(self, site: Site) -> None:
        self.b: Server = relay_server(site)
        self.service: Service = site.service()
        self.c: Process = site.ours(
            "relay-agent", *site.leg(self.b, "agent"), "--socks-exit", "-R", "gpu1:1080",
            f"{site.user}@127.0.0.1",
        )  # fmt: skip
        self.c.wait_for("gpu1:1080 -> SOCKS published")
        self.a: Process = site.ours(
            "relay-connect", *site.leg(self.b, "client"), "-L", "127.0.0.1:0:gpu1:1080",
            f"{site.user}@127.0.0.1",
        )  # fmt: skip
        self.port = int(self.a.wait_for(r"127\.0\.0\.1:(\d+) -> \S+ ready")[1])

    def stream(self, early: bytes = b"") -> tuple[socket.socket, socket.socket]:
        return request(self.port, "localhost", self.service.port, early), self.service.accept()


def request(port: int, host: str, hostport: int, early: bytes = b"") -> socket.socket:
    """A client whose request was granted; `early` it sent right behind it."""
    client = dial(port)
    name = bytes((len(host),)) + host.encode()
    client.sendall(b"\5\1\0\5\1\0\3" + name + hostport.to_bytes(2, "big") + early)
    assert take(client, 12)[:4] == b"\5\0\5\0"
    return client


def take(sock: socket.socket, size: int) -> bytes:
    came = b""
    while len(came) < size and (part := sock.recv(size - len(came))):
        came += part
    return came


@pytest.mark.parametrize("lost", ["a", "b", "c", "client"])
def test_an_upload_that_broke_off_is_no_whole_one(site: Site, lost: str) -> None:
    way = Exit(site)
    client, service = way.stream()
    with closing(client, service):
        client.sendall(b"half of it")
        assert take(service, 10) == b"half of it"
        if lost == "client":
            reset(client)
        else:
            process = way.b.process if lost == "b" else getattr(way, lost)
            process.signal(signal.SIGKILL)
        assert is_reset(service)


def test_content_and_halves(site: Site) -> None:
    way = Exit(site)
    exchange(*way.stream(), 16 * MIB)
    client, service = way.stream(b"early")
    with closing(client, service):
        assert take(service, 5) == b"early"
        sent = send(client, MIB)
        assert receive(service) == (MIB, sent)
        sent = send(service, MIB, seed=1)
        assert receive(client) == (MIB, sent)
    client, service = way.stream()
    with closing(client, service):
        sent = send(service, MIB)
        assert receive(client) == (MIB, sent)
        sent = send(client, MIB, seed=1)
        assert receive(service) == (MIB, sent)


def test_everything_at_once_and_the_end_behind_it(site: Site) -> None:
    """A client that waits for nothing: its end is there before the target is."""
    way = Exit(site)
    with dial(way.port) as client:
        port = way.service.port.to_bytes(2, "big")
        client.sendall(b"\5\1\0\5\1\0\1\x7f\0\0\1" + port + b"all")
        client.shutdown(socket.SHUT_WR)
        with way.service.accept() as service:
            assert receive(service)[0] == 3
            service.sendall(b"answer")
        assert take(client, 12)[:4] == b"\5\0\5\0"
        assert receive(client)[0] == 6


@pytest.mark.parametrize(
    ("said", "answer"),
    [(b"GET / HTTP/1.0\r\n\r\n", b""), (b"\5\1\2", b"\5\xff"), (b"\5\1\0\5\2\0\1" + bytes(6), b"")],
)
def test_who_is_turned_away_is_told_and_not_reset(site: Site, said: bytes, answer: bytes) -> None:
    way = Exit(site)
    with dial(way.port) as client:
        client.sendall(said)
        came = b""
        while part := client.recv(64):
            came += part
        assert came.startswith(answer)
    way.c.wait_for("SOCKS client refused")
    exchange(*way.stream(), MIB)


@pytest.mark.parametrize("lost", ["b", "service"])
def test_a_download_through_a_local_socks_port_that_broke_off_is_no_whole_one(
    site: Site, lost: str
) -> None:
    b = relay_server(site)
    service = site.service()
    relay_agent(site, b, "gpu1:8000", service.port)
    a = site.ours(
        "relay-connect", *site.leg(b, "client"), "-D", "127.0.0.1:0", f"{site.user}@127.0.0.1"
    )
    port = int(a.wait_for(r"127\.0\.0\.1:(\d+) -> SOCKS ready")[1])
    client = request(port, "gpu1", 8000)
    far = service.accept()
    with closing(client, far):
        far.sendall(b"half of it")
        assert take(client, 10) == b"half of it"
        if lost == "service":
            reset(far)
        else:
            b.process.signal(signal.SIGKILL)
        assert is_reset(client)
