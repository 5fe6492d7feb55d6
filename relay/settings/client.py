"""What `relay-agent` and `relay-connect` have in common with ssh."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Final, Literal

from relay.settings.general import GENERAL, LogSettings
from relay.settings.kinds import text
from relay.settings.option import Kind, Option, option, switches
from relay.sshconfig.client import DEFAULT_PORT

FORWARD: Final = "[bind:]port:host:hostport"

HOW_TO_REACH: Final = "how to reach the server"
WHILE_IT_RUNS: Final = "change it while it runs"

# Of several values the first one counts, as in ssh_config; keys add up.
_keyword = partial(option, many=True, default=(), group=HOW_TO_REACH)

KEY_FILE: Final = Kind("FILE", str, completed="file")
CONFIG_FILE: Final = Kind("FILE", str, completed="file", in_unit="read")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientSettings:
    """How to reach the server: ssh's flags, each for a keyword of ssh_config. All are texts; what
    they mean is found when the files of ssh_config are read (`relay/cli/client_config.py`)."""

    destination: str = option(
        kind=Kind("[user@]host", str, completed="host"),
        group=HOW_TO_REACH,
        help="where relay-server runs",
    )
    port: tuple[str, ...] = _keyword(
        "-p", keyword="Port", kind=text("PORT"), help=f"its port (default {DEFAULT_PORT})"
    )
    user: tuple[str, ...] = _keyword(
        "-l", keyword="User", kind=text("USER"), help="the user to log in as"
    )
    identities: tuple[str, ...] = _keyword(
        "-i",
        keyword="IdentityFile",
        kind=KEY_FILE,
        help="private key to log in with, repeatable (default: ssh-agent's keys, ~/.ssh/id_*)",
    )
    jump: tuple[str, ...] = _keyword(
        "-J",
        keyword="ProxyJump",
        kind=Kind("HOSTS", str, completed="host"),
        help="jump hosts on the way, with commas: [user@]host[:port]; they cannot read what passes",
    )
    ciphers: tuple[str, ...] = _keyword(
        "-c",
        keyword="Ciphers",
        kind=text("CIPHERS"),
        help="ciphers to offer, best first, with commas",
    )
    macs: tuple[str, ...] = _keyword("-m", keyword="MACs", kind=text("MACS"), help=None)
    bind_address: tuple[str, ...] = _keyword(
        "-b",
        keyword="BindAddress",
        kind=text("ADDRESS"),
        help="address of this machine to connect from",
    )
    tag: tuple[str, ...] = _keyword("-P", keyword="Tag", kind=text("TAG"), help=None)
    family: Literal["inet", "inet6"] | None = switches(
        *(
            Option(
                (flag,),
                const=family,
                keyword="AddressFamily",
                group=HOW_TO_REACH,
                help=f"use {name} only",
            )
            for flag, family, name in (("-4", "inet", "IPv4"), ("-6", "inet6", "IPv6"))
        )
    )
    control_path: tuple[str, ...] = option(
        "-S",
        keyword="ControlPath",
        kind=Kind("PATH", str, completed="file"),
        many=True,
        default=(),
        group=WHILE_IT_RUNS,
        help="the unix socket at which it can be changed; none: it cannot (default: one for each "
        "destination, for you alone)",
    )
    config_file: str | None = option(
        "-F",
        kind=CONFIG_FILE,
        default=None,
        group=HOW_TO_REACH,
        help="ssh_config to read instead of ~/.ssh/config and the system's; none: read no file",
    )
    options: tuple[str, ...] = option(
        "-o",
        kind=text("KEYWORD=VALUE"),
        many=True,
        default=(),
        group=HOW_TO_REACH,
        help="an option as in ssh_config, repeatable; -o ProxyURL=http://proxy:3128: by way of an "
        "HTTP proxy",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientLogSettings(LogSettings):
    """ssh's LogLevel goes lower than the server's."""

    quiet: bool = option("-q", default=False, group=GENERAL, help="say errors only")
