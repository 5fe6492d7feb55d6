"""Key exchanges after the login: as many as traffic or time explains, and one at a time."""

from __future__ import annotations

import pytest

from relay.core.limits import KEX_BYTES, KEXES_AT_ONCE
from tests.attacks.bystander import Bystander
from tests.attacks.messages import (
    ECDH_REPLY,
    NEWKEYS,
    PROTOCOL_ERROR,
    ecdh_init,
    ignore,
    kexinit,
    newkeys,
)
from tests.attacks.peers import hostile_consumer
from tests.programs.chain import Chain, Site, start_chain
from tests.programs.traffic import MIB, exchange

CIPHERS = ["aes128-gcm@openssh.com", "chacha20-poly1305@openssh.com"]
X25519 = bytes([9, *bytes(31)])
"""The base point: an honest public key (that of the private key 1, so to speak)."""


@pytest.mark.parametrize("cipher", CIPHERS)
async def test_keys_that_change_without_end(
    chain: Chain, bystander: Bystander, cipher: str
) -> None:
    async with hostile_consumer(chain, encryption_algs=[cipher]) as peer:
        for _ in range(100 * KEXES_AT_ONCE):
            await peer.change_keys()
            if peer.over:
                break
        await peer.disconnected(PROTOCOL_ERROR)
    chain.b.process.wait_for("leg down: .*offender.*more key exchanges than its traffic explains")
    bystander.goes_on()


async def test_keys_that_change_with_the_traffic(chain: Chain, bystander: Bystander) -> None:
    async with hostile_consumer(chain) as peer:
        for _ in range(3 * KEXES_AT_ONCE):
            await peer.send(*[ignore(bytes(32_000))] * (KEX_BYTES // 32_000 + 1))
            await peer.change_keys()
        await peer.settled()
        assert not peer.over
        bystander.goes_on()


async def test_a_key_exchange_within_another(chain: Chain, bystander: Bystander) -> None:
    async with hostile_consumer(chain) as peer:
        await peer.send(kexinit(), ecdh_init(X25519))
        await peer.expect(NEWKEYS)
        await peer.expect(ECDH_REPLY)
        await peer.send(kexinit())
        await peer.disconnected()
    chain.b.process.wait_for("leg down: .*offender.*a key exchange before the last one has ended")
    bystander.goes_on()


@pytest.mark.parametrize(
    "payload",
    [newkeys(), ecdh_init(X25519), kexinit(kex="\u00e9")],
    ids=["keys", "half", "no text"],
)
async def test_a_part_of_a_key_exchange(chain: Chain, bystander: Bystander, payload: bytes) -> None:
    async with hostile_consumer(chain) as peer:
        await peer.send(payload)
        await peer.disconnected()
        bystander.goes_on()


@pytest.mark.parametrize("a", ["ssh", "relay-connect"])
def test_an_honest_client_changes_keys_at_each_mebibyte(site: Site, a: str) -> None:
    limit = ("-o", "RekeyLimit=1M")
    chain = start_chain(site, a=a, a_options=limit, c_options=limit)
    exchange(*chain.stream(), 6 * MIB)
    assert not chain.b.process.said("leg down|Traceback"), chain.b.process
