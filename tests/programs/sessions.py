"""Sessions end to end: A's runs inside its leg to B, and ends at C.

    client ─► A ══ session to C, within one to B ══ B ◄══ssh══ C: an SSH server ─► service

C's SSH server is the agent's own (`relay-agent --endpoint gpu1`), or a stock sshd that is
published as any service is. What A is told of the way stands in an ssh_config that ours and
OpenSSH's both read. To try another program in a role, write its function and enter it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import asyncssh
from asyncssh import SSHClientConnection

from tests.programs.chain import PUBLISHERS as AGENTS
from tests.programs.chain import SERVERS, Chain, Options, Server, Site, find
from tests.programs.chain import sshd as start_sshd
from tests.programs.process import GUARD, Process
from tests.programs.stock import login
from tests.programs.traffic import free_port

SETTINGS: Final = """\
Host b
    HostName 127.0.0.1
    Port {b_port}
Host gpu1
{gpu1}
Host *
    User {user}
    IdentityFile {key}
    IdentitiesOnly yes
    IdentityAgent none
    BatchMode yes
    StrictHostKeyChecking yes
    UserKnownHostsFile {known_hosts}
    GlobalKnownHostsFile /dev/null
    ExitOnForwardFailure yes
"""

BY_PORT: Final = """\
    HostName 127.0.0.1
    Port {port}
    HostKeyAlias gpu1"""
"""The way to a gpu1 that is published as a port of B's."""


def configure(site: Site, b: Server, *settings: str, port: int = 22, key: str = "client") -> Path:
    """The ssh_config of A: how to reach B, and gpu1 through it (`-J b gpu1`). `settings` are for
    both of them; `port` is that of B at which gpu1 is, if it is not there by its name."""
    path = site.folder / "ssh_config"
    text = SETTINGS.format(
        b_port=b.port,
        gpu1="" if port == 22 else BY_PORT.format(port=port),
        user=site.user,
        key=site.key(key),
        known_hosts=site.known_hosts,
    )
    path.write_text(text + "".join(f"    {line}\n" for line in settings))
    return path


def another_site(site: Site, name: str) -> Site:
    """For a second server with keys and files of its own."""
    folder = site.folder / name
    folder.mkdir()
    return Site(folder, site.stack)


# -- C


def endpoint(
    site: Site,
    b: Server,
    *options: str | Path,
    key: str = "agent",
    state: str = "gpu1",
    port: int = 22,
) -> Process:
    """`relay-agent --endpoint gpu1`"""
    name = "gpu1" if port == 22 else f"gpu1:{port}"
    process = site.ours(
        "relay-agent", *site.leg(b, key), "--endpoint", name,
        "--state-dir", site.folder / state, *options, f"{site.user}@127.0.0.1",
    )  # fmt: skip
    process.wait_for(f"gpu1:{port} -> sessions end to end, published")
    return process


def admit(site: Site, key: str, options: str = "", state: str = "gpu1") -> None:
    """Let a key in at the endpoint. B's authorized_keys is another file."""
    site.key(key)
    path = site.folder / state / "authorized_keys"
    path.parent.mkdir(mode=0o700, exist_ok=True)
    with path.open("a") as file:
        file.write(f"{options} {site.public(key).read_text()}".lstrip())


def trust(site: Site, agent: Process) -> None:
    """Do what the endpoint says at its first start."""
    line = agent.wait_for("the line for known_hosts on the other side: (.*)")[1]
    with site.known_hosts.open("a") as file:
        file.write(f"{line}\n")


def agent_itself(site: Site, b: Server, *options: str) -> tuple[Process, int]:
    admit(site, "client")
    # An sshd opens the port, and knows nothing of names.
    by_port = b.process is not None and b.process.name == "sshd"
    port = free_port() if by_port else 22
    agent = endpoint(site, b, *options, port=port)
    trust(site, agent)
    return agent, port


def sshd_by(publisher: str) -> Any:
    """An sshd on C, published by a relay-agent or by `ssh -R`."""

    def start(site: Site, b: Server, *options: str) -> tuple[Process, int]:
        c = another_site(site, "c")
        c.authorize(site.public("client").read_text())
        behind = start_sshd(c)
        public = (c.folder / "state" / "ssh_host_ed25519_key.pub").read_text()
        with site.known_hosts.open("a") as file:
            file.write(f"gpu1 {public}")
        bind = "gpu1:22" if b.process.name == "relay-server" else "localhost:0"
        process, service = AGENTS[publisher](site, b, bind, behind.port, *options)
        return process, int(service.rpartition(":")[2])

    return start


# -- A


def relay_connect(
    site: Site, config: Path, target: str, *options: str, jump: str = "b"
) -> tuple[Process, int]:
    process = site.ours(
        "relay-connect", "-F", config, "-J", jump, *options, "-L", f"127.0.0.1:0:{target}", "gpu1"
    )
    return process, int(process.wait_for(r"127\.0\.0\.1:(\d+) -> \S+ ready")[1])


def ssh_connect(
    site: Site, config: Path, target: str, *options: str, jump: str = "b"
) -> tuple[Process, int]:
    """`ssh -N -J`"""
    port = free_port()
    process = ssh(site, config, "-v", *options, "-L", f"127.0.0.1:{port}:{target}", jump=jump)
    process.wait_for("Local forwarding listening on")
    # One of them for each session; the innermost comes last.
    process.wait_for("Entering interactive session", count=2 + jump.count(","))
    return process, port


def ssh(site: Site, config: Path, *arguments: str, jump: str = "b", shell: bool = False) -> Process:
    return site.start(
        "ssh", find("ssh"), "-F", config, *([] if shell else ["-N"]), "-J", jump, *arguments, "gpu1"
    )  # fmt: skip


SESSION_OPENERS: Final = {"relay-connect": relay_connect, "ssh": ssh_connect}
SESSION_SERVERS: Final = {
    "endpoint": agent_itself,
    "sshd by relay-agent": sshd_by("relay-agent"),
    "sshd by ssh": sshd_by("ssh"),
}


# -- all three


def start_sessions(
    site: Site,
    *,
    a: str = "relay-connect",
    b: str = "relay-server",
    c: str = "endpoint",
    settings: Options = (),
    a_options: Options = (),
    b_options: Options = (),
    c_options: Options = (),
) -> Chain:
    """The chain of these programs; `settings` are lines of ssh_config for both of A's sessions."""
    site.key("agent"), site.key("client")
    service = site.service()
    server = SERVERS[b](site, *b_options)
    publisher, port = SESSION_SERVERS[c](site, server, *c_options)
    config = configure(site, server, *settings, port=port)
    opener, local = SESSION_OPENERS[a](site, config, f"127.0.0.1:{service.port}", *a_options)
    return Chain(opener, server, publisher, local, service, site)


@asynccontextmanager
async def inner_session(
    site: Site, leg: SSHClientConnection, key: str = "client", name: str = "gpu1", **options: Any
) -> AsyncIterator[SSHClientConnection]:
    """A session of stock asyncssh with the endpoint inside a leg of it, which can be made to ask
    for anything."""
    options.setdefault("client_keys", [str(site.key(key))])
    async with asyncssh.connect(
        name, tunnel=leg, username="somebody", config=None, agent_path=None,
        known_hosts=str(site.known_hosts), login_timeout=GUARD, **options,
    ) as inner:  # fmt: skip
        yield inner


@asynccontextmanager
async def session(
    site: Site, b: Server, key: str = "client", name: str = "gpu1"
) -> AsyncIterator[SSHClientConnection]:
    """The same inside a leg of its own."""
    async with login(site, b, "client") as leg, inner_session(site, leg, key, name) as inner:
        yield inner
