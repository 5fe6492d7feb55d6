"""What one who has logged in may not do: the answer on the wire, and the line in the log."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final, NoReturn

import asyncssh
import pytest
from asyncssh import OPEN_ADMINISTRATIVELY_PROHIBITED as PROHIBITED
from asyncssh import OPEN_CONNECT_FAILED as FAILED
from asyncssh import SSHClientConnection
from asyncssh.packet import String, UInt32

from relay.wire.numbers import MSG_REQUEST_FAILURE, RELAY_VERSION, VERSION_START, OpenFailure
from tests.programs.chain import Server, Site, relay_agent, relay_server, ssh, sshd
from tests.programs.stock import login, may_publish, refusal, slug
from tests.programs.traffic import LOW_PORTS, dial, free_port

Ask = Callable[[SSHClientConnection], Awaitable[Any]]


@pytest.fixture
def site(shared_site: Site) -> Site:
    return shared_site


def on_a_leg(site: Site, server: Server, key: str, ask: Ask) -> Any:
    """Log in with the key and ask; the leg must outlive the answer."""

    async def run() -> Any:
        async with login(site, server, key) as leg:
            answer = await ask(leg)
            code, _ = await refusal(leg, "nowhere", 1)
            assert code in (FAILED, PROHIBITED)
            return answer

    return asyncio.run(run())


# -- things that a relay does not give


@pytest.mark.parametrize(
    ("ask", "logged"),
    [
        pytest.param(lambda leg: leg.run("id"), "session", id="command"),
        pytest.param(lambda leg: leg.create_process(), "session", id="shell"),
        pytest.param(lambda leg: leg.start_sftp_client(), "session", id="subsystem"),
        pytest.param(
            lambda leg: leg.open_unix_connection("/run/some.sock"), "unix socket", id="streamlocal"
        ),
        pytest.param(lambda leg: leg.open_tun(remote_unit=0), "tun device", id="tun"),
        pytest.param(lambda leg: leg.open_tap(remote_unit=0), "tun device", id="tap"),
    ],
)
def test_channels_that_are_prohibited(site: Site, server: Server, ask: Ask, logged: str) -> None:
    async def refused(leg: SSHClientConnection) -> asyncssh.ChannelOpenError:
        with pytest.raises(asyncssh.ChannelOpenError) as caught:
            await ask(leg)
        return caught.value

    error = on_a_leg(site, server, "curious", refused)
    assert error.code == PROHIBITED
    assert "relay" in error.reason
    server.process.wait_for(rf"\(curious\).* asked for {logged}.*: refused")


@pytest.mark.parametrize("kind", ["x11", "auth-agent@openssh.com", "no-such-kind", "channel"])
def test_channels_that_nobody_opens_to_a_server(site: Site, server: Server, kind: str) -> None:
    async def refused(leg: SSHClientConnection) -> int:
        with pytest.raises(asyncssh.ChannelOpenError) as caught:
            await leg.create_tcp_channel()._open(kind.encode())
        return caught.value.code

    code = on_a_leg(site, server, "curious", refused)
    assert code in (PROHIBITED, asyncssh.OPEN_UNKNOWN_CHANNEL_TYPE)
    server.process.wait_for(rf"\(curious\).* asked for .*{kind}.*: refused")


def test_unix_sockets_are_not_forwarded(site: Site, server: Server) -> None:
    async def listen(leg: SSHClientConnection) -> None:
        with pytest.raises(asyncssh.ChannelListenError):
            await leg.forward_remote_path("/tmp/no.sock", "/tmp/none.sock")

    on_a_leg(site, server, "curious", listen)
    server.process.wait_for(r"\(curious\).* asked for unix socket forwarding: refused")


def test_a_person_who_wants_a_shell_reads_why_not(site: Site, server: Server) -> None:
    client = ssh(site, server, "curious", shell=True)
    client.wait_for("administratively prohibited: this relay gives no session.*use ssh -N")
    assert client.end() != 0


# -- streams


@pytest.mark.parametrize(
    "target", ["unpublished:1", "localhost:22", "127.0.0.1:22", "192.0.2.1:80", "example.org:80"]
)
def test_what_is_not_published_cannot_be_opened(site: Site, server: Server, target: str) -> None:
    host, _, port = target.rpartition(":")
    answer = on_a_leg(site, server, "curious", lambda leg: refusal(leg, host, int(port)))
    assert answer == (FAILED, f"{target}: no such service is published")
    server.process.wait_for(rf"{target} refused to .*\(curious\).*: no such service is published")


@pytest.mark.parametrize(
    ("hold", "expected"),
    [("3600", OpenFailure.NOT_PUBLISHED), ("0", OpenFailure.UNKNOWN_SERVICE)],
)
def test_a_client_of_ours_is_told_by_a_code_whether_it_may_wait(
    tmp_path: Path, hold: str, expected: OpenFailure
) -> None:
    """RFC 4254 §5.1 has one code for this and for a service that refuses. B that has begun within
    the time of `--hold` does not know who was there before."""

    with ExitStack() as stack:
        site = Site(tmp_path, stack)
        server = relay_server(site, "--hold", hold)

        async def run() -> tuple[int, str]:
            version = RELAY_VERSION.removeprefix(VERSION_START)
            async with login(site, server, "curious", client_version=version) as leg:
                return await refusal(leg, "gpu1", 8000)

        code, text = asyncio.run(run())
    assert code == expected
    assert text == "gpu1:8000: no such service is published"


def test_an_agent_cannot_speak_for_the_relay(site: Site, server: Server) -> None:
    """Of the codes for private use those that B says are B's alone."""

    def refuses(*_: object) -> NoReturn:
        raise asyncssh.ChannelOpenError(OpenFailure.NOT_PUBLISHED, "not today")

    async def run() -> tuple[int, str]:
        version = RELAY_VERSION.removeprefix(VERSION_START)
        async with (
            login(site, server, "second") as agent,
            login(site, server, "curious", client_version=version) as leg,
        ):
            await agent.create_server(refuses, "refusing", 1)
            return await refusal(leg, "refusing", 1)

    assert asyncio.run(run()) == (FAILED, "not today")


def test_the_relay_does_not_lead_to_itself(site: Site, server: Server) -> None:
    code, _ = on_a_leg(site, server, "curious", lambda leg: refusal(leg, "localhost", server.port))
    assert code == FAILED


@pytest.mark.parametrize(
    ("options", "target", "permitted"),
    [
        ('permitopen="gpu9:1"', "gpu9:1", True),
        ('permitopen="gpu9:1"', "GPU9:1", True),
        ('permitopen="gpu9:1"', "gpu9:2", False),
        ('permitopen="gpu9:*"', "gpu9:2", True),
        ('permitopen="gpu9:1",permitopen="gpu8:1"', "gpu8:1", True),
        ('permitopen="gpu*:1"', "gpu9:1", False),
        ('permitopen="[::1]:80"', "::1:80", True),
        ('permitopen="none"', "gpu9:1", False),
        ('permitlisten="gpu9:1"', "gpu9:1", True),
        ("restrict", "gpu9:1", False),
        ("restrict,port-forwarding", "gpu9:1", True),
        ("no-port-forwarding", "gpu9:1", False),
    ],
)
def test_what_a_key_may_open(
    site: Site, server: Server, options: str, target: str, permitted: bool
) -> None:
    key = slug(options)
    site.key(key, options)
    host, _, port = target.rpartition(":")
    code, text = on_a_leg(site, server, key, lambda leg: refusal(leg, host, int(port)))
    assert code == (FAILED if permitted else PROHIBITED)
    assert permitted or text.endswith("this key may not open it")


# -- services


@pytest.mark.parametrize(
    ("options", "service", "permitted"),
    [
        ('permitlisten="gpu9:1"', "gpu9:1", True),
        ('permitlisten="gpu9:1"', "gpu9:2", False),
        ('permitlisten="gpu9:*"', "gpu9:2", True),
        ('permitlisten="gpu?:1"', "gpu7:1", True),
        ('permitlisten="gpu9:1"', "localhost:0", False),
        ('permitlisten="1"', "gpu9:1", True),
        ('permitlisten="localhost:*"', "localhost:0", True),
        ('permitlisten="localhost:*"', "127.0.0.1:0", False),
        ('permitlisten="none"', "gpu9:1", False),
        ('permitopen="gpu9:1"', "gpu9:1", True),
        ("restrict", "gpu9:1", False),
        ("no-port-forwarding", "localhost:0", False),
    ],
)
def test_what_a_key_may_publish(
    site: Site, server: Server, options: str, service: str, permitted: bool
) -> None:
    key = slug(options)
    site.key(key, options)
    bind, _, port = service.rpartition(":")
    assert on_a_leg(site, server, key, lambda leg: may_publish(leg, bind, int(port))) is permitted
    if not permitted:
        server.process.wait_for(rf"{service} refused to .*\({key}\).*: this key may not publish it")


LOW: Final = "LOW"
"""In place of a port that only root may open. (None for good: others take port 1 for closed.)"""


@pytest.mark.parametrize(
    ("options", "flags", "service", "permitted"),
    [
        ("", (), f"localhost:{LOW}", False),
        ('permitlisten="*:*"', (), f"localhost:{LOW}", False),
        ('permitlisten="localhost:*"', (), f"localhost:{LOW}", False),
        (f'permitlisten="localhost:{LOW}"', (), f"localhost:{LOW}", True),
        (f'permitlisten="{LOW}"', (), f"localhost:{LOW}", True),
        ("", ("--privileged-ports", "yes"), f"localhost:{LOW}", True),
        ("restrict", ("--privileged-ports", "yes"), f"localhost:{LOW}", False),
        # No port is opened for a name.
        ("", (), f"gpu1:{LOW}", True),
    ],
)
def test_a_port_that_only_root_could_open(
    tmp_path: Path, options: str, flags: tuple[str, ...], service: str, permitted: bool
) -> None:
    if permitted and service.startswith("localhost") and os.geteuid():
        pytest.skip("only root can open it")
    low = str(free_port(LOW_PORTS))
    options, service = options.replace(LOW, low), service.replace(LOW, low)
    with ExitStack() as stack:
        site = Site(tmp_path, stack)
        b = relay_server(site, *flags)
        site.key("key", options)
        bind, _, port = service.rpartition(":")
        may = on_a_leg(site, b, "key", lambda leg: may_publish(leg, bind, int(port)))
        assert may is permitted
        if not permitted and options != "restrict":
            b.process.wait_for(
                f"{service} refused to .*: no permitlisten of this key has this port"
            )


def test_a_service_that_is_held_is_refused_and_the_log_says_who_holds_it(
    site: Site, server: Server
) -> None:
    holder, service = relay_agent(site, server, "held:1", 1, key="holder")
    second = site.ours(
        "relay-agent", "--once", *site.leg(server, "second"),
        "-R", f"{service}:localhost:1", "x@127.0.0.1",
    )  # fmt: skip
    second.wait_for("relay-agent: held:1: refused by the server")
    assert second.end() == 1
    server.process.wait_for(r"held:1 refused to .*\(second\).*already published by .*\(holder\)")
    # Whoever comes after the holder may have it.
    assert holder.stop() == 0
    server.process.wait_for("held:1 withdrawn")
    assert on_a_leg(site, server, "second", lambda leg: may_publish(leg, "held", 1))


def test_ssh_ends_when_its_service_is_held(site: Site, server: Server) -> None:
    relay_agent(site, server, "taken:1", 1, key="holder")
    client = ssh(site, server, "second", "-R", "taken:1:localhost:1")
    client.wait_for("remote port forwarding failed for listen port 1")
    assert client.end() == 255


def test_a_port_of_the_server_that_is_taken_is_refused(site: Site, server: Server) -> None:
    assert not on_a_leg(
        site, server, "second", lambda leg: may_publish(leg, "localhost", server.port)
    )
    server.process.wait_for(rf"localhost:{server.port} refused to .*: cannot listen on")


@pytest.mark.parametrize("bind", ["", "localhost", "127.0.0.1"])
def test_port_0_picks_a_port_and_a_cancel_closes_it(site: Site, server: Server, bind: str) -> None:
    async def publish(leg: SSHClientConnection) -> int:
        listener = await leg.forward_remote_port(bind, 0, "localhost", 1)
        port = listener.get_port()
        dial(port).close()
        listener.close()
        await listener.wait_closed()
        return port

    port = on_a_leg(site, server, "second", publish)
    server.process.wait_for(f":{port} withdrawn: by its agent")
    with pytest.raises(ConnectionRefusedError):
        dial(port)


def test_a_cancelled_name_is_gone_and_an_unknown_one_is_a_failure(
    site: Site, server: Server
) -> None:
    async def cancel(leg: SSHClientConnection) -> int:
        assert await may_publish(leg, "cancelled", 1)
        assert (await refusal(leg, "cancelled", 1))[0] == FAILED
        fields = String("cancelled"), UInt32(1)
        answer, _ = await leg._make_global_request(b"cancel-tcpip-forward", *fields)
        return answer

    assert on_a_leg(site, server, "second", cancel) == MSG_REQUEST_FAILURE


def test_nobody_cancels_another_ones_service(site: Site, server: Server) -> None:
    relay_agent(site, server, "guarded:1", 1, key="holder")

    async def cancel(leg: SSHClientConnection) -> int:
        fields = String("guarded"), UInt32(1)
        answer, _ = await leg._make_global_request(b"cancel-tcpip-forward", *fields)
        assert not await may_publish(leg, "guarded", 1)
        return answer

    assert on_a_leg(site, server, "second", cancel) == MSG_REQUEST_FAILURE


def test_a_name_that_an_sshd_ignores_is_said_to_be(tmp_path: Path) -> None:
    with ExitStack() as stack:
        site = Site(tmp_path, stack)
        port = free_port()
        agent, _ = relay_agent(site, sshd(site), f"gpu1:{port}", 1)
        agent.wait_for(f"gpu1:{port}: the server is no relay-server: .* opens port {port} instead")
