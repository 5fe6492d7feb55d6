"""Keys are changed under load, by any of the three, and no byte is lost (RFC 4253 §9)."""

from __future__ import annotations

from functools import partial

import pytest

from relay.core.window import ALONE
from tests.programs.chain import PORT, Options, Site, start_chain
from tests.programs.traffic import MIB, dial, exchange, together

LIMIT = 4 * MIB
SIZE = 32 * MIB
STREAMS = 4

CLIENT: Options = ("-o", "RekeyLimit=4M")
SERVER: Options = ("--rekey-limit", "4M")
LOUD = "-vvv"
"""With what asyncssh says of each key exchange."""


@pytest.mark.parametrize(
    ("a", "b", "c"),
    [
        pytest.param((), SERVER, (), id="server"),
        pytest.param(CLIENT, (), (), id="connect"),
        pytest.param((), (), CLIENT, id="agent"),
        pytest.param(CLIENT, SERVER, CLIENT, id="all"),
    ],
)
def test_keys_change_under_load(site: Site, a: Options, b: Options, c: Options) -> None:
    chain = start_chain(site, a_options=(*a, LOUD), b_options=(*b, LOUD), c_options=(*c, LOUD))
    together([partial(exchange, *chain.stream(), SIZE, seed=2 * n) for n in range(STREAMS)])
    # What the windows still let through while keys are being changed counts for nothing.
    expected = 2 * STREAMS * SIZE // (LIMIT + 2 * STREAMS * ALONE)
    for program, limited in ((chain.a, a or b), (chain.c, c or b)):
        if limited:
            program.wait_for("Completed key exchange", count=1 + expected)


def test_keys_change_behind_an_open_port(site: Site) -> None:
    """There B's own socket is the far end: `-R 0:…` and a client of B's port."""
    chain = start_chain(site, PORT, b_options=SERVER, c_options=CLIENT)
    port = int(chain.c.wait_for(r"localhost:(\d+) -> ")[1])
    client = dial(port)
    exchange(client, chain.service.accept(), SIZE)


@pytest.mark.parametrize("cipher", ["chacha20-poly1305@openssh.com", "aes256-ctr"])
def test_keys_change_under_a_slow_cipher(site: Site, cipher: str) -> None:
    options = ("-c", cipher, *CLIENT)
    chain = start_chain(site, a_options=options, b_options=SERVER, c_options=options)
    together([partial(exchange, *chain.stream(), 8 * MIB, seed=2 * n) for n in range(2)])
