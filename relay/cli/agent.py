"""The command line of `relay-agent`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Final

from relay.agent.config import AgentConfig
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

PROGRAM: Final = "relay-agent"

DESCRIPTION: Final = """\
Publish services that this machine can reach at a relay-server (or sshd), over one
outgoing SSH connection."""

EXAMPLE: Final = """\
  relay-agent -p 2222 -i agent_key -R gpu1:8000:localhost:8000 relay@b.example
      whoever may open gpu1:8000 at b.example reaches port 8000 of this machine"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run `relay-agent`; `argv` is without the program's name. Returns the exit code."""
    config, log = read_command_line(_parser(), _config, argv)

    async def program() -> None:
        # Imported late, so that --help and a slip of the pen are answered at once.
        from relay.agent.program import run

        await run(config, log)

    return run_program(PROGRAM, program, log)


def _parser() -> CommandLine:
    usage = f"[options] -R {FORWARD} [user@]host"
    parser = CommandLine(PROGRAM, usage, DESCRIPTION, EXAMPLE)
    group = parser.add_argument_group("what to publish")
    group.add_argument(
        "-R",
        dest="forwards",
        metavar=FORWARD,
        action="append",
        required=True,
        help="publish host:hostport, repeatable; bind is a name (gpu1: a service under that name, "
        "no port is opened) or an address of the server; port 0: the server picks one",
    )
    add_client_options(parser)
    add_general_options(parser, quiet=True)
    return parser


def _config(arguments: argparse.Namespace) -> AgentConfig:
    return AgentConfig(client_config(arguments), parse_forwards(arguments.forwards))


if __name__ == "__main__":
    raise SystemExit(main())
