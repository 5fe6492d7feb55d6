"""Sessions end to end outlive what carries them: B is killed under them, and every byte arrives."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import asyncssh
import pytest

from tests.programs.chain import Server, Site, find
from tests.programs.process import GUARD, environment
from tests.programs.sessions import endpoint, start_sessions
from tests.programs.traffic import MIB, closing, dial, exchange, is_reset, receive, send

SIZE = 24 * MIB


def kill(b: Server) -> None:
    b.process.signal(signal.SIGKILL)
    b.process.end()


def start_again(site: Site, b: Server, port: int | None = None) -> Server:
    """With the same keys, and where it was."""
    process = site.ours(
        "relay-server", "--listen", f"127.0.0.1:{port or b.port}",
        "--state-dir", site.folder / "state", "--drain", "0",
    )  # fmt: skip
    process.wait_for("listening on ")
    return Server(process, port or b.port)


def in_the_background(work: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def test_a_download_an_upload_and_an_idle_stream_outlive_b(site: Site) -> None:
    chain = start_sessions(site)
    (down, down_there), (up, up_there), (idle, idle_there) = (chain.stream() for _ in range(3))
    with closing(down, down_there, up, up_there, idle, idle_there):
        idle.sendall(b"before")
        assert idle_there.recv(16) == b"before"
        sent: dict[str, str] = {}
        got: dict[str, tuple[int, str]] = {}
        threads = [
            in_the_background(lambda: sent.update(down=send(down_there, SIZE, 1))),
            in_the_background(lambda: sent.update(up=send(up, SIZE, 2))),
            in_the_background(lambda: got.update(down=receive(down))),
            in_the_background(lambda: got.update(up=receive(up_there))),
        ]
        b = chain.b
        for time in (1, 2, 3):
            kill(b)
            chain.a.wait_for("^held: [123] streams?, for up to 10 min", count=time)
            b = start_again(site, b)
            chain.a.wait_for("^again, after ", count=time)
        for thread in threads:
            thread.join(60)
        assert got == {"down": (SIZE, sent["down"]), "up": (SIZE, sent["up"])}
        idle_there.sendall(b"and after")
        assert idle.recv(16) == b"and after"
    assert chain.c.said("held: [123] streams of ")


def test_it_comes_back_over_another_b(site: Site) -> None:
    """With another host key, port and address it would as well: B knows nothing of this."""
    chain = start_sessions(site)
    client, service = chain.stream()
    with closing(client, service):
        client.sendall(b"by the first")
        assert service.recv(64) == b"by the first"
        kill(chain.b)
        state = site.folder / "state"
        key = asyncssh.generate_private_key("ssh-ed25519")
        key.write_private_key(state / "ssh_host_ed25519_key")
        key.write_public_key(state / "ssh_host_ed25519_key.pub")
        known = site.known_hosts.read_text().splitlines(True)
        site.known_hosts.write_text("".join(line for line in known if "gpu1" in line))
        site.trust(chain.b.port)
        start_again(site, chain.b)
        chain.a.wait_for("^again, after ")
        client.sendall(b"by the second")
        assert service.recv(64) == b"by the second"


def test_a_stock_sshd_as_b(site: Site) -> None:
    chain = start_sessions(site, b="sshd")
    client, service = chain.stream()
    with closing(client, service):
        client.sendall(b"before")
        assert service.recv(64) == b"before"
        chain.b.process.stop()
        chain.a.wait_for("^held: 1 stream, for up to 10 min")
        config = site.folder / "sshd_config"
        again = site.start("sshd", find("sshd"), "-D", "-e", "-f", config)
        again.wait_for("Server listening on")
        chain.a.wait_for("^again, after ")
        client.sendall(b"and after")
        assert service.recv(64) == b"and after"


def test_an_agent_that_was_started_anew_is_a_reset_and_never_an_end(site: Site) -> None:
    chain = start_sessions(site)
    client, service = chain.stream()
    with closing(client, service):
        service.sendall(b"half an ans")
        assert client.recv(64) == b"half an ans"
        chain.c.signal(signal.SIGKILL)
        chain.c.end()
        chain.a.wait_for("^held: 1 stream, ")
        endpoint(site, chain.b)
        chain.a.wait_for("1 stream reset: the other side does not know their session any more")
        assert is_reset(client)
    # And whoever comes now is served.
    exchange(*chain.stream(), MIB)


def test_a_session_that_is_held_for_too_long_is_reset(site: Site) -> None:
    chain = start_sessions(site, c_options=("--resume-for", "1"))
    client, service = chain.stream()
    with closing(client, service):
        client.sendall(b"x")
        assert service.recv(16) == b"x"
        kill(chain.b)
        chain.a.wait_for("^held: 1 stream, for up to 1.0 s")
        chain.a.wait_for("1 stream reset: it was held for too long")
        assert is_reset(client)
        assert is_reset(service)


@pytest.mark.parametrize("side", ["a", "c"])
def test_one_side_alone_keeps_nothing(site: Site, side: str) -> None:
    never = ("--resume-for", "0")
    chain = start_sessions(
        site, a_options=never if side == "a" else (), c_options=never if side == "c" else ()
    )
    client, service = chain.stream()
    with closing(client, service):
        client.sendall(b"x")
        assert service.recv(16) == b"x"
        kill(chain.b)
        assert is_reset(client)
        assert is_reset(service)
    assert not chain.a.said("^held: ")


def test_a_key_that_was_revoked_meanwhile_does_not_come_back(site: Site) -> None:
    chain = start_sessions(site)
    client, service = chain.stream()
    with closing(client, service):
        client.sendall(b"x")
        assert service.recv(16) == b"x"
        kill(chain.b)
        chain.a.wait_for("^held: 1 stream, ")
        (site.folder / "gpu1" / "authorized_keys").write_text("")
        start_again(site, chain.b)
        assert is_reset(service)
    chain.c.wait_for("may not be here any more")
    chain.a.wait_for("Permission denied")


def test_what_happens_while_it_is_held_is_told_after_it(site: Site) -> None:
    chain = start_sessions(site)
    (leaves, left), (ends, ended) = chain.stream(), chain.stream()
    with closing(left, ends, ended):
        for one, other in ((leaves, left), (ends, ended)):
            one.sendall(b"x")
            assert other.recv(16) == b"x"
        kill(chain.b)
        chain.a.wait_for("^held: 2 streams, ")
        leaves.close()
        ends.sendall(b"the last")
        ends.shutdown(1)
        with dial(chain.port) as late:  # It waits, as for any leg.
            late.sendall(b"late")
            start_again(site, chain.b)
            chain.a.wait_for("^again, after ")
            assert receive(ended)[0] == len(b"the last")
            with chain.service.accept() as there:
                assert there.recv(16) == b"late"
        assert left.recv(16) == b""


@pytest.fixture
def short() -> Iterator[Site]:
    """A site whose path leaves room for a control socket's."""
    with TemporaryDirectory() as folder, ExitStack() as stack:
        yield Site(Path(folder), stack)


def test_a_program_that_is_asked_says_so(short: Site) -> None:
    site, chain = short, start_sessions(short)
    config = site.folder / "ssh_config"

    def status() -> str:
        command = [sys.executable, "-m", "relay.cli.connect", "-F", str(config), "-J", "b"]
        return subprocess.run(
            [*command, "-O", "status", "gpu1"], cwd=site.folder,
            env=environment(site.folder), stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=GUARD, check=True,
        ).stdout  # fmt: skip

    assert "resumable: for 600 s" in status()
    with closing(*chain.stream()):
        kill(chain.b)
        chain.a.wait_for("^held: 1 stream, ")
        assert re.search(r"resumable: held for \d+ of 600 s", status())
