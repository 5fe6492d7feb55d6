"""Attacks: the hostile, played over real sockets against the real programs.

The next attack is five lines. `chain` is relay-connect, relay-server and relay-agent with a service
`gpu1:8000`; `bystander` has a stream through it, which must go on with each byte right:

    async def test_who_answers_its_own_open(chain: Chain, bystander: Bystander) -> None:
        async with hostile_consumer(chain) as peer:
            await peer.send(open_direct("gpu1", 8000, sender=7))
            await peer.send(confirmation(0, sender=3))
            await peer.disconnected(PROTOCOL_ERROR)
            bystander.goes_on()

`messages.py` has a line for each message, and for how to read one. `peers.py` has the hostile:
`hostile_consumer`, `hostile_agent`, `hostile_relay`, `hostile_session`, `stranger`,
`stranger_with_keys`. `peer.py` has what they can do: `send` any payload in any state, `seal` a
packet of a wrong length or padding, `raw` bytes; `expect` a message, be `disconnected` for what was
sent, or `settled`, when all of it was taken. B gives its numbers from 0 on. A file that needs other
flags of relay-server overrides the fixture `b_options`.
"""
