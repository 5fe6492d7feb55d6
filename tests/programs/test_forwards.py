"""`-D`, `-W` and `-J` with the programs that use them, and the pair of files of ssh_config."""

from __future__ import annotations

import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from tests.programs.chain import SERVERS, Server, Site, find, relay_agent, relay_server, run, sshd
from tests.programs.process import GUARD
from tests.programs.sessions import another_site
from tests.programs.traffic import MIB, Service, dial, digest, exchange, receive, send

ANSWER = b"HTTP/1.0 200 OK\r\nContent-Length: 6\r\n\r\nhello\n"


def serve(service: Service) -> None:
    """One answer of a web server."""
    with service.accept() as sock:
        while b"\r\n\r\n" not in sock.recv(65536):
            pass
        sock.sendall(ANSWER)


class Socks:
    """A `relay-connect -D`, and a service under a name and under a port of B's."""

    def __init__(self, site: Site) -> None:
        b = relay_server(site)
        self.service = site.service()
        relay_agent(site, b, "gpu1:8000", self.service.port)
        _, address = relay_agent(site, b, "127.0.0.1:0", self.service.port, key="second")
        self.port_of_b = address.rpartition(":")[2]
        self.program = site.ours(
            "relay-connect", *site.leg(b, "client"), "-D", "127.0.0.1:0", f"{site.user}@127.0.0.1"
        )
        self.port = int(self.program.wait_for(r"127\.0\.0\.1:(\d+) -> SOCKS ready")[1])


@pytest.fixture(scope="module")
def socks(shared_site: Site) -> Socks:
    return Socks(shared_site)


@pytest.fixture
def answering(socks: Socks) -> Iterator[None]:
    with ThreadPoolExecutor(1) as threads:
        served = threads.submit(serve, socks.service)
        yield
        served.result()


def curl(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [find("curl"), "-sS", "--noproxy", "", "--max-time", str(GUARD), *arguments],
        capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.usefixtures("answering")
@pytest.mark.parametrize(
    ("flag", "host"),
    [
        ("--socks5-hostname", "gpu1:8000"),
        ("--socks4a", "gpu1:8000"),
        ("--socks5", "127.0.0.1:{}"),
        ("--socks4", "127.0.0.1:{}"),
    ],
)
def test_curl(socks: Socks, flag: str, host: str) -> None:
    """`gpu1` is a name that only the far end knows."""
    url = f"http://{host.format(socks.port_of_b)}/"
    done = curl(flag, f"127.0.0.1:{socks.port}", url)
    assert (done.stdout, done.returncode) == ("hello\n", 0), done.stderr


@pytest.mark.parametrize("flag", ["--socks5-hostname", "--socks4a"])
def test_curl_is_told_that_there_is_no_such_service(socks: Socks, flag: str) -> None:
    done = curl(flag, f"127.0.0.1:{socks.port}", "http://nowhere:1/")
    assert done.returncode == 97, done.stderr  # CURLE_PROXY
    socks.program.wait_for("nowhere:1.*no such service is published")


@pytest.fixture
def netcat() -> str:
    """Found before `answering` waits for it."""
    return find("nc")


@pytest.mark.usefixtures("netcat", "answering")
@pytest.mark.parametrize(("version", "host"), [("5", "gpu1"), ("4", "127.0.0.1")])
def test_netcat(netcat: str, socks: Socks, version: str, host: str) -> None:
    port = "8000" if host == "gpu1" else socks.port_of_b
    done = subprocess.run(
        [netcat, "-X", version, "-x", f"127.0.0.1:{socks.port}", host, port],
        input=b"GET / HTTP/1.0\r\n\r\n", capture_output=True, timeout=GUARD, check=True,
    )  # fmt: skip
    assert done.stdout == ANSWER


@pytest.mark.parametrize(
    ("request_", "answer"),
    [
        (b"\5\1\0\5\2\0\1\1\2\3\4\0\1", b"\5\0\5\7\0\1" + bytes(6)),
        (b"\4\2\0\1\1\2\3\4\0", b"\0\x5b" + bytes(6)),
    ],
)
def test_a_refused_request_is_answered_before_the_end(
    socks: Socks, request_: bytes, answer: bytes
) -> None:
    with dial(socks.port) as client:
        client.sendall(request_)
        assert client.recv(64, socket.MSG_WAITALL) == answer


def test_bytes_right_behind_the_request_belong_to_the_stream(socks: Socks) -> None:
    with dial(socks.port) as client:
        client.sendall(b"\5\1\0" + b"\5\1\0\3\4gpu1\x1f\x40" + b"early")
        with socks.service.accept() as service:
            assert service.recv(5, socket.MSG_WAITALL) == b"early"
            assert client.recv(12, socket.MSG_WAITALL) == b"\5\0\5\0\0\1" + bytes(6)
            exchange(client, service, MIB)


# -- stdio


def connect_command(site: Site, b: Server, *arguments: str) -> list[str]:
    leg = [str(word) for word in site.leg(b, "client")]
    return [sys.executable, "-m", "relay.cli.connect", "-q", *leg, *arguments,
            f"{site.user}@127.0.0.1"]  # fmt: skip


def test_stdio_is_the_stream(site: Site) -> None:
    b, service = relay_server(site), site.service()
    relay_agent(site, b, "gpu1:8000", service.port)
    program = subprocess.Popen(
        connect_command(site, b, "-W", "gpu1:8000"), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with program, service.accept() as sock, ThreadPoolExecutor(2) as threads:
        assert program.stdin is not None
        assert program.stdout is not None
        came = threads.submit(receive, sock)
        data = b"".join([b"x" * MIB] * 8)
        program.stdin.write(data)
        program.stdin.close()
        assert came.result()[0] == len(data)
        answer = threads.submit(send, sock, 8 * MIB)
        assert len(program.stdout.read()) == 8 * MIB
        assert answer.result() == digest(8 * MIB)
        assert program.wait(GUARD) == 0


def test_stdio_of_a_service_that_is_not_there(site: Site) -> None:
    b = relay_server(site)
    done = subprocess.run(
        connect_command(site, b, "-W", "gpu1:8000"),
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=GUARD, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert not done.stdout
    assert "gpu1:8000" in done.stderr


def test_stdio_whose_reader_is_gone(site: Site) -> None:
    """It ends, though there may still be something to read on standard input."""
    b, service = relay_server(site), site.service()
    relay_agent(site, b, "gpu1:8000", service.port)
    program = subprocess.Popen(
        connect_command(site, b, "-W", "gpu1:8000"),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    with program, service.accept() as sock:
        assert program.stdout is not None
        assert program.stderr is not None
        program.stdout.close()
        with suppress(OSError):  # The service is told, by whatever error.
            while True:
                sock.sendall(bytes(MIB))
        assert program.wait(GUARD) == 1
        assert b"gpu1:8000: local peer: Broken pipe" in program.stderr.read()


# -- in the files and habits of ssh


class Inside:
    """C, with a stock sshd that B knows as gpu1:22 or as a port."""

    def __init__(self, site: Site) -> None:
        self.site = another_site(site, "c")
        site.key("client")
        self.site.authorize(site.public("client").read_text())
        self.sshd = sshd(self.site)
        self.host_key = (self.site.folder / "state" / "ssh_host_ed25519_key.pub").read_text()


def test_proxy_command_of_stock_ssh(site: Site) -> None:
    b, inside = relay_server(site), Inside(site)
    relay_agent(site, b, "gpu1:22", inside.sshd.port)
    with site.known_hosts.open("a") as file:
        file.write(f"gpu1 {inside.host_key}")
    command = shlex.join(connect_command(site, b, "-W", "TARGET")).replace("TARGET", "%h:%p")
    said = run(
        find("ssh"), "-F", "none", "-o", f"ProxyCommand={command}", "-i", site.key("client"),
        "-o", f"UserKnownHostsFile={site.known_hosts}", "-o", "BatchMode=yes",
        "-o", "IdentityAgent=none", "-o", "LogLevel=ERROR",
        f"{site.user}@gpu1", "echo hello; head -c 3000000 /dev/zero | wc -c",
    )  # fmt: skip
    assert said.split() == ["hello", "3000000"]


ON_C = """\
Host t1
    HostName {b_host}
    User {user}
    ServerAliveInterval 120
"""

ON_A = (
    ON_C
    + """\
Host c1
    HostName localhost
    User {user}
    ProxyJump t1
    ServerAliveInterval 120
    Port {port}
"""
)

LOCAL = """\
Host *
    IdentityFile {key}
    UserKnownHostsFile {known_hosts}
    GlobalKnownHostsFile /dev/null
    IdentityAgent none
Host t1
    Port {b_port}
"""
"""What a user has in his home folder, and the port of a server that is not the usual one."""


@pytest.mark.parametrize("b", SERVERS)
def test_the_pair_of_files(site: Site, b: str) -> None:
    server = SERVERS[b](site)
    site.key("agent")
    inside = Inside(site)
    service = site.service()

    def file(name: str, text: str, key: str, port: int = 0) -> Path:
        path = site.folder / name
        path.write_text(
            (text + LOCAL).format(
                b_host="127.0.0.1", b_port=server.port, user=site.user, port=port,
                key=site.folder / key, known_hosts=site.known_hosts,
            )
        )  # fmt: skip
        return path

    agent = site.ours(
        "relay-agent", "-F", file("config_c", ON_C, "agent"),
        "-R", f"0:localhost:{inside.sshd.port}", "t1",
    )  # fmt: skip
    port = int(agent.wait_for(r":(\d+) -> \S+ published")[1])
    with site.known_hosts.open("a") as known:
        known.write(f"[localhost]:{port} {inside.host_key}")
    connect = site.ours(
        "relay-connect", "-F", file("config_a", ON_A, "client", port),
        "-L", f"0:localhost:{service.port}", "c1",
    )  # fmt: skip
    local = int(connect.wait_for(r":(\d+) -> \S+ ready")[1])
    # Behind an sshd, which has ports for everything, it could be a relay as well.
    connect.wait_for(
        f"{'end to end to' if b == 'relay-server' else 'encrypted as far as'} localhost"
    )
    exchange(dial(local), service.accept(), 16 * MIB)
