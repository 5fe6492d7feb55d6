"""Legs that are lost come back by themselves, and what cannot come back says so."""

from __future__ import annotations

import signal
import socket
import time
from pathlib import Path

import pytest

from tests.programs.chain import (
    NAMED,
    PORT,
    Chain,
    Server,
    Site,
    relay_agent,
    relay_connect,
    relay_server,
    start_chain,
)
from tests.programs.process import Process
from tests.programs.sessions import start_sessions
from tests.programs.traffic import MIB, closing, dial, exchange, free_port, is_reset

BACK = r"connected to \S+ again, after"
LOST = r"lost \S+: .*; trying again in"
SLOWLY = r"; trying again in (?:[6-9]\d s|1[01]\d s|2 min)"

TRANSFER = MIB


def kill(b: Server) -> None:
    b.process.signal(signal.SIGKILL)
    b.process.end()


def start_again(site: Site, b: Server) -> Server:
    """B as it was: the same port and, from its folder, the same key."""
    process = site.ours(
        "relay-server", "--listen", f"127.0.0.1:{b.port}", "--state-dir", site.folder / "state",
        "--drain", "0",
    )  # fmt: skip
    process.wait_for("listening on")
    return Server(process, b.port)


def wait_until_back(chain: Chain) -> None:
    for program in (chain.c, chain.a):
        program.wait_for(BACK)


def publishing(site: Site, b: Server, *options: str | Path, key: str = "agent") -> Process:
    """An agent that nobody expects to succeed."""
    return site.ours("relay-agent", *site.leg(b, key), *options, f"{site.user}@127.0.0.1")


def opening(site: Site, b: Server, *options: str | Path, key: str = "client") -> Process:
    return site.ours("relay-connect", *site.leg(b, key), *options, f"{site.user}@127.0.0.1")


# -- B goes and comes


@pytest.mark.parametrize("bind", [NAMED, PORT])
def test_both_are_back_after_b_was_killed(site: Site, bind: str) -> None:
    chain = start_chain(site, bind)
    client, service = chain.stream()
    with closing(client, service):
        service.sendall(b"half an ans")
        assert client.recv(64) == b"half an ans"
        kill(chain.b)
        assert is_reset(client)
        assert is_reset(service)
    start_again(site, chain.b)
    wait_until_back(chain)
    exchange(*chain.stream(), TRANSFER)
    for program, once in ((chain.a, "ready"), (chain.c, "published")):
        assert sum(once in line for line in program.lines) == 1
        assert sum("lost" in line for line in program.lines) == 1
        assert not program.said("Traceback")


def test_again_and_again(site: Site, chain: Chain) -> None:
    b = chain.b
    for _ in range(3):
        kill(b)
        b = start_again(site, b)
        # (What is lost again at once, for the same reason, is not said again.)
        b.process.wait_for(f"{NAMED} published")
        b.process.wait_for(r"leg up: .*\(client\)")
        exchange(*chain.stream(), TRANSFER)


def test_both_may_be_started_before_b(site: Site) -> None:
    service = site.service()
    b = relay_server(site)
    kill(b)
    agent = publishing(site, b, "-R", f"{NAMED}:localhost:{service.port}")
    connect = opening(site, b, "-L", f"127.0.0.1:0:{NAMED}")
    for program in (agent, connect):
        program.wait_for("cannot connect to .*Connection refused; trying again in")
        assert not program.said("ready|published")
    start_again(site, b)
    agent.wait_for("published")
    port = int(connect.wait_for(r":(\d+) -> \S+ ready")[1])
    exchange(dial(port), service.accept(), TRANSFER)
    assert agent.stop() == connect.stop() == 0


def test_a_signal_ends_who_is_waiting_to_try_again(site: Site, chain: Chain) -> None:
    kill(chain.b)
    for program in (chain.a, chain.c):
        program.wait_for(LOST)
        assert program.stop() == 0


def test_a_server_that_falls_silent_is_noticed_and_found_again(site: Site) -> None:
    alive = ("-o", "ServerAliveInterval=1", "-o", "ServerAliveCountMax=1")
    chain = start_chain(site, a_options=alive, c_options=alive)
    chain.b.process.signal(signal.SIGSTOP)
    chain.a.wait_for("(?i)lost .*keepalive")
    chain.c.wait_for("(?i)lost .*keepalive")
    chain.b.process.signal(signal.SIGCONT)
    wait_until_back(chain)
    exchange(*chain.stream(), TRANSFER)


@pytest.mark.parametrize("victim", ["b", "c"])
def test_sessions_end_to_end_are_back(site: Site, victim: str) -> None:
    sessions = start_sessions(site)
    if victim == "b":
        kill(sessions.b)
        start_again(site, sessions.b)
        sessions.c.wait_for(BACK)
    else:
        state = ("--endpoint", "gpu1", "--state-dir", site.folder / "gpu1")
        sessions.c.stop()
        sessions.a.wait_for(LOST)
        publishing(site, sessions.b, *state).wait_for("published")
    sessions.a.wait_for(BACK)
    exchange(*sessions.stream(), TRANSFER)


@pytest.mark.parametrize("first_words", [b"", b"SSH-2.0-silent\r\n"])
def test_a_server_that_falls_silent_before_the_login_is_noticed(
    site: Site, first_words: bytes
) -> None:
    """As soon as the keepalive would, and not when the patience for a person's hand ends."""
    alive = ("-o", "ServerAliveInterval=1", "-o", "ServerAliveCountMax=1")
    silent = Server(Process("", ["true"], site.folder), free_port())
    with socket.create_server(("127.0.0.1", silent.port)) as sock:
        program = opening(site, silent, *alive, "-L", f"127.0.0.1:0:{NAMED}")
        first, _ = sock.accept()
        with first:
            first.sendall(first_words)
            program.wait_for("cannot connect to .*: no answer; trying again in")
            with sock.accept()[0]:
                assert program.stop() == 0


# -- who comes while B is away


def test_a_connection_made_while_b_is_away_waits_and_then_works(site: Site, chain: Chain) -> None:
    kill(chain.b)
    chain.a.wait_for(LOST)
    client = dial(chain.port)
    # A must not be back before C is.
    chain.a.signal(signal.SIGSTOP)
    start_again(site, chain.b)
    chain.c.wait_for(BACK)
    chain.a.signal(signal.SIGCONT)
    exchange(client, chain.service.accept(), TRANSFER)


def test_a_connection_waits_for_an_agent_that_is_back_later(site: Site, chain: Chain) -> None:
    chain.c.signal(signal.SIGSTOP)
    kill(chain.b)
    chain.a.wait_for(LOST)
    start_again(site, chain.b)
    chain.a.wait_for(BACK)
    client = dial(chain.port)
    chain.a.wait_for(f"{NAMED}: no such service is published; waiting for it")
    chain.c.signal(signal.SIGCONT)
    exchange(client, chain.service.accept(), TRANSFER)
    assert not chain.a.said(f"{NAMED}: .*refused")


def test_a_connection_waits_while_b_stops(site: Site) -> None:
    chain = start_chain(site, b_options=("--drain", "3600"))
    with chain.stream()[0]:
        chain.b.process.signal(signal.SIGTERM)
        chain.b.process.wait_for("stopping: ")
        client = dial(chain.port)
        chain.a.wait_for(f"{NAMED}: the relay is stopping; waiting for it")
        kill(chain.b)
        start_again(site, chain.b)
        exchange(client, chain.service.accept(), TRANSFER)


@pytest.mark.parametrize("wait", ["0", "0.5"])
def test_a_connection_that_has_waited_is_closed(site: Site, wait: str) -> None:
    chain = start_chain(site, a_options=("--wait", wait))
    kill(chain.b)
    chain.a.wait_for(LOST)
    with dial(chain.port) as client:
        assert client.recv(1) == b""
    start_again(site, chain.b)
    wait_until_back(chain)
    exchange(*chain.stream(), TRANSFER)


def test_a_socks_client_that_has_waited_is_told(site: Site, chain: Chain) -> None:
    process = opening(site, chain.b, "--wait", "0", "-D", "127.0.0.1:0")
    port = int(process.wait_for(r":(\d+) -> SOCKS ready")[1])
    kill(chain.b)
    process.wait_for(LOST)
    with dial(port) as client:
        client.sendall(b"\5\1\0" + b"\5\1\0\3\4gpu1" + (8000).to_bytes(2, "big"))
        answer = b""
        while data := client.recv(64):
            answer += data
    assert answer[:2] + answer[3:4] == b"\5\0\1"


def test_a_stream_on_standard_output_is_not_begun_twice(site: Site, chain: Chain) -> None:
    process = opening(site, chain.b, "-W", NAMED)
    with chain.service.accept():
        kill(chain.b)
        assert process.end() == 1
    assert not process.said("again")


def test_a_stream_on_standard_output_waits_no_longer_than_any(site: Site, chain: Chain) -> None:
    kill(chain.b)
    process = opening(site, chain.b, "--wait", "1", "-W", NAMED)
    assert process.end() == 1
    assert process.said("Connection refused; trying again")
    assert process.said("relay-connect: cannot connect to .*Connection refused$")


# -- who does not come back


def test_once(site: Site) -> None:
    chain = start_chain(site, a_options=("--once",), c_options=("--once",))
    kill(chain.b)
    assert chain.a.end() == chain.c.end() == 1
    for program in (chain.a, chain.c):
        assert program.said("relay-(connect|agent): connection")
        assert not program.said("again")


def test_a_key_that_is_refused_ends_connect_but_not_the_agent(site: Site) -> None:
    b = relay_server(site)
    site.key("stranger", None)
    patient = [
        opening(site, b, "--keep-trying", "-L", f"0:{NAMED}", key="stranger"),
        publishing(site, b, "-R", f"{NAMED}:localhost:1", key="stranger"),
    ]
    for program in patient:
        program.wait_for(r"Permission denied \(publickey\).*" + SLOWLY)
        assert program.stop() == 0
    assert opening(site, b, "-L", f"0:{NAMED}", key="stranger").end() == 1


def test_a_host_key_that_changes_ends_connect_but_not_the_agent(site: Site, chain: Chain) -> None:
    patient, _ = relay_connect(site, chain.b, NAMED, "--keep-trying")
    kill(chain.b)
    for file in (site.folder / "state").glob("ssh_host_*"):
        file.unlink()
    start_again(site, chain.b)
    assert chain.a.end() == 1
    assert chain.a.said("^relay-connect: .*has changed: it shows")
    for program in (chain.c, patient):
        program.wait_for("has changed: it shows .*" + SLOWLY)


# -- agents


def test_a_new_agent_takes_over_from_a_frozen_one(site: Site, chain: Chain) -> None:
    client, service = chain.stream()
    second = site.service()
    with closing(client, service):
        service.sendall(b"half an ans")
        assert client.recv(64) == b"half an ans"
        chain.c.signal(signal.SIGSTOP)
        began = time.monotonic()
        relay_agent(site, chain.b, NAMED, second.port)
        took = time.monotonic() - began
        assert is_reset(client)
    exchange(dial(chain.port), second.accept(), TRANSFER)
    print(f"published {took:.2f} s after the start of the new agent")
    # The old one comes back, and does not take it away again.
    chain.c.signal(signal.SIGCONT)
    chain.c.wait_for("another program with the same key has taken over; trying again")
    chain.c.wait_for(f"{NAMED}: refused by the server: .*; it will be asked for again")
    exchange(dial(chain.port), second.accept(), TRANSFER)


def test_a_service_that_is_held_is_asked_for_until_it_is_free(site: Site) -> None:
    service, other = site.service(), site.service()
    b = relay_server(site)
    holder, _ = relay_agent(site, b, NAMED, 1, key="holder")
    agent = publishing(
        site, b,
        "-R", f"{NAMED}:localhost:{service.port}", "-R", f"other:1:localhost:{other.port}",
    )  # fmt: skip
    agent.wait_for(f"{NAMED}: refused by the server.*; it will be asked for again")
    agent.wait_for("other:1 -> .* published")
    # What it could publish works, and goes on working.
    _, port = relay_connect(site, b, "other:1")
    client, far = dial(port), other.accept()
    holder.stop()
    agent.wait_for(f"{NAMED} -> .* published")
    _, port = relay_connect(site, b, NAMED)
    exchange(dial(port), service.accept(), TRANSFER)
    exchange(client, far, TRANSFER)


def test_a_port_that_b_picked_is_asked_for_again(site: Site) -> None:
    """And another one is taken, and told, if it is gone."""
    site.key("agent")
    b = relay_server(site)
    agent, name = relay_agent(site, b, PORT, 1)
    kill(b)
    port = int(name.rpartition(":")[2])
    agent.wait_for(LOST)
    with socket.create_server(("127.0.0.1", port)):
        start_again(site, b)
        agent.wait_for(BACK)
    found = agent.wait_for(r"localhost:(\d+) -> \S+ published", count=2)[1]
    assert int(found) != port
