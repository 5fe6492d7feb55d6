"""The command line of `relay-connect`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Final

from relay.cli.client_config import client_config, forwards, read_config
from relay.cli.options import (
    FORWARD,
    CommandLine,
    add_busy_poll,
    add_client_options,
    add_general_options,
    add_max_window,
    add_once,
    read_command_line,
    seconds,
)
from relay.cli.run import run_program
from relay.connect.config import DEFAULT_WAIT, ConnectConfig
from relay.errors import UsageError
from relay.life.supervise import Prompt
from relay.sshconfig import keywords
from relay.sshconfig.values import stdio_forward
from relay.sshconfig.words import Place

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

    prompt = Prompt()

    async def program() -> None:
        # Imported late, so that --help and a slip of the pen are answered at once.
        from relay.connect.program import run

        await run(config, log, prompt)

    return run_program(PROGRAM, program, log, on_hangup=prompt)


def _parser() -> CommandLine:
    usage = f"[options] -L {FORWARD} [user@]host"
    parser = CommandLine(PROGRAM, usage, DESCRIPTION, EXAMPLE)
    group = parser.add_argument_group("what to open")
    group.add_argument(
        "-L",
        dest="local_forwards",
        metavar=FORWARD,
        action="append",
        help="listen on port here, and reach the service host:hostport, repeatable; "
        "port 0 picks one; /path/of/a/socket may stand for either side",
    )
    group.add_argument(
        "-D",
        dest="dynamic_forwards",
        metavar="[bind:]port",
        action="append",
        help="listen on port here for clients that speak SOCKS and name the service, repeatable",
    )
    group.add_argument(
        "-W",
        dest="stdio_forward",
        metavar="host:port",
        help="join standard input and output with the service, as for a ProxyCommand",
    )
    group.add_argument(
        "-g",
        dest="gateway_ports",
        action="store_true",
        help="let other machines use these ports too",
    )
    group = parser.add_argument_group("staying connected")
    group.add_argument(
        "--wait",
        metavar="SECONDS",
        type=seconds,
        default=DEFAULT_WAIT,
        help="how long a new connection waits while the server is away, and after its return "
        "for a service that is not published again yet (default %(default)g)",
    )
    group.add_argument(
        "--keep-trying",
        action="store_true",
        help="go on after a refusal as well (a key, a host key), every minute or two",
    )
    add_once(group)
    speed = parser.add_argument_group("speed")
    add_busy_poll(speed)
    add_max_window(speed)
    add_client_options(parser, NOT_SERVED)
    add_general_options(parser, quiet=True)
    return parser


NOT_SERVED: Final = {"-R": "it opens services; relay-agent publishes them"}


def _config(arguments: argparse.Namespace) -> tuple[ConnectConfig, int]:
    stdio = arguments.stdio_forward
    target = stdio_forward(stdio) if stdio is not None else None
    config = read_config(arguments)
    if target is not None:
        # ssh(1) on -W: "Implies -N, -T, ExitOnForwardFailure and ClearAllForwardings, though
        # these can be overridden".
        config.set(keywords.CLEAR_ALL_FORWARDINGS, True, Place("-W"))
    local = forwards(config, keywords.LOCAL_FORWARD)
    dynamic = forwards(config, keywords.DYNAMIC_FORWARD)
    if target is None and not local and not dynamic:
        raise UsageError("missing: -L, -D or -W, or LocalForward in ssh_config: nothing to open")
    connect = ConnectConfig(
        client=client_config(config, arguments.config_file),
        local_forwards=local,
        gateway_ports=config.get(keywords.GATEWAY_PORTS, False),
        dynamic_forwards=dynamic,
        stdio_forward=(target.host, target.hostport) if target is not None else None,
        exit_on_forward_failure=config.get(keywords.EXIT_ON_FORWARD_FAILURE, True),
        stream_local_bind_mask=config.get(keywords.STREAM_LOCAL_BIND_MASK, 0o177),
        stream_local_bind_unlink=config.get(keywords.STREAM_LOCAL_BIND_UNLINK, False),
        once=arguments.once,
        busy_poll=arguments.busy_poll,
        max_window=arguments.max_window,
        keep_trying=arguments.keep_trying,
        wait=arguments.wait,
    )
    return connect, config.get(keywords.LOG_LEVEL, 0)


if __name__ == "__main__":
    raise SystemExit(main())
