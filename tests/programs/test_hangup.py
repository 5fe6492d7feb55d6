"""SIGHUP: a service tries at once, and who sits in a terminal that is closed ends, as ssh does."""

from __future__ import annotations

import signal
import socket
import sys
from pathlib import Path

import pytest

from tests.programs.chain import Server, Site, relay_server
from tests.programs.process import Process
from tests.programs.traffic import free_port

AS_A_SERVICE = "os.setsid()"
IN_A_TERMINAL = """\
import fcntl, pty, termios
os.setsid()
master, terminal = pty.openpty()
fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)
os.set_inheritable(master, True)
"""
UNDER_NOHUP = IN_A_TERMINAL + "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
GO = "os.execv(sys.executable, [sys.executable, '-m', *sys.argv[1:]])"

PROGRAMS = {
    "agent": ["-R", "gpu1:8000:localhost:1"],
    "connect": ["--keep-trying", "-L", "127.0.0.1:0:gpu1:8000"],
}
DONE = {"agent": "published", "connect": "ready"}


def start(site: Site, b: Server, program: str, how: str, *options: str | Path) -> Process:
    script = f"import os, sys\n{how}\n{GO}"
    return site.start(
        f"relay-{program}", sys.executable, "-c", script, f"relay.cli.{program}",
        *site.leg(b, "late"), *PROGRAMS[program], *options, f"{site.user}@127.0.0.1",
    )  # fmt: skip


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_service_that_is_refused_tries_at_once(site: Site, program: str) -> None:
    """By itself it would in a minute at the earliest, when this test has given up."""
    b = relay_server(site)
    site.key("late", None)
    started = start(site, b, program, AS_A_SERVICE)
    started.wait_for("Permission denied")
    site.authorize(site.public("late").read_text())
    started.signal(signal.SIGHUP)
    started.wait_for(DONE[program])
    started.signal(signal.SIGHUP)  # With nothing to be tried it changes nothing.
    assert started.stop() == 0


def test_an_agent_asks_at_once_for_what_was_refused(site: Site) -> None:
    b = relay_server(site)
    site.key("late", 'permitlisten="other:1"')
    agent = start(site, b, "agent", AS_A_SERVICE, "-R", "other:1:localhost:1")
    agent.wait_for("other:1 -> localhost:1 published")
    agent.wait_for("gpu1:8000: refused by the server")
    assert agent.is_running
    agent.signal(signal.SIGHUP)
    b.process.wait_for("gpu1:8000", count=2)
    assert agent.stop() == 0


def test_connect_opens_at_once_what_was_taken(site: Site) -> None:
    b = relay_server(site)
    port = free_port()
    options = ("-o", "ExitOnForwardFailure=no", "-L", f"127.0.0.1:{port}:gpu1:8000")
    with socket.create_server(("127.0.0.1", port)):
        connect = start(site, b, "connect", AS_A_SERVICE, *options)
        connect.wait_for(f"cannot listen on 127.0.0.1:{port}")
        connect.wait_for("ready")
    connect.signal(signal.SIGHUP)
    connect.wait_for(f"127.0.0.1:{port} -> gpu1:8000 ready")


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_terminal_that_is_gone_takes_its_program_along(site: Site, program: str) -> None:
    b = relay_server(site)
    started = start(site, b, program, IN_A_TERMINAL)
    started.wait_for(DONE[program])
    started.signal(signal.SIGHUP)
    assert started.end() == 0


def test_nohup_is_obeyed(site: Site) -> None:
    b = relay_server(site)
    started = start(site, b, "connect", UNDER_NOHUP)
    started.wait_for("ready")
    started.signal(signal.SIGHUP)
    b.process.signal(signal.SIGKILL)
    started.wait_for("lost")
    assert started.stop() == 0
