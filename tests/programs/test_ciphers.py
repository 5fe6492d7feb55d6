"""Every cipher on either leg, and B between two that differ."""

from __future__ import annotations

import pytest

from tests.programs.chain import Site, start_chain
from tests.programs.traffic import MIB, exchange

GCM128 = "aes128-gcm@openssh.com"
GCM256 = "aes256-gcm@openssh.com"
CHACHA = "chacha20-poly1305@openssh.com"
CTR = "aes256-ctr"

PAIRS = [
    (GCM128, GCM128),
    (GCM256, GCM256),
    (CHACHA, CHACHA),
    (CTR, CTR),
    (GCM128, GCM256),
    (GCM128, CHACHA),
    (CHACHA, GCM128),
    (GCM256, CTR),
    (CTR, CHACHA),
]


@pytest.mark.parametrize(("a", "c"), PAIRS)
def test_content_arrives_whole(site: Site, a: str, c: str) -> None:
    chain = start_chain(site, a_options=("-c", a), c_options=("-c", c))
    exchange(*chain.stream(), 16 * MIB)
    for cipher, name in ((a, "client"), (c, "agent")):
        chain.b.process.wait_for(rf"leg up: .*\({name}\).* {cipher}$")


def test_the_fast_cipher_is_taken_where_there_is_a_choice(site: Site) -> None:
    chain = start_chain(site)
    chain.b.process.wait_for(rf"leg up: .*\(client\).* {GCM128}$")
    chain.b.process.wait_for(rf"leg up: .*\(agent\).* {GCM128}$")
