"""Sockets to somewhere: names that are none, addresses that are dead, and how a socket ends that
nobody has begun to use."""

from __future__ import annotations

import errno
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.io import dial as module
from relay.io.dial import RESET_ON_CLOSE, check_host, check_port, dial, dial_service
from tests.programs.process import GUARD
from tests.programs.traffic import is_reset

Dial = Callable[[str, int], Awaitable[socket.socket]]
Run = Callable[[Callable[[], Awaitable[Any]]], Any]


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    """On the loop that the programs use, and on asyncio's own."""
    if request.param:
        pytest.importorskip("uvloop")

    def run(main: Callable[[], Awaitable[Any]]) -> Any:
        async def guarded() -> Any:
            with anyio.fail_after(GUARD):
                return await main()

        return anyio.run(guarded, backend_options={"use_uvloop": request.param})

    return run


@pytest.mark.parametrize(("dial", "reset"), [(dial_service, True), (dial, False)])
def test_a_service_is_not_told_that_a_stream_ended_which_never_began(
    dial: Dial, reset: bool
) -> None:
    """(A leg to B, which the other is for, may close in peace.)"""

    async def dial_and_close(port: int) -> None:
        (await dial("127.0.0.1", port)).close()

    with socket.create_server(("127.0.0.1", 0)) as service:
        anyio.run(dial_and_close, service.getsockname()[1])
        assert is_reset(service.accept()[0]) is reset


# -- names

NO_NAMES = [
    "", "..", ".", "a..b", "x" * 64, "x" * 64 + ".example", "x." * 150, "x" * 300,
    "local\0host", "localhost\0x", "a b\n", "\udcff", "ü" * 63, "::1%" + "z" * 80, "\x7f",
]  # fmt: skip
NO_PORTS = [0, -1, 65536, 70000, 2**32 - 1]


@pytest.mark.parametrize("host", NO_NAMES)
def test_a_name_that_is_none_is_refused(run: Run, host: str) -> None:
    with pytest.raises(OSError) as caught:  # noqa: PT011
        run(lambda: dial(host, 80))
    assert caught.value.strerror
    assert len(caught.value.strerror) < 80


@pytest.mark.parametrize("port", NO_PORTS)
def test_a_port_that_is_none_is_refused(run: Run, port: int) -> None:
    with pytest.raises(OSError, match="there is no port"):
        run(lambda: dial("127.0.0.1", port))


@given(st.text() | st.text("a.\0-", max_size=300), st.integers(-10, 2**32))
def test_what_is_not_refused_can_be_asked_for(host: str, port: int) -> None:
    """Python's resolver and its sockets take it: no error but OSError comes of it."""
    try:
        check_host(host)
        check_port(port)
    except OSError:
        return
    assert 0 < len(host) <= 255
    assert "\0" not in host
    assert host.encode("idna")
    assert 0 < port < 65536


@pytest.mark.parametrize("host", ["gpu1", "gpu-1.example.", "_dmarc.b", "bücher.example", "::1"])
def test_names_that_are_some(host: str) -> None:
    check_host(host)


@pytest.mark.parametrize("address", ["x" * 64, "a\0b"])
def test_the_address_to_connect_from_may_be_wrong_too(run: Run, address: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(OSError, match="name"):
            run(lambda: dial("127.0.0.1", port, bind_address=address))


# -- addresses


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def live(stack: ExitStack, host: str = "127.0.0.1") -> tuple[str, int]:
    """Somebody who answers."""
    server = stack.enter_context(socket.create_server((host, 0)))
    return server.getsockname()[:2]


def refusing(stack: ExitStack) -> tuple[str, int]:
    """A port that is taken and not listened on."""
    sock = stack.enter_context(socket.socket())
    sock.bind(("127.0.0.1", 0))
    return sock.getsockname()


def dead(stack: ExitStack) -> tuple[str, int]:
    """Somebody who does not answer: a listener with a full backlog, as the kernel drops what more
    there is."""
    server = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
    where: tuple[str, int] = server.getsockname()
    while True:
        client = stack.enter_context(socket.socket())
        client.settimeout(0.2)
        try:
            client.connect(where)
        except TimeoutError:
            return where


def named(monkeypatch: pytest.MonkeyPatch, *addresses: tuple[str, int]) -> list[tuple[str, int]]:
    """A host with these addresses, called gpu1. What was asked for is in the result."""
    asked: list[tuple[str, int]] = []
    true_resolve = module.resolve

    async def resolve(host: str, port: int, family: int = 0) -> Any:
        if host != "gpu1":
            return await true_resolve(host, port, family)
        asked.append((host, family))
        return [
            (socket.AF_INET6 if ":" in where[0] else socket.AF_INET, socket.SOCK_STREAM, 6, "",
             where)
            for where in addresses
        ]  # fmt: skip

    monkeypatch.setattr(module, "resolve", resolve)
    return asked


def test_a_dead_address_costs_no_more_than_a_moment(
    run: Run, monkeypatch: pytest.MonkeyPatch, stack: ExitStack
) -> None:
    """Nothing here ends the first try: only one beside it can be what succeeds."""
    alive = live(stack)
    named(monkeypatch, dead(stack), dead(stack), alive)
    with run(lambda: dial("gpu1", 80, linger=RESET_ON_CLOSE)) as sock:
        assert sock.getpeername() == alive
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8) == RESET_ON_CLOSE


def test_the_first_address_that_answers_is_used(
    run: Run, monkeypatch: pytest.MonkeyPatch, stack: ExitStack
) -> None:
    """The order is the resolver's, whatever the families are."""
    first, second = live(stack, "127.0.0.1"), live(stack, "127.0.0.2")
    asked = named(monkeypatch, first, ("::1", 1), second)
    with run(lambda: dial("gpu1", 80, family=socket.AF_INET)) as sock:
        assert sock.getpeername() == first
    assert asked == [("gpu1", socket.AF_INET)]


def test_an_address_that_refuses_is_passed_over(
    run: Run, monkeypatch: pytest.MonkeyPatch, stack: ExitStack
) -> None:
    alive = live(stack)
    named(monkeypatch, refusing(stack), refusing(stack), alive)
    with run(lambda: dial("gpu1", 80)) as sock:
        assert sock.getpeername() == alive


def test_what_became_of_all_is_told_once(
    run: Run, monkeypatch: pytest.MonkeyPatch, stack: ExitStack
) -> None:
    named(monkeypatch, refusing(stack), refusing(stack), refusing(stack))
    with pytest.raises(ConnectionRefusedError) as caught:
        run(lambda: dial("gpu1", 80))
    assert caught.value.strerror == "Connection refused"


def test_each_address_has_its_time(
    run: Run, monkeypatch: pytest.MonkeyPatch, stack: ExitStack
) -> None:
    named(monkeypatch, dead(stack), refusing(stack))
    with pytest.raises(TimeoutError) as caught:
        run(lambda: dial("gpu1", 80, seconds_each=0.5))
    assert caught.value.errno == errno.ETIMEDOUT
    assert caught.value.strerror == "Connection refused, Connection timed out"


def test_the_address_to_connect_from(
    run: Run, monkeypatch: pytest.MonkeyPatch, stack: ExitStack
) -> None:
    alive = live(stack)
    named(monkeypatch, ("::1", 1), alive)
    with run(lambda: dial("gpu1", 80, bind_address="127.0.0.3")) as sock:
        assert sock.getsockname()[0] == "127.0.0.3"
    with pytest.raises(OSError, match="is of another family"):
        run(lambda: dial(*alive, bind_address="::1"))
    with pytest.raises(OSError, match="assign requested address"):
        run(lambda: dial(*alive, bind_address="203.0.113.9"))
