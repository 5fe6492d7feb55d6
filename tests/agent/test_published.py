"""relay/agent/published.py on a leg without a socket: what comes in one receive."""

from __future__ import annotations

import asyncio

import pytest

from relay.agent.published import Publishable, Published
from relay.core.forward import parse_forward
from relay.core.forwards import Desired
from relay.errors import Refused
from relay.events import Events
from relay.io.engine import Engine
from relay.wire import messages
from relay.wire.encoding import byte, uint32
from relay.wire.messages import tcpip_fields
from relay.wire.numbers import MSG_REQUEST_FAILURE, MSG_REQUEST_SUCCESS, SERVICE_REFUSED
from relay.wire.packet import OVERHEAD, frame
from tests.ssh.bench import client_leg, gcm


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class B:
    """The other side of an agent's leg."""

    def __init__(self) -> None:
        self.leg = client_leg(Engine(asyncio.get_running_loop()))
        self.published = Published(self.leg, None, None, set(), Events())
        self.granted: list[int] = []
        self._cipher = gcm()

    async def asked(self, text: str) -> asyncio.Task[None]:
        """It has been asked to publish this, and has not answered."""
        desired: Desired[Publishable] = Desired(parse_forward(text, allow_zero=True))
        task = asyncio.create_task(self.published.ask(desired, self.granted.append))
        await asyncio.sleep(0)
        return task

    def sends(self, *payloads: bytes) -> None:
        """All of them in one receive."""
        data = bytearray()
        for payload in payloads:
            packet = frame(payload)
            self._cipher.seal(memoryview(packet), 0, len(packet) - OVERHEAD)
            data += packet
        self.leg.received(memoryview(data), 0, len(data))


@pytest.mark.anyio
@pytest.mark.parametrize("port", [8000, 0], ids=["a port", "a port that B picks"])
async def test_the_first_stream_may_come_with_the_answer(port: int) -> None:
    b = B()
    publishing = await b.asked(f"localhost:{port}:localhost:1")
    b.sends(
        byte(MSG_REQUEST_SUCCESS) + (uint32(8000) if port == 0 else b""),
        messages.channel_open(
            b"forwarded-tcpip", 7, 2**20, 2**15, tcpip_fields("localhost", 8000, "", 0)
        ),
    )
    # It is served, and not refused.
    assert len(b.leg.mux.channels) == 1
    assert b.granted == [8000]
    await publishing
    b.leg.abort()


@pytest.mark.anyio
async def test_a_port_that_cannot_be_read_ends_the_leg() -> None:
    b = B()
    publishing = await b.asked("localhost:0:localhost:1")
    b.sends(byte(MSG_REQUEST_SUCCESS) + b"\0")
    assert not b.leg.alive
    publishing.cancel()


@pytest.mark.anyio
async def test_the_reason_of_a_refusal_is_told_by_the_relay() -> None:
    b = B()
    publishing = await b.asked("gpu1:8000:localhost:1")
    why = messages.service_refused("HELD", "a program with another key has it")
    b.sends(
        messages.global_request(SERVICE_REFUSED, want_reply=False, fields=why),
        byte(MSG_REQUEST_FAILURE),
    )
    text = "gpu1:8000: refused by the server: a program with another key has it"
    assert await refusal(publishing) == text
    # It was this answer's, and is no other's.
    publishing = await b.asked("gpu1:8000:localhost:1")
    b.sends(byte(MSG_REQUEST_FAILURE))
    assert "gives no reasons" in await refusal(publishing)
    b.leg.abort()


@pytest.mark.anyio
@pytest.mark.parametrize(("port", "hint"), [(80, True), (2000, False)])
async def test_of_an_sshd_it_is_said_that_it_gives_none(port: int, hint: bool) -> None:
    b = B()
    publishing = await b.asked(f"{port}:localhost:1")
    b.sends(byte(MSG_REQUEST_FAILURE))
    text = await refusal(publishing)
    assert text.startswith(f"localhost:{port}: refused by the server: ")
    assert "gives no reasons; the port may be taken there" in text
    assert ("below 1024" in text) is hint
    b.leg.abort()


async def refusal(publishing: asyncio.Task[None]) -> str:
    with pytest.raises(Refused) as caught:
        await publishing
    return str(caught.value)
