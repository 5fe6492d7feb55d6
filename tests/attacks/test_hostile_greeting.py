"""A relay that turns hostile before anybody has logged in: relay-connect and relay-agent end with
one line, and soon."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest
from asyncssh.packet import MPInt, String

from relay.core.limits import BYTES_BEFORE_OUR_LOGIN, PACKETS_BEFORE_OUR_LOGIN
from tests.attacks.messages import ECDH_REPLY, anything, disconnect, ignore, kexinit, packet
from tests.programs.chain import Server, Site
from tests.programs.process import GUARD, Process

VERSION = b"SSH-2.0-hostile\r\n"
GROUP16 = "diffie-hellman-group16-sha512"
STRICT = "curve25519-sha256,kex-strict-s-v00@openssh.com"
"""OpenSSH's PROTOCOL §1.10: what came before the keys cannot have been added on the way, then."""

GREETINGS: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "closed"),
    "a version that is no text": (b"SSH-2.0-\xff\r\n", "cannot be used: UnicodeDecodeError"),
    "algorithms that are no text": (
        VERSION + packet(kexinit(kex="curve\u00e9")),
        "cannot be used: UnicodeDecodeError",
    ),
    "a KEXINIT that is cut": (VERSION + packet(kexinit()[:40]), "[Ii]ncomplete|cannot be used"),
    "a group element of 1": (
        VERSION
        + packet(kexinit(kex=GROUP16))
        + packet(anything(ECDH_REPLY, String("") + MPInt(1) + String(""))),
        "[Kk]ey|cannot be used",
    ),
    "a reason that is no text": (
        VERSION + packet(disconnect(2)[:5] + String(b"\xff") + String("")),
        "Invalid disconnect message|cannot be used",
    ),
    "a long reason": (VERSION + packet(disconnect(2, "x" * 30_000)), "xxx"),
    "a reason to move the cursor": (VERSION + packet(disconnect(2, "\x1b[2J\n")), r"\\x1b\[2J"),
    "an IGNORE before a strict KEXINIT": (
        VERSION + packet(ignore()) + packet(kexinit(kex=STRICT)),
        "Strict key exchange violation",
    ),
    "an IGNORE within a strict key exchange": (
        VERSION + packet(kexinit(kex=STRICT)) + packet(ignore()),
        "Strict key exchange violation",
    ),
    "packets without end": (
        VERSION + packet(ignore()) * 2 * PACKETS_BEFORE_OUR_LOGIN,
        f"more than {PACKETS_BEFORE_OUR_LOGIN} packets before the login",
    ),
    "bytes without end": (
        VERSION + packet(ignore(bytes(30_000))) * (BYTES_BEFORE_OUR_LOGIN // 30_000 + 1),
        f"more than {BYTES_BEFORE_OUR_LOGIN >> 10} KiB before the login",
    ),
    "lines without end": (b"welcome\r\n" * 5000, "[Bb]anner"),
    "a line without end": (b"x" * 100_000, "[Bb]anner"),
    "long lines without end": (
        (b"x" * 8000 + b"\r\n") * 200,
        f"more than {BYTES_BEFORE_OUR_LOGIN >> 10} KiB before the login",
    ),
}


@pytest.fixture
def greeter(site: Site) -> Iterator[tuple[Server, list[bytes]]]:
    """A port where everybody gets the same words, and then nothing more."""
    words: list[bytes] = []

    def greet(sock: socket.socket) -> None:
        with sock:
            sock.settimeout(GUARD)
            try:
                sock.sendall(words[0])
                sock.shutdown(socket.SHUT_WR)
                while sock.recv(1 << 16):
                    pass
            except OSError:
                pass

    def serve() -> None:
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            greet(sock)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield Server(None, listener.getsockname()[1]), words  # type: ignore[arg-type]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(GUARD)


def start(site: Site, b: Server, program: str) -> Process:
    forward = {
        "relay-connect": ("-L", "127.0.0.1:0:gpu1:8000"),
        "relay-agent": ("-R", "gpu1:8000:localhost:1"),
    }[program]
    return site.ours(
        program, *site.leg(b, "client"), "--once", *forward,
        f"{site.user}@127.0.0.1",
    )  # fmt: skip


@pytest.mark.parametrize("program", ["relay-connect", "relay-agent"])
@pytest.mark.parametrize(("words", "reason"), GREETINGS.values(), ids=GREETINGS.keys())
def test_a_hostile_greeting_is_one_line(
    site: Site, greeter: tuple[Server, list[bytes]], words: bytes, reason: str, program: str
) -> None:
    b, greets = greeter
    greets.append(words)
    process = start(site, b, program)
    assert process.end() == 1
    process.wait_for(f"^{program}: .*({reason})")
    assert len(process.lines) == 1, process
    assert len(process.lines[0]) < 600
