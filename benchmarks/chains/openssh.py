"""OpenSSH on all three machines: sshd on B, `ssh -R` on C, `ssh -L` on A. End to end: C has an
sshd of its own, which `ssh -R` publishes, and A's session with it runs through B by `ssh -J`.

At its best: the fastest cipher (or the default one, to show what most people have) and no
compression. ControlMaster would gain nothing: each leg is one connection that stays.

Both clients run with `-N`, as in every manual and every unit file. Then sshd opens no session, and
it is only for a session that sshd sets TCP_NODELAY on its side of the connection: many small
messages at once wait for delayed acknowledgements. A second chain has a session with a command that
does nothing on each leg; hardly anybody runs a tunnel so, but it shows what the code can do. (It
has a terminal, so that the command ends with the session.)
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
from benchmarks.chains.chain import Builder, Chain, Hub, Site, first_line, free_port
from benchmarks.errors import MissingProgramError
from benchmarks.processes import Process

_SSHD_RUN = Path("/run/sshd")
"""Where sshd, started by root, locks up its unprivileged part. Debian's path, fixed at build."""

_SSHD_CONFIG = """\
AddressFamily inet
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
{further}
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


_IDLE_COMMAND = ("sleep", "1000000")


def with_cipher(cipher: str | None, *, session: bool = False) -> Builder:
    """Build the chain with this cipher; None: with OpenSSH's own choice. `session`: without
    `-N`."""
    return partial(_build, cipher=cipher, session=session)


def end_to_end_with_cipher(cipher: str | None) -> Builder:
    """Build the chain of `ssh -J`, both of its sessions with this cipher."""
    return partial(_build_end_to_end, cipher=cipher)


def _build(site: Site, cipher: str | None, session: bool) -> Chain:
    ssh, folder = _find("ssh"), site.folder
    host_key, client_key = keys.make_key(folder / "host_key"), keys.make_key(folder / "client_key")
    b, b_port = _sshd(site, "b", host_key, client_key, cipher)
    b_port = site.leg_to(b_port)
    known = keys.know_host(folder / "known_hosts", b_port, host_key)
    config = _ssh_config(site, client_key, known, cipher)
    flags = ["-F", str(config), "-p", str(b_port)]
    do = ["-tt", "127.0.0.1", *_IDLE_COMMAND] if session else ["-N", "127.0.0.1"]

    c = site.spawn("c", [ssh, *flags, "-R", f"0:127.0.0.1:{site.service_port}", *do])
    published = c.wait_for(r"^Allocated port (\d+) for remote forward")[1]
    a_port = free_port()
    forward = f"127.0.0.1:{a_port}:127.0.0.1:{published}"
    a = site.spawn("a", [ssh, *flags, "-L", forward, *do])
    return Chain(port=a_port, a=a, b=b, c=c, versions=_versions(ssh))


def _build_end_to_end(site: Site, cipher: str | None) -> Chain:
    ssh, folder = _find("ssh"), site.folder
    host_key, client_key = keys.make_key(folder / "host_key"), keys.make_key(folder / "client_key")
    b, b_port = _sshd(site, "b", host_key, client_key, cipher)
    b_port = site.leg_to(b_port)
    c_sshd, c_port = _sshd(site, "c-sshd", host_key, client_key, cipher)
    known = keys.know_host(folder / "known_hosts", b_port, host_key)
    config = _ssh_config(site, client_key, known, cipher)

    publish = ["-R", f"0:127.0.0.1:{c_port}", "-p", str(b_port), "127.0.0.1"]
    c = site.spawn("c", [ssh, "-F", str(config), "-N", *publish])
    published = c.wait_for(r"^Allocated port (\d+) for remote forward")[1]
    with known.open("a") as file:
        file.write(f"[127.0.0.1]:{published} {keys.public(host_key).read_text()}")
    a_port = free_port()
    forward = f"127.0.0.1:{a_port}:127.0.0.1:{site.service_port}"
    jump = ["-J", f"127.0.0.1:{b_port}", "-p", published, "127.0.0.1"]
    a = site.spawn("a", [ssh, "-F", str(config), "-N", "-L", forward, *jump])
    versions = _versions(ssh)
    return Chain(port=a_port, a=a, b=b, c=c, versions=versions, beside_c=(c_sshd,))


def hub(site: Site) -> Hub:
    """B with limits for any number of agents."""
    folder = site.folder
    host_key, agent_key = keys.make_key(folder / "host_key"), keys.make_key(folder / "agent_key")
    port = free_port()

    def start() -> Process:
        return _start_sshd(site, "b", port, host_key, agent_key, "MaxStartups 100000")

    return Hub(start, port, getpass.getuser(), agent_key, service="localhost:0")


def _ssh_config(site: Site, client_key: Path, known: Path, cipher: str | None) -> Path:
    """In a file, and not in flags: `ssh -J` hands on only files to the ssh that it starts."""
    options = {
        **_SSH_OPTIONS,
        "User": getpass.getuser(),
        "IdentityFile": str(client_key),
        "UserKnownHostsFile": str(known),
    }
    if cipher:
        options["Ciphers"] = cipher
    config = site.folder / "ssh_config"
    config.write_text("".join(f"{name} {value}\n" for name, value in options.items()))
    return config


def _sshd(
    site: Site, name: str, host_key: Path, client_key: Path, cipher: str | None
) -> tuple[Process, int]:
    port = free_port()
    ciphers = f"Ciphers {cipher}" if cipher else ""
    return _start_sshd(site, name, port, host_key, client_key, ciphers), port


def _start_sshd(
    site: Site, name: str, port: int, host_key: Path, client_key: Path, further: str
) -> Process:
    sshd = _find("sshd")
    if os.geteuid() == 0:
        _SSHD_RUN.mkdir(mode=0o755, exist_ok=True)  # as the package's own service file does
    config = site.folder / f"{name}_config"
    config.write_text(
        _SSHD_CONFIG.format(
            port=port,
            host_key=host_key,
            authorized=keys.authorize(site.folder / "authorized_keys", client_key),
            further=further,
        )
    )
    process = site.spawn(name, [sshd, "-D", "-e", "-f", str(config)])
    process.wait_for(r"^Server listening on ")
    return process


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
