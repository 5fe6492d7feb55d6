"""node's ssh2, in the place of relay-connect and of relay-agent. (ssh2.js is the program.)

It comes from npm, in the version that is named here, into pytest's cache, and stays out of the
repository: https://www.npmjs.com/package/ssh2. Its scripts are not run, so nothing is compiled: its
ciphers are node's, and Poly1305 is WebAssembly.
"""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest

from tests.programs.chain import Server, Site, find
from tests.programs.process import GUARD, Process

VERSION: Final = "1.17.0"

PROGRAM: Final = Path(__file__).with_suffix(".js")


def fetch(cache: pytest.Cache) -> Path:
    """The folder with its packages; without npm, or its registry, the test is skipped; in CI it
    fails."""
    npm = find("npm")
    folder = cache.mkdir(f"ssh2-{VERSION}")
    # Several processes of one run may want it, and one fetches it.
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "node_modules" / "ssh2").is_dir():
            done = subprocess.run(
                [npm, "install", "--prefix", folder, "--ignore-scripts", "--omit=optional",
                 "--no-audit", "--no-fund", "--loglevel=error", f"ssh2@{VERSION}"],
                capture_output=True, text=True, timeout=GUARD, check=False,
            )  # fmt: skip
            if done.returncode:
                missing = f"npm cannot install ssh2 {VERSION}: {done.stderr.strip()[-500:]}"
                pytest.fail(missing) if os.environ.get("CI") else pytest.skip(missing)
    return folder / "node_modules"


class Ssh2:
    """Starts it at a site."""

    def __init__(self, packages: Path) -> None:
        self._packages = packages
        self._node = find("node")

    def connect(
        self, site: Site, b: Server, service: str, key: str = "client", **options: Any
    ) -> tuple[Process, int]:
        """In the place of relay-connect: a local port for `service`."""
        host, _, port = service.rpartition(":")
        process = self.start(site, b, key, open=[host, int(port)], **options)
        return process, int(process.wait_for(r"ready on (\d+)")[1])

    def agent(
        self, site: Site, b: Server, bind: str, target: int, key: str = "agent", **options: Any
    ) -> tuple[Process, str]:
        """In the place of relay-agent."""
        host, _, port = bind.rpartition(":")
        process = self.start(site, b, key, publish=[host, int(port), target], **options)
        return process, process.wait_for(r"published (\S+)")[1]

    def start(self, site: Site, b: Server, key: str, **options: Any) -> Process:
        host_key = site.folder / "state" / "ssh_host_ed25519_key.pub"
        given = {
            "port": b.port, "user": site.user, "key": str(site.key(key)),
            "hostKey": blob(host_key.read_text()), **options,
        }  # fmt: skip
        return site.start(
            "ssh2", "/usr/bin/env", f"NODE_PATH={self._packages}", self._node, PROGRAM,
            json.dumps(given),
        )  # fmt: skip


def blob(line: str) -> str:
    """The key of a line of known_hosts or of a .pub file, in base64."""
    kind = "ssh-ed25519 "
    return line[line.index(kind) + len(kind) :].split()[0]
