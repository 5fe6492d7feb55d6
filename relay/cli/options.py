"""What the three command lines share: ssh's flags, `-o Keyword=value`, and how they complain."""

from __future__ import annotations

import argparse
import getpass
import os
import re
import shlex
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final, NoReturn, TypeVar, cast

import relay
from relay.errors import UsageError
from relay.log import QUIET, EventLog, configure
from relay.policy.forward import Forward, parse_destination, parse_forward, parse_port
from relay.ssh.algorithms import CIPHERS
from relay.ssh.config import DEFAULT_PORT, ClientConfig, StrictHostKeyChecking

Config = TypeVar("Config")
T = TypeVar("T")

FORWARD: Final = "[bind:]port:host:hostport"

KEYWORDS: Final = {
    keyword.lower(): keyword
    for keyword in (
        "Ciphers",
        "ConnectTimeout",
        "GlobalKnownHostsFile",
        "IdentityFile",
        "Port",
        "RekeyLimit",
        "StrictHostKeyChecking",
        "User",
        "UserKnownHostsFile",
    )
}
"""The keywords of ssh_config that `-o` takes, by their lower case form."""

MIN_REKEY_LIMIT: Final = 16
"""Bytes; ssh's own lower bound. Below one block of AES a limit is a slip of the pen."""

_SIZE: Final = re.compile(r"([0-9]+)([KMG]?)", re.IGNORECASE)
_UNITS: Final = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
_TIME: Final = re.compile(r"([0-9]+)([smhdw]?)", re.IGNORECASE)
_SECONDS: Final = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}

_CHECKING: Final[dict[str, StrictHostKeyChecking]] = {
    "yes": "yes",
    "true": "yes",
    "no": "no",
    "off": "no",
    "false": "no",
    "ask": "ask",
    "accept-new": "accept-new",
}


class CommandLine(argparse.ArgumentParser):
    """A parser that complains in one line, and whose help ends with an example."""

    def __init__(self, program: str, usage: str, description: str, example: str) -> None:
        super().__init__(
            prog=program,
            usage=f"{program} {usage}",
            description=description,
            epilog=f"example:\n{example}",
            formatter_class=_HelpFormatter,
            allow_abbrev=False,
            add_help=False,
        )

    def error(self, message: str) -> NoReturn:
        """Exit with 2, as every wrong usage does."""
        message = message.replace("the following arguments are required", "missing")
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


class _HelpFormatter(argparse.RawDescriptionHelpFormatter):
    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=30)


def read_command_line(
    parser: CommandLine,
    build: Callable[[argparse.Namespace], Config],
    argv: Sequence[str] | None,
) -> tuple[Config, EventLog]:
    """Parse `argv` (None: the process's) into the program's configuration, and open its log.

    Exits with 2 and one line if the command line is wrong, with 0 after `--help`, `--version`.
    """
    arguments = parser.parse_args(argv)
    try:
        config = build(arguments)
    except UsageError as error:
        parser.error(str(error))
    verbosity = QUIET if getattr(arguments, "quiet", False) else arguments.verbose
    configure(parser.prog, arguments.log_format, verbosity)
    return config, EventLog(parser.prog)


def add_general_options(parser: CommandLine, *, quiet: bool) -> None:
    """What every program has: the log, `--version`, `--help`."""
    group = parser.add_argument_group("general")
    group.add_argument(
        "-v",
        dest="verbose",
        action="count",
        default=0,
        help="say more; -vv and -vvv: the SSH library's log too",
    )
    if quiet:
        group.add_argument("-q", dest="quiet", action="store_true", help="say errors only")
    group.add_argument(
        "--log-format",
        choices=("human", "json"),
        default="human",
        help="json: one object per line and event",
    )
    version = f"%(prog)s {relay.__version__}"
    group.add_argument("--version", action="version", version=version, help="print the version")
    group.add_argument("-h", "--help", action="help", help="print this text")


def add_client_options(parser: CommandLine) -> None:
    """What `relay-agent` and `relay-connect` have in common with ssh."""
    group = parser.add_argument_group("how to reach the server")
    group.add_argument("destination", metavar="[user@]host", help="where relay-server runs")
    group.add_argument("-p", dest="port", metavar="PORT", help=f"its port (default {DEFAULT_PORT})")
    group.add_argument("-l", dest="user", metavar="USER", help="the user to log in as")
    group.add_argument(
        "-i",
        dest="identities",
        metavar="FILE",
        action="append",
        default=[],
        help="private key to log in with, repeatable (default: ssh-agent's keys, ~/.ssh/id_*)",
    )
    group.add_argument(
        "-c", dest="ciphers", metavar="CIPHERS", help="ciphers to offer, best first, with commas"
    )
    group.add_argument(
        "-o",
        dest="options",
        metavar="KEYWORD=VALUE",
        action="append",
        default=[],
        help=f"an option as in ssh_config: {', '.join(KEYWORDS.values())}",
    )
    # Here there is never a remote command; people type it from habit.
    group.add_argument("-N", action="store_true", help=argparse.SUPPRESS)


def client_config(arguments: argparse.Namespace) -> ClientConfig:
    """The leg that the flags of `add_client_options` describe. Raises UsageError.

    A flag goes before `-o`, `-o` before the destination; of one keyword the first value counts,
    except that IdentityFile adds up.
    """
    user, host, port = parse_destination(arguments.destination)
    options = parse_options(arguments.options)

    def value(keyword: str, parse: Callable[[str], T], default: T, flag: str | None = None) -> T:
        texts = [flag] if flag is not None else options.get(keyword, [])
        return parse(texts[0]) if texts else default

    config = ClientConfig(
        host=host,
        user=value("user", str, user or "", arguments.user) or _own_name(),
        port=value("port", _port, port or DEFAULT_PORT, arguments.port),
        identity_files=tuple(
            map(file_path, arguments.identities + options.get("identityfile", []))
        ),
        user_known_hosts_files=value("userknownhostsfile", _files, ()),
        strict_host_key_checking=value("stricthostkeychecking", _checking, "yes"),
        ciphers=value("ciphers", parse_ciphers, (), arguments.ciphers),
        rekey_limit=value("rekeylimit", parse_rekey_limit, 0),
        connect_timeout=value("connecttimeout", _timeout, None),
    )
    global_files = value("globalknownhostsfile", _files, config.global_known_hosts_files)
    return replace(config, global_known_hosts_files=global_files)


def parse_forwards(texts: Sequence[str]) -> tuple[Forward, ...]:
    """The values of `-L` or `-R`. Port 0, for "any that is free", is as good here as there."""
    return tuple(parse_forward(text, allow_zero=True) for text in texts)


def parse_options(texts: Sequence[str]) -> dict[str, list[str]]:
    """The values of `-o`, by keyword in lower case. Raises UsageError."""
    options: dict[str, list[str]] = {}
    for text in texts:
        # ssh_config(5): white space, or optional white space and exactly one "=".
        match = re.fullmatch(r"\s*(\w+)(?:\s*=\s*|\s+)(\S.*?)\s*", text)
        if match is None:
            raise UsageError(f"-o {text!r}: give Keyword=value")
        keyword, value = match.groups()
        if keyword.lower() not in KEYWORDS:
            known = ", ".join(KEYWORDS.values())
            raise UsageError(f"-o {keyword}: not known here; known are {known}")
        options.setdefault(keyword.lower(), []).append(value)
    return options


def parse_ciphers(text: str) -> tuple[str, ...]:
    """Cipher names with commas between them, best first. Raises UsageError."""
    names = tuple(name.strip() for name in text.split(","))
    for name in names:
        if name not in CIPHERS:
            raise UsageError(f"unknown cipher {name!r}; known are {', '.join(CIPHERS)}")
    return names


def parse_rekey_limit(text: str) -> int:
    """Bytes: a number with K, M or G, or `default` (0). Raises UsageError.

    ssh's second word, a time, may be `none` only: here it is the bytes that wear out a key.
    """
    words = text.lower().split()
    if words[1:] not in ([], ["none"]):
        raise UsageError(f"rekey limit {text!r}: a limit of time is not supported, give a size")
    if words[:1] == ["default"]:
        return 0
    match = _SIZE.fullmatch(words[0]) if words else None
    if match is None:
        raise UsageError(f"rekey limit {text!r}: give a size such as 512M or 1G")
    size = int(match[1]) * _UNITS[match[2].upper()]
    if size < MIN_REKEY_LIMIT:
        raise UsageError(f"rekey limit {text!r}: at least {MIN_REKEY_LIMIT} bytes")
    return size


def file_path(text: str) -> Path:
    """A file as a user names it; `~` also where the shell does not see it (`-i~/key`)."""
    return Path(os.path.expanduser(text))


def _port(text: str) -> int:
    port = parse_port(text)
    if not port:
        raise UsageError(f"{text!r} is no port: give 1 to 65535")
    return port


def _files(text: str) -> tuple[Path, ...]:
    """Files with white space between them, in quotes if their names have some; or `none`."""
    try:
        names = shlex.split(text)
    except ValueError as error:
        raise UsageError(f"{text!r}: {error}") from error
    # Not an empty tuple: that would be the default files.
    return tuple(map(file_path, [os.devnull] if names == ["none"] else names))


def _checking(text: str) -> StrictHostKeyChecking:
    try:
        return _CHECKING[text.lower()]
    except KeyError:
        choices = "yes, no, ask or accept-new"
        raise UsageError(f"StrictHostKeyChecking {text!r}: give {choices}") from None


def _timeout(text: str) -> float | None:
    """Seconds, in sshd_config(5)'s time format (`90`, `1m30`); None for `none`."""
    if text.lower() == "none":
        return None
    parts = cast(list[tuple[str, str]], _TIME.findall(text))
    seconds = sum(int(number) * _SECONDS[unit.lower()] for number, unit in parts)
    if "".join(number + unit for number, unit in parts) != text or not seconds:
        raise UsageError(f"ConnectTimeout {text!r}: give seconds, or a time such as 1m30s")
    return float(seconds)


def _own_name() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        raise UsageError("nobody knows your user name here: give user@host") from None
