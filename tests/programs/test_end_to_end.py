"""End to end: B switches what it cannot read, whoever plays A, B and C."""

from __future__ import annotations

import asyncio
import re
import signal
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack
from functools import partial
from typing import Any

import asyncssh
import pytest
from asyncssh import OPEN_ADMINISTRATIVELY_PROHIBITED as PROHIBITED
from asyncssh import OPEN_CONNECT_FAILED as FAILED
from asyncssh import SSHClientConnection

from relay.trust.known_hosts import host_name
from tests.programs.chain import (
    QUICK_KEX,
    Chain,
    Options,
    Server,
    Site,
    relay_agent,
    relay_server,
    sshd,
)
from tests.programs.process import Process
from tests.programs.sessions import (
    SESSION_OPENERS,
    admit,
    agent_itself,
    another_site,
    configure,
    endpoint,
    relay_connect,
    session,
    ssh,
    start_sessions,
    trust,
)
from tests.programs.stock import may_login, may_publish, refusal, slug
from tests.programs.traffic import (
    MIB,
    closing,
    dial,
    exchange,
    flood,
    is_reset,
    receive,
    reset,
    send,
    together,
)

LARGE = 64 * MIB
SIZE = 8 * MIB
STREAMS = 100
SMALL = 64 * 1024


@pytest.fixture
def sessions(site: Site) -> Chain:
    """Our three programs, and a session end to end."""
    return start_sessions(site)


@pytest.fixture(scope="module")
def lasting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chain]:
    """The same, for all tests that leave it as it was."""
    with ExitStack() as stack:
        yield start_sessions(Site(tmp_path_factory.mktemp("lasting"), stack))


# -- what passes


def test_a_large_exchange_arrives_whole(lasting: Chain) -> None:
    exchange(*lasting.stream(), LARGE)


def test_many_streams_at_once_are_not_mixed_up(lasting: Chain) -> None:
    pairs = [lasting.stream() for _ in range(STREAMS)]
    together([partial(exchange, *pair, SMALL, seed=2 * n) for n, pair in enumerate(pairs)])


def check(chain: Chain) -> None:
    """Content, parallel streams, half-close, streams that break off, a service that refuses."""
    together([partial(exchange, *chain.stream(), SIZE, seed=2 * n) for n in range(3)])
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
    chain.service.close()
    with dial(chain.port) as client:
        assert is_reset(client) or client.recv(1) == b""


@pytest.mark.parametrize("a", ["relay-connect", "ssh"])
@pytest.mark.parametrize(
    ("b", "c"),
    [
        ("relay-server", "endpoint"),
        ("relay-server", "sshd by relay-agent"),
        ("relay-server", "sshd by ssh"),
        ("sshd", "endpoint"),
        ("sshd", "sshd by relay-agent"),
        ("sshd", "sshd by ssh"),
    ],
)
def test_all_mixes_with_openssh(site: Site, a: str, b: str, c: str) -> None:
    chain = start_sessions(site, a=a, b=b, c=c)
    if a == "relay-connect":
        # With sshds only it could be another relay as well.
        known = b == "relay-server" or c == "endpoint"
        where = "end to end to" if known else "encrypted as far as"
        assert chain.a.said(rf"^{where} gpu1 \(SHA256:")
        assert chain.a.said("can read it") is not known
    check(chain)


REKEY: Options = ("RekeyLimit 4M", "KexAlgorithms curve25519-sha256")
LOUD: Options = ("-vvv",)
"""With what each program says of a key exchange."""


@pytest.mark.parametrize(
    ("a", "b", "c"),
    [
        ("relay-connect", "relay-server", "endpoint"),
        ("ssh", "relay-server", "endpoint"),
        ("relay-connect", "sshd", "sshd by ssh"),
    ],
)
def test_keys_of_both_sessions_change_under_load(site: Site, a: str, b: str, c: str) -> None:
    own = b == "relay-server"
    chain = start_sessions(
        site, a=a, b=b, c=c, settings=REKEY, a_options=LOUD,
        b_options=("--rekey-limit", "4M") if own else (),
        c_options=("-o", "RekeyLimit=4M", *(QUICK_KEX if c == "sshd by ssh" else ())),
    )  # fmt: skip
    together([partial(exchange, *chain.stream(), 2 * SIZE, seed=2 * n) for n in range(3)])
    if a == "relay-connect":
        # The two logins make two; what the windows let through meanwhile counts for nothing.
        chain.a.wait_for("Completed key exchange", count=6)


# -- how a stream ends


def test_a_client_that_has_asked_still_gets_its_answer(lasting: Chain) -> None:
    client, service = lasting.stream()
    with closing(client, service):
        client.sendall(b"x")
        client.shutdown(1)
        assert service.recv(16) == b"x"
        assert service.recv(16) == b""
        sent = send(service, SIZE)
        assert receive(client) == (SIZE, sent)


def test_a_service_that_leaves_stops_a_client_that_sends(lasting: Chain) -> None:
    client, service = lasting.stream()
    with closing(client):
        service.close()
        assert client.recv(16) == b""
        flood(client)


def test_a_client_that_is_slow_holds_up_no_other(lasting: Chain) -> None:
    client, service = lasting.stream()
    with closing(client, service):
        service.settimeout(1)
        filled = 0
        try:
            while True:
                filled += service.send(bytes(MIB))
        except TimeoutError:
            assert filled < 64 * MIB
        exchange(*lasting.stream(), SIZE)


@pytest.mark.parametrize("victim", ["b", "c"])
def test_streams_break_when_the_outer_leg_does(site: Site, victim: str) -> None:
    chain = start_sessions(site, a_options=("--once",))
    client, service = chain.stream()
    with closing(client, service):
        service.sendall(b"half an ans")
        assert client.recv(64) == b"half an ans"
        (chain.b.process if victim == "b" else chain.c).signal(signal.SIGKILL)
        assert is_reset(client)
    assert chain.a.end() == 1
    assert not chain.a.said("Traceback")


def test_the_agent_outlives_its_sessions(site: Site, sessions: Chain) -> None:
    client, service = sessions.stream()
    with closing(client):
        assert sessions.a.stop() == 0
        assert is_reset(service)
    sessions.c.wait_for("end to end session over: ")
    target = f"127.0.0.1:{sessions.service.port}"
    _, port = relay_connect(site, site.folder / "ssh_config", target)
    exchange(dial(port), sessions.service.accept(), MIB)


# -- the way there


def test_over_two_relays(site: Site) -> None:
    """`-J b1,b2`: of the three sessions, one within the other, the innermost ends at gpu1."""
    first = relay_server(site)
    site.key("agent")
    second_site = another_site(site, "second")
    second = relay_server(second_site)
    second_site.authorize(site.public("agent").read_text())
    site.key("client")
    second_site.authorize(site.public("client").read_text())
    service = site.service()
    # The second relay is a service of the first.
    published = site.ours(
        "relay-agent", *site.leg(first, "agent"), "-R", f"b2:22:127.0.0.1:{second.port}",
        "x@127.0.0.1",
    )  # fmt: skip
    published.wait_for("published")
    admit(site, "client")
    agent = site.ours(
        "relay-agent", "-p", str(second.port), "-i", site.folder / "agent",
        "-o", f"UserKnownHostsFile={second_site.known_hosts}", "--endpoint", "gpu1",
        "--state-dir", site.folder / "gpu1", "x@127.0.0.1",
    )  # fmt: skip
    trust(site, agent)
    public = (second_site.folder / "state" / "ssh_host_ed25519_key.pub").read_text()
    with site.known_hosts.open("a") as file:
        file.write(f"b2 {public}")
    config = configure(site, first)
    for connect in SESSION_OPENERS.values():
        _, port = connect(site, config, f"127.0.0.1:{service.port}", jump="b,b2")
        exchange(dial(port), service.accept(), SIZE)


@pytest.mark.parametrize("opener", ["relay-connect", "ssh"])
def test_user_and_port_of_a_jump(site: Site, opener: str) -> None:
    b = relay_server(site)
    agent_itself(site, b)
    service = site.service()
    jump = f"somebody@127.0.0.1:{b.port}"
    connect = SESSION_OPENERS[opener]
    _, port = connect(site, configure(site, b), f"127.0.0.1:{service.port}", jump=jump)
    exchange(dial(port), service.accept(), MIB)
    b.process.wait_for(r"\(client\) as somebody from")


def test_proxy_jump_of_ssh_config(site: Site) -> None:
    b = relay_server(site)
    agent_itself(site, b)
    service = site.service()
    config = configure(site, b)
    config.write_text(f"Host gpu1\n    ProxyJump b\n{config.read_text()}")
    a = site.ours("relay-connect", "-F", config, "-L", f"0:127.0.0.1:{service.port}", "gpu1")
    port = int(a.wait_for(r"127\.0\.0\.1:(\d+) -> ")[1])
    exchange(dial(port), service.accept(), MIB)
    a.wait_for(r"\bend to end to gpu1 \(SHA256:")


# -- what is to be seen


def test_both_sides_say_whom_they_trust(site: Site, sessions: Chain) -> None:
    shown = sessions.c.wait_for(r"gpu1: host key (SHA256:\S+)")[1]
    line = sessions.c.wait_for("line for known_hosts on the other side: (.*)")[1]
    assert re.fullmatch(r"gpu1 ssh-ed25519 \S+", line)
    sessions.a.wait_for(rf"\bend to end to gpu1 \({re.escape(shown)}\)$")
    assert not sessions.a.said("can read it")
    sessions.c.stop()
    # The key lasts; that it is new is said only once.
    again = endpoint(site, sessions.b)
    again.wait_for(re.escape(f"gpu1: host key {shown}"))
    assert not again.said("known_hosts")


def test_what_is_not_end_to_end_says_so(site: Site, sessions: Chain) -> None:
    config = site.folder / "ssh_config"
    a = site.ours("relay-connect", "-F", config, "-L", "0:gpu1:22", "b")
    a.wait_for(r"\brelayed by \S+, which can read it$")
    a.wait_for("ready")
    assert not a.said("end to end")


def test_a_relay_behind_a_jump_host_is_no_end(site: Site) -> None:
    """`-J bastion -p 2222 user@localhost`: the bastion cannot read it, the relay beside it can."""
    bastion_site = another_site(site, "bastion")
    bastion = sshd(bastion_site)
    b = relay_server(site)
    site.key("client")
    bastion_site.authorize(site.public("client").read_text())
    service = site.service()
    relay_agent(site, b, "gpu1:8000", service.port)
    bastion_key = (bastion_site.folder / "state" / "ssh_host_ed25519_key.pub").read_text()
    with site.known_hosts.open("a") as file:
        file.write(f"{host_name('127.0.0.1', bastion.port)} {bastion_key}")
        relay_key = (site.folder / "state" / "ssh_host_ed25519_key.pub").read_text()
        file.write(f"{host_name('localhost', b.port)} {relay_key}")
    config = site.folder / "ssh_config"
    config.write_text(
        f"Host *\n IdentityFile {site.key('client')}\n UserKnownHostsFile {site.known_hosts}\n"
        f" IdentityAgent none\n GlobalKnownHostsFile /dev/null\n User {site.user}\n"
    )
    a = site.ours(
        "relay-connect", "-F", config, "-J", f"127.0.0.1:{bastion.port}", "-p", str(b.port),
        "-L", "127.0.0.1:0:gpu1:8000", "localhost",
    )  # fmt: skip
    port = int(a.wait_for(r"127\.0\.0\.1:(\d+) -> \S+ ready")[1])
    assert a.said("^relayed by localhost, which can read it$")
    assert not a.said("end to end")
    exchange(dial(port), service.accept(), MIB)


# -- who may do what, says C's owner


@pytest.fixture(scope="module")
def shared_endpoint(shared_site: Site, server: Server) -> Process:
    """One endpoint for what follows; the target that it allows beside the default one."""
    agent, _ = agent_itself(shared_site, server, "--allow", "127.0.0.1:*", "--allow", "localhost:7")
    return agent


def ask(site: Site, server: Server, ask: Callable[[SSHClientConnection], Awaitable[Any]],
        key: str = "client") -> Any:  # fmt: skip
    """Log in at the endpoint and ask; the session must outlive the answer."""

    async def run() -> Any:
        async with session(site, server, key) as leg:
            answer = await ask(leg)
            assert (await refusal(leg, "192.0.2.1", 1))[0] == PROHIBITED
            return answer

    return asyncio.run(run())


def test_bs_word_lets_nobody_in(
    shared_site: Site, server: Server, shared_endpoint: Process
) -> None:
    shared_site.key("stranger")
    with pytest.raises(asyncssh.PermissionDenied):
        ask(shared_site, server, lambda leg: refusal(leg, "127.0.0.1", 1), key="stranger")
    shared_endpoint.wait_for("key SHA256:.* refused: ")
    assert asyncio.run(may_login(shared_site, server, "stranger"))


@pytest.mark.parametrize(
    ("target", "answer"),
    [
        ("127.0.0.1:1", (FAILED, "Connection refused")),
        ("localhost:7", (FAILED, "Connection refused")),
        ("localhost:8", (PROHIBITED, "localhost:8: not among what --allow allows")),
        ("example.org:80", (PROHIBITED, "example.org:80: not among what --allow allows")),
    ],
)
def test_what_sessions_may_reach(
    shared_site: Site, server: Server, shared_endpoint: Process,
    target: str, answer: tuple[int, str],
) -> None:  # fmt: skip
    host, _, port = target.rpartition(":")
    assert ask(shared_site, server, lambda leg: refusal(leg, host, int(port))) == answer
    if answer[0] == PROHIBITED:
        shared_endpoint.wait_for(f"{target} refused to .*: not among what --allow allows")


@pytest.mark.parametrize(
    ("options", "permitted"),
    [
        ('permitopen="127.0.0.1:1"', True),
        ('permitopen="127.0.0.1:2"', False),
        ('permitopen="none"', False),
        ("restrict", False),
        ("restrict,port-forwarding", True),
    ],
)
def test_what_a_key_may_open(
    shared_site: Site, server: Server, shared_endpoint: Process, options: str, permitted: bool
) -> None:
    key = slug(options)
    admit(shared_site, key, options)
    code, text = ask(shared_site, server, lambda leg: refusal(leg, "127.0.0.1", 1), key=key)
    assert (code, text) == (
        (FAILED, "Connection refused") if permitted
        else (PROHIBITED, "127.0.0.1:1: this key may not open it")
    )  # fmt: skip


@pytest.mark.parametrize("bind", ["localhost", "0.0.0.0", "gpu1"])
def test_forwards_the_other_way_are_refused(
    shared_site: Site, server: Server, shared_endpoint: Process, bind: str
) -> None:
    assert not ask(shared_site, server, lambda leg: may_publish(leg, bind, 0))
    shared_endpoint.wait_for(r"\(client\).* asked for a forward of .*: refused")


def test_a_forward_the_other_way_that_was_switched_on(site: Site) -> None:
    b = relay_server(site)
    agent_itself(site, b, "--allow-reverse")
    service = site.service()
    a = ssh(site, configure(site, b), "-v", "-R", f"0:127.0.0.1:{service.port}")
    port = int(a.wait_for(r"Allocated port (\d+) for remote forward")[1])
    exchange(dial(port), service.accept(), SIZE)
    a.stop()
    # What it published ends with it.
    b.process.wait_for("splice closed")
    with pytest.raises(ConnectionRefusedError):
        dial(port)
