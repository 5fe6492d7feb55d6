"""B as its peers expect it: what it offers, what it refuses, and what they agree upon."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
from contextlib import ExitStack
from typing import Any

import pytest

from relay.core.limits import ATTEMPTS_AT_ONCE
from relay.trust.algorithms import FAST_CIPHERS
from tests.programs.chain import (
    NAMED,
    OPENERS,
    PORT,
    Site,
    find,
    relay_server,
    run,
    ssh,
    start_chain,
)
from tests.programs.process import GUARD
from tests.programs.traffic import MIB, closing, dial, exchange

GCM = rf"({'|'.join(FAST_CIPHERS)})$"

NO_POST_QUANTUM = "does not provide protection against post-quantum attacks"


def test_ssh_audit_has_nothing_to_say(site: Site) -> None:
    """But of key exchanges without post-quantum protection, which older clients need. Its check
    for DHEat opens connections as fast as it can."""
    b = relay_server(site)
    audit = subprocess.run(
        [sys.executable, "-m", "ssh_audit", "--json", "-p", str(b.port), "127.0.0.1"],
        capture_output=True, text=True, timeout=GUARD, check=False,
    )  # fmt: skip
    found = json.loads(audit.stdout)
    assert "DHEat" not in audit.stdout
    assert not found["additional_notes"]
    for kind in ("kex", "key", "enc", "mac"):
        assert found[kind]
        for algorithm in found[kind]:
            notes = algorithm["notes"]
            assert not notes.get("fail"), algorithm
            assert set(notes.get("warn", ())) <= ({NO_POST_QUANTUM} if kind == "kex" else set())
    names = {algorithm["algorithm"] for algorithm in found["kex"]}
    assert "mlkem768x25519-sha256" in names
    assert "sntrup761x25519-sha512@openssh.com" in names
    assert "kex-strict-s-v00@openssh.com" in names
    assert not any(name.startswith("diffie-hellman") for name in names)
    b.process.wait_for("limit hit: attempts-per-second")


def test_a_source_that_tries_too_fast_waits_and_is_served(site: Site) -> None:
    b = relay_server(site, "--max-startups", "100")
    with ExitStack() as stack:
        strangers = [stack.enter_context(dial(b.port)) for _ in range(ATTEMPTS_AT_ONCE + 5)]
        for stranger in strangers:
            assert stranger.recv(14, socket.MSG_WAITALL) == b"SSH-2.0-relay\r"
        b.process.wait_for("limit hit: attempts-per-second")
        # Whoever still waits when the program stops holds nothing up.
        strangers += [stack.enter_context(dial(b.port)) for _ in range(20)]
        assert b.process.stop() == 0
    assert not b.process.said("Traceback"), b.process


@pytest.mark.parametrize("a", OPENERS)
def test_clients_connect_without_flags(site: Site, a: str) -> None:
    chain = start_chain(site, a=a)
    cipher = "chacha20-poly1305@openssh.com$" if a == "dbclient" else GCM
    chain.b.process.wait_for(rf"leg up: .*\(client\).* {cipher}")


def test_paramiko_connects_without_flags(site: Site) -> None:
    paramiko: Any = pytest.importorskip("paramiko")
    b = relay_server(site)
    with paramiko.SSHClient() as client:
        client.load_host_keys(str(site.known_hosts))
        client.connect(
            "127.0.0.1", b.port, "somebody", key_filename=str(site.key("client")),
            allow_agent=False, look_for_keys=False,
        )  # fmt: skip
        b.process.wait_for(rf"leg up: .*\(client\).* {GCM}")


def test_what_ssh_sees_of_the_handshake(site: Site) -> None:
    b = relay_server(site)
    client = ssh(site, b, "client", "-vvv")
    client.wait_for("will use strict KEX ordering")
    signatures = client.wait_for("server-sig-algs=<(.*)>")[1].split(",")
    assert {"ssh-ed25519", "rsa-sha2-256", "rsa-sha2-512"} < set(signatures)
    assert "ssh-rsa" not in signatures


@pytest.mark.parametrize("a", ["ssh", "plink"])
def test_a_post_quantum_key_exchange(site: Site, a: str) -> None:
    """OpenSSH 9.2 and PuTTY 0.78 know sntrup761 and no other; newer ones ML-KEM too."""
    chain = start_chain(site, a=a)
    said = chain.a.wait_for("kex: algorithm: .*|[Dd]oing .*key exchange.*|Using .*key exch.*")[0]
    assert any(one in said for one in ("sntrup761", "NTRU", "mlkem", "ML-KEM")), chain.a


# -- host certificates


def certify(site: Site, *options: str) -> None:
    """Make B's host key, signed by an authority."""
    authority = site.key("authority", None)
    key = site.key("host", None)
    run(find("ssh-keygen"), "-q", "-s", authority, "-I", "b", "-h", "-n", "127.0.0.1", *options,
        site.public("host"))  # fmt: skip
    for suffix in ("", ".pub"):
        shutil.copy(f"{key}{suffix}", site.folder / "state" / f"ssh_host_ed25519_key{suffix}")


@pytest.fixture
def certified(site: Site) -> Site:
    """A host key that an authority has signed, which is all that clients know."""
    certify(site)
    return site


@pytest.mark.parametrize("a", ["ssh", "relay-connect"])
@pytest.mark.parametrize("known", [True, False])
def test_clients_check_the_host_by_its_certificate(certified: Site, a: str, known: bool) -> None:
    site = certified
    b = relay_server(site, "--host-certificate", str(site.folder / "host-cert.pub"))
    authority = site.public("authority" if known else "host").read_text()
    site.known_hosts.write_text(f"@cert-authority * {authority}")
    site.key("client")
    if known:
        OPENERS[a](site, b, NAMED)
        return
    if a == "ssh":
        client = ssh(site, b, "client")
    else:
        client = site.ours("relay-connect", *site.leg(b, "client"), "-L", "0:x:1", "x@127.0.0.1")
    assert client.end() != 0
    b.process.wait_for("did not log in")


@pytest.mark.parametrize("a", ["ssh", "relay-connect"])
@pytest.mark.parametrize(
    ("algorithm", "known"), [("rsa-sha2-512", True), ("rsa-sha2-256", True), ("ssh-rsa", False)]
)
def test_clients_take_no_host_certificate_that_is_signed_with_sha1(
    site: Site, a: str, algorithm: str, known: bool
) -> None:
    site.key("authority", None, algorithm="ssh-rsa")
    certify(site, "-t", algorithm)
    b = relay_server(site, "--host-certificate", str(site.folder / "host-cert.pub"))
    site.known_hosts.write_text(f"@cert-authority * {site.public('authority').read_text()}")
    site.key("client")
    if known:
        OPENERS[a](site, b, NAMED)
        return
    if a == "ssh":
        client = ssh(site, b, "client")
    else:
        client = site.ours("relay-connect", *site.leg(b, "client"), "-L", "0:x:1", "x@127.0.0.1")
        client.wait_for("the certificate is signed with ssh-rsa, which is not accepted")
    assert client.end() != 0
    b.process.wait_for("did not log in")


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (["-n", "127.0.0.1"], "not a host's"),
        (["-h", "-n", "127.0.0.1"], "for none of the host keys"),
    ],
)
def test_a_certificate_that_cannot_be_used_is_told(
    site: Site, flags: list[str], reason: str
) -> None:
    run(find("ssh-keygen"), "-q", "-s", site.key("ca", None), "-I", "b", *flags,
        site.key("other", None).with_suffix(".pub"))  # fmt: skip
    b = site.ours(
        "relay-server", "--listen", "127.0.0.1:0", "--state-dir", site.folder / "state",
        "--host-certificate", site.folder / "other-cert.pub",
    )  # fmt: skip
    b.wait_for(rf"other-cert\.pub.*{reason}")
    assert b.end() == 1


def test_two_host_keys_of_one_kind_are_told(site: Site) -> None:
    b = site.ours(
        "relay-server", "--listen", "127.0.0.1:0", "--state-dir", site.folder / "state",
        "--host-key", site.key("one", None), "--host-key", site.key("other", None),
    )  # fmt: skip
    b.wait_for("other: a second host key of the same kind")
    assert b.end() == 1


# -- keepalives


def test_ssh_asks_whether_we_are_there(site: Site) -> None:
    """ServerAliveInterval: the global request `keepalive@openssh.com`, which any answer
    answers."""
    b = relay_server(site)
    client = ssh(site, b, "client", "-vvv", "-o", "ServerAliveInterval=1")
    client.wait_for(r"receive packet: type 8[12]", count=2)


@pytest.mark.parametrize("streams", [0, 1])
def test_sshd_asks_whether_we_are_there(site: Site, streams: int) -> None:
    """ClientAliveInterval: a global request, or one of an open channel if there is any."""
    chain = start_chain(
        site, PORT, b="sshd",
        b_options=("-o", "ClientAliveInterval=1", "-o", "ClientAliveCountMax=1",
                   "-o", "LogLevel=DEBUG3"),
    )  # fmt: skip
    answer = "type (99|100)" if streams else "type 8[12]"
    if streams:
        with closing(*chain.stream()):
            chain.b.process.wait_for(rf"receive packet: {answer}", count=4)
    else:
        chain.b.process.wait_for(rf"receive packet: {answer}", count=4)
    exchange(*chain.stream(), MIB)
