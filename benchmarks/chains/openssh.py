"""OpenSSH on all three machines: sshd on B, `ssh -R` on C, `ssh -L` on A.

At its best: the fastest cipher (or the default one, to show what most people have), no
compression, no shell. ControlMaster would gain nothing: each leg is one session that stays.
"""

from __future__ import annotations

import getpass
import os
import re
import shutil
import subprocess
from functools import partial
from pathlib import Path

from benchmarks.chains import keys
from benchmarks.chains.chain import Builder, Chain, Site, first_line, free_port
from benchmarks.errors import MissingProgramError
from benchmarks.processes import Process

_SSHD_RUN = Path("/run/sshd")
"""Where sshd, started by root, locks up its unprivileged part. Debian's path, fixed at build."""

_SSHD_CONFIG = """\
ListenAddress 127.0.0.1
Port {port}
HostKey {host_key}
AuthorizedKeysFile {authorized}
AuthenticationMethods publickey
PermitRootLogin prohibit-password
# The keys lie in a temporary folder.
StrictModes no
UsePAM no
PidFile none
Compression no
LogLevel INFO
{ciphers}
"""

_SSH_OPTIONS = {
    "BatchMode": "yes",
    "Compression": "no",
    "ControlPath": "none",
    "ExitOnForwardFailure": "yes",
    "GlobalKnownHostsFile": "/dev/null",
    "IdentitiesOnly": "yes",
    "IdentityAgent": "none",
    "StrictHostKeyChecking": "yes",
    "UpdateHostKeys": "no",
}


def with_cipher(cipher: str | None) -> Builder:
    """Build the chain with this cipher; None: with OpenSSH's own choice."""
    return partial(_build, cipher=cipher)


def _build(site: Site, cipher: str | None) -> Chain:
    ssh, folder = _find("ssh"), site.folder
    host_key, client_key = keys.make_key(folder / "host_key"), keys.make_key(folder / "client_key")
    b, b_port = _sshd(site, host_key, client_key, cipher)
    known = keys.know_host(folder / "known_hosts", b_port, host_key)

    options = {**_SSH_OPTIONS, "IdentityFile": str(client_key), "UserKnownHostsFile": str(known)}
    if cipher:
        options["Ciphers"] = cipher
    flags = [flag for item in options.items() for flag in ("-o", "=".join(item))]
    login = [*flags, "-p", str(b_port), f"{getpass.getuser()}@127.0.0.1"]

    c = site.spawn("c", [ssh, "-F", "none", "-N", "-R", f"0:127.0.0.1:{site.service_port}", *login])
    published = c.wait_for(r"^Allocated port (\d+) for remote forward")[1]
    a_port = free_port()
    forward = f"127.0.0.1:{a_port}:127.0.0.1:{published}"
    a = site.spawn("a", [ssh, "-F", "none", "-N", "-L", forward, *login])
    return Chain(port=a_port, a=a, b=b, c=c, versions=_versions(ssh))


def _sshd(site: Site, host_key: Path, client_key: Path, cipher: str | None) -> tuple[Process, int]:
    sshd, port = _find("sshd"), free_port()
    if os.geteuid() == 0:
        _SSHD_RUN.mkdir(mode=0o755, exist_ok=True)  # as the package's own service file does
    config = site.folder / "sshd_config"
    config.write_text(
        _SSHD_CONFIG.format(
            port=port,
            host_key=host_key,
            authorized=keys.authorize(site.folder / "authorized_keys", client_key),
            ciphers=f"Ciphers {cipher}" if cipher else "",
        )
    )
    b = site.spawn("b", [sshd, "-D", "-e", "-f", str(config)])
    b.wait_for(r"^Server listening on ")
    return b, port


def _find(program: str) -> str:
    """The program's full path; sshd will not start by another one, and is on root's PATH only."""
    path = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"))
    found = shutil.which(program, path=path)
    if not found:
        raise MissingProgramError(
            f"{program} is not installed (Debian: openssh-server, openssh-client)"
        )
    return found


def _versions(ssh: str) -> dict[str, str]:
    settings = subprocess.run(
        [ssh, "-F", "none", "-G", "b"], capture_output=True, text=True, check=False
    ).stdout
    default = re.search(r"^ciphers ([^,\n]+)", settings, re.MULTILINE)
    return {
        "ssh": first_line([ssh, "-V"]),
        "ssh default cipher": default[1] if default else "unknown",
    }
