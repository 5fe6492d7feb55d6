"""Where Python has less than on Linux: the programs start there, and carry streams."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.programs.chain import NAMED, Site, relay_agent, relay_connect, relay_server
from tests.programs.elsewhere import METHODS, MODULES
from tests.programs.process import Process
from tests.programs.traffic import MIB, dial, exchange, is_reset


class Elsewhere(Site):
    """Ours run there, unless they are named `here`."""

    here: frozenset[str] = frozenset()

    def ours(self, name: str, *arguments: str | Path) -> Process:
        if name in self.here:
            return super().ours(name, *arguments)
        module = name.replace("relay-", "relay.cli.")
        command = (sys.executable, "-m", "tests.programs.elsewhere", module)
        return self.start(name, *command, *arguments)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Elsewhere]:
    with ExitStack() as stack:
        site = Elsewhere(tmp_path, stack)
        site.here = frozenset({"relay-server"})
        site.key("agent"), site.key("client")
        yield site


def test_an_agent_and_a_consumer(site: Elsewhere) -> None:
    service = site.service()
    b = relay_server(site)
    c, _ = relay_agent(site, b, NAMED, service.port)
    a, port = relay_connect(site, b, NAMED, "-v")
    for seed in range(3):
        exchange(dial(port), service.accept(), 16 * MIB, seed)
    # A stream that breaks is one that broke there too.
    client, far = dial(port), service.accept()
    b.process.stop()
    assert is_reset(client)
    far.close()
    for process in (a, c):
        process.signal(signal.SIGINT)
        assert process.end() == 0
        assert not process.said("Traceback")


def test_everything_there(site: Elsewhere) -> None:
    site.here = frozenset()
    service = site.service()
    b = relay_server(site)
    relay_agent(site, b, NAMED, service.port)
    _, port = relay_connect(site, b, NAMED)
    exchange(dial(port), service.accept(), 16 * MIB)
    b.process.signal(signal.SIGTERM)
    assert b.process.end() == 0
    assert not b.process.said("Traceback")


def test_socks_and_a_session_end_to_end_and_a_new_host_key(site: Elsewhere) -> None:
    b = relay_server(site)
    service = site.service()
    site.known_hosts.unlink()
    new = "StrictHostKeyChecking=accept-new"
    c = site.ours(
        "relay-agent", *site.leg(b, "agent"), "-o", new, "--endpoint", "gpu1", "--state-dir", "c",
        f"{site.user}@127.0.0.1",
    )  # fmt: skip
    c.wait_for("sessions end to end, published")
    assert site.known_hosts.read_text().count("\n") == 1
    (site.folder / "c" / "authorized_keys").write_text(site.public("client").read_text())
    line = c.wait_for("the line for known_hosts on the other side: (.*)")[1]
    with site.known_hosts.open("a") as file:
        file.write(f"{line}\n")
    config = site.folder / "ssh_config"
    config.write_text(
        f"UserKnownHostsFile {site.known_hosts}\nIdentityFile {site.key('client')}\nUser u\n"
        f"Host b\n HostName 127.0.0.1\n Port {b.port}\n"
    )
    a = site.ours(
        "relay-connect", "-F", config, "-J", "b", "-L", f"0:localhost:{service.port}", "gpu1"
    )
    port = int(a.wait_for(r"127\.0\.0\.1:(\d+) -> \S+ ready")[1])
    exchange(dial(port), service.accept(), MIB)


def test_standard_input_and_output(site: Elsewhere) -> None:
    service = site.service()
    b = relay_server(site)
    relay_agent(site, b, NAMED, service.port)
    command = [
        sys.executable, "-m", "tests.programs.elsewhere", "relay.cli.connect", "-W", NAMED,
        *map(str, site.leg(b, "client")), "u@127.0.0.1",
    ]  # fmt: skip
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as running:
        assert running.stdin is not None
        assert running.stdout is not None
        running.stdin.write(b"question")
        running.stdin.close()
        with service.accept() as far:
            assert far.recv(100) == b"question"
            far.sendall(b"answer")
        assert running.stdout.read() == b"answer"
    assert running.returncode == 0


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["-o", "ProxyCommand=nc %h %p"], "ProxyCommand: this system has no /bin/sh"),
        (["-F", "config"], "config:1: Match exec: this system has no /bin/sh to run it"),
        (["-L", "/tmp/socket:h:1"], "this system has no unix sockets"),
    ],
)
def test_what_is_not_there_is_said(site: Elsewhere, flags: list[str], words: str) -> None:
    b = relay_server(site)
    (site.folder / "config").write_text("Match exec true\nPort 1\n")
    a = site.ours(
        "relay-connect", *site.leg(b, "client"), *flags, "--once", "-L", "0:h:1", "u@127.0.0.1"
    )
    assert a.end() in (1, 2)
    assert a.said(words)
    assert not a.said("Traceback")


def test_it_is_taken_away() -> None:
    code = (
        "import socket, sys; from tests.programs.elsewhere import take_away; take_away();"
        f"print([name for name in {METHODS} if hasattr(socket.socket, name)],"
        f"[name for name in {MODULES} if sys.modules[name]])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[] []\n"
