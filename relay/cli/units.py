"""systemd unit files for the three programs: `--print-unit`, with the other flags as they are."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

PRINT_UNIT: Final = "--print-unit"

EXAMPLES: Final = {
    "relay-server": ("--state-dir", "%S/relay-server"),
    "relay-agent": (
        "-p", "2222", "-i", "%d/key", "-o", "UserKnownHostsFile=%E/relay-agent/known_hosts",
        "-R", "gpu1:8000:localhost:8000", "relay@b.example",
    ),
    "relay-connect": (
        "-p", "2222", "-i", "%d/key", "-o", "UserKnownHostsFile=%E/relay-connect/known_hosts",
        "-L", "3000:gpu1:8000", "relay@b.example",
    ),
}  # fmt: skip
"""What stands in the unit where no flags were given; %S, %E and %d are systemd's names for
/var/lib, /etc and the folder of the credentials."""

DESCRIPTIONS: Final = {
    "relay-server": "SSH relay",
    "relay-agent": "publishes services at an SSH relay",
    "relay-connect": "opens services that are published at an SSH relay",
}

SERVER: Final = """\
Type=notify
WatchdogSec=30
ExecReload=/bin/kill -HUP $MAINPID
StateDirectory=relay-server
StateDirectoryMode=0700
TimeoutStopSec=30
LimitNOFILE=65536
"""

CLIENT: Final = """\
Type=exec
# The private key, which only root need be able to read; -i %d/key is where the program finds it.
LoadCredential=key:/etc/{program}/key
"""

UNIT: Final = """\
# /etc/systemd/system/{program}.service, made by {program} --print-unit
[Unit]
Description={description}
Wants=network-online.target
After=network-online.target

[Service]
{service}ExecStart={command}
Restart=always
RestartSec=1

# An account of its own that nothing else has, and nothing to reach but the network.
DynamicUser=yes
NoNewPrivileges=yes
CapabilityBoundingSet=
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
PrivateDevices=yes
ProtectClock=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectControlGroups=yes
ProtectProc=invisible
ProcSubset=pid
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
RemoveIPC=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
UMask=0077

[Install]
WantedBy=multi-user.target
"""


def unit(program: str, flags: Sequence[str]) -> str:
    """The unit file that runs `program` with these flags; without flags, with those of an example
    to be edited."""
    service = SERVER if program == "relay-server" else CLIENT.format(program=program)
    words = [_path(program), *(map(_escaped, flags) if flags else EXAMPLES[program])]
    if program == "relay-server" and flags and not _names_state(flags):
        words[1:1] = EXAMPLES[program]
    return UNIT.format(
        program=program,
        description=DESCRIPTIONS[program],
        service=service,
        command=" ".join(words),
    )


def _names_state(flags: Sequence[str]) -> bool:
    return any(flag.startswith(("--state-dir", "--config")) for flag in flags)


def _path(program: str) -> str:
    """The installed program; systemd wants its full path."""
    found = shutil.which(program) or str(Path(sys.prefix) / "bin" / program)
    return _escaped(str(Path(found).absolute()))


def _escaped(word: str) -> str:
    """One word of ExecStart= (systemd.service(5), COMMAND LINES; specifiers doubled)."""
    word = word.replace("\\", "\\\\").replace("%", "%%").replace("$", "$$").replace('"', '\\"')
    return f'"{word}"' if not word or any(c in word for c in " \t'\";#") else word
