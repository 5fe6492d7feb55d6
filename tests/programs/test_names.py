"""Names that are none, from users and from peers: each is refused in a line, and nothing ends."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.programs.chain import Site, relay_server
from tests.programs.sessions import start_sessions
from tests.programs.traffic import MIB, dial, exchange

LONG_LABEL = "x" * 64 + ".example"
EMPTY_LABEL = "a..b"


@pytest.mark.parametrize("host", [LONG_LABEL, EMPTY_LABEL, "x" * 300])
@pytest.mark.parametrize("program", ["relay-connect", "relay-agent"])
def test_the_server(site: Site, program: str, host: str) -> None:
    site.key("client")
    forward = ["-L", "0:gpu1:8000"] if program == "relay-connect" else ["-R", "gpu1:1:localhost:1"]
    started = site.ours(
        program, "--once", "-i", site.key("client"), "-o", f"HostName={host}", *forward, "me@b"
    )
    assert started.end() in (1, 2)
    assert started.said(r"parts have 1 to 63 characters|at most 255 characters|no name of a host")
    assert not started.said("Traceback")


@pytest.mark.parametrize("option", ["-L", "-D"])
def test_the_address_to_listen_on(site: Site, option: str) -> None:
    forward = f"{LONG_LABEL}:0" + (":gpu1:8000" if option == "-L" else "")
    started = site.ours("relay-connect", "-i", site.key("client"), option, forward, "me@b")
    assert started.end() == 1
    assert started.said("cannot listen on .*parts have 1 to 63 characters")
    assert not started.said("Traceback")


@pytest.fixture
def socks_port(site: Site) -> Iterator[int]:
    """Where a SOCKS client reaches an agent's exit."""
    b = relay_server(site)
    agent = site.ours(
        "relay-agent", *site.leg(b, "agent"), "--socks-exit", "-R", "gpu1:1080",
        f"{site.user}@127.0.0.1",
    )  # fmt: skip
    agent.wait_for("gpu1:1080 -> SOCKS published")
    connect = site.ours(
        "relay-connect", *site.leg(b, "client"), "-L", "127.0.0.1:0:gpu1:1080",
        f"{site.user}@127.0.0.1",
    )  # fmt: skip
    yield int(connect.wait_for(r"127\.0\.0\.1:(\d+) -> \S+ ready")[1])
    assert not agent.said("Traceback")


@pytest.mark.parametrize(("host", "port"), [(LONG_LABEL, 80), (EMPTY_LABEL, 80), ("gpu1", 0)])
def test_the_target_of_a_socks_client(socks_port: int, host: str, port: int) -> None:
    request = b"\5\1\0\3" + bytes((len(host),)) + host.encode() + port.to_bytes(2, "big")
    with dial(socks_port) as client:
        client.sendall(b"\5\1\0" + request)
        answer = b""
        while len(answer) < 4 and (part := client.recv(12)):
            answer += part
        assert answer[2:4] == b"\5\5"


@pytest.mark.parametrize("host", [LONG_LABEL, EMPTY_LABEL])
def test_the_target_within_a_session(site: Site, host: str) -> None:
    """Whoever asks for it is refused; the session and its other streams live on."""
    chain = start_sessions(
        site, a_options=("-L", f"127.0.0.1:0:{host}:80"), c_options=("--allow", "*:*")
    )
    wrong = int(chain.a.wait_for(rf"127\.0\.0\.1:(\d+) -> {host}:80 ready")[1])
    right = int(chain.a.wait_for(rf":(\d+) -> \S+:{chain.service.port} ready")[1])
    client, service = dial(right), chain.service.accept()
    with dial(wrong) as visitor:
        assert visitor.recv(1) == b""
    chain.a.wait_for(f"{host}:80: stream closed, .*refused: no name of a host")
    exchange(client, service, MIB)
    assert chain.c.is_running
    assert not chain.c.said("internal error|Traceback")
