"""The command line of `relay-agent`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from relay.agent.config import AgentConfig, EndpointConfig
from relay.cli.client_config import client_config, forwards, read_config
from relay.cli.options import (
    FORWARD,
    CommandLine,
    add_busy_poll,
    add_client_options,
    add_general_options,
    add_max_window,
    add_once,
    file_path,
    read_command_line,
)
from relay.cli.run import run_program
from relay.cli.service import default_state_dir
from relay.core.forward import Forward, parse_port
from relay.core.grants import parse_permitopen
from relay.core.services import SHARE_MARK, is_address, unmarked, validate_name
from relay.errors import LocalError, UsageError
from relay.life.supervise import Prompt
from relay.sshconfig import keywords
from relay.sshconfig.client import DEFAULT_PORT

PROGRAM: Final = "relay-agent"

SOCKS_EXIT: Final = "--socks-exit"

SOCKS_PORT: Final = 1080
"""What IANA has registered for SOCKS: who says it means that."""

DESCRIPTION: Final = """\
Publish services that this machine can reach at a relay-server (or sshd), over one
outgoing SSH connection."""

EXAMPLE: Final = """\
  relay-agent -p 2222 -i agent_key -R gpu1:8000:localhost:8000 relay@b.example
      whoever may open gpu1:8000 at b.example reaches port 8000 of this machine"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run `relay-agent`; `argv` is without the program's name. Returns the exit code."""
    config, log = read_command_line(_parser(), _config, argv)

    prompt = Prompt()

    async def program() -> None:
        # Imported late, so that --help and a slip of the pen are answered at once.
        from relay.agent.program import run

        await run(config, log, prompt)

    return run_program(PROGRAM, program, log, on_hangup=prompt)


def _parser() -> CommandLine:
    usage = f"[options] -R {FORWARD} [user@]host"
    parser = CommandLine(PROGRAM, usage, DESCRIPTION, EXAMPLE)
    group = parser.add_argument_group("what to publish")
    group.add_argument(
        "-R",
        dest="remote_forwards",
        metavar=FORWARD,
        action="append",
        help="publish host:hostport, repeatable; bind is a name (gpu1: a service under that name, "
        "no port is opened) or an address of the server; port 0: the server picks one; "
        "/path/of/a/socket may stand for host:hostport",
    )
    group.add_argument(
        SOCKS_EXIT,
        action="store_true",
        help="-R without a target is meant: who opens it names any host and port that this machine "
        "reaches, in SOCKS (-o PermitRemoteOpen says which, and needs no flag)",
    )
    group.add_argument(
        "--share",
        action="store_true",
        help="publish them together with other agents, each with a key of its own; "
        "the server's operator must permit it (--share-services)",
    )
    group = parser.add_argument_group("end to end, without trust in the server")
    group.add_argument(
        "--endpoint",
        metavar="NAME[:PORT]",
        help="serve SSH sessions as NAME (ssh -J server NAME), inside this program: "
        "no shell, only forwards; with an sshd as server, PORT opens there (default 22)",
    )
    group.add_argument(
        "--state-dir",
        metavar="DIR",
        type=file_path,
        default=default_state_dir(PROGRAM),
        help="folder of the endpoint's host key and authorized_keys (default %(default)s)",
    )
    group.add_argument(
        "--strict-modes",
        choices=("yes", "no"),
        default="yes",
        help="use no authorized_keys that others can write, as StrictModes of sshd (default yes)",
    )
    group.add_argument(
        "--allow",
        metavar="HOST:PORT",
        action="append",
        default=[],
        help="what sessions may reach, repeatable; * for any port "
        "(default localhost and 127.0.0.1, any port)",
    )
    group.add_argument(
        "--allow-reverse",
        action="store_true",
        help="let sessions ask for -R as well, on this machine's loopback",
    )
    add_once(parser.add_argument_group("staying connected"))
    speed = parser.add_argument_group("speed")
    add_busy_poll(speed)
    add_max_window(speed)
    add_client_options(parser, NOT_SERVED)
    add_general_options(parser, quiet=True)
    return parser


NOT_SERVED: Final = dict.fromkeys(
    ("-L", "-D", "-W", "-g"), "it publishes services; relay-connect opens them"
)


def _config(arguments: argparse.Namespace) -> tuple[AgentConfig, int]:
    config = read_config(arguments)
    remote = forwards(config, keywords.REMOTE_FORWARD)
    if not remote and arguments.endpoint is None:
        raise UsageError(
            "missing: -R, RemoteForward in ssh_config, or --endpoint: nothing to publish"
        )
    meant = arguments.socks_exit or config.all(keywords.PERMIT_REMOTE_OPEN)
    exits = [forward for forward in remote if forward.dynamic]
    if exits and not meant:
        raise UsageError(_no_target(exits[0]))
    if arguments.socks_exit and not exits:
        raise UsageError(f"{SOCKS_EXIT} is for -R [bind:]port without a target, and there is none")
    agent = AgentConfig(
        client=client_config(config, arguments.config_file),
        remote_forwards=tuple(map(_shared, remote)) if arguments.share else remote,
        exit_on_forward_failure=config.get(keywords.EXIT_ON_FORWARD_FAILURE, True),
        permit_remote_open=config.get(keywords.PERMIT_REMOTE_OPEN),
        endpoint=_endpoint(arguments),
        once=arguments.once,
        busy_poll=arguments.busy_poll,
        max_window=arguments.max_window,
    )
    return agent, config.get(keywords.LOG_LEVEL, 0)


def _no_target(forward: Forward) -> str:
    """What is said of ssh's remote SOCKS where nobody has said that it is meant: a target that was
    forgotten must not open the whole network of this machine."""
    target = f"-R {forward}:localhost:{forward.port or 8000}"
    meant = f"{SOCKS_EXIT} as well" if forward.port == SOCKS_PORT else target
    return (
        f"-R {forward} has no target (did you mean {meant}?): whoever may open it could reach "
        f"every host and port that this machine reaches, by SOCKS. Where that is meant, say "
        f"{SOCKS_EXIT}, or with PermitRemoteOpen what may be reached"
    )


def _shared(forward: Forward) -> Forward:
    """Ask for a share of the service, by the mark before its name."""
    bind = unmarked(forward.bind or "")
    if is_address(bind):
        raise UsageError(f"--share: {forward} has no name; only a service with a name is shared")
    return replace(forward, bind=SHARE_MARK + bind)


def _endpoint(arguments: argparse.Namespace) -> EndpointConfig | None:
    if arguments.endpoint is None:
        if arguments.allow or arguments.allow_reverse:
            raise UsageError("--allow and --allow-reverse are for sessions: they need --endpoint")
        return None
    name, colon, text = arguments.endpoint.partition(":")
    port = parse_port(text) if colon else DEFAULT_PORT
    if is_address(name) or not port:
        raise UsageError(
            f"--endpoint {arguments.endpoint}: a name, not an address, with or without a port, "
            "such as gpu1 or gpu1:2200"
        )
    try:
        validate_name(name)
        allow = tuple(permit for text in arguments.allow for permit in parse_permitopen(text))
    except LocalError as error:
        raise UsageError(str(error)) from None
    endpoint = EndpointConfig(name, port, arguments.state_dir, strict_modes=arguments.strict_modes)
    endpoint = replace(endpoint, reverse=arguments.allow_reverse)
    return replace(endpoint, allow=allow) if allow else endpoint


if __name__ == "__main__":
    raise SystemExit(main())
