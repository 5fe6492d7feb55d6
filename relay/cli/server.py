"""The command line of `relay-server`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from platformdirs import PlatformDirs

from relay.cli.options import (
    CommandLine,
    add_general_options,
    file_path,
    parse_ciphers,
    parse_rekey_limit,
    read_command_line,
)
from relay.cli.run import run_program
from relay.policy.forward import parse_listen
from relay.server.config import ServerConfig

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
    config, log = read_command_line(_parser(), _config, argv)

    async def program() -> None:
        # Imported late, so that --help and a slip of the pen are answered at once.
        from relay.server.program import run

        await run(config, log)

    return run_program(PROGRAM, program, log)


def default_state_dir() -> Path:
    """`~/.local/state/relay-server`; for root, and so for a system service, `/var/lib/…`.

    (On Linux; platformdirs knows the other systems' habits, and XDG_STATE_HOME.)
    """
    dirs = PlatformDirs(PROGRAM, appauthor=False, use_site_for_root=True)
    return Path(dirs.user_state_dir)


def _parser() -> CommandLine:
    parser = CommandLine(PROGRAM, "[options]", DESCRIPTION, EXAMPLE)
    group = parser.add_argument_group("where and who")
    group.add_argument(
        "--listen",
        metavar="HOST:PORT",
        action="append",
        default=[],
        help="repeatable; [::1]:2222 for IPv6, port 0 picks one "
        "(default 0.0.0.0:2222 and [::]:2222)",
    )
    group.add_argument(
        "--state-dir",
        metavar="DIR",
        type=file_path,
        default=default_state_dir(),
        help="folder of the host key and authorized_keys (default %(default)s)",
    )
    group.add_argument(
        "--host-key",
        metavar="FILE",
        type=file_path,
        action="append",
        default=[],
        help="private host key, repeatable (default: one in the state folder, made if missing)",
    )
    group.add_argument(
        "--authorized-keys",
        metavar="FILE",
        type=file_path,
        help="the public keys that may log in, in sshd's format (default: in the state folder)",
    )
    group = parser.add_argument_group("what is allowed")
    group.add_argument(
        "--gateway-ports",
        choices=("no", "yes", "clientspecified"),
        default="no",
        help="may published ports be reached from outside, as in sshd_config (default no)",
    )
    group = parser.add_argument_group("encryption")
    group.add_argument(
        "--ciphers",
        metavar="LIST",
        help="ciphers to offer, with commas (default: AES-GCM, or what else an old client has)",
    )
    group.add_argument(
        "--rekey-limit",
        metavar="SIZE",
        default="default",
        help="change keys after so many bytes, such as 512M or 1G (default: the cipher's)",
    )
    add_general_options(parser, quiet=False)
    return parser


def _config(arguments: argparse.Namespace) -> tuple[ServerConfig, int]:
    listen = tuple(map(parse_listen, arguments.listen))
    config = ServerConfig(
        state_dir=arguments.state_dir,
        host_keys=tuple(arguments.host_key),
        authorized_keys=arguments.authorized_keys,
        gateway_ports=arguments.gateway_ports,
        ciphers=parse_ciphers(arguments.ciphers) if arguments.ciphers is not None else (),
        rekey_limit=parse_rekey_limit(arguments.rekey_limit),
    )
    return replace(config, listen=listen) if listen else config, arguments.verbose


if __name__ == "__main__":
    raise SystemExit(main())
