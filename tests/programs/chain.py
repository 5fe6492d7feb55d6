"""A, B and C, each played by one of ours or by a stock program.

    client ─► A (OPENERS) ══ssh══► B (SERVERS) ◄══ssh══ C (PUBLISHERS) ─► service

A role is a function that starts its program at a `Site` and returns when it is ready.
To try another program in a role, write its function and enter it in the role's table.
"""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import asyncssh
import psutil
import pytest

from relay.trust.known_hosts import host_name
from tests.programs.forks import Fork
from tests.programs.process import GUARD, Process
from tests.programs.traffic import Service, dial, free_port

NAMED: Final = "gpu1:8000"
PORT: Final = "localhost:0"

QUICK_KEX: Final = ("-o", "KexAlgorithms=curve25519-sha256")
"""For an ssh or sshd that changes keys often: by itself it takes sntrup761, which costs each side
an eighth of a second. (Tests that change them less often leave it its choice.)"""

# (AddressFamily: a port that it picks is else free at ::1 only, where the same port of 127.0.0.1 is
# another test's. sshd says that all is well, and its visitors come to the wrong place.)
SSHD_CONFIG: Final = """\
AddressFamily inet
ListenAddress 127.0.0.1
Port {port}
HostKey {folder}/state/ssh_host_ed25519_key
AuthorizedKeysFile {folder}/state/authorized_keys
AuthenticationMethods publickey
PermitRootLogin prohibit-password
StrictModes no
UsePAM no
PidFile none
"""


@dataclass(frozen=True, slots=True)
class Server:
    """B, and where it listens."""

    process: Process
    port: int


class Site:
    """A folder with keys and all that was started there, which ends with it."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder = folder
        self.stack = stack
        self.user = getpass.getuser()
        self.authorized_keys = folder / "state" / "authorized_keys"
        self.authorized_keys.parent.mkdir(mode=0o700)
        self.authorized_keys.touch()
        self.known_hosts = folder / "known_hosts"
        self.known_hosts.touch()

    def key(self, name: str, options: str | None = "", algorithm: str = "ssh-ed25519") -> Path:
        """The key of this name, made and let in at the first call (None: not let in)."""
        path = self.folder / name
        if not path.exists():
            key = asyncssh.generate_private_key(algorithm, comment=name)
            path.touch(mode=0o600)
            key.write_private_key(path)
            key.write_public_key(self.public(name))
            if options is not None:
                self.authorize(f"{options} {self.public(name).read_text()}".lstrip())
        return path

    def public(self, name: str) -> Path:
        return self.folder / f"{name}.pub"

    def authorize(self, line: str) -> None:
        """Add a line to authorized_keys."""
        with self.authorized_keys.open("a") as file:
            file.write(line)

    def start(self, name: str, *command: str | Path) -> Process:
        return self._entered(Process(name, command, self.folder))

    def ours(self, name: str, *arguments: str | Path) -> Process:
        """relay-server, relay-agent or relay-connect."""
        module = name.replace("relay-", "relay.cli.")
        return self._entered(Process(name, [module, *arguments], self.folder, Fork))

    def _entered(self, process: Process) -> Process:
        self.stack.callback(lambda: print(process))  # pytest shows it when the test failed.
        self.stack.callback(process.stop)
        return process

    def leg(self, b: Server, key: str, known_hosts: Path | None = None) -> list[str | Path]:
        """The options of `relay-agent`, `relay-connect` and `ssh` for a leg to B."""
        known = f"UserKnownHostsFile={known_hosts or self.known_hosts}"
        return ["-p", str(b.port), "-i", self.key(key), "-o", known]

    def trust(self, port: int) -> None:
        """Take B's host key for known."""
        public = (self.folder / "state" / "ssh_host_ed25519_key.pub").read_text()
        with self.known_hosts.open("a") as file:
            file.write(f"{host_name('127.0.0.1', port)} {public}")

    def service(self) -> Service:
        service = Service()
        self.stack.callback(service.close)
        return service


# -- B


def relay_server(site: Site, *options: str) -> Server:
    process = site.ours(
        "relay-server", "--listen", "127.0.0.1:0", "--state-dir", site.folder / "state",
        "--drain", "0", *options,
    )  # fmt: skip
    port = int(process.wait_for(r"listening on 127\.0\.0\.1:(\d+)")[1])
    site.trust(port)
    return Server(process, port)


def sshd(site: Site, *options: str) -> Server:
    port = free_port()
    key = asyncssh.generate_private_key("ssh-ed25519")
    path = site.folder / "state" / "ssh_host_ed25519_key"
    path.touch(mode=0o600)
    key.write_private_key(path)
    key.write_public_key(path.with_suffix(".pub"))
    config = site.folder / "sshd_config"
    config.write_text(SSHD_CONFIG.format(port=port, folder=site.folder))
    if os.geteuid() == 0:
        # Where it locks up its unprivileged part; the package's service file makes it.
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    process = site.start("sshd", find("sshd"), "-D", "-e", "-f", config, *options)
    process.wait_for("Server listening on")
    site.trust(port)
    return Server(process, port)


# -- C


def relay_agent(
    site: Site, b: Server, bind: str, target: int, *options: str, key: str = "agent"
) -> tuple[Process, str]:
    process = site.ours(
        "relay-agent", *site.leg(b, key), *options, "-R", f"{bind}:localhost:{target}",
        f"{site.user}@127.0.0.1",
    )  # fmt: skip
    return process, process.wait_for(r"([\w.]+:\d+) -> \S+ published")[1]


def ssh_agent(
    site: Site, b: Server, bind: str, target: int, *options: str, key: str = "agent"
) -> tuple[Process, str]:
    """`ssh -N -R`"""
    process = ssh(site, b, key, *options, "-v", "-R", f"{bind}:localhost:{target}")
    if bind.endswith(":0"):
        port = process.wait_for(r"Allocated port (\d+) for remote forward")[1]
        return process, bind.removesuffix("0") + port
    process.wait_for("remote forward success")
    return process, bind


def dbclient_agent(
    site: Site, b: Server, bind: str, target: int, *options: str, key: str = "agent"
) -> tuple[Process, str]:
    """`dbclient -N -R`, which says nothing of a name that it has published; our B does."""
    process = dropbear(site, b, key, *options, "-R", f"{bind}:localhost:{target}")
    if bind.endswith(":0"):
        port = process.wait_for(r"Allocated port (\d+) for remote forward")[1]
        return process, bind.removesuffix("0") + port
    b.process.wait_for(rf"{bind} published")
    return process, bind


# -- A


def relay_connect(
    site: Site, b: Server, service: str, *options: str, key: str = "client"
) -> tuple[Process, int]:
    process = site.ours(
        "relay-connect", *site.leg(b, key), *options, "-L", f"127.0.0.1:0:{service}",
        f"{site.user}@127.0.0.1",
    )  # fmt: skip
    return process, int(process.wait_for(r"127\.0\.0\.1:(\d+) -> \S+ ready")[1])


def ssh_connect(
    site: Site, b: Server, service: str, *options: str, key: str = "client"
) -> tuple[Process, int]:
    """`ssh -N -L`"""
    port = free_port()
    process = ssh(site, b, key, *options, "-v", "-L", f"127.0.0.1:{port}:{service}")
    process.wait_for("Local forwarding listening on")
    process.wait_for("Entering interactive session")
    return process, port


def dbclient(
    site: Site, b: Server, service: str, *options: str, key: str = "client"
) -> tuple[Process, int]:
    """Dropbear's client, which says nothing when it is ready."""
    port = free_port()
    process = dropbear(site, b, key, *options, "-L", f"127.0.0.1:{port}:{service}")
    wait_until_listening(process, port)
    return process, port


def plink(
    site: Site, b: Server, service: str, *options: str, key: str = "client"
) -> tuple[Process, int]:
    """PuTTY's client."""
    port = free_port()
    own_format = site.folder / f"{key}.ppk"
    run(find("puttygen"), site.key(key), "-O", "private", "-o", own_format)
    host_key = asyncssh.read_public_key(site.folder / "state" / "ssh_host_ed25519_key.pub")
    process = site.start(
        "plink", find("plink"), "-ssh", "-v", "-batch", "-noagent", "-N", "-i", own_format,
        "-hostkey", host_key.get_fingerprint(), *options, "-P", str(b.port),
        "-L", f"127.0.0.1:{port}:{service}", f"{site.user}@127.0.0.1",
    )  # fmt: skip
    process.wait_for(rf"Local port 127\.0\.0\.1:{port} forwarding")
    return process, port


SERVERS: Final = {"relay-server": relay_server, "sshd": sshd}
PUBLISHERS: Final = {"relay-agent": relay_agent, "ssh": ssh_agent, "dbclient": dbclient_agent}
OPENERS: Final = {
    "relay-connect": relay_connect,
    "ssh": ssh_connect,
    "dbclient": dbclient,
    "plink": plink,
}


# -- all three


@dataclass(frozen=True, slots=True)
class Chain:
    """A, B and C, ready, and the service behind them."""

    a: Process
    b: Server
    c: Process
    port: int
    service: Service
    site: Site

    def stream(self) -> tuple[socket.socket, socket.socket]:
        """A stream through the chain: the client's socket and the service's."""
        client = dial(self.port)
        return client, self.service.accept()


Options = tuple[str, ...]


def start_chain(
    site: Site,
    bind: str = NAMED,
    *,
    a: str = "relay-connect",
    b: str = "relay-server",
    c: str = "relay-agent",
    a_options: Options = (),
    b_options: Options = (),
    c_options: Options = (),
) -> Chain:
    """The chain of these programs, each with options of its own."""
    site.key("agent"), site.key("client")
    service = site.service()
    server = SERVERS[b](site, *b_options)
    publisher, name = PUBLISHERS[c](site, server, bind, service.port, *c_options)
    opener, port = OPENERS[a](site, server, name, *a_options)
    return Chain(opener, server, publisher, port, service, site)


# -- stock programs


def find(program: str) -> str:
    """The full path of a stock program. Without it the test is skipped; in CI it fails."""
    path = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"))
    found = shutil.which(program, path=path)
    if found is None:
        missing = f"{program} is not installed"
        pytest.fail(missing) if os.environ.get("CI") else pytest.skip(missing)
    return found


def run(*command: str | Path) -> str:
    """Run a program that ends by itself; what it says."""
    return subprocess.run(
        [str(word) for word in command],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        timeout=GUARD, check=True, text=True,
    ).stdout  # fmt: skip


def ssh(site: Site, b: Server, key: str, *arguments: str | Path, shell: bool = False) -> Process:
    """OpenSSH's client, on its own: no file and no agent of the user's. `-N` unless `shell`."""
    return site.start(
        "ssh", find("ssh"), "-F", "none", *([] if shell else ["-N"]), *site.leg(b, key),
        "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none",
        "-o", "GlobalKnownHostsFile=/dev/null", "-o", "ExitOnForwardFailure=yes",
        *arguments, f"{site.user}@127.0.0.1",
    )  # fmt: skip


def dropbear(site: Site, b: Server, key: str, *arguments: str) -> Process:
    """Dropbear's client with a key in its own format, and no question about the host key."""
    own_format = site.folder / f"{key}.dropbear"
    run(find("dropbearconvert"), "openssh", "dropbear", site.key(key), own_format)
    return site.start(
        "dbclient", find("dbclient"), "-y", "-y", "-N", "-i", own_format,
        "-p", str(b.port), *arguments, f"{site.user}@127.0.0.1",
    )  # fmt: skip


def wait_until_listening(process: Process, port: int) -> None:
    """Wait for a program that does not say so. (To try the port would open a stream.)"""
    deadline = time.monotonic() + GUARD
    while not any(
        connection.status == psutil.CONN_LISTEN and connection.laddr.port == port
        for connection in psutil.Process(process.pid).net_connections("tcp")
    ):
        assert time.monotonic() < deadline, f"does not listen: {process!r}"
        time.sleep(0.02)
