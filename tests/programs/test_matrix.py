"""Every A with every B and every C, ours and stock: one chain for each, and all checks in it.

What a stock program cannot do stands here as data, so that a new version that can is noticed.
"""

from __future__ import annotations

import socket
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final

import pytest

from tests.programs.chain import (
    NAMED,
    OPENERS,
    PORT,
    PUBLISHERS,
    QUICK_KEX,
    SERVERS,
    Chain,
    Options,
    Site,
    start_chain,
)
from tests.programs.process import Process
from tests.programs.traffic import (
    MIB,
    closing,
    dial,
    digest,
    exchange,
    receive,
    send,
    together,
)

SIZE: Final = 8 * MIB
STREAMS: Final = 50
SMALL: Final = 64 * 1024

CLIENT: Final[dict[str, Options]] = {
    "relay-connect": ("-o", "RekeyLimit=2M", "-vvv"),
    "relay-agent": ("-o", "RekeyLimit=2M", "-vvv"),
    "ssh": ("-o", "RekeyLimit=2M", *QUICK_KEX),
    # Its limit is fixed when it is compiled: 1 GiB or 8 hours.
    "dbclient": (),
    # By its session file; there is no flag.
    "plink": (),
}
SERVER: Final[dict[str, Options]] = {
    "relay-server": ("--rekey-limit", "2M"),
    "sshd": ("-o", "RekeyLimit=2M", *QUICK_KEX),
}

CHANGED: Final = {
    "relay-connect": "Completed key exchange",
    "relay-agent": "Completed key exchange",
    "ssh": "SSH2_MSG_NEWKEYS received",
    "plink": "key re-exchange",
}
"""What a program says of each change of keys; dbclient says nothing."""

CHANGES: Final = 3
"""Of 8 MiB each way at 2 MiB, at least: windows let some more through while keys are changed."""


@pytest.mark.slow
@pytest.mark.parametrize("c", PUBLISHERS)
@pytest.mark.parametrize("b", SERVERS)
@pytest.mark.parametrize("a", OPENERS)
def test_programs_understand_one_another(site: Site, a: str, b: str, c: str) -> None:
    if a == "plink":
        limit_of_plink(site)
    chain = start_chain(
        site, NAMED if b == "relay-server" else PORT, a=a, b=b, c=c,
        a_options=CLIENT[a], b_options=SERVER[b], c_options=CLIENT[c],
    )  # fmt: skip
    exchange(*chain.stream(), SIZE)
    keys_have_changed(chain.a, a)
    keys_have_changed(chain.c, c)
    the_client_ends_first(chain)
    the_service_ends_first(chain)
    many_at_once(chain)
    the_service_refuses(chain)


def limit_of_plink(site: Site) -> None:
    folder = site.folder / ".putty" / "sessions"
    folder.mkdir(parents=True)
    (folder / "Default%20Settings").write_text("RekeyBytes=2M\n")


def keys_have_changed(process: Process, program: str) -> None:
    if program in CHANGED:
        process.wait_for(CHANGED[program], count=1 + CHANGES)


def the_client_ends_first(chain: Chain) -> None:
    client, service = chain.stream()
    with closing(client, service):
        sent = send(client, MIB)
        assert receive(service) == (MIB, sent)
        sent = send(service, MIB, seed=1)
        assert receive(client) == (MIB, sent)


def the_service_ends_first(chain: Chain) -> None:
    client, service = chain.stream()
    with closing(client, service):
        sent = send(service, MIB)
        assert receive(client) == (MIB, sent)
        sent = send(client, MIB, seed=1)
        assert receive(service) == (MIB, sent)


def many_at_once(chain: Chain) -> None:
    """Each asks with content of its own, and gets the answer to that."""
    with ThreadPoolExecutor(STREAMS) as services:
        answers = [services.submit(answer, chain) for _ in range(STREAMS)]
        together([partial(ask, chain.port, number) for number in range(STREAMS)])
        assert sorted(one.result() for one in answers) == list(range(STREAMS))


def ask(port: int, number: int) -> None:
    with dial(port) as client:
        client.sendall(bytes((number,)))
        send(client, SMALL, number)
        assert receive(client) == (SMALL, digest(SMALL, number + 1))


def answer(chain: Chain) -> int:
    with chain.service.accept() as service:
        number = service.recv(1, socket.MSG_WAITALL)[0]
        assert receive(service) == (SMALL, digest(SMALL, number))
        send(service, SMALL, number + 1)
    return number


def the_service_refuses(chain: Chain) -> None:
    """The client is turned away, and no program takes offence."""
    chain.service.close()
    for _ in range(3):
        with dial(chain.port) as client:
            try:
                assert client.recv(16) == b""
            except ConnectionResetError:
                pass
    for program in (chain.a, chain.b.process, chain.c):
        assert program.is_running, program
