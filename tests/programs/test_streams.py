"""Streams through our three programs: whole, parallel, and ended in every way."""

from __future__ import annotations

import signal
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from functools import partial

import pytest

from tests.programs.chain import NAMED, PORT, Chain, Site, relay_connect, start_chain
from tests.programs.process import GUARD
from tests.programs.traffic import (
    MIB,
    closing,
    content,
    dial,
    digest,
    exchange,
    flood,
    is_reset,
    receive,
    reset,
    send,
    together,
    wait_until_gone,
)

LARGE = 64 * MIB
STREAMS = 200
SMALL = 64 * 1024


@pytest.mark.parametrize("bind", [NAMED, PORT], ids=["named", "port"])
def test_a_large_exchange_arrives_whole(site: Site, bind: str) -> None:
    exchange(*start_chain(site, bind).stream(), LARGE)


def test_many_streams_at_once_are_not_mixed_up(chain: Chain) -> None:
    with ThreadPoolExecutor(STREAMS) as services:
        answers = [services.submit(answer, chain) for _ in range(STREAMS)]
        together([partial(ask, chain.port, number) for number in range(STREAMS)])
        numbers = sorted(answer.result() for answer in answers)
    assert numbers == list(range(STREAMS))


def ask(port: int, number: int) -> None:
    """Send a number and content of its own; the answer is the content of the next number."""
    with dial(port) as client:
        client.sendall(number.to_bytes(4, "big"))
        send(client, SMALL, number)
        assert receive(client) == (SMALL, digest(SMALL, number + 1))


def answer(chain: Chain) -> int:
    with chain.service.accept() as service:
        number = int.from_bytes(service.recv(4, socket.MSG_WAITALL), "big")
        assert receive(service) == (SMALL, digest(SMALL, number))
        send(service, SMALL, number + 1)
    return number


# -- how a stream ends


def test_a_client_that_has_asked_still_gets_its_answer(chain: Chain) -> None:
    client, service = chain.stream()
    with closing(client, service):
        client.sendall(b"x")
        client.shutdown(socket.SHUT_WR)
        assert service.recv(16) == b"x"
        assert service.recv(16) == b""
        sent = send(service, 8 * MIB)
        assert receive(client) == (8 * MIB, sent)


def test_a_client_that_ends_at_once_still_gets_what_the_service_says(chain: Chain) -> None:
    client, service = chain.stream()
    with closing(client, service):
        client.shutdown(socket.SHUT_WR)
        assert service.recv(16) == b""
        sent = send(service, MIB)
        assert receive(client) == (MIB, sent)


def test_a_service_that_has_answered_still_gets_the_rest(chain: Chain) -> None:
    client, service = chain.stream()
    with closing(client, service):
        service.sendall(b"x")
        service.shutdown(socket.SHUT_WR)
        assert client.recv(16) == b"x"
        assert client.recv(16) == b""
        sent, came = together([partial(send, client, 8 * MIB), partial(receive, service)])
        assert came == (8 * MIB, sent)


def test_a_service_that_leaves_stops_a_client_that_sends(chain: Chain) -> None:
    client, service = chain.stream()
    with closing(client):
        service.close()
        assert client.recv(16) == b""
        flood(client)


def test_a_client_that_breaks_off_is_gone_for_the_service_too(chain: Chain) -> None:
    client, service = chain.stream()
    with closing(service):
        service.sendall(b"the first token")
        assert client.recv(64) == b"the first token"
        reset(client)
        assert is_reset(service)


def test_a_client_that_leaves_in_peace_stops_a_service_that_sends(chain: Chain) -> None:
    client, service = chain.stream()
    with closing(service):
        service.sendall(b"the first token")
        assert client.recv(64) == b"the first token"
        client.close()
        assert service.recv(16) == b""
        flood(service)


def test_a_client_that_breaks_off_while_it_waits_is_gone_for_the_service_too(chain: Chain) -> None:
    client, service = chain.stream()
    with closing(service):
        client.shutdown(socket.SHUT_WR)
        assert service.recv(16) == b""
        reset(client)
        wait_until_gone(service)


def test_a_client_that_breaks_off_while_the_service_is_slow_is_gone_too(chain: Chain) -> None:
    client, service = chain.stream()
    with closing(service):
        fill(client)
        reset(client)
        wait_until_gone(service)


def fill(sock: socket.socket) -> int:
    """Send until nothing moves any more: all windows and buffers on the way are full."""
    sock.settimeout(1)
    filled = 0
    with suppress(TimeoutError):
        for piece in content(256 * MIB):
            filled += sock.send(piece)
    sock.settimeout(GUARD)
    return filled


def test_a_service_that_breaks_off_breaks_the_client(chain: Chain) -> None:
    client, service = chain.stream()
    with closing(client):
        service.sendall(b"half an ans")
        assert client.recv(64) == b"half an ans"
        reset(service)
        assert is_reset(client)


def test_a_refusing_service_closes_the_client_and_is_named_in_both_logs(chain: Chain) -> None:
    chain.service.close()
    with dial(chain.port) as client:
        assert client.recv(16) == b""
    for program in (chain.a, chain.c):
        program.wait_for(r"gpu1:8000.*Connection refused")


def test_a_service_that_is_not_published_is_said_to_be_so(site: Site) -> None:
    chain = start_chain(site, a_options=("--wait", "0.5"), b_options=("--hold", "0.5"))
    chain.c.stop()
    chain.b.process.wait_for("gpu1:8000 withdrawn")
    with dial(chain.port) as client:
        assert client.recv(16) == b""
    chain.a.wait_for("gpu1:8000.*no such service is published")


# -- programs that vanish, stop or are slow


@pytest.mark.parametrize("victim", ["b", "c"])
def test_a_program_that_is_killed_breaks_the_stream(chain: Chain, victim: str) -> None:
    client, service = chain.stream()
    with closing(client, service):
        service.sendall(b"half an ans")
        assert client.recv(64) == b"half an ans"
        (chain.b.process if victim == "b" else chain.c).signal(signal.SIGKILL)
        assert is_reset(client)
        # Of a killed agent, the kernel closes the sockets: in peace, since nothing was unread.
        assert is_reset(service) or victim == "c"
    if victim == "b":
        for program in (chain.a, chain.c):
            program.wait_for("lost .*trying again")
            assert not program.said("Traceback")


def test_a_port_of_b_closes_with_its_agent(site: Site) -> None:
    chain = start_chain(site, PORT, b_options=("--hold", "0"))
    port = int(chain.c.wait_for(r"localhost:(\d+) -> ")[1])
    dial(port).close()
    chain.c.signal(signal.SIGKILL)
    chain.b.process.wait_for(f":{port} withdrawn")
    with pytest.raises(ConnectionRefusedError):
        dial(port)


def test_a_killed_connect_breaks_its_streams_and_no_others(site: Site, chain: Chain) -> None:
    client, service = chain.stream()
    second, port = relay_connect(site, chain.b, NAMED)
    other = dial(port)
    other_service = chain.service.accept()
    with closing(client, service):
        second.signal(signal.SIGKILL)
        assert is_reset(other_service)
        other.close()
        exchange(client, service, MIB)


@pytest.mark.parametrize("streams", [1, 8])
def test_a_connect_that_hangs_holds_up_no_other(site: Site, chain: Chain, streams: int) -> None:
    hung, port = relay_connect(site, chain.b, NAMED)
    with ExitStack() as stack:
        clients, services = [], []
        for _ in range(streams):
            clients.append(stack.enter_context(dial(port)))
            services.append(stack.enter_context(chain.service.accept()))
        hung.signal(signal.SIGSTOP)
        before = chain.b.process.memory
        together([partial(fill, service) for service in services])
        exchange(*chain.stream(), 16 * MIB)
        assert chain.b.process.memory - before < 64 * MIB
        hung.signal(signal.SIGCONT)
        for client, service in zip(clients, services, strict=True):
            service.shutdown(socket.SHUT_WR)
            receive(client)


def test_a_slow_client_holds_up_the_service_and_fills_no_memory(chain: Chain) -> None:
    client, service = chain.stream()
    with closing(client, service):
        programs = (chain.a, chain.b.process, chain.c)
        before = [program.memory for program in programs]
        filled = fill(service)
        assert 0 < filled < 64 * MIB
        for program, memory in zip(programs, before, strict=True):
            assert program.memory - memory < 32 * MIB, program.name
        # Other streams of the same programs go on.
        exchange(*chain.stream(), 16 * MIB)
        service.shutdown(socket.SHUT_WR)
        assert receive(client)[0] == filled


def test_open_streams_end_with_the_program(chain: Chain) -> None:
    client, service = chain.stream()
    with closing(client, service):
        assert chain.a.stop() == 0
        assert is_reset(service)
        assert is_reset(client)
