"""A tunnel in this process, through a relay-server in another."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from anyio.abc import SocketAttribute

import relay
from tests.library.conftest import B

MIB = 1 << 20


async def echo(stream: relay.Stream) -> None:
    async for data in stream:
        await stream.send(data)
    await stream.send_eof()


@asynccontextmanager
async def echoed(tunnel: relay.Tunnel, name: str) -> AsyncIterator[relay.Listener]:
    async with tunnel.listen(name) as listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, echo)
        yield listener
        tasks.cancel_scope.cancel()


async def everything(stream: Any) -> bytes:
    return b"".join([data async for data in stream])


async def exchange(stream: Any, size: int = MIB) -> None:
    """Random bytes to an echo: they come back as they went."""
    sent = os.urandom(size)

    async def send() -> None:
        await stream.send(sent)
        await stream.send_eof()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(send)
        came = await everything(stream)
    assert came == sent


async def test_one_tunnel_opens_what_another_takes(b: B) -> None:
    async with b.connect("agent_key") as c, b.connect() as a:
        assert a.connected
        async with echoed(c, "gpu1:8000") as listener:
            assert listener.address == "gpu1:8000"
            assert listener.service.published
            stream = await a.open("gpu1:8000")
            async with stream:
                await exchange(stream, 5 * MIB)
    assert not a.connected


async def test_one_tunnel_does_both(b: B) -> None:
    async with (
        b.connect() as tunnel,
        echoed(tunnel, "self:1"),
        await tunnel.open("self:1") as stream,
    ):
        await exchange(stream)


async def test_a_stream_that_is_accepted_knows_where_it_comes_from(b: B) -> None:
    async with b.connect() as tunnel, tunnel.listen("who:1") as listener:
        opened: list[relay.Stream] = []
        async with anyio.create_task_group() as tasks:

            async def opens() -> None:
                opened.append(await tunnel.open("who:1"))

            tasks.start_soon(opens)
            accepted = await listener.accept()
        host, port = accepted.extra(SocketAttribute.remote_address)
        assert host
        assert isinstance(port, int)
        await opened[0].aclose()
        assert await everything(accepted) == b""
        await accepted.aclose()


async def test_a_service_of_this_machine_is_published(b: B, tmp_path: Path) -> None:
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as service:
        port = service.extra(SocketAttribute.local_port)

        async def handle(stream: Any) -> None:
            async with stream:
                await echo(stream)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(service.serve, handle)
            async with b.connect("agent_key") as c, b.connect() as a:
                async with c.publish("web1:80", to=f"127.0.0.1:{port}") as published:
                    assert published.address == "web1:80"
                    async with await a.open("web1:80") as stream:
                        await exchange(stream)
                with pytest.raises(relay.NotPublished):
                    async with b.connect(wait=0) as one:
                        await one.open("web1:80")
                async with c.publish("localhost:0", to=port) as published:
                    host, _, picked = published.address.rpartition(":")
                    assert host == "localhost"
                    async with await anyio.connect_tcp("127.0.0.1", int(picked)) as client:
                        await exchange(client)
            tasks.cancel_scope.cancel()


async def test_a_port_of_this_machine(b: B, tmp_path: Path) -> None:
    async with b.connect() as tunnel, echoed(tunnel, "gpu2:8000"):
        async with tunnel.forward("gpu2:8000") as forward:
            host, _, port = forward.address.rpartition(":")
            async with await anyio.connect_tcp(host, int(port)) as client:
                await exchange(client)
        with pytest.raises(OSError):  # noqa: PT011
            await anyio.connect_tcp(host, int(port))
        path = tmp_path / "gpu.sock"
        async with tunnel.forward("gpu2:8000", listen=path) as forward:
            assert forward.address == str(path)
            async with await anyio.connect_unix(path) as client:
                await exchange(client)


async def test_socks(b: B) -> None:
    async with b.connect() as tunnel, echoed(tunnel, "gpu3:80"), tunnel.socks() as socks:
        host, _, port = socks.address.rpartition(":")
        async with await anyio.connect_tcp(host, int(port)) as client:
            await client.send(b"\5\1\0")
            assert await client.receive(2) == b"\5\0"
            await client.send(b"\5\1\0\3\4gpu3\0\x50")
            assert (await client.receive(2)) == b"\5\0"
            await client.receive(8)
            await exchange(client)


# -- what is refused, and whose doing it is


async def test_nobody_publishes_it(b: B) -> None:
    async with b.connect(wait=0) as tunnel:
        with pytest.raises(relay.NotPublished, match=r"^nobody:1: no such service is published"):
            await tunnel.open("nobody:1")


async def test_a_key_without_the_right(b: B) -> None:
    async with b.connect("narrow_key", wait=0) as tunnel:
        with pytest.raises(relay.Refused, match="this key may not open it"):
            await tunnel.open("gpu1:8000")
        with pytest.raises(relay.Refused, match="refused by the server"):
            async with tunnel.listen("gpu1:8000"):
                pass


async def test_a_service_whose_owner_cannot_connect(b: B) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        target = f"127.0.0.1:{closed.getsockname()[1]}"
        async with b.connect() as tunnel, tunnel.publish("down:1", to=target):
            with pytest.raises(relay.ServiceUnreachable, match=r"^down:1: .*refused"):
                await tunnel.open("down:1")


async def test_nobody_is_there(b: B) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        with pytest.raises(relay.LegLost, match="cannot connect"):
            async with b.connect(port=port, wait=0):
                pass


async def test_a_key_that_nobody_knows(b: B) -> None:
    b.site.key("stranger_key", None)
    with pytest.raises(relay.Refused, match="Permission denied"):
        async with b.connect("stranger_key"):
            pass


async def test_a_host_key_that_is_not_known(b: B, tmp_path: Path) -> None:
    with pytest.raises(relay.HostKeyRefused):
        async with b.connect(known_hosts=tmp_path / "none"):
            pass
    remembered = tmp_path / "new"
    async with b.connect(known_hosts=remembered, host_keys="accept-new"):
        assert str(b.server.port) in remembered.read_text()
    async with b.connect(known_hosts=remembered):
        pass


async def test_wrong_arguments(b: B) -> None:
    for wrong in ({"destination": "-x"}, {"port": 0}, {"options": {"Ciphers": "none"}}):
        with pytest.raises(relay.UsageError):
            async with b.connect(**wrong):
                pass
    with pytest.raises(relay.FileError):
        async with b.connect(identity="/no/such/file"):
            pass
    async with b.connect() as tunnel:
        for service in ("gpu1", "gpu1:0", "gpu1:99999", ":1", "a b:1", "", "1:2:3"):
            with pytest.raises(relay.UsageError):
                await tunnel.open(service)
            with pytest.raises(relay.UsageError):
                async with tunnel.publish("x:1", to=service):
                    pass
        for name in ("gpu1", "a b:1", "x..y:1", "1:2:3", "", "x:99999"):
            with pytest.raises(relay.UsageError):
                async with tunnel.listen(name):
                    pass
        async with tunnel.listen("once:1"):
            with pytest.raises(relay.AddressError):
                async with tunnel.listen("once:1"):
                    pass
    with pytest.raises(relay.UsageError, match="closed"):
        await tunnel.open("gpu1:8000")
    with pytest.raises(relay.UsageError, match="closed"):
        tunnel.events()


# -- streams


async def test_a_stream_that_its_handler_leaves_with_an_exception_is_broken(b: B) -> None:
    async def half_an_answer(stream: relay.Stream) -> None:
        await stream.send(b"half")
        await stream.receive()
        raise anyio.BrokenResourceError

    async with (
        b.connect() as tunnel,
        tunnel.listen("half:1") as listener,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(listener.serve, half_an_answer)
        async with await tunnel.open("half:1") as stream:
            assert await stream.receive() == b"half"
            await stream.send(b"and then?")
            with pytest.raises(anyio.BrokenResourceError):
                await everything(stream)
        tasks.cancel_scope.cancel()


async def test_a_receive_that_is_cancelled_loses_no_byte(b: B) -> None:
    sent = bytes(range(256)) * 16
    async with b.connect() as tunnel, tunnel.listen("drip:1") as listener:

        async def drip(stream: relay.Stream) -> None:
            for number in range(0, len(sent), 16):
                await stream.send(sent[number : number + 16])
                await anyio.lowlevel.checkpoint()
            await stream.send_eof()
            await everything(stream)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(listener.serve, drip)
            stream = await tunnel.open("drip:1")
            came = b""
            try:
                while True:
                    with anyio.move_on_after(0.0003):
                        came += await stream.receive(7)
            except anyio.EndOfStream:
                pass
            assert came == sent
            await stream.aclose()
            tasks.cancel_scope.cancel()


async def send_for_ever(stream: relay.Stream) -> None:
    while True:
        await stream.send(b"x")


async def test_a_tunnel_that_ends_breaks_its_streams(b: B) -> None:
    async with b.connect("agent_key") as c, echoed(c, "short:1"):
        async with b.connect() as a:
            stream = await a.open("short:1")
            await stream.send(b"x")
            assert await stream.receive() == b"x"
        with pytest.raises(anyio.BrokenResourceError):
            await stream.receive()
        with pytest.raises(anyio.BrokenResourceError):
            await send_for_ever(stream)
        await stream.aclose()
        with pytest.raises(anyio.ClosedResourceError):
            await stream.receive()


async def test_who_listens_no_more_refuses(b: B) -> None:
    async with b.connect() as tunnel, tunnel.listen("idle:1") as listener:
        errors: list[BaseException] = []

        async def opens() -> None:
            try:
                await tunnel.open("idle:1")
            except relay.PeerError as error:
                errors.append(error)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(opens)
            while not listener._incoming._waiting:  # noqa: ASYNC110
                await anyio.sleep(0.001)
            await listener.aclose()
        assert isinstance(errors[0], relay.ServiceUnreachable)
        with pytest.raises(anyio.ClosedResourceError):
            await listener.accept()


# -- events, and a connection that comes and goes


async def test_events(b: B) -> None:
    async with b.connect() as tunnel:
        events = tunnel.events()
        async with tunnel.listen("told:1"):
            pass
        granted, given_up = [await anext(events) for _ in range(2)]
        assert isinstance(granted, relay.ServiceGranted)
        assert granted.service == "told:1"
        assert isinstance(given_up, relay.ServiceGivenUp)
        with anyio.move_on_after(0):
            await anext(events)
        rest = tunnel.events()
    assert [event async for event in rest] == []


async def test_it_comes_back(own_b: B) -> None:
    b = own_b
    async with b.connect(wait=30) as tunnel, echoed(tunnel, "again:1") as listener:
        events = tunnel.events()
        old = await tunnel.open("again:1")
        b.server.process.stop()
        with pytest.raises(anyio.BrokenResourceError):
            await old.receive()
        await old.aclose()
        async for event in events:
            if isinstance(event, relay.Disconnected):
                break
        assert not tunnel.connected
        assert not listener.service.published
        b.site.start(
            "relay-server", sys.executable, "-m", "relay.cli.server", "--drain", "0",
            "--listen", f"127.0.0.1:{b.server.port}", "--state-dir", b.site.folder / "state",
        ).wait_for("listening")  # fmt: skip
        tunnel.retry()
        async with await tunnel.open("again:1") as stream:
            await exchange(stream)
        async for event in events:
            if isinstance(event, relay.Reconnected):
                break
        assert listener.service.published


async def test_who_waits_for_a_connection_hears_why_there_is_none(own_b: B) -> None:
    b = own_b
    async with b.connect(wait=0.2) as tunnel:
        b.server.process.stop()
        with pytest.raises(relay.LegLost, match="there is no connection to 127"):
            await tunnel.open("gpu1:8000")
        with pytest.raises(relay.LegLost):
            async with tunnel.publish("gpu1:8000", to=80):
                pass
