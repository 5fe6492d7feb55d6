"""Strangers that hold their connections: nobody else is kept out. Loopback has many addresses."""

from __future__ import annotations

import asyncio
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

import asyncssh
import pytest

from relay.core.limits import MAX_STARTUPS, PER_SOURCE_MAX_STARTUPS
from tests.programs.chain import Server, Site, relay_server
from tests.programs.process import GUARD
from tests.programs.stock import login, may_login

ELSEWHERE = "127.0.0.99"
"""Where the newcomer comes from."""


def dial_from(address: str, port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), GUARD, source_address=(address, 0))


@contextmanager
def held(b: Server, *counts: int) -> Iterator[list[socket.socket]]:
    """So many idle connections from each of as many addresses, taken by B as far as it takes
    them; whoever is turned away is so before the next comes."""
    with ExitStack() as stack:
        yield [
            stack.enter_context(dial_from(f"127.0.0.{last}", b.port))
            for last, count in enumerate(counts, start=2)
            for _ in range(count)
        ]


@contextmanager
def flood(b: Server, addresses: int, each: int) -> Iterator[None]:
    """So many connections from each address, of which each comes back as soon as it is ended."""

    def keep(address: str) -> None:
        while not over.is_set():
            with suppress(OSError), dial_from(address, b.port) as sock:
                sock.settimeout(0.2)
                while not over.is_set():
                    with suppress(TimeoutError):
                        if not sock.recv(100):
                            break

    over = threading.Event()
    threads = [
        threading.Thread(target=keep, args=(f"127.0.0.{last}",))
        for last in range(2, 2 + addresses)
        for _ in range(each)
    ]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()


def logs_in(site: Site, b: Server, address: str = ELSEWHERE) -> bool:
    """At the first try."""
    try:
        return asyncio.run(may_login(site, b, "client", local_addr=(address, 0)))
    except (OSError, asyncssh.Error):
        return False


@pytest.fixture
def b(site: Site) -> Server:
    return relay_server(site)


def test_one_address_keeps_nobody_out(site: Site, b: Server) -> None:
    with held(b, 110):
        assert [logs_in(site, b) for _ in range(20)] == [True] * 20
    b.process.wait_for("limit hit: per-source-max-startups")


def test_an_agent_gets_in_beside_one_address(site: Site, b: Server) -> None:
    with held(b, 110):
        process = site.ours(
            "relay-agent", *site.leg(b, "agent"), "-b", ELSEWHERE, "--once",
            "-R", "gpu1:8000:localhost:1", f"{site.user}@127.0.0.1",
        )  # fmt: skip
        process.wait_for("gpu1:8000 -> .* published")


def test_many_addresses_keep_nobody_out(site: Site, b: Server) -> None:
    """Of whoever has most the oldest gives way."""
    with held(b, *[10] * 60) as sockets:
        assert [logs_in(site, b) for _ in range(20)] == [True] * 20
        b.process.wait_for("127.0.0.2:.* did not log in: too many have not logged in")
        b.process.wait_for("limit hit: max-startups")
        assert sockets[0].recv(100).startswith(b"SSH-2.0-")
    assert b.process.is_running


def test_a_flood_keeps_nobody_out(site: Site, b: Server) -> None:
    """600 connections, of which some come back as soon as they are ended."""
    with held(b, *[30] * 20), flood(b, 4, 4):
        b.process.wait_for("limit hit: max-startups")
        b.process.wait_for("limit hit: per-source-max-startups")
        assert [logs_in(site, b) for _ in range(10)] == [True] * 10
    assert not b.process.said("Traceback|internal error|mistake in"), b.process


def test_there_are_never_more_than_full(site: Site) -> None:
    b = relay_server(site, "--max-startups", "5:100:8")
    with held(b, *[1] * 12) as sockets:
        b.process.wait_for("did not log in: too many have not logged in", count=4)
        for sock in sockets[:4]:
            assert sock.recv(100).startswith(b"SSH-2.0-")
            assert sock.recv(100) == b""
        assert sockets[-1].recv(100).startswith(b"SSH-2.0-")


def test_an_address_has_its_limit_and_a_network_can_have(site: Site) -> None:
    options = ("--per-source-max-startups", "3", "--per-source-net-block-size", "30:64")
    b = relay_server(site, *options)
    with held(b, 2, 1):  # 127.0.0.2 and .3: one network of four addresses.
        with dial_from("127.0.0.3", b.port) as one_more:
            assert one_more.recv(100) == b"Exceeded PerSourceMaxStartups\r\n"
        assert not logs_in(site, b, "127.0.0.1")
        assert logs_in(site, b, "127.0.0.4")


def test_any_number_of_one_address_where_that_is_wanted(site: Site) -> None:
    b = relay_server(site, "--per-source-max-startups", "none", "--max-startups", "60:100:60")
    with held(b, 40):
        assert logs_in(site, b, "127.0.0.2")
    assert not b.process.said("startups")


def test_who_is_held_back_counts(site: Site) -> None:
    """Ten have their turn at once; with the next ten, which wait for theirs, it has all it may."""
    b = relay_server(site, "--max-startups", "100:100:100")
    with held(b, PER_SOURCE_MAX_STARTUPS), dial_from("127.0.0.2", b.port) as one_more:
        assert one_more.recv(100) == b"Exceeded PerSourceMaxStartups\r\n"
    b.process.wait_for("limit hit: attempts-per-second")


# -- descriptors


def with_descriptors(site: Site, count: int) -> Server:
    """B, which may have so many."""
    site.key("client")
    process = site.start(
        "relay-server", "sh", "-c", f'ulimit -n {count} && exec "$0" "$@"', sys.executable,
        "-m", "relay.cli.server", "--listen", "127.0.0.1:0", "--state-dir", site.folder / "state",
        "--drain", "0",
    )  # fmt: skip
    b = Server(process, int(process.wait_for(r"listening on 127\.0\.0\.1:(\d+)")[1]))
    site.trust(b.port)
    return b


def test_strangers_that_hold_all_descriptors_keep_nobody_out(site: Site) -> None:
    """Fewer than there may be strangers."""
    b = with_descriptors(site, 64)
    with held(b, *[10] * (MAX_STARTUPS[-1] // 10)):
        assert [logs_in(site, b) for _ in range(5)] == [True] * 5
    assert not b.process.said("Traceback|mistake in"), b.process


def test_streams_that_hold_all_descriptors_keep_nobody_out(site: Site) -> None:
    """They come to a port that is published."""
    b = with_descriptors(site, 100)
    service = site.service()

    async def fill() -> None:
        async with login(site, b, "agent", local_addr=("127.0.0.5", 0)) as agent:
            listener = await agent.forward_remote_port("localhost", 0, "localhost", service.port)
            with ExitStack() as stack:
                while not b.process.said("limit hit: descriptors"):
                    stack.enter_context(dial_from("127.0.0.1", listener.get_port()))
                assert await may_login(site, b, "client", local_addr=(ELSEWHERE, 0))

    asyncio.run(fill())
