"""What `--print-unit` prints starts: each unit is played as systemd would, by its own lines."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

import relay
from relay.cli.units import UNIT
from tests.programs.chain import Server, Site, find, start_chain
from tests.programs.process import Process
from tests.programs.service import USER, Unit, find_namespaces
from tests.programs.traffic import GUARD, MIB, dial, exchange


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """Its folder is the home of who prints the units; as /tmp, no service sees it."""
    find_namespaces()
    with ExitStack() as stack:
        site = Site(tmp_path, stack)
        site.key("agent_key"), site.key("client_key")
        yield site


def printed(site: Site, program: str, *flags: str | Path, python: str = sys.executable) -> str:
    module = program.replace("relay-", "relay.cli.")
    done = subprocess.run(
        [python, "-m", module, *map(str, flags), "--print-unit"],
        cwd=site.folder, env=os.environ | {"HOME": str(site.folder)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def start(site: Site, text: str, state: str, *environment: str) -> Process:
    folder = site.folder / state
    folder.mkdir(exist_ok=True)
    process = Unit.parse(text).start(site.folder, folder, *environment)
    site.stack.callback(lambda: print(process))
    site.stack.callback(process.stop)
    return process


def start_server(site: Site, *flags: str, python: str = sys.executable) -> Server:
    """B as a service, trusted by whoever prints the other units."""
    flags = flags or ("--listen", "127.0.0.1:0")
    process = start(site, printed(site, "relay-server", *flags, python=python), "state")
    port = int(process.wait_for(r"listening on 127\.0\.0\.1:(\d+)")[1])
    site.known_hosts = site.folder / ".ssh" / "known_hosts"
    site.known_hosts.parent.mkdir(mode=0o700, exist_ok=True)
    site.trust(port)
    return Server(process, port)


def start_agent(site: Site, b: Server, target: int, *flags: str) -> Process:
    flags = flags or ("-R", f"gpu1:8000:localhost:{target}")
    text = printed(
        site, "relay-agent", "-p", str(b.port), "-i", "agent_key", *flags, "user@127.0.0.1"
    )
    process = start(site, text, "agent")
    process.wait_for("published")
    return process


def start_connect(site: Site, b: Server, listen: str = "0", *flags: str) -> Process:
    text = printed(
        site, "relay-connect", "-p", str(b.port), "-i", "client_key", *flags,
        "-L", f"{listen}:gpu1:8000", "user@127.0.0.1",
    )  # fmt: skip
    process = start(site, text, "connect")
    process.wait_for("ready")
    return process


def port_of(process: Process) -> int:
    return int(process.wait_for(r"127\.0\.0\.1:(\d+) -> \S+ ready")[1])


def test_the_three_of_readme_carry_a_stream(site: Site) -> None:
    service = site.service()
    b = start_server(site)
    start_agent(site, b, service.port)
    a = start_connect(site, b)
    exchange(dial(port_of(a)), service.accept(), MIB)


def test_the_server_by_a_file_tells_that_it_is_ready(site: Site) -> None:
    with tempfile.TemporaryDirectory(dir="/opt") as etc, socket.socket(socket.AF_UNIX, 2) as told:
        os.chmod(etc, 0o755)
        config = Path(etc, "relay-server.toml")
        config.write_text('listen = "127.0.0.1:0"\n')
        config.chmod(0o644)
        told.bind("")  # A name that the kernel picks, in the abstract namespace.
        told.settimeout(GUARD)
        name = told.getsockname().decode().replace("\0", "@")
        text = printed(site, "relay-server", "--config", str(config))
        process = start(site, text, "state", f"NOTIFY_SOCKET={name}")
        assert told.recv(4096).startswith(b"READY=1")
        process.wait_for("listening on 127")
    # Its key and the operator's file are in the folder that systemd made for it.
    assert (site.folder / "state" / "ssh_host_ed25519_key").stat().st_uid == USER
    assert process.said("/var/lib/relay-server/authorized_keys: 2 keys")


def test_a_key_that_is_handed_over(site: Site) -> None:
    site.key("host key 100%", None)
    text = printed(site, "relay-server", "--listen", "127.0.0.1:0", "--host-key", "host key 100%")
    process = start(site, text, "state")
    process.wait_for("listening on")
    assert not process.said("made a host key")


@pytest.fixture
def hidden_python(tmp_path: Path) -> str:
    """A virtual environment where no service sees it, as one in a home."""
    place = tmp_path / "hidden" / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", place], check=True)
    (packages,) = place.glob("lib/python3*/site-packages")
    (installed,) = Path(sys.prefix).glob("lib/python3*/site-packages")
    if installed.is_relative_to("/tmp"):  # Of which a service has its own.
        shutil.copytree(installed, packages, dirs_exist_ok=True)
    else:
        for one in installed.iterdir():
            (packages / one.name).symlink_to(one)
    for name in ("relay",):
        shutil.copytree(Path(relay.__file__).parent, packages / name)
    for name in ("relay-server", "relay-agent", "relay-connect"):
        text = Path(sys.prefix, "bin", name).read_text()
        script = place / "bin" / name
        script.write_text("#!{}\n{}".format(place / "bin" / "python", text.partition("\n")[2]))
        script.chmod(0o755)
    return str(place / "bin" / "python")


def test_a_virtual_environment_in_a_home(site: Site, hidden_python: str) -> None:
    b = start_server(site, "--listen", "127.0.0.1:0", python=hidden_python)
    assert Path(f"/proc/{b.process.pid}/cmdline").read_text().startswith(hidden_python)


def test_a_new_host_key_is_remembered(site: Site) -> None:
    service = site.service()
    b = start_server(site)
    site.known_hosts.unlink()
    flags = ("-R", f"gpu1:8000:localhost:{service.port}", "-o", "StrictHostKeyChecking=accept-new")
    agent = start_agent(site, b, service.port, *flags)
    agent.wait_for("host key of .* added to /var/lib/relay-agent/.ssh/known_hosts")
    assert (site.folder / "agent" / ".ssh" / "known_hosts").read_text()


def test_an_endpoint(site: Site) -> None:
    b = start_server(site)
    agent = start_agent(site, b, 0, "--endpoint", "gpu1")
    agent.wait_for("gpu1:22 -> sessions end to end, published")
    assert (site.folder / "agent" / "ssh_host_ed25519_key").exists()


def free_low_port() -> int:
    for port in range(1023, 0, -1):
        try:
            with socket.create_server(("127.0.0.1", port)):
                return port
        except OSError:
            continue
    raise AssertionError("all are taken")


def test_a_low_port_and_a_socket(site: Site) -> None:
    service = site.service()
    b = start_server(site, "--listen", f"127.0.0.1:{free_low_port()}")
    start_agent(site, b, service.port)
    a = start_connect(site, b, "/run/relay-connect/gpu1")
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(GUARD)
        client.connect(f"/proc/{a.pid}/root/run/relay-connect/gpu1")
        exchange(client, service.accept(), MIB)


PROBE = """\
id -u; pwd; id -G; echo $HOME $USER $STATE_DIRECTORY; ulimit -S -c 0; umask
for at in / /usr /etc /opt /var /root /home /run /dev
do touch $at/x 2>/dev/null && echo wrote $at
done
touch /tmp/x /var/tmp/x $STATE_DIRECTORY/x && echo wrote its own
cat $CREDENTIALS_DIRECTORY/agent_key > /dev/null && echo read
ls -d {folder} /home/* /root/* /tmp/* /proc/1 2>/dev/null
grep -E "NoNewPrivs|Cap(Eff|Bnd|Amb)" /proc/self/status
"""


def test_the_unit_is_played_as_strictly_as_it_says(site: Site) -> None:
    b = start_server(site)
    text = printed(
        site, "relay-agent", "-p", str(b.port), "-i", "agent_key", "-R", "x:1:h:1", "u@127.0.0.1",
    )  # fmt: skip
    probe = PROBE.format(folder=site.folder).strip().replace("\n", "; ")
    lines = [
        "ExecStart=/bin/sh -c '{}'".format(probe.replace("$", "$$"))
        if line.startswith("ExecStart=")
        else line
        for line in text.splitlines()
    ]
    process = start(site, "\n".join(lines), "probe")
    process.end()
    nothing = "0000000000000000"
    lines = [" ".join(line.split()) for line in process.lines]
    # This very checkout may be in a folder of /tmp, and is there read-only then.
    checkout = "/".join(Path(relay.__file__).parts[:3]).removeprefix("/")
    assert [line for line in lines if line != checkout] == [
        f"{USER}", "/", f"{USER}", "/var/lib/relay-agent relay-agent /var/lib/relay-agent", "0077",
        "wrote its own", "read", "/tmp/x",
        f"CapEff: {nothing}", f"CapBnd: {nothing}", f"CapAmb: {nothing}", "NoNewPrivs: 1",
    ]  # fmt: skip


class Traced(Site):
    """Each program's system calls are written down, by a process beside it (`-D`)."""

    def ours(self, name: str, *arguments: str | Path) -> Process:
        module = name.replace("relay-", "relay.cli.")
        trace = [find("strace"), "-D", "-f", "-qq", "-o", self.folder / f"{name}.calls"]
        return self.start(name, *trace, sys.executable, "-m", module, *arguments)


def calls_of_filter(name: str) -> set[str]:
    """The system calls of a set that systemd has by name."""
    answer = subprocess.run(
        [find("systemd-analyze"), "--no-pager", "syscall-filter", name],
        env=os.environ | {"SYSTEMD_COLORS": "0"}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    lines = [line.strip() for line in answer.stdout.splitlines()[1:]]
    found = {line for line in lines if line and not line.startswith(("#", "@"))}
    return found.union(*(calls_of_filter(line) for line in lines if line.startswith("@")))


def test_every_system_call_passes_the_filter(tmp_path: Path) -> None:
    with ExitStack() as stack:
        chain = start_chain(Traced(tmp_path, stack))
        exchange(*chain.stream(), MIB)
    allowed: set[str] = set()
    for line in UNIT.splitlines():
        if line.startswith("SystemCallFilter="):
            value = line.partition("=")[2]
            sets = [calls_of_filter(name) for name in value.removeprefix("~").split()]
            allowed = allowed.difference(*sets) if value.startswith("~") else allowed.union(*sets)
    used = set()
    for name in ("relay-server", "relay-agent", "relay-connect"):
        calls = (tmp_path / f"{name}.calls").read_text()
        used |= set(re.findall(r"^[0-9]+ +([a-z0-9_]+)\(", calls, re.MULTILINE))
    assert {"recvfrom", "connect"} <= used
    assert used <= allowed
