"""How the programs end: 0 when stopped, 1 when refused or broken, 2 for wrong usage."""

from __future__ import annotations

import signal
import socket
from pathlib import Path

import asyncssh
import pytest

from tests.programs.chain import Chain, Server, Site, free_port
from tests.programs.process import Process


@pytest.fixture
def site(shared_site: Site) -> Site:
    return shared_site


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_a_clean_end(chain: Chain, number: signal.Signals) -> None:
    for program in (chain.a, chain.c, chain.b.process):
        before = len(program.lines)
        program.signal(number)
        assert program.end() == 0
        assert not [line for line in program.lines[before:] if "rror" in line or "Trace" in line]


@pytest.mark.parametrize(
    ("program", "arguments"),
    [
        ("relay-server", ["--listen", "nowhere"]),
        ("relay-server", ["--gateway-ports", "perhaps"]),
        ("relay-agent", ["b"]),
        ("relay-agent", ["-R", "8000:x", "b"]),
        ("relay-connect", ["-L", "3000:gpu1:8000"]),
        ("relay-connect", ["-L", "3000:gpu1:8000", "-o", "Nonsense=yes", "b"]),
        ("relay-connect", ["-L", "3000:gpu1:8000", "-p", "0", "b"]),
    ],
)
def test_wrong_usage(site: Site, program: str, arguments: list[str]) -> None:
    process = site.ours(program, *arguments)
    assert process.end() == 2
    assert len(process.lines) == 1
    assert process.lines[0].startswith(f"{program}: ")


def connect(
    site: Site, b: Server, *options: str, key: str = "client", known_hosts: Path | None = None
) -> Process:
    leg = site.leg(b, key, known_hosts)
    return site.ours("relay-connect", *leg, "-L", "0:gpu1:8000", *options, "user@127.0.0.1")


def test_a_key_that_is_not_let_in(site: Site, server: Server) -> None:
    site.key("stranger", None)
    process = connect(site, server, key="stranger")
    assert process.end() == 1
    denied = r"relay-connect: user@127\.0\.0\.1:\d+: Permission denied \(publickey\): .*SHA256:"
    process.wait_for(denied)


def test_no_key_at_all(site: Site, server: Server) -> None:
    process = site.ours(
        "relay-connect", "-F", "none", "-p", str(server.port), "-L", "0:gpu1:8000",
        "-o", f"UserKnownHostsFile={site.known_hosts}", "-o", "IdentitiesOnly=yes",
        "-o", "IdentityFile=none", "user@127.0.0.1",
    )  # fmt: skip
    assert process.end() == 1
    process.wait_for("there is no key to log in with")


def test_a_server_that_is_not_there(site: Site, server: Server) -> None:
    process = connect(site, Server(server.process, free_port()), "--once")
    assert process.end() == 1
    process.wait_for("cannot connect to 127.0.0.1:.*Connection refused")


def test_a_key_file_that_is_not_there(site: Site, server: Server) -> None:
    process = connect(site, server, "-i", str(site.folder / "missing"))
    assert process.end() == 1
    process.wait_for("missing: No such file or directory")


def test_a_local_port_that_is_taken(site: Site, server: Server) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        process = connect(site, server, "-L", f"127.0.0.1:{port}:gpu1:8000")
        assert process.end() == 1
    process.wait_for(rf"cannot listen on 127\.0\.0\.1:{port}: Address already in use")


def test_a_listening_port_of_the_server_that_is_taken(site: Site, server: Server) -> None:
    where = f"127.0.0.1:{server.port}"
    process = site.ours("relay-server", "--listen", where, "--state-dir", site.folder / "state")
    assert process.end() == 1
    process.wait_for(f"cannot listen on {where}: Address already in use")


def test_a_host_key_file_that_others_can_read(site: Site) -> None:
    state = site.folder / "open"
    state.mkdir()
    asyncssh.generate_private_key("ssh-ed25519").write_private_key(state / "key")
    (state / "key").chmod(0o644)
    process = site.ours("relay-server", "--listen", "127.0.0.1:0", "--host-key", state / "key")
    assert process.end() == 1
    process.wait_for("key: permissions 0644 are too open")


# -- the server's key

ACCEPT_NEW = ("-o", "StrictHostKeyChecking=accept-new")


def fingerprint(server: Server) -> str:
    return server.process.wait_for(r"host key (SHA256:\S+)")[1]


def test_an_unknown_host_key_is_refused_with_what_to_do(
    site: Site, server: Server, tmp_path: Path
) -> None:
    file = tmp_path / "known_hosts"
    process = connect(site, server, known_hosts=file)
    assert process.end() == 1
    said = process.wait_for("^relay-connect: .*host key of .* is not known.*$")[0]
    assert fingerprint(server) in said
    assert "-o StrictHostKeyChecking=accept-new" in said
    assert not file.exists()


def test_a_new_host_key_is_accepted_once_and_then_known(
    site: Site, server: Server, tmp_path: Path
) -> None:
    file = tmp_path / "known_hosts"
    process = connect(site, server, *ACCEPT_NEW, known_hosts=file)
    process.wait_for("ready")
    process.wait_for("host key of .* added to")
    assert process.stop() == 0
    process = connect(site, server, known_hosts=file)
    process.wait_for("ready")
    assert process.stop() == 0


@pytest.mark.parametrize("checking", ["yes", "accept-new", "no"])
def test_a_changed_host_key_is_always_refused(
    site: Site, server: Server, tmp_path: Path, checking: str
) -> None:
    other = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode()
    file = tmp_path / "known_hosts"
    file.write_text(f"[127.0.0.1]:{server.port} {other}")
    process = connect(site, server, "-o", f"StrictHostKeyChecking={checking}", known_hosts=file)
    assert process.end() == 1
    process.wait_for("WARNING: THE HOST KEY OF .* HAS CHANGED")
    said = process.wait_for("^relay-connect: .*has changed: it shows.*$")[0]
    assert fingerprint(server) in said
    assert f"{file}:1" in said


def test_the_first_start_makes_a_host_key_that_stays(site: Site, tmp_path: Path) -> None:
    shown = []
    state = tmp_path / "state"
    for _ in range(2):
        process = site.ours("relay-server", "--listen", "127.0.0.1:0", "--state-dir", state)
        process.wait_for("listening on")
        shown.append(process.wait_for(r"host key (SHA256:\S+)")[1])
        assert process.stop() == 0
    assert shown[0] == shown[1]
    path = state / "ssh_host_ed25519_key"
    assert path.stat().st_mode & 0o777 == 0o600
    public = asyncssh.read_public_key(path.with_suffix(".pub"))
    assert public.get_fingerprint() == shown[0]
