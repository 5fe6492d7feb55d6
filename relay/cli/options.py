"""What the three command lines share: ssh's flags, and how they complain."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, NoReturn, TypeVar

import relay
from relay.cli.completion import SHELLS, PrintCompletion
from relay.cli.settings import checked
from relay.cli.units import PRINT_UNIT, AnyConfig, unit
from relay.core.limits import BUSY_POLL, LONGEST_BUSY_POLL
from relay.core.window import LEAST, MOST, START
from relay.errors import ConfigError, LocalError, UsageError
from relay.observe.log import EventLog, configure
from relay.sshconfig.client import DEFAULT_PORT
from relay.sshconfig.values import parse_size
from relay.trust.algorithms import CIPHERS

Config = TypeVar("Config", bound=AnyConfig)

FORWARD: Final = "[bind:]port:host:hostport"


UNKNOWN: Final = "unrecognized arguments: "
"""How argparse begins what it says of them."""


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
        if message.startswith(UNKNOWN) and (word := message.split()[2]).startswith("--"):
            near = get_close_matches(word, self._option_string_actions, n=1)
            message += "".join(f"; {flag} perhaps?" for flag in near)
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


class _HelpFormatter(argparse.RawDescriptionHelpFormatter):
    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=30)


def read_command_line(
    parser: CommandLine,
    build: Callable[[argparse.Namespace], tuple[Config, int]],
    argv: Sequence[str] | None,
) -> tuple[Config, EventLog]:
    """Parse `argv` (None: the process's) into the program's configuration, and open its log.

    `build` returns the configuration and how verbose the log is. Exits with one line if the
    command line or a file of ssh_config is wrong, with 0 after `--help`, `--version`.
    """
    arguments = parser.parse_args(argv)
    try:
        config, verbosity = build(arguments)
        configure(parser.prog, arguments.log_format, verbosity)
        log = EventLog(parser.prog)
        for text in getattr(arguments, "passed_over", ()):
            log.debug("passed over", "{setting}", setting=text)
        if arguments.print_unit:
            words = sys.argv[1:] if argv is None else argv
            print(unit(parser, words, arguments, build, log), end="")
            parser.exit(0)
    except LocalError as error:
        if isinstance(error, UsageError) and not isinstance(error, ConfigError):
            parser.error(str(error))
        # The mistake is in a file, and no help text knows of it.
        parser.exit(error.exit_code, f"{parser.prog}: {error}\n")
    return config, log


def add_general_options(parser: CommandLine, *, quiet: bool) -> None:
    """What every program has: the log, `--version`, `--help`."""
    group = parser.add_argument_group("general")
    group.add_argument(
        "-v",
        "--verbose",
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
    group.add_argument(
        PRINT_UNIT,
        action="store_true",
        help="print a systemd unit that runs the program with the other flags",
    )
    group.add_argument(
        "--completion",
        metavar="SHELL",
        choices=SHELLS,
        action=PrintCompletion,
        help="print a script that completes this program's flags in bash, zsh or fish",
    )
    version = f"%(prog)s {relay.__version__}"
    group.add_argument("--version", action="version", version=version, help="print the version")
    group.add_argument("-h", "--help", action="help", help="print this text")


def add_client_options(parser: CommandLine, not_served: dict[str, str]) -> None:
    """What `relay-agent` and `relay-connect` have in common with ssh.

    `not_served` are ssh's flags that only this program lacks, and what to do instead.
    """
    group = parser.add_argument_group("how to reach the server")
    group.add_argument("destination", metavar="[user@]host", help="where relay-server runs")

    def add(flag: str, name: str, metavar: str, text: str) -> None:
        # Of several values the first one counts, as in ssh_config; keys add up.
        group.add_argument(flag, dest=name, metavar=metavar, action="append", help=text)

    add("-p", "port", "PORT", f"its port (default {DEFAULT_PORT})")
    add("-l", "user", "USER", "the user to log in as")
    keys = "private key to log in with, repeatable (default: ssh-agent's keys, ~/.ssh/id_*)"
    add("-i", "identities", "FILE", keys)
    jumps = "jump hosts on the way, with commas: [user@]host[:port]; they cannot read what passes"
    add("-J", "jump", "HOSTS", jumps)
    add("-c", "ciphers", "CIPHERS", "ciphers to offer, best first, with commas")
    add("-m", "macs", "MACS", argparse.SUPPRESS)
    add("-b", "bind_address", "ADDRESS", "address of this machine to connect from")
    add("-P", "tag", "TAG", argparse.SUPPRESS)
    group.add_argument(
        "-4", dest="family", action="store_const", const="inet", help="use IPv4 only"
    )
    group.add_argument(
        "-6", dest="family", action="store_const", const="inet6", help="use IPv6 only"
    )
    group.add_argument(
        "-F",
        dest="config_file",
        metavar="FILE",
        help="ssh_config to read instead of ~/.ssh/config and the system's; none: read no file",
    )
    group.add_argument(
        "-o",
        dest="options",
        metavar="KEYWORD=VALUE",
        action="append",
        default=[],
        help="an option as in ssh_config, repeatable",
    )
    for flag in HABITS:
        group.add_argument(flag, action="store_true", help=argparse.SUPPRESS, dest="habit")
    for flag, reason in (NOT_SERVED | not_served).items():
        takes = 1 if flag[1] in _WITH_VALUE else 0
        group.add_argument(flag, action=_NotServed, nargs=takes, const=reason, dest="not_served")


def add_once(group: Any) -> None:
    """`--once`, of the two programs that otherwise reconnect."""
    group.add_argument(
        "--once",
        action="store_true",
        help="do not reconnect: exit when the connection fails or is lost",
    )


def add_busy_poll(group: Any) -> None:
    """`--busy-poll`, of all three programs."""
    group.add_argument(
        "--busy-poll",
        metavar="MICROSECONDS",
        type=checked(busy_poll),
        default=BUSY_POLL,
        help="poll for so long, where it pays, before going to sleep: small requests are answered "
        "sooner, for some processor time; 0: never (default %(default)s)",
    )


def busy_poll(text: str) -> int:
    """Microseconds. Raises UsageError."""
    if not text.isascii() or not text.isdigit() or int(text) > LONGEST_BUSY_POLL:
        raise UsageError(f"{text!r}: give a number from 0 to {LONGEST_BUSY_POLL}")
    return int(text)


LARGEST_WINDOW: Final = 2**30
"""RFC 4254 §5.2 ends at 4 GiB; and it is memory."""


def add_max_window(group: Any) -> None:
    """`--max-window`, of the two programs that take streams from B."""
    group.add_argument(
        "--max-window",
        metavar="SIZE",
        type=checked(window_size),
        default=MOST,
        help="bytes that one stream may have under way to this machine, over a long path "
        f"(default {MOST >> 20}M; a stream starts with {START >> 20}M)",
    )


def window_size(text: str) -> int:
    """A window: a size with K, M or G. Raises UsageError."""
    size = parse_size(text)
    if not LEAST <= size <= LARGEST_WINDOW:
        least, largest = f"{LEAST >> 10}K", f"{LARGEST_WINDOW >> 30}G"
        raise UsageError(f"{text!r}: give a size between {least} and {largest}")
    return size


def seconds(text: str) -> float:
    """A span of time: a number of seconds, 0 or more."""
    value = float(text)
    if not 0 <= value < float("inf"):
        raise ValueError(text)
    return value


HABITS: Final = ("-N", "-T", "-n", "-a", "-k", "-x", "-2")
"""Flags of ssh for what is never done here: no command, no terminal, no standard input, no agent,
no Kerberos, no X11 and no protocol but 2. People type them from habit."""

NOT_SERVED: Final = {
    "-1": "the protocol's first version is long gone",
    "-A": "an agent is not forwarded",
    "-B": "give the interface's address with -b",
    "-C": "nothing is compressed on the way",
    "-E": "redirect standard error instead",
    "-e": "there is no terminal, so nothing to escape",
    "-f": "start it in the background with & or as a service",
    "-G": "use ssh -G to see what the files say",
    "-I": "give PKCS#11 keys to ssh-agent",
    "-K": "keys are the only way to log in",
    "-M": "connections are not shared",
    "-O": "connections are not shared",
    "-Q": "--help and the README name what there is",
    "-S": "connections are not shared",
    "-s": "no command or subsystem is run",
    "-t": "there is no terminal at the other end",
    "-V": "use --version",
    "-w": "there are no tun devices here",
    "-X": "X11 is not forwarded",
    "-Y": "X11 is not forwarded",
    "-y": "redirect standard error instead",
}
"""Flags of ssh that would promise what neither program does."""

_WITH_VALUE: Final = "BDEeILOQRSWw"


class _NotServed(argparse.Action):
    """One clear line for a flag that ssh has and we have not."""

    def __init__(self, option_strings: Sequence[str], dest: str, **settings: Any) -> None:
        super().__init__(option_strings, dest, help=argparse.SUPPRESS, **settings)

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: object,
        option_string: str | None = None,
    ) -> NoReturn:
        see = f"(see {parser.prog} --help)"
        parser.exit(2, f"{parser.prog} does not serve {option_string}: {self.const} {see}\n")


def parse_ciphers(text: str) -> tuple[str, ...]:
    """Cipher names with commas between them, best first. Raises UsageError."""
    names = tuple(name.strip() for name in text.split(","))
    for name in names:
        if name not in CIPHERS:
            raise UsageError(f"unknown cipher {name!r}; known are {', '.join(CIPHERS)}")
    return names


def parse_rekey_limit(text: str) -> int:
    """Bytes: a number with K, M or G, or `default` (0). Raises UsageError."""
    try:
        return parse_size(text)
    except UsageError as error:
        raise UsageError(f"rekey limit {error}") from None


def file_path(text: str) -> Path:
    """A file as a user names it; `~` also where the shell does not see it (`-i~/key`)."""
    return Path(os.path.expanduser(text))
