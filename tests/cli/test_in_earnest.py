"""What stands in ssh_config has its effect in the real programs."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.programs.chain import Server, Site, find, relay_server, run, sshd
from tests.programs.process import Process


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with ExitStack() as stack:
        yield Site(tmp_path, stack)


def configure(site: Site, b: Server, text: str = "") -> None:
    """The user's ~/.ssh/config: how to reach B, and what the test adds."""
    folder = site.folder / ".ssh"
    folder.mkdir(mode=0o700, exist_ok=True)
    config = folder / "config"
    config.touch(mode=0o600)
    config.write_text(
        f"Host b\n HostName 127.0.0.1\n Port {b.port}\n User {site.user}\n"
        f" UserKnownHostsFile {site.known_hosts}\n{text}\n"
    )


def published(site: Site, *options: str) -> Process:
    """An agent that publishes what the files and these options say."""
    agent = site.ours("relay-agent", "-i", site.key("agent"), *options, "b")
    agent.wait_for("published")
    return agent


def ready(site: Site, *options: str) -> tuple[Process, int]:
    """A `relay-connect` and the port of its first forward."""
    connect = site.ours("relay-connect", "-i", site.key("client"), *options, "b")
    match = connect.wait_for(r"(?::(\d+)|socket) -> \S+ ready")
    return connect, int(match[1] or 0)


def talk(client: socket.socket, service: socket.socket) -> None:
    """Bytes go both ways, and each end hears of the other's end."""
    with client, service:
        client.sendall(b"question")
        client.shutdown(socket.SHUT_WR)
        assert receive(service) == b"question"
        service.sendall(b"answer")
        service.shutdown(socket.SHUT_WR)
        assert receive(client) == b"answer"


def receive(sock: socket.socket) -> bytes:
    data = b""
    while part := sock.recv(65536):
        data += part
    return data


def unix_listener(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()
    listener.settimeout(20)
    return listener


def unix_client(path: Path) -> socket.socket:
    client = socket.socket(socket.AF_UNIX)
    client.connect(str(path))
    return client


def tcp(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=20)


def test_forwards_of_files_from_one_unix_socket_to_another(site: Site) -> None:
    service = unix_listener(site.folder / "service")
    listening = site.folder / "client.socket"
    b = relay_server(site)
    configure(
        site,
        b,
        f" RemoteForward gpu1:8000 {site.folder}/service\n LocalForward {listening} gpu1:8000",
    )
    published(site)
    connect, _ = ready(site)
    assert stat.S_IMODE(listening.stat().st_mode) == 0o600
    client = unix_client(listening)
    talk(client, service.accept()[0])
    assert connect.stop() == 0
    assert not listening.exists()


def test_a_unix_socket_that_is_there_already(site: Site) -> None:
    b = relay_server(site)
    path = site.folder / "client.socket"
    path.touch()
    configure(site, b)
    options = ["-i", site.key("client"), "-L", f"{path}:gpu1:1"]
    refused = site.ours("relay-connect", *options, "b")
    assert refused.end() == 1
    assert refused.said(rf"cannot listen on {path}: Address already in use")
    unlinking = site.ours(
        "relay-connect", *options, "-oStreamLocalBindUnlink=yes", "-oStreamLocalBindMask=0117", "b"
    )
    unlinking.wait_for("ready")
    assert stat.S_IMODE(path.stat().st_mode) == 0o660


def test_a_unix_socket_of_a_stock_sshd(site: Site) -> None:
    service = unix_listener(site.folder / "service")
    b = sshd(site, "-o", "AllowStreamLocalForwarding=yes", "-o", "DisableForwarding=no")
    configure(site, b)
    _, port = ready(site, "-L", f"0:{site.folder}/service")
    client = tcp(port)
    talk(client, service.accept()[0])


def test_a_unix_socket_is_refused_by_our_server(site: Site) -> None:
    b = relay_server(site)
    configure(site, b)
    connect, port = ready(site, "-L", "0:/run/service")
    with tcp(port) as client:
        assert client.recv(1) == b""
    connect.wait_for("refused: this relay gives no unix socket")


def test_a_proxy_command(site: Site) -> None:
    b = relay_server(site)
    configure(site, b, f" ProxyCommand {find('nc')} %h %p\n")
    service = site.service()
    agent = published(site, "-R", f"gpu1:8000:localhost:{service.port}")
    connect, port = ready(site, "-L", "0:gpu1:8000")
    client = tcp(port)
    talk(client, service.accept())
    assert agent.stop() == connect.stop() == 0


def test_a_proxy_command_that_fails(site: Site) -> None:
    b = relay_server(site)
    configure(site, b, " ProxyCommand sh -c 'exit 7'")
    connect = site.ours("relay-connect", "--once", "-L", "0:gpu1:1", "b")
    assert connect.end() == 1
    assert connect.said("cannot connect to 127.0.0.1:.*the ProxyCommand ended with exit code 7")


def socks(port: int, name: str, target: int) -> tuple[socket.socket, int]:
    """A client of SOCKS 5 that asked for a stream, and what it was told."""
    client = tcp(port)
    request = bytes((5, 1, 0, 3, len(name))) + name.encode() + target.to_bytes(2, "big")
    client.sendall(bytes((5, 1, 0)) + request)
    answer = b""
    while len(answer) < 12:
        part = client.recv(12 - len(answer))
        if not part:
            break
        answer += part
    return client, answer[3]


def test_a_dynamic_forward_of_the_agent(site: Site) -> None:
    service = site.service()
    b = relay_server(site)
    permits = f"localhost:{service.port} *:9"
    configure(site, b, f" RemoteForward gpu1:1080\n PermitRemoteOpen {permits}")
    agent = published(site)
    assert agent.said("gpu1:1080 -> SOCKS published")
    _, port = ready(site, "-L", "0:gpu1:1080")
    client, reply = socks(port, "localhost", service.port)
    assert reply == 0
    talk(client, service.accept())
    client, reply = socks(port, "127.0.0.1", service.port)
    assert reply == 2
    assert receive(client) == b""
    agent.wait_for("127.0.0.1:[0-9]+ is not in PermitRemoteOpen")
    assert socks(port, "localhost", 9)[1] == 5
    with tcp(port) as nonsense:
        nonsense.sendall(b"GET / HTTP/1.0")
        assert nonsense.recv(1) == b""
    agent.wait_for("no SOCKS at all")
    assert agent.stop() == 0


def test_a_forward_that_fails_ends_the_program_unless_told_otherwise(site: Site) -> None:
    b = relay_server(site)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        configure(site, b, f" LocalForward 127.0.0.1:{port} gpu1:1\n LocalForward 0 gpu1:2")
        stopped = site.ours("relay-connect", "-i", site.key("client"), "b")
        assert stopped.end() == 1
        assert stopped.said("cannot listen on")
        connect, _ = ready(site, "-oExitOnForwardFailure=no")
        assert connect.said("relay-connect: cannot listen on")
        assert connect.stop() == 0
    site.key("agent", 'permitlisten="gpu1:2"')
    both = ["-R", "gpu1:1:localhost:1", "-R", "gpu1:2:localhost:1"]
    agent = site.ours("relay-agent", "--once", "-i", site.key("agent"), *both, "b")
    assert agent.end() == 1
    once = published(site, *both, "--once", "-oExitOnForwardFailure=no")
    assert once.said("gpu1:1: refused")


def test_the_family_of_addresses(site: Site) -> None:
    b = relay_server(site)
    configure(site, b)
    options = ["--once", "-6", "-i", site.key("client"), "-L", "0:gpu1:1"]
    connect = site.ours("relay-connect", *options, "b")
    assert connect.end() == 1
    assert connect.said("cannot connect to 127.0.0.1")
    connect, port = ready(site, "-4", "-L", "0:gpu1:1")
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("::1", port))


def test_a_hashed_name_and_an_alias(site: Site) -> None:
    b = relay_server(site)
    hosts = site.folder / "new_hosts"
    configure(site, b)
    options = [f"-oUserKnownHostsFile={hosts}", "-oStrictHostKeyChecking=accept-new"]
    ready(site, *options, "-oHashKnownHosts=yes", "-L", "0:gpu1:1")
    assert hosts.read_text().startswith("|1|")
    ready(site, *options, "-oHashKnownHosts=no", "-oHostKeyAlias=B.Relay", "-L", "0:gpu1:1")
    # As ssh has it: without the port.
    assert hosts.read_text().splitlines()[1].startswith("b.relay ssh-ed25519 ")
    found = run(find("ssh-keygen"), "-F", f"[127.0.0.1]:{b.port}", "-f", hosts)
    assert "found: line 1" in found
    strict = [f"-oUserKnownHostsFile={hosts}", "-L", "0:gpu1:1"]
    ready(site, *strict)
    ready(site, *strict, "-oHostKeyAlias=b.relay")


def test_a_server_that_falls_silent(site: Site) -> None:
    b = relay_server(site)
    configure(site, b, " ServerAliveInterval 1\n ServerAliveCountMax 1")
    connect, _ = ready(site, "--once", "-L", "0:gpu1:1")
    b.process.signal(signal.SIGSTOP)
    try:
        assert connect.end() == 1
    finally:
        b.process.signal(signal.SIGCONT)
    assert connect.said("(?i)keepalive")


def test_a_server_that_says_nothing_at_all(site: Site) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        command = ["-p", str(port), "-oConnectTimeout=1", "-L", "0:gpu1:1", "127.0.0.1"]
        connect = site.ours("relay-connect", "--once", *command)
        assert connect.end() == 1
    assert connect.said(f"cannot connect to 127.0.0.1:{port}: timed out")


def test_keys_are_changed_after_a_time(site: Site) -> None:
    service = site.service()
    b = relay_server(site)
    configure(site, b, " RekeyLimit default 1s\n LogLevel DEBUG3")
    published(site, "-R", f"gpu1:8000:localhost:{service.port}")
    connect, port = ready(site, "-L", "0:gpu1:8000")
    client = tcp(port)
    far = service.accept()
    client.sendall(b"x")
    connect.wait_for("(?i)completed key exchange", count=2)
    assert far.recv(1) == b"x"
    talk(client, far)


@pytest.fixture
def agent_socket(site: Site, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    path = site.folder / "agent.socket"
    daemon = subprocess.Popen([find("ssh-agent"), "-D", "-a", str(path)], stdout=subprocess.DEVNULL)
    while not path.exists():
        assert daemon.poll() is None
        os.sched_yield()
    monkeypatch.setenv("SSH_AUTH_SOCK", str(path))
    yield path
    daemon.terminate()
    daemon.wait()


def test_the_agent_and_which_of_its_keys(site: Site, agent_socket: Path) -> None:
    b = relay_server(site)
    configure(site, b, f" IdentityAgent {agent_socket}\n LocalForward 0 gpu1:1")
    key = site.key("client")
    run(find("ssh-add"), key)
    other = site.key("other", None)
    run(find("ssh-add"), other)
    public = site.public("client")
    key.unlink()

    def connect(*options: str) -> Process:
        return site.ours("relay-connect", *options, "b")

    connect().wait_for("ready")
    # The public half names the key in the agent.
    connect("-oIdentitiesOnly=yes", "-i", str(public)).wait_for("ready")
    refused = connect("-oIdentitiesOnly=yes", "-i", str(other))
    assert refused.end() == 1
    assert refused.said("Permission denied")
    assert connect("-oIdentityAgent=none", "-oIdentityFile=/missing").end() == 1
    missing = connect("-i", "/missing")
    assert missing.end() == 1
    assert missing.said("/missing: No such file")
