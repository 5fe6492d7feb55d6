"""The command line of `relay-server`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any, Final

from relay.cli.options import (
    CommandLine,
    add_busy_poll,
    add_general_options,
    file_path,
    parse_ciphers,
    parse_rekey_limit,
    read_command_line,
    seconds,
)
from relay.cli.run import run_program
from relay.cli.service import default_state_dir
from relay.cli.settings import Several, checked, read_settings
from relay.core.forward import parse_listen
from relay.core.hold import HOLD
from relay.core.limits import (
    CLIENT_ALIVE_COUNT_MAX,
    CLIENT_ALIVE_INTERVAL,
    Limits,
    NetBlockSize,
    Startups,
)
from relay.errors import UsageError
from relay.server.config import DRAIN, ServerConfig
from relay.sshconfig.values import parse_size

PROGRAM: Final = "relay-server"

DESCRIPTION: Final = """\
An SSH server that joins whoever publishes a service (relay-agent, or ssh -R) with whoever
opens it (relay-connect, or ssh -L). It gives no shell and dials nowhere."""

EXAMPLE: Final = """\
  relay-server --listen 0.0.0.0:2222
      prints the fingerprint of its host key, and lets in the keys that are listed in
      authorized_keys in its state folder"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run `relay-server`; `argv` is without the program's name. Returns the exit code."""
    parser = _parser()

    def build(arguments: argparse.Namespace) -> tuple[ServerConfig, int]:
        if arguments.config is not None:
            settings = read_settings(parser, arguments.config)
            vars(arguments).update(vars(parser.parse_args(argv, settings)))
        return _config(arguments), arguments.verbose

    config, log = read_command_line(parser, build, argv)

    async def program() -> None:
        # Imported late, so that --help and a slip of the pen are answered at once.
        from relay.server.program import run

        await run(config, log, lambda: build(parser.parse_args(argv))[0])

    return run_program(PROGRAM, program, log)


def _parser() -> CommandLine:
    parser = CommandLine(PROGRAM, "[options]", DESCRIPTION, EXAMPLE)
    _add_places(parser)
    group = parser.add_argument_group("what is allowed")
    group.add_argument(
        "--gateway-ports",
        choices=("no", "yes", "clientspecified"),
        default="no",
        help="may published ports be reached from outside, as in sshd_config (default no)",
    )
    group.add_argument(
        "--privileged-ports",
        choices=("no", "yes"),
        default="no",
        help="may a key publish a port below 1024 that no permitlisten of it names (default no)",
    )
    group.add_argument(
        "--share-services",
        metavar="PATTERN",
        action=Several,
        default=[],
        help="services that several agents may publish together (relay-agent --share), such as "
        "gpu*:8000; repeatable",
    )
    group = parser.add_argument_group("encryption")
    group.add_argument(
        "--ciphers",
        metavar="LIST",
        type=checked(parse_ciphers),
        default=(),
        help="ciphers to offer, with commas (default: AES-GCM, or what else an old client has)",
    )
    group.add_argument(
        "--rekey-limit",
        metavar="SIZE",
        type=checked(parse_rekey_limit),
        default=0,
        help="change keys after so many bytes, such as 512M or 1G (default: the cipher's)",
    )
    _add_limits(parser)
    group = parser.add_argument_group("operation")
    group.add_argument(
        "--config",
        metavar="FILE",
        type=file_path,
        help="TOML file with these flags as keys (drain = 30); read again on SIGHUP; flags win",
    )
    group.add_argument(
        "--drain",
        metavar="SECONDS",
        type=seconds,
        default=DRAIN,
        help="after SIGTERM, let open streams go on for so long (default %(default)g)",
    )
    group.add_argument(
        "--hold",
        metavar="SECONDS",
        type=seconds,
        default=HOLD,
        help="let who opens a service whose agent has just gone wait so long for its return; "
        "0: refuse at once (default %(default)g)",
    )
    _add_keepalive(group)
    add_busy_poll(group)
    add_general_options(parser, quiet=False)
    return parser


def _add_keepalive(group: Any) -> None:
    group.add_argument(
        "--client-alive-interval",
        metavar="SECONDS",
        type=seconds,
        default=CLIENT_ALIVE_INTERVAL,
        help="after so much silence ask a client whether it is there, as ClientAliveInterval of "
        "sshd; 0: never (default %(default)g)",
    )
    group.add_argument(
        "--client-alive-count-max",
        metavar="NUMBER",
        type=_count_or_none,
        default=CLIENT_ALIVE_COUNT_MAX,
        help="give it up after so many questions without an answer; 0: never (default %(default)s)",
    )


def _add_places(parser: CommandLine) -> None:
    group = parser.add_argument_group("where and who")
    group.add_argument(
        "--listen",
        metavar="HOST:PORT",
        type=checked(parse_listen),
        action=Several,
        default=[],
        help="repeatable; [::1]:2222 for IPv6, port 0 picks one "
        "(default 0.0.0.0:2222 and [::]:2222)",
    )
    group.add_argument(
        "--state-dir",
        metavar="DIR",
        type=file_path,
        default=default_state_dir(PROGRAM),
        help="folder of the host key and authorized_keys (default %(default)s)",
    )
    group.add_argument(
        "--host-key",
        metavar="FILE",
        type=file_path,
        action=Several,
        default=[],
        help="private host key, repeatable (default: one in the state folder, made if missing)",
    )
    group.add_argument(
        "--host-certificate",
        metavar="FILE",
        type=file_path,
        action=Several,
        default=[],
        help="certificate of a host key, which clients check by @cert-authority; repeatable",
    )
    group.add_argument(
        "--authorized-keys",
        metavar="FILE",
        type=file_path,
        help="the public keys that may log in, in sshd's format (default: in the state folder)",
    )
    group.add_argument(
        "--strict-modes",
        choices=("yes", "no"),
        default="yes",
        help="use no authorized_keys that others can write, as StrictModes of sshd (default yes)",
    )


def _add_limits(parser: CommandLine) -> None:
    group = parser.add_argument_group("limits, each told once in the log when it is hit")
    default = Limits()

    def add(flag: str, metavar: str, read: Any, text: str) -> None:
        value = getattr(default, flag.replace("-", "_"))
        if read is _size:
            value = f"{value >> 20}M"
        group.add_argument(
            f"--{flag}", metavar=metavar, type=read, default=value, help=f"{text} (%(default)s)"
        )

    startups = "connections that have not logged in, as MaxStartups of sshd"
    add("max-startups", "BEGIN:RATE:FULL", checked(_startups), startups)
    sources = "those of one source, as PerSourceMaxStartups; none: any number"
    add("per-source-max-startups", "NUMBER", _count_or_word_none, sources)
    blocks = "bits of an IPv4 and an IPv6 address that make a source, as PerSourceNetBlockSize"
    add("per-source-net-block-size", "IPV4:IPV6", checked(_net_block_size), blocks)
    add("login-grace-time", "SECONDS", _positive_seconds, "time to log in")
    add("max-auth-tries", "NUMBER", _count, "refused keys on one connection")
    failed = "refused keys from one source, before it has to wait longer and longer; 0: any number"
    add("max-failed-tries", "NUMBER", _count_or_none, failed)
    add("legs-per-key", "NUMBER", _count, "connections of one key")
    add("services-per-key", "NUMBER", _count, "services of one key")
    add("channels-per-leg", "NUMBER", _count, "open streams on one connection")
    add("waiting-per-leg", "SIZE", _size, "bytes that may wait for one connection")
    add("waiting-per-process", "SIZE", _size, "bytes that may wait for all together")


def _startups(text: str) -> Startups:
    words = text.split(":")
    numbers = [int(word) for word in words if word.isascii() and word.isdigit()]
    if len(numbers) == len(words) == 1:
        numbers = [numbers[0], 100, numbers[0]]
    if len(numbers) != 3 or len(words) not in (1, 3):
        raise UsageError(f"{text!r}: give begin:rate:full, such as {Startups()}")
    begin, rate, full = numbers
    if not 1 <= begin <= full or not 1 <= rate <= 100:
        raise UsageError(f"{text!r}: 1 <= begin <= full, and rate is a percentage from 1 to 100")
    return Startups(begin, rate, full)


def _net_block_size(text: str) -> NetBlockSize:
    default = NetBlockSize()
    first, colon, second = text.partition(":")
    words = [first, second] if colon else [first]
    if all(word.isascii() and word.isdigit() for word in words):
        size = NetBlockSize(int(first), int(second) if colon else default.ipv6)
        if size.ipv4 <= 32 and size.ipv6 <= 128:
            return size
    raise UsageError(f"{text!r}: give bits of IPv4 and IPv6 addresses, such as {default}")


def _count_or_word_none(text: str) -> int:
    return 0 if text == "none" else _count(text)


def _count(text: str) -> int:
    if int(text) < 1:
        raise ValueError(text)
    return int(text)


def _count_or_none(text: str) -> int:
    return int(text) and _count(text)


def _positive_seconds(text: str) -> float:
    if not seconds(text):
        raise ValueError(text)
    return seconds(text)


def _size(text: str) -> int:
    size = checked(parse_size)(text)
    if not size:
        raise ValueError(text)
    return size


# argparse says "invalid … value" with the name of the function.
_count.__name__ = _count_or_word_none.__name__ = "number (from 1)"
_count_or_none.__name__ = "number (from 0)"
_positive_seconds.__name__ = "seconds"
_size.__name__ = "size"


def _config(arguments: argparse.Namespace) -> ServerConfig:
    limits = Limits(**{one.name: getattr(arguments, one.name) for one in fields(Limits)})
    config = ServerConfig(
        state_dir=arguments.state_dir,
        host_keys=tuple(arguments.host_key),
        host_certificates=tuple(arguments.host_certificate),
        authorized_keys=arguments.authorized_keys,
        strict_modes=arguments.strict_modes,
        gateway_ports=arguments.gateway_ports,
        privileged_ports=arguments.privileged_ports,
        share_services=tuple(arguments.share_services),
        ciphers=arguments.ciphers,
        rekey_limit=arguments.rekey_limit,
        client_alive_interval=arguments.client_alive_interval,
        client_alive_count_max=arguments.client_alive_count_max,
        drain=arguments.drain,
        hold=arguments.hold,
        busy_poll=arguments.busy_poll,
        limits=limits,
    )
    return replace(config, listen=tuple(arguments.listen)) if arguments.listen else config


if __name__ == "__main__":
    raise SystemExit(main())
