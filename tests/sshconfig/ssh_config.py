"""A configuration without a machine around it, for the tests of ssh_config."""

from __future__ import annotations

import getpass
import os
import socket
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from relay.cli.ssh_files import real_name
from relay.sshconfig.config import Config, Source
from relay.sshconfig.config import Outside as OutsideProtocol
from relay.sshconfig.tokens import Local
from relay.sshconfig.words import Place

LOCAL = Local(
    user=getpass.getuser(),
    uid=os.getuid(),
    home="/home/me",
    hostname=socket.gethostname(),
    environ={"VAR": "value", "SOCKET": "/run/socket"},
)


@dataclass
class Outside:
    """A machine that is made of a dict."""

    files: dict[str, str] = field(default_factory=dict)
    commands: list[str] = field(default_factory=list)

    def find(self, pattern: str) -> list[str]:
        return sorted(name for name in self.files if fnmatchcase(name, pattern))

    def read(self, path: str, place: Place) -> str:
        return self.files[path]

    def run(self, command: str) -> bool:
        self.commands.append(command)
        return command.startswith("true")


def config(
    text: str,
    host: str = "host",
    *options: str,
    outside: OutsideProtocol | None = None,
    user: bool = True,
) -> Config:
    """The configuration of a host by one file, read again if it asks for that."""
    result = Config(host, LOCAL, outside or Outside())
    for option in options:
        result.option(option)
    source = Source("file", "/home/me/.ssh" if user else "/etc/ssh", user)
    result.read(text, source)
    final = result.wants_final
    result.begin_final(real_name(result.host))
    if final:
        result.read(text, source)
    return result
