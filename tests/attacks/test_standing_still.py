"""Who does not take what it asked for: nobody waits for that but itself."""

from __future__ import annotations

from relay.policy.limits import STALL_TIMEOUT
from tests.attacks.bystander import Bystander
from tests.attacks.messages import OPEN_CONFIRMATION, channel_request, kexinit, open_direct
from tests.attacks.peers import hostile_consumer
from tests.programs.chain import Chain


async def test_requests_under_a_key_exchange_that_does_not_end(
    chain: Chain, bystander: Bystander
) -> None:
    """The answers wait for its keys. The agent, whose stream it is, goes on for everybody else."""
    async with hostile_consumer(chain) as peer:
        await peer.send(open_direct("gpu1", 8000))
        number = (await peer.expect(OPEN_CONFIRMATION)).sender
        peer.stop_reading()  # So that it does not answer B's KEXINIT.
        await peer.send(kexinit(), *[channel_request(number)] * 20_000)
        chain.b.process.wait_for("leg down: .*offender.*too many requests during a key exchange")
        bystander.goes_on()
    assert bystander.slowest < STALL_TIMEOUT / 2
