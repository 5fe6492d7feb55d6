"""The command line of `relay-connect`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Final

from relay.cli.options import (
    FORWARD,
    CommandLine,
    add_client_options,
    add_general_options,
    client_config,
    parse_forwards,
    read_command_line,
)
from relay.cli.run import run_program
from relay.connect.config import ConnectConfig

PROGRAM: Final = "relay-connect"

DESCRIPTION: Final = """\
Open services that are published at a relay-server as ports of this machine, over one
SSH connection."""

EXAMPLE: Final = """\
  relay-connect -p 2222 -i client_key -L 3000:gpu1:8000 relay@b.example
      then http://localhost:3000 is the service that an agent publishes as gpu1:8000"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run `relay-connect`; `argv` is without the program's name. Returns the exit code."""
    config, log = read_command_line(_parser(), _config, argv)

    async def program() -> None:
        # Imported late, so that --help and a slip of the pen are answered at once.
        from relay.connect.program import run

        await run(config, log)

    return run_program(PROGRAM, program, log)


def _parser() -> CommandLine:
    usage = f"[options] -L {FORWARD} [user@]host"
    parser = CommandLine(PROGRAM, usage, DESCRIPTION, EXAMPLE)
    group = parser.add_argument_group("what to open")
    group.add_argument(
        "-L",
        dest="forwards",
        metavar=FORWARD,
        action="append",
        required=True,
        help="listen on port here, and reach the service host:hostport, repeatable; "
        "port 0 picks one",
    )
    group.add_argument(
        "-g",
        dest="gateway_ports",
        action="store_true",
        help="let other machines use these ports too",
    )
    add_client_options(parser)
    add_general_options(parser, quiet=True)
    return parser


def _config(arguments: argparse.Namespace) -> ConnectConfig:
    return ConnectConfig(
        client=client_config(arguments),
        local_forwards=parse_forwards(arguments.forwards),
        gateway_ports=arguments.gateway_ports,
    )


if __name__ == "__main__":
    raise SystemExit(main())
