"""Stock programs in each role: OpenSSH as A, B and C; Dropbear and PuTTY as A."""

from __future__ import annotations

import subprocess
from functools import partial

import pytest

from tests.programs.chain import (
    NAMED,
    PORT,
    QUICK_KEX,
    Chain,
    Options,
    Site,
    find,
    start_chain,
)
from tests.programs.process import GUARD
from tests.programs.traffic import (
    MIB,
    closing,
    dial,
    exchange,
    is_reset,
    receive,
    reset,
    send,
    together,
)

SIZE = 16 * MIB


def check(chain: Chain) -> None:
    """Content, parallel streams, half-close, a client that breaks off."""
    together([partial(exchange, *chain.stream(), SIZE, seed=n) for n in range(3)])
    client, service = chain.stream()
    with closing(client, service):
        send(client, MIB)
        assert receive(service)[0] == MIB
        sent = send(service, MIB)
        assert receive(client) == (MIB, sent)
    client, service = chain.stream()
    with closing(service):
        service.sendall(b"token")
        assert client.recv(16) == b"token"
        reset(client)
        is_reset(service)


@pytest.mark.parametrize("bind", [NAMED, PORT], ids=["named", "port"])
@pytest.mark.parametrize(
    ("a", "c"), [("relay-connect", "ssh"), ("ssh", "relay-agent"), ("ssh", "ssh")]
)
def test_ssh_as_a_or_c(site: Site, bind: str, a: str, c: str) -> None:
    check(start_chain(site, bind, a=a, c=c))


@pytest.mark.parametrize("a", ["dbclient", "plink"])
def test_other_clients_as_a(site: Site, a: str) -> None:
    check(start_chain(site, a=a))


@pytest.mark.parametrize(
    ("a", "c"), [("relay-connect", "relay-agent"), ("ssh", "relay-agent"), ("relay-connect", "ssh")]
)
def test_sshd_as_b(site: Site, a: str, c: str) -> None:
    check(start_chain(site, PORT, a=a, b="sshd", c=c))


REKEY: Options = ("-o", "RekeyLimit=4M")


@pytest.mark.parametrize(
    ("a", "b", "c"),
    [
        ("ssh", "relay-server", "ssh"),
        ("relay-connect", "sshd", "relay-agent"),
        ("ssh", "relay-server", "relay-agent"),
    ],
)
def test_keys_change_under_load(site: Site, a: str, b: str, c: str) -> None:
    options = {"ssh": (*REKEY, *QUICK_KEX)}
    chain = start_chain(
        site, PORT, a=a, b=b, c=c,
        a_options=options.get(a, REKEY), c_options=options.get(c, REKEY),
    )  # fmt: skip
    together([partial(exchange, *chain.stream(), SIZE, seed=2 * n) for n in range(3)])


@pytest.mark.parametrize("b_options", [("--rekey-limit", "4M")])
def test_keys_change_when_our_server_asks(site: Site, b_options: Options) -> None:
    chain = start_chain(site, a="ssh", c="ssh", b_options=b_options)
    together([partial(exchange, *chain.stream(), SIZE, seed=2 * n) for n in range(3)])


@pytest.mark.parametrize("cipher", ["chacha20-poly1305@openssh.com", "aes256-ctr"])
def test_ciphers_without_the_fast_path(site: Site, cipher: str) -> None:
    options = ("-c", cipher, *REKEY, *QUICK_KEX)
    chain = start_chain(site, a="ssh", c="ssh", a_options=options, c_options=options)
    exchange(*chain.stream(), SIZE)
    chain.b.process.wait_for(rf"leg up: .*\(client\).* {cipher}$")


def test_ssh_is_led_to_the_fast_path(site: Site) -> None:
    """It puts chacha20 first in its offer; see `offer_to`."""
    chain = start_chain(site, a="ssh", c="ssh")
    for name in ("client", "agent"):
        chain.b.process.wait_for(rf"leg up: .*\({name}\).* aes128-gcm@openssh.com$")


def test_a_port_of_b_is_open_to_any_program(site: Site) -> None:
    chain = start_chain(site, PORT, c="ssh")
    port = int(chain.b.process.wait_for(r"localhost:(\d+) published")[1])
    exchange(dial(port), chain.service.accept(), SIZE)


def test_netcat_gets_its_answer(chain: Chain) -> None:
    """`printf x | nc -N` ends its own writing first."""
    nc = subprocess.Popen(
        [find("nc"), "-N", "127.0.0.1", str(chain.port)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with nc, chain.service.accept() as service:
        assert nc.stdin is not None
        nc.stdin.write(b"x")
        nc.stdin.close()
        assert service.recv(16) == b"x"
        assert service.recv(16) == b""
        service.sendall(b"an answer")
        service.close()
        assert nc.stdout is not None
        assert nc.stdout.read() == b"an answer"
        assert nc.wait(GUARD) == 0
