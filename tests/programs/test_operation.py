"""relay-server under its operator's hand: signals, a supervisor, and the limits."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import asyncssh
import pytest

from relay.core.limits import LEGS_PER_OPENER, OPENERS_PER_AGENT, STRANGER_LINES
from tests.programs.chain import Server, Site, relay_server, start_chain
from tests.programs.process import GUARD
from tests.programs.stock import login, may_login, may_publish, refusal
from tests.programs.traffic import MIB, dial, exchange, is_reset, receive

# -- SIGTERM


def test_open_streams_may_finish(site: Site) -> None:
    chain = start_chain(site, b_options=("--drain", str(GUARD)))
    stream = chain.stream()
    chain.b.process.signal(signal.SIGTERM)
    chain.b.process.wait_for("stopping: 2 legs have open streams")
    with pytest.raises(ConnectionRefusedError):
        dial(chain.b.port)
    exchange(*stream, 8 * MIB)
    assert chain.b.process.end() == 0
    chain.c.wait_for("the relay is stopping")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_what_does_not_finish_is_broken(site: Site, number: signal.Signals) -> None:
    chain = start_chain(site, b_options=("--drain", "0.2"))
    client, service = chain.stream()
    chain.b.process.signal(number)
    assert chain.b.process.end() == 0
    assert is_reset(client)
    assert is_reset(service)


def test_a_second_signal_ends_at_once(site: Site) -> None:
    chain = start_chain(site, b_options=("--drain", "3600"))
    with chain.stream()[0]:
        chain.b.process.signal(signal.SIGTERM)
        chain.b.process.wait_for("stopping: ")
        chain.b.process.signal(signal.SIGHUP)  # This one does not.
        chain.b.process.signal(signal.SIGTERM)
        assert chain.b.process.end() == -signal.SIGTERM


def test_a_leg_without_streams_is_told_at_once(site: Site) -> None:
    b = relay_server(site, "--drain", "3600")

    async def told() -> None:
        async with login(site, b, "client") as leg:
            b.process.signal(signal.SIGTERM)
            await leg.wait_closed()

    asyncio.run(told())
    assert b.process.end() == 0


# -- SIGHUP


def reload(b: Server, pattern: str) -> None:
    b.process.signal(signal.SIGHUP)
    b.process.wait_for(pattern)


def test_sighup_reads_the_configuration_again(site: Site) -> None:
    file = site.folder / "relay.toml"
    file.write_text("services-per-key = 1\n")
    b = relay_server(site, "--config", str(file))

    async def services() -> list[bool]:
        async with login(site, b, "agent") as leg:
            await leg.forward_remote_port("gpu1", 1, "localhost", 1)
            return [await may_publish(leg, "gpu1", 2), await may_publish(leg, "localhost", 0)]

    assert asyncio.run(services()) == [False, False]
    b.process.wait_for("limit hit: services-per-key$")
    file.write_text("services-per-key = 2\nlisten = ['127.0.0.1:1']\ndrain = 0\n")
    reload(b, "services-per-key: 1 -> 2")
    assert not b.process.said("listen stays"), "the command line has the last word"
    assert asyncio.run(services()) == [True, True]
    file.write_text("services-per-key = 'none'\n")
    reload(b, f"{file}:1: services-per-key: 'none': give NUMBER; everything stays as it was")
    assert asyncio.run(services()) == [True, True]
    file.write_text("services-per-key = 2\nauthorized-keys = '/nowhere'\n")
    reload(b, "authorized-keys stays default until restarted")


# -- clients that fall silent


def test_a_client_that_does_not_answer_is_given_up(site: Site) -> None:
    alive = ("--client-alive-interval", "0.2", "--client-alive-count-max", "1")
    chain = start_chain(site, b_options=alive)
    with chain.stream()[1] as service:
        chain.a.signal(signal.SIGSTOP)
        chain.b.process.wait_for(r"leg down: .*\(client\).*: Client not responding to keepalive")
        assert is_reset(service)
        chain.a.signal(signal.SIGCONT)
    chain.a.wait_for("connected to .* again")
    exchange(*chain.stream(), MIB)


def test_a_count_of_zero_gives_up_nobody(site: Site) -> None:
    alive = ("--client-alive-interval", "0.2", "--client-alive-count-max", "0", "-vvv")
    chain = start_chain(site, b_options=alive)
    stream = chain.stream()
    chain.a.signal(signal.SIGSTOP)
    asked = sum("Sending keepalive request" in line for line in chain.b.process.lines)
    chain.b.process.wait_for("Sending keepalive request", count=asked + 10)
    chain.a.signal(signal.SIGCONT)
    exchange(*stream, MIB)


# -- a supervisor


@pytest.fixture
def supervisor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(path)
        sock.settimeout(GUARD)
        monkeypatch.setenv("NOTIFY_SOCKET", path)
        monkeypatch.setenv("WATCHDOG_USEC", "100000")
        yield sock


def test_the_supervisor_is_told(supervisor: socket.socket, site: Site) -> None:
    def told() -> str:
        return supervisor.recv(4096).decode()

    b = relay_server(site)
    assert told() == "READY=1\nSTATUS=0 legs, 0 services, 0 streams"
    for _ in range(3):
        assert told() == "WATCHDOG=1\nSTATUS=0 legs, 0 services, 0 streams"
    b.process.signal(signal.SIGHUP)
    while not told().startswith("RELOADING=1\nMONOTONIC_USEC="):
        pass
    assert told().startswith("READY=1")
    b.process.signal(signal.SIGTERM)
    while told() != "STOPPING=1\nSTATUS=stopping":
        pass
    assert b.process.end() == 0


ACTIVATE = """\
import os, socket, sys
sock = socket.create_server(("127.0.0.1", 0))
os.dup2(sock.fileno(), 3)
os.set_inheritable(3, True)
os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid() + int(sys.argv[1])))
os.execv(sys.executable, [sys.executable, "-m", "relay.cli.server", *sys.argv[2:]])
"""


@pytest.mark.parametrize("for_another", [0, 1])
def test_socket_activation(site: Site, for_another: int) -> None:
    process = site.start(
        "relay-server", sys.executable, "-c", ACTIVATE, str(for_another),
        "--state-dir", site.folder / "state", "--listen", "127.0.0.2:0",
    )  # fmt: skip
    where = process.wait_for(r"listening on (127\.0\.0\.\d):(\d+)")
    assert where[1] == ("127.0.0.2" if for_another else "127.0.0.1")
    with socket.create_connection((where[1], int(where[2])), timeout=GUARD) as sock:
        assert sock.recv(100).startswith(b"SSH-2.0-relay")


# -- limits


def turned_away(b: Server) -> bytes:
    """What B says to one more connection, to the end of it."""
    with dial(b.port) as sock:
        return sock.recv(1000)


def test_connections_that_have_not_logged_in(site: Site) -> None:
    b = relay_server(site, "--max-startups", "3")
    strangers = [dial(b.port) for _ in range(3)]
    for stranger in strangers:
        assert stranger.recv(100).startswith(b"SSH-2.0-relay")
    for _ in range(20):
        assert turned_away(b) == b"Exceeded MaxStartups\r\n"
    b.process.wait_for("limit hit: max-startups$")
    strangers.pop().close()
    b.process.wait_for("did not log in")
    assert asyncio.run(may_login(site, b, "client"))
    for stranger in strangers:
        stranger.close()
    assert sum("max-startups" in line for line in b.process.lines) == 1
    b.process.stop()
    b.process.wait_for("limit hit: max-startups, 19 times more")


def test_who_is_held_back_and_gone_does_not_count(site: Site) -> None:
    """Ten have their turn at once; the others have to wait for theirs, and do not."""
    b = relay_server(site, "--max-startups", "30")
    for _ in range(40):
        dial(b.port).close()
    b.process.wait_for("limit hit: attempts-per-second")
    assert asyncio.run(may_login(site, b, "client"))
    assert not b.process.said("max-startups")


def test_the_time_to_log_in(site: Site) -> None:
    b = relay_server(site, "--login-grace-time", "0.3")
    with dial(b.port) as stranger:
        assert receive(stranger)[0] > 0
    b.process.wait_for("did not log in: Login timeout expired")


def test_a_source_that_fails_has_to_wait(site: Site) -> None:
    b = relay_server(site, "--max-failed-tries", "2")
    site.key("stranger", None)
    for _ in range(3):
        assert not asyncio.run(may_login(site, b, "stranger"))
    b.process.wait_for("did not log in", count=3)
    assert turned_away(b) == b"Too many failed tries, come back later\r\n"
    b.process.wait_for("limit hit: max-failed-tries$")
    # One second for one try too many. A good key clears it.
    while turned_away(b).startswith(b"Too many"):
        pass
    assert asyncio.run(may_login(site, b, "client"))
    assert turned_away(b).startswith(b"SSH-2.0")


def test_the_connections_of_one_key(site: Site) -> None:
    b = relay_server(site, "--legs-per-key", "2")

    async def connect() -> None:
        async with login(site, b, "client"), login(site, b, "client") as second:
            async with login(site, b, "client") as third:
                await third.wait_closed()
            assert await may_login(site, b, "another")
            second.close()
            await second.wait_closed()
            b.process.wait_for("leg down", count=2)
            async with login(site, b, "client") as fourth:
                assert await may_publish(fourth, "gpu1", 1)

    asyncio.run(connect())
    b.process.wait_for("limit hit: legs-per-key$")


def test_the_streams_of_one_connection(site: Site) -> None:
    chain = start_chain(site, b_options=("--channels-per-leg", "2"))

    async def open_streams() -> None:
        async with login(site, chain.b, "client") as leg:
            streams = [await leg.open_connection("gpu1", 8000) for _ in range(2)]
            for _ in range(5):
                code, reason = await refusal(leg, "gpu1", 8000)
                assert code == asyncssh.OPEN_RESOURCE_SHORTAGE
                assert reason == "gpu1:8000: there are too many streams already"
            # Who comes on another connection is not kept out.
            held = [chain.service.accept() for _ in streams]
            exchange(*chain.stream(), MIB)
            for _, writer in streams:
                writer.close()
            for sock in held:
                sock.close()

    asyncio.run(open_streams())
    chain.b.process.wait_for("limit hit: channels-per-leg$")
    chain.b.process.wait_for("splice closed", count=3)
    exchange(*chain.stream(), MIB)


def test_one_key_on_many_connections_does_not_fill_an_agent(site: Site) -> None:
    chain = start_chain(site, b_options=("--channels-per-leg", "2"))

    async def open_streams() -> None:
        async with AsyncExitStack() as stack:
            for number in range(OPENERS_PER_AGENT):
                leg = await stack.enter_async_context(login(site, chain.b, "greedy"))
                for _ in range(2):
                    if number < LEGS_PER_OPENER:
                        await leg.open_connection("gpu1", 8000)
                        stack.enter_context(chain.service.accept())
                    else:
                        code, _ = await refusal(leg, "gpu1", 8000)
                        assert code == asyncssh.OPEN_RESOURCE_SHORTAGE
            exchange(*chain.stream(), MIB)

    asyncio.run(open_streams())


def test_refusals_are_no_flood_of_lines(site: Site) -> None:
    b = relay_server(site)

    async def ask() -> None:
        async with login(site, b, "client") as leg:
            for _ in range(200):
                await refusal(leg, "nobody", 1)

    asyncio.run(ask())
    b.process.stop()
    b.process.wait_for("140 more of: stream refused")
    assert sum("nobody:1 refused" in line for line in b.process.lines) == 60


def test_strangers_are_no_flood_of_lines(site: Site) -> None:
    b = relay_server(site)
    for _ in range(STRANGER_LINES + 10):
        with dial(b.port) as stranger:
            assert stranger.recv(100).startswith(b"SSH-2.0-relay")
    b.process.stop()
    b.process.wait_for(" 127.0.0.1: 10 more connections did not log in")
    assert sum("did not log in" in line for line in b.process.lines) == STRANGER_LINES + 1


def test_an_agent_does_not_come_in_where_startups_are_full(site: Site) -> None:
    """Who is turned away at the door comes back: a limit is no end."""
    b = relay_server(site, "--max-startups", "1")
    with dial(b.port) as stranger:
        stranger.recv(100)
        process = site.ours(
            "relay-agent", *site.leg(b, "agent"), "-R", "gpu1:8000:localhost:1",
            f"{site.user}@127.0.0.1",
        )  # fmt: skip
        b.process.wait_for("limit hit: max-startups")
    process.wait_for("gpu1:8000 -> .* published")
